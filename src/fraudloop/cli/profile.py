"""`fraudloop profile`: prints what `fraudloop.pipelines.data.profile` found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from fraudloop.cli.options import Columns, Features, InputFile, JsonOutput
from fraudloop.cli.output import note, print_json, print_table, progress
from fraudloop.pipelines.data import profile
from fraudloop.settings import Settings


def command(
    context: typer.Context, file: InputFile, columns: Columns = "native", features: Features = None, json: JsonOutput = False
) -> None:
    """What my columns give, and which features I lack for want of which column."""
    settings = context.obj if isinstance(context.obj, Settings) else Settings()
    with progress(quiet=json) as show:
        found = profile(file, columns, features, settings, progress=show)
    if json:
        print_json(found)
        return
    rows = [(name, c["type"], f"{c['null_share']:.2%}", c["distinct"], _values(c)) for name, c in found["columns"].items()]
    print_table(f"{file}: {found['rows']['accepted']:,} rows", ("column", "type", "null", "distinct", "values"), rows, ("null", "distinct"))
    have, wanted = len(found["features"]["given"]), found["features"]["wanted"]
    if found["missing"]:
        print_table(f"{have} of the {wanted} features of the set {found['features']['set']!r} can be had; for the others", ("column missing", "features", "which", "perhaps"), [
            (m["column"], len(m["features"]), ", ".join(m["features"][:6]) + (" ..." if len(m["features"]) > 6 else ""), m["perhaps"]) for m in found["missing"]
        ], ("features",))  # fmt: skip
    else:
        note(f"all {wanted} features of the set {found['features']['set']!r} can be had")
    if found["ignored_columns"]:
        note(f"columns not used: {', '.join(found['ignored_columns'])}")
    for warning in found["warnings"]:
        note(f"warning: {warning}")


def _values(column: Mapping[str, Any]) -> str:
    if "quantiles" in column:
        quantiles = column["quantiles"]
        keys = [k for k in ("0", "0.01", "0.5", "0.99", "1") if k in quantiles]
        return "  ".join(
            f"{_name(k)} {quantiles[k]:,}" if isinstance(quantiles[k], int | float) else f"{_name(k)} {quantiles[k]}" for k in keys
        )
    return ", ".join(f"{value} {n:,}" for value, n in column.get("frequent", {}).items())


def _name(quantile: str) -> str:
    return {"0": "min", "1": "max"}.get(quantile, f"{float(quantile):.0%}")

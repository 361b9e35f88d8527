"""The subcommands of `fraudloop models` that speak to MLflow: reproduce, track, mirror. `cli.models` gives them their names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from fraudloop.cli.options import Artifacts, JsonOutput, Track
from fraudloop.cli.output import note, print_json, print_table, progress
from fraudloop.errors import CheckFailed
from fraudloop.pipelines.reproduce import Compared, Reproduced
from fraudloop.pipelines.reproduce import reproduce as reproduce_run
from fraudloop.pipelines.tracking import mirror_store, track_bundle, tracking_at
from fraudloop.scoring.store import DEFAULT_NAME, BundleStore
from fraudloop.settings import Settings

#: Figures of the test that are shown although they are the same, in this order.
_SHOWN: Final = (
    "average_precision", "auc_roc", "card_precision_100", "recall_at_90_precision", "precision_at_budget", "recall_at_budget", "f1_review", "cost",
    "calibration_error", "brier",
)  # fmt: skip

_CHANGED_ROWS_MAX: Final = 20


def reproduce(
    context: typer.Context,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="The id of a run, NAME@ALIAS or a hash of the store, or the folder of a bundle.")
    ],
    track: Track = None,
    artifacts: Artifacts = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Keep the new bundle there.")] = None,
    json: JsonOutput = False,
) -> None:
    """Train a run again from the rows that were kept, and compare: exit code 1 if it is not the same.

    In the same build the model must be the same to the last bit; in another one the metrics must agree within 1e-6.
    """
    with progress(quiet=json) as show:
        found = reproduce_run(run, settings=context.obj, track=track, artifacts=artifacts, out=out, progress=show)
    if json:
        print_json(found.to_dict())
    else:
        _show(found)
    if not found.ok:
        raise CheckFailed(
            f"{run} was not reproduced: {len(found.changed)} figures differ, and {', '.join(found.files)}",
            changed=len(found.changed), files=list(found.files),
        )  # fmt: skip


def _show(found: Reproduced) -> None:
    rows = _rows(found)
    print_table(
        f"run {found.run}, rows {found.dataset[:12]}: {len(found.figures):,} figures, {len(found.changed):,} differ",
        ("figure", "before", "now", "difference"), [(row.name, row.before, row.after, _difference(row.difference)) for row in rows],
        right=("before", "now", "difference"),
    )  # fmt: skip
    if found.build:
        print_table(
            "The two builds differ", ("what", "before", "now"), [(name, before, after) for name, (before, after) in found.build.items()]
        )
    note(f"{found.proved}: content {found.before[:12]} before, {found.after[:12]} now; {'the same build' if found.same_build else 'another build'}")  # fmt: skip


def _difference(value: float | None) -> str:
    """Exact where it is nothing, and its size where it is something.

    >>> _difference(0.0), _difference(-3.2e-9)
    ('0', '-3.2e-09')
    """
    return "" if value is None else f"{value:+.1e}" if value else "0"


def _rows(found: Reproduced) -> list[Compared]:
    by_name = {row.name: row for row in found.figures}
    headline = str(by_name["test.headline"].before).strip('"') if "test.headline" in by_name else "all"
    shown = [by_name[name] for part in _SHOWN if (name := f"test.{headline}.{part}") in by_name]
    return shown + [row for row in found.changed if row not in shown][:_CHANGED_ROWS_MAX]


def track_(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The folder of a bundle.")],
    track: Track = None,
    artifacts: Artifacts = None,
    json: JsonOutput = False,
) -> None:
    """Write the run of a bundle that was trained before, unless there is one: after a tracking server that failed."""
    tracking = tracking_at(track, context.obj, artifacts=artifacts)
    with progress(quiet=json) as show:
        found = track_bundle(bundle, tracking, show)
    if json:
        print_json(found)
    else:
        note(f"run {found.run}" + (" was there already" if found.known else " written"))


def mirror(
    context: typer.Context,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The model.")] = DEFAULT_NAME,
    track: Track = None,
    artifacts: Artifacts = None,
    json: JsonOutput = False,
) -> None:
    """Bring MLflow's registry to the state of the bundle store: versions, aliases, stages, who and why. May be repeated."""
    settings: Settings = context.obj
    found = mirror_store(BundleStore(settings.store), name, tracking_at(track, settings, artifacts=artifacts))
    if json:
        print_json(found)
        return
    for line in found.changed:
        note(line)
    note(
        f"{name}: {len(found.versions)} versions in MLflow, {len(found.created)} of them new"
        + (f"; gone and never tracked: {', '.join(b[:12] for b in found.gone)}" if found.gone else "")
    )

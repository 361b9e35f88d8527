"""Smoke cases: a handful of known payments as a model reads them, with what it must say of each. Data in, data out.

A bundle holds its own since training (`smoke.json`): clear frauds and ordinary genuine payments with the score they had,
which loading it anywhere must give again to the last bit. A user's own, in TOML, say what any model must do:

    [[case]]
    name = "stolen card, abroad, at night"
    fraud = true                     # must not be approved; false: must not be declined
    inputs = { amount = 900.0, customer_count_1h = 6, country = "BR" }   # columns not named are missing
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from fraudloop.errors import BundleError, InputError
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.model import Model

#: The file of a bundle that holds its cases; bundles from before have none.
SMOKE: Final = "smoke.json"


@dataclass(frozen=True, slots=True)
class SmokeCase:
    """One payment. numbers, words: by column, NaN or None where missing. score: what the bundle said of it when it was
    made, None for a user's own case."""

    name: str
    fraud: bool
    numbers: Mapping[str, float]
    words: Mapping[str, str | None]
    score: float | None = None


def bundle_cases(bundle: Bundle) -> tuple[SmokeCase, ...]:
    """The cases of a bundle, none if it has none; BundleError if they cannot be read."""
    if SMOKE not in bundle.files:
        return ()
    try:
        rows = json.loads(bundle.files[SMOKE])["cases"]
        return tuple(
            SmokeCase(
                str(row["name"]), bool(row["fraud"]), {k: math.nan if v is None else float(v) for k, v in row["numbers"].items()},
                {k: None if v is None else str(v) for k, v in row["words"].items()}, float(row["score"]),
            )
            for row in rows
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BundleError(f"{SMOKE}: not a list of cases ({type(error).__name__}: {error})") from error


def cases_bytes(cases: Sequence[SmokeCase]) -> bytes:
    """The file of a bundle; numbers are written so that reading gives the same bits."""
    rows = [
        {
            "name": case.name, "fraud": case.fraud, "score": case.score, "words": dict(case.words),
            "numbers": {k: None if math.isnan(v) else v for k, v in case.numbers.items()},
        }
        for case in cases
    ]  # fmt: skip
    return json.dumps({"schema": 1, "cases": rows}, ensure_ascii=False, indent=1, allow_nan=False).encode() + b"\n"


def read_cases(path: Path) -> tuple[SmokeCase, ...]:
    """A user's own cases from TOML; InputError says which case is not understood."""
    try:
        body = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML: {error}") from error
    rows = body.get("case")
    if not isinstance(rows, list) or not rows or set(body) != {"case"}:
        raise InputError(f"{path}: needs one or more tables [[case]] and nothing else")
    return tuple(_own(row, f"{path}: case {number}") for number, row in enumerate(rows, 1))


def _own(row: object, where: str) -> SmokeCase:
    if not isinstance(row, dict) or not isinstance(row.get("fraud"), bool) or not isinstance(row.get("inputs"), dict):
        raise InputError(f"{where}: needs `fraud` (true or false) and `inputs` (a table of columns)")
    if unknown := set(row) - {"name", "fraud", "inputs"}:
        raise InputError(f"{where}: unknown key {min(unknown)!r}; a case has name, fraud and inputs")
    numbers, words = {}, {}
    for column, value in row["inputs"].items():
        if isinstance(value, str):
            words[column] = value
        elif isinstance(value, int | float):
            numbers[column] = float(value)
        else:
            raise InputError(f"{where}: {column} must be a number, a truth value or a text")
    return SmokeCase(str(row.get("name", where.rpartition(": ")[2])), row["fraud"], numbers, words)


def case_inputs(cases: Sequence[SmokeCase], model: Model) -> Inputs:
    """The cases as rows of what the model reads; columns that a case does not have are missing."""
    values = np.array([[case.numbers.get(name, math.nan) for name in model.numbers] for case in cases], np.float64)
    words = {name: [case.words.get(name) for case in cases] for name in model.words}
    return Inputs(model.numbers, values.reshape(len(cases), len(model.numbers)), words)


def scored_anew(bundle: Bundle) -> tuple[SmokeCase, ...]:
    """The bundle's cases with the scores that it gives now: for a model that was changed on purpose."""
    cases, model = bundle_cases(bundle), bundle.model()
    scores = model.score(case_inputs(cases, model)).tolist() if cases else []
    return tuple(replace(case, score=score) for case, score in zip(cases, scores, strict=True))


def changed_cases(bundle: Bundle) -> list[dict[str, Any]]:
    """The bundle's own cases whose score is not, bit for bit, the one it was stored with: name, expected, found."""
    cases = bundle_cases(bundle)
    if not cases:
        return []
    model = bundle.model()
    found = model.score(case_inputs(cases, model)).tolist()
    return [
        {"name": case.name, "expected": case.score, "found": score} for case, score in zip(cases, found, strict=True) if case.score != score
    ]

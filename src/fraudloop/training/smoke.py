"""Which training rows become a bundle's smoke cases: its clearest frauds, and genuine payments from all of its range."""

from __future__ import annotations

from typing import Final

import numpy as np

from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.model import Model
from fraudloop.scoring.smoke import SmokeCase
from fraudloop.training.metrics import Bools

#: Cases of each kind. A handful tells a wrong model from a right one; more would only make the bundle larger.
CASES: Final = 5

#: Rows of each kind that are looked at, evenly over the training days.
_ROWS_MAX: Final = 4_000

#: Where the genuine cases lie among the genuine payments by score: ordinary ones, not those that look like fraud.
_SHARES: Final = (0.1, 0.3, 0.5, 0.7, 0.9)


def choose_cases(inputs: Inputs, y: Bools, model: Model) -> tuple[SmokeCase, ...]:
    """Up to CASES of each kind with the model's own score, the same for the same training. inputs: n raw training rows.
    y: bool [n]. They hold what a model reads, so no id of anybody."""
    out = []
    for fraud in (True, False):
        rows = np.flatnonzero(y == fraud)
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _ROWS_MAX)).round().astype(np.int64))] if len(rows) else rows
        part = Inputs(
            inputs.names, inputs.values[rows], {name: [words[at] for at in rows.tolist()] for name, words in inputs.categories.items()}
        )
        order = np.argsort(-model.score(part), kind="stable") if len(rows) else np.zeros(0, np.int64)
        places = range(min(CASES, len(rows))) if fraud else sorted({int(share * (len(rows) - 1)) for share in _SHARES}) if len(rows) else ()
        for number, place in enumerate(places, 1):
            at = int(order[place])
            case = part[at : at + 1]
            numbers = dict(zip(model.numbers, (float(case.values[0, part.names.index(name)]) for name in model.numbers), strict=True))
            words = {name: case.categories[name][0] for name in model.words}
            score = float(model.score(case)[0])
            out.append(SmokeCase(f"{'fraud' if fraud else 'genuine'} {number}", fraud, numbers, words, score))
    return tuple(out)

"""What a model uses: how far its margin moves when one input's values are shuffled between payments.

One measure for every algorithm and for their mean, on the columns of the table: the levels of a category move together,
so that sixty small weights of a country do not add up to a large one. It reads no file.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.model import Model

#: Rows that are shuffled: the shares of two draws of as many differ by about a tenth of themselves.
ROWS: Final = 1_000


def importance(model: Model, rows: Inputs, seed: int = 0) -> list[dict[str, Any]]:
    """`{column, share}` of every input that the model reads, shares of 1, the largest first, ties by name.

    A share is the input's mean absolute change of the margin (log-odds), its values permuted among the rows, over the sum of
    all inputs' (Breiman, 2001, section 10; Fisher, Rudin and Dominici, 2019, with the model's own output for its loss).
    Inputs that say the same share what they say. rows: ordinary payments; at most ROWS of them, evenly spaced, are used.
    """
    sample = rows[:: max(1, -(-len(rows) // ROWS))]
    before = model.margins(sample)
    random = np.random.default_rng(seed)
    place = {name: at for at, name in enumerate(sample.names)}
    moved: dict[str, float] = {}
    for name in (*model.numbers, *model.words):
        order = random.permutation(len(sample))
        if name in place:
            values = sample.values.copy()
            values[:, place[name]] = values[order, place[name]]
            shuffled = Inputs(sample.names, values, sample.categories)
        else:
            words = sample.categories[name]
            shuffled = Inputs(sample.names, sample.values, {**sample.categories, name: [words[at] for at in order]})
        moved[name] = float(np.mean(np.abs(model.margins(shuffled) - before))) if len(sample) else 0.0
    whole = sum(moved.values()) or 1.0
    return [{"column": name, "share": value / whole} for name, value in sorted(moved.items(), key=lambda item: (-item[1], item[0]))]

"""A model: weighted members, the preprocessing of each, one calibration. Inputs in, scores out; it knows no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fraudloop.scoring.calibration import Calibration
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.preprocessing import Preprocessing
from fraudloop.scoring.scorers import Scorer


@dataclass(frozen=True, slots=True)
class Member:
    """One model of an ensemble. `preprocessing` names the one it reads; `weight` is its share of the margin, above 0."""

    name: str
    scorer: Scorer
    preprocessing: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Model:
    """The margin is the weighted mean of the members' margins, added in their order; the score is its calibration."""

    members: tuple[Member, ...]
    preprocessings: Mapping[str, Preprocessing]
    calibration: Calibration

    @property
    def numbers(self) -> tuple[str, ...]:
        """The number columns it reads, in the order of first use."""
        return tuple(dict.fromkeys(name for p in self.preprocessings.values() for name in p.numbers))

    @property
    def words(self) -> tuple[str, ...]:
        """The word columns it reads."""
        return tuple(dict.fromkeys(name for p in self.preprocessings.values() for name in p.words))

    def margins(self, inputs: Inputs) -> NDArray[np.float64]:
        """Log-odds before calibration, float64 [n]."""
        tables = {name: self.preprocessings[name].apply(inputs) for name in dict.fromkeys(m.preprocessing for m in self.members)}
        out = np.zeros(len(inputs))
        total = 0.0
        for member in self.members:
            out += member.weight * member.scorer.margins(tables[member.preprocessing])
            total += member.weight
        return out / total

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        """fraud_score: the calibrated chance of fraud, float64 [n], in (0, 1).

        The same row gives the same bits in a batch of any size. InputError names a column that is not there.
        """
        return self.calibration.apply(self.margins(inputs))

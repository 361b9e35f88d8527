"""A model: weighted members, the preprocessing of each, one calibration. Inputs in, scores out; it knows no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudloop.compiled import njit
from fraudloop.scoring.calibration import Calibration
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.network import NetworkScorer
from fraudloop.scoring.preprocessing import Preprocessing
from fraudloop.scoring.scorers import Scorer


@dataclass(frozen=True, slots=True)
class Member:
    """One model of an ensemble. `preprocessing` names the one it reads; `weight` is its share of the margin, above 0."""

    name: str
    scorer: Scorer
    preprocessing: str
    weight: float = 1.0


class Scored(msgspec.Struct, frozen=True, gc=False):
    """Of n rows. scores: calibrated, float64 [n]. margins: log-odds before calibration. by_member: each member's margins. contributions: of
    members that were asked for them together with their margins, float64 [n, outputs of their preprocessing]."""

    scores: NDArray[np.float64]
    margins: NDArray[np.float64]
    by_member: Mapping[str, NDArray[np.float64]]
    contributions: Mapping[str, NDArray[np.float64]] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Model:
    """The margin is the weighted mean of the members' margins, added in their order; the score is its calibration."""

    members: tuple[Member, ...]
    preprocessings: Mapping[str, Preprocessing]
    calibration: Calibration
    _weights: NDArray[np.float64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_weights", np.array([member.weight for member in self.members], np.float64))

    @property
    def numbers(self) -> tuple[str, ...]:
        """The number columns it reads, in the order of first use."""
        return tuple(dict.fromkeys(name for p in self.preprocessings.values() for name in p.numbers))

    @property
    def words(self) -> tuple[str, ...]:
        """The word columns it reads."""
        return tuple(dict.fromkeys(name for p in self.preprocessings.values() for name in p.words))

    def tables(self, inputs: Inputs) -> dict[str, NDArray[np.float64]]:
        """Rows preprocessed for the members, float64 [n, outputs] by name of the preprocessing: made once for scores and reasons.

        InputError names a column that is not there.
        """
        return {name: self.preprocessings[name].apply(inputs) for name in dict.fromkeys(m.preprocessing for m in self.members)}

    def score_tables(self, tables: Mapping[str, NDArray[np.float64]], *, explained: bool = False) -> Scored:
        """Scores of rows that are preprocessed already. explained: reasons of all of them will be asked for; a network then gives
        its contributions in the pass that gives its margins."""
        by_member, contributions = {}, {}
        for member in self.members:
            x = tables[member.preprocessing]
            if explained and isinstance(member.scorer, NetworkScorer):
                by_member[member.name], contributions[member.name] = member.scorer.explained(x)
            else:
                by_member[member.name] = member.scorer.margins(x)
        margins = self.mean(by_member)
        return Scored(self.calibration.apply(margins), margins, by_member, contributions)

    def mean(self, by_member: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """The margins of the model from those of its members, float64 [n]."""
        out = np.empty(len(by_member[self.members[0].name]))
        _mean(np.concatenate([by_member[member.name] for member in self.members]), self._weights, out)
        return out

    def margins(self, inputs: Inputs) -> NDArray[np.float64]:
        """Log-odds before calibration, float64 [n]."""
        return self.score_tables(self.tables(inputs)).margins

    def score(self, inputs: Inputs) -> NDArray[np.float64]:
        """fraud_score: the calibrated chance of fraud, float64 [n], in (0, 1).

        The same row gives the same bits in a batch of any size. InputError names a column that is not there.
        """
        return self.score_tables(self.tables(inputs)).scores


@njit
def _mean(margins: NDArray[np.float64], weights: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """margins: of one member after the other."""
    n, total = len(out), 0.0
    for member in range(len(weights)):
        total += weights[member]
    for row in range(n):
        added = 0.0
        for member in range(len(weights)):
            added += weights[member] * margins[member * n + row]
        out[row] = added / total


def warm() -> None:
    """Run the kernel once, so that its machine code is ready."""
    _mean(np.zeros(1), np.ones(1), np.zeros(1))

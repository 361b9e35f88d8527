"""What drove a score: the margin (log-odds before calibration) of a row shared out over the columns it was made from.

Contributions of a row and its base add up to its margin (efficiency), whatever the member; `method` says how each was
found. No training library is needed, and a row's contributions do not depend on the rows beside it. An explainer is made
once and used for batches of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudloop.errors import BundleError
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.model import Member, Model, Scored
from fraudloop.scoring.network import NetworkScorer
from fraudloop.scoring.scorers import LinearScorer
from fraudloop.scoring.tree_shap import TreeShap, gather, row_sums, tree_shap
from fraudloop.scoring.trees import FOREST_MARGIN, TreeTable, forest_margins

Floats = NDArray[np.float64]

TREE_SHAP: Final = "TreeSHAP, path-dependent"
VOTE_SHAP: Final = "TreeSHAP, path-dependent, of the vote, scaled to its margin"
LINEAR: Final = "weight × (value − mean)"
NETWORK: Final = "DeepLIFT, rescale rule, against the mean training row"

#: How far a member's own contributions and base may be from the margin that it scores, relative to it where that is above
#: 1; beyond, the file does not hold what was scored. The network adds up in float32.
_MARGIN_TOLERANCE: Final = 1e-3

#: A vote as near to the base as this is scaled by the slope of the log-odds there, not by a difference of nearly nothing.
_SAME_VOTE: Final = 1e-9

#: Preprocessed rows -> contributions float64 [n, outputs] and base, float64 or float64 [n].
_Explain = Callable[[Floats], tuple[Floats, Floats | float]]


class Attribution(msgspec.Struct, frozen=True, gc=False):
    """columns: what the model reads, numbers then words. base: float64 [n], the margin before anything is known of the row.
    contributions: float64 [n, columns], towards fraud above 0. margin: float64 [n], base plus the row's contributions.
    method: how they were found, by name of the member.
    """

    columns: tuple[str, ...]
    base: Floats
    contributions: Floats
    margin: Floats
    method: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Part:
    member: Member
    explain: _Explain
    place: NDArray[np.int64]
    #: Of a member whose contributions may come with its margins.
    base: float = 0.0


class Explainer:
    """Shares the margins of rows out over the columns that a model reads.

    A column that preprocessing splits (levels of a word, a missing flag) is one again. Members are weighed as in the
    score. A booster's contributions are its exact path-dependent Shapley values (`scoring.tree_shap`); a forest's those of
    its mean vote, each times (margin − margin of the base) / (vote − base), so that they add up to the margin and keep
    sign and proportion; a linear member's are weight times distance from the training mean; a network's its own
    (`scoring.network`).

    BundleError where a member cannot be explained, or gives contributions that do not add up to its margin.
    """

    def __init__(self, model: Model | Bundle) -> None:
        self.model = model.model() if isinstance(model, Bundle) else model
        self.columns = (*self.model.numbers, *self.model.words)
        self._parts: list[_Part] = []
        self._whole = sum(member.weight for member in self.model.members)
        self.method: Mapping[str, str] = {}
        where = {name: at for at, name in enumerate(self.columns)}
        methods = {}
        for member in self.model.members:
            explain, methods[member.name] = _explain_of(member)
            steps = self.model.preprocessings[member.preprocessing].steps
            place = np.array([where[step.column] for step in steps for _ in step.outputs], np.int64)
            self._parts.append(_Part(member, explain, place, member.scorer.base if isinstance(member.scorer, NetworkScorer) else 0.0))
        self.method = methods

    def explain(self, inputs: Inputs) -> Attribution:
        """The attribution of rows. InputError names a column that is not there."""
        return self.explain_tables(self.model.tables(inputs))

    def explain_tables(
        self, tables: Mapping[str, Floats], scored: Scored | None = None, rows: NDArray[np.int64] | None = None
    ) -> Attribution:
        """The same of rows that are preprocessed already (`Model.tables`).

        scored: what the same rows were found to score, where that is known (`Model.score_tables`). rows: the places of the rows that
        are asked for, in that order; all without it.
        """
        by_member = {} if scored is None else scored.by_member
        made = {} if scored is None else scored.contributions
        margin = None if scored is None else scored.margins
        if rows is not None and len(rows) < len(next(iter(tables.values()))):
            tables = {name: table[rows] for name, table in tables.items()}
            by_member = {name: margins[rows] for name, margins in by_member.items()}
            made = {name: values[rows] for name, values in made.items()}
            margin = None if margin is None else margin[rows]
        n = len(next(iter(tables.values())))
        out, known = np.zeros((n, len(self.columns))), {}
        for part in self._parts:
            name, x = part.member.name, tables[part.member.preprocessing]
            known[name] = mine = by_member[name] if name in by_member else part.member.scorer.margins(x)
            by_output, base = (made[name], part.base) if name in made else part.explain(x)
            bases = np.empty(n)
            bases[:] = base
            if not gather(by_output, part.place, part.member.weight / self._whole, bases, mine, _MARGIN_TOLERANCE, out):
                raise BundleError(f"member {name!r}: its contributions do not add up to its margin")
        if margin is None:
            # As the model adds them up, to the last bit.
            margin = self.model.mean(known)
        # The base takes the last bits of the sums, so that base and contributions are the margin.
        return Attribution(self.columns, margin - row_sums(out), out, margin, self.method)


def _explain_of(member: Member) -> tuple[_Explain, str]:
    scorer = member.scorer
    if isinstance(scorer, TreeTable):
        shap = tree_shap(scorer)
        if scorer.link == "vote":
            return lambda x: _of_vote(shap, x), VOTE_SHAP
        return lambda x: (shap.contributions(x), shap.base), TREE_SHAP
    if isinstance(scorer, LinearScorer):
        linear = scorer
        base = linear.intercept + sum(weight * mean for weight, mean in zip(linear.weights, linear.means, strict=True))
        return lambda x: (linear.contributions(x), base), LINEAR
    if isinstance(scorer, NetworkScorer):
        network, own = scorer, scorer.base
        return lambda x: (network.contributions(x), own), NETWORK
    raise BundleError(f"member {member.name!r}: no way to explain a {type(scorer).__name__} is known to this version")


def _of_vote(shap: TreeShap, x: Floats) -> tuple[Floats, Floats | float]:
    """Shapley values of the mean vote in units of the margin, and the margin of the base.

    One factor a row, the same for all its columns: the slope of the log-odds between the base and the row's vote.
    """
    contributions = shap.contributions(x)
    votes = shap.table.sums(x)
    low = float(forest_margins(np.array([shap.base]))[0])
    apart = votes - shap.base
    near = np.abs(apart) <= _SAME_VOTE
    slope = 1.0 / (shap.base + FOREST_MARGIN) + 1.0 / (1.0 - shap.base + FOREST_MARGIN)
    factor = np.where(near, slope, (forest_margins(votes) - low) / np.where(near, 1.0, apart))
    return contributions * factor[:, None], low

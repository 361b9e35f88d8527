"""A bundle made ready to decide: model, explainer, what is typical, and which columns of a vector it reads. It knows no store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.row import Row
from fraudloop.errors import BundleError
from fraudloop.scoring.attribution import Explainer
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.model import Model
from fraudloop.scoring.smoke import changed_cases
from fraudloop.scoring.typical import typical

Floats = NDArray[np.float64]

#: Characters of a hash that stand in answers and records: enough that a store of a million bundles holds no two.
SHORT: Final = 16


@dataclass(frozen=True, slots=True)
class Loaded:
    """hash: of the bundle. features: its definitions. units, typical: for reasons in words."""

    hash: str
    model: Model
    explainer: Explainer
    features: FeatureSet
    typical: Mapping[str, float]
    _places: dict[tuple[str, ...], tuple[NDArray[np.int64], tuple[str, ...]]] = field(default_factory=dict, repr=False)

    @property
    def short(self) -> str:
        return self.hash[:SHORT]

    def inputs(self, plan: FeatureSet, vectors: Floats, rows: Sequence[Row]) -> Inputs:
        """What the model reads of some payments: features by the hash of their definition, further numbers and words from the rows."""
        places, others = self._places_of(plan)
        n = len(rows)
        values = np.empty((n, len(self.model.numbers)))
        values[:, : len(places)] = vectors[:, places]
        for at, name in enumerate(others, len(places)):
            values[:, at] = [np.nan if row.get(name) is None else float(row[name]) for row in rows]  # type: ignore[arg-type]
        words = {name: [_word(row.get(name)) for row in rows] for name in self.model.words}
        return Inputs(self._names(places, others), values, words)

    def _names(self, places: NDArray[np.int64], others: tuple[str, ...]) -> tuple[str, ...]:
        return (*(name for name in self.model.numbers if name not in others), *others)

    def _places_of(self, plan: FeatureSet) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        found = self._places.get(plan.names)
        if found is None:
            by_hash = {feature.hash: at for at, feature in enumerate(plan.features)}
            own = {feature.name: feature.hash for feature in self.features.features}
            places = [by_hash[own[name]] for name in self.model.numbers if name in own]
            others = tuple(name for name in self.model.numbers if name not in own)
            found = self._places[plan.names] = (np.array(places, np.int64), others)
        return found

    def score(self, plan: FeatureSet, vectors: Floats, rows: Sequence[Row]) -> tuple[Floats, Inputs]:
        """Calibrated scores float64 [n], and what they were made of."""
        inputs = self.inputs(plan, vectors, rows)
        return self.model.score(inputs), inputs


def load(bundle: Bundle) -> Loaded:
    """Read a bundle aside, check it on its own smoke cases, and run it once in the sizes that come. BundleError if its cases do
    not score as they did when it was made."""
    model = bundle.model()
    wrong = changed_cases(bundle)
    if wrong:
        first = wrong[0]
        raise BundleError(
            f"bundle {bundle.hash[:12]}: its smoke case {first['name']!r} scores {first['found']!r} here instead of {first['expected']!r}; "
            "this build or machine computes otherwise: train it again here"
        )
    loaded = Loaded(bundle.hash, model, Explainer(model), bundle.features, typical(bundle) if _profiled(bundle) else {})
    for rows in (1, 8, 32):
        values = np.zeros((rows, len(model.numbers)))
        inputs = Inputs(model.numbers, values, {name: [None] * rows for name in model.words})
        model.score(inputs)
        loaded.explainer.explain(inputs)
    return loaded


def _profiled(bundle: Bundle) -> bool:
    return len(bundle.files.get("reference.parquet", b"")) > len(b"PAR1")


def _word(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return ("true" if value else "false") if isinstance(value, bool) else str(value)

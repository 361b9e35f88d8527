"""A bundle made ready to decide: model, explainer, words for its reasons, and which columns of a vector it reads. It knows no store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudloop.decisions.reasons import ReasonWriter
from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.row import Row
from fraudloop.errors import BundleError
from fraudloop.ledger.records import Reason
from fraudloop.scoring.attribution import Explainer
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.model import Model, Scored
from fraudloop.scoring.smoke import changed_cases
from fraudloop.scoring.typical import typical

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Characters of a hash that stand in answers and records: enough that a store of a million bundles holds no two.
SHORT: Final = 16


class Read(msgspec.Struct, frozen=True, gc=False):
    """What a model made of some payments. tables: preprocessed, for reasons too."""

    tables: dict[str, Floats]
    scored: Scored
    words: Mapping[str, Sequence[str | None]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """hash: of the bundle. features: its definitions. numbers, words: what the model reads, in order. method: how its reasons are found."""

    hash: str
    model: Model
    explainer: Explainer
    features: FeatureSet
    writer: ReasonWriter
    numbers: tuple[str, ...]
    words: tuple[str, ...]
    method: str
    _places: dict[int, tuple[FeatureSet, Ints | slice, tuple[str, ...]]] = field(default_factory=dict, repr=False)

    @property
    def short(self) -> str:
        return self.hash[:SHORT]

    def read(self, plan: FeatureSet, vectors: Floats, rows: Sequence[Row], *, explained: bool = False) -> Read:
        """Score payments: features by the hash of their definition, further numbers and words from the rows. explained: as in
        `Model.score_tables`."""
        places, others = self._places_of(plan)
        values: Floats
        if others:
            values = np.empty((len(rows), len(self.numbers)))
            own = len(self.numbers) - len(others)
            values[:, :own] = vectors[:, places]
            for at, name in enumerate(others, own):
                values[:, at] = [np.nan if row.get(name) is None else float(row[name]) for row in rows]  # type: ignore[arg-type]
        else:
            values = vectors[:, places]
        words = {name: [_word(row.get(name)) for row in rows] for name in self.words}
        tables = self.model.tables(Inputs(self._in_order(others), values, words))
        return Read(tables, self.model.score_tables(tables, explained=explained), words)

    def _in_order(self, others: tuple[str, ...]) -> tuple[str, ...]:
        if not others:
            return self.numbers
        return (*(name for name in self.numbers if name not in others), *others)

    def _places_of(self, plan: FeatureSet) -> tuple[Ints | slice, tuple[str, ...]]:
        found = self._places.get(id(plan))
        if found is None:
            by_hash = {feature.hash: at for at, feature in enumerate(plan.features)}
            own = {feature.name: feature.hash for feature in self.features.features}
            places = np.array([by_hash[own[name]] for name in self.numbers if name in own], np.int64)
            others = tuple(name for name in self.numbers if name not in own)
            whole = len(places) == len(plan.features) and bool((places == np.arange(len(places))).all())
            if len(self._places) > 8:
                self._places.clear()
            found = self._places[id(plan)] = (plan, slice(None) if whole else places, others)
        return found[1], found[2]


def load(bundle: Bundle, units: dict[str, str] | None = None) -> Loaded:
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
    loaded = ready(bundle.hash, model, bundle.features, typical(bundle) if _profiled(bundle) else {}, units or {})
    for rows in (1, 8, 40):
        inputs = Inputs(model.numbers, np.zeros((rows, len(model.numbers))), {name: [None] * rows for name in model.words})
        tables = model.tables(inputs)
        scored = model.score_tables(tables)
        loaded.explainer.explain_tables(tables, scored, np.arange(rows))
    return loaded


def ready(name: str, model: Model, features: FeatureSet, usual: dict[str, float], units: dict[str, str]) -> Loaded:
    """A model with all that decisions need of it."""
    explainer = Explainer(model)
    method = "; ".join(dict.fromkeys(explainer.method.values()))
    return Loaded(name, model, explainer, features, ReasonWriter(features, units, usual, Reason), model.numbers, model.words, method)


def _profiled(bundle: Bundle) -> bool:
    return len(bundle.files.get("reference.parquet", b"")) > len(b"PAR1")


def _word(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return ("true" if value else "false") if isinstance(value, bool) else str(value)

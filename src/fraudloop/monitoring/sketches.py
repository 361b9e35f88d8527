"""Live sketches: how each input and the score are distributed now, over the bins in which a bundle's training was described. Pure.

A sketch counts, by micro-batch, in one compiled pass: of each number its bins, the missing, and the sum; of each category its words. Sketches
of the same reference add up. Against the reference the population stability index tells how far a distribution has moved:

    PSI = Σ (q − p) · ln(q / p)        p, q: shares of the bins then and now, missing being one of them

(Siddiqi, "Credit Risk Scorecards", 2006). Of two samples of n and m rows with k bins of one distribution it is about (k − 1)(1/n + 1/m)
(Yurdakul and Naranjo, "Statistical Properties of the Population Stability Index", 2020): that is `noise`, below which nothing has moved.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.compiled import njit
from fraudloop.errors import BundleError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: The column of a reference profile that is the model's score.
SCORE: Final = "fraud_score"

#: Added to every bin before shares are compared, so that an empty one is no infinity.
_HALF: Final = 0.5

Words = Mapping[str, Sequence[str | None]]


@dataclass(frozen=True, slots=True)
class Numbers:
    """A number of the reference. edges: between its bins, which are [lower, upper). rows: of each bin, then the missing."""

    name: str
    edges: tuple[float, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Category:
    """A category of the reference. words: with a bin of their own. rows: of each of them, then of all others, then the missing."""

    name: str
    words: tuple[str, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A bundle's reference profile. The score, where it has one, is the last of the numbers."""

    numbers: tuple[Numbers, ...]
    categories: tuple[Category, ...]

    @staticmethod
    def from_rows(rows: Sequence[Mapping[str, Any]]) -> Reference:
        """Of the rows of a profile (`training.reference`): column, kind, bin, lower, upper, word, rows."""
        by_column: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for row in rows:
            by_column.setdefault((row["kind"], row["column"]), []).append(row)
        numbers, categories = [], []
        for (kind, name), mine in by_column.items():
            bins = sorted((row for row in mine if row["bin"] >= 0), key=lambda row: row["bin"])
            missing = sum(row["rows"] for row in mine if row["bin"] < 0)
            counts = [int(row["rows"]) for row in bins]
            if kind == "word":
                words = tuple(str(row["word"]) for row in bins if row["word"] is not None)
                rest = sum(counts[len(words) :])
                categories.append(Category(name, words, (*counts[: len(words)], rest, missing)))
            else:
                edges = tuple(float(row["lower"]) for row in bins[1:])
                numbers.append((kind == "score", Numbers(name, edges, (*(counts or [0]), missing))))
        return Reference(tuple(n for _, n in sorted(numbers, key=lambda pair: pair[0])), tuple(categories))

    @staticmethod
    def from_parquet(data: bytes) -> Reference:
        """Of a bundle's `reference.parquet`; BundleError if it is none."""
        import polars as pl  # to read a file: what counts needs no tables

        try:
            table = pl.read_parquet(io.BytesIO(data))
            return Reference.from_rows(table.select("column", "kind", "bin", "lower", "upper", "word", "rows").to_dicts())
        except (pl.exceptions.PolarsError, KeyError, TypeError) as error:
            raise BundleError(f"reference.parquet: not the profile of a bundle ({error})") from error


class Sketch:
    """Counts over the bins of a reference. names: of the columns of the vectors that :meth:`update` is given.

    >>> reference = Reference((Numbers("amount", (10.0, 50.0), (5, 5, 5, 0)),), (Category("channel", ("web",), (9, 1, 0)),))
    >>> sketch = Sketch(reference, ("amount",))
    >>> sketch.update(np.array([[10.0], [np.nan]]), np.array([0.1, 0.2]), {"channel": ["web", "fax"]})
    >>> sketch.counts[0].tolist(), sketch.words[0].tolist()
    ([0, 1, 0, 1], [1, 1, 0])
    """

    def __init__(self, reference: Reference, names: Sequence[str]) -> None:
        self.reference, self.names = reference, tuple(names)
        numbers = reference.numbers
        place = {name: at for at, name in enumerate(names)}
        self._places = np.array([-1 if n.name == SCORE else place.get(n.name, -2) for n in numbers], np.int64)
        width = max((len(n.edges) for n in numbers), default=0)
        self._edges = np.full((len(numbers), width + 1), np.inf)
        self._last = np.array([len(n.edges) for n in numbers], np.int64)
        for at, n in enumerate(numbers):
            self._edges[at, : len(n.edges)] = n.edges
        #: Rows that were counted.
        self.rows = 0
        self._counts = np.zeros((len(numbers), width + 2), np.int64)
        self._sums = np.zeros(len(numbers))
        #: By category, counts of its words, of others, and of the missing.
        self.words = [np.zeros(len(c.words) + 2, np.int64) for c in reference.categories]
        self._bins = [{**{word: at for at, word in enumerate(c.words)}, None: len(c.words) + 1} for c in reference.categories]

    @property
    def counts(self) -> list[Ints]:
        """By number, counts of its bins and of the missing."""
        return [np.append(row[: last + 1], row[-1]) for row, last in zip(self._counts, self._last.tolist(), strict=True)]

    def update(self, values: Floats, scores: Floats, words: Words) -> None:
        """Count a batch. values: float64 [n, names]. scores: float64 [n], NaN without a model. words: by category n words; one that is
        not there is not counted."""
        self.rows += len(values)
        _count(values, scores, self._places, self._edges, self._last, self._counts, self._sums)
        for category, bins, counts in zip(self.reference.categories, self._bins, self.words, strict=True):
            column = words.get(category.name)
            if column is not None:
                other, get = len(category.words), bins.get
                counts += np.bincount([get(word, other) for word in column], minlength=len(counts))

    def merge(self, other: Sketch) -> Sketch:
        """The counts of both, of one reference."""
        assert self.reference == other.reference, "sketches of different references do not add up"
        out = Sketch(self.reference, self.names)
        out.rows = self.rows + other.rows
        out._counts, out._sums = self._counts + other._counts, self._sums + other._sums
        out.words = [mine + theirs for mine, theirs in zip(self.words, other.words, strict=True)]
        return out

    def take(self) -> Sketch:
        """What was counted so far; this one begins anew: a window ends."""
        out = self.merge(Sketch(self.reference, self.names))
        self.rows = 0
        self._counts[:], self._sums[:] = 0, 0.0
        for counts in self.words:
            counts[:] = 0
        return out

    def drift(self) -> list[dict[str, Any]]:
        """A row a column, the most moved first: `column, kind, rows, psi, noise, missing, missing_reference`, of numbers `mean`, of
        categories `unknown` and `unknown_reference` (the share of words without a bin of their own). psi is None before the first row."""
        out = []
        for n, counts, total in zip(self.reference.numbers, self.counts, self._sums.tolist(), strict=True):
            row = _compared(n.name, "score" if n.name == SCORE else "number", counts, np.array(n.rows))
            present = int(counts[:-1].sum())
            out.append({**row, "mean": total / present if present else None})
        for c, counts in zip(self.reference.categories, self.words, strict=True):
            reference = np.array(c.rows)
            row = _compared(c.name, "word", counts, reference)
            out.append({**row, "unknown": _share(counts[-2], counts.sum()), "unknown_reference": _share(reference[-2], reference.sum())})
        return sorted(out, key=lambda row: -math.inf if row["psi"] is None else row["psi"], reverse=True)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; :meth:`from_dict` reads it back beside the same reference."""
        return {
            "rows": self.rows,
            "numbers": {n.name: {"counts": counts.tolist(), "sum": total} for n, counts, total in zip(self.reference.numbers, self.counts, self._sums.tolist(), strict=True)},
            "categories": {c.name: counts.tolist() for c, counts in zip(self.reference.categories, self.words, strict=True)},
        }  # fmt: skip

    @staticmethod
    def from_dict(data: Mapping[str, Any], reference: Reference, names: Sequence[str]) -> Sketch:
        """Of what :meth:`to_dict` gave."""
        out = Sketch(reference, names)
        out.rows = int(data["rows"])
        for at, n in enumerate(reference.numbers):
            given = data["numbers"][n.name]
            out._counts[at, : len(n.edges) + 1] = given["counts"][:-1]
            out._counts[at, -1] = given["counts"][-1]
            out._sums[at] = given["sum"]
        out.words = [np.array(data["categories"][c.name], np.int64) for c in reference.categories]
        return out


def psi(now: Ints, then: Ints) -> float:
    """The population stability index of two counts over the same bins; each bin that either uses counts half a row more.

    >>> psi(np.array([50, 50]), np.array([500, 500]))
    0.0
    """
    used = now + then > 0
    now, then = now[used], then[used]
    q = (now + _HALF) / (now.sum() + _HALF * len(now))
    p = (then + _HALF) / (then.sum() + _HALF * len(then))
    return float(np.sum((q - p) * np.log(q / p)))


def _compared(name: str, kind: str, now: Ints, then: Ints) -> dict[str, Any]:
    n, m = int(now.sum()), int(then.sum())
    used = int(np.count_nonzero(now + then))
    return {
        "column": name, "kind": kind, "rows": n, "psi": psi(now, then) if n and m else None,
        "noise": (used - 1) * (1.0 / n + 1.0 / m) if n and m else None,
        "missing": _share(now[-1], n), "missing_reference": _share(then[-1], m),
    }  # fmt: skip


def _share(part: Any, whole: Any) -> float | None:
    return None if whole == 0 else float(part) / float(whole)


@njit
def _count(values: Any, scores: Any, places: Any, edges: Any, last: Any, counts: Any, sums: Any) -> None:
    """Each number of each row into its bin. A place of -1 is the score, -2 a number that these vectors lack."""
    missing = counts.shape[1] - 1
    for i in range(values.shape[0]):
        for k in range(places.shape[0]):
            place = places[k]
            if place == -2:
                continue
            value = scores[i] if place == -1 else values[i, place]
            if not np.isfinite(value):
                counts[k, missing] += 1
                continue
            at = 0
            for e in range(last[k]):  # a few edges: counting them all is quicker than a search that branches
                at += 1 if edges[k, e] <= value else 0
            counts[k, at] += 1
            sums[k] += value


def warm() -> None:
    """Compile the kernel."""
    sketch = Sketch(Reference((Numbers("a", (0.0,), (1, 1, 0)),), ()), ("a",))
    sketch.update(np.zeros((1, 1)), np.zeros(1), {})

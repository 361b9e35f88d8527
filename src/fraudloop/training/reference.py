"""The reference profile of a bundle: how each input and the score were distributed in training, for drift later."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraudloop.scoring.inputs import Inputs

#: Bins of a number: tenths of the training rows, so that each bin is as informative as any other.
BINS: Final = 10

#: Words of a category with a bin of their own.
WORDS: Final = 50

SCHEMA: Final = {
    "column": pl.String, "kind": pl.String, "bin": pl.Int32, "lower": pl.Float64, "upper": pl.Float64, "word": pl.String, "rows": pl.Int64, "share": pl.Float64,
}  # fmt: skip


def reference_profile(inputs: Inputs, score: NDArray[np.float64]) -> pl.DataFrame:
    """One row a bin: `column, kind (number | word | score), bin, lower, upper, word, rows, share`.

    Bins are [lower, upper), the outer ones open to -inf and inf; bin -1 counts missing values. Of a category the WORDS
    most frequent words have a bin each, all others share one with word null.
    """
    rows: list[tuple[object, ...]] = []
    for at, name in enumerate(inputs.names):
        rows += _numbers(name, "number", inputs.values[:, at])
    for name, words in inputs.categories.items():
        rows += _words(name, words)
    rows += _numbers("fraud_score", "score", score)
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def reference_bytes(profile: pl.DataFrame, about: Mapping[str, str]) -> bytes:
    """As a Parquet file with notes in its metadata."""
    buffer = io.BytesIO()
    profile.write_parquet(buffer, compression="zstd", metadata=dict(about))
    return buffer.getvalue()


def _numbers(name: str, kind: str, values: NDArray[np.float64]) -> list[tuple[object, ...]]:
    present = values[np.isfinite(values)]
    total = max(1, len(values))
    out: list[tuple[object, ...]] = [(name, kind, -1, None, None, None, len(values) - len(present), (len(values) - len(present)) / total)]
    if not len(present):
        return out
    inner = np.unique(np.quantile(present, np.arange(1, BINS) / BINS, method="lower"))
    edges = np.concatenate([[-np.inf], inner, [np.inf]])
    counts = np.bincount(np.searchsorted(inner, present, side="right"), minlength=len(inner) + 1)
    return out + [(name, kind, b, float(edges[b]), float(edges[b + 1]), None, int(n), n / total) for b, n in enumerate(counts)]


def _words(name: str, words: Sequence[str | None]) -> list[tuple[object, ...]]:
    total = max(1, len(words))
    counts = Counter(words)
    missing = counts.pop(None, 0)
    named = sorted(((word, n) for word, n in counts.items() if word is not None), key=lambda item: (-item[1], item[0]))
    out: list[tuple[object, ...]] = [(name, "word", -1, None, None, None, missing, missing / total)]
    out += [(name, "word", b, None, None, word, n, n / total) for b, (word, n) in enumerate(named[:WORDS])]
    rest = sum(n for _, n in named[WORDS:])
    return [*out, (name, "word", min(WORDS, len(named)), None, None, None, rest, rest / total)]

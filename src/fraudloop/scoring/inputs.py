"""What a model reads: n rows of numbers and of words, before any preprocessing. Arrays only, no table library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray


class Inputs(msgspec.Struct, frozen=True, gc=False):
    """n rows.

    names: the number columns in order. values: float64 [n, len(names)], NaN = missing.
    categories: by column n words, None = missing.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    categories: Mapping[str, Sequence[str | None]] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.values.ndim == 2 and self.values.shape[1] == len(self.names), "one name for every column"
        assert all(len(words) == len(self.values) for words in self.categories.values()), "one word for every row"

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, at: slice) -> Inputs:
        """A run of rows."""
        return Inputs(self.names, self.values[at], {name: words[at] for name, words in self.categories.items()})

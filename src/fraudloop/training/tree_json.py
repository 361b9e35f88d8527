"""Forests as data: what scikit-learn fitted, written as the `trees-json` that `scoring.trees` reads.

It knows scikit-learn's arrays of a tree and no algorithm. Thresholds are written as the float32 that compares alike,
in its shortest decimals, which halves the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudloop.errors import InputError
from fraudloop.limits import BUNDLE_FILE_BYTES_MAX
from fraudloop.scoring.trees import TREES_SCHEMA, JsonTree, JsonTrees, Link

#: Digits that hold a float32 without loss.
_SINGLE_DIGITS: Final = 9

#: JSON has no infinity; beyond float32 it is read as one. A split of missing values from all others has it.
_INFINITE: Final = 1e39


def sklearn_tree(tree: Any, values: NDArray[np.float64], columns: Sequence[int] | None = None) -> JsonTree:
    """One fitted tree (`estimator.tree_`) with the value that each node has as a leaf, float64 [nodes].

    columns: by column of the tree the column of the table, where a tree was fitted on a part of them.
    """
    leaf = tree.children_left < 0
    feature = np.where(leaf, 0, tree.feature)
    if columns is not None:
        feature = np.asarray(columns, np.int64)[feature]
    return JsonTree(
        feature=np.where(leaf, -1, feature).tolist(),
        threshold=_short(np.where(leaf, 0.0, _below(tree.threshold))),
        left=tree.children_left.tolist(),
        right=tree.children_right.tolist(),
        missing=np.where(leaf, 0, tree.missing_go_to_left).tolist(),
        value=np.where(leaf, values, 0.0).tolist(),
        cover=np.asarray(tree.weighted_n_node_samples, np.float64).tolist(),
    )


def encode_trees(trees: Sequence[JsonTree], columns: int, base: float, link: Link) -> bytes:
    """The file; InputError if a bundle could not hold it.

    >>> leaf = JsonTree([-1], [0.0], [-1], [-1], [0], [0.25], [1.0])
    >>> encode_trees([leaf], 3, 0.5, "margin")[:66]
    b'{"schema":1,"columns":3,"base":0.5,"link":"margin","compare":"<=",'
    """
    data = msgspec.json.encode(JsonTrees(TREES_SCHEMA, columns, float(base), link, "<=", list(trees))) + b"\n"
    if len(data) > BUNDLE_FILE_BYTES_MAX:
        raise InputError(
            f"the forest takes {len(data):,} bytes, a file of a bundle at most {BUNDLE_FILE_BYTES_MAX:,}; "
            "set fewer trees, less depth or more leaf_rows"
        )
    return data


def _below(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 not above each threshold: a float32 value is `<=` the one exactly where it is `<=` the other."""
    single = threshold.astype(np.float32)
    return np.where(single.astype(np.float64) > threshold, np.nextafter(single, np.float32(-np.inf)), single)


def _short(values: NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.{_SINGLE_DIGITS}g}") for value in np.clip(values.astype(np.float64), -_INFINITE, _INFINITE).tolist()]

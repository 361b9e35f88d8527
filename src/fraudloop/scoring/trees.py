"""Trees as one table of nodes and compiled kernels that add up their leaves: boosted ones and forests.

Trees of up to 64 leaves are not walked: every node is compared, 16 rows in the lanes of an instruction, and strikes the
leaves that a row cannot reach off a word of bits; the lowest bit left is its leaf (QuickScorer: Lucchese et al., SIGIR 2015;
V-QuickScorer: SIGIR 2016). No branch depends on a row. Larger trees are walked level by level. Both give the same bits.

It reads what XGBoost (JSON) and LightGBM (text) write themselves, and for forests an own JSON. The libraries stay in
training: importing one loads scikit-learn and pandas where these are installed, and a call costs more than the trees of
a small batch. Leaves are summed in float64 in the order of the trees, so a row's sum does not depend on its batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudloop.compiled import njit, plain
from fraudloop.errors import BundleError
from fraudloop.scoring.lanes import at_most, at_most_or_missing, below, below_or_missing, load16, pick, splat16, store, strike

#: How many rows walk one tree before the next tree: the rows and the tree stay in the first-level cache together.
_BLOCK = 64

#: Rows whose bits are struck together: the lanes of `scoring.lanes`.
_LANES: Final = 16

#: As many leaves as a word has bits. Beside float32 a narrower word strikes twice as many rows with one instruction.
_LEAVES_MAX: Final = 64
_NARROW_LEAVES_MAX: Final = 32

#: LightGBM reads what is this near to 0 as 0 (its kZeroThreshold, 1e-35 in float32).
_LIGHTGBM_ZERO = float(np.float32(1e-35))

#: The same for the others, which read every number as it is: -0.0 equals 0.
_SINGLE_ZERO = 0.0

#: Keeps a forest's share of votes away from 0 and 1, where log-odds have no value; keeps their order.
FOREST_MARGIN: Final = 1e-4

#: What the leaves add up to: a margin, or the mean vote of a forest.
Link = Literal["margin", "vote"]

#: Raised when a file of trees written now could not be read by the version before.
TREES_SCHEMA: Final = 1

#: What a missing value does at a node.
_GO_RIGHT, _GO_LEFT, _AS_ZERO = 0, 1, 2


@dataclass(frozen=True, slots=True)
class TreeTable:
    """All nodes of all trees, one after another.

    base: sum before the first tree. roots, depths: int32 [trees]. inputs: how many columns the trees may read.
    feature: int32 [nodes], 0 at a leaf. threshold: float64 [nodes]. children: int32 [2 nodes], left and right of each
    node, a leaf its own. missing: uint8 [nodes]. leaf: float64 [nodes], 0 at inner nodes. cover: float64 [nodes], how
    much of the training rows came by, in the measure of the library. strict: left is `x < threshold` (XGBoost), else
    `x <= threshold`. single: values are read as float32 (all but LightGBM, which reads tiny ones as 0). link: what the
    sum is; a mean vote `p` becomes the margin `log((p + e) / (1 - p + e))` with `e = FOREST_MARGIN`.
    """

    base: float
    roots: NDArray[np.int32]
    depths: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    children: NDArray[np.int32]
    missing: NDArray[np.uint8]
    leaf: NDArray[np.float64]
    cover: NDArray[np.float64]
    inputs: int
    strict: bool
    single: bool
    link: Link = "margin"
    _bits: tuple[Any, ...] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_bits", _bits_of(self))

    @property
    def zero(self) -> float:
        """What is this near to 0 is read as 0."""
        return _SINGLE_ZERO if self.single else _LIGHTGBM_ZERO

    def margins(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds float64 [n] of rows float64 [n, inputs]; NaN = missing."""
        sums = self.sums(x)
        return forest_margins(sums) if self.link == "vote" else sums

    def read(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The rows as the trees compare them."""
        assert x.ndim == 2 and x.shape[1] == self.inputs, "the trees read another number of columns"
        if self.single:
            with np.errstate(over="ignore"):  # beyond float32 is infinite
                return np.ascontiguousarray(x.astype(np.float32).astype(np.float64))
        return np.ascontiguousarray(np.where(np.abs(x) <= _LIGHTGBM_ZERO, 0.0, x))

    def sums(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Base and leaves added up, float64 [n]: margins, or mean votes."""
        if self._bits is None:
            return self.walked(x)
        assert x.ndim == 2 and x.shape[1] == self.inputs, "the trees read another number of columns"
        out = np.empty(len(x))
        out.fill(self.base)
        _strike(plain(x), out, *self._bits)
        return out

    def walked(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same, from root to leaf in every tree: what `sums` takes for trees with many leaves, to the same bits."""
        out = np.full(len(x), self.base)
        _walk(
            self.read(x), out, self.roots, self.depths, self.feature, self.threshold, self.children, self.missing, self.leaf, self.strict
        )  # fmt: skip
        return out


def _bits_of(table: TreeTable) -> tuple[Any, ...] | None:
    """The table as `_strike` reads it; None where a tree has too many leaves for it.

    Nodes stand by tree, those that a missing value leaves to the left after the others.
    """
    nodes, trees = len(table.feature), len(table.roots)
    threshold = table.threshold.astype(np.float32) if table.single else table.threshold
    if not np.array_equal(threshold, table.threshold):
        return None
    ends = np.append(table.roots[1:], np.int32(nodes))
    begin, turn, leaf_begin = np.zeros(trees + 1, np.int64), np.zeros(trees, np.int64), np.zeros(trees, np.int64)
    order, bits, leaf = np.zeros(nodes, np.int64), np.zeros(nodes, np.uint64), np.zeros(nodes)
    leaves_max = _number_leaves(
        table.roots, ends, table.threshold, table.children, table.missing, table.leaf, table.strict, begin, turn, leaf_begin, order, bits, leaf
    )  # fmt: skip
    if leaves_max > _LEAVES_MAX:
        return None
    order = order[: begin[-1]]
    word: Any = np.uint32 if table.single and leaves_max <= _NARROW_LEAVES_MAX else np.uint64
    return (
        table.strict, table.zero, begin, turn, leaf_begin, table.feature[order] * np.int64(_LANES), threshold[order],
        bits[: begin[-1]].astype(word), np.array([np.iinfo(word).max], word), leaf,
    )  # fmt: skip


@njit
def _number_leaves(
    roots: NDArray[np.int32],
    ends: NDArray[np.int32],
    threshold: NDArray[np.float64],
    children: NDArray[np.int32],
    missing: NDArray[np.uint8],
    leaf_of: NDArray[np.float64],
    strict: bool,
    begin: NDArray[np.int64],
    turn: NDArray[np.int64],
    leaf_begin: NDArray[np.int64],
    order: NDArray[np.int64],
    bits: NDArray[np.uint64],
    leaf: NDArray[np.float64],
) -> int:
    # Leaves are numbered from the left; children stand after their parent.
    nodes = len(threshold)
    below = np.zeros(nodes, np.int64)
    first = np.zeros(nodes, np.int64)
    reached = np.zeros(nodes, np.bool_)
    done, leaves, most = 0, 0, 0
    for tree in range(len(roots)):
        root, end = roots[tree], ends[tree]
        for back in range(end - root):
            node = end - 1 - back
            a, b = children[2 * node], children[2 * node + 1]
            below[node] = 1 if a == node else below[a] + below[b]
        most = max(most, below[root])
        if most > _LEAVES_MAX:
            return int(most)
        begin[tree], leaf_begin[tree] = done, leaves
        reached[root] = True
        for node in range(root, end):
            a, b = children[2 * node], children[2 * node + 1]
            if reached[node] and a == node:
                leaf[leaves + first[node]] = leaf_of[node]
            elif reached[node]:
                reached[a] = reached[b] = True
                first[a], first[b] = first[node], first[node] + below[a]
        for to_left in (False, True):
            if to_left:
                turn[tree] = done
            for node in range(root, end):
                a = children[2 * node]
                if not reached[node] or a == node:
                    continue
                zero_left = threshold[node] > 0.0 or (not strict and threshold[node] == 0.0)
                how = missing[node]
                if to_left == (how == _GO_LEFT or (how == _AS_ZERO and zero_left)):
                    order[done] = node
                    bits[done] = ~(((np.uint64(1) << np.uint64(below[a])) - np.uint64(1)) << np.uint64(first[node]))
                    done += 1
        leaves += below[root]
    begin[len(roots)] = done
    return int(most)


@njit
def _strike(
    x: NDArray[np.float64],
    out: NDArray[np.float64],
    strict: bool,
    zero: float,
    begin: NDArray[np.int64],
    turn: NDArray[np.int64],
    leaf_begin: NDArray[np.int64],
    column: NDArray[np.int64],
    threshold: NDArray[Any],
    bits: NDArray[Any],
    every: NDArray[Any],
    leaf: NDArray[np.float64],
) -> None:
    n, columns = x.shape
    side = np.zeros(columns * _LANES, threshold.dtype)  # the rows of a block, column after column
    sums = np.zeros(_LANES)
    for start in range(0, n, _LANES):
        rows = min(_LANES, n - start)
        for row in range(rows):
            for j in range(columns):
                value = x[start + row, j]
                side[j * _LANES + row] = 0.0 if abs(value) <= zero else value
        for row in range(rows):
            sums[row] = out[start + row]
        total = load16(sums, 0)
        for tree in range(len(turn)):
            left = splat16(every[0])
            if strict:
                for k in range(begin[tree], turn[tree]):
                    left = strike(left, below(load16(side, column[k]), threshold[k]), bits[k])
                for k in range(turn[tree], begin[tree + 1]):
                    left = strike(left, below_or_missing(load16(side, column[k]), threshold[k]), bits[k])
            else:
                for k in range(begin[tree], turn[tree]):
                    left = strike(left, at_most(load16(side, column[k]), threshold[k]), bits[k])
                for k in range(turn[tree], begin[tree + 1]):
                    left = strike(left, at_most_or_missing(load16(side, column[k]), threshold[k]), bits[k])
            total = total + pick(leaf, leaf_begin[tree], left)
        store(sums, 0, total)
        for row in range(rows):
            out[start + row] = sums[row]


@njit
def _walk(
    x: NDArray[np.float64],
    out: NDArray[np.float64],
    roots: NDArray[np.int32],
    depths: NDArray[np.int32],
    feature: NDArray[np.int32],
    threshold: NDArray[np.float64],
    children: NDArray[np.int32],
    missing: NDArray[np.uint8],
    leaf: NDArray[np.float64],
    strict: bool,
) -> None:
    # All rows of a block go down one level together: no row waits for another's branch, and a leaf leads to itself.
    n = len(out)
    at = np.empty(_BLOCK, np.int32)
    for start in range(0, n, _BLOCK):
        rows = min(_BLOCK, n - start)
        for tree in range(len(roots)):
            for row in range(rows):
                at[row] = roots[tree]
            for _ in range(depths[tree]):
                for row in range(rows):
                    node = at[row]
                    value = x[start + row, feature[node]]
                    how = missing[node]
                    absent = math.isnan(value)
                    if absent and how == _AS_ZERO:
                        value, absent = 0.0, False
                    left = (absent and how == _GO_LEFT) or value < threshold[node] or (not strict and value == threshold[node])
                    at[row] = children[2 * node + 1 - left]
            for row in range(rows):
                out[start + row] += leaf[at[row]]


class _XgboostTree(msgspec.Struct):
    left_children: list[int]
    right_children: list[int]
    split_indices: list[int]
    split_conditions: list[float]
    split_type: list[int]
    default_left: list[int]
    sum_hessian: list[float]


class _XgboostTrees(msgspec.Struct):
    trees: list[_XgboostTree]


class _XgboostBooster(msgspec.Struct):
    name: str
    model: _XgboostTrees


class _XgboostObjective(msgspec.Struct):
    name: str


class _XgboostParameters(msgspec.Struct):
    num_feature: str
    base_score: str


class _XgboostLearner(msgspec.Struct):
    gradient_booster: _XgboostBooster
    objective: _XgboostObjective
    learner_model_param: _XgboostParameters


class _XgboostFile(msgspec.Struct):
    """What is read of XGBoost's JSON; only that is made, so that a model is loaded without long holds of the interpreter."""

    learner: _XgboostLearner


def from_xgboost_json(data: bytes, inputs: int, where: str = "model") -> TreeTable:
    """Read a booster saved by XGBoost as JSON (`gbtree`, `binary:logistic`); BundleError names what is not understood."""
    try:
        learner = msgspec.json.decode(data, type=_XgboostFile).learner
        booster, parameters = learner.gradient_booster, learner.learner_model_param
        if booster.name != "gbtree" or learner.objective.name != "binary:logistic":
            raise BundleError(f"{where}: only gbtree boosters with binary:logistic can be scored")
        if int(parameters.num_feature) != inputs:
            raise BundleError(f"{where}: the booster reads {parameters.num_feature} columns, the preprocessing gives {inputs}")
        chance = float(parameters.base_score.strip("[]"))
        if not 0.0 < chance < 1.0:
            raise BundleError(f"{where}: base_score = {chance} must be between 0 and 1")
        trees = [_xgboost_tree(tree, where) for tree in booster.model.trees]
    except (msgspec.MsgspecError, ValueError, UnicodeDecodeError, OverflowError, RecursionError) as error:
        raise BundleError(f"{where}: not an XGBoost model in JSON ({type(error).__name__}: {error})") from error
    return _table(trees, math.log(chance / (1.0 - chance)), inputs, strict=True, single=True, where=where)


def forest_margins(votes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds of mean votes in [0, 1], float64 [n].

    >>> forest_margins(np.array([0.5]))
    array([0.])
    """
    votes = np.clip(votes, 0.0, 1.0)
    odds = (votes + FOREST_MARGIN) / (1.0 - votes + FOREST_MARGIN)
    return np.fromiter((math.log(value) for value in odds.tolist()), np.float64, len(odds))


@dataclass(frozen=True, slots=True)
class _Tree:
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    missing: NDArray[np.uint8]
    cover: NDArray[np.float64]


def _xgboost_tree(tree: _XgboostTree, where: str) -> _Tree:
    if any(tree.split_type):
        raise BundleError(f"{where}: splits by category sets are not supported; encode categories by the preprocessing")
    left = np.array(tree.left_children, np.int32)
    return _Tree(
        feature=np.where(left < 0, np.int32(-1), np.array(tree.split_indices, np.int32)),
        threshold=np.array(tree.split_conditions, np.float32).astype(np.float64),
        left=left,
        right=np.array(tree.right_children, np.int32),
        missing=np.array(tree.default_left, np.uint8),
        cover=np.array(tree.sum_hessian, np.float64),
    )


def from_lightgbm_text(data: bytes, inputs: int, where: str = "model") -> TreeTable:
    """Read a booster saved by LightGBM as text (`binary sigmoid:1`); BundleError names what is not understood."""
    try:
        blocks = data.decode("utf-8").split("\nTree=")
        head = _lines(blocks[0])
        if (
            head["objective"] != "binary sigmoid:1"
            or head.get("num_tree_per_iteration") != "1"
            or "average_output" in blocks[0].splitlines()
        ):
            raise BundleError(f"{where}: only boosters with objective binary and sigmoid 1 can be scored")
        if int(head["max_feature_idx"]) + 1 != inputs:
            raise BundleError(f"{where}: the booster reads {int(head['max_feature_idx']) + 1} columns, the preprocessing gives {inputs}")
        if len(head["tree_sizes"].split()) != len(blocks) - 1 or "\nend of trees" not in blocks[-1]:
            raise BundleError(f"{where}: the model ends before its last tree")
        trees = [_lightgbm_tree(_lines(block.split("\nend of trees")[0]), where) for block in blocks[1:]]
    except (KeyError, ValueError, UnicodeDecodeError, OverflowError, IndexError) as error:
        raise BundleError(f"{where}: not a LightGBM model in text ({type(error).__name__}: {error})") from error
    return _table(trees, 0.0, inputs, strict=False, single=False, where=where)


def _lines(block: str) -> dict[str, str]:
    return {key: value for key, equals, value in (line.partition("=") for line in block.splitlines()) if equals}


def _lightgbm_tree(lines: Mapping[str, str], where: str) -> _Tree:
    if lines.get("num_cat", "0") != "0" or lines.get("is_linear", "0") != "0":
        raise BundleError(f"{where}: splits by category sets and linear leaves are not supported")
    values = np.array(lines["leaf_value"].split(), np.float64)
    leaves = int(lines["num_leaves"])
    inner = leaves - 1
    if len(values) != leaves:
        raise ValueError("number of leaves")
    no_children = np.full(leaves, -1, np.int32)
    no_missing = np.zeros(leaves, np.uint8)
    if inner == 0:
        return _Tree(no_children, values, no_children, no_children, no_missing, np.ones(1))
    feature = np.array(lines["split_feature"].split(), np.int32)
    kind = np.array(lines["decision_type"].split(), np.int64)
    if np.any(kind & 1):
        raise BundleError(f"{where}: splits by category sets are not supported")
    missing_type = (kind >> 2) & 3
    if np.any(missing_type == 1):
        raise BundleError(f"{where}: zero_as_missing is not supported")
    missing = np.where(missing_type == 2, (kind >> 1) & 1, _AS_ZERO).astype(np.uint8)

    def children(key: str) -> NDArray[np.int32]:
        given = np.array(lines[key].split(), np.int64)
        return np.where(given < 0, inner + ~given, given).astype(np.int32)

    return _Tree(
        feature=np.concatenate([feature, no_children]),
        threshold=np.concatenate([np.array(lines["threshold"].split(), np.float64), values]),
        left=np.concatenate([children("left_child"), no_children]),
        right=np.concatenate([children("right_child"), no_children]),
        missing=np.concatenate([missing, no_missing]),
        cover=np.concatenate([np.array(lines[key].split(), np.float64) for key in ("internal_count", "leaf_count")]),
    )


class JsonTree(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One tree of `trees-json`: an entry a node in each list, the root first and children after their parent.

    feature: column compared at an inner node, -1 at a leaf. threshold: left is `float32(x) <= float32(threshold)`.
    left, right: places of the children, -1 at a leaf. missing: where a missing value goes, 1 left or 0 right. value: of a
    leaf, 0 at inner nodes. cover: how much of the training rows came by.
    """

    feature: list[int]
    threshold: list[float]
    left: list[int]
    right: list[int]
    missing: list[int]
    value: list[float]
    cover: list[float]


class JsonTrees(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The file `trees-json`. base: added to the leaves. link: what the sum is, a `margin` or the mean `vote`."""

    schema: int
    columns: int
    base: float
    link: Link
    compare: Literal["<="]
    trees: list[JsonTree]


def from_trees_json(data: bytes, inputs: int, where: str = "model") -> TreeTable:
    """Read a forest that `training.tree_json` wrote; BundleError names what is not understood."""
    try:
        body = msgspec.json.decode(data, type=JsonTrees)
        trees = [_json_tree(tree) for tree in body.trees]
    except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError, RecursionError) as error:
        raise BundleError(f"{where}: not trees in JSON ({error})") from error
    if body.schema != TREES_SCHEMA:
        raise BundleError(f"{where}: written with schema {body.schema} of trees, this version reads {TREES_SCHEMA}; update fraudloop")
    if body.columns != inputs:
        raise BundleError(f"{where}: the trees read {body.columns} columns, the preprocessing gives {inputs}")
    return _table(trees, body.base, inputs, strict=False, single=True, where=where, link=body.link)


def _json_tree(tree: JsonTree) -> _Tree:
    feature = np.array(tree.feature, np.int32)
    with np.errstate(over="ignore"):  # beyond float32 is infinite: every value is on one side
        threshold, value = np.array(tree.threshold, np.float32).astype(np.float64), np.array(tree.value, np.float64)
    if len(threshold) != len(feature) or len(value) != len(feature):
        threshold = np.empty(0)  # refused as cut short
    else:
        threshold = np.where(feature < 0, value, threshold)
    left, right = np.array(tree.left, np.int32), np.array(tree.right, np.int32)
    missing = np.array([_GO_LEFT if way == 1 else _GO_RIGHT for way in tree.missing], np.uint8)
    return _Tree(feature, threshold, left, right, missing, np.array(tree.cover, np.float64))


def _table(trees: Sequence[_Tree], base: float, inputs: int, *, strict: bool, single: bool, where: str, link: Link = "margin") -> TreeTable:
    """Join the trees; every walk must end at a leaf of its own tree, and by one way, so a damaged file cannot hang,
    read elsewhere or take the time of a tree without end."""
    if not trees:
        raise BundleError(f"{where}: the model holds no tree")
    if not math.isfinite(base):
        raise BundleError(f"{where}: the base is not a number")
    sizes = [len(tree.feature) for tree in trees]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    for number, tree in enumerate(trees):
        size = len(tree.feature)
        if not size or {len(tree.threshold), len(tree.left), len(tree.right), len(tree.missing), len(tree.cover)} != {size}:
            raise BundleError(f"{where}: tree {number} is cut short")
        inner = tree.feature >= 0
        own = np.arange(size)[inner]
        for side in (tree.left[inner], tree.right[inner]):
            if np.any(side <= own) or np.any(side >= size):
                raise BundleError(f"{where}: tree {number} has a node that leads nowhere")
        if np.bincount(np.concatenate([tree.left[inner], tree.right[inner]]), minlength=1).max() > 1:
            raise BundleError(f"{where}: tree {number} has a node that two ways lead to")
        if not np.all(np.isfinite(tree.cover) & (tree.cover >= 0)):
            raise BundleError(f"{where}: tree {number} has a cover below 0 or none")
        if np.any(tree.feature >= inputs) or not np.all(np.isfinite(tree.threshold[~inner])) or np.any(np.isnan(tree.threshold)):
            raise BundleError(f"{where}: tree {number} reads a column or holds a value that does not exist")
    feature = np.concatenate([tree.feature for tree in trees])
    value = np.concatenate([tree.threshold for tree in trees])
    inner = feature >= 0
    own = np.arange(len(feature))
    shift = np.repeat(starts, sizes)
    sides = [np.where(inner, np.concatenate([getattr(tree, side) for tree in trees]) + shift, own) for side in ("left", "right")]
    children = np.stack(sides, axis=1).ravel().astype(np.int32)
    return TreeTable(
        base=base,
        roots=starts,
        depths=_depths(starts, children),
        feature=np.where(inner, feature, 0).astype(np.int32),
        threshold=np.where(inner, value, 0.0),
        children=children,
        missing=np.concatenate([tree.missing for tree in trees]),
        leaf=np.where(inner, 0.0, value),
        cover=np.concatenate([tree.cover for tree in trees]),
        inputs=inputs,
        strict=strict,
        single=single,
        link=link,
    )


@njit
def _depths(roots: NDArray[np.int32], children: NDArray[np.int32]) -> NDArray[np.int32]:
    """By tree the longest way from the root to a leaf; children stand after their parent."""
    depth = np.zeros(len(children) // 2, np.int32)
    out = np.zeros(len(roots), np.int32)
    for tree in range(len(roots)):
        end = roots[tree + 1] if tree + 1 < len(roots) else len(depth)
        for node in range(roots[tree], end):
            a, b = children[2 * node], children[2 * node + 1]
            if a != node:
                depth[a] = depth[b] = depth[node] + 1
            out[tree] = max(out[tree], depth[node])
    return out


def warm() -> None:
    """Run the kernels once for each type they are used with, so that their machine code is ready."""
    for leaves, single in ((1, True), (_NARROW_LEAVES_MAX + 1, True), (1, False)):
        chain_table(leaves, single=single).margins(np.zeros((1, 1)))
    chain_table(1, single=True).walked(np.zeros((1, 1)))


def chain_table(leaves: int, *, single: bool) -> TreeTable:
    """One tree that is a chain: a leaf of 0 beside each inner node. For what needs any tree at all."""
    inner = np.arange(leaves - 1)
    none = np.full(leaves, -1)
    tree = _Tree(
        feature=np.concatenate([0 * inner, none]).astype(np.int32),
        threshold=np.zeros(2 * leaves - 1),
        left=np.concatenate([inner + leaves - 1, none]).astype(np.int32),
        right=np.concatenate([inner[1:], [2 * leaves - 2], none] if leaves > 1 else [none]).astype(np.int32),
        missing=np.zeros(2 * leaves - 1, np.uint8),
        cover=np.ones(2 * leaves - 1),
    )
    return _table([tree], 0.0, 1, strict=single, single=single, where="a chain")

"""Exact path-dependent TreeSHAP of a table of trees, in one compiled kernel: 400 trees of depth 4 in about 3 µs a row of a batch.

The Shapley value of column j is the mean over t in [0, 1] of how much the expected leaf rises when j becomes known,
each other column being known with chance t (Owen 1972, multilinear extensions). Along a way with d different columns
that is a polynomial of degree d − 1, so Gauss–Legendre's rule gives it exactly from ceil(d / 2) values of t. At one t a
tree is passed twice, down for the weight of each node and up for its expected leaf; nothing is divided by anything small.
Two values of t are worked on together, in eight lanes that each hold a row at such a pair: a row goes alone as beside others,
to the same bits.
It knows no bundle and no preprocessing. Which algorithms were tried: docs/adr, "TreeSHAP by quadrature".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.compiled import njit, plain
from fraudloop.scoring.lanes import add_product, choose, less, load_for, pack, splat_for, store, unpack, width
from fraudloop.scoring.trees import TreeTable, chain_table

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Keys = NDArray[np.int64]

#: The lanes of `scoring.lanes`, and those of two blocks side by side: one waits less for itself. By their bits the kernel knows.
_LANES: Final = 8
_EVERY: Final = np.array([0xFF], np.uint8)
_EVERY_OF_TWO: Final = np.array([0xFFFF], np.uint16)

#: Eight numbers of eight bytes: what one load reads without touching two lines of the cache.
_LINE: Final = 64

#: Integers below and above that of every number: what is read where a value is missing and goes left, or right.
_LEAST: Final = int(np.iinfo(np.int64).min)
_MOST: Final = int(np.iinfo(np.int64).max)

#: The bits of infinity; without their sign those of what is missing are above.
_INFINITE: Final = 0x7FF << 52

#: The parts of a tree in their order, and how many words of 8 bytes one of each takes in the table. plain: an inner node with
#: a further inner node below it, on a way on which so far no column comes again. other: such a node elsewhere. fork: a node
#: whose children each are a leaf or a node with two leaves, none of the three with a column that is compared above it. last: a
#: node with two leaves that no fork holds. leaf: one that neither holds.
_PLAIN, _OTHER, _FORK, _LAST, _LEAF = range(5)
_PLAIN_WORDS: Final = 5
_OTHER_WORDS: Final = 6
_FORK_WORDS: Final = 15
_LAST_WORDS: Final = 6

_unsigned = np.uint64


@dataclass(frozen=True, slots=True)
class TreeShap:
    """A table of trees laid out for its reasons; made once by :func:`tree_shap`.

    base: the sum that a row has before anything is known of it: each leaf by its share of the cover. points: how many
    values of t.
    """

    table: TreeTable
    base: float
    points: int
    _kernel: tuple[Any, ...]

    def contributions(self, x: Floats) -> Floats:
        """Shapley values float64 [n, inputs] of preprocessed rows float64 [n, inputs]: what each column adds to `base` to
        give the sum of the leaves (`TreeTable.sums`). A row's bits do not depend on the rows beside it."""
        assert x.ndim == 2 and x.shape[1] == self.table.inputs, "the trees read another number of columns"
        out = np.empty(x.shape)
        rows = plain(x)
        # Where there are more pairs, lanes of two blocks would need tables of twice the size.
        side_by_side = len(rows) if self.points <= 2 else 0
        if side_by_side % (2 * _LANES) <= _LANES:
            side_by_side -= side_by_side % (2 * _LANES)
        if side_by_side:
            _attribute(rows[:side_by_side], out[:side_by_side], _EVERY_OF_TWO, *self._kernel)
        if side_by_side < len(rows):
            _attribute(rows[side_by_side:], out[side_by_side:], _EVERY, *self._kernel)
        return out


def tree_shap(table: TreeTable) -> TreeShap:
    """Lay out a table. A child's share is its cover by its parent's, as the libraries have it; of a parent that no row came
    by, one half."""
    nodes, trees = len(table.feature), len(table.roots)
    ends = np.append(table.roots[1:], np.int32(nodes))
    parent, same, kind = (np.full(nodes, -1, np.int32) for _ in range(3))
    same_left, place = (np.zeros(nodes, np.int32) for _ in range(2))
    share, remains = np.ones(nodes), np.ones(nodes)
    base, columns_max = _follow(
        table.roots, ends, table.feature, table.children, table.leaf, table.cover, parent, same, same_left, share, remains
    )
    counts = np.zeros((trees, 5), np.int32)
    slots = _sort(table.roots, ends, table.children, parent, same, kind, place, counts)
    zero_left = (table.threshold > 0.0) | ((table.threshold == 0.0) & (not table.strict))
    side = table.feature * 2 + ((table.missing == 1) | ((table.missing == 2) & zero_left))
    # No part takes more words than that for each of its nodes: a fork has at least five.
    words, known = np.zeros(nodes * _OTHER_WORDS), np.ones(nodes + 1)
    done, again = _write(
        table.roots, ends, table.feature, _keys(table.threshold) + (not table.strict), table.children, table.leaf, side.astype(np.int32), parent, same, same_left,
        share, remains, kind, place, words, words.view(np.int64), words.view(np.int32), known,
    )  # fmt: skip
    words = words[:done].copy()
    points = max(1, -(-columns_max // 2))
    # Of an odd number the last stands beside one of weight 0.
    pairs = -(-points // 2)
    at, weight = np.full(2 * pairs, 0.5), np.zeros(2 * pairs)
    nodes_of_rule, weights_of_rule = np.polynomial.legendre.leggauss(points)
    at[:points], weight[:points] = (nodes_of_rule + 1.0) / 2.0, weights_of_rule / 2.0
    # Where an earlier node of the way compared the same column, knowing it again is worth less: row 0 is "no such node".
    left = known[: again + 1, None]
    within = at + left * (1.0 - at)
    # By such node and pair: τ at the first and at the second point, κ at the first and at the second. Eight lanes begin at any
    # pair and hold those that follow, so pairs are repeated; a lone one stands once, for all lanes.
    ahead = np.arange(1 if pairs == 1 else pairs + _LANES - 1) % pairs
    taken = np.stack([value[:, point::2][:, ahead] for value in (at / within, left / within**2) for point in (0, 1)], axis=1)
    kernel = (
        table.single, table.zero, counts.ravel(), words, words.view(np.int64), words.view(np.int32), taken.ravel(), at, weight, int(slots)
    )  # fmt: skip
    return TreeShap(table, table.base + float(base), points, kernel)


def _keys(values: Floats) -> Keys:
    """Integers that stand as the numbers do: what is below is below, and -0.0 equals 0."""
    bits = np.ascontiguousarray(values).view(np.int64)
    return np.where(bits < 0, _LEAST - bits, bits)


@njit
def _follow(
    roots: Ints,
    ends: Ints,
    feature: Ints,
    children: Ints,
    leaf: Floats,
    cover: Floats,
    parent: Ints,
    same: Ints,
    same_left: Ints,
    share: Floats,
    remains: Floats,
) -> tuple[float, int]:
    # By node, from its root down. parent: -1 at a root and where no way leads. same: the nearest node above that compares the
    # same column, -1 without; same_left: whether the way goes left there. share: of the cover of its parent. remains: the
    # product of the shares at the nodes above that compare the same column.
    nodes = len(feature)
    goes_left = np.zeros(nodes, np.int32)
    weight = np.ones(nodes)  # of the cover of its root
    different = np.zeros(nodes, np.int32)  # different columns above
    base, columns_max = 0.0, 0
    for tree in range(len(roots)):
        for node in range(roots[tree], ends[tree]):
            if node != roots[tree] and parent[node] < 0:
                continue
            a, b = children[2 * node], children[2 * node + 1]
            if a == node:
                base += weight[node] * leaf[node]
                columns_max = max(columns_max, different[node])
                continue
            for child in (a, b):
                parent[child] = node
                share[child] = cover[child] / cover[node] if cover[node] > 0 else 0.5
                weight[child] = weight[node] * share[child]
            goes_left[a] = 1
            walk = node
            while parent[walk] >= 0 and feature[parent[walk]] != feature[node]:
                walk = parent[walk]
            above = parent[walk]
            if above >= 0:
                same[node], same_left[node] = above, goes_left[walk]
                remains[node] = remains[above] * share[walk]
            different[a] = different[b] = different[node] + (above < 0)
    return base, columns_max


@njit
def _has_two_leaves(children: Ints, node: int) -> bool:
    a, b = children[2 * node], children[2 * node + 1]
    return bool(a != node and children[2 * a] == a and children[2 * b] == b)


@njit
def _is_side(children: Ints, same: Ints, node: int) -> bool:
    # Whether a fork may have it: a leaf, or a node with two leaves whose column no node above it compares.
    return bool(children[2 * node] == node or (same[node] < 0 and _has_two_leaves(children, node)))


@njit
def _sort(roots: Ints, ends: Ints, children: Ints, parent: Ints, same: Ints, kind: Ints, place: Ints, counts: Ints) -> int:
    # By node which part it is, -1 where it is within another or no way leads, and its place in the tree; by tree how many of
    # each part. The most places of a tree.
    slots = 1
    for tree in range(len(roots)):
        root, end = roots[tree], ends[tree]
        for node in range(root, end):
            above = kind[parent[node]] if node != root and parent[node] >= 0 else _OTHER
            if (node != root and parent[node] < 0) or above < 0 or above > _OTHER:
                continue
            a, b = children[2 * node], children[2 * node + 1]
            if a == node:
                kind[node] = _LEAF
            elif _has_two_leaves(children, node):
                kind[node] = _LAST
            elif same[node] < 0 and _is_side(children, same, a) and _is_side(children, same, b):
                kind[node] = _FORK
            elif same[node] >= 0 or (node != root and above == _OTHER):
                kind[node] = _OTHER
            else:
                kind[node] = _PLAIN
            counts[tree, kind[node]] += 1
        slot = 0
        for part in range(5):
            for node in range(root, end):
                if kind[node] == part:
                    place[node] = slot
                    slot += 1
        slots = max(slots, slot)
    return slots


@njit
def _write(
    roots: Ints,
    ends: Ints,
    feature: Ints,
    key: Keys,
    children: Ints,
    leaf: Floats,
    side: Ints,
    parent: Ints,
    same: Ints,
    same_left: Ints,
    share: Floats,
    remains: Floats,
    kind: Ints,
    place: Ints,
    words: Floats,
    keys: Keys,
    links: Ints,
    known: Floats,
) -> tuple[int, int]:
    # words, keys, links: the same memory as float64, int64 and int32. known: from 1 on, what
    # remains of the share at each node whose column comes again; how many words, and how many of these.
    done, again = 0, 0
    for tree in range(len(roots)):
        for part in range(5):
            for node in range(roots[tree], ends[tree]):
                if kind[node] != part:
                    continue
                a, b = children[2 * node], children[2 * node + 1]
                if part == _LEAF:
                    words[done] = leaf[node]
                    done += 1
                elif part == _FORK:
                    _write_fork(node, feature, key, children, leaf, side, share, words[done:], keys[done:], links[2 * done :])
                    done += _FORK_WORDS
                elif part == _LAST:
                    # The mean of its leaves, how far the left and the right one are from it, key, (side, column).
                    mean = share[a] * leaf[a] + share[b] * leaf[b]
                    words[done], words[done + 1], words[done + 2], keys[done + 3] = mean, leaf[a] - mean, leaf[b] - mean, key[node]
                    links[2 * done + 8], links[2 * done + 9] = side[node] * _LANES, feature[node] * _LANES
                    done += _LAST_WORDS - 1
                else:
                    # The shares of both children, key, (side, left), (right, column).
                    words[done], words[done + 1], keys[done + 2] = share[a], share[b], key[node]
                    links[2 * done + 6], links[2 * done + 7] = side[node] * _LANES, place[a] * 2 * _LANES
                    links[2 * done + 8], links[2 * done + 9] = place[b] * 2 * _LANES, feature[node] * _LANES
                    done += _PLAIN_WORDS
                if part in (_OTHER, _LAST):
                    # (who goes on, what is known).
                    if same[node] >= 0:
                        again += 1
                        known[again] = remains[node]
                        links[2 * done], links[2 * done + 1] = 2 * place[same[node]] + same_left[node] + 1, again * 4
                    done += 1
    return done, again


@njit
def _write_fork(
    node: int, feature: Ints, key: Keys, children: Ints, leaf: Floats, side: Ints, share: Floats, words: Floats, keys: Keys, links: Ints
) -> None:
    # The mean of its leaves, how far those of the left and of the right side are from it, the shares of both sides, how far on
    # each side the left and the right leaf are from its mean; of the node and of both sides key and (side, column).
    keys[9], links[24], links[25] = key[node], side[node] * _LANES, feature[node] * _LANES
    mean = 0.0
    for number in range(2):
        child = children[2 * node + number]
        a, b = children[2 * child], children[2 * child + 1]
        own = leaf[child]
        if a != child:
            own = share[a] * leaf[a] + share[b] * leaf[b]
            words[5 + 2 * number], words[6 + 2 * number], keys[10 + number] = leaf[a] - own, leaf[b] - own, key[child]
            links[26 + 2 * number], links[27 + 2 * number] = side[child] * _LANES, feature[child] * _LANES
        words[1 + number], words[3 + number] = own, share[child]
        mean += share[child] * own
    words[0], words[1], words[2] = mean, words[1] - mean, words[2] - mean


@njit
def _lined_up(count: int) -> Floats:
    """Zeros that begin where a line of the cache does."""
    whole = np.zeros(count + _LINE // 8)
    skip = (-(whole.ctypes.data // 8)) % (_LINE // 8)
    return whole[skip : skip + count]


@njit
def _known(known: Floats, place: int, alone: bool, every: Any) -> Any:
    return splat_for(known[_unsigned(place)], every) if alone else load_for(known, place, every)


@njit
def _attribute(
    x: Floats,
    out: Floats,
    everyone: NDArray[Any],
    single: bool,
    zero: float,
    counts: Ints,
    words: Floats,
    keys: Keys,
    links: Ints,
    known: Floats,
    points: Floats,
    weight: Floats,
    slots: int,
) -> None:
    # A lane holds a row at a pair of points. One branch of the tree is as likely as the other, so nothing here branches on
    # where a row goes. What a word of the table holds: `_write`.
    n, columns = x.shape
    every = everyone[0]
    lanes_max = width(every)
    blocks = lanes_max // _LANES
    pairs = len(points) // 2
    alone = pairs == 1
    ahead = 1 if alone else pairs + _LANES - 1
    side = _lined_up(2 * columns * lanes_max).view(np.int64)  # keys of a block, column after column, missing ones right and left
    reach = _lined_up(2 * slots * lanes_max)  # by node and point: the product of what its way's columns contribute
    expected = _lined_up(2 * slots * lanes_max)  # by node and point: the leaf to expect below it
    total = _lined_up(columns * lanes_max)
    values = np.zeros(columns)
    bits_of = values.view(np.int64)
    at_of, weight_of = np.zeros(2 * lanes_max), np.zeros(2 * lanes_max)
    ways = np.zeros(2 * slots + 1, everyone.dtype)  # from 1 on, by node the lanes that go right, and that go left
    ways[0] = every  # every one where there is no earlier node
    none = splat_for(0.0, every)
    for start in range(0, n * pairs, lanes_max):
        lanes = min(lanes_max, n * pairs - start)
        for lane in range(lanes):
            row, pair = (start + lane) // pairs, (start + lane) % pairs
            at_of[lane], at_of[lanes_max + lane] = points[2 * pair], points[2 * pair + 1]
            weight_of[lane], weight_of[lanes_max + lane] = weight[2 * pair], weight[2 * pair + 1]
            for j in range(columns):
                value = x[row, j]
                value = np.float64(np.float32(value)) if single else value
                values[j] = 0.0 if abs(value) <= zero else value
            for j in range(columns):
                bits = bits_of[j]
                absent = (bits & _MOST) > _INFINITE
                key = _LEAST - bits if bits < 0 else bits
                side[2 * j * lanes_max + lane] = _MOST if absent else key
                side[(2 * j + 1) * lanes_max + lane] = _LEAST if absent else key
        total[:] = 0.0
        first_pair = start % pairs
        t0, t1 = load_for(at_of, 0, every), load_for(at_of, lanes_max, every)
        weight0, weight1 = load_for(weight_of, 0, every), load_for(weight_of, lanes_max, every)
        at = 0
        for tree in range(0, len(counts), 5):
            plain, other, forks = counts[_unsigned(tree)], counts[_unsigned(tree + 1)], counts[_unsigned(tree + 2)]
            lasts, leaves = counts[_unsigned(tree + 3)], counts[_unsigned(tree + 4)]
            store(reach, 0, weight0)
            store(reach, lanes_max, weight1)
            slot = 0
            for _ in range(plain):
                link = 2 * at
                left, right = links[_unsigned(link + 7)] * blocks, links[_unsigned(link + 8)] * blocks
                goes = less(load_for(side, links[_unsigned(link + 6)] * blocks, every), keys[_unsigned(at + 2)])
                one = pack(goes)
                ways[_unsigned(2 * slot + 1)] = ~one
                ways[_unsigned(2 * slot + 2)] = one
                for_left, for_right = splat_for(words[_unsigned(at)], every), splat_for(words[_unsigned(at + 1)], every)
                all0, all1 = load_for(reach, 2 * slot * lanes_max, every), load_for(reach, (2 * slot + 1) * lanes_max, every)
                taken0, taken1 = t0 * all0, t1 * all1
                rest0, rest1 = all0 - taken0, all1 - taken1
                left0, left1 = choose(goes, taken0, none), choose(goes, taken1, none)
                store(reach, left, add_product(for_left, rest0, left0))
                store(reach, left + lanes_max, add_product(for_left, rest1, left1))
                store(reach, right, add_product(for_right, rest0, taken0 - left0))
                store(reach, right + lanes_max, add_product(for_right, rest1, taken1 - left1))
                at += _PLAIN_WORDS
                slot += 1
            for _ in range(other):
                link = 2 * at
                left, right = links[_unsigned(link + 7)] * blocks, links[_unsigned(link + 8)] * blocks
                still = ways[_unsigned(links[_unsigned(link + 10)])]
                one = pack(less(load_for(side, links[_unsigned(link + 6)] * blocks, every), keys[_unsigned(at + 2)]))
                ways[_unsigned(2 * slot + 1)] = still & ~one
                ways[_unsigned(2 * slot + 2)] = still & one
                goes = unpack(still & one, every)
                for_left, for_right = splat_for(words[_unsigned(at)], every), splat_for(words[_unsigned(at + 1)], every)
                share = links[_unsigned(link + 11)] * ahead + first_pair
                all0, all1 = load_for(reach, 2 * slot * lanes_max, every), load_for(reach, (2 * slot + 1) * lanes_max, every)
                taken0 = choose(unpack(still, every), _known(known, share, alone, every) * all0, none)
                taken1 = choose(unpack(still, every), _known(known, share + ahead, alone, every) * all1, none)
                rest0, rest1 = all0 - taken0, all1 - taken1
                left0, left1 = choose(goes, taken0, none), choose(goes, taken1, none)
                store(reach, left, add_product(for_left, rest0, left0))
                store(reach, left + lanes_max, add_product(for_left, rest1, left1))
                store(reach, right, add_product(for_right, rest0, taken0 - left0))
                store(reach, right + lanes_max, add_product(for_right, rest1, taken1 - left1))
                at += _OTHER_WORDS
                slot += 1
            up = at
            for _ in range(forks):
                # Three nodes at once, in registers. What a side expects is a constant and t times `left` or `right`; so the fork
                # expects base + t * (slope + t * more), and no column needs more than two sums over both points: of what reaches
                # the fork, and of t times that.
                link = 2 * at + 24
                goes = less(load_for(side, links[_unsigned(link)] * blocks, every), keys[_unsigned(at + 9)])
                on_left = less(load_for(side, links[_unsigned(link + 2)] * blocks, every), keys[_unsigned(at + 10)])
                on_right = less(load_for(side, links[_unsigned(link + 4)] * blocks, every), keys[_unsigned(at + 11)])
                left = choose(on_left, splat_for(words[_unsigned(at + 5)], every), splat_for(words[_unsigned(at + 6)], every))
                right = choose(on_right, splat_for(words[_unsigned(at + 7)], every), splat_for(words[_unsigned(at + 8)], every))
                for_left, for_right = splat_for(words[_unsigned(at + 3)], every), splat_for(words[_unsigned(at + 4)], every)
                all0, all1 = load_for(reach, 2 * slot * lanes_max, every), load_for(reach, (2 * slot + 1) * lanes_max, every)
                whole = all0 + all1
                taken = add_product(t1, all1, t0 * all0)
                rest = whole - taken
                mean = add_product(for_left, left, for_right * right)
                rise = choose(goes, splat_for(words[_unsigned(at + 1)], every), splat_for(words[_unsigned(at + 2)], every))
                more = choose(goes, left, right) - mean
                slope = mean + rise
                base = splat_for(words[_unsigned(at)], every)
                store(expected, 2 * slot * lanes_max, add_product(t0, add_product(t0, more, slope), base))
                store(expected, (2 * slot + 1) * lanes_max, add_product(t1, add_product(t1, more, slope), base))
                to = links[_unsigned(link + 1)] * blocks
                store(total, to, add_product(taken, more, add_product(whole, rise, load_for(total, to, every))))
                taken_left = choose(goes, taken, none)
                to = links[_unsigned(link + 3)] * blocks
                store(total, to, add_product(add_product(for_left, rest, taken_left), left, load_for(total, to, every)))
                to = links[_unsigned(link + 5)] * blocks
                store(total, to, add_product(add_product(for_right, rest, taken - taken_left), right, load_for(total, to, every)))
                at += _FORK_WORDS
                slot += 1
            for _ in range(lasts):
                link = 2 * at + 8
                still = ways[_unsigned(links[_unsigned(link + 2)])]
                one = pack(less(load_for(side, links[_unsigned(link)] * blocks, every), keys[_unsigned(at + 3)]))
                rise = choose(
                    unpack(still & one, every),
                    splat_for(words[_unsigned(at + 1)], every),
                    choose(unpack(still & ~one, every), splat_for(words[_unsigned(at + 2)], every), none),
                )
                share = links[_unsigned(link + 3)] * ahead + first_pair
                base = splat_for(words[_unsigned(at)], every)
                store(expected, 2 * slot * lanes_max, add_product(_known(known, share, alone, every), rise, base))
                store(expected, (2 * slot + 1) * lanes_max, add_product(_known(known, share + ahead, alone, every), rise, base))
                credit = _known(known, share + 2 * ahead, alone, every) * load_for(reach, 2 * slot * lanes_max, every)
                credit = add_product(
                    _known(known, share + 3 * ahead, alone, every), load_for(reach, (2 * slot + 1) * lanes_max, every), credit
                )
                to = links[_unsigned(link + 1)] * blocks
                store(total, to, add_product(credit, rise, load_for(total, to, every)))
                at += _LAST_WORDS
                slot += 1
            for _ in range(leaves):
                value = splat_for(words[_unsigned(at)], every)
                store(expected, 2 * slot * lanes_max, value)
                store(expected, (2 * slot + 1) * lanes_max, value)
                at += 1
                slot += 1
            slot = plain + other
            for _ in range(other):
                up -= _OTHER_WORDS
                slot -= 1
                link = 2 * up
                left, right = links[_unsigned(link + 7)] * blocks, links[_unsigned(link + 8)] * blocks
                to_right, to_left = ways[_unsigned(2 * slot + 1)], ways[_unsigned(2 * slot + 2)]
                for_left, for_right = splat_for(words[_unsigned(up)], every), splat_for(words[_unsigned(up + 1)], every)
                share = links[_unsigned(link + 11)] * ahead + first_pair
                left0, left1 = load_for(expected, left, every), load_for(expected, left + lanes_max, every)
                right0, right1 = load_for(expected, right, every), load_for(expected, right + lanes_max, every)
                mean0 = add_product(for_left, left0, for_right * right0)
                mean1 = add_product(for_left, left1, for_right * right1)
                still, goes = unpack(to_left | to_right, every), unpack(to_left, every)
                rise0 = choose(still, choose(goes, left0, right0) - mean0, none)
                rise1 = choose(still, choose(goes, left1, right1) - mean1, none)
                store(expected, 2 * slot * lanes_max, add_product(_known(known, share, alone, every), rise0, mean0))
                store(expected, (2 * slot + 1) * lanes_max, add_product(_known(known, share + ahead, alone, every), rise1, mean1))
                credit0 = _known(known, share + 2 * ahead, alone, every) * load_for(reach, 2 * slot * lanes_max, every)
                credit1 = _known(known, share + 3 * ahead, alone, every) * load_for(reach, (2 * slot + 1) * lanes_max, every)
                to = links[_unsigned(link + 9)] * blocks
                store(total, to, add_product(credit1, rise1, add_product(credit0, rise0, load_for(total, to, every))))
            for _ in range(plain):
                up -= _PLAIN_WORDS
                slot -= 1
                link = 2 * up
                left, right = links[_unsigned(link + 7)] * blocks, links[_unsigned(link + 8)] * blocks
                goes = unpack(ways[_unsigned(2 * slot + 2)], every)
                for_left, for_right = splat_for(words[_unsigned(up)], every), splat_for(words[_unsigned(up + 1)], every)
                left0, left1 = load_for(expected, left, every), load_for(expected, left + lanes_max, every)
                right0, right1 = load_for(expected, right, every), load_for(expected, right + lanes_max, every)
                mean0 = add_product(for_left, left0, for_right * right0)
                mean1 = add_product(for_left, left1, for_right * right1)
                rise0, rise1 = choose(goes, left0, right0) - mean0, choose(goes, left1, right1) - mean1
                store(expected, 2 * slot * lanes_max, add_product(t0, rise0, mean0))
                store(expected, (2 * slot + 1) * lanes_max, add_product(t1, rise1, mean1))
                to = links[_unsigned(link + 9)] * blocks
                all0, all1 = load_for(reach, 2 * slot * lanes_max, every), load_for(reach, (2 * slot + 1) * lanes_max, every)
                store(total, to, add_product(all1, rise1, add_product(all0, rise0, load_for(total, to, every))))
        for lane in range(lanes):
            row, pair = (start + lane) // pairs, (start + lane) % pairs
            if pair == 0:
                out[row] = 0.0
            for j in range(columns):
                out[row, j] += total[j * lanes_max + lane]


@njit
def gather(by_output: Floats, place: NDArray[np.int64], share: float, base: Floats, sums: Floats, tolerance: float, out: Floats) -> bool:
    """`out[:, place[j]] += share * by_output[:, j]`, column after column: outputs of preprocessing back to their source. False: base and
    values of a row are not its sum, to `tolerance` of it where it is above 1."""
    for row in range(len(by_output)):
        value = 0.0
        for j in range(len(place)):
            value += by_output[row, j]
            out[row, place[j]] += share * by_output[row, j]
        if abs(value + base[row] - sums[row]) > tolerance * max(1.0, abs(sums[row])):
            return False
    return True


@njit
def row_sums(values: Floats) -> Floats:
    """Sums of rows, float64 [n], added in the order of the columns."""
    out = np.zeros(len(values))
    for row in range(len(values)):
        for j in range(values.shape[1]):
            out[row] += values[row, j]
    return out


def warm() -> None:
    """Run the kernels once, so that their machine code is ready."""
    values = tree_shap(chain_table(1, single=True)).contributions(np.zeros((2 * _LANES + 1, 1)))
    gather(values, np.zeros(1, np.int64), 1.0, np.zeros(len(values)), row_sums(values), 1.0, np.zeros(values.shape))

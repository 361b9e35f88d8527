"""A tree of keys from which single leaves can be cut out for good: a puncturable pseudorandom function. It knows no file and no customer.

Goldreich, Goldwasser and Micali, "How to construct random functions" (1986), with punctures as in Boneh and Waters (2013): the root is a random
seed, a child's seed is a PRF of its parent's, a leaf's seed is the key of that leaf. Who holds a node holds every leaf below it, and nothing
else. To puncture a leaf, the node above it is replaced by the siblings along the way down to it; the leaf's seed is not among them
and follows from nothing that is left.

Here: 2^64 leaves, four children a node, 32 levels; the PRF is SipHash-2-4 with 128 bits of output (`door.identity`), keyed by the seed. A
puncture leaves 3 seeds for each level below the node that it splits: 96 for the first, about 3 (32 - log4 k) once there are k.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.compiled import njit
from fraudloop.door.identity import _hash_bytes

Words = NDArray[np.uint64]

LEVELS: Final = 32
SEED_BYTES: Final = 16

_CHILDREN: Final = np.arange(4, dtype=np.uint8)
_2: Final = np.uint64(2)
_3: Final = np.uint64(3)
_62: Final = np.uint64(62)
_64: Final = np.uint64(64)
_COUNT: Final = struct.Struct("<Q")


class Punctured:
    """The nodes that are left: disjoint subtrees in the order of their leaves.

    >>> tree = Punctured.whole(bytes(16))
    >>> seeds, there = tree.seeds(np.array([5, 6], np.uint64))
    >>> tree.puncture(5), tree.puncture(5), len(tree)
    (True, False, 96)
    >>> left, there = tree.seeds(np.array([5, 6], np.uint64))
    >>> there.tolist(), bool((left[1] == seeds[1]).all())
    ([False, True], True)
    """

    def __init__(self, first: Words, level: NDArray[np.uint8], seed: Words) -> None:
        self._first, self._level, self._seed = first, level, seed

    @staticmethod
    def whole(root: bytes) -> Punctured:
        """With every leaf. root: 16 random bytes."""
        assert len(root) == SEED_BYTES, "a root has 16 bytes"
        return Punctured(np.zeros(1, np.uint64), np.zeros(1, np.uint8), np.frombuffer(root, np.uint64).reshape(1, 2).copy())

    def __len__(self) -> int:
        return len(self._first)

    def seeds(self, leaves: Words) -> tuple[Words, NDArray[np.bool_]]:
        """The seeds of leaves, uint64 [n, 2], and which of them are still there."""
        out = np.zeros((len(leaves), 2), np.uint64)
        there = np.zeros(len(leaves), np.bool_)
        _seeds(self._first, self._level, self._seed, _CHILDREN, leaves, out, there)
        return out, there

    def puncture(self, leaf: int) -> bool:
        """Cut a leaf out; False if it was cut out before."""
        at = int(_find(self._first, self._level, np.uint64(leaf)))
        if at < 0:
            return False
        level = int(self._level[at])
        left = 3 * (LEVELS - level)
        first, levels, seed = np.empty(left, np.uint64), np.empty(left, np.uint8), np.empty((left, 2), np.uint64)
        _siblings(self._first[at], self._level[at], self._seed[at], _CHILDREN, np.uint64(leaf), first, levels, seed)
        order = np.argsort(first, kind="stable")
        around = (slice(None, at), slice(at + 1, None))
        self._first = np.concatenate([self._first[around[0]], first[order], self._first[around[1]]])
        self._level = np.concatenate([self._level[around[0]], levels[order], self._level[around[1]]])
        self._seed = np.concatenate([self._seed[around[0]], seed[order], self._seed[around[1]]])
        return True

    def copy(self) -> Punctured:
        """Another with the same nodes; a puncture of one does not reach the other."""
        return Punctured(self._first, self._level, self._seed)

    def encode(self) -> bytes:
        """25 bytes a node, the inverse of :meth:`decode`."""
        return b"".join((_COUNT.pack(len(self)), self._first.tobytes(), self._level.tobytes(), self._seed.tobytes()))

    @staticmethod
    def decode(data: bytes) -> Punctured:
        (n,) = _COUNT.unpack_from(data)
        assert len(data) == _COUNT.size + 25 * n, "25 bytes a node"
        first = np.frombuffer(data, np.uint64, n, _COUNT.size)
        level = np.frombuffer(data, np.uint8, n, _COUNT.size + 8 * n)
        seed = np.frombuffer(data[_COUNT.size + 9 * n :], np.uint64).reshape(n, 2)
        return Punctured(first.copy(), level.copy(), seed.copy())


@njit
def _find(first: Any, level: Any, leaf: Any) -> Any:
    """The node that the leaf is below; -1 if none is left."""
    low, high = 0, len(first)
    while low < high:
        middle = (low + high) // 2
        if first[middle] <= leaf:
            low = middle + 1
        else:
            high = middle
    at = low - 1
    if at < 0:
        return -1
    bits = _2 * np.uint64(level[at])
    if bits == np.uint64(0) or (leaf >> (_64 - bits)) == (first[at] >> (_64 - bits)):
        return at
    return -1


@njit
def _seeds(first: Any, level: Any, seed: Any, children: Any, leaves: Any, out: Any, there: Any) -> None:
    for i in range(len(leaves)):
        leaf = leaves[i]
        at = _find(first, level, leaf)
        if at < 0:
            continue
        k0, k1 = seed[at, 0], seed[at, 1]
        for step in range(int(level[at]), 32):
            child = np.int64((leaf >> (_62 - _2 * np.uint64(step))) & _3)
            k0, k1 = _hash_bytes(children, child, child + 1, k0, k1)
        out[i, 0] = k0
        out[i, 1] = k1
        there[i] = True


@njit
def _siblings(first: Any, level: Any, seed: Any, children: Any, leaf: Any, firsts: Any, levels: Any, seeds: Any) -> None:
    prefix, k0, k1 = first, seed[0], seed[1]
    n = 0
    for step in range(int(level), 32):
        shift = _62 - _2 * np.uint64(step)
        own = np.int64((leaf >> shift) & _3)
        n0, n1 = k0, k1
        for child in range(4):
            c0, c1 = _hash_bytes(children, child, child + 1, k0, k1)
            if child == own:
                n0, n1 = c0, c1
            else:
                firsts[n] = prefix | (np.uint64(child) << shift)
                levels[n] = step + 1
                seeds[n, 0] = c0
                seeds[n, 1] = c1
                n += 1
        prefix = prefix | (np.uint64(own) << shift)
        k0, k1 = n0, n1


def warm() -> None:
    """Run every kernel once, on arrays as `decode` and `whole` give them."""
    tree = Punctured.whole(bytes(SEED_BYTES))
    tree.seeds(np.zeros(1, np.uint64))
    tree.puncture(0)
    Punctured.decode(tree.encode()).seeds(np.ones(1, np.uint64))

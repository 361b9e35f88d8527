"""The arena: blocks of words with free lists, the key table, the digest. Kernel code; knows no plan.

A block is preceded by one word with its size. Sizes come in classes, exact up to 8 words and four to a doubling above,
so that a freed block fits the next key that grows and no more than a fifth of a block is unused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from fraudloop.features.exact import multiply_high
from fraudloop.features.layout import (
    C_DIGEST,
    C_FREE,
    C_KEYS,
    C_LIVE_WORDS,
    C_TABLE_ROWS,
    C_TOP,
    T_CODE,
    T_HI,
    T_LO,
    T_WORDS,
)

MISSING = np.iinfo(np.int64).min


@register_jitable
def size_class(words: int) -> tuple[Any, Any]:
    """(class, words of that class) of the smallest class that holds so many words."""
    if words <= 8:
        return words, words
    log = 3
    while (words - 1) >> (log + 1):
        log += 1
    step = 1 << (log - 2)
    size = ((words + step - 1) // step) * step
    return 8 + (log - 3) * 4 + (size - (1 << log)) // step, size


@register_jitable
def allocate(arena: Any, words: int) -> Any:
    """A block of at least so many words; what it holds is undefined."""
    kind, size = size_class(words)
    arena[C_LIVE_WORDS] += size + 1
    block = arena[C_FREE + kind]
    if block != 0:
        arena[C_FREE + kind] = arena[block]
        return block
    block = arena[C_TOP] + 1
    arena[C_TOP] = block + size
    arena[block - 1] = size
    return block


@register_jitable
def allocate_lines(arena: Any, words: int) -> Any:
    """A block that begins with a cache line and is never released."""
    _, size = size_class(words)
    block = (arena[C_TOP] + 8) & ~7
    arena[C_LIVE_WORDS] += size + 8
    arena[C_TOP] = block + size
    arena[block - 1] = size
    return block


@register_jitable
def release(arena: Any, block: int) -> None:
    size = arena[block - 1]
    kind, _ = size_class(size)
    arena[block] = arena[C_FREE + kind]
    arena[C_FREE + kind] = block
    arena[C_LIVE_WORDS] -= size + 1


@register_jitable
def mix(a: int, b: int) -> Any:
    """A 64-bit mix of two words: high and low half of a product with odd constants (the step of wyhash, Wang Yi 2019)."""
    x = np.uint64(a) ^ np.uint64(0xA0761D6478BD642F)
    y = np.uint64(b) ^ np.uint64(0xE7037ED1A0B428DB)
    return np.int64(multiply_high(x, y) ^ (x * y))


@register_jitable
def digest_add(arena: Any, x: int) -> None:
    """Put an item into the digest: a sum of mixed items, so that order of keys does not matter and items can go again."""
    add_item(arena, C_DIGEST, x)


@register_jitable
def add_item(arena: Any, to: int, x: int) -> None:
    """Put an item into the digest, or into a part of it that is kept apart, at two words."""
    arena[to] += x
    arena[to + 1] += mix(x, 0x1D8E4E27C47D124F)


@register_jitable
def digest_remove(arena: Any, x: int) -> None:
    arena[C_DIGEST] -= x
    arena[C_DIGEST + 1] -= mix(x, 0x1D8E4E27C47D124F)


@register_jitable
def find_key(arena: Any, table: Any, hi: int, lo: int) -> Any:
    """Row of a key in the table, or the empty row where it belongs; the table always has an empty row."""
    mask = arena[C_TABLE_ROWS] - 1
    at = lo & mask
    while table[at * T_WORDS + T_CODE] != 0:
        if table[at * T_WORDS + T_LO] == lo and table[at * T_WORDS + T_HI] == hi:
            return at
        at = (at + 1) & mask
    return at


@register_jitable
def table_is_full(arena: Any, more: int) -> Any:
    return (arena[C_KEYS] + more) * 5 > arena[C_TABLE_ROWS] * 3

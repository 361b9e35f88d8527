"""The approximate form of a key with more kept events than the bound: buckets, and HyperLogLog for distinct values.

Kernel code. Each window is cut into 1,024 buckets at fixed multiples of its bucket length; a window covers whole
buckets, so a count or sum leaves out at most the events of its oldest bucket (and of its newest, when the window is
delayed). A late event counts from then on, but is itself answered as of the key's newest. Distinct values: HyperLogLog (Flajolet et al., AofA 2007) whose registers remember when each rank was seen last,
which makes them slide (Chabchoub and Hébrail, ICDM Workshops 2010); 1,024 registers, standard error 1.04 / sqrt(1024) =
3.3 %, refreshed once a bucket. A key leaves this form when all its events are past the horizon.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from fraudloop.features.exact import add_wide, square
from fraudloop.features.layout import (
    A_BUCKET,
    A_CAT,
    A_COLUMNS,
    A_HEADER,
    A_KIND,
    A_WORD,
    ACC_DISTINCT,
    ACC_MAX,
    ACC_MIN,
    ACC_SQUARES,
    ACC_SUM,
    B_COUNT,
    B_TAG,
    C_DIGEST,
    H_CODE,
    HLL_RANKS,
    HLL_REGISTERS,
    HOT_DIGEST,
    HOT_FIXED,
    HOT_HIGH,
    HOT_LOW,
    HOT_TOTAL,
    R_BLOCK,
    R_SPAN,
    S_CAT_WORD,
    S_CATS,
    S_HEADER,
    S_HLL,
    S_HOT_WORDS,
    S_RECORD,
    S_WIN0,
    S_WINN,
    W_ACC0,
    W_ACCN,
    W_BUCKET_US,
    W_BUCKET_WORDS,
    W_BUCKETS,
    W_COLUMNS,
    W_DELAY,
    W_HEADER,
    W_HOT,
    W_LENGTH,
)
from fraudloop.features.memory import MISSING, add_item, allocate, digest_add, mix, release
from fraudloop.features.pointers import row
from fraudloop.features.rings import CODE, HALF, INT64_MAX, SPAN, clear_window, half, record_mix

_ALPHA = 0.7213 / (1.0 + 1.079 / 1024.0)
_LN2 = 0.6931471805599453


@register_jitable
def is_hot(arena: Any, h: int, stream: Any) -> Any:
    return arena[h + stream[S_HEADER] + R_SPAN] == -1


@register_jitable
def _bucket(arena: Any, block: int, window: Any, number: int) -> Any:
    return block + window[W_HOT] + HOT_FIXED + (number % window[W_BUCKETS]) * window[W_BUCKET_WORDS]


@register_jitable
def _clear_bucket(arena: Any, p: int, window: Any, accs: Any, number: int) -> None:
    arena[p + B_TAG] = number
    arena[p + B_COUNT] = 0
    for a in range(window[W_ACC0], window[W_ACCN]):
        at = p + accs[a * A_COLUMNS + A_BUCKET]
        kind = accs[a * A_COLUMNS + A_KIND]
        if kind == ACC_MIN:
            arena[at] = INT64_MAX
        elif kind == ACC_MAX:
            arena[at] = MISSING
        elif kind != ACC_DISTINCT:
            arena[at] = 0
            arena[at + 1] = 0


@register_jitable
def _add_pair(arena: Any, to: int, lo: int, hi: int) -> None:
    """Add (lo, high bits << 32 | n) to a sum word pair: the high words add up as they are, but for the carry."""
    total = np.uint64(arena[to]) + np.uint64(lo)
    carry = 1 if total < np.uint64(lo) else 0
    arena[to] = np.int64(total)
    arena[to + 1] += hi + (carry << 32)


@register_jitable
def _take_pair(arena: Any, to: int, lo: int, hi: int) -> None:
    before = np.uint64(arena[to])
    borrow = 1 if before < np.uint64(lo) else 0
    arena[to] = np.int64(before - np.uint64(lo))
    arena[to + 1] -= hi + (borrow << 32)


@register_jitable
def _add_bucket(arena: Any, h: int, window: Any, accs: Any, p: int) -> None:
    for a in range(window[W_ACC0], window[W_ACCN]):
        at, to, kind = p + accs[a * A_COLUMNS + A_BUCKET], h + accs[a * A_COLUMNS + A_HEADER], accs[a * A_COLUMNS + A_KIND]
        if kind == ACC_SUM:
            _add_pair(arena, to, arena[at], arena[at + 1])
        elif kind == ACC_SQUARES:
            total = np.uint64(arena[to]) + np.uint64(arena[at])
            arena[to + 1] += arena[at + 1] + (1 if total < np.uint64(arena[at]) else 0)
            arena[to] = np.int64(total)
        elif kind == ACC_MIN:
            arena[to] = min(arena[to], arena[at])
        elif kind == ACC_MAX:
            arena[to] = max(arena[to], arena[at])


@register_jitable
def _take_bucket(arena: Any, h: int, window: Any, accs: Any, p: int) -> Any:
    stale = False
    for a in range(window[W_ACC0], window[W_ACCN]):
        at, to, kind = p + accs[a * A_COLUMNS + A_BUCKET], h + accs[a * A_COLUMNS + A_HEADER], accs[a * A_COLUMNS + A_KIND]
        if kind == ACC_SUM:
            _take_pair(arena, to, arena[at], arena[at + 1])
        elif kind == ACC_SQUARES:
            before = np.uint64(arena[to])
            arena[to + 1] -= arena[at + 1] + (1 if before < np.uint64(arena[at]) else 0)
            arena[to] = np.int64(before - np.uint64(arena[at]))
        elif kind in (ACC_MIN, ACC_MAX):
            stale |= arena[at] == arena[to]
    return stale


@register_jitable
def move_hot(arena: Any, h: int, stream: Any, windows: Any, accs: Any, t: int) -> None:
    """Move the bucketed windows of a key to time t."""
    block = arena[h + stream[S_HEADER] + R_BLOCK]
    for w in range(stream[S_WIN0], stream[S_WINN]):
        window = row(windows, w * W_COLUMNS)
        size, at = window[W_BUCKET_US], block + window[W_HOT]
        edge = t - window[W_DELAY]
        high = edge // size if window[W_DELAY] == 0 else (edge + 1) // size - 1
        low = (edge - window[W_LENGTH]) // size + 1
        old_low, old_high = arena[at + HOT_LOW], arena[at + HOT_HIGH]
        if high == old_high and low == old_low:
            continue
        stale = False
        if high < old_high or high - old_high > window[W_BUCKETS]:
            clear_window(arena, h, window, accs)
            arena[at + HOT_TOTAL] = 0
            old_low, old_high = low, low - 1
        for number in range(old_high + 1, high + 1):
            p = _bucket(arena, block, window, number)
            if arena[p + B_TAG] == number and number >= low:
                _add_bucket(arena, h, window, accs, p)
                arena[at + HOT_TOTAL] += arena[p + B_COUNT]
        for number in range(old_low, min(low, old_high + 1)):
            p = _bucket(arena, block, window, number)
            if arena[p + B_TAG] == number:
                stale |= _take_bucket(arena, h, window, accs, p)
                arena[at + HOT_TOTAL] -= arena[p + B_COUNT]
        arena[at + HOT_LOW], arena[at + HOT_HIGH] = low, high
        if stale:
            _find_extremes(arena, h, window, accs, block, low, high)
        for a in range(window[W_ACC0], window[W_ACCN]):
            if accs[a * A_COLUMNS + A_KIND] == ACC_DISTINCT:
                arena[h + accs[a * A_COLUMNS + A_HEADER]] = _estimate(
                    arena, block + stream[S_HLL], accs[a * A_COLUMNS + A_CAT], t - window[W_LENGTH]
                )


@register_jitable
def _find_extremes(arena: Any, h: int, window: Any, accs: Any, block: int, low: int, high: int) -> None:
    for a in range(window[W_ACC0], window[W_ACCN]):
        kind = accs[a * A_COLUMNS + A_KIND]
        if kind != ACC_MIN and kind != ACC_MAX:
            continue
        best = INT64_MAX if kind == ACC_MIN else MISSING
        for number in range(low, high + 1):
            p = _bucket(arena, block, window, number)
            if arena[p + B_TAG] == number:
                v = arena[p + accs[a * A_COLUMNS + A_BUCKET]]
                best = min(best, v) if kind == ACC_MIN else max(best, v)
        arena[h + accs[a * A_COLUMNS + A_HEADER]] = best


@register_jitable
def add_hot(arena: Any, h: int, stream: Any, windows: Any, accs: Any, p: int) -> None:
    """Let the record at p into the buckets of its time, and into the windows as far as they cover them."""
    block = arena[h + stream[S_HEADER] + R_BLOCK]
    t = arena[p]
    for w in range(stream[S_WIN0], stream[S_WINN]):
        window = row(windows, w * W_COLUMNS)
        at = block + window[W_HOT]
        number = t // window[W_BUCKET_US]
        b = _bucket(arena, block, window, number)
        if arena[b + B_TAG] > number:
            continue  # so late that its bucket is in use again: no window reaches back there
        if arena[b + B_TAG] < number:
            _clear_bucket(arena, b, window, accs, number)
        arena[b + B_COUNT] += 1
        inside = arena[at + HOT_LOW] <= number <= arena[at + HOT_HIGH]
        if inside:
            arena[at + HOT_TOTAL] += 1
        for a in range(window[W_ACC0], window[W_ACCN]):
            kind = accs[a * A_COLUMNS + A_KIND]
            v = arena[p + accs[a * A_COLUMNS + A_WORD]]
            if kind == ACC_DISTINCT or v == MISSING:
                continue
            for where in range(2 if inside else 1):
                to = b + accs[a * A_COLUMNS + A_BUCKET] if where == 0 else h + accs[a * A_COLUMNS + A_HEADER]
                if kind == ACC_SUM:
                    lo, hi = add_wide(arena[to], arena[to + 1] >> 32, v)
                    arena[to] = lo
                    arena[to + 1] = (hi << 32) | ((arena[to + 1] + 1) & HALF)
                elif kind == ACC_SQUARES:
                    lo, hi = add_wide_square(arena[to], arena[to + 1], v)
                    arena[to], arena[to + 1] = lo, hi
                elif kind == ACC_MIN:
                    arena[to] = min(arena[to], v)
                else:
                    arena[to] = max(arena[to], v)
    for cat in range(stream[S_CATS]):
        code = half(arena[p + stream[S_CAT_WORD] + (cat >> 1)], 32 * (cat & 1)) & CODE
        if code != 0:
            _see(arena, block + stream[S_HLL], cat, code, t)


@register_jitable
def add_wide_square(lo: int, hi: int, v: int) -> tuple[Any, Any]:
    low, high = square(v)
    total = np.uint64(lo) + np.uint64(low)
    return np.int64(total), hi + high + (1 if total < np.uint64(low) else 0)


@register_jitable
def correct_hot(arena: Any, h: int, s: int, stream: Any, windows: Any, accs: Any, t: int, word: int, delta: int) -> None:
    """Add delta to the sums of a record word for a transaction at time t: a label changed its fraud mark."""
    block = arena[h + stream[S_HEADER] + R_BLOCK]
    note_hot(arena, h, stream, mix(mix(arena[h + H_CODE] * 1024 + s, t), delta))
    for w in range(stream[S_WIN0], stream[S_WINN]):
        window = row(windows, w * W_COLUMNS)
        number = t // window[W_BUCKET_US]
        b = _bucket(arena, block, window, number)
        if arena[b + B_TAG] != number:
            continue
        at = block + window[W_HOT]
        inside = arena[at + HOT_LOW] <= number <= arena[at + HOT_HIGH]
        for a in range(window[W_ACC0], window[W_ACCN]):
            if accs[a * A_COLUMNS + A_KIND] == ACC_SUM and accs[a * A_COLUMNS + A_WORD] == word:
                for where in range(2 if inside else 1):
                    to = b + accs[a * A_COLUMNS + A_BUCKET] if where == 0 else h + accs[a * A_COLUMNS + A_HEADER]
                    lo, hi = add_wide(arena[to], arena[to + 1] >> 32, delta)
                    arena[to] = lo
                    arena[to + 1] = (hi << 32) | (arena[to + 1] & HALF)


@register_jitable
def hot_digest(arena: Any, h: int, stream: Any) -> Any:
    """Where the two words stand that say what a key's events of this form are in the digest: what goes when it ends."""
    return arena[h + stream[S_HEADER] + R_BLOCK] + stream[S_HOT_WORDS] - HOT_DIGEST


@register_jitable
def note_hot(arena: Any, h: int, stream: Any, x: int) -> None:
    """Put an item into the digest until the key leaves this form."""
    digest_add(arena, x)
    add_item(arena, hot_digest(arena, h, stream), x)


@register_jitable
def make_hot(arena: Any, h: int, s: int, stream: Any, windows: Any, accs: Any, t: int) -> None:
    """Turn the ring of a key into buckets, as of its newest time t."""
    base = h + stream[S_HEADER]
    ring, at = arena[base + R_BLOCK], arena[base + R_SPAN]
    block = allocate(arena, stream[S_HOT_WORDS])
    arena[base + R_BLOCK] = block
    arena[base + R_SPAN] = -1
    for w in range(stream[S_WIN0], stream[S_WINN]):
        window = row(windows, w * W_COLUMNS)
        clear_window(arena, h, window, accs)
        p = block + window[W_HOT]
        arena[p + HOT_LOW], arena[p + HOT_HIGH], arena[p + HOT_TOTAL] = 0, -1, 0
        for i in range(window[W_BUCKETS]):
            _clear_bucket(arena, p + HOT_FIXED + i * window[W_BUCKET_WORDS], window, accs, -1)
    tables = block + stream[S_HLL]
    items = hot_digest(arena, h, stream)
    for i in range(tables, items):
        arena[i] = MISSING
    arena[items] = arena[items + 1] = 0
    # Records enter before the windows are placed, so that they go into buckets only; then the windows add these up.
    for i in range(at & SPAN, (at >> 20) & SPAN):
        add_hot(arena, h, stream, windows, accs, ring + i * stream[S_RECORD])
        add_item(arena, items, record_mix(arena, stream, s, arena[h + H_CODE], ring + i * stream[S_RECORD]))
    for w in range(stream[S_WIN0], stream[S_WINN]):
        p = block + windows[w * W_COLUMNS + W_HOT]
        arena[p + HOT_HIGH] = MISSING // 2
    release(arena, ring)
    move_hot(arena, h, stream, windows, accs, t)


# --- distinct values ---------------------------------------------------------------------------------------------


@register_jitable
def _see(arena: Any, tables: int, cat: int, code: int, t: int) -> None:
    """Note that a code was seen: its register takes the rank of the hash, with the time. Codes count up, and one product
    leaves their pattern in the low bits (errors of 15 %); a second one does not (3 %)."""
    x = np.uint64(mix(mix(code, 0x2545F4914F6CDD1D), 0x1E3779B97F4A7C15))
    register = np.int64(x & np.uint64(HLL_REGISTERS - 1))
    rest = x >> np.uint64(10)
    rank = 0
    while rank < HLL_RANKS - 1 and (rest & np.uint64(1)) == np.uint64(0):
        rest >>= np.uint64(1)
        rank += 1
    at = tables + (cat * HLL_REGISTERS + register) * HLL_RANKS + rank
    arena[at] = max(arena[at], t)


@register_jitable
def _estimate(arena: Any, tables: int, cat: int, after: int) -> Any:
    """Distinct codes seen after a time, by HyperLogLog with linear counting for few."""
    total = 0.0
    empty = 0
    for register in range(HLL_REGISTERS):
        at = tables + (cat * HLL_REGISTERS + register) * HLL_RANKS
        rank = HLL_RANKS - 1
        while rank >= 0 and arena[at + rank] <= after:
            rank -= 1
        if rank < 0:
            empty += 1
            total += 1.0
        else:
            total += 1.0 / float(1 << (rank + 1))
    m = float(HLL_REGISTERS)
    estimate = _ALPHA * m * m / total
    if estimate <= 2.5 * m and empty > 0:
        estimate = m * (10.0 * _LN2 - _ln(float(empty)))
    return np.int64(estimate + 0.5)


@register_jitable
def _ln(x: float) -> Any:
    """Natural logarithm of x >= 1: halved into [1, 2), then 2 atanh((x - 1) / (x + 1)) by its series; error below 1e-9."""
    n = 0
    while x >= 2.0:
        x /= 2.0
        n += 1
    u = (x - 1.0) / (x + 1.0)
    z = u * u
    p = 0.0
    for k in range(19, -1, -1):
        p = p * z + 1.0 / (2.0 * k + 1.0)
    return n * _LN2 + 2.0 * u * p


@register_jitable
def end_hot(arena: Any, h: int, stream: Any, windows: Any, accs: Any) -> None:
    """Give back the buckets: all events are past; the key is exact again."""
    base = h + stream[S_HEADER]
    items = hot_digest(arena, h, stream)
    arena[C_DIGEST] -= arena[items]
    arena[C_DIGEST + 1] -= arena[items + 1]
    release(arena, arena[base + R_BLOCK])
    arena[base + R_BLOCK] = 0
    arena[base + R_SPAN] = 0
    for w in range(stream[S_WIN0], stream[S_WINN]):
        arena[h + windows[w * W_COLUMNS + W_HEADER]] = 0
        clear_window(arena, h, row(windows, w * W_COLUMNS), accs)


@register_jitable
def hot_count(arena: Any, base: int, stream: Any, window: Any) -> Any:
    return arena[arena[base + stream[S_HEADER] + R_BLOCK] + window[W_HOT] + HOT_TOTAL]

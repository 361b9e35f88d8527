"""Kept events of a key: a ring of records in (event time, log) order and the window cursors and sums over it.

Kernel code. A ring is a block with records at positions start .. end - 1; each window has two cursors into it, the first
position it still holds (`left`) and the first it does not hold yet (`entered`). Accumulators of the window are exactly the
plain aggregate over positions left .. entered - 1. Knows no key table and no output.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from fraudloop.features.exact import add_wide, square
from fraudloop.features.layout import (
    A_CAT,
    A_COLUMNS,
    A_CURSORS,
    A_HEADER,
    A_KIND,
    A_SHIFT,
    A_WORD,
    ACC_DISTINCT,
    ACC_MAX,
    ACC_MIN,
    ACC_SQUARES,
    ACC_SUM,
    C_EPOCH,
    H_CODE,
    INDEX_FROM,
    R_BLOCK,
    R_SPAN,
    S_CAT_WORD,
    S_CATS,
    S_DISTINCT0,
    S_DISTINCTN,
    S_FRAUD_WORD,
    S_HEADER,
    S_HORIZON,
    S_INDEX_FROM,
    S_RECORD,
    S_WIN0,
    S_WINN,
    SCRATCH_HASH,
    W_ACC0,
    W_ACCN,
    W_COLUMNS,
    W_DELAY,
    W_HEADER,
    W_LENGTH,
)
from fraudloop.features.memory import MISSING, allocate, digest_add, digest_remove, mix, release
from fraudloop.features.pointers import row

INT64_MAX = np.iinfo(np.int64).max
#: Top bit of a category half-word: this is the last occurrence of its code in the ring.
FLAG = 0x80000000
CODE = 0x7FFFFFFF
#: Both halves of a record word without their flags.
CODES = 0x7FFFFFFF7FFFFFFF
HALF = 0xFFFFFFFF
SPAN = 0xFFFFF


@register_jitable
def span(start: int, end: int, capacity: int) -> Any:
    return start | (end << 20) | (capacity << 40)


@register_jitable
def half(word: int, shift: int) -> Any:
    return (word >> shift) & HALF


@register_jitable
def index_words(capacity: int) -> Any:
    """Entries of the hash of last occurrences for one category: a power of two of at least twice the capacity."""
    size = 2 * INDEX_FROM
    while size < 2 * capacity:
        size *= 2
    return size


@register_jitable
def upper_bound(arena: Any, block: int, record: int, start: int, end: int, t: int) -> Any:
    """First position of start .. end whose time is after t."""
    while start < end:
        middle = (start + end) >> 1
        if arena[block + middle * record] <= t:
            start = middle + 1
        else:
            end = middle
    return start


@register_jitable
def record_mix(arena: Any, stream: Any, s: int, code: int, p: int) -> Any:
    """A record's item in the digest: the key, the stream, and its words without flags, which follow from the others."""
    x = mix(code * 1024 + s, arena[p])
    cats = stream[S_CAT_WORD]
    for j in range(1, stream[S_RECORD]):
        x = mix(x, arena[p + j] & CODES if j >= cats else arena[p + j])
    return x


# --- accumulators ------------------------------------------------------------------------------------------------


@register_jitable
def clear_window(arena: Any, base: int, window: Any, accs: Any) -> None:
    for a in range(window[W_ACC0], window[W_ACCN]):
        h = base + accs[a * A_COLUMNS + A_HEADER]
        kind = accs[a * A_COLUMNS + A_KIND]
        if kind == ACC_MIN:
            arena[h] = INT64_MAX
        elif kind == ACC_MAX:
            arena[h] = MISSING
        else:
            arena[h] = 0
            if kind != ACC_DISTINCT:
                arena[h + 1] = 0


@register_jitable
def enter(arena: Any, base: int, window: Any, accs: Any, p: int) -> None:
    """Add the record at p to a window's accumulators, distinct counts apart."""
    for a in range(window[W_ACC0], window[W_ACCN]):
        kind = accs[a * A_COLUMNS + A_KIND]
        if kind == ACC_DISTINCT:
            continue
        v = arena[p + accs[a * A_COLUMNS + A_WORD]]
        if v == MISSING:
            continue
        h = base + accs[a * A_COLUMNS + A_HEADER]
        if kind == ACC_SUM:
            lo, hi = add_wide(arena[h], arena[h + 1] >> 32, v)
            arena[h] = lo
            arena[h + 1] = (hi << 32) | ((arena[h + 1] + 1) & HALF)
        elif kind == ACC_SQUARES:
            lo, hi = square(v)
            total = np.uint64(arena[h]) + np.uint64(lo)
            arena[h + 1] += hi + (1 if total < np.uint64(lo) else 0)
            arena[h] = np.int64(total)
        elif kind == ACC_MIN:
            if v < arena[h]:
                arena[h] = v
        elif v > arena[h]:
            arena[h] = v


@register_jitable
def leave(arena: Any, base: int, window: Any, accs: Any, p: int) -> Any:
    """Take the record at p out of a window's accumulators. True if it may have been a minimum or maximum."""
    stale = False
    for a in range(window[W_ACC0], window[W_ACCN]):
        kind = accs[a * A_COLUMNS + A_KIND]
        h = base + accs[a * A_COLUMNS + A_HEADER]
        v = arena[p + accs[a * A_COLUMNS + A_WORD]]
        if kind == ACC_DISTINCT:
            # Only the last occurrence of a code counts; its flag says so.
            if half(v, accs[a * A_COLUMNS + A_SHIFT]) & FLAG:
                arena[h] -= 1
        elif v == MISSING:
            continue
        elif kind == ACC_SUM:
            lo, hi = add_wide(arena[h], arena[h + 1] >> 32, -v)
            arena[h] = lo
            arena[h + 1] = (hi << 32) | ((arena[h + 1] - 1) & HALF)
        elif kind == ACC_SQUARES:
            lo, hi = square(v)
            before = np.uint64(arena[h])
            arena[h + 1] -= hi + (1 if before < np.uint64(lo) else 0)
            arena[h] = np.int64(before - np.uint64(lo))
        elif v == arena[h]:
            stale = True
    return stale


@register_jitable
def find_extremes(arena: Any, base: int, window: Any, accs: Any, block: int, record: int, left: int, entered: int) -> None:
    """Minimum and maximum of a window again, from its records; what equals the one that left ends the search."""
    for a in range(window[W_ACC0], window[W_ACCN]):
        kind = accs[a * A_COLUMNS + A_KIND]
        if kind != ACC_MIN and kind != ACC_MAX:
            continue
        h = base + accs[a * A_COLUMNS + A_HEADER]
        old = arena[h]
        best = INT64_MAX if kind == ACC_MIN else MISSING
        p = block + left * record + accs[a * A_COLUMNS + A_WORD]
        for _ in range(entered - left):
            v = arena[p]
            p += record
            if v == MISSING:
                continue
            if (v < best) if kind == ACC_MIN else (v > best):
                best = v
                if v == old:
                    break
        arena[h] = best


@register_jitable
def accumulate(arena: Any, base: int, window: Any, accs: Any, stream: Any, block: int, left: int, entered: int, scratch: Any) -> None:
    """All accumulators of a window from its records: what the running ones must equal."""
    record = stream[S_RECORD]
    clear_window(arena, base, window, accs)
    for i in range(left, entered):
        enter(arena, base, window, accs, block + i * record)
    for a in range(window[W_ACC0], window[W_ACCN]):
        if accs[a * A_COLUMNS + A_KIND] == ACC_DISTINCT:
            arena[base + accs[a * A_COLUMNS + A_HEADER]] = distinct(
                arena, block, record, accs[a * A_COLUMNS + A_WORD], accs[a * A_COLUMNS + A_SHIFT], left, entered, scratch
            )


@register_jitable
def next_epoch(arena: Any, scratch: Any) -> Any:
    """A stamp that no entry of the scratch hash has: clearing it costs nothing."""
    arena[C_EPOCH] += 1
    if arena[C_EPOCH] >= CODE:
        for i in range(SCRATCH_HASH):
            scratch[i] = 0
        arena[C_EPOCH] = 1
    return arena[C_EPOCH] << 32


@register_jitable
def distinct(arena: Any, block: int, record: int, word: int, shift: int, left: int, entered: int, scratch: Any) -> Any:
    """Different codes, null apart, in positions left .. entered - 1."""
    size = 64
    while size < 2 * (entered - left):
        size *= 2
    stamp = next_epoch(arena, scratch)
    n = 0
    for i in range(left, entered):
        code = half(arena[block + i * record + word], shift) & CODE
        if code == 0:
            continue
        at = (code * 0x9E3779B1) & (size - 1)
        while (scratch[at] & ~HALF) == stamp and (scratch[at] & HALF) != code:
            at = (at + 1) & (size - 1)
        if scratch[at] != stamp | code:
            scratch[at] = stamp | code
            n += 1
    return n


@register_jitable
def fraud_streak(arena: Any, stream: Any, block: int, left: int, entered: int) -> tuple[Any, Any]:
    """(transactions since the last genuine one, its time) of positions left .. entered - 1, MISSING where none is.

    Transactions of one time are told apart by nothing, nor are their marks: a time is fraud only if all its
    transactions are.
    """
    record, mark = stream[S_RECORD], stream[S_FRAUD_WORD]
    streak = 0
    end = entered
    while end > left:
        t = arena[block + (end - 1) * record]
        begin, frauds = end, 0
        while begin > left and arena[block + (begin - 1) * record] == t:
            begin -= 1
            frauds += arena[block + begin * record + mark]
        if frauds < end - begin:
            return streak, t
        streak += end - begin
        end = begin
    return streak, MISSING


# --- last occurrences --------------------------------------------------------------------------------------------


@register_jitable
def find_last(arena: Any, stream: Any, block: int, start: int, end: int, capacity: int, cat: int, code: int) -> Any:
    """Position of the last record with this code, -1 if there is none."""
    record = stream[S_RECORD]
    word, shift = stream[S_CAT_WORD] + (cat >> 1), 32 * (cat & 1)
    if capacity < stream[S_INDEX_FROM]:
        p = block + (end - 1) * record + word
        for i in range(end - 1, start - 1, -1):
            if half(arena[p], shift) & CODE == code:
                return i
            p -= record
        return -1
    size = index_words(capacity)
    index = block + capacity * record + cat * size
    at = (code * 0x9E3779B1) & (size - 1)
    while arena[index + at] != 0:
        if arena[index + at] >> 32 == code:
            found = (arena[index + at] & HALF) - 1
            return found if found >= start else -1
        at = (at + 1) & (size - 1)
    return -1


@register_jitable
def note_last(arena: Any, stream: Any, block: int, capacity: int, cat: int, code: int, position: int) -> None:
    """Write into the hash of a large ring where a code occurred last."""
    size = index_words(capacity)
    index = block + capacity * stream[S_RECORD] + cat * size
    at = (code * 0x9E3779B1) & (size - 1)
    while arena[index + at] != 0 and arena[index + at] >> 32 != code:
        at = (at + 1) & (size - 1)
    arena[index + at] = (code << 32) | (position + 1)


@register_jitable
def mark_last(arena: Any, stream: Any, block: int, start: int, end: int, capacity: int, scratch: Any) -> None:
    """Set all flags, and the hash of a large ring, from the records."""
    record = stream[S_RECORD]
    for cat in range(stream[S_CATS]):
        word, shift = stream[S_CAT_WORD] + (cat >> 1), 32 * (cat & 1)
        if capacity >= stream[S_INDEX_FROM]:
            size = index_words(capacity)
            index = block + capacity * record + cat * size
            for i in range(index, index + size):
                arena[i] = 0
        size = 64
        while size < 2 * (end - start):
            size *= 2
        stamp = next_epoch(arena, scratch)
        for i in range(end - 1, start - 1, -1):
            p = block + i * record + word
            code = half(arena[p], shift) & CODE
            arena[p] &= ~(FLAG << shift)
            if code == 0:
                continue
            at = (code * 0x9E3779B1) & (size - 1)
            while (scratch[at] & ~HALF) == stamp and (scratch[at] & HALF) != code:
                at = (at + 1) & (size - 1)
            if scratch[at] != stamp | code:
                scratch[at] = stamp | code
                arena[p] |= FLAG << shift
                if capacity >= stream[S_INDEX_FROM]:
                    note_last(arena, stream, block, capacity, cat, code, i)


# --- moving the windows ------------------------------------------------------------------------------------------


@register_jitable
def advance(arena: Any, h: int, stream: Any, windows: Any, accs: Any, t: int) -> None:
    """Move the windows of a ring to time t, which is not before any they were moved to."""
    base = h + stream[S_HEADER]
    block = arena[base + R_BLOCK]
    if block == 0:
        return
    record = stream[S_RECORD]
    end = (arena[base + R_SPAN] >> 20) & SPAN
    for w in range(stream[S_WIN0], stream[S_WINN]):
        window = row(windows, w * W_COLUMNS)
        cursors = h + window[W_HEADER]
        entered, left = arena[cursors] >> 32, arena[cursors] & HALF
        edge = t - window[W_DELAY]
        stale = False
        if window[W_DELAY] > 0:
            p = block + entered * record
            while entered < end and arena[p] <= edge:
                enter(arena, h, window, accs, p)
                entered += 1
                p += record
        edge -= window[W_LENGTH]
        p = block + left * record
        while left < entered and arena[p] <= edge:
            stale |= leave(arena, h, window, accs, p)
            left += 1
            p += record
        if stale:
            find_extremes(arena, h, window, accs, block, record, left, entered)
        arena[cursors] = (entered << 32) | left


@register_jitable
def oldest_is_out(arena: Any, h: int, stream: Any, t: int) -> Any:
    base = h + stream[S_HEADER]
    block = arena[base + R_BLOCK]
    if block == 0:
        return False
    at = arena[base + R_SPAN]
    start = at & SPAN
    return start < ((at >> 20) & SPAN) and arena[block + start * stream[S_RECORD]] <= t - stream[S_HORIZON]


@register_jitable
def shift_cursors(arena: Any, h: int, stream: Any, windows: Any, by: int) -> None:
    for w in range(stream[S_WIN0], stream[S_WINN]):
        cursors = h + windows[w * W_COLUMNS + W_HEADER]
        arena[cursors] -= (by << 32) | by


@register_jitable
def make_room(arena: Any, h: int, stream: Any, windows: Any, scratch: Any) -> None:
    """Make sure that one more record fits behind the last: close the gap in front, or move to a larger block."""
    base = h + stream[S_HEADER]
    block, at = arena[base + R_BLOCK], arena[base + R_SPAN]
    start, end, capacity = at & SPAN, (at >> 20) & SPAN, at >> 40
    if end < capacity:
        return
    record, n = stream[S_RECORD], end - start
    if block != 0 and start >= (capacity >> 3) + 1:
        words = n * record
        source = block + start * record
        for i in range(words):
            arena[block + i] = arena[source + i]
        arena[base + R_SPAN] = span(0, n, capacity)
        shift_cursors(arena, h, stream, windows, start)
        if capacity >= stream[S_INDEX_FROM]:
            mark_last(arena, stream, block, 0, n, capacity, scratch)
        return
    larger = n + (n >> 3) + 2
    words = larger * record
    cats = stream[S_CATS]
    if larger >= stream[S_INDEX_FROM]:
        words += cats * index_words(larger)
    fresh = allocate(arena, words)
    if larger < stream[S_INDEX_FROM]:
        # Use what the size class gave beyond what was asked for.
        larger = min(max(larger, arena[fresh - 1] // record), stream[S_INDEX_FROM] - 1)
    if block != 0:
        source = block + start * record
        for i in range(n * record):
            arena[fresh + i] = arena[source + i]
        release(arena, block)
    arena[base + R_BLOCK] = fresh
    arena[base + R_SPAN] = span(0, n, larger)
    shift_cursors(arena, h, stream, windows, start)
    if larger >= stream[S_INDEX_FROM]:
        mark_last(arena, stream, fresh, 0, n, larger, scratch)


@register_jitable
def append(arena: Any, h: int, s: int, stream: Any, windows: Any, accs: Any) -> None:
    """Let the record just written behind the last one enter: it is the newest of its key."""
    base = h + stream[S_HEADER]
    block, at = arena[base + R_BLOCK], arena[base + R_SPAN]
    start, end, capacity = at & SPAN, (at >> 20) & SPAN, at >> 40
    record = stream[S_RECORD]
    p = block + end * record
    for w in range(stream[S_WIN0], stream[S_WINN]):
        window = row(windows, w * W_COLUMNS)
        if window[W_DELAY] == 0:
            enter(arena, h, window, accs, p)
            cursors = h + window[W_HEADER]
            arena[cursors] = ((end + 1) << 32) | (arena[cursors] & HALF)
    d = stream[S_DISTINCT0]
    while d < stream[S_DISTINCTN]:
        counts = row(accs, d * A_COLUMNS)
        cat, word, shift = counts[A_CAT], counts[A_WORD], counts[A_SHIFT]
        code = half(arena[p + word], shift) & CODE
        # An occurrence before the longest window changes nothing, nor does its flag: no window will let go of it again.
        last = end
        if code != 0:
            reach = arena[h + counts[A_CURSORS]] & HALF
            last = find_last(arena, stream, block, reach, end, capacity, cat, code)
            if last >= 0:
                arena[block + last * record + word] &= ~(FLAG << shift)
            arena[p + word] |= FLAG << shift
            if capacity >= stream[S_INDEX_FROM]:
                note_last(arena, stream, block, capacity, cat, code, end)
        while d < stream[S_DISTINCTN] and accs[d * A_COLUMNS + A_CAT] == cat:
            if last < arena[h + accs[d * A_COLUMNS + A_CURSORS]] & HALF:
                arena[h + accs[d * A_COLUMNS + A_HEADER]] += 1
            d += 1
    arena[base + R_SPAN] = span(start, end + 1, capacity)
    digest_add(arena, record_mix(arena, stream, s, arena[h + H_CODE], p))


@register_jitable
def open_gap(arena: Any, h: int, stream: Any, windows: Any, t: int, scratch: Any) -> Any:
    """Make place for a record that is not the newest; the position, behind all of the same time. Cursors follow; the
    caller writes the record and calls `settle`."""
    make_room(arena, h, stream, windows, scratch)
    base = h + stream[S_HEADER]
    block, at = arena[base + R_BLOCK], arena[base + R_SPAN]
    start, end, capacity = at & SPAN, (at >> 20) & SPAN, at >> 40
    record = stream[S_RECORD]
    position = upper_bound(arena, block, record, start, end, t)
    for i in range(end * record - 1, position * record - 1, -1):
        arena[block + i + record] = arena[block + i]
    arena[base + R_SPAN] = span(start, end + 1, capacity)
    for w in range(stream[S_WIN0], stream[S_WINN]):
        cursors = h + windows[w * W_COLUMNS + W_HEADER]
        entered, left = arena[cursors] >> 32, arena[cursors] & HALF
        # Before `left` it is past; before `entered` it is inside; else a delayed window has not come to it.
        if position < left:
            left += 1
        if position < entered or windows[w * W_COLUMNS + W_DELAY] == 0:
            entered += 1
        arena[cursors] = (entered << 32) | left
    return position


@register_jitable
def settle(arena: Any, h: int, stream: Any, windows: Any, accs: Any, scratch: Any) -> None:
    """Flags and accumulators of a ring from its records and cursors."""
    base = h + stream[S_HEADER]
    block, at = arena[base + R_BLOCK], arena[base + R_SPAN]
    if block == 0:
        return
    mark_last(arena, stream, block, at & SPAN, (at >> 20) & SPAN, at >> 40, scratch)
    for w in range(stream[S_WIN0], stream[S_WINN]):
        cursors = arena[h + windows[w * W_COLUMNS + W_HEADER]]
        accumulate(arena, h, row(windows, w * W_COLUMNS), accs, stream, block, cursors & HALF, cursors >> 32, scratch)


@register_jitable
def look_back(arena: Any, base: int, h: int, stream: Any, windows: Any, accs: Any, t: int, scratch: Any) -> None:
    """Cursors and accumulators of the windows at a time t behind the newest, into the scratch header `base`."""
    ring = h + stream[S_HEADER]
    block, at = arena[ring + R_BLOCK], arena[ring + R_SPAN]
    start, end = at & SPAN, (at >> 20) & SPAN
    record = stream[S_RECORD]
    for w in range(stream[S_WIN0], stream[S_WINN]):
        window = row(windows, w * W_COLUMNS)
        left = entered = start
        if block != 0:
            entered = upper_bound(arena, block, record, start, end, t - window[W_DELAY])
            left = upper_bound(arena, block, record, start, entered, t - window[W_DELAY] - window[W_LENGTH])
        arena[base + window[W_HEADER]] = (entered << 32) | left
        accumulate(arena, base, window, accs, stream, block, left, entered, scratch)


@register_jitable
def close_gap(arena: Any, h: int, stream: Any, windows: Any, position: int) -> None:
    """Take a record out of a ring without accumulators."""
    base = h + stream[S_HEADER]
    block, at = arena[base + R_BLOCK], arena[base + R_SPAN]
    start, end, capacity = at & SPAN, (at >> 20) & SPAN, at >> 40
    record = stream[S_RECORD]
    for i in range(position * record, (end - 1) * record):
        arena[block + i] = arena[block + i + record]
    arena[base + R_SPAN] = span(start, end - 1, capacity)
    for w in range(stream[S_WIN0], stream[S_WINN]):
        cursors = h + windows[w * W_COLUMNS + W_HEADER]
        entered, left = arena[cursors] >> 32, arena[cursors] & HALF
        if position < left:
            left -= 1
        if position < entered:
            entered -= 1
        arena[cursors] = (entered << 32) | left


@register_jitable
def drop_ring(arena: Any, h: int, s: int, stream: Any, windows: Any, accs: Any) -> None:
    """Give back the block of a ring, with all its records; the windows are empty after it."""
    base = h + stream[S_HEADER]
    block, at = arena[base + R_BLOCK], arena[base + R_SPAN]
    if block != 0:
        for i in range(at & SPAN, (at >> 20) & SPAN):
            digest_remove(arena, record_mix(arena, stream, s, arena[h + H_CODE], block + i * stream[S_RECORD]))
        release(arena, block)
    arena[base + R_BLOCK] = 0
    arena[base + R_SPAN] = 0
    for w in range(stream[S_WIN0], stream[S_WINN]):
        arena[h + windows[w * W_COLUMNS + W_HEADER]] = 0
        clear_window(arena, h, row(windows, w * W_COLUMNS), accs)

"""The fold's one compiled kernel: events in log order go in, state moves on, vectors come out.

It reads the plan as a table and is compiled once for all plans. Every entity of a transaction goes the same way: the
windows of its key move to the event's time, outputs that leave the event out are written, the event is absorbed, the
other outputs are written. An event older than its key's newest (late) is looked up by searching instead, and put where
it belongs. The kernel knows no clock: late and early are judged by `received`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from fraudloop.compiled import njit
from fraudloop.features import layout as at
from fraudloop.features.exact import add_wide, deviation, ratio
from fraudloop.features.geo import cell_latitude_e7, cell_longitude_e7, haversine_km, place_cell
from fraudloop.features.hot import add_hot, correct_hot, end_hot, hot_count, hot_digest, is_hot, make_hot, move_hot, note_hot
from fraudloop.features.memory import MISSING, allocate, allocate_lines, digest_add, digest_remove, find_key, mix, release, table_is_full
from fraudloop.features.pointers import prefetch, reals, row, words
from fraudloop.features.rings import (
    HALF,
    SPAN,
    advance,
    append,
    clear_window,
    close_gap,
    distinct,
    drop_ring,
    fraud_streak,
    look_back,
    make_room,
    next_epoch,
    oldest_is_out,
    open_gap,
    record_mix,
    settle,
    span,
    upper_bound,
)
from fraudloop.limits import (
    DAY_US,
    EVENTS_PER_KEY_MAX,
    HOME_DAYS,
    HOME_TRANSACTIONS_MIN,
    LATENESS_MAX_US,
    NOVELTY_S,
    NOVELTY_US,
    NOVELTY_VALUES_MAX,
    SKEW_MAX_US,
)

TOO_LATE = 1
TOO_EARLY = 2
IMPOSSIBLE_KMH = 900.0
IMPOSSIBLE_KM = 100.0
_NAN = np.nan
_SECONDS_MAX = 4294967295
SWEEP_EVERY = 8  # transactions for each key looked at: a look is a cache miss, and idle keys are in no hurry
_BLOCK = 32  # events whose keys are looked up together, so that the memory answers them at once
_HEADERS_AHEAD = 12  # events between asking for a header and reading it
_BLOCKS_AHEAD = 6  # and for what it points to: a few, so that it still lies in a near cache
_RECORDS_FETCHED = 16  # newest records asked for where the last occurrence of a value is sought
_VALUES_FETCHED = 32  # known values asked for


# --- keys --------------------------------------------------------------------------------------------------------


@register_jitable
def _look_up(
    arena: Any,
    table: Any,
    slots: Any,
    plan: Any,
    general: Any,
    spaces: Any,
    keys: Any,
    stride: int,
    key_columns: Any,
    n: int,
    codes: Any,
    heads: Any,
    fresh: Any,
) -> None:
    """Codes (0 null) and headers (0 none) of the keys of the next n events; new keys get both, and their rows are listed in `fresh`."""
    entities = plan[0]
    for i in range(n):
        for k in range(general[at.G_KEYS]):
            if key_columns[k] >= 0:
                lo = keys[i * stride + 2 * key_columns[k] + 1]
                prefetch(table, (lo & (arena[at.C_TABLE_ROWS] - 1)) * at.T_WORDS)
    for i in range(n):
        for k in range(general[at.G_KEYS]):
            to = i * general[at.G_KEYS] + k
            codes[to] = 0
            heads[to] = 0
            if key_columns[k] < 0:
                continue
            hi, lo = keys[i * stride + 2 * key_columns[k]], keys[i * stride + 2 * key_columns[k] + 1]
            if hi == 0 and lo == 0:
                continue
            hi ^= space_mark(spaces[k])
            found = find_key(arena, table, hi, lo) * at.T_WORDS
            if table[found + at.T_CODE] == 0:
                arena[at.C_COUNTERS + spaces[k]] += 1
                arena[at.C_KEYS] += 1
                if arena[at.C_FRESH] < at.FRESH_ROWS:
                    fresh[arena[at.C_FRESH]] = found // at.T_WORDS
                arena[at.C_FRESH] += 1
                table[found + at.T_HI], table[found + at.T_LO] = hi, lo
                code = arena[at.C_COUNTERS + spaces[k]]
                table[found + at.T_CODE] = (spaces[k] << 32) | code
                for e in range(general[at.G_ENTITIES]):
                    if entities[e * at.E_COLUMNS + at.E_KEY] == k:
                        table[found + at.T_HEADER] = new_header(arena, slots, row(entities, e * at.E_COLUMNS), plan, e, code)
            codes[to] = table[found + at.T_CODE] & HALF
            heads[to] = table[found + at.T_HEADER]


@register_jitable
def space_mark(space: int) -> Any:
    """What keeps equal ids of different key spaces apart in the table."""
    return mix(space + 1, 0x5851F42D4C957F2D)


@register_jitable
def new_header(arena: Any, slots: Any, entity: Any, plan: Any, e: int, code: int) -> Any:
    streams, windows, accs = plan[2], plan[4], plan[5]
    h = allocate_lines(arena, entity[at.E_WORDS])
    for j in range(entity[at.E_WORDS]):
        arena[h + j] = 0
    arena[h + at.H_ENTITY] = e
    arena[h + at.H_CODE] = code
    arena[h + at.H_FIRST] = MISSING
    arena[h + at.H_NEWEST] = MISSING
    profile = h + entity[at.E_PROFILE]
    arena[profile + at.P_OPENED] = arena[profile + at.P_OFFSET] = arena[profile + at.P_PLACE] = MISSING
    if entity[at.E_LAST] >= 0:
        for j in range(at.L_WORDS):
            arena[h + entity[at.E_LAST] + j] = MISSING
    if entity[at.E_HOME] >= 0:
        arena[h + entity[at.E_HOME] + at.M_DAY] = -1
    for s in range(entity[at.E_STREAM0], entity[at.E_STREAMN]):
        for w in range(streams[s * at.S_COLUMNS + at.S_WIN0], streams[s * at.S_COLUMNS + at.S_WINN]):
            clear_window(arena, h, row(windows, w * at.W_COLUMNS), accs)
    arena[h + at.H_SLOT] = arena[at.C_SLOTS]
    slots[arena[at.C_SLOTS]] = h
    arena[at.C_SLOTS] += 1
    return h


@register_jitable
def _fetch_header(arena: Any, entity: Any, h: int) -> None:
    """Ask for the header of a key that an event some places ahead names."""
    if h != 0:
        for j in range(0, entity[at.E_WORDS], 8):
            prefetch(arena, h + j)


@register_jitable
def _fetch_blocks(arena: Any, plan: Any, entity: Any, h: int) -> None:
    """Ask for what a header points to: the ends of rings, where windows stand, known values and places."""
    if h == 0:
        return
    novelty, streams, windows = plan[1], plan[2], plan[4]
    for v in range(entity[at.E_NOVELTY0], entity[at.E_NOVELTYN]):
        to = h + novelty[v * at.V_COLUMNS + at.V_HEADER]
        used = arena[to + at.N_COUNTS] >> 32
        last = arena[to + at.N_BLOCK] + used
        for j in range(0, min(used, _VALUES_FETCHED), 8):
            prefetch(arena, last - j)
    if entity[at.E_HOME] >= 0:
        home = h + entity[at.E_HOME]
        prefetch(arena, arena[home + at.M_BLOCK])
        prefetch(arena, arena[home + at.M_BLOCK] + (arena[home + at.M_COUNTS] >> 32))
    for s in range(entity[at.E_STREAM0], entity[at.E_STREAMN]):
        stream = row(streams, s * at.S_COLUMNS)
        block, where, record = (
            arena[h + stream[at.S_HEADER] + at.R_BLOCK],
            arena[h + stream[at.S_HEADER] + at.R_SPAN],
            stream[at.S_RECORD],
        )
        if block == 0 or where == -1:
            continue
        start, end = where & SPAN, (where >> 20) & SPAN
        prefetch(arena, block + start * record)
        if stream[at.S_DISTINCTN] > stream[at.S_DISTINCT0]:
            p = block + end * record + record - 1
            for j in range(0, min(end + 1 - start, _RECORDS_FETCHED) * record + 7, 8):
                prefetch(arena, p - j)
        else:
            prefetch(arena, block + end * record)
            prefetch(arena, block + end * record + record - 1)
        for w in range(stream[at.S_WIN0], stream[at.S_WINN]):
            cursors = arena[h + windows[w * at.W_COLUMNS + at.W_HEADER]]
            left = cursors & HALF
            if left < end:
                prefetch(arena, block + left * record)
                prefetch(arena, block + left * record + record)
            if windows[w * at.W_COLUMNS + at.W_DELAY] > 0:
                prefetch(arena, block + (cursors >> 32) * record)


# --- kept events -------------------------------------------------------------------------------------------------


@register_jitable
def _evict(arena: Any, h: int, s: int, plan: Any, t: int) -> None:
    """Let go of the records of a ring that are past its horizon at time t."""
    entities, streams = plan[0], plan[2]
    stream = row(streams, s * at.S_COLUMNS)
    if not oldest_is_out(arena, h, stream, t):
        return
    entity = row(entities, stream[at.S_ENTITY] * at.E_COLUMNS)
    base = h + stream[at.S_HEADER]
    block, where = arena[base + at.R_BLOCK], arena[base + at.R_SPAN]
    start, end, capacity = where & SPAN, (where >> 20) & SPAN, where >> 40
    while start < end:
        p = block + start * stream[at.S_RECORD]
        if arena[p] > t - stream[at.S_HORIZON]:
            break
        if s == entity[at.E_LAST_STREAM]:
            _remember_last(arena, h, entity, arena[p], arena[p + entity[at.E_PLACE_WORD]] if entity[at.E_PLACE_WORD] >= 0 else MISSING)
        digest_remove(arena, record_mix(arena, stream, s, arena[h + at.H_CODE], p))
        start += 1
    arena[base + at.R_SPAN] = span(start, end, capacity)


@register_jitable
def _remember_last(arena: Any, h: int, entity: Any, t: int, place: int) -> None:
    """The newest event that is no longer kept, and the newest with a place."""
    last = h + entity[at.E_LAST]
    if t >= arena[last + at.L_TIME]:
        arena[last + at.L_TIME] = t
    if place != MISSING and t >= arena[last + at.L_PLACED_TIME]:
        arena[last + at.L_PLACED_TIME] = t
        arena[last + at.L_PLACE] = place


@register_jitable
def _write_record(arena: Any, p: int, stream: Any, fields: Any, t: int, place: int, numbers: Any, number_columns: Any, codes: Any) -> None:
    """A record as of its arrival: flags unset, no fraud known."""
    arena[p] = t
    for j in range(stream[at.S_CAT_WORD], stream[at.S_RECORD]):
        arena[p + j] = 0
    for f in range(stream[at.S_FIELD0], stream[at.S_FIELDN]):
        kind, to = fields[f * at.F_COLUMNS + at.F_KIND], p + fields[f * at.F_COLUMNS + at.F_WORD]
        if kind == at.FIELD_NUMBER:
            arena[to] = _number(numbers, number_columns, fields[f * at.F_COLUMNS + at.F_SOURCE])
        elif kind == at.FIELD_FRAUD:
            arena[to] = 0
        elif kind == at.FIELD_PLACE:
            arena[to] = place
        else:
            arena[to] |= codes[fields[f * at.F_COLUMNS + at.F_SOURCE]] << fields[f * at.F_COLUMNS + at.F_SHIFT]


@register_jitable
def _number(numbers: Any, columns: Any, c: int) -> Any:
    return numbers[columns[c]] if columns[c] >= 0 else MISSING


@register_jitable
def _absorb(
    arena: Any, h: int, s: int, plan: Any, t: int, late: bool, place: int, numbers: Any, number_columns: Any, codes: Any, scratch: Any
) -> None:
    """Put a transaction into a stream of a key."""
    streams, fields, windows, accs = plan[2], plan[3], plan[4], plan[5]
    stream = row(streams, s * at.S_COLUMNS)
    base = h + stream[at.S_HEADER]
    record = stream[at.S_RECORD]
    if is_hot(arena, h, stream):
        p = at.C_SCRATCH + at.SCRATCH_WORDS - 64
        _write_record(arena, p, stream, fields, t, place, numbers, number_columns, codes)
        add_hot(arena, h, stream, windows, accs, p)
        note_hot(arena, h, stream, record_mix(arena, stream, s, arena[h + at.H_CODE], p))
        entity = row(plan[0], stream[at.S_ENTITY] * at.E_COLUMNS)
        if s == entity[at.E_LAST_STREAM]:
            _remember_last(arena, h, entity, t, place)
        return
    if late:
        if t <= arena[h + at.H_NEWEST] - stream[at.S_HORIZON]:
            entity = row(plan[0], stream[at.S_ENTITY] * at.E_COLUMNS)
            if s == entity[at.E_LAST_STREAM]:
                _remember_last(arena, h, entity, t, place)
            return
        position = open_gap(arena, h, stream, windows, t, scratch)
        p = arena[base + at.R_BLOCK] + position * record
        _write_record(arena, p, stream, fields, t, place, numbers, number_columns, codes)
        settle(arena, h, stream, windows, accs, scratch)
        digest_add(arena, record_mix(arena, stream, s, arena[h + at.H_CODE], p))
    else:
        make_room(arena, h, stream, windows, scratch)
        end = (arena[base + at.R_SPAN] >> 20) & SPAN
        _write_record(arena, arena[base + at.R_BLOCK] + end * record, stream, fields, t, place, numbers, number_columns, codes)
        append(arena, h, s, stream, windows, accs)
    where = arena[base + at.R_SPAN]
    if ((where >> 20) & SPAN) - (where & SPAN) > EVENTS_PER_KEY_MAX:
        _go_hot(arena, h, s, plan)


@register_jitable
def _go_hot(arena: Any, h: int, s: int, plan: Any) -> None:
    streams, windows, accs = plan[2], plan[4], plan[5]
    stream = row(streams, s * at.S_COLUMNS)
    entity = row(plan[0], stream[at.S_ENTITY] * at.E_COLUMNS)
    base = h + stream[at.S_HEADER]
    block, where = arena[base + at.R_BLOCK], arena[base + at.R_SPAN]
    for i in range(where & SPAN, (where >> 20) & SPAN):
        p = block + i * stream[at.S_RECORD]
        if s == entity[at.E_LAST_STREAM]:
            _remember_last(arena, h, entity, arena[p], arena[p + entity[at.E_PLACE_WORD]] if entity[at.E_PLACE_WORD] >= 0 else MISSING)
    make_hot(arena, h, s, stream, windows, accs, arena[h + at.H_NEWEST])
    arena[at.C_HOT] += 1


@register_jitable
def _move(arena: Any, h: int, plan: Any, entity: Any, t: int) -> None:
    """Bring all streams of a key to time t, its newest."""
    streams, windows, accs = plan[2], plan[4], plan[5]
    for s in range(entity[at.E_STREAM0], entity[at.E_STREAMN]):
        stream = row(streams, s * at.S_COLUMNS)
        if is_hot(arena, h, stream):
            if arena[h + at.H_NEWEST] <= t - stream[at.S_HORIZON]:
                end_hot(arena, h, stream, windows, accs)
                arena[at.C_HOT] -= 1
            else:
                move_hot(arena, h, stream, windows, accs, t)
        else:
            advance(arena, h, stream, windows, accs, t)
            _evict(arena, h, s, plan, t)
    arena[h + at.H_NEWEST] = t


@register_jitable
def _look_back(arena: Any, h: int, plan: Any, entity: Any, t: int, scratch: Any) -> None:
    """Fill the scratch header with what the key's windows were at time t, behind its newest."""
    streams, windows, accs = plan[2], plan[4], plan[5]
    for j in range(entity[at.E_WORDS]):
        arena[at.C_SCRATCH + j] = arena[h + j]
    for s in range(entity[at.E_STREAM0], entity[at.E_STREAMN]):
        if not is_hot(arena, h, row(streams, s * at.S_COLUMNS)):
            look_back(arena, at.C_SCRATCH, h, row(streams, s * at.S_COLUMNS), windows, accs, t, scratch)


# --- labels and profiles -----------------------------------------------------------------------------------------


@register_jitable
def _label(arena: Any, h: int, plan: Any, entity: Any, numbers: Any, columns: Any, system: int, known_at: int, scratch: Any) -> None:
    """Apply the change of one transaction's effective label to one of its keys."""
    streams, windows, accs = plan[2], plan[4], plan[5]
    before = _number(numbers, columns, system + at.N_BEFORE) == 1
    after = _number(numbers, columns, system + at.N_AFTER) == 1
    code = arena[h + at.H_CODE]
    s = entity[at.E_FRAUD_STREAM]
    if s >= 0:
        stream = row(streams, s * at.S_COLUMNS)
        base = h + stream[at.S_HEADER]
        if before and arena[base + at.R_BLOCK] != 0:
            old = _number(numbers, columns, system + at.N_BEFORE_KNOWN_AT)
            where = arena[base + at.R_SPAN]
            position = upper_bound(arena, arena[base + at.R_BLOCK], 1, where & SPAN, (where >> 20) & SPAN, old) - 1
            if position >= where & SPAN and arena[arena[base + at.R_BLOCK] + position] == old:
                digest_remove(arena, record_mix(arena, stream, s, code, arena[base + at.R_BLOCK] + position))
                close_gap(arena, h, stream, windows, position)
        if after and (arena[h + at.H_NEWEST] == MISSING or known_at > arena[h + at.H_NEWEST] - stream[at.S_HORIZON]):
            position = open_gap(arena, h, stream, windows, known_at, scratch)
            p = arena[base + at.R_BLOCK] + position
            arena[p] = known_at
            digest_add(arena, record_mix(arena, stream, s, code, p))
            arena[h + at.H_NEWEST] = max(arena[h + at.H_NEWEST], known_at)
            where = arena[base + at.R_SPAN]
            if ((where >> 20) & SPAN) - (where & SPAN) > EVENTS_PER_KEY_MAX:
                _forget_oldest(arena, h, s, stream, windows)
    if before == after or _number(numbers, columns, system + at.N_ABSORBED) == 0:
        return
    delta = 1 if after else -1
    t = _number(numbers, columns, system + at.N_TRANSACTION_TIME)
    for s in range(entity[at.E_STREAM0], entity[at.E_STREAMN]):
        stream = row(streams, s * at.S_COLUMNS)
        word = stream[at.S_FRAUD_WORD]
        base = h + stream[at.S_HEADER]
        block, where = arena[base + at.R_BLOCK], arena[base + at.R_SPAN]
        if word < 0 or block == 0:
            continue
        if where == -1:
            correct_hot(arena, h, s, stream, windows, accs, t, word, delta)
            continue
        # All transactions of one time count alike in every window: any record of that time can carry the mark.
        position = upper_bound(arena, block, stream[at.S_RECORD], where & SPAN, (where >> 20) & SPAN, t) - 1
        p = block + position * stream[at.S_RECORD]
        if position < where & SPAN or arena[p] != t:
            continue
        digest_remove(arena, record_mix(arena, stream, s, code, p))
        arena[p + word] += delta
        digest_add(arena, record_mix(arena, stream, s, code, p))
        for w in range(stream[at.S_WIN0], stream[at.S_WINN]):
            cursors = arena[h + windows[w * at.W_COLUMNS + at.W_HEADER]]
            if cursors & HALF <= position < cursors >> 32:
                for a in range(windows[w * at.W_COLUMNS + at.W_ACC0], windows[w * at.W_COLUMNS + at.W_ACCN]):
                    if accs[a * at.A_COLUMNS + at.A_KIND] == at.ACC_SUM and accs[a * at.A_COLUMNS + at.A_WORD] == word:
                        to = h + accs[a * at.A_COLUMNS + at.A_HEADER]
                        lo, hi = add_wide(arena[to], arena[to + 1] >> 32, delta)
                        arena[to] = lo
                        arena[to + 1] = (hi << 32) | (arena[to + 1] & HALF)


@register_jitable
def _forget_oldest(arena: Any, h: int, s: int, stream: Any, windows: Any) -> None:
    """A key with more known frauds than events may be kept loses the oldest of them."""
    base = h + stream[at.S_HEADER]
    where = arena[base + at.R_SPAN]
    digest_remove(arena, record_mix(arena, stream, s, arena[h + at.H_CODE], arena[base + at.R_BLOCK] + (where & SPAN)))
    close_gap(arena, h, stream, windows, where & SPAN)


@register_jitable
def _profile(arena: Any, h: int, entity: Any, e: int, numbers: Any, columns: Any, system: int, home_country: int) -> None:
    """Fold a profile: the last value given of each field."""
    to = h + entity[at.E_PROFILE]
    code = arena[h + at.H_CODE]
    place = _place(numbers, columns, system + at.N_HOME_LATITUDE)
    for j in range(at.P_WORDS):
        if j == at.P_OPENED:
            value = _number(numbers, columns, system + at.N_OPENED_AT)
        elif j == at.P_OFFSET:
            value = _number(numbers, columns, system + at.N_UTC_OFFSET)
        elif j == at.P_COUNTRY:
            value = home_country
        else:
            value = place
        nothing = 0 if j == at.P_COUNTRY else MISSING
        if value == nothing or value == arena[to + j]:
            continue
        if arena[to + j] != nothing:
            digest_remove(arena, mix(mix(code * 1024 + 640 + e, j), arena[to + j]))
        arena[to + j] = value
        digest_add(arena, mix(mix(code * 1024 + 640 + e, j), value))
    if entity[at.E_HOME] >= 0:
        arena[h + entity[at.E_HOME] + at.M_DAY] = -1


@register_jitable
def _place(numbers: Any, columns: Any, latitude: int) -> Any:
    """Latitude and longitude in one word, MISSING unless both are there."""
    lat, lon = _number(numbers, columns, latitude), _number(numbers, columns, latitude + 1)
    if lat == MISSING or lon == MISSING:
        return MISSING
    return (lat << 32) | ((lon + 2147483648) & HALF)


@register_jitable
def _latitude(place: int) -> Any:
    return place >> 32


@register_jitable
def _longitude(place: int) -> Any:
    return (place & HALF) - 2147483648


# --- home --------------------------------------------------------------------------------------------------------


@register_jitable
def _count_home(arena: Any, home: int, tag: int, day: int, cell: int, country: int) -> None:
    """Count one transaction at a place and country on a day."""
    block, used, capacity = arena[home + at.M_BLOCK], arena[home + at.M_COUNTS] >> 32, arena[home + at.M_COUNTS] & HALF
    head = (day << 48) | (cell << 23) | (country << 13)
    i = used - 1
    while i >= 0 and (arena[block + i] >> 48) & 0xFFFF >= day:
        if arena[block + i] & ~at.HOME_COUNT_MAX == head and arena[block + i] & at.HOME_COUNT_MAX < at.HOME_COUNT_MAX:
            digest_remove(arena, mix(tag, arena[block + i]))
            arena[block + i] += 1
            digest_add(arena, mix(tag, arena[block + i]))
            return
        i -= 1
    # Days so old that no later decision can ask for them go first, then, beyond the bound, the oldest.
    newest = (arena[block + used - 1] >> 48) & 0xFFFF if used else day
    gone = 0
    while gone < used and ((arena[block + gone] >> 48) & 0xFFFF < max(day, newest) - HOME_DAYS - 2 or used - gone >= at.HOME_ENTRIES_MAX):
        if (arena[block + gone] >> 48) & 0xFFFF >= arena[home + at.M_DAY] - HOME_DAYS:
            arena[home + at.M_DAY] = -1  # it was counted, and will not be there to be taken off: all is counted anew
        digest_remove(arena, mix(tag, arena[block + gone]))
        gone += 1
    if gone:
        for j in range(gone, used):
            arena[block + j - gone] = arena[block + j]
        used -= gone
    if used == capacity:
        fresh = allocate(arena, used + (used >> 3) + 2)
        for j in range(used):
            arena[fresh + j] = arena[block + j]
        if block != 0:
            release(arena, block)
        block, capacity = fresh, arena[fresh - 1]
    position = used
    while position > 0 and (arena[block + position - 1] >> 48) & 0xFFFF > day:
        arena[block + position] = arena[block + position - 1]
        position -= 1
    arena[block + position] = head | 1
    digest_add(arena, mix(tag, head | 1))
    arena[home + at.M_BLOCK] = block
    arena[home + at.M_COUNTS] = ((used + 1) << 32) | capacity


@register_jitable
def _find_home(arena: Any, home: int, day: int, scratch: Any) -> tuple[Any, Any]:
    """Most frequent (place cell, country) of the 90 days before a day, -1 and 0 where none has enough transactions.

    Counting anew is avoided: the answer of an earlier day stays while its lead over the second is larger than what has
    come to others and gone from it since.
    """
    memo, answer = arena[home + at.M_DAY], arena[home + at.M_ANSWER]
    best_cell, best_country = answer >> 32, answer & HALF
    if memo == day:
        return best_cell, best_country
    block, used = arena[home + at.M_BLOCK], arena[home + at.M_COUNTS] >> 32
    cell_margin = country_margin = 0
    if 0 <= memo < day:
        cell_margin, country_margin = arena[home + at.M_MARGINS] >> 32, arena[home + at.M_MARGINS] & HALF
        i = 0
        while i < used and (arena[block + i] >> 48) & 0xFFFF < min(day - HOME_DAYS, memo):
            entry = arena[block + i]
            if (entry >> 48) & 0xFFFF >= memo - HOME_DAYS:
                if _cell(entry) == best_cell:
                    cell_margin -= entry & at.HOME_COUNT_MAX
                if _country(entry) == best_country:
                    country_margin -= entry & at.HOME_COUNT_MAX
            i += 1
        i = used - 1
        while i >= 0 and (arena[block + i] >> 48) & 0xFFFF >= max(day - HOME_DAYS, memo):
            entry = arena[block + i]
            if (entry >> 48) & 0xFFFF < day:
                n = entry & at.HOME_COUNT_MAX
                if _cell(entry) != at.HOME_CELL_NONE:
                    cell_margin += n if _cell(entry) == best_cell else -n
                if _country(entry) != at.HOME_COUNTRY_NONE:
                    country_margin += n if _country(entry) == best_country else -n
            i -= 1
    if cell_margin <= 0:
        best_cell, cell_margin = _count_values(arena, block, used, day, True, scratch)
    if country_margin <= 0:
        best_country, country_margin = _count_values(arena, block, used, day, False, scratch)
        if best_country < 0:
            best_country = 0
    if day > memo:
        arena[home + at.M_DAY], arena[home + at.M_ANSWER] = day, (best_cell << 32) | best_country
        arena[home + at.M_MARGINS] = (cell_margin << 32) | country_margin
    return best_cell, best_country


@register_jitable
def _cell(entry: int) -> Any:
    return (entry >> 23) & at.HOME_CELL_NONE


@register_jitable
def _country(entry: int) -> Any:
    return (entry >> 13) & at.HOME_COUNTRY_NONE


@register_jitable
def _count_values(arena: Any, block: int, used: int, day: int, cells: bool, scratch: Any) -> tuple[Any, Any]:
    """(most frequent cell or country of the 90 days before a day, or -1; its lead over the second and over too few)."""
    size = 64
    while size < 2 * used:
        size *= 2
    stamp = next_epoch(arena, scratch)
    nothing = at.HOME_CELL_NONE if cells else at.HOME_COUNTRY_NONE
    # Pairs (stamp and value, last day and count) in the scratch hash, and behind it which of its slots are in use.
    order = 4 * at.HOME_ENTRIES_MAX * 2
    different = 0
    i = used - 1
    while i >= 0 and (arena[block + i] >> 48) & 0xFFFF >= day:
        i -= 1
    while i >= 0:
        entry = arena[block + i]
        d = (entry >> 48) & 0xFFFF
        if d < day - HOME_DAYS:
            break
        i -= 1
        value = _cell(entry) if cells else _country(entry)
        if value == nothing:
            continue
        slot = (value * 0x9E3779B1) & (size - 1)
        while (scratch[2 * slot] & ~HALF) == stamp and scratch[2 * slot] & HALF != value:
            slot = (slot + 1) & (size - 1)
        if scratch[2 * slot] != stamp | value:
            # From the newest back: the first entry of a value has its most recent day.
            scratch[2 * slot] = stamp | value
            scratch[2 * slot + 1] = d << 32
            scratch[order + different] = slot
            different += 1
        scratch[2 * slot + 1] += entry & at.HOME_COUNT_MAX
    best, best_count, best_day, second = -1, 0, -1, 0
    for j in range(different):
        slot = scratch[order + j]
        value, count, d = scratch[2 * slot] & HALF, scratch[2 * slot + 1] & HALF, scratch[2 * slot + 1] >> 32
        if count > best_count or (count == best_count and (d > best_day or (d == best_day and value < best))):
            best, best_count, best_day, second = value, count, d, best_count
        elif count > second:
            second = count
    if best_count < HOME_TRANSACTIONS_MIN:
        return -1, 0
    return best, best_count - max(second, HOME_TRANSACTIONS_MIN - 1)


# --- novelty -----------------------------------------------------------------------------------------------------


@register_jitable
def _see_value(arena: Any, h: int, v: int, novelty: Any, code: int, second: int) -> Any:
    """Note a value as seen; 1.0 if it was new. Values stand in the order in which they were last absorbed."""
    to = h + novelty[at.V_HEADER]
    block, used, capacity = arena[to + at.N_BLOCK], arena[to + at.N_COUNTS] >> 32, arena[to + at.N_COUNTS] & HALF
    tag = arena[h + at.H_CODE] * 1024 + 256 + v
    found = -1
    for i in range(used - 1, -1, -1):
        if arena[block + i] >> 32 == code:
            found = i
            break
    is_new = 1.0
    if found >= 0:
        if (arena[block + found] & HALF) > second - NOVELTY_S:
            is_new = 0.0
        digest_remove(arena, mix(tag, arena[block + found]))
        second = max(second, arena[block + found] & HALF)
        for i in range(found, used - 1):
            arena[block + i] = arena[block + i + 1]
        used -= 1
    elif used == NOVELTY_VALUES_MAX:
        # The value seen longest ago goes; among equals the one absorbed least recently. The new one counts too.
        oldest, seen = -1, second
        for i in range(used):
            if arena[block + i] & HALF <= seen and (oldest < 0 or arena[block + i] & HALF < seen):
                oldest, seen = i, arena[block + i] & HALF
        if oldest < 0:
            return is_new
        digest_remove(arena, mix(tag, arena[block + oldest]))
        for i in range(oldest, used - 1):
            arena[block + i] = arena[block + i + 1]
        used -= 1
    elif used == capacity:
        fresh = allocate(arena, min(used + (used >> 2) + 2, NOVELTY_VALUES_MAX))
        for i in range(used):
            arena[fresh + i] = arena[block + i]
        if block != 0:
            release(arena, block)
        block, capacity = fresh, arena[fresh - 1]
        arena[to + at.N_BLOCK] = block
    arena[block + used] = (code << 32) | second
    digest_add(arena, mix(tag, arena[block + used]))
    arena[to + at.N_COUNTS] = ((used + 1) << 32) | capacity
    return is_new


# --- outputs -----------------------------------------------------------------------------------------------------


@register_jitable
def _write_outputs(
    arena: Any,
    base: int,
    h: int,
    plan: Any,
    t: int,
    first: int,
    after: int,
    missing: Any,
    x: Any,
    novel: Any,
    numbers: Any,
    number_columns: Any,
    scratch: Any,
    out: Any,
) -> None:
    """Outputs first .. after - 1 of one key, read from the header at `base`; rings are those of the header `h`."""
    streams, windows, outputs = plan[2], plan[4], plan[6]
    for o in range(first, after):
        op = outputs[o * at.O_COLUMNS + at.O_OP]
        acc, power = base + outputs[o * at.O_COLUMNS + at.O_ACC], outputs[o * at.O_COLUMNS + at.O_POWER]
        value = _NAN
        if op == at.OP_EVENT:
            value = x[outputs[o * at.O_COLUMNS + at.O_ARG]]
        elif op == at.OP_IS_NEW:
            value = novel[outputs[o * at.O_COLUMNS + at.O_ARG]]
        elif op == at.OP_NUMBER:
            v = _number(numbers, number_columns, outputs[o * at.O_COLUMNS + at.O_ARG])
            if v != MISSING:
                value = float(v) / float(power)
        elif op == at.OP_COUNT or op == at.OP_RATE:
            stream, window = (
                row(streams, outputs[o * at.O_COLUMNS + at.O_STREAM] * at.S_COLUMNS),
                row(windows, outputs[o * at.O_COLUMNS + at.O_WINDOW] * at.W_COLUMNS),
            )
            cursors = arena[base + window[at.W_HEADER]]
            n = hot_count(arena, base, stream, window) if is_hot(arena, base, stream) else (cursors >> 32) - (cursors & HALF)
            if op == at.OP_COUNT:
                value = float(n)
            elif n > 0:
                value = float(arena[acc]) / float(n)
        elif op == at.OP_DISTINCT:
            value = float(arena[acc])
        elif op == at.OP_STREAK or op == at.OP_SINCE_GENUINE:
            stream = row(streams, outputs[o * at.O_COLUMNS + at.O_STREAM] * at.S_COLUMNS)
            if not is_hot(arena, base, stream):
                cursors = arena[base + windows[outputs[o * at.O_COLUMNS + at.O_WINDOW] * at.W_COLUMNS + at.W_HEADER]]
                streak, genuine = fraud_streak(arena, stream, arena[h + stream[at.S_HEADER] + at.R_BLOCK], cursors & HALF, cursors >> 32)
                if op == at.OP_STREAK:
                    value = float(streak)
                elif genuine != MISSING:
                    value = ratio(t - genuine, 0, 1_000_000)
        elif op == at.OP_DISTINCT_SCAN:
            stream = row(streams, outputs[o * at.O_COLUMNS + at.O_STREAM] * at.S_COLUMNS)
            if not is_hot(arena, base, stream):
                cursors = arena[base + windows[outputs[o * at.O_COLUMNS + at.O_WINDOW] * at.W_COLUMNS + at.W_HEADER]]
                word, shift = outputs[o * at.O_COLUMNS + at.O_ACC2] >> 6, outputs[o * at.O_COLUMNS + at.O_ACC2] & 63
                block = arena[h + stream[at.S_HEADER] + at.R_BLOCK]
                value = float(distinct(arena, block, stream[at.S_RECORD], word, shift, cursors & HALF, cursors >> 32, scratch))
        else:
            n = arena[acc + 1] & HALF
            lo, hi = arena[acc], arena[acc + 1] >> 32
            other = base + outputs[o * at.O_COLUMNS + at.O_ACC2]
            if op == at.OP_SUM:
                value = ratio(lo, hi, power)
            elif n == 0:
                value = _NAN
            elif op == at.OP_MEAN:
                value = ratio(lo, hi, n * power)
            elif op == at.OP_MIN or op == at.OP_MAX:
                value = float(arena[other]) / float(power)
            elif n >= 2:
                value = deviation(n, lo, hi, arena[other], arena[other + 1], power)
                if op == at.OP_DEVIATION:
                    v = _number(numbers, number_columns, outputs[o * at.O_COLUMNS + at.O_ARG])
                    if v == MISSING or value == 0.0:
                        value = _NAN
                    else:
                        value = (float(v) / float(power) - ratio(lo, hi, n * power)) / value
        if value != value and outputs[o * at.O_COLUMNS + at.O_HAS_MISSING] == 1:
            value = missing[o]
        out[outputs[o * at.O_COLUMNS + at.O_COLUMN]] = value


@register_jitable
def _write_nothing(outputs: Any, first: int, after: int, out: Any) -> None:
    for o in range(first, after):
        out[outputs[o * at.O_COLUMNS + at.O_COLUMN]] = _NAN


@register_jitable
def _write_of_features(outputs: Any, first: int, after: int, missing: Any, alive: int, out: Any) -> None:
    """Ratios and differences; `missing` stands in where the keys of both parts were there to answer (bits of `alive`)."""
    for o in range(first, after):
        a, b = out[outputs[o * at.O_COLUMNS + at.O_ACC]], out[outputs[o * at.O_COLUMNS + at.O_ACC2]]
        value = a - b
        if outputs[o * at.O_COLUMNS + at.O_OP] == at.OP_RATIO:
            value = a / b if b != 0.0 else _NAN
        if value != value and outputs[o * at.O_COLUMNS + at.O_HAS_MISSING] == 1 and outputs[o * at.O_COLUMNS + at.O_ARG] & ~alive == 0:
            value = missing[o]
        out[outputs[o * at.O_COLUMNS + at.O_COLUMN]] = value


# --- one transaction, one key ------------------------------------------------------------------------------------


@register_jitable
def _last_values(arena: Any, h: int, entity: Any, streams: Any, t: int, late: bool, place: int, x: Any) -> None:
    """Seconds, distance and speed from the event before, in (event time, log) order."""
    x[at.X_SINCE_LAST] = x[at.X_KM_LAST] = x[at.X_SPEED] = x[at.X_IMPOSSIBLE] = _NAN
    last = h + entity[at.E_LAST]
    stream = row(streams, entity[at.E_LAST_STREAM] * at.S_COLUMNS)
    base = h + stream[at.S_HEADER]
    block, where = arena[base + at.R_BLOCK], arena[base + at.R_SPAN]
    before, placed_time, placed = arena[last + at.L_TIME], arena[last + at.L_PLACED_TIME], arena[last + at.L_PLACE]
    if where != -1 and block != 0:
        start, end, record = where & SPAN, (where >> 20) & SPAN, stream[at.S_RECORD]
        if late:
            end = upper_bound(arena, block, record, start, end, t)
        if end > start:
            before = arena[block + (end - 1) * record]
        if late and entity[at.E_PLACE_WORD] >= 0:
            for i in range(end - 1, start - 1, -1):
                if arena[block + i * record + entity[at.E_PLACE_WORD]] != MISSING:
                    placed_time, placed = arena[block + i * record], arena[block + i * record + entity[at.E_PLACE_WORD]]
                    break
    if not late:
        placed_time, placed = arena[last + at.L_NOW_TIME], arena[last + at.L_NOW_PLACE]
    if before != MISSING and before <= t:
        x[at.X_SINCE_LAST] = ratio(t - before, 0, 1_000_000)
    if place != MISSING and placed != MISSING and placed_time <= t:
        km = haversine_km(_latitude(placed), _longitude(placed), _latitude(place), _longitude(place))
        speed = km * 3600.0 / max(ratio(t - placed_time, 0, 1_000_000), 1.0)
        x[at.X_KM_LAST] = km
        x[at.X_SPEED] = speed
        x[at.X_IMPOSSIBLE] = 1.0 if speed > IMPOSSIBLE_KMH and km > IMPOSSIBLE_KM else 0.0


@register_jitable
def _home_values(
    arena: Any, h: int, entity: Any, t: int, place: int, country: int, own_place: int, own_country: int, scratch: Any, x: Any
) -> None:
    """Distance from home, and whether the country is another: own fields first, then the profile, then what was usual."""
    profile = h + entity[at.E_PROFILE]
    x[at.X_KM_HOME] = x[at.X_FOREIGN] = _NAN
    home_place = own_place if own_place != MISSING else arena[profile + at.P_PLACE]
    home_country = own_country if own_country != 0 else arena[profile + at.P_COUNTRY]
    if home_place == MISSING or home_country == 0:
        cell, usual = _find_home(arena, h + entity[at.E_HOME], t // DAY_US, scratch)
        if home_country == 0:
            home_country = usual
        if place != MISSING and home_place == MISSING and cell >= 0:
            x[at.X_KM_HOME] = haversine_km(cell_latitude_e7(cell), cell_longitude_e7(cell), _latitude(place), _longitude(place))
    if place != MISSING and home_place != MISSING:
        x[at.X_KM_HOME] = haversine_km(_latitude(home_place), _longitude(home_place), _latitude(place), _longitude(place))
    if country != 0 and home_country != 0:
        x[at.X_FOREIGN] = 1.0 if country != home_country else 0.0


@register_jitable
def _last_fraud(arena: Any, h: int, stream: Any, t: int, x: Any) -> None:
    """Seconds since the newest fraud known by t, of those known in the last 180 days."""
    x[at.X_SINCE_FRAUD] = _NAN
    base = h + stream[at.S_HEADER]
    block, where = arena[base + at.R_BLOCK], arena[base + at.R_SPAN]
    if block == 0:
        return
    position = upper_bound(arena, block, 1, where & SPAN, (where >> 20) & SPAN, t) - 1
    if position >= where & SPAN and arena[block + position] > t - NOVELTY_US:
        x[at.X_SINCE_FRAUD] = ratio(t - arena[block + position], 0, 1_000_000)


@register_jitable
def _key(
    arena: Any,
    h: int,
    e: int,
    plan: Any,
    missing: Any,
    general: Any,
    t: int,
    numbers: Any,
    number_columns: Any,
    codes: Any,
    place: int,
    own_place: int,
    scratch: Any,
    x: Any,
    novel: Any,
    out: Any,
) -> Any:
    """All that one transaction does to one key and reads from it. True if the key is beyond an exact bound."""
    entities, novelty, streams = plan[0], plan[1], plan[2]
    entity = row(entities, e * at.E_COLUMNS)
    need = entity[at.E_NEED]
    late = arena[h + at.H_NEWEST] != MISSING and t < arena[h + at.H_NEWEST]
    base = h
    if late:
        base = at.C_SCRATCH
        if entity[at.E_PREN] > entity[at.E_PRE0]:
            _look_back(arena, h, plan, entity, t, scratch)
    else:
        _move(arena, h, plan, entity, t)
    _write_outputs(arena, base, h, plan, t, entity[at.E_PRE0], entity[at.E_PREN], missing, x, novel, numbers, number_columns, scratch, out)

    # What is read before the event is absorbed.
    second = min(t // 1_000_000, _SECONDS_MAX)
    if need & at.NEED_LAST:
        _last_values(arena, h, entity, streams, t, late, place, x)
    if need & at.NEED_LAST_FRAUD:
        _last_fraud(arena, h, row(streams, entity[at.E_FRAUD_STREAM] * at.S_COLUMNS), t, x)
    country = codes[general[at.G_COUNTRY]]
    if need & at.NEED_HOME:
        _home_values(arena, h, entity, t, place, country, own_place, codes[general[at.G_HOME_COUNTRY]], scratch, x)

    # The event enters.
    first = arena[h + at.H_FIRST]
    if first == MISSING or t < first:
        if first != MISSING:
            digest_remove(arena, mix(arena[h + at.H_CODE] * 1024 + 768 + e, first))
        arena[h + at.H_FIRST] = first = t
        digest_add(arena, mix(arena[h + at.H_CODE] * 1024 + 768 + e, first))
    opened = arena[h + entity[at.E_PROFILE] + at.P_OPENED]
    if opened == MISSING:
        opened = first
    x[at.X_AGE] = ratio(t - opened, 0, DAY_US) if t > opened else 0.0
    hot = False
    for s in range(entity[at.E_STREAM0], entity[at.E_STREAMN]):
        if streams[s * at.S_COLUMNS + at.S_LABELS] == 0:
            _absorb(arena, h, s, plan, t, late, place, numbers, number_columns, codes, scratch)
            hot |= is_hot(arena, h, row(streams, s * at.S_COLUMNS))
        else:
            # As many known frauds as are kept: there may have been more.
            where = arena[h + streams[s * at.S_COLUMNS + at.S_HEADER] + at.R_SPAN]
            hot |= ((where >> 20) & SPAN) - (where & SPAN) >= EVENTS_PER_KEY_MAX
    if need & at.NEED_LAST and place != MISSING and t >= arena[h + entity[at.E_LAST] + at.L_NOW_TIME]:
        arena[h + entity[at.E_LAST] + at.L_NOW_TIME] = t
        arena[h + entity[at.E_LAST] + at.L_NOW_PLACE] = place
    for v in range(entity[at.E_NOVELTY0], entity[at.E_NOVELTYN]):
        code = codes[novelty[v * at.V_COLUMNS + at.V_KEY]]
        novel[v - entity[at.E_NOVELTY0]] = _see_value(arena, h, v, row(novelty, v * at.V_COLUMNS), code, second) if code != 0 else _NAN
    if need & at.NEED_HOME and (place != MISSING or country != 0):
        profile, home = h + entity[at.E_PROFILE], h + entity[at.E_HOME]
        if arena[profile + at.P_PLACE] == MISSING or arena[profile + at.P_COUNTRY] == 0:
            day = t // DAY_US
            cell = place_cell(_latitude(place), _longitude(place)) if place != MISSING else at.HOME_CELL_NONE
            _count_home(
                arena,
                home,
                arena[h + at.H_CODE] * 1024 + 512 + e,
                day,
                cell,
                country if 0 < country < at.HOME_COUNTRY_NONE else at.HOME_COUNTRY_NONE,
            )
            if day < arena[home + at.M_DAY]:
                arena[home + at.M_DAY] = -1
            hot |= arena[home + at.M_COUNTS] >> 32 >= at.HOME_ENTRIES_MAX
    if late:
        _look_back(arena, h, plan, entity, t, scratch)
    _write_outputs(
        arena, base, h, plan, t, entity[at.E_POST0], entity[at.E_POSTN], missing, x, novel, numbers, number_columns, scratch, out
    )
    return hot


@register_jitable
def _sweep(arena: Any, slots: Any, plan: Any) -> None:
    """Look at one key a transaction: one without an event for longer than anything looks back shrinks to its header.

    No later decision can tell: what goes is past every window that a transaction in time can ask for.
    """
    # Up to the keys that transactions so far have named, however far ahead keys were looked up: the result must not
    # depend on how the log is cut into steps.
    if arena[at.C_SWEEP_END] == 0:
        return
    if arena[at.C_TRANSACTIONS] & (SWEEP_EVERY - 1):
        return
    c = arena[at.C_SWEEP] if arena[at.C_SWEEP] < arena[at.C_SWEEP_END] else 0
    arena[at.C_SWEEP] = c + 1
    h = slots[c]
    entity = row(plan[0], arena[h + at.H_ENTITY] * at.E_COLUMNS)
    newest = arena[h + at.H_NEWEST]
    if newest == MISSING or newest > arena[at.C_RECEIVED] - entity[at.E_IDLE] - LATENESS_MAX_US:
        return
    _shrink(arena, h, entity, plan)


@register_jitable
def _shrink(arena: Any, h: int, entity: Any, plan: Any) -> None:
    novelty, streams, windows, accs = plan[1], plan[2], plan[4], plan[5]
    for s in range(entity[at.E_STREAM0], entity[at.E_STREAMN]):
        stream = row(streams, s * at.S_COLUMNS)
        if is_hot(arena, h, stream):
            end_hot(arena, h, stream, windows, accs)
            arena[at.C_HOT] -= 1
        elif arena[h + stream[at.S_HEADER] + at.R_BLOCK] != 0:
            _evict(arena, h, s, plan, arena[h + at.H_NEWEST] + stream[at.S_HORIZON])
            drop_ring(arena, h, s, stream, windows, accs)
    if entity[at.E_HOME] >= 0:
        home = h + entity[at.E_HOME]
        for i in range(arena[home + at.M_COUNTS] >> 32):
            digest_remove(arena, mix(arena[h + at.H_CODE] * 1024 + 512 + arena[h + at.H_ENTITY], arena[arena[home + at.M_BLOCK] + i]))
        if arena[home + at.M_BLOCK] != 0:
            release(arena, arena[home + at.M_BLOCK])
        arena[home + at.M_BLOCK] = arena[home + at.M_COUNTS] = 0
        arena[home + at.M_DAY] = -1
    for v in range(entity[at.E_NOVELTY0], entity[at.E_NOVELTYN]):
        to = h + novelty[v * at.V_COLUMNS + at.V_HEADER]
        for i in range(arena[to + at.N_COUNTS] >> 32):
            digest_remove(arena, mix(arena[h + at.H_CODE] * 1024 + 256 + v, arena[arena[to + at.N_BLOCK] + i]))
        if arena[to + at.N_BLOCK] != 0:
            release(arena, arena[to + at.N_BLOCK])
        arena[to + at.N_BLOCK] = arena[to + at.N_COUNTS] = 0


# --- the kernel --------------------------------------------------------------------------------------------------


@njit
def step(
    state: Any, tables: Any, missing: Any, plan: Any, events: Any, columns: Any, work: Any, x: Any, out: Any, begin: int, out_row: int
) -> tuple[Any, Any]:
    """Fold events from `begin` on until the end or until memory must grow; (next event, next output row).

    state: (arena, key table, slots), tables: (entities, novelty, streams, fields, windows, accumulators, outputs) with the
    columns of `layout`, plan: (general, key spaces), columns: (of keys, of numbers) in the events for those of the plan,
    work: (codes, headers, scratch hash, rows of new keys): tuples of int64 arrays. missing: float64 [outputs], x: (values of the event,
    novelty values), float64. events: (kind uint8 [n], time [n], received [n], keys [n, K, 2], numbers [n, N]), int64.
    out: (values float64 [transactions, features], status uint8, approximate uint32).
    """
    arena, table, slots = words(state[0].ctypes.data), words(state[1].ctypes.data), words(state[2].ctypes.data)
    entities, outputs = words(tables[0].ctypes.data), words(tables[6].ctypes.data)
    pointers = (
        entities, words(tables[1].ctypes.data), words(tables[2].ctypes.data), words(tables[3].ctypes.data),
        words(tables[4].ctypes.data), words(tables[5].ctypes.data), outputs,
    )  # fmt: skip
    general, spaces = words(plan[0].ctypes.data), words(plan[1].ctypes.data)
    kind, time, received = events[0], events[1], events[2]
    keys, key_stride = words(events[3].ctypes.data), events[3].shape[1] * 2
    numbers, number_stride = words(events[4].ctypes.data), events[4].shape[1]
    key_columns, number_columns = words(columns[0].ctypes.data), words(columns[1].ctypes.data)
    codes, heads, scratch, fresh = (
        words(work[0].ctypes.data),
        words(work[1].ctypes.data),
        words(work[2].ctypes.data),
        words(work[3].ctypes.data),
    )
    event_values, novel, instead = reals(x[0].ctypes.data), reals(x[1].ctypes.data), reals(missing.ctypes.data)
    values, features = reals(out[0].ctypes.data), out[0].shape[1]
    system = general[at.G_SYSTEM]
    n = len(kind)
    i = begin
    while i < n:
        here = min(_BLOCK, n - i)
        more = here * general[at.G_KEYS]
        if table_is_full(arena, more) or arena[at.C_SLOTS] + more > arena[at.C_SLOTS_ROWS]:
            return i, out_row
        if arena[at.C_TOP] + 2 * general[at.G_RESERVE] > arena[at.C_CAPACITY]:
            return i, out_row
        _look_up(
            arena, table, slots, pointers, general, spaces, row(keys, i * key_stride), key_stride, key_columns, here, codes, heads, fresh
        )
        if here > 1:
            for b in range(min(here, _HEADERS_AHEAD)):
                for e in range(general[at.G_ENTITIES]):
                    entity = row(entities, e * at.E_COLUMNS)
                    _fetch_header(arena, entity, heads[b * general[at.G_KEYS] + entity[at.E_KEY]])
            for b in range(min(here, _BLOCKS_AHEAD)):
                for e in range(general[at.G_ENTITIES]):
                    entity = row(entities, e * at.E_COLUMNS)
                    _fetch_blocks(arena, pointers, entity, heads[b * general[at.G_KEYS] + entity[at.E_KEY]])
        for b in range(here):
            if arena[at.C_TOP] + general[at.G_RESERVE] > arena[at.C_CAPACITY]:
                return i + b, out_row
            j = i + b
            t = time[j]
            now = max(arena[at.C_RECEIVED], received[j])
            arena[at.C_RECEIVED] = now
            record = row(numbers, j * number_stride)
            my_codes, my_heads = row(codes, b * general[at.G_KEYS]), row(heads, b * general[at.G_KEYS])
            if kind[j] != 2:
                arena[at.C_LABELS if kind[j] == 1 else at.C_PROFILES] += 1
                for e in range(general[at.G_ENTITIES]):
                    entity = row(entities, e * at.E_COLUMNS)
                    h = my_heads[entity[at.E_KEY]]
                    if h == 0:
                        continue
                    if kind[j] == 1:
                        _label(arena, h, pointers, entity, record, number_columns, system, t, scratch)
                    else:
                        _profile(arena, h, entity, e, record, number_columns, system, my_codes[general[at.G_HOME_COUNTRY]])
                continue
            to = row(values, out_row * features)
            _clock_values(arena, my_heads, entities, general, record, number_columns, t, event_values)
            _write_outputs(
                arena, 0, 0, pointers, t, 0, general[at.G_OF_TRANSACTION], instead, event_values, novel, record, number_columns, scratch, to
            )
            flags = TOO_LATE if t < now - LATENESS_MAX_US else TOO_EARLY if t > now + SKEW_MAX_US else 0
            place = _place(record, number_columns, system + at.N_LATITUDE)
            own_place = _place(record, number_columns, system + at.N_HOME_LATITUDE)
            hot = alive = 0
            for e in range(general[at.G_ENTITIES]):
                entity = row(entities, e * at.E_COLUMNS)
                if b + _HEADERS_AHEAD < here:
                    _fetch_header(arena, entity, my_heads[_HEADERS_AHEAD * general[at.G_KEYS] + entity[at.E_KEY]])
                if b + _BLOCKS_AHEAD < here:
                    _fetch_blocks(arena, pointers, entity, my_heads[_BLOCKS_AHEAD * general[at.G_KEYS] + entity[at.E_KEY]])
                h = my_heads[entity[at.E_KEY]]
                if h != 0:
                    arena[at.C_SWEEP_END] = max(arena[at.C_SWEEP_END], arena[h + at.H_SLOT] + 1)
                if h == 0 or flags:
                    _write_nothing(outputs, entity[at.E_PRE0], entity[at.E_PREN], to)
                    _write_nothing(outputs, entity[at.E_POST0], entity[at.E_POSTN], to)
                elif _key(
                    arena,
                    h,
                    e,
                    pointers,
                    instead,
                    general,
                    t,
                    record,
                    number_columns,
                    my_codes,
                    place,
                    own_place,
                    scratch,
                    event_values,
                    novel,
                    to,
                ):
                    hot |= 1 << e
                if h != 0 and not flags:
                    alive |= 1 << e
            _write_of_features(outputs, general[at.G_OF_FEATURES], general[at.G_OUTPUTS], instead, alive, to)
            out[1][out_row] = flags
            out[2][out_row] = hot
            arena[at.C_TRANSACTIONS] += 1
            arena[at.C_LATE if flags == TOO_LATE else at.C_EARLY if flags == TOO_EARLY else at.C_ABSORBED] += 1
            _sweep(arena, slots, pointers)
            out_row += 1
        i += here
    return i, out_row


@register_jitable
def _clock_values(arena: Any, heads: Any, entities: Any, general: Any, numbers: Any, columns: Any, t: int, x: Any) -> None:
    """Hour and weekday in local time: by the transaction's own offset, the profile's, or the configured zone's."""
    offset = _number(numbers, columns, general[at.G_SYSTEM] + at.N_UTC_OFFSET)
    if offset == MISSING and general[at.G_ENTITIES] > 0 and heads[entities[0 * at.E_COLUMNS + at.E_KEY]] != 0:
        offset = arena[heads[entities[0 * at.E_COLUMNS + at.E_KEY]] + entities[0 * at.E_COLUMNS + at.E_PROFILE] + at.P_OFFSET]
    if offset == MISSING:
        offset = _number(numbers, columns, general[at.G_SYSTEM] + at.N_ZONE_OFFSET)
    if offset == MISSING:
        offset = 0
    local = t + offset * 60_000_000
    day = local // DAY_US
    hour = (local - day * DAY_US) // 3_600_000_000
    weekday = (day + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    first, after = general[at.G_NIGHT_FROM], general[at.G_NIGHT_TO]
    night = first <= hour < after if first <= after else hour >= first or hour < after
    x[at.X_HOUR] = float(hour)
    x[at.X_WEEKDAY] = float(weekday)
    x[at.X_WEEKEND] = 1.0 if weekday >= 5 else 0.0
    x[at.X_NIGHT] = 1.0 if night else 0.0


@njit
def copy_rows(old: Any, begin: int, end: int, counters: Any, larger: Any) -> None:
    """Rows of the key table from `begin` to before `end` into a larger one, but those that it has. counters: by key space the last code that is
    left out; all zeros, and nothing is."""
    for i in range(begin, end):
        code = old[i, at.T_CODE]
        if code != 0 and code & HALF > counters[code >> 32]:
            _copy_row(old, i, larger)


@njit
def copy_listed(old: Any, rows: Any, n: int, below: int, larger: Any) -> None:
    """The first n of a list of rows of the key table into a larger one, those of them that lie below another row."""
    for i in rows[:n]:
        if i < below:
            _copy_row(old, i, larger)


@register_jitable
def _copy_row(old: Any, i: int, larger: Any) -> None:
    mask = len(larger) - 1
    found = old[i, at.T_LO] & mask
    while larger[found, at.T_CODE] != 0 and (larger[found, at.T_LO] != old[i, at.T_LO] or larger[found, at.T_HI] != old[i, at.T_HI]):
        found = (found + 1) & mask
    for j in range(at.T_WORDS):
        larger[found, j] = old[i, j]


@njit
def recompute_digest(state: Any, tables: Any) -> tuple[Any, Any]:
    """The digest from the state itself: what the running one must equal."""
    arena, slots = words(state[0].ctypes.data), words(state[2].ctypes.data)
    kept_lo, kept_hi = arena[at.C_DIGEST], arena[at.C_DIGEST + 1]
    arena[at.C_DIGEST] = arena[at.C_DIGEST + 1] = 0
    entities, novelty, streams = words(tables[0].ctypes.data), words(tables[1].ctypes.data), words(tables[2].ctypes.data)
    for c in range(arena[at.C_SLOTS]):
        h = slots[c]
        e = arena[h + at.H_ENTITY]
        entity, code = row(entities, e * at.E_COLUMNS), arena[h + at.H_CODE]
        if arena[h + at.H_FIRST] != MISSING:
            digest_add(arena, mix(code * 1024 + 768 + e, arena[h + at.H_FIRST]))
        for j in range(at.P_WORDS):
            value = arena[h + entity[at.E_PROFILE] + j]
            if value != (0 if j == at.P_COUNTRY else MISSING):
                digest_add(arena, mix(mix(code * 1024 + 640 + e, j), value))
        for s in range(entity[at.E_STREAM0], entity[at.E_STREAMN]):
            base = h + streams[s * at.S_COLUMNS + at.S_HEADER]
            if arena[base + at.R_SPAN] == -1:
                # The events themselves are gone: what they were in the digest is all there is to check.
                items = hot_digest(arena, h, row(streams, s * at.S_COLUMNS))
                arena[at.C_DIGEST] += arena[items]
                arena[at.C_DIGEST + 1] += arena[items + 1]
            elif arena[base + at.R_BLOCK] != 0:
                for i in range(arena[base + at.R_SPAN] & SPAN, (arena[base + at.R_SPAN] >> 20) & SPAN):
                    digest_add(
                        arena,
                        record_mix(
                            arena,
                            row(streams, s * at.S_COLUMNS),
                            s,
                            code,
                            arena[base + at.R_BLOCK] + i * streams[s * at.S_COLUMNS + at.S_RECORD],
                        ),
                    )
        if entity[at.E_HOME] >= 0:
            home = h + entity[at.E_HOME]
            for i in range(arena[home + at.M_COUNTS] >> 32):
                digest_add(arena, mix(code * 1024 + 512 + e, arena[arena[home + at.M_BLOCK] + i]))
        for v in range(entity[at.E_NOVELTY0], entity[at.E_NOVELTYN]):
            to = h + novelty[v * at.V_COLUMNS + at.V_HEADER]
            for i in range(arena[to + at.N_COUNTS] >> 32):
                digest_add(arena, mix(code * 1024 + 256 + v, arena[arena[to + at.N_BLOCK] + i]))
    lo, hi = arena[at.C_DIGEST], arena[at.C_DIGEST + 1]
    arena[at.C_DIGEST], arena[at.C_DIGEST + 1] = kept_lo, kept_hi
    return lo, hi

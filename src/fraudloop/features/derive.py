"""A state under another plan, from the events it keeps: what changes when a new model or rule set comes.

Where the kept events hold all that the new plan asks for, its running numbers are made from them, and every later vector
is the one that the new plan would have given by itself. (The digest need not be: what a key no longer needs goes when
the plan's own horizon says so, and a replay of the log derives at the same place.) Where they do not (another entity or field, a longer look back, a
key in the approximate form), the log must be folded again: `obstacles` says why.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from fraudloop.compiled import njit
from fraudloop.errors import RefoldNeeded
from fraudloop.features import layout as at
from fraudloop.features.fold import Fold
from fraudloop.features.kernel import new_header, space_mark
from fraudloop.features.memory import MISSING, allocate, find_key
from fraudloop.features.plan import Plan
from fraudloop.features.pointers import row, words
from fraudloop.features.rings import CODE, FLAG, HALF, SPAN, settle, span, upper_bound

_NEEDS = {at.NEED_TRAVEL: "places of events", at.NEED_HOME: "home", at.NEED_LAST: "the last event", at.NEED_LAST_FRAUD: "known frauds"}


def obstacles(old: Plan, new: Plan) -> list[str]:
    """Why a state under `old` cannot become one under `new`; empty when it can."""
    return _Match(old, new).reasons


def derive(fold: Fold, plan: Plan) -> Fold:
    """The state of `fold` under another plan; `fold` itself stays as it is.

    Raises RefoldNeeded, with `reasons`, where kept events do not hold what the plan asks for.

    >>> from fraudloop.domain.definitions import FeatureSet
    >>> from fraudloop.features.plan import compile_plan
    >>> fold = Fold(compile_plan(FeatureSet.load("default")))
    >>> derive(fold, compile_plan(FeatureSet.load("default").select(["customer_count_24h"]))).plan.names
    ('customer_count_24h',)
    """
    match = _Match(fold.plan, plan)
    if fold.counts()["approximate_streams"]:
        match.reasons.append("a key is beyond the exact bound, so its events are no longer kept")
    if match.reasons:
        raise RefoldNeeded("this plan cannot be derived from the kept events: " + "; ".join(match.reasons), reasons=match.reasons)
    out = Fold(plan)
    source = fold._arena.words
    rows = max(4096, 1 << int(2 * int(source[at.C_KEYS]) + 64).bit_length())
    out._table = np.zeros((rows, at.T_WORDS), dtype=np.int64)
    out._slots.grow(int(source[at.C_SLOTS]) + 64)
    # What is kept under the new plan is at most what is kept now, in blocks of at most a quarter more, and headers.
    header_words = int(plan.entities[:, at.E_WORDS].max()) * 5 // 4 + 16 if len(plan.entities) else 0
    out._arena.grow(
        2 * int(source[at.C_LIVE_WORDS]) + header_words * int(source[at.C_SLOTS]) + _index_words(fold, plan, match)
        + at.C_BLOCKS + 3 * int(plan.general[at.G_RESERVE])
    )  # fmt: skip
    out._note_sizes()
    _move(
        (source, fold._table, fold._slots.words), fold._tables, (out._arena.words, out._table, out._slots.words), out._tables,
        (match.entities, match.spaces, match.streams, match.fields, match.novelty), out._work[2],
    )  # fmt: skip
    out._take_digest()
    return out


def _index_words(fold: Fold, plan: Plan, match: _Match) -> int:
    """At most so many words the hashes of last occurrences take under the new plan: the old one may have had none."""
    source, total = fold._arena.words, 0
    headers = fold._slots.words[: int(source[at.C_SLOTS])]
    entity = source[headers + at.H_ENTITY]
    for s, stream in enumerate(plan.streams):
        other = fold.plan.streams[match.streams[s]]
        where = source[headers[entity == other[at.S_ENTITY]] + other[at.S_HEADER] + at.R_SPAN]
        kept = ((where >> 20) & SPAN) - (where & SPAN)
        large = kept[kept * 9 // 8 + 2 >= stream[at.S_INDEX_FROM]]
        total += int(stream[at.S_CATS]) * (8 * int(large.sum()) + 4 * at.INDEX_FROM * len(large))
    return total


class _Match:
    """Which part of the old plan answers for each part of the new one."""

    def __init__(self, old: Plan, new: Plan) -> None:
        self.old, self.new = old, new
        self.reasons: list[str] = []
        self.entities = np.full(len(new.entities), -1, dtype=np.int64)
        self.spaces = np.full(64, -1, dtype=np.int64)
        self.streams = np.full(len(new.streams), -1, dtype=np.int64)
        # (old stream, old record word, shift) of each field of the new plan
        self.fields = np.zeros((max(1, len(new.fields)), 3), dtype=np.int64)
        self.novelty = np.full(max(1, len(new.novelty)), -1, dtype=np.int64)
        columns = {e.name: e.column for e in old.features.entities} | dict(old.features.categories)
        for name, space in zip(new.key_names, new.key_spaces, strict=True):
            if name in old.key_names:
                self.spaces[old.key_spaces[old.key_names.index(name)]] = space
        names = [e.name for e in old.features.entities]
        for e, entity in enumerate(new.features.entities):
            if columns.get(entity.name) != entity.column or entity.name not in names:
                self.reasons.append(f"entity {entity.name!r} ({entity.column}) is new")
                continue
            self.entities[e] = names.index(entity.name)
            self._entity(entity.name, new.entities[e], old.entities[self.entities[e]])

    def _entity(self, name: str, new: Any, old: Any) -> None:
        for need, what in _NEEDS.items():
            if new[at.E_NEED] & need and not old[at.E_NEED] & need and need != at.NEED_LAST_FRAUD:
                self.reasons.append(f"{name}: {what} was not kept")
        for v in range(new[at.E_NOVELTY0], new[at.E_NOVELTYN]):
            found = [
                i
                for i in range(old[at.E_NOVELTY0], old[at.E_NOVELTYN])
                if self._key(self.old, self.old.novelty[i, at.V_KEY]) == self._key(self.new, self.new.novelty[v, at.V_KEY])
            ]
            if found:
                self.novelty[v] = found[0]
            else:
                self.reasons.append(f"{name}: known values of {self._key(self.new, self.new.novelty[v, at.V_KEY])[0]!r} were not kept")
        for s in range(new[at.E_STREAM0], new[at.E_STREAMN]):
            stream = self.new.streams[s]
            candidates = [
                i for i in range(old[at.E_STREAM0], old[at.E_STREAMN])
                if self.old.streams[i, at.S_LABELS] == stream[at.S_LABELS] and self.old.streams[i, at.S_HORIZON] >= stream[at.S_HORIZON]
            ]  # fmt: skip
            if not candidates:
                self.reasons.append(
                    f"{name}: {'known frauds' if stream[at.S_LABELS] else 'events'} were not kept for {int(stream[at.S_HORIZON]) // 86_400_000_000 + 1} days"
                )
                continue
            self.streams[s] = candidates[0]
            for f in range(stream[at.S_FIELD0], stream[at.S_FIELDN]):
                self._field(name, f, candidates)

    def _field(self, name: str, f: int, candidates: list[int]) -> None:
        wanted = self._field_name(self.new, f)
        for s in candidates:
            for g in range(self.old.streams[s, at.S_FIELD0], self.old.streams[s, at.S_FIELDN]):
                if self._field_name(self.old, g) == wanted:
                    self.fields[f] = s, self.old.fields[g, at.F_WORD], self.old.fields[g, at.F_SHIFT]
                    return
        self.reasons.append(f"{name}: {wanted[1] or 'fraud marks'} of events were not kept, or not for so long")

    def _field_name(self, plan: Plan, f: int) -> tuple[int, str, Any]:
        kind, source = int(plan.fields[f, at.F_KIND]), int(plan.fields[f, at.F_SOURCE])
        if kind == at.FIELD_NUMBER:
            number = plan.features.numbers[source]
            return kind, number.name, (number.column, number.scale)
        if kind == at.FIELD_CATEGORY:
            return kind, *self._key(plan, source)
        return kind, "places" if kind == at.FIELD_PLACE else "", None

    @staticmethod
    def _key(plan: Plan, column: int) -> tuple[str, Any]:
        name = plan.key_names[column]
        known = {e.name: e.column for e in plan.features.entities} | dict(plan.features.categories)
        return name, known.get(name, name)


@njit
def _move(old: Any, old_tables: Any, new: Any, new_tables: Any, match: Any, scratch_array: Any) -> None:
    """Make every key of the new state from the old. match: (entities, spaces, streams, fields, novelty) of `_Match`."""
    source, old_rows, old_slots = words(old[0].ctypes.data), old[1], words(old[2].ctypes.data)
    arena, table, slots = words(new[0].ctypes.data), words(new[1].ctypes.data), words(new[2].ctypes.data)
    scratch = words(scratch_array.ctypes.data)
    before = (words(old_tables[0].ctypes.data), words(old_tables[1].ctypes.data), words(old_tables[2].ctypes.data))
    plan = (
        words(new_tables[0].ctypes.data), words(new_tables[1].ctypes.data), words(new_tables[2].ctypes.data),
        words(new_tables[3].ctypes.data), words(new_tables[4].ctypes.data), words(new_tables[5].ctypes.data),
        words(new_tables[6].ctypes.data),
    )  # fmt: skip
    entities, spaces, streams, fields, novelty = match
    for c in (at.C_RECEIVED, at.C_TRANSACTIONS, at.C_ABSORBED, at.C_LATE, at.C_EARLY, at.C_LABELS, at.C_PROFILES):
        arena[c] = source[c]
    # Headers in their old order, each noting for the table where it went.
    moved = np.zeros(max(1, source[at.C_SLOTS]), dtype=np.int64)
    for i in range(source[at.C_SLOTS]):
        h = old_slots[i]
        for e in range(len(entities)):
            if entities[e] == source[h + at.H_ENTITY]:
                entity = row(plan[0], e * at.E_COLUMNS)
                to = new_header(arena, slots, entity, plan, e, source[h + at.H_CODE])
                moved[i] = to
                was = row(before[0], entities[e] * at.E_COLUMNS)
                _move_header(source, h, was, before[1], arena, to, entity, plan[1], novelty)
                _move_streams(source, h, was, before[2], arena, to, entity, plan, streams, fields, scratch)
    for i in range(len(old_rows)):
        if old_rows[i, at.T_CODE] == 0:
            continue
        was_space = old_rows[i, at.T_CODE] >> 32
        space = spaces[was_space]
        if space < 0:
            continue
        code = old_rows[i, at.T_CODE] & HALF
        hi, lo = old_rows[i, at.T_HI] ^ space_mark(was_space) ^ space_mark(space), old_rows[i, at.T_LO]
        found = find_key(arena, table, hi, lo) * at.T_WORDS
        table[found + at.T_HI], table[found + at.T_LO] = hi, lo
        table[found + at.T_CODE] = (space << 32) | code
        if old_rows[i, at.T_HEADER] != 0:
            table[found + at.T_HEADER] = moved[source[old_rows[i, at.T_HEADER] + at.H_SLOT]]
        arena[at.C_KEYS] += 1
        arena[at.C_COUNTERS + space] = max(arena[at.C_COUNTERS + space], code)
    arena[at.C_SWEEP_END] = arena[at.C_SLOTS]


@register_jitable
def _copy_block(source: Any, block: int, arena: Any, used: int) -> Any:
    fresh = allocate(arena, max(used, 1))
    for j in range(used):
        arena[fresh + j] = source[block + j]
    return fresh


@register_jitable
def _move_header(source: Any, h: int, was: Any, was_novelty: Any, arena: Any, to: int, entity: Any, novelty: Any, match: Any) -> None:
    arena[to + at.H_FIRST], arena[to + at.H_NEWEST] = source[h + at.H_FIRST], source[h + at.H_NEWEST]
    for j in range(at.P_WORDS):
        arena[to + entity[at.E_PROFILE] + j] = source[h + was[at.E_PROFILE] + j]
    if entity[at.E_HOME] >= 0:
        home, other = to + entity[at.E_HOME], h + was[at.E_HOME]
        used = source[other + at.M_COUNTS] >> 32
        if used > 0:
            arena[home + at.M_BLOCK] = _copy_block(source, source[other + at.M_BLOCK], arena, used)
            arena[home + at.M_COUNTS] = (used << 32) | arena[arena[home + at.M_BLOCK] - 1]
    for v in range(entity[at.E_NOVELTY0], entity[at.E_NOVELTYN]):
        other = h + was_novelty[match[v] * at.V_COLUMNS + at.V_HEADER]
        used = source[other + at.N_COUNTS] >> 32
        if used > 0:
            here = to + novelty[v * at.V_COLUMNS + at.V_HEADER]
            arena[here + at.N_BLOCK] = _copy_block(source, source[other + at.N_BLOCK], arena, used)
            arena[here + at.N_COUNTS] = (used << 32) | arena[arena[here + at.N_BLOCK] - 1]


@register_jitable
def _move_streams(
    source: Any, h: int, was: Any, old_streams: Any, arena: Any, to: int, entity: Any, plan: Any, match: Any, fields: Any, scratch: Any
) -> None:
    """Rings of a key. All old rings hold the same events from some time on, so records are paired from the newest back."""
    moved_at = MISSING  # the time the windows of this key were last moved to: that of its newest transaction
    for s in range(was[at.E_STREAM0], was[at.E_STREAMN]):
        stream = row(old_streams, s * at.S_COLUMNS)
        where, block = source[h + stream[at.S_HEADER] + at.R_SPAN], source[h + stream[at.S_HEADER] + at.R_BLOCK]
        end = (where >> 20) & SPAN
        if stream[at.S_LABELS] == 0 and block != 0 and end > where & SPAN:
            moved_at = max(moved_at, source[block + (end - 1) * stream[at.S_RECORD]])
    if entity[at.E_LAST] >= 0:
        for j in range(at.L_WORDS):
            arena[to + entity[at.E_LAST] + j] = source[h + was[at.E_LAST] + j]
    for s in range(entity[at.E_STREAM0], entity[at.E_STREAMN]):
        stream = row(plan[2], s * at.S_COLUMNS)
        other = row(old_streams, match[s] * at.S_COLUMNS)
        base = h + other[at.S_HEADER]
        block, where = source[base + at.R_BLOCK], source[base + at.R_SPAN]
        start, end = where & SPAN, (where >> 20) & SPAN
        if block == 0 or start == end:
            continue
        first = start
        if moved_at != MISSING:
            first = upper_bound(source, block, other[at.S_RECORD], start, end, moved_at - stream[at.S_HORIZON])
        if s == entity[at.E_LAST_STREAM]:
            held = np.array([-1, 0])
            for f in range(stream[at.S_FIELD0], stream[at.S_FIELDN]):
                if plan[3][f * at.F_COLUMNS + at.F_KIND] == at.FIELD_PLACE:
                    held[0], held[1] = fields[f, 0], fields[f, 1]
            _remember(source, h, old_streams, block, other, start, first, end, arena, to + entity[at.E_LAST], held)
        n = end - first
        if n == 0:
            continue
        record = stream[at.S_RECORD]
        capacity = n + (n >> 3) + 2
        words_needed = capacity * record
        if capacity >= stream[at.S_INDEX_FROM]:
            size = 2 * at.INDEX_FROM
            while size < 2 * capacity:
                size *= 2
            words_needed += stream[at.S_CATS] * size
        fresh = allocate(arena, words_needed)
        arena[to + stream[at.S_HEADER] + at.R_BLOCK] = fresh
        arena[to + stream[at.S_HEADER] + at.R_SPAN] = span(0, n, capacity)
        for i in range(n):
            p = fresh + i * record
            arena[p] = source[block + (first + i) * other[at.S_RECORD]]
            for j in range(stream[at.S_CAT_WORD], record):
                arena[p + j] = 0
        for f in range(stream[at.S_FIELD0], stream[at.S_FIELDN]):
            field = row(plan[3], f * at.F_COLUMNS)
            holder = row(old_streams, fields[f, 0] * at.S_COLUMNS)
            held = source[h + holder[at.S_HEADER] + at.R_BLOCK]
            last = (source[h + holder[at.S_HEADER] + at.R_SPAN] >> 20) & SPAN
            for i in range(n):
                value = source[held + (last - n + i) * holder[at.S_RECORD] + fields[f, 1]]
                p = fresh + i * record + field[at.F_WORD]
                if field[at.F_KIND] == at.FIELD_CATEGORY:
                    arena[p] |= ((value >> fields[f, 2]) & CODE & ~FLAG) << field[at.F_SHIFT]
                else:
                    arena[p] = value
        newest = arena[to + at.H_NEWEST]
        for w in range(stream[at.S_WIN0], stream[at.S_WINN]):
            window = row(plan[4], w * at.W_COLUMNS)
            edge = newest - window[at.W_DELAY]
            entered = upper_bound(arena, fresh, record, 0, n, edge)
            left = upper_bound(arena, fresh, record, 0, entered, edge - window[at.W_LENGTH])
            arena[to + window[at.W_HEADER]] = (entered << 32) | left
        settle(arena, to, stream, plan[4], plan[5], scratch)


@register_jitable
def _remember(
    source: Any, h: int, old_streams: Any, block: int, other: Any, start: int, first: int, end: int, arena: Any, last: int, place: Any
) -> None:
    """Events start .. first - 1, for which the new ring is too short, become the remembered last ones."""
    held = last_held = 0
    holder = other
    if place[0] >= 0:
        holder = row(old_streams, place[0] * at.S_COLUMNS)
        held = source[h + holder[at.S_HEADER] + at.R_BLOCK]
        last_held = (source[h + holder[at.S_HEADER] + at.R_SPAN] >> 20) & SPAN
    for i in range(start, first):
        t = source[block + i * other[at.S_RECORD]]
        if t >= arena[last + at.L_TIME]:
            arena[last + at.L_TIME] = t
        if place[0] >= 0:
            where = source[held + (last_held - (end - i)) * holder[at.S_RECORD] + place[1]]
            if where != MISSING and t >= arena[last + at.L_PLACED_TIME]:
                arena[last + at.L_PLACED_TIME] = t
                arena[last + at.L_PLACE] = where

"""Definitions become the table that the kernel reads.

`compile_plan` decides which events each entity keeps, for how long and with which fields, which running numbers a
key carries, and how each output is read from them. A plan is numbers only: a new one compiles nothing. It knows no
event and no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from fraudloop.domain.definitions import FeatureDefinition, FeatureSet, Kind
from fraudloop.errors import DefinitionError
from fraudloop.features import layout as at
from fraudloop.limits import (
    BUCKETS_MAX,
    BUCKETS_PER_WINDOW,
    CATEGORIES_MAX,
    DAY_US,
    ENTITIES_MAX,
    FEATURES_MAX,
    HOME_US,
    LATENESS_MAX_US,
    NOVELTY_US,
    NUMBERS_MAX,
    SCALE_MAX,
    SKEW_MAX_US,
    WINDOW_MAX_US,
    WINDOW_MIN_US,
    WINDOWS_MAX,
)

#: How long behind the newest event of a key another may still come in: late by the one clock, early by the other.
DISORDER_US = LATENESS_MAX_US + SKEW_MAX_US
#: Known frauds are kept at least this long for `seconds_since_last_fraud`.
FRAUD_MEMORY_US = NOVELTY_US

_EVENT_VALUES = {
    Kind.SECONDS_SINCE_LAST: (at.X_SINCE_LAST, at.NEED_LAST),
    Kind.SECONDS_SINCE_LAST_FRAUD: (at.X_SINCE_FRAUD, at.NEED_LAST_FRAUD),
    Kind.KM_FROM_LAST: (at.X_KM_LAST, at.NEED_TRAVEL | at.NEED_LAST),
    Kind.SPEED_KMH: (at.X_SPEED, at.NEED_TRAVEL | at.NEED_LAST),
    Kind.IMPOSSIBLE_TRAVEL: (at.X_IMPOSSIBLE, at.NEED_TRAVEL | at.NEED_LAST),
    Kind.KM_FROM_HOME: (at.X_KM_HOME, at.NEED_HOME),
    Kind.IS_FOREIGN: (at.X_FOREIGN, at.NEED_HOME),
    Kind.AGE_DAYS: (at.X_AGE, 0),
    Kind.HOUR_OF_DAY: (at.X_HOUR, 0),
    Kind.DAY_OF_WEEK: (at.X_WEEKDAY, 0),
    Kind.IS_WEEKEND: (at.X_WEEKEND, 0),
    Kind.IS_NIGHT: (at.X_NIGHT, 0),
}
_OF_TRANSACTION = frozenset({Kind.NUMBER, Kind.HOUR_OF_DAY, Kind.DAY_OF_WEEK, Kind.IS_WEEKEND, Kind.IS_NIGHT})
_OF_FEATURES = frozenset({Kind.RATIO, Kind.DIFFERENCE})
_AGGREGATE_OPS = {Kind.SUM: at.OP_SUM, Kind.MEAN: at.OP_MEAN, Kind.STD: at.OP_STD, Kind.MIN: at.OP_MIN, Kind.MAX: at.OP_MAX}

Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Plan:
    """The table of a feature set. Arrays are int64 with the columns of `features.layout`.

    `key_names` and `number_names` say what the columns of :class:`~fraudloop.door.events.Events` must hold;
    `key_spaces` gives each key column the space its codes live in (country and home_country share one).
    """

    features: FeatureSet
    key_names: tuple[str, ...]
    key_spaces: tuple[int, ...]
    number_names: tuple[str, ...]
    entities: Int64s
    novelty: Int64s
    streams: Int64s
    fields: Int64s
    windows: Int64s
    accumulators: Int64s
    outputs: Int64s
    missing: NDArray[np.float64]
    general: Int64s

    @property
    def hash(self) -> str:
        """The hash of the feature set: two plans of one set are one."""
        return self.features.hash

    @property
    def names(self) -> tuple[str, ...]:
        return self.features.names

    def horizon_us(self, entity: str) -> int:
        """How far back, behind its newest event, a key of this entity keeps events."""
        row = [e.name for e in self.features.entities].index(entity)
        first, last = self.entities[row, at.E_STREAM0], self.entities[row, at.E_STREAMN]
        return max((int(self.streams[s, at.S_HORIZON]) for s in range(first, last)), default=0)


@dataclass(frozen=True, slots=True)
class _Content:
    """Something that events are kept for: a number, category, fraud mark, place or the bare time; and how long."""

    kind: str
    name: str
    need_us: int

    @property
    def halves(self) -> int:
        return {"category": 1, "time": 0}.get(self.kind, 2)


def compile_plan(features: FeatureSet) -> Plan:
    """The plan of a feature set.

    Raises DefinitionError for a set beyond the limits of `fraudloop.limits`, naming the feature or entity.

    >>> compile_plan(FeatureSet.load("handbook")).key_names
    ('customer', 'merchant', 'country', 'home_country')
    """
    _check_limits(features)
    return _Compiler(features).plan()


def _check_limits(features: FeatureSet) -> None:
    for what, number, limit in (
        ("entities", len(features.entities), ENTITIES_MAX),
        ("numbers", len(features.numbers), NUMBERS_MAX),
        ("categories", len(features.categories), CATEGORIES_MAX),
        ("features", len(features.features), FEATURES_MAX),
    ):
        if number > limit:
            raise DefinitionError(f"{number} {what} are more than a plan may have ({limit}); leave some out or use two feature sets")
    for n in features.numbers:
        if n.name in at.SYSTEM_NUMBERS:
            raise DefinitionError(f"number {n.name!r}: the fold uses this name itself; choose another")
        if not 0 <= n.scale <= SCALE_MAX:
            raise DefinitionError(f"number {n.name!r}: scale {n.scale} is not between 0 and {SCALE_MAX}")
    for f in features.features:
        if (f.window_us and not WINDOW_MIN_US <= f.window_us <= WINDOW_MAX_US) or f.delay_us > WINDOW_MAX_US:
            raise DefinitionError(f"feature {f.name!r}: windows and delays go from 1s to {WINDOW_MAX_US // DAY_US}d")


class _Compiler:
    """Collects rows; one use."""

    def __init__(self, features: FeatureSet) -> None:
        self.features = features
        self.entity_names = [e.name for e in features.entities]
        names = [*self.entity_names, *(n for n, _ in features.categories if n not in self.entity_names)]
        spaces = list(range(len(names)))
        for system in ("country", "home_country"):
            if system not in names:
                spaces.append(spaces[names.index("country")] if system == "home_country" else max(spaces, default=-1) + 1)
                names.append(system)
        self.keys, self.spaces = names, spaces
        self.numbers = [n.name for n in features.numbers]
        self.scales = {n.name: n.scale for n in features.numbers}
        self.number_columns = [*self.numbers, *at.SYSTEM_NUMBERS]
        self.streams: list[list[int]] = []
        self.fields: list[list[int]] = []
        self.windows: list[list[int]] = []
        self.accs: list[list[int]] = []
        self.novelty: list[list[int]] = []
        self.win_keys: list[tuple[int, int, int]] = []  # (stream, length, delay) by window row
        self.acc_keys: dict[tuple[int, int, str], int] = {}  # (window row, kind, field) -> header word
        self.stream_contents: list[list[_Content]] = []

    def plan(self) -> Plan:
        entities = [self._entity(e) for e in range(len(self.entity_names))]
        outputs, groups, missing = self._outputs(entities)
        reserve = 4096
        for e in range(len(entities)):
            reserve += 2 * entities[e][at.E_WORDS] + 4 * 4096 + 2 * 512 * len(self.novelty)
            for s in range(entities[e][at.E_STREAM0], entities[e][at.E_STREAMN]):
                row = self.streams[s]
                reserve += 2 * (row[at.S_RECORD] + 4 * row[at.S_CATS]) * (65_536 + 65_536 // 8 + 64) + 2 * row[at.S_HOT_WORDS]
        if len(self.windows) > WINDOWS_MAX * 2:
            raise DefinitionError(
                f"{len(self.windows)} windows are more than a plan may have ({WINDOWS_MAX * 2}); use fewer different lengths"
            )
        if any(e[at.E_WORDS] > at.SCRATCH_WORDS for e in entities):
            raise DefinitionError("an entity's features need more running numbers than a header holds; leave some out")
        return Plan(
            features=self.features,
            key_names=tuple(self.keys),
            key_spaces=tuple(self.spaces),
            number_names=tuple(self.number_columns),
            entities=_table(entities, at.E_COLUMNS),
            novelty=_table(self.novelty, at.V_COLUMNS),
            streams=_table(self.streams, at.S_COLUMNS),
            fields=_table(self.fields, at.F_COLUMNS),
            windows=_table(self.windows, at.W_COLUMNS),
            accumulators=_table(self.accs, at.A_COLUMNS),
            outputs=_table(outputs, at.O_COLUMNS),
            missing=np.array(missing, dtype=np.float64),
            general=np.array(
                [
                    self.keys.index("country"),
                    self.keys.index("home_country"),
                    len(self.numbers),
                    *self.features.night,
                    *groups,
                    reserve,
                    len(entities),
                    len(outputs),
                    len(self.keys),
                ],
                dtype=np.int64,
            ),
        )

    # --- entities ------------------------------------------------------------------------------------------------

    def _entity(self, e: int) -> list[int]:
        name = self.entity_names[e]
        mine = [f for f in self.features.features if f.entity == name]
        row = [0] * at.E_COLUMNS
        row[at.E_KEY] = self.keys.index(name)
        row[at.E_PLACE_WORD] = row[at.E_FRAUD_STREAM] = row[at.E_LAST] = row[at.E_HOME] = row[at.E_LAST_STREAM] = -1
        word = at.H_FIXED
        row[at.E_PROFILE], word = word, word + at.P_WORDS
        for f in mine:
            row[at.E_NEED] |= _EVENT_VALUES.get(f.kind, (0, 0))[1]
        if row[at.E_NEED] & at.NEED_LAST:
            row[at.E_LAST], word = word, word + at.L_WORDS
        if row[at.E_NEED] & at.NEED_HOME:
            row[at.E_HOME], word = word, word + at.M_WORDS
        row[at.E_NOVELTY0] = len(self.novelty)
        for field in dict.fromkeys(f.field for f in mine if f.kind is Kind.IS_NEW):
            self.novelty.append([self.keys.index(str(field)), word])
            word += at.N_WORDS
        row[at.E_NOVELTYN] = len(self.novelty)
        row[at.E_STREAM0] = len(self.streams)
        for contents in _split(self._contents(mine)):
            word = self._stream(e, contents, labels=False, word=word)
        if row[at.E_NEED] & at.NEED_LAST:
            # The stream kept shortest answers for the last event: what left it is newer than what left any other.
            candidates = [s for s in range(row[at.E_STREAM0], len(self.streams)) if any(c.kind == "last" for c in self.stream_contents[s])]
            row[at.E_LAST_STREAM] = candidates[0]
            places = [
                f
                for f in self.fields[self.streams[candidates[0]][at.S_FIELD0] : self.streams[candidates[0]][at.S_FIELDN]]
                if f[at.F_KIND] == at.FIELD_PLACE
            ]
            row[at.E_PLACE_WORD] = places[0][at.F_WORD] if places else -1
        fraud_need = max((f.window_us for f in mine if f.kind is Kind.FRAUD_COUNT), default=0)
        if row[at.E_NEED] & at.NEED_LAST_FRAUD:
            fraud_need = max(fraud_need, FRAUD_MEMORY_US)
        if fraud_need:
            row[at.E_FRAUD_STREAM] = len(self.streams)
            word = self._stream(e, [_Content("time", "", fraud_need)], labels=True, word=word)
        row[at.E_STREAMN] = len(self.streams)
        word = self._running(e, mine, row, word)
        row[at.E_WORDS] = word
        idle = [int(self.streams[s][at.S_HORIZON]) for s in range(row[at.E_STREAM0], row[at.E_STREAMN])]
        if row[at.E_HOME] >= 0:
            idle.append(HOME_US + 2 * DAY_US + DISORDER_US)
        if row[at.E_NOVELTYN] > row[at.E_NOVELTY0]:
            idle.append(NOVELTY_US + DAY_US + DISORDER_US)
        row[at.E_IDLE] = max(idle, default=DISORDER_US)
        return row

    def _contents(self, mine: Sequence[FeatureDefinition]) -> list[_Content]:
        """What the events of an entity are kept for, each with the longest look back that any feature needs."""
        need: dict[tuple[str, str], int] = {}

        def wants(kind: str, name: str, us: int) -> None:
            need[kind, name] = max(need.get((kind, name), 0), us)

        for f in mine:
            back = f.window_us + f.delay_us
            if f.kind in _AGGREGATE_OPS or f.kind is Kind.DEVIATION:
                wants("number", str(f.field), back)
            elif f.kind is Kind.DISTINCT:
                wants("category", str(f.field), back)
            elif f.kind in _OF_MARKS:
                wants("fraud", "", back)
            elif f.kind is Kind.COUNT:
                wants("time", "", back)
            if _EVENT_VALUES.get(f.kind, (0, 0))[1] & at.NEED_LAST:
                wants("last", "", 0)
            if _EVENT_VALUES.get(f.kind, (0, 0))[1] & at.NEED_TRAVEL:
                wants("place", "", 0)
        return sorted((_Content(kind, name, us) for (kind, name), us in need.items()), key=lambda c: (c.need_us, c.kind, c.name))

    def _stream(self, e: int, contents: Sequence[_Content], labels: bool, word: int) -> int:
        """One ring of kept events: time, numbers, the fraud mark, the place, then categories two to a word."""
        row = [0] * at.S_COLUMNS
        row[at.S_ENTITY], row[at.S_LABELS], row[at.S_FRAUD_WORD] = e, int(labels), -1
        row[at.S_FIELD0] = len(self.fields)
        record = 1
        for content in (c for c in contents if c.kind in ("number", "fraud", "place")):
            kind = {"number": at.FIELD_NUMBER, "fraud": at.FIELD_FRAUD, "place": at.FIELD_PLACE}[content.kind]
            source = self.number_columns.index(content.name) if content.kind == "number" else 0
            self.fields.append([kind, source, record, 0])
            if content.kind == "fraud":
                row[at.S_FRAUD_WORD] = record
            record += 1
        cats = [c for c in contents if c.kind == "category"]
        row[at.S_CAT_WORD], row[at.S_CATS] = record, len(cats)
        for i, content in enumerate(cats):
            self.fields.append([at.FIELD_CATEGORY, self.keys.index(content.name), record + i // 2, 32 * (i % 2)])
        record += (len(cats) + 1) // 2
        row[at.S_FIELDN] = len(self.fields)
        row[at.S_RECORD] = record
        row[at.S_HORIZON] = max(c.need_us for c in contents) + DISORDER_US
        row[at.S_HEADER] = word
        self.streams.append(row)
        self.stream_contents.append(list(contents))
        return word + at.R_WORDS

    # --- running numbers -----------------------------------------------------------------------------------------

    def _running(self, e: int, mine: Sequence[FeatureDefinition], row: list[int], word: int) -> int:
        """Windows and accumulators of each stream of the entity, and their words in the header."""
        for s in range(row[at.E_STREAM0], row[at.E_STREAMN]):
            wanted: dict[tuple[int, int], list[tuple[int, str]]] = {}
            for f in mine:
                if f.kind in _WINDOW_KINDS and self._stream_of(row, f) == s:
                    accs = wanted.setdefault((f.window_us, f.delay_us), [])
                    accs.extend(a for a in _accumulators(f) if a not in accs)
            stream = self.streams[s]
            stream[at.S_WIN0] = len(self.windows)
            hot = 0
            for (length, delay), accs in sorted(wanted.items()):
                w = len(self.windows)
                window = [0] * at.W_COLUMNS
                window[at.W_LENGTH], window[at.W_DELAY], window[at.W_HEADER] = length, delay, word
                word += 1
                window[at.W_ACC0] = len(self.accs)
                bucket = at.B_FIXED
                for kind, name in accs:
                    field = self._field(s, kind, name)
                    cat = (field[at.F_WORD] - stream[at.S_CAT_WORD]) * 2 + field[at.F_SHIFT] // 32 if kind == at.ACC_DISTINCT else 0
                    size = 2 if kind in (at.ACC_SUM, at.ACC_SQUARES) else 1
                    self.accs.append([kind, field[at.F_WORD], field[at.F_SHIFT], word, bucket, cat])
                    self.acc_keys[w, kind, name] = word
                    word += size
                    bucket += size
                window[at.W_ACCN] = len(self.accs)
                window[at.W_BUCKET_US] = max(ceil(length / BUCKETS_PER_WINDOW), ceil((length + delay) / BUCKETS_MAX))
                window[at.W_BUCKETS] = ceil((length + delay) / window[at.W_BUCKET_US]) + 2
                window[at.W_BUCKET_WORDS] = bucket
                window[at.W_HOT] = hot
                hot += at.HOT_FIXED + window[at.W_BUCKETS] * bucket
                self.windows.append(window)
                self.win_keys.append((s, length, delay))
            stream[at.S_WINN] = len(self.windows)
            self._distinct(stream)
            stream[at.S_HLL] = hot
            stream[at.S_HOT_WORDS] = hot + stream[at.S_CATS] * at.HLL_REGISTERS * at.HLL_RANKS + at.HOT_DIGEST
        return word

    def _distinct(self, stream: list[int]) -> None:
        """The distinct counts of a stream by category, the longest window first: how far back an earlier occurrence counts.

        A hash of the last occurrences is kept where more events than INDEX_FROM are to be expected in that window.
        """
        found = [
            (acc[at.A_CAT], -window[at.W_LENGTH], acc, window)
            for window in self.windows[stream[at.S_WIN0] : stream[at.S_WINN]]
            for acc in self.accs[window[at.W_ACC0] : window[at.W_ACCN]]
            if acc[at.A_KIND] == at.ACC_DISTINCT
        ]
        stream[at.S_DISTINCT0] = len(self.accs)
        for _, _, acc, window in sorted(found, key=lambda f: f[:2]):
            row = list(acc)
            row[at.A_CURSORS] = window[at.W_HEADER]
            self.accs.append(row)
        stream[at.S_DISTINCTN] = len(self.accs)
        longest = max((-length for _, length, _, _ in found), default=0)
        stream[at.S_INDEX_FROM] = min(at.INDEX_FROM * stream[at.S_HORIZON] // longest, at.INDEX_FROM_MAX) if longest else at.NO_INDEX

    def _stream_of(self, row: list[int], f: FeatureDefinition) -> int:
        """The stream that answers a window feature: the shortest kept one that holds its field long enough."""
        if f.kind is Kind.FRAUD_COUNT:
            return row[at.E_FRAUD_STREAM]
        wanted = "fraud" if f.kind in _OF_MARKS else {Kind.DISTINCT: "category", Kind.COUNT: "time"}.get(f.kind, "number")
        for s in range(row[at.E_STREAM0], row[at.E_STREAMN]):
            if self.streams[s][at.S_LABELS] or self.streams[s][at.S_HORIZON] < f.window_us + f.delay_us + DISORDER_US:
                continue
            if wanted == "time" or any(c.kind == wanted and c.name == (f.field or "") for c in self.stream_contents[s]):
                return s
        raise AssertionError(f"no stream keeps what {f.name} needs")

    def _field(self, s: int, kind: int, name: str) -> list[int]:
        stream = self.streams[s]
        for field in self.fields[stream[at.S_FIELD0] : stream[at.S_FIELDN]]:
            if kind == at.ACC_DISTINCT and field[at.F_KIND] == at.FIELD_CATEGORY and self.keys[field[at.F_SOURCE]] == name:
                return field
            if name == "fraud!" and field[at.F_KIND] == at.FIELD_FRAUD:
                return field
            if kind != at.ACC_DISTINCT and field[at.F_KIND] == at.FIELD_NUMBER and self.number_columns[field[at.F_SOURCE]] == name:
                return field
        raise AssertionError(f"stream {s} has no field {name}")

    # --- outputs -------------------------------------------------------------------------------------------------

    def _outputs(self, entities: list[list[int]]) -> tuple[list[list[int]], tuple[int, int], list[float]]:
        """Rows in the order in which they are written: of the transaction, then by entity before and after it is
        absorbed, then of other features; with where the first group ends and the last begins."""
        rows: list[tuple[tuple[int, int], list[int], float]] = []
        for column, f in enumerate(self.features.features):
            row = [0] * at.O_COLUMNS
            row[at.O_COLUMN] = column
            row[at.O_POWER] = 10 ** self.scales.get(f.field or "", 0)
            row[at.O_HAS_MISSING] = int(f.missing is not None)
            order = (-1, 0) if f.kind in _OF_TRANSACTION else (len(entities), 0)
            if f.kind in _OF_FEATURES and f.of is not None:
                row[at.O_OP] = at.OP_RATIO if f.kind is Kind.RATIO else at.OP_DIFFERENCE
                row[at.O_ACC], row[at.O_ACC2] = (self.features.names.index(n) for n in f.of)
                for part in (self.features.features[i] for i in (row[at.O_ACC], row[at.O_ACC2])):
                    row[at.O_ARG] |= 1 << self.entity_names.index(part.entity) if part.entity is not None else 0
            elif f.kind is Kind.NUMBER:
                row[at.O_OP], row[at.O_ARG] = at.OP_NUMBER, self.number_columns.index(str(f.field))
            elif f.kind in _EVENT_VALUES:
                row[at.O_OP], row[at.O_ARG] = at.OP_EVENT, _EVENT_VALUES[f.kind][0]
                if f.entity is not None:
                    order = (self.entity_names.index(f.entity), 1)
            elif f.entity is not None:
                e = self.entity_names.index(f.entity)
                order = (e, 0 if f.exclude_current and f.kind in _WINDOW_KINDS else 1)
                if f.kind is Kind.IS_NEW:
                    row[at.O_OP] = at.OP_IS_NEW
                    found = [
                        i
                        for i in range(entities[e][at.E_NOVELTY0], entities[e][at.E_NOVELTYN])
                        if self.novelty[i][at.V_KEY] == self.keys.index(str(f.field))
                    ]
                    row[at.O_ARG] = found[0] - entities[e][at.E_NOVELTY0]
                else:
                    self._window_output(row, f, entities[e])
            rows.append((order, row, 0.0 if f.missing is None else f.missing))
        rows.sort(key=lambda r: r[0])
        for e, entity in enumerate(entities):
            for phase, first, after in ((0, at.E_PRE0, at.E_PREN), (1, at.E_POST0, at.E_POSTN)):
                entity[first] = sum(r[0] < (e, phase) for r in rows)
                entity[after] = sum(r[0] <= (e, phase) for r in rows)
        groups = (sum(r[0] < (0, 0) for r in rows), sum(r[0] < (len(entities), 0) for r in rows))
        return [r[1] for r in rows], groups, [r[2] for r in rows]

    def _window_output(self, row: list[int], f: FeatureDefinition, entity: list[int]) -> None:
        s = self._stream_of(entity, f)
        w = next(i for i, key in enumerate(self.win_keys) if key == (s, f.window_us, f.delay_us))
        row[at.O_WINDOW], row[at.O_STREAM] = w, s
        name = str(f.field)
        if f.kind in (Kind.COUNT, Kind.FRAUD_COUNT):
            row[at.O_OP] = at.OP_COUNT
        elif f.kind in (Kind.FRAUD_STREAK, Kind.SECONDS_SINCE_GENUINE):
            row[at.O_OP] = at.OP_STREAK if f.kind is Kind.FRAUD_STREAK else at.OP_SINCE_GENUINE
        elif f.kind is Kind.FRAUD_RATE:
            row[at.O_OP], row[at.O_ACC] = at.OP_RATE, self.acc_keys[w, at.ACC_SUM, "fraud!"]
        elif f.kind is Kind.DISTINCT:
            field = self._field(s, at.ACC_DISTINCT, name)
            cat = (field[at.F_WORD] - self.streams[s][at.S_CAT_WORD]) * 2 + field[at.F_SHIFT] // 32
            row[at.O_ARG] = cat
            row[at.O_ACC2] = field[at.F_WORD] * 64 + field[at.F_SHIFT]
            if f.delay_us:
                row[at.O_OP] = at.OP_DISTINCT_SCAN
            else:
                row[at.O_OP], row[at.O_ACC] = at.OP_DISTINCT, self.acc_keys[w, at.ACC_DISTINCT, name]
        elif f.kind in (Kind.MIN, Kind.MAX):
            row[at.O_OP] = _AGGREGATE_OPS[f.kind]
            row[at.O_ACC] = self.acc_keys[w, at.ACC_SUM, name]
            row[at.O_ACC2] = self.acc_keys[w, at.ACC_MIN if f.kind is Kind.MIN else at.ACC_MAX, name]
        else:
            row[at.O_OP] = at.OP_DEVIATION if f.kind is Kind.DEVIATION else _AGGREGATE_OPS[f.kind]
            row[at.O_ACC] = self.acc_keys[w, at.ACC_SUM, name]
            row[at.O_ACC2] = self.acc_keys.get((w, at.ACC_SQUARES, name), 0)
            row[at.O_ARG] = self.number_columns.index(name)


#: Read from the fraud marks that labels set on kept transactions.
_OF_MARKS = frozenset({Kind.FRAUD_RATE, Kind.FRAUD_STREAK, Kind.SECONDS_SINCE_GENUINE})
_WINDOW_KINDS = frozenset({*_AGGREGATE_OPS, *_OF_MARKS, Kind.COUNT, Kind.DISTINCT, Kind.DEVIATION, Kind.FRAUD_COUNT})


def _accumulators(f: FeatureDefinition) -> list[tuple[int, str]]:
    """The running numbers that a window feature is read from; a minimum needs the count of values too."""
    name = str(f.field)
    if f.kind in (Kind.SUM, Kind.MEAN):
        return [(at.ACC_SUM, name)]
    if f.kind in (Kind.STD, Kind.DEVIATION):
        return [(at.ACC_SUM, name), (at.ACC_SQUARES, name)]
    if f.kind is Kind.MIN:
        return [(at.ACC_SUM, name), (at.ACC_MIN, name)]
    if f.kind is Kind.MAX:
        return [(at.ACC_SUM, name), (at.ACC_MAX, name)]
    if f.kind is Kind.DISTINCT and not f.delay_us:
        return [(at.ACC_DISTINCT, name)]
    if f.kind is Kind.FRAUD_RATE:
        return [(at.ACC_SUM, "fraud!")]
    return []


def _split(contents: Sequence[_Content]) -> list[list[_Content]]:
    """Which contents share a stream. What is needed for a day need not be kept for a month beside what is, but a
    stream costs a time word an event, header words and a cache miss: contents are split where that saves a tenth.

    Cost of a stream: words of a record * days kept, plus 8 for its header.
    """
    if not contents:
        return []

    def cost(run: Sequence[_Content]) -> float:
        words = 1 + ceil(sum(c.halves for c in run if c.kind != "last") / 2)
        return words * (max(c.need_us for c in run) + DISORDER_US) / DAY_US + 8

    best: list[list[list[_Content]]] = [[]]
    for end in range(1, len(contents) + 1):
        options = [[*best[start], list(contents[start:end])] for start in range(end)]
        best.append(min(options, key=lambda runs: (sum(cost(r) for r in runs), len(runs))))
    split = best[-1]
    return split if sum(cost(r) for r in split) < 0.9 * cost(contents) else [list(contents)]


def _table(rows: Sequence[Sequence[int]], columns: int) -> Int64s:
    return np.array(rows, dtype=np.int64).reshape(-1, columns)

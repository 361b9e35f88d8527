"""Canonical tables into one run of the log: the order of events, ids as keys, labels joined to their transactions.

It gives a table imported from outside the log positions that `docs/semantics.md`, "Order", says, and resolves label
precedence, so that the fold looks nothing up. It knows no file and no column map: the tables are already canonical.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraudloop.domain.definitions import FeatureSet
from fraudloop.domain.label import DEFAULT_SOURCE, LABEL_SCHEMA, SOURCE_RANKS
from fraudloop.domain.profile import PROFILE_SCHEMA
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.door.events import LABEL, MISSING, PROFILE, SYSTEM_KEYS, SYSTEM_NUMBERS, TRANSACTION, Events
from fraudloop.door.identity import DEFAULT_KEY, hash_column
from fraudloop.door.shape import nearest
from fraudloop.errors import DefinitionError, InputError
from fraudloop.limits import AMOUNT_MINOR_MAX, LATENESS_MAX_US, SKEW_MAX_US

Table = pl.DataFrame | pl.LazyFrame
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

_OF_TRANSACTION: Final = ("latitude", "longitude", "utc_offset", "zone_offset", "home_latitude", "home_longitude")
_OF_PROFILE: Final = ("home_latitude", "home_longitude", "opened_at", "utc_offset")

#: What is left out of the log: `table` it came from, its `row` there, the `column` at fault, the `rule` it breaks and
#: the `reason` in words.
REJECTED_SCHEMA: Final = {"table": pl.String, "row": pl.Int64, "column": pl.String, "rule": pl.String, "reason": pl.String}


class Assembled(Events, frozen=True, gc=False):
    """Events, and beside them the rows that became none (columns of REJECTED_SCHEMA)."""

    rejected: pl.DataFrame


@dataclass(frozen=True, slots=True)
class _Labels:
    """The usable labels, sorted by (transaction, known_at, row), which is by transaction in order of arrival."""

    row: Ints
    of: Ints  # row of the transaction
    time: Ints  # when the label in force after it became known
    known_at: Ints
    before: Ints
    after: Ints
    before_known_at: Ints


def assemble(
    transactions: Table,
    labels: Table | None,
    profiles: Table | None,
    features: FeatureSet,
    key: bytes = DEFAULT_KEY,
) -> Assembled:
    """The events of these tables in log order, with the keys and numbers that `features` speaks of.

    Order: a stable sort by (time, kind, source row); time is `received_at` (where null, the event time) of a
    transaction, `known_at` of a label, `time` of a profile; at equal time profiles come before labels and labels
    before transactions. A label that would come before its transaction waits and follows it directly.

    transactions: TRANSACTION_SCHEMA with further columns; a column that is in the schema but not in the table counts as
    null. Transaction ids must be unique if there are labels (InputError): removing duplicates is done before.
    labels: LABEL_SCHEMA or None. Each usable one becomes an event, also where it changes nothing.
    profiles: PROFILE_SCHEMA or None.
    key: 16 bytes of the id hash.

    Labels and profiles that cannot be used are no error: they are listed in `rejected` with the rule they break:
    `incomplete` (id, verdict or time is null), `unknown_source`, `no_transaction`, `known_before_transaction`,
    `entity_not_used` (no entity of this feature set). Raises InputError for a feature's column that is not there or
    is not of a usable type, DefinitionError if a field takes the name of something else.

    10 million transactions take about 10 s and 2.5 GB beside the tables with the default features.
    """
    key_columns, number_columns = columns_of(features)
    wanted = {"transaction_id", "timestamp", "received_at", *key_columns.values(), *number_columns.values()}
    table = _read(transactions, wanted, "transactions")
    time = _times(table, "timestamp", "transactions")
    received = time.copy() if "received_at" not in table else _filled(_times_or_missing(table["received_at"]), time)
    absorbed = (time >= received - LATENESS_MAX_US) & (time <= received + SKEW_MAX_US)
    said, refused_labels = _label_events(labels, table, time)
    told, told_row, told_time, refused_profiles = _profile_rows(profiles, [e.name for e in features.entities])

    order = _log_order(told_time, said, received)
    n, first_label, first_transaction = len(order), len(told_row), len(told_row) + len(said.row)
    at = np.empty(n, np.int64)
    at[order] = np.arange(n)
    at_profile, at_label, at_transaction = at[:first_label], at[first_label:first_transaction], at[first_transaction:]

    key_names, number_names = tuple(key_columns), tuple(dict.fromkeys([*number_columns, *SYSTEM_NUMBERS]))
    keys = np.zeros((n, len(key_names), 2), np.uint64)
    entities = {e.name for e in features.entities}
    for j, name in enumerate(key_names):
        if key_columns[name] in table:
            hashed = hash_column(table[key_columns[name]], key)
            keys[at_transaction, j] = hashed
            if name in entities:
                keys[at_label, j] = hashed[said.of]
        if name in entities:
            mine = (told["entity"] == name).to_numpy()
            keys[at_profile[mine], j] = hash_column(told["id"].filter(mine), key)
    if "home_country" in told:
        keys[at_profile, key_names.index("home_country")] = hash_column(told["home_country"], key)

    numbers = np.full((n, len(number_names)), MISSING, np.int64)
    for name, column in number_columns.items():
        if column in table:
            numbers[at_transaction, number_names.index(name)] = _sized(table[column])
    for name in _OF_PROFILE:
        if name in told:
            numbers[at_profile, number_names.index(name)] = _times_or_missing(told[name]) if name == "opened_at" else _integers(told[name])
    for name, values in (
        ("transaction_time", time[said.of]),
        ("before", said.before),
        ("after", said.after),
        ("before_known_at", said.before_known_at),
        ("absorbed", absorbed[said.of].astype(np.int64)),
    ):
        numbers[at_label, number_names.index(name)] = values

    kind = np.empty(n, np.uint8)
    kind[at_profile], kind[at_label], kind[at_transaction] = PROFILE, LABEL, TRANSACTION
    return Assembled(
        kind,
        np.concatenate([told_time, said.time, time])[order],
        np.concatenate([told_time, np.maximum(said.known_at, received[said.of]), received])[order],
        keys,
        numbers,
        np.concatenate([told_row, said.row, np.arange(len(time))])[order],
        key_names,
        number_names,
        pl.concat([refused_labels, refused_profiles]),
    )


def columns_of(features: FeatureSet) -> tuple[dict[str, str], dict[str, str]]:
    """The transaction columns that the keys and the numbers of these features are read from, by name.

    >>> columns_of(FeatureSet.load("handbook"))[0]["customer"]
    'customer_id'
    """
    keys: dict[str, str] = {}
    for name, column in [*((e.name, e.column) for e in features.entities), *features.categories, *((name, name) for name in SYSTEM_KEYS)]:
        if keys.setdefault(name, column) != column:
            raise DefinitionError(f"{name!r} means column {keys[name]!r} and column {column!r}; give one of them another name")
    numbers: dict[str, str] = {}
    for name, column in [*((number.name, number.column) for number in features.numbers), *((name, name) for name in _OF_TRANSACTION)]:
        if name in SYSTEM_NUMBERS and name not in _OF_TRANSACTION:
            raise DefinitionError(f"the number {name!r} has the name of something the fold keeps itself; give it another name")
        if numbers.setdefault(name, column) != column:
            raise DefinitionError(f"{name!r} means column {numbers[name]!r} and column {column!r}; give one of them another name")
    return keys, numbers


def _read(table: Table, wanted: Iterable[str], what: str) -> pl.DataFrame:
    """Only the wanted columns; one that is canonical may be absent, another one may not."""
    have = table.collect_schema().names()
    missing = [name for name in wanted if name not in have and name not in TRANSACTION_SCHEMA]
    if missing:
        name = min(missing)
        raise InputError(f"{what}: no column {name!r}, which a feature needs{nearest(name, have)}")
    chosen = table.lazy().select([name for name in have if name in set(wanted)])
    return chosen.collect()


def _times(table: pl.DataFrame, column: str, what: str) -> Ints:
    if column not in table:
        raise InputError(f"{what}: no column {column!r}{nearest(column, table.columns)}")
    if table[column].null_count():
        raise InputError(f"{what}: {column!r} is null in {table[column].null_count()} rows; leave these rows out")
    return _times_or_missing(table[column])


def _times_or_missing(column: pl.Series) -> Ints:
    """Microseconds since 1970 UTC; finer is cut off."""
    if column.dtype != pl.Null and not isinstance(column.dtype, pl.Datetime):
        raise InputError(f"column {column.name!r} is {column.dtype}, not a time; read it as one")
    return _plain(column.cast(pl.Datetime("us", "UTC")).to_physical())


def _integers(column: pl.Series) -> Ints:
    if not (column.dtype.is_integer() or column.dtype in (pl.Boolean, pl.Null)):
        raise InputError(
            f"column {column.name!r} is {column.dtype}; a number that is aggregated is exact: give it a scale in the column map"
        )
    return _plain(column.cast(pl.Int64))


def _sized(column: pl.Series) -> Ints:
    """Integers that are all as small as an exact number must be: the squares of a full window of them fit 128 bits."""
    values = _integers(column)
    if bool(((values > AMOUNT_MINOR_MAX) | ((values < -AMOUNT_MINOR_MAX) & (values != MISSING))).any()):
        raise InputError(f"column {column.name!r} holds numbers beyond {AMOUNT_MINOR_MAX:,} in smallest units; give it a smaller scale")
    return values


def _plain(column: pl.Series) -> Ints:
    return column.cast(pl.Int64).fill_null(MISSING).to_numpy()


def _filled(values: Ints, other: Ints) -> Ints:
    return np.where(values == MISSING, other, values)


def _log_order(told_time: Ints, said: _Labels, received: Ints) -> Ints:
    """Events in log order, each as its number among profiles, then labels (as in `said`), then transactions."""
    first_label, first_transaction = len(told_time), len(told_time) + len(said.row)
    # A label known before its transaction has arrived, or at the same moment, waits for it.
    waits = said.known_at <= received[said.of]
    free = np.flatnonzero(~waits)
    free = free[np.argsort(said.row[free], kind="stable")]
    parked = np.flatnonzero(waits)
    arrivals = np.arange(first_transaction, first_transaction + len(received))
    if len(parked):
        arrivals = np.insert(arrivals, said.of[parked] + 1, first_label + parked)
    by_kind = np.concatenate([np.arange(first_label), first_label + free, arrivals])
    position = np.concatenate([told_time, np.maximum(said.known_at, received[said.of]), received])[by_kind]
    if bool((position[1:] >= position[:-1]).all()):
        return by_kind
    return by_kind[np.argsort(position, kind="stable")]


def _label_events(labels: Table | None, table: pl.DataFrame, time: Ints) -> tuple[_Labels, pl.DataFrame]:
    """Labels joined to their transactions, with what was in force before and after each; and those refused."""
    given = _read_some(labels, LABEL_SCHEMA)
    if given.height and "transaction_id" not in table:
        raise InputError(f"transactions: no column 'transaction_id', which labels need{nearest('transaction_id', table.columns)}")
    if given.height == 0:
        none = np.zeros(0, np.int64)
        return _Labels(none, none, none, none, none, none, none), _refused("labels", given, [])
    known = given["known_at"]
    known_at = _times_or_missing(known)
    source = given["source"].fill_null(DEFAULT_SOURCE) if "source" in given else pl.repeat(DEFAULT_SOURCE, given.height, eager=True)
    rank = _plain(source.replace_strict(SOURCE_RANKS, default=0, return_dtype=pl.Int64))
    of = _rows_of(given["transaction_id"], table["transaction_id"])
    joined = of >= 0
    incomplete = (given["transaction_id"].is_null() | given["is_fraud"].is_null() | known.is_null()).to_numpy()
    too_soon = joined & (known_at < time[np.maximum(of, 0)]) if len(time) else np.zeros(given.height, np.bool_)
    refused = _refused(
        "labels",
        given,
        [
            (incomplete, "is_fraud", "incomplete", "transaction_id, is_fraud and known_at must be given"),
            (rank == 0, "source", "unknown_source", f"source must be one of {', '.join(SOURCE_RANKS)}"),
            (~joined, "transaction_id", "no_transaction", "there is no transaction with this id"),
            (too_soon, "known_at", "known_before_transaction", "a label cannot be known before its transaction"),
        ],
    )
    good = np.ones(given.height, np.bool_)
    good[refused["row"].to_numpy()] = False
    row = np.flatnonzero(good)
    row = row[np.lexsort((row, known_at[row], of[row]))]
    return _in_force(row, of[row], known_at[row], rank[row], _plain(given["is_fraud"].cast(pl.Int64))[row]), refused


def _in_force(row: Ints, of: Ints, known_at: Ints, rank: Ints, fraud: Ints) -> _Labels:
    """`domain.label.effective` after each arrival, for all transactions at once.

    Within a transaction `known_at` never decreases, so a label comes into force unless a stronger one came before: unless
    its rank is below the running maximum.
    """
    n = len(row)
    first = np.ones(n, np.bool_)
    first[1:] = of[1:] != of[:-1]
    group = np.cumsum(first) * (max(SOURCE_RANKS.values()) + 1)  # raises each group above all before it
    takes_effect = rank + group == np.maximum.accumulate(rank + group)
    force = np.maximum.accumulate(np.where(takes_effect, np.arange(n), 0))
    after, time = fraud[force], known_at[force]
    before = np.where(first, 0, np.roll(after, 1))
    return _Labels(row, of, time, known_at, before, after, np.where(before == 1, np.roll(time, 1), MISSING))


def _rows_of(ids: pl.Series, among: pl.Series) -> Ints:
    """Row of each id in `among`, -1 where there is none."""
    right = pl.LazyFrame({"id": among}).with_row_index("at").filter(pl.col("id").is_not_null())
    left = pl.LazyFrame({"id": ids})
    try:
        found = left.join(right, on="id", how="left", validate="m:1", maintain_order="left").select(pl.col("at").cast(pl.Int64)).collect()
    except pl.exceptions.ComputeError as error:
        raise InputError(
            "transactions: some transaction_id stands twice, so that a label could mean either; remove duplicates first"
        ) from error
    return found["at"].fill_null(-1).to_numpy()


def _profile_rows(profiles: Table | None, entities: list[str]) -> tuple[pl.DataFrame, Ints, Ints, pl.DataFrame]:
    """The usable profiles, their rows and times; and those refused."""
    given = _read_some(profiles, PROFILE_SCHEMA)
    if given.height == 0:
        none = np.zeros(0, np.int64)
        return pl.DataFrame(schema={"entity": pl.String, "id": pl.String}), none, none, _refused("profiles", given, [])
    refused = _refused(
        "profiles",
        given,
        [
            ((given["entity"].is_null() | given["id"].is_null() | given["time"].is_null()).to_numpy(), "id", "incomplete", "entity, id and time must be given"),
            ((~given["entity"].is_in(entities).fill_null(False)).to_numpy(), "entity", "entity_not_used", f"these features speak of {', '.join(entities)}"),
        ],
    )  # fmt: skip
    good = np.ones(given.height, np.bool_)
    good[refused["row"].to_numpy()] = False
    told = given.filter(good)
    return told, np.flatnonzero(good), _times_or_missing(told["time"]), refused


def _read_some(table: Table | None, schema: Iterable[str]) -> pl.DataFrame:
    if table is None:
        return pl.DataFrame()
    have = table.collect_schema().names()
    return table.lazy().select([name for name in have if name in set(schema)]).collect()


def _refused(table: str, given: pl.DataFrame, rules: list[tuple[Mask, str, str, str]]) -> pl.DataFrame:
    """One row for each refused row: the first rule that it breaks."""
    left = np.ones(given.height, np.bool_)
    parts = [pl.DataFrame(schema=REJECTED_SCHEMA)]
    for broken, column, rule, reason in rules:
        row = np.flatnonzero(broken & left)
        left[row] = False
        parts.append(
            pl.DataFrame({"row": row}).select(
                pl.lit(table).alias("table"),
                pl.col("row").cast(pl.Int64),
                pl.lit(column).alias("column"),
                pl.lit(rule).alias("rule"),
                pl.lit(reason).alias("reason"),
            )
        )
    return pl.concat(parts).sort("row")

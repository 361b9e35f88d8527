"""Tables become a log as `docs/semantics.md`, "Order" and "Labels", says: held against a version that goes row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given

from fraudloop.domain.definitions import FeatureDefinition, FeatureSet, Kind, NumberField
from fraudloop.domain.label import DEFAULT_SOURCE, SOURCE_RANKS, Label, effective
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.door.assemble import Assembled, assemble
from fraudloop.door.events import LABEL, MISSING, PROFILE, TRANSACTION
from fraudloop.door.identity import hash_text
from fraudloop.errors import DefinitionError, InputError
from fraudloop.limits import AMOUNT_MINOR_MAX, LATENESS_MAX_US, SECOND_US, SKEW_MAX_US
from tests.strategies import START_US, TABLE_FEATURES, Tables, table, tables

KEY = bytes(range(16))


def test_numbers_of_the_table_stand_in_its_rows_of_the_log() -> None:
    made = assemble(transactions(at(0, amount_base=5, points=7), at(1)), None, None, TABLE_FEATURES)
    assert column(made, "amount") == [5, MISSING]
    assert column(made, "points") == [7, MISSING]
    assert made.rejected.height == 0


@given(tables())
def test_the_log_equals_one_written_row_by_row(given_tables: Tables) -> None:
    made = assemble(given_tables.transactions, given_tables.labels, given_tables.profiles, TABLE_FEATURES, KEY)
    rows, refused = written_row_by_row(given_tables)
    assert [as_row(made, i) for i in range(len(made))] == rows
    assert [(r["table"], r["row"], r["rule"]) for r in made.rejected.to_dicts()] == refused


@given(tables())
def test_positions_never_go_back_in_time_of_arrival(given_tables: Tables) -> None:
    made = assemble(given_tables.transactions, given_tables.labels, given_tables.profiles, TABLE_FEATURES)
    assert (np.diff(made.received_us) >= 0).all()


@given(tables())
def test_lazy_tables_give_the_same_log(given_tables: Tables) -> None:
    made = assemble(given_tables.transactions, given_tables.labels, given_tables.profiles, TABLE_FEATURES)
    lazy = assemble(given_tables.transactions.lazy(), given_tables.labels.lazy(), given_tables.profiles.lazy(), TABLE_FEATURES)
    assert np.array_equal(made.keys, lazy.keys)
    assert np.array_equal(made.numbers, lazy.numbers)


def test_at_the_same_time_profiles_come_first_then_labels_then_transactions() -> None:
    made = assemble(
        transactions(at(0), at(10), at(10)),
        labels(said("t0", 10)),
        table(
            [{"entity": "customer", "id": "C", "time": START_US + 10 * SECOND_US}],
            {"entity": "String", "id": "String", "time": "Datetime(us, UTC)"},
        ),
        TABLE_FEATURES,
    )
    assert made.kind.tolist() == [TRANSACTION, PROFILE, LABEL, TRANSACTION, TRANSACTION]
    assert made.row.tolist() == [0, 0, 0, 1, 2]


def test_a_label_known_before_its_transaction_arrives_follows_it_directly() -> None:
    made = assemble(transactions(at(0, received=100), at(100)), labels(said("t0", 50)), None, TABLE_FEATURES)
    assert made.kind.tolist() == [TRANSACTION, LABEL, TRANSACTION]
    assert made.time_us[1] == START_US + 50 * SECOND_US
    assert made.received_us.tolist() == [START_US + 100 * SECOND_US] * 3


def test_a_weaker_label_changes_nothing_and_keeps_the_known_time() -> None:
    made = assemble(
        transactions(at(0)), labels(said("t0", 10, source="chargeback"), said("t0", 20, source="review", fraud=False)), None, TABLE_FEATURES
    )
    assert column(made, "before") == [MISSING, 0, 1]
    assert column(made, "after") == [MISSING, 1, 1]
    assert column(made, "before_known_at")[2] == START_US + 10 * SECOND_US
    assert made.time_us[2] == START_US + 10 * SECOND_US


@pytest.mark.parametrize("first", SOURCE_RANKS)
@pytest.mark.parametrize("second", SOURCE_RANKS)
def test_whose_word_counts_is_as_labels_say_for_any_two_sources(first: str, second: str) -> None:
    made = assemble(transactions(at(0)), labels(said("t0", 10, first), said("t0", 20, second, fraud=False)), None, TABLE_FEATURES)
    found = effective([Label("t0", True, 10, first), Label("t0", False, 20, second)])
    assert found is not None
    assert column(made, "after")[2] == found.is_fraud
    assert made.time_us[2] == START_US + found.known_at_us * SECOND_US


@pytest.mark.parametrize(
    ("ahead_us", "absorbed"), [(-LATENESS_MAX_US, 1), (-LATENESS_MAX_US - 1, 0), (SKEW_MAX_US, 1), (SKEW_MAX_US + 1, 0), (0, 1)]
)
def test_a_label_says_whether_its_transaction_was_absorbed(ahead_us: int, absorbed: int) -> None:
    late = at(0) | {"received_at": START_US - ahead_us}
    made = assemble(transactions(late), labels(said("t0", 5 * 86_400)), None, TABLE_FEATURES)
    assert column(made, "absorbed") == [MISSING, absorbed]


def test_a_reversal_takes_away_what_was_known() -> None:
    made = assemble(transactions(at(0)), labels(said("t0", 10), said("t0", 20, fraud=False)), None, TABLE_FEATURES)
    assert column(made, "before")[1:] == [0, 1]
    assert column(made, "after")[1:] == [1, 0]
    assert column(made, "before_known_at")[1:] == [MISSING, START_US + 10 * SECOND_US]


@pytest.mark.parametrize(
    ("label", "rule"),
    [
        ({"transaction_id": "t9"}, "no_transaction"),
        ({"known_at": START_US - 1}, "known_before_transaction"),
        ({"source": "rumour"}, "unknown_source"),
        ({"is_fraud": None}, "incomplete"),
        ({"known_at": None}, "incomplete"),
        ({"transaction_id": None}, "incomplete"),
    ],
)
def test_a_label_that_cannot_be_used_is_a_value_with_its_rule(label: dict[str, Any], rule: str) -> None:
    made = assemble(transactions(at(0)), labels(said("t0", 5), said("t0", 5) | label), None, TABLE_FEATURES)
    assert [(r["table"], r["row"], r["rule"]) for r in made.rejected.to_dicts()] == [("labels", 1, rule)]
    assert made.kind.tolist() == [TRANSACTION, LABEL]


def test_a_profile_of_an_entity_without_features_is_left_out_and_said_so() -> None:
    profiles = table([{"entity": "ship", "id": "S", "time": START_US}], {"entity": "String", "id": "String", "time": "Datetime(us, UTC)"})
    made = assemble(transactions(at(0)), None, profiles, TABLE_FEATURES)
    assert made.kind.tolist() == [TRANSACTION]
    assert made.rejected["rule"].to_list() == ["entity_not_used"]


def test_a_canonical_column_may_be_absent_and_is_null() -> None:
    made = assemble(transactions(at(0)).drop("customer_id", "received_at", "country"), None, None, TABLE_FEATURES)
    assert made.keys[0, made.key_names.index("customer")].tolist() == [0, 0]
    assert made.received_us.tolist() == made.time_us.tolist()


def test_a_missing_column_of_ones_own_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no column 'channel'.*did you mean 'chanel'"):
        assemble(transactions(at(0)).rename({"channel": "chanel"}), None, None, TABLE_FEATURES)


def test_an_inexact_number_is_refused() -> None:
    with pytest.raises(InputError, match="give it a scale"):
        assemble(transactions(at(0)).with_columns(pl.col("points").cast(pl.Float64)), None, None, TABLE_FEATURES)


@pytest.mark.parametrize("value", [AMOUNT_MINOR_MAX + 1, -AMOUNT_MINOR_MAX - 1, 2**63 - 1])
def test_a_number_too_large_to_square_exactly_is_refused(value: int) -> None:
    with pytest.raises(InputError, match=r"'points' holds numbers beyond 1,000,000,000,000,000 in smallest units"):
        assemble(transactions(at(0)).with_columns(points=pl.lit(value)), None, None, TABLE_FEATURES)
    assert len(assemble(transactions(at(0)).with_columns(points=pl.lit(AMOUNT_MINOR_MAX)), None, None, TABLE_FEATURES)) == 1


def test_an_id_that_is_a_number_is_refused() -> None:
    with pytest.raises(InputError, match="not text"):
        assemble(transactions(at(0)).with_columns(customer_id=pl.lit(1)), None, None, TABLE_FEATURES)


def test_labels_need_unique_transaction_ids() -> None:
    with pytest.raises(InputError, match="stands twice"):
        assemble(transactions(at(0), at(1) | {"transaction_id": "t0"}, unique=False), labels(said("t0", 5)), None, TABLE_FEATURES)


def test_a_transaction_without_a_time_is_refused() -> None:
    with pytest.raises(InputError, match="null in 1 rows"):
        assemble(transactions(at(0) | {"timestamp": None}), None, None, TABLE_FEATURES)


@pytest.mark.parametrize("name", ["before", "transaction_time", "opened_at", "absorbed"])
def test_a_number_must_not_take_the_name_of_what_the_fold_keeps(name: str) -> None:
    features = FeatureSet((), (NumberField(name, "amount_base", 2),), (), (FeatureDefinition(name, Kind.NUMBER, field=name),))
    with pytest.raises(DefinitionError, match="another name"):
        assemble(transactions(at(0)), None, None, features)


def test_a_name_must_not_mean_two_columns() -> None:
    features = FeatureSet((), (), (("country", "issuer_country"),), ())
    with pytest.raises(DefinitionError, match="'issuer_country' and column 'country'"):
        assemble(transactions(at(0)), None, None, features)


# --- the plain version ---------------------------------------------------------------------------------------------


@dataclass
class Arrival:
    time: int
    rank: int  # profiles, labels, transactions; what waited comes with its transaction
    order: tuple[int, int]
    kind: int
    row: int


def written_row_by_row(given_tables: Tables) -> tuple[list[tuple[Any, ...]], list[tuple[str, int, str]]]:
    refused: list[tuple[str, int, str]] = []
    bought = plain(given_tables.transactions)
    by_id = {t["transaction_id"]: i for i, t in enumerate(bought)}
    arrivals = []
    for i, t in enumerate(bought):
        t["arrived"] = t["timestamp"] if t["received_at"] is None else t["received_at"]
        t["absorbed"] = int(t["arrived"] - LATENESS_MAX_US <= t["timestamp"] <= t["arrived"] + SKEW_MAX_US)
        arrivals.append(Arrival(t["arrived"], 2, (i, -1), TRANSACTION, i))
    verdicts = plain(given_tables.labels)
    for i, v in sorted(enumerate(verdicts), key=lambda pair: (pair[1]["known_at"] or 0, pair[0])):
        v["source"] = DEFAULT_SOURCE if v["source"] is None else v["source"]
        if v["transaction_id"] is None or v["is_fraud"] is None or v["known_at"] is None:
            refused.append(("labels", i, "incomplete"))
        elif v["source"] not in SOURCE_RANKS:
            refused.append(("labels", i, "unknown_source"))
        elif v["transaction_id"] not in by_id:
            refused.append(("labels", i, "no_transaction"))
        elif v["known_at"] < bought[by_id[v["transaction_id"]]]["timestamp"]:
            refused.append(("labels", i, "known_before_transaction"))
        else:
            of = by_id[v["transaction_id"]]
            if v["known_at"] <= bought[of]["arrived"]:
                arrivals.append(Arrival(bought[of]["arrived"], 2, (of, len(arrivals)), LABEL, i))
            else:
                arrivals.append(Arrival(v["known_at"], 1, (i, 0), LABEL, i))
    refused.sort()
    told = plain(given_tables.profiles)
    for i, p in enumerate(told):
        if p["entity"] is None or p["id"] is None or p["time"] is None:
            refused.append(("profiles", i, "incomplete"))
        elif p["entity"] not in ("customer", "merchant"):
            refused.append(("profiles", i, "entity_not_used"))
        else:
            arrivals.append(Arrival(p["time"], 0, (i, 0), PROFILE, i))
    log = []
    so_far: dict[int, list[Label]] = {}
    for a in sorted(arrivals, key=lambda a: (a.time, a.rank, a.order)):
        if a.kind == TRANSACTION:
            t = bought[a.row]
            keys = {"customer": t["customer_id"], "merchant": t["merchant_id"], "country": t["country"], "channel": t["channel"]}
            keys["home_country"] = t["home_country"]
            numbers = {"amount": t["amount_base"], "points": t["points"]}
            numbers |= {name: t[name] for name in ("latitude", "longitude", "home_latitude", "home_longitude", "utc_offset", "zone_offset")}
            time = t["timestamp"]
        elif a.kind == PROFILE:
            p = told[a.row]
            keys = {p["entity"]: p["id"], "home_country": p["home_country"]}
            numbers = {name: p[name] for name in ("home_latitude", "home_longitude", "opened_at", "utc_offset")}
            time = p["time"]
        else:
            v = verdicts[a.row]
            of = by_id[v["transaction_id"]]
            was = effective(so_far.setdefault(of, []))
            so_far[of].append(Label(v["transaction_id"], v["is_fraud"], v["known_at"], v["source"]))
            now = effective(so_far[of])
            assert now is not None
            keys = {"customer": bought[of]["customer_id"], "merchant": bought[of]["merchant_id"]}
            numbers = {"transaction_time": bought[of]["timestamp"], "absorbed": bought[of]["absorbed"], "after": int(now.is_fraud)}
            numbers["before"] = int(was is not None and was.is_fraud)
            numbers["before_known_at"] = was.known_at_us if was is not None and was.is_fraud else None
            time = now.known_at_us
        hashed = {name: hash_text(text, KEY) for name, text in keys.items() if text is not None}
        log.append((a.kind, time, a.time, a.row, hashed, {name: value for name, value in numbers.items() if value is not None}))
    return log, refused


def as_row(made: Assembled, i: int) -> tuple[Any, ...]:
    keys = {name: tuple(made.keys[i, j].tolist()) for j, name in enumerate(made.key_names)}
    numbers = {name: int(made.numbers[i, j]) for j, name in enumerate(made.number_names)}
    return (
        int(made.kind[i]),
        int(made.time_us[i]),
        int(made.received_us[i]),
        int(made.row[i]),
        {name: key for name, key in keys.items() if key != (0, 0)},
        {name: number for name, number in numbers.items() if number != MISSING},
    )


def plain(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return frame.with_columns(pl.selectors.datetime().to_physical()).to_dicts()


# --- short ways to write tables ------------------------------------------------------------------------------------


def at(second: int, received: int | None = None, **values: Any) -> dict[str, Any]:
    return {
        "timestamp": START_US + second * SECOND_US,
        "received_at": None if received is None else START_US + received * SECOND_US,
        "customer_id": "C",
        "merchant_id": "M",
        "channel": "web",
        **values,
    }


def transactions(*rows: dict[str, Any], unique: bool = True) -> pl.DataFrame:
    schema = {**TRANSACTION_SCHEMA, "channel": "String", "points": "Int64"}
    return table(
        [
            {"transaction_id": f"t{i}", **({k: v for k, v in row.items() if k != "transaction_id" or not unique})}
            for i, row in enumerate(rows)
        ],
        schema,
    )


def said(transaction_id: str, second: int, source: str | None = None, fraud: bool = True) -> dict[str, Any]:
    return {"transaction_id": transaction_id, "known_at": START_US + second * SECOND_US, "source": source, "is_fraud": fraud}


def labels(*rows: dict[str, Any]) -> pl.DataFrame:
    return table(rows, {"transaction_id": "String", "is_fraud": "Boolean", "source": "String", "known_at": "Datetime(us, UTC)"})


def column(made: Assembled, name: str) -> list[int]:
    return [int(v) for v in made.numbers[:, made.number_names.index(name)]]

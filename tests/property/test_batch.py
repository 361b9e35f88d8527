"""Events made of rows as they arrive, and of the same rows as a table: the same, so that live and offline folds read the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudloop.domain.definitions import FeatureSet
from fraudloop.domain.label import DEFAULT_SOURCE, Label, effective
from fraudloop.door.assemble import assemble
from fraudloop.door.batch import Batcher, Item, LabelChange
from fraudloop.door.events import LABEL, PROFILE, TRANSACTION
from fraudloop.door.identity import hash_columns, hash_text, hash_texts
from fraudloop.door.rates import RateTable
from fraudloop.door.row import RowDoor
from fraudloop.door.shape import Number, Shape
from fraudloop.errors import InputError
from fraudloop.features.fold import Fold
from fraudloop.features.plan import compile_plan
from fraudloop.limits import LATENESS_MAX_US, SKEW_MAX_US
from tests.strategies import TABLE_FEATURES, Tables, tables

DEFAULT = FeatureSet.load("default")
OWN = FeatureSet.from_toml(
    """
    features = ["points", "customer_points_sum_1h", "customer_channel_distinct_1h", "customer_is_new_is_online"]
    [entities]
    customer = "customer_id"
    [numbers]
    points = { column = "points", scale = 2 }
    [categories]
    channel = "channel"
    is_online = "is_online"
    """
)
SHAPE = Shape(numbers={"points": Number("points", 2)}, categories={"channel": "channel"})
BODIES = st.fixed_dictionaries(
    {"timestamp": st.integers(0, 300_000).map(lambda s: f"2026-01-{1 + s // 86_400:02d}T{s // 3_600 % 24:02d}:{s // 60 % 60:02d}:{s % 60:02d}Z")},
    optional={
        "customer_id": st.sampled_from(["a", "b", "ä€", None]), "merchant_id": st.sampled_from(["m", "n"]), "device": st.fixed_dictionaries({"id": st.sampled_from(["d", "e"])}),
        "country": st.sampled_from(["DE", "FR", None]), "is_online": st.booleans(), "channel": st.sampled_from(["web", "app"]), "points": st.integers(-500, 500),
        "location": st.fixed_dictionaries({"latitude": st.floats(-90, 90), "longitude": st.floats(-180, 180)}),
    },
)  # fmt: skip


@pytest.mark.parametrize("features", [DEFAULT, OWN], ids=["default", "own fields"])
@given(bodies=st.lists(BODIES, min_size=1, max_size=8), gaps=st.lists(st.integers(0, 10**9), min_size=8, max_size=8))
@settings(max_examples=40, deadline=None)
def test_rows_and_tables_give_the_same_events_and_vectors(features: FeatureSet, bodies: list[dict[str, Any]], gaps: list[int]) -> None:
    door = RowDoor(SHAPE, RateTable.sample())
    filled = [
        {"points": None, "channel": None, "currency": "EUR", "amount": "5.10", "transaction_id": f"t{at}", **b}
        for at, b in enumerate(bodies)
    ]
    rows = [door.admit(body).row for body in filled]
    taken = [row for row in rows if row is not None]
    assert len(taken) == len(rows)
    received = [1_770_000_000_000_000 + sum(gaps[: at + 1]) for at in range(len(taken))]
    got = Batcher(features).events(taken, received)
    beside = Batcher(features, beside=("transaction_id", "customer_id", "card_id"))
    hashes = beside.hashes(taken)
    assert np.array_equal(beside.events(taken, received, hashes).keys, got.keys)
    assert np.array_equal(hashes[:, beside.place("transaction_id")], hash_texts([str(row["transaction_id"]) for row in taken]))
    table = pl.DataFrame([{**row, "received_at": at} for row, at in zip(taken, received, strict=True)], infer_schema_length=None)
    schema = {"timestamp": pl.Datetime("us", "UTC"), "received_at": pl.Datetime("us", "UTC")}
    wanted = assemble(table.with_columns(pl.col(name).cast(kind) for name, kind in schema.items()), None, None, features)
    for name in ("kind", "time_us", "received_us", "keys", "numbers", "row"):
        assert np.array_equal(getattr(got, name), getattr(wanted, name)), name
    assert (got.key_names, got.number_names) == (wanted.key_names, wanted.number_names)
    one, other = Fold(compile_plan(features)), Fold(compile_plan(features))
    assert one.step(got).values.tobytes() == other.step(wanted).values.tobytes() and one.digest() == other.digest()


@given(tables())
@settings(deadline=None)
def test_a_log_of_all_kinds_is_made_item_by_item_as_from_its_tables(world: Tables) -> None:
    wanted = assemble(world.transactions, world.labels, world.profiles, TABLE_FEATURES)
    transactions, labels, profiles = (in_microseconds(t) for t in (world.transactions, world.labels, world.profiles))
    by_id = {row["transaction_id"]: row for row in transactions}
    told: dict[str, list[Label]] = {}
    items: list[Item] = []
    for kind, row, received in zip(wanted.kind.tolist(), wanted.row.tolist(), wanted.received_us.tolist(), strict=True):
        if kind != LABEL:
            items.append((kind, transactions[row] if kind == TRANSACTION else profiles[row], received))
            continue
        said = labels[row]
        label = Label(said["transaction_id"], said["is_fraud"], said["known_at"], said["source"] or DEFAULT_SOURCE)
        before = told.setdefault(label.transaction_id, [])
        old, new = effective(before), effective([*before, label])
        before.append(label)
        assert new is not None
        of = by_id[label.transaction_id]
        ahead = of["timestamp"] - (of["timestamp"] if of["received_at"] is None else of["received_at"])
        items.append((LABEL, LabelChange(
            of, new.known_at_us, old is not None and old.is_fraud, new.is_fraud, None if old is None else old.known_at_us,
            -LATENESS_MAX_US <= ahead <= SKEW_MAX_US,
        ), received))  # fmt: skip
    got = Batcher(TABLE_FEATURES).mixed(items)
    for name in ("kind", "time_us", "received_us", "keys", "numbers"):
        assert np.array_equal(getattr(got, name), getattr(wanted, name)), name
    for kind in (PROFILE, LABEL, TRANSACTION):
        assert got.row[got.kind == kind].tolist() == list(range(int((got.kind == kind).sum())))
    one, other = Fold(compile_plan(TABLE_FEATURES)), Fold(compile_plan(TABLE_FEATURES))
    assert one.step(got).values.tobytes() == other.step(wanted).values.tobytes() and one.digest() == other.digest()


def in_microseconds(table: pl.DataFrame) -> list[dict[str, Any]]:
    return table.with_columns(pl.col(pl.Datetime).to_physical()).to_dicts()


def test_a_profile_of_something_else_is_refused() -> None:
    with pytest.raises(InputError, match="a profile of 'ship'; these features speak of customer"):
        Batcher(DEFAULT).mixed([(PROFILE, {"entity": "ship", "id": "s", "time": 5}, 5)])


def test_a_batch_of_nothing_is_empty() -> None:
    assert len(Batcher(DEFAULT).events([], [])) == len(Batcher(DEFAULT).mixed([])) == 0


@given(st.lists(st.one_of(st.none(), st.text()), max_size=6))
def test_many_hashes_are_those_of_each(texts: list[str | None]) -> None:
    assert hash_texts(texts).tolist() == [list(hash_text(text)) for text in texts]


@given(
    st.integers(0, 5).flatmap(
        lambda n: st.lists(st.lists(st.one_of(st.none(), st.text(max_size=20)), min_size=n, max_size=n), min_size=1, max_size=4)
    )
)
def test_columns_of_hashes_are_those_of_each(columns: list[list[str | None]]) -> None:
    assert hash_columns(columns).tolist() == [[list(hash_text(text)) for text in row] for row in zip(*columns, strict=True)]


@pytest.mark.parametrize(("column", "value"), [("amount_base", 1.5), ("amount_base", 10**16), ("customer_id", 5)])
def test_a_value_of_another_type_is_named(column: str, value: object) -> None:
    with pytest.raises(InputError, match="amount_base" if column == "amount_base" else "is not text"):
        Batcher(DEFAULT).events([{"timestamp": 5, column: value}], [5])  # type: ignore[dict-item]

"""Labels and profiles one at a time beside tables of them: the same values, the same refusals."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudloop.domain.label import SOURCE_RANKS, Label
from fraudloop.domain.profile import PROFILE_SCHEMA
from fraudloop.door.label import admit_label
from fraudloop.door.profile import admit_profile
from fraudloop.door.shape import Shape
from fraudloop.door.table import Admitted, admit_labels, admit_profiles

#: A published test number of a card scheme.
CARD = "4111 1111 1111 1111"

NOW_US = 4_000_000_000_000_000
TEXTS = st.one_of(st.text(max_size=6), st.sampled_from(["c-1", " c-1 ", CARD, CARD.replace(" ", ""), "", "  ", "x" * 1_025, "é"]))
SCALARS = st.one_of(
    TEXTS,
    st.integers(-5, 10**6),
    st.floats(-200, 200),
    st.booleans(),
    st.none(),
    st.sampled_from([10**15, 2.5, float("nan"), 4111111111111111]),
)
TIMES = st.one_of(
    st.datetimes().map(lambda t: t.isoformat() + "Z"),
    st.sampled_from(["2026-01-31", "2026-01-31T12:00+02:00", "2026-01-31T12:00:00+15:00", "soon", "1969-12-31", "", None]),
)
LABELS = st.fixed_dictionaries(
    {},
    optional={
        "transaction_id": SCALARS, "id": TEXTS, "is_fraud": SCALARS, "fraud": st.sampled_from(["yes", "no", 1, 0, True]), "source": st.one_of(st.sampled_from([*SOURCE_RANKS, "Review", "rumour", None]), SCALARS),
        "label_source": st.sampled_from([*SOURCE_RANKS]), "known_at": TIMES, "reported_at": TIMES, "reason": SCALARS,
    },
)  # fmt: skip
PROFILES = st.fixed_dictionaries(
    {},
    optional={
        "entity": st.one_of(st.sampled_from(["customer", "merchant"]), SCALARS), "id": SCALARS, "user_id": TEXTS, "time": TIMES, "known_at": TIMES, "home_country": st.sampled_from(["DE", "France", "zz", "Atlantis", 5, None]),
        "country": st.sampled_from(["DE", "deu"]), "home_location": st.fixed_dictionaries({}, optional={"latitude": SCALARS, "longitude": SCALARS}), "latitude": SCALARS, "opened_at": TIMES,
        "utc_offset": st.one_of(st.sampled_from(["+02:00", 60, "-0530", 1_000, 5.5]), SCALARS), "segment": SCALARS,
    },
)  # fmt: skip


def as_table(body: dict[str, Any]) -> pl.DataFrame:
    flat: dict[str, Any] = {}
    for name, value in body.items():
        flat |= {f"{name}.{inner}": part for inner, part in value.items()} if isinstance(value, dict) else {name: value}
    return pl.DataFrame([pl.Series(name, [value]) for name, value in flat.items()])


def refused(table: Admitted) -> set[tuple[str, str, str]]:
    return {(row["column"], row["rule"], row["reason"]) for row in table.rejected.to_dicts()}


@given(LABELS)
@settings(max_examples=200, deadline=None)
def test_a_label_alone_is_read_as_in_a_table(body: dict[str, Any]) -> None:
    found = admit_label(body, NOW_US, source="review")
    if not ({"transaction_id", "id"} & set(body) and {"is_fraud", "fraud"} & set(body)):
        assert {r.rule for r in found.refusals} <= {"transaction_id.missing", "is_fraud.missing"} and found.refusals
        return
    table = admit_labels(as_table(body), Shape())
    told = {(r.field, r.rule, r.reason) for r in found.refusals}
    # In a table columns that no field takes are not looked at, and the future is nobody's matter.
    late = {fault for fault in told if fault[1] == "known_at.future"}
    spare = {fault for fault in told if fault[1] == "card_number"} - refused(table)
    assert told - late - spare == refused(table)
    if found.label is not None:
        row = table.accepted.with_columns(pl.col("known_at").to_physical()).row(0, named=True)
        known = NOW_US if row["known_at"] is None else row["known_at"]
        assert found.label == Label(row["transaction_id"], row["is_fraud"], known, row["source"] or "review", row["reason"])
        assert found.notes == table.notes


@given(PROFILES)
@settings(max_examples=200, deadline=None)
def test_a_profile_alone_is_read_as_in_a_table(body: dict[str, Any]) -> None:
    found = admit_profile(body)
    if "entity" not in body or not {"id", "user_id"} & set(body) or not {"time", "known_at"} & set(body):
        assert {r.rule for r in found.refusals} <= {"entity.missing", "id.missing", "time.missing"} and found.refusals
        return
    table = admit_profiles(as_table(body), Shape())
    told = {(r.field, r.rule, r.reason) for r in found.refusals}
    spare = {fault for fault in told if fault[1] == "card_number"} - refused(table)
    assert told - spare == refused(table)
    if found.profile is not None:
        row = table.accepted.with_columns(pl.col(pl.Datetime).to_physical()).drop("row").row(0, named=True)
        assert found.profile == row and list(found.profile) == list(PROFILE_SCHEMA)
        assert found.notes == table.notes


@pytest.mark.parametrize(("known_at", "taken"), [("2096-10-02T07:06:40Z", True), ("2096-10-02T07:06:40.000001Z", False)])
def test_a_label_is_known_by_now(known_at: str, taken: bool) -> None:
    found = admit_label({"id": "t", "fraud": True, "known_at": known_at}, NOW_US)
    assert (found.label is not None) == taken
    assert [(r.field, r.rule) for r in found.refusals] == ([] if taken else [("known_at", "known_at.future")])


def test_a_profile_of_the_future_and_one_of_nothing_known_are_refused() -> None:
    found = admit_profile({"entity": "ship", "id": "s", "updated_at": "2099-01-01"}, NOW_US, entities=("customer", "merchant"))
    assert [(r.field, r.rule) for r in found.refusals] == [("entity", "entity.unknown"), ("updated_at", "time.future")]
    assert found.refusals[0].reason == "none of customer, merchant"


def test_unknown_sources_are_told_the_known_ones() -> None:
    (refusal,) = admit_label({"id": "t", "fraud": True, "label_source": "rumour"}, NOW_US).refusals
    assert (refusal.field, refusal.rule) == ("label_source", "source.unknown")
    assert refusal.reason == f"none of {', '.join(SOURCE_RANKS)}"


@pytest.mark.parametrize("place", ["reason", "note", "list", "object"])
def test_a_card_number_in_a_label_is_refused_but_in_its_id(place: str) -> None:
    value: Any = [CARD] if place == "list" else {"x": CARD} if place == "object" else CARD
    found = admit_label({"id": CARD, "fraud": True, place: value}, NOW_US)
    assert [(r.field, r.rule) for r in found.refusals] == [("object.x" if place == "object" else place, "card_number")]
    assert "4111" not in repr(found)
    taken = admit_label({"id": CARD, "fraud": True}, NOW_US)
    assert taken.label is not None and taken.label.transaction_id.startswith("tok_") and taken.notes["card_number.tokenised"] == 1

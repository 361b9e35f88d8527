"""The plan table: what is kept for how long, what is refused, and that a plan is data."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from fraudloop.domain.definitions import Entity, FeatureDefinition, FeatureSet, Kind, NumberField
from fraudloop.errors import DefinitionError
from fraudloop.features import kernel
from fraudloop.features import layout as at
from fraudloop.features.fold import Fold
from fraudloop.features.plan import DISORDER_US, Plan, compile_plan
from fraudloop.limits import (
    CATEGORIES_MAX,
    DAY_US,
    ENTITIES_MAX,
    FEATURES_MAX,
    HOUR_US,
    LATENESS_MAX_US,
    NUMBERS_MAX,
    SECOND_US,
    SKEW_MAX_US,
    WINDOW_MAX_US,
    WINDOWS_MAX,
)
from tests.strategies import every_feature, long_run

CUSTOMER = Entity("customer", "customer_id")
AMOUNT = NumberField("amount", "amount_base", 2)


def one(*features: FeatureDefinition, **changes: object) -> FeatureSet:
    return replace(FeatureSet((CUSTOMER,), (AMOUNT,), (("country", "country"),), features), **changes)  # type: ignore[arg-type]


def count(window_us: int, name: str = "n", delay_us: int = 0) -> FeatureDefinition:
    return FeatureDefinition(name, Kind.COUNT, "customer", window_us=window_us, delay_us=delay_us)


@pytest.mark.parametrize("preset", ["default", "handbook"])
def test_the_presets_compile_and_every_table_has_the_columns_that_the_kernel_reads(preset: str) -> None:
    plan = compile_plan(FeatureSet.load(preset))
    for name, columns in (
        ("entities", at.E_COLUMNS), ("novelty", at.V_COLUMNS), ("streams", at.S_COLUMNS), ("fields", at.F_COLUMNS),
        ("windows", at.W_COLUMNS), ("accumulators", at.A_COLUMNS), ("outputs", at.O_COLUMNS),
    ):  # fmt: skip
        table = getattr(plan, name)
        assert table.dtype == np.int64
        assert table.shape[1:] == (columns,)
    assert len(plan.general) == at.G_WORDS
    assert len(plan.missing) == len(plan.outputs) == len(plan.names)
    assert sorted(plan.outputs[:, at.O_COLUMN].tolist()) == list(range(len(plan.names))), "every feature is written once"


def spans(plan: Plan) -> list[tuple[int, int]]:
    """(first, after) of all that stands in the header of the first entity, in order."""
    entity = plan.entities[0]
    out = [(0, at.H_FIXED), (int(entity[at.E_PROFILE]), int(entity[at.E_PROFILE]) + at.P_WORDS)]
    if entity[at.E_LAST] >= 0:
        out.append((int(entity[at.E_LAST]), int(entity[at.E_LAST]) + at.L_WORDS))
    if entity[at.E_HOME] >= 0:
        out.append((int(entity[at.E_HOME]), int(entity[at.E_HOME]) + at.M_WORDS))
    novelty = plan.novelty[entity[at.E_NOVELTY0] : entity[at.E_NOVELTYN], at.V_HEADER].tolist()
    out += [(word, word + at.N_WORDS) for word in novelty]
    for s in range(entity[at.E_STREAM0], entity[at.E_STREAMN]):
        stream = plan.streams[s]
        out.append((int(stream[at.S_HEADER]), int(stream[at.S_HEADER]) + at.R_WORDS))
        for w in range(stream[at.S_WIN0], stream[at.S_WINN]):
            out.append((int(plan.windows[w, at.W_HEADER]), int(plan.windows[w, at.W_HEADER]) + 1))
            for a in range(plan.windows[w, at.W_ACC0], plan.windows[w, at.W_ACCN]):
                wide = plan.accumulators[a, at.A_KIND] in (at.ACC_SUM, at.ACC_SQUARES)
                out.append((int(plan.accumulators[a, at.A_HEADER]), int(plan.accumulators[a, at.A_HEADER]) + 1 + int(wide)))
    return sorted(out)


@pytest.mark.parametrize(
    "features", [FeatureSet.load("default"), FeatureSet.load("handbook"), every_feature()], ids=["default", "handbook", "every"]
)
def test_no_two_things_of_a_header_share_a_word_and_none_is_outside(features: FeatureSet) -> None:
    plan = compile_plan(features)
    taken = spans(plan)
    for (_, after), (first, _) in pairwise(taken):
        assert after <= first
    assert taken[-1][1] <= plan.entities[0, at.E_WORDS] <= at.SCRATCH_WORDS


def test_fields_of_a_record_do_not_overlap() -> None:
    plan = compile_plan(every_feature())
    for stream in plan.streams:
        fields = plan.fields[stream[at.S_FIELD0] : stream[at.S_FIELDN]]
        seen = [(0, 0), *((int(field[at.F_WORD]), int(field[at.F_SHIFT])) for field in fields)]
        assert len(set(seen)) == len(seen)
        assert max(word for word, _ in seen) < stream[at.S_RECORD]


@pytest.mark.parametrize(("window_us", "delay_us"), [(SECOND_US, 0), (DAY_US, 0), (HOUR_US, 7 * DAY_US), (WINDOW_MAX_US, WINDOW_MAX_US)])
def test_events_are_kept_for_window_delay_lateness_and_skew(window_us: int, delay_us: int) -> None:
    plan = compile_plan(one(count(window_us, delay_us=delay_us)))
    assert plan.horizon_us("customer") == window_us + delay_us + LATENESS_MAX_US + SKEW_MAX_US
    assert DISORDER_US == LATENESS_MAX_US + SKEW_MAX_US


def test_what_is_needed_for_an_hour_is_not_kept_for_a_month_beside_what_is() -> None:
    short = [
        FeatureDefinition(f"d{i}", Kind.DISTINCT, "customer", name, HOUR_US) for i, name in enumerate(("country", "merchant", "device"))
    ]
    features = FeatureSet(
        (CUSTOMER, Entity("merchant", "merchant_id"), Entity("device", "device_id")), (AMOUNT,), (("country", "country"),),
        (*short, count(90 * DAY_US)),
    )  # fmt: skip
    plan = compile_plan(features)
    kept = plan.streams[plan.entities[0, at.E_STREAM0] : plan.entities[0, at.E_STREAMN]]
    assert sorted(kept[:, at.S_HORIZON].tolist()) == [HOUR_US + DISORDER_US, 90 * DAY_US + DISORDER_US]
    assert kept[kept[:, at.S_HORIZON] > DAY_US * 80][0, at.S_RECORD] == 1, "the month keeps bare times"


def test_contents_needed_for_like_times_share_one_stream() -> None:
    plan = compile_plan(one(count(7 * DAY_US), FeatureDefinition("sum", Kind.SUM, "customer", "amount", 7 * DAY_US)))
    assert len(plan.streams) == 1


def test_an_entity_that_only_lends_its_ids_keeps_no_events() -> None:
    features = replace(
        one(FeatureDefinition("d", Kind.DISTINCT, "customer", "merchant", HOUR_US)), entities=(CUSTOMER, Entity("merchant", "merchant_id"))
    )
    plan = compile_plan(features)
    assert plan.horizon_us("merchant") == 0
    assert plan.entities[1, at.E_STREAM0] == plan.entities[1, at.E_STREAMN]


# --- what is refused -----------------------------------------------------------------------------------------------


def many_entities(n: int) -> FeatureSet:
    return one(count(HOUR_US), entities=(CUSTOMER, *(Entity(f"e{i}", f"c{i}") for i in range(n - 1))))


def many_numbers(n: int) -> FeatureSet:
    return one(count(HOUR_US), numbers=tuple(NumberField(f"n{i}", f"c{i}", 0) for i in range(n)))


def many_categories(n: int) -> FeatureSet:
    return one(count(HOUR_US), categories=tuple((f"n{i}", f"c{i}") for i in range(n)))


def many_features(n: int) -> FeatureSet:
    return one(*(FeatureDefinition(f"f{i}", Kind.SUM, "customer", "amount", HOUR_US, missing=float(i)) for i in range(n)))


@pytest.mark.parametrize(
    ("make", "limit", "what"),
    [
        (many_entities, ENTITIES_MAX, "entities"),
        (many_numbers, NUMBERS_MAX, "numbers"),
        (many_categories, CATEGORIES_MAX, "categories"),
        (many_features, FEATURES_MAX, "features"),
    ],
)
def test_as_many_as_allowed_compile_and_one_more_is_refused_by_name(make: object, limit: int, what: str) -> None:
    assert callable(make)
    compile_plan(make(limit))
    with pytest.raises(DefinitionError, match=f"{limit + 1} {what} are more than"):
        compile_plan(make(limit + 1))


def test_too_many_windows_are_refused() -> None:
    compile_plan(one(*(count(SECOND_US * (i + 1), f"f{i}") for i in range(WINDOWS_MAX))))
    with pytest.raises(DefinitionError, match="windows are more than a plan may have"):
        compile_plan(one(*(count(SECOND_US * (i + 1), f"f{i}") for i in range(3 * WINDOWS_MAX))))


@pytest.mark.parametrize(
    "feature",
    [count(SECOND_US // 2), count(WINDOW_MAX_US + SECOND_US), count(HOUR_US, delay_us=WINDOW_MAX_US + SECOND_US)],
    ids=["short", "long", "delay"],
)
def test_windows_and_delays_beyond_their_limits_are_refused_by_the_feature(feature: FeatureDefinition) -> None:
    with pytest.raises(DefinitionError, match="feature 'n': windows and delays go from 1s to 400d"):
        compile_plan(one(feature))


@pytest.mark.parametrize("scale", [-1, 10])
def test_a_scale_beyond_nine_digits_is_refused_by_the_number(scale: int) -> None:
    with pytest.raises(DefinitionError, match=f"'amount': scale {scale} is not between 0 and 9"):
        compile_plan(one(count(HOUR_US), numbers=(replace(AMOUNT, scale=scale),)))


@pytest.mark.parametrize("name", at.SYSTEM_NUMBERS)
def test_a_number_with_the_name_of_something_the_fold_keeps_is_refused(name: str) -> None:
    with pytest.raises(DefinitionError, match="the fold uses this name itself"):
        compile_plan(one(count(HOUR_US), numbers=(NumberField(name, "x", 0),)))


# --- a plan is data ------------------------------------------------------------------------------------------------


def test_a_new_plan_compiles_nothing() -> None:
    events = long_run(1, every_feature(), 30)
    Fold(compile_plan(every_feature())).step(events)
    step: Any = kernel.step  # a dispatcher, which its type does not show
    before = len(step.signatures)
    for features in (FeatureSet.load("default"), FeatureSet.load("handbook"), one(count(HOUR_US)), every_feature((DAY_US,), (0,))):
        Fold(compile_plan(features)).step(events)
    assert len(step.signatures) == before


def test_the_largest_plan_folds() -> None:
    """As many entities, numbers, categories and features as there may be, at once."""
    entities = tuple(Entity(f"e{i}", f"e{i}_id") for i in range(ENTITIES_MAX))
    numbers = tuple(NumberField(f"n{i}", f"n{i}", i % 10) for i in range(NUMBERS_MAX))
    categories = tuple((f"c{i}", f"c{i}") for i in range(CATEGORIES_MAX))
    features: list[FeatureDefinition] = []
    for entity in entities:
        features += [FeatureDefinition(f"{entity.name}_{n.name}", Kind.STD, entity.name, n.name, DAY_US) for n in numbers]
        features += [FeatureDefinition(f"{entity.name}_{c}", Kind.DISTINCT, entity.name, c, DAY_US) for c, _ in categories]
        features += [FeatureDefinition(f"{entity.name}_new_{c}", Kind.IS_NEW, entity.name, c) for c, _ in categories]
        features += [
            FeatureDefinition(f"{entity.name}_{k.value}", k, entity.name)
            for k in (Kind.SPEED_KMH, Kind.KM_FROM_HOME, Kind.SECONDS_SINCE_LAST_FRAUD)
        ]
        features.append(FeatureDefinition(f"{entity.name}_rate", Kind.FRAUD_RATE, entity.name, window_us=DAY_US))
    assert FEATURES_MAX - 100 < len(features) <= FEATURES_MAX
    largest = FeatureSet(entities, numbers, categories, tuple(features))
    plan = compile_plan(largest)
    events = long_run(2, largest, 60)
    fold = Fold(plan)
    got = fold.step(events)
    assert fold.verify()
    # It is held to its parts, each of which is a small plan of its own.
    for entity in entities[:3]:
        part = largest.select([f.name for f in features if f.entity == entity.name])
        alone = Fold(compile_plan(replace(part, entities=(entity, *(e for e in entities if e != entity))))).step(events).values
        columns = [largest.names.index(name) for name in part.names]
        np.testing.assert_array_equal(got.values[:, columns], alone)

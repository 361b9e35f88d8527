"""Every kind of feature, crossed with every kind of trouble that events can bring, equals its plain definition.

Kinds are found in the enumeration and conditions in the table below: a new one of either is crossed with all of the
other without a line being written here, but for saying with which fields and windows a new kind is asked.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fraudloop.domain.definitions import WINDOWED, FeatureDefinition, FeatureSet, Kind
from fraudloop.door.events import LABEL, MISSING, PROFILE, TRANSACTION, Events
from fraudloop.features.fold import Fold
from fraudloop.features.plan import compile_plan
from fraudloop.limits import AMOUNT_MINOR_MAX, DAY_US, HOUR_US, LATENESS_MAX_US, SECOND_US, SKEW_MAX_US
from tests.oracle import differences, oracle
from tests.strategies import BY_ENTITY, CATEGORIES, ENTITIES, LOCAL_TIME, NUMBERS, NUMERIC, START_US, Script, Seeded, Written

WINDOWS_US = (SECOND_US, HOUR_US, 7 * DAY_US)
DELAYS_US = (0, HOUR_US)
OF_LABELS = (Kind.FRAUD_RATE, Kind.FRAUD_STREAK, Kind.SECONDS_SINCE_GENUINE)


def features_of(kind: Kind) -> FeatureSet:
    """This kind alone, over every window, delay, field and entity that it takes."""
    out: list[FeatureDefinition] = []

    def add(**given: object) -> None:
        for missing in (None, -1.5):
            out.append(replace(FeatureDefinition(f"f{len(out)}_{kind.value}", kind, missing=missing), **given))  # type: ignore[arg-type]

    values = [*(e.name for e in ENTITIES), *(name for name, _ in CATEGORIES)]
    if kind in WINDOWED:
        fields: list[str | None] = [None]
        if kind in NUMERIC or kind is Kind.DEVIATION:
            fields = [n.name for n in NUMBERS]
        if kind is Kind.DISTINCT:
            fields = ["merchant", "channel"]
        for field in fields:
            for window in WINDOWS_US:
                for delay in (0,) if kind is Kind.FRAUD_COUNT else DELAYS_US:
                    for out_of in (True,) if kind is Kind.DEVIATION else (False, True):
                        add(entity="customer", field=field, window_us=window, delay_us=delay, exclude_current=out_of)
        add(entity="merchant", field=fields[0], window_us=HOUR_US, exclude_current=kind is Kind.DEVIATION)
    elif kind is Kind.IS_NEW:
        for value in values:
            add(entity="customer", field=value)
    elif kind in BY_ENTITY:
        for e in ENTITIES[:2]:
            add(entity=e.name)
    elif kind is Kind.NUMBER:
        for n in NUMBERS:
            add(field=n.name)
    elif kind in LOCAL_TIME:
        add()
    elif kind in (Kind.RATIO, Kind.DIFFERENCE):
        out += [
            FeatureDefinition("amount", Kind.NUMBER, field="amount"),
            FeatureDefinition("sum", Kind.SUM, "customer", "amount", HOUR_US, exclude_current=True),
            FeatureDefinition("mean", Kind.MEAN, "merchant", "amount", HOUR_US, missing=0.0),
        ]
        for of in (("amount", "sum"), ("sum", "mean"), ("mean", "amount")):
            add(of=of)
    else:
        raise AssertionError(f"say here with which fields and windows {kind.value} is asked")
    return FeatureSet(ENTITIES, NUMBERS, CATEGORIES, tuple(out))


class Story(Script):
    """A script whose times are told to it; keys, places and numbers are its own choice."""

    def pay(self, time: int, received: int | None = None, keys: dict[str, tuple[int, int]] | None = None, **numbers: int) -> None:
        received = max(time, self.now) if received is None else received
        self.now = max(self.now, received)
        named = self.keys() if keys is None else keys
        given = self.place("latitude", "longitude", 2)
        for n in self.features.numbers:
            given[n.name] = self.chance.number(-500, 5_000)
        given |= numbers
        self.newest = max(self.newest, received) if self.rows else received
        absorbed = self.newest - LATENESS_MAX_US <= time <= self.newest + SKEW_MAX_US
        self.written.append(Written(time, absorbed, {name: named[name] for name in self.entities if name in named}))
        self.rows.append((TRANSACTION, time, received, named, {k: v for k, v in given.items() if v != MISSING}))


Condition = Callable[[Story], None]
CONDITIONS: dict[str, Condition] = {}


def condition(function: Condition) -> Condition:
    CONDITIONS[function.__name__] = function
    return function


@condition
def ties(story: Story) -> None:
    for moment in (0, 0, SECOND_US, HOUR_US, 7 * DAY_US):
        for _ in range(7):
            story.pay(START_US + moment)


@condition
def window_edges(story: Story) -> None:
    """A microsecond to either side of every edge of a window, a delay and both."""
    spans = sorted({w + d for w in WINDOWS_US for d in DELAYS_US} | set(DELAYS_US))
    at = START_US
    for span in spans:
        for off in (-1, 0, 1):
            story.pay(at)
            story.pay(at + max(0, span + off))
            at = story.now


@condition
def late(story: Story) -> None:
    for i in range(30):
        now = START_US + i * 20 * 60 * SECOND_US
        story.pay(now)
        story.pay(now - story.chance.pick((1, SECOND_US, HOUR_US - 1, HOUR_US, HOUR_US + 1, LATENESS_MAX_US)), now)


@condition
def too_late_and_too_early(story: Story) -> None:
    for i in range(15):
        now = START_US + i * 6 * HOUR_US
        story.pay(now)
        story.pay(now - LATENESS_MAX_US - 1, now)
        story.pay(now + SKEW_MAX_US + 1, now)
        story.pay(now + SKEW_MAX_US, now)


@condition
def reordered(story: Story) -> None:
    """Arrivals in another order than the events of each day."""
    order = list(range(45))
    for begin in range(0, 45, 15):
        part = order[begin : begin + 15]
        random.Random(begin).shuffle(part)
        order[begin : begin + 15] = part
    for i in order:
        now = START_US + (i // 15 + 1) * DAY_US
        story.pay(START_US + (i // 15) * DAY_US + (i % 15) * HOUR_US, now)


@condition
def null_keys(story: Story) -> None:
    for i in range(40):
        keys = story.keys()
        for name in list(keys):
            if story.chance.number(0, 1):
                del keys[name]
        story.pay(START_US + i * 600 * SECOND_US, keys=keys)


@condition
def labels_and_reversals(story: Story) -> None:
    for i in range(40):
        story.pay(START_US + i * 3 * HOUR_US)
        for _ in range(2):
            story.label(story.chance.pick(story.written[-12:]))


@condition
def profiles(story: Story) -> None:
    for i in range(40):
        story.pay(START_US + i * 8 * HOUR_US)
        if i % 3 == 0:
            story.profile()


@condition
def missing_numbers(story: Story) -> None:
    for i in range(40):
        numbers = {n.name: MISSING for n in NUMBERS if story.chance.number(0, 1)}
        if i % 4 == 0:
            numbers["latitude"] = MISSING
        story.pay(START_US + i * 900 * SECOND_US, None, None, **numbers)


@condition
def extreme_amounts(story: Story) -> None:
    for i in range(40):
        story.pay(
            START_US + i * 60 * SECOND_US, amount=story.chance.pick((AMOUNT_MINOR_MAX, -AMOUNT_MINOR_MAX, AMOUNT_MINOR_MAX - 1, 0, 1))
        )


@condition
def one_value_only(story: Story) -> None:
    """Nothing differs: deviations of 0, ratios of 1, one distinct value."""
    same = dict.fromkeys(story.names, (7, 7))
    for i in range(30):
        story.pay(START_US + i * 500 * SECOND_US, keys=dict(same), amount=250, points=3, latitude=10, longitude=10)


@condition
def long_silence(story: Story) -> None:
    """Weeks, a season and more than a year between events: all kept ones go, what is remembered stays."""
    at = START_US
    for gap in (0, 8, 31, 91, 181, 401, 1, 1, 1, 1):
        at += gap * DAY_US
        for i in range(4):
            story.pay(at + i * HOUR_US)


@condition
def many_of_one_key(story: Story) -> None:
    """More than a hundred, so that the ring of the key grows and looks values up by their hash."""
    for i in range(150):
        keys = {**story.keys(), "customer": (3, 3)}
        story.pay(START_US + i * 400 * SECOND_US - (i % 9 == 0) * HOUR_US, START_US + i * 400 * SECOND_US, keys=keys)


def events_of(kind: Kind, name: str) -> tuple[FeatureSet, Events]:
    features = features_of(kind)
    story = Story(features, Seeded(random.Random(f"{name}")))
    CONDITIONS[name](story)
    return features, story.events()


@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.parametrize("kind", Kind, ids=lambda k: k.value)
def test_equals_the_plain_definition(kind: Kind, name: str) -> None:
    features, events = events_of(kind, name)
    fold = Fold(compile_plan(features))
    whole = fold.step(events)
    assert differences(oracle(features, events), whole.values, whole.status) == []
    assert fold.verify()
    again = Fold(compile_plan(features))
    parts = [again.step(events[i : i + 7]) for i in range(0, len(events), 7)]
    np.testing.assert_array_equal(np.concatenate([p.values for p in parts]), whole.values)
    assert again.digest() == fold.digest()


@pytest.mark.parametrize("kind", Kind, ids=lambda k: k.value)
def test_each_kind_is_seen_to_vary_and_to_be_missing(kind: Kind) -> None:
    """What the cross product holds to the definition is not only NaN and zero."""
    seen: set[float] = set()
    absent = False
    for name in CONDITIONS:
        features, events = events_of(kind, name)
        column = [f.kind is kind and f.missing is None for f in features.features]
        values = Fold(compile_plan(features)).step(events).values[:, column]
        absent |= bool(np.isnan(values).any())
        seen |= set(values[~np.isnan(values)].tolist())
    assert len(seen) >= 2
    assert absent == (kind not in LOCAL_TIME)


@pytest.mark.parametrize("kind", Kind, ids=lambda k: k.value)
def test_events_of_other_keys_change_nothing(kind: Kind) -> None:
    """The state of a key is a fold over its own events alone (its place in the order apart)."""
    features, events = events_of(kind, "labels_and_reversals")
    alone = Fold(compile_plan(features)).step(events).values
    others = events.keys.copy()
    others[events.keys.any(axis=2)] ^= np.uint64(2**40)
    twice = Events(
        np.repeat(events.kind, 2), np.repeat(events.time_us, 2), np.repeat(events.received_us, 2),
        np.stack([others, events.keys], axis=1).reshape(-1, *events.keys.shape[1:]), np.repeat(events.numbers, 2, axis=0),
        np.repeat(events.row, 2), events.key_names, events.number_names,
    )  # fmt: skip
    both = Fold(compile_plan(features)).step(twice).values
    np.testing.assert_array_equal(both[1::2], alone)


def test_every_condition_holds_what_it_is_named_after() -> None:
    found: dict[str, Events] = {name: events_of(Kind.COUNT, name)[1] for name in CONDITIONS}
    time = {name: events.time_us[events.kind == TRANSACTION] for name, events in found.items()}
    status = {name: oracle(features_of(Kind.NUMBER), events).status for name, events in found.items()}
    assert (np.diff(time["ties"]) == 0).sum() > 20
    apart = time["window_edges"][:, None] - time["window_edges"][None, :]
    assert all((apart == w + d + off).any() for w in WINDOWS_US for d in DELAYS_US for off in (-1, 0, 1))
    assert (np.diff(time["late"]) < 0).sum() > 20
    assert set(status["late"]) == {0}
    assert {0, 1, 2} == set(status["too_late_and_too_early"])
    assert (np.diff(time["reordered"]) < 0).sum() > 15
    assert set(status["reordered"]) == {0}
    nulls = (found["null_keys"].keys == 0).all(axis=2)[:, : len(ENTITIES)]
    assert 0.2 < nulls.mean() < 0.8
    labels = found["labels_and_reversals"]
    said = labels.numbers[labels.kind == LABEL]
    before, after = (said[:, labels.number_names.index(name)] for name in ("before", "after"))
    assert ((before == 1) & (after == 0)).any()
    assert ((before == 1) & (after == 1)).any()
    assert (found["profiles"].kind == PROFILE).sum() > 10
    amount = found["missing_numbers"].numbers[:, found["missing_numbers"].number_names.index("amount")]
    assert 5 < (amount == MISSING).sum() < 35
    assert (np.diff(time["long_silence"]) > 400 * DAY_US).any()
    assert len(time["many_of_one_key"]) > 128

"""The service without HTTP: slots, guards, canary and shares are records of the log, and come out of it again."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fraudloop.clock import SystemClock
from fraudloop.decisions.rules import RuleSet
from fraudloop.domain.label import Label
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.door.identity import DEFAULT_KEY
from fraudloop.door.rates import RateTable
from fraudloop.door.row import RowDoor
from fraudloop.door.shape import Shape
from fraudloop.engine import intake
from fraudloop.engine.config import GuardConfig, ServeConfig
from fraudloop.engine.counts import save
from fraudloop.engine.service import Service
from fraudloop.errors import FraudloopError, InputError, RefoldNeeded
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.records import Activated, Changed, Record, Transacted
from fraudloop.scoring.store import BundleStore
from tests.family import payment, records
from tests.slots import NAME, activations, bundle_of, check_log, point, rule, rule_set

MILD = {"amount": 0.0001}


class Ask:
    """A ticket that keeps its answer."""

    def __init__(self, row: dict[str, Any], us: int) -> None:
        self.row, self.decide, self.received_us = row, True, us
        self.arrived_ns = time.perf_counter_ns()
        self.record: Transacted | None = None
        self.error: FraudloopError | None = None

    def together(self, records: Sequence[Transacted]) -> AbstractContextManager[object]:
        return nullcontext()

    def answer(self, record: Transacted, lsn: int) -> None:
        self.record = record

    def refuse(self, error: FraudloopError) -> None:
        self.error = error


class Running:
    """A service whose loop is turned by hand."""

    def __init__(self, folder: Path, store: BundleStore, **config: Any) -> None:
        self.config = ServeConfig(data=str(folder / "data"), name=NAME, seal=False, **{"queue_ms_max": 1_000.0, **config})
        self.clock = SystemClock()
        shape = Shape(segments={"existing_decision": "existing_decision"}) if self.config.observe else Shape()
        self.service = Service.open(
            self.config, FolderFiles(self.config.log), store, self.clock, lambda lsn: None, key=DEFAULT_KEY, columns={**TRANSACTION_SCHEMA, **shape.types},
            units={},
        )  # fmt: skip
        self.door = RowDoor(shape, RateTable.sample())

    def turn(self) -> None:
        engine = self.service.engine
        while engine.commands or engine.queue or engine.flights:
            engine.step()
            time.sleep(0.0005)
            engine.durable(engine.log.durable_lsn)

    def pay(self, first: int, count: int, **other: Any) -> list[Transacted]:
        now = self.clock.now_us()
        asks = []
        for number in range(first, first + count):
            row = self.door.admit(payment(number, **other), now).row
            assert row is not None
            asks.append(Ask(dict(row), now))
            self.service.engine.ask(asks[-1])
        self.turn()
        assert not [ask.error for ask in asks if ask.error]
        return [ask.record for ask in asks if ask.record is not None]

    def follow(self) -> None:
        """What the loop of the process does with the aliases of the store."""
        for slot, name in self.service.look():
            loaded = self.service.prepare(slot, name)
            if name is None or loaded is not None:
                self.service.change_slot(slot, loaded, "test")
        self.service.find_former()
        self.turn()

    def publish(self, rules: dict[str, object]) -> None:
        new = RuleSet.from_dict(rules)

        def make() -> list[Record]:
            features = self.service.features_for(self.service.slots, new, "test", "test")
            return [*features, Activated("rules", new.hash, new.to_dict(), "test", "test", self.service.now_us())]

        self.service.command(make, self.service.refresh)
        self.turn()


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "store")


@pytest.fixture
def opened(tmp_path: Path, store: BundleStore) -> Iterator[Any]:
    row: list[Running] = []

    def open_(**config: Any) -> Running:
        row.append(Running(tmp_path, store, **config))
        return row[-1]

    yield open_
    for one in row:
        if one.service.engine.failed is None:
            one.service.close()


def test_two_changes_at_once_lose_nothing_of_each_other(opened: Any, store: BundleStore) -> None:
    point(store, "champion", bundle_of(MILD))
    running = opened()
    point(store, "champion", bundle_of({"amount": 0.0002, "customer_count_5m": 0.1}))
    point(store, "challenger", bundle_of({"amount": 0.0002, "customer_count_7m": 0.1}))
    running.follow()
    assert {"customer_count_5m", "customer_count_7m"} <= set(running.service.engine.in_force.features.names)
    assert len(running.pay(0, 3)) == 3


def test_what_the_kept_events_do_not_hold_is_refused_and_changes_nothing(opened: Any, store: BundleStore, tmp_path: Path) -> None:
    good = point(store, "champion", bundle_of(MILD))
    running = opened()
    card = point(store, "champion", bundle_of({"card_count_24h": 0.1}, entities={"card": "card_id"}))
    [(slot, name)] = running.service.look()
    assert (slot, name) == ("champion", card)
    found: list[FraudloopError] = []
    running.service.change_slot(slot, running.service.prepare(slot, name), "test", refuse=found.append)
    running.turn()
    assert isinstance(found[0], RefoldNeeded)
    assert running.service.slots.champion.hash == good
    running.service.close()
    # Started like that, the one before it decides, and the alias is seen to have moved.
    again = opened()
    assert again.service.slots.champion.hash == good
    assert again.service.look() == [("champion", card)]


def test_a_meaning_that_clashes_is_an_alarm(opened: Any, store: BundleStore) -> None:
    good = point(store, "champion", bundle_of(MILD))
    running = opened()
    point(store, "champion", bundle_of({"customer_count_24h": 0.1}, entities={"customer": "merchant_id"}))
    running.follow()
    assert "bundle:champion" in running.service.alarms
    assert running.service.slots.champion.hash == good


def test_the_share_of_a_canary_is_in_the_log_and_outlives_a_restart(opened: Any, store: BundleStore, tmp_path: Path) -> None:
    point(store, "champion", bundle_of(MILD))
    canary = point(store, "canary", bundle_of({"amount": 0.0002}))
    running = opened(canary_share=0.2)
    assert activations(tmp_path / "data", "canary")[0].body == {"share": 0.2}
    with pytest.raises(InputError, match="share"):
        running.service.set_canary_share(0.6, "ana", "more")
    running.service.set_canary_share(0.45, "ana", "more")
    running.turn()
    running.pay(0, 200)
    running.service.close()
    again = opened(canary_share=0.01)
    assert again.service.slots.canary_share == again.service.engine.in_force.canary_share == 0.45
    point(store, "canary", bundle_of({"amount": 0.0003}))
    again.follow()
    again.pay(200, 200)
    again.service.close()
    last = activations(tmp_path / "data", "canary")[-1]
    assert last.body == {"share": 0.45} and last.hash != canary
    assert check_log(tmp_path / "data", store) == 400
    slots = {r.decision.slot for r in records(tmp_path / "data") if isinstance(r, Transacted) and r.decision is not None}
    assert slots == {"champion", "canary"}


def test_a_label_counts_for_the_canary_that_decided(opened: Any, store: BundleStore) -> None:
    point(store, "champion", bundle_of(MILD, intercept=2.0))
    point(store, "canary", bundle_of(MILD, intercept=2.5))
    running = opened(canary_share=0.5)
    paid = running.pay(0, 20)
    assert paid[0].decision is not None and paid[0].decision.outcome >= 2
    engine = running.service.engine
    now = running.clock.now_us() + 60_000_000
    record = intake.settle(engine.state, engine.log.files, Label("T0", True, now, "chargeback"), now)
    running.service.command(lambda: [record], lambda: running.service.label_noted(record, first=True))
    running.turn()
    assert engine.beside.canary is not None
    assert engine.beside.canary.labelled.sum(axis=(0, 1)).tolist() == [1, 1]


GUARD = GuardConfig(payments_min=50, look_payments=10)


def test_a_rule_that_acts_on_too_much_goes_to_shadow_by_a_record(opened: Any, store: BundleStore, tmp_path: Path) -> None:
    point(store, "champion", bundle_of(MILD))
    running = opened(guard=GUARD)
    running.publish(rule_set(rule("all", "amount > 0"), rule("few", "amount > 100000")))
    assert running.pay(0, 60)[-1].decision.hits == ("all",)
    running.service.guard()
    running.turn()
    assert running.pay(100, 60)[-1].decision.hits == ()
    assert "guard:all" in running.service.alarms
    running.service.guard()
    running.turn()
    running.service.close()
    [changed] = [record for record in records(tmp_path / "data") if isinstance(record, Changed)]
    assert (changed.what, changed.name, changed.state) == ("guard", "all", "shadow") and "60 of 60" in changed.why
    check_log(tmp_path / "data", store)


def test_a_rule_changed_before_the_guard_acts_stays(opened: Any, store: BundleStore) -> None:
    point(store, "champion", bundle_of(MILD))
    running = opened(guard=GUARD)
    running.publish(rule_set(rule("all", "amount > 0")))
    running.pay(0, 60)
    running.publish(rule_set(rule("all", "amount > 100000")))
    running.service.guard()
    running.turn()
    assert [one.state.value for _, one in running.service.engine.in_force.live] == ["live"]


def test_a_champion_that_stops_too_much_gives_way_and_does_not_come_back(opened: Any, store: BundleStore, tmp_path: Path) -> None:
    mild = point(store, "champion", bundle_of(MILD))
    running = opened(guard=GUARD)
    harsh = point(store, "champion", bundle_of(MILD, intercept=6.0))
    running.follow()
    running.pay(0, 60)
    running.service.guard()
    running.turn()
    assert running.service.slots.champion.hash == mild
    # The store could not be told: started again it still is not what decides.
    assert store.alias(f"{NAME}@champion") == harsh
    running.service.close()
    again = opened(guard=GUARD)
    assert again.service.slots.champion.hash == mild and "guard:model" in again.service.alarms
    again.follow()
    assert again.service.slots.champion.hash == mild
    # Promoted again by somebody, it is.
    store.set_alias(f"{NAME}@champion", mild, expected=harsh, who="ana", why="back", at_us=2)
    again.follow()
    store.set_alias(f"{NAME}@champion", harsh, expected=mild, who="ana", why="it must", at_us=3)
    again.follow()
    assert again.service.slots.champion.hash == harsh and "guard:model" not in again.service.alarms
    again.service.close()
    check_log(tmp_path / "data", store)


def test_without_a_champion_before_it_rules_alone_decide_and_the_store_follows(opened: Any, store: BundleStore, tmp_path: Path) -> None:
    harsh = point(store, "champion", bundle_of(MILD, intercept=6.0))
    running = opened(guard=GUARD)
    running.follow()
    running.pay(0, 60)
    running.service.guard()
    running.turn()
    running.follow()
    assert running.service.slots.champion is None and store.alias(f"{NAME}@champion") is None
    entry = store.history(NAME)[-1]
    assert (entry.action, entry.before, entry.who) == ("rollback", harsh, "fraudloop")
    assert running.pay(100, 1)[0].decision.why == ("no_model",)
    running.service.close()
    check_log(tmp_path / "data", store)


def test_beside_another_system_guards_tell_and_take_nothing_back(opened: Any, store: BundleStore) -> None:
    harsh = point(store, "champion", bundle_of(MILD, intercept=6.0))
    running = opened(guard=GUARD, observe=True)
    assert running.pay(0, 60)[0].decision.observe
    running.service.guard()
    running.turn()
    assert running.service.slots.champion.hash == harsh and "guard:model" in running.service.alarms
    running.service.close()
    assert not opened().pay(100, 1)[0].decision.observe


def test_the_challenger_is_dropped_first_and_counted(opened: Any, store: BundleStore) -> None:
    point(store, "champion", bundle_of(MILD))
    point(store, "challenger", bundle_of({"amount": 0.002}))
    running = opened(shadow_batches_max=2)
    for batch in range(5):
        running.pay(10 * batch, 4)
    beside = running.service.engine.beside
    assert (len(beside.shadow), beside.shadow_dropped, beside.shadowed) == (2, 12, 0)
    for _ in range(3):
        running.service.engine.step()
    assert (len(beside.shadow), beside.shadowed, int(beside.agreement.outcomes.sum())) == (0, 8, 8)


def test_from_observing_to_deciding_payments_stay_what_they_were(opened: Any, store: BundleStore, tmp_path: Path) -> None:
    point(store, "champion", bundle_of(MILD))
    running = opened(observe=True)
    first = running.pay(0, 1, existing_decision="denied")[0]
    assert running.service.engine.beside.observed.rows()[0]["theirs"] == "decline"
    running.service.close()
    deciding = opened()
    again = deciding.pay(7, 1)[0]
    assert not again.decision.observe
    state = deciding.service.engine.state
    found = intake.find(state, deciding.service.engine.log.files, "T0")
    assert (
        found is not None
        and msgspec.msgpack.encode(found[1].decision) == msgspec.msgpack.encode(first.decision)
        and state.row_of(found[1])["transaction_id"] == "T0"
    )
    now = deciding.clock.now_us() + 60_000_000
    record = intake.settle(state, deciding.service.engine.log.files, Label("T0", True, now, "chargeback"), now)
    deciding.service.command(lambda: [record], lambda: None)
    deciding.turn()
    assert deciding.pay(8, 1)
    deciding.service.close()
    assert check_log(tmp_path / "data", store) == 3


def test_with_the_store_gone_what_decided_last_decides(opened: Any, store: BundleStore) -> None:
    good = point(store, "champion", bundle_of(MILD))
    opened().service.close()
    kept = store.root.rename(store.root.parent / "kept")
    running = opened()
    assert running.service.slots.champion.hash == good and "store:champion" in running.service.alarms
    running.follow()
    assert running.service.slots.champion.hash == good
    kept.rename(store.root)
    running.follow()
    assert running.service.alarms == {}
    point(store, "champion", None)
    running.follow()
    assert running.service.slots.champion is None and running.pay(0, 1)[0].decision.why == ("no_model",)


def test_a_damaged_bundle_of_the_store_is_read_from_the_copy_beside_the_log(opened: Any, store: BundleStore) -> None:
    name = point(store, "champion", bundle_of(MILD))
    opened().service.close()
    assert name is not None
    (store.root / "bundles" / name / "models" / "linear-1.json").write_text("{}")
    assert opened().service.slots.champion.hash == name


def keep(running: Running) -> None:
    """What the loop of the process does every ten seconds."""
    save(running.config.counts, running.service.counted())


def counts(running: Running) -> dict[str, Any]:
    return running.service.engine.beside.to_dict()


def test_counts_go_on_after_a_restart(opened: Any, store: BundleStore) -> None:
    point(store, "champion", bundle_of(MILD))
    point(store, "canary", bundle_of({"amount": 0.0002}))
    point(store, "challenger", bundle_of({"amount": 0.0003}))
    running = opened(canary_share=0.5, guard=GUARD, observe=True)
    running.publish(rule_set(rule("some", "amount > 20")))
    running.pay(0, 40, existing_decision="decline")
    running.pay(40, 40, existing_decision="what?")
    while running.service.engine.beside.shadow:
        running.service.engine.step()
    keep(running)
    before = counts(running)
    assert before["canary"] and before["challenger"] and before["unknown_words"] == 40 and running.service.engine.beside.shadowed == 80
    running.service.close()
    again = opened(canary_share=0.5, guard=GUARD, observe=True)
    assert "counts" not in again.service.alarms
    after = counts(again)
    # What was counted by then stands in the windows; the rest is looked at with the next payments.
    assert after.pop("guard")["windows"][0][2] == before.pop("guard")["windows"][0][2]
    assert after == before
    again.pay(80, 40, existing_decision="decline")
    assert again.service.engine.beside.observed.summary()["payments"] == 120
    assert int(again.service.engine.beside.guard.shares()[0]["payments"]) == 120


def test_a_rule_is_taken_back_on_what_was_counted_before_a_restart_too(opened: Any, store: BundleStore) -> None:
    point(store, "champion", bundle_of(MILD))
    running = opened(guard=GUARD)
    running.publish(rule_set(rule("all", "amount > 0")))
    running.pay(0, 40)
    keep(running)
    running.service.close()
    again = opened(guard=GUARD)
    again.pay(40, 20)  # 60 in all: enough of them
    again.service.guard()
    again.turn()
    assert "guard:all" in again.service.alarms


def test_of_another_canary_nothing_is_taken(opened: Any, store: BundleStore) -> None:
    point(store, "champion", bundle_of(MILD))
    point(store, "canary", bundle_of({"amount": 0.0002}))
    running = opened(canary_share=0.5)
    running.pay(0, 40)
    keep(running)
    running.service.close()
    point(store, "canary", bundle_of({"amount": 0.0003}))
    again = opened(canary_share=0.5)
    again.follow()
    assert counts(again)["canary"]["name"] != "" and sum(again.service.engine.beside.canary.counts.ravel().tolist()) == 0


@pytest.mark.parametrize("spoiled", [b"", b"{", b"[]", b'{"durable_lsn": 1, "beside": {}}', b'{"durable_lsn": 1, "beside": {"guard": 3}}'])
def test_counts_that_cannot_be_read_are_said_to_begin_anew(opened: Any, store: BundleStore, spoiled: bytes) -> None:
    point(store, "champion", bundle_of(MILD))
    running = opened(guard=GUARD)
    running.pay(0, 40)
    running.service.close()
    running.config.counts.write_bytes(spoiled)
    again = opened(guard=GUARD)
    assert "begin anew" in again.service.alarms["counts"] and str(running.config.counts) in again.service.alarms["counts"]
    assert len(again.pay(40, 5)) == 5


def test_counts_of_a_log_that_went_further_are_not_taken(opened: Any, store: BundleStore, tmp_path: Path) -> None:
    point(store, "champion", bundle_of(MILD))
    running = opened()
    running.pay(0, 40)
    keep(running)
    running.service.close()
    for folder in ("log", "snapshots"):
        shutil.rmtree(tmp_path / "data" / folder, ignore_errors=True)
    again = opened()
    assert "goes further" in again.service.alarms["counts"]


@pytest.mark.parametrize("wrong", [[[1]], [], [[10**30] * 4] * 5])
def test_counts_of_another_shape_are_not_taken(opened: Any, store: BundleStore, wrong: object) -> None:
    point(store, "champion", bundle_of(MILD))
    running = opened(observe=True)
    running.pay(0, 10)
    running.service.close()
    kept = msgspec.json.decode(running.service.counted())
    kept["beside"]["observed"]["payments"] = wrong
    save(running.config.counts, json.dumps(kept).encode())
    again = opened(observe=True)
    assert "begin anew" in again.service.alarms["counts"]
    assert len(again.pay(10, 5)) == 5

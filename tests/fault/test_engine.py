"""The loop over a disk that loses power, is full, or hangs: what was answered stays, nobody waits for ever, the state is that of the log."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from random import Random

import numpy as np
import pytest

from fraudloop.clock import ManualClock
from fraudloop.decisions.rules import RuleSet
from fraudloop.domain.outcome import Outcome
from fraudloop.door.events import TOO_EARLY, TOO_LATE
from fraudloop.door.identity import DEFAULT_KEY
from fraudloop.engine import engine as engines
from fraudloop.engine import service as services
from fraudloop.engine import syncer
from fraudloop.engine.config import ServeConfig
from fraudloop.engine.recovery import recover
from fraudloop.engine.service import Service
from fraudloop.engine.syncer import Syncer
from fraudloop.errors import ConflictError, DefectError, FencedError, FraudloopError, LedgerError, UnavailableError
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.log import Log, Reader
from fraudloop.ledger.positions import Positions
from fraudloop.ledger.records import Activated, Changed, Transacted, decode, decode_all
from fraudloop.ledger.simulated import PowerLoss, SimulatedFiles
from fraudloop.pipelines.offline import compare
from fraudloop.scoring.store import BundleStore
from tests.conftest import PROVE, SEED
from tests.engines import Asked, ByHand, Full, Machine, Script, check, clean, heal, same_state
from tests.ledgers import BEGIN_US, COLUMNS, row_of

#: Scripts by seed; FRAUDLOOP_SEED runs one.
RUNS = [SEED] if SEED is not None else list(range(1, 201 if PROVE else 11))


def steps_of(tmp_path: Path, seed: int) -> int:
    """How many steps a whole run takes of the disk."""
    machine = Machine(tmp_path / "whole", SimulatedFiles()).open()
    Script(seed).run(machine)
    machine.close()
    return machine.files.steps


@pytest.mark.parametrize("seed", RUNS)
def test_what_was_answered_survives_power_loss_and_kill_at_any_step(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    total = steps_of(tmp_path, seed)
    for number in range(40 if PROVE else 3):
        crash = random.randint(1, total)
        machine = Machine(tmp_path / str(number), SimulatedFiles(crash_at=crash))
        script = Script(seed)
        with contextlib.suppress(PowerLoss):
            machine.open()
            script.run(machine)
            machine.close()
        found = machine.files.after_power_loss(random) if random.random() < 0.7 else machine.files.after_kill()
        again = Machine(machine.folder, found, machine.clock)
        again.clock.advance(1_000)
        again.open()
        try:
            check(again, machine.tickets, script.erased)
            again.close()
        except BaseException:
            sys.stderr.write(f"FRAUDLOOP_SEED={seed} {seed}, crash at step {crash} of {total}\n")
            raise


@pytest.mark.parametrize("seed", RUNS[: len(RUNS) // 2 + 1])
def test_a_disk_that_fails_once_at_any_step_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    total = steps_of(tmp_path, seed)
    for number in range(40 if PROVE else 3):
        fail = random.randint(1, total)
        machine = Machine(tmp_path / str(number), SimulatedFiles(fail_at=fail))
        script = Script(seed)
        try:
            for _ in range(3):  # the first open may be what fails
                with contextlib.suppress(LedgerError, OSError):
                    machine.open()
                    break
            script.run(machine)
            for ticket in machine.tickets:
                assert ticket.settled, "nobody waits for ever"
                assert ticket.refused is None or isinstance(ticket.refused, UnavailableError | ConflictError)
            for told in machine.commands:
                assert (told.lsn is None) != (told.refused is None), "a command is told once"
            before = list(machine.tickets)
            heal(machine)
            check(machine, before, script.erased)
            machine.close()
        except BaseException:
            sys.stderr.write(f"FRAUDLOOP_SEED={seed} {seed}, the disk fails at step {fail} of {total}\n")
            raise


def test_a_last_flush_that_fails_tells_who_waits_and_lets_go_of_the_log(tmp_path: Path) -> None:
    files = Full()
    machine = Machine(tmp_path, files).open()
    ticket = machine.ask(paid(machine, 0))
    machine.step()
    flusher = machine.service.engine.flusher
    machine.service.engine.flusher = Idle(flusher)
    files.full = True
    with pytest.raises(LedgerError, match="cannot be flushed"):
        machine.close()
    assert isinstance(ticket.refused, UnavailableError)
    files.full = False
    machine.open().close()


def test_a_flush_that_failed_beside_is_told_to_who_waits_when_the_service_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncer.warm()
    monkeypatch.setattr(services, "warm", lambda state, in_force: None)
    config = ServeConfig(data=str(tmp_path / "data"))
    config.log.mkdir(parents=True)
    clock = ManualClock(BEGIN_US)
    service = Service.open(
        config, FolderFiles(config.log), BundleStore(tmp_path / "store"), clock, lambda lsn: None, key=DEFAULT_KEY, columns=COLUMNS,
        units={"amount": "EUR"}, flusher=lambda log, done, failed: Syncer(log),
    )  # fmt: skip
    engine = service.engine
    end = time.monotonic() + 5
    while engine.flights and time.monotonic() < end:  # what a new log begins with
        time.sleep(0.01)
        engine.flushed()
    assert not engine.flights
    told, other = os.pipe()
    monkeypatch.setattr(engine.log, "begin_flush", lambda: (engine.log.next_lsn, told))  # a pipe cannot be flushed
    clock.advance(1_000)
    ticket = Asked(row_of(0, Random(1), clock.now_us()), clock.now_us())
    engine.ask(ticket)
    engine.step()
    while not engine.flusher._shared[syncer._FAILED]:  # type: ignore[attr-defined]
        assert time.monotonic() < end
        time.sleep(0.01)
    service.close()
    assert ticket.answered is None and isinstance(ticket.refused, UnavailableError)
    os.close(told)
    os.close(other)


class Idle:
    """A flusher that leaves the last flush to who closes."""

    def __init__(self, flusher: object) -> None:
        self.flusher, self.since = flusher, 0.0

    def wanted(self) -> None:
        pass

    def stop(self) -> None:
        pass


def paid(machine: Machine, n: int, seed: int = 0) -> dict[str, object]:
    machine.clock.advance(1_000)
    return row_of(n, Random(seed * 1_000 + n), machine.clock.now_us())


def test_while_the_disk_is_full_nobody_is_answered_and_once_there_is_room_all_are_decided_once(tmp_path: Path) -> None:
    files = Full()
    machine = Machine(tmp_path, files).open()
    first = machine.ask(paid(machine, 0))
    machine.settle()
    flushed, appended = machine.ask(paid(machine, 1)), None
    machine.step()
    files.full = True
    machine.flush()
    appended = machine.ask(paid(machine, 2))
    told = machine.tell(machine.service.engine.state.active["rules"][1])
    for ticket in (flushed, appended):
        assert isinstance(ticket.refused, UnavailableError) and ticket.refused.fields["retry_after_s"] == 1
    assert isinstance(told.refused, UnavailableError)
    for _ in range(5):
        with pytest.raises((LedgerError, OSError)):
            heal(machine)
    files.full = False
    before = list(machine.tickets)
    heal(machine)
    check(machine, before, set())
    assert first.answered is not None
    assert sum(1 for group in range(3) if intake_of(machine, f"t{group}")) == 3
    machine.close()


def intake_of(machine: Machine, name: str) -> bool:
    state = machine.service.engine.state
    return bool((state.known.get(state.fingerprints([name])) >= 0).all())


def test_what_waits_when_an_append_fails_is_refused_and_the_epoch_ends_once(tmp_path: Path) -> None:
    files = Full()
    machine = Machine(tmp_path, files).open()
    under_way = machine.ask(paid(machine, 0))
    machine.step()
    copy = machine.ask(dict(under_way.row))
    machine.step()
    files.full = True
    told = machine.tell(machine.service.engine.state.active["rules"][1])
    waits = machine.ask(paid(machine, 1))
    machine.step()
    assert told.refused is not None
    for ticket in (under_way, copy, waits):
        assert isinstance(ticket.refused, UnavailableError)
    why = str(machine.service.engine.failed)
    machine.flush()
    assert str(machine.service.engine.failed) == why and "No space left" in why
    machine.close()


# --- defects ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["judge", "reasons_of", "decisions_of", "encode_all"])
def test_a_defect_while_deciding_is_told_and_the_state_is_that_of_the_log(tmp_path: Path, where: str) -> None:
    machine = Machine(tmp_path, SimulatedFiles()).open()
    machine.ask(paid(machine, 0))
    machine.settle()
    on_its_way = machine.ask(paid(machine, 1))
    machine.step()
    with pytest.MonkeyPatch.context() as patch:

        def broken(*_: object, **__: object) -> object:
            raise ZeroDivisionError("a number that nobody thought of")

        patch.setattr(engines, where, broken)
        batch = [machine.ask(paid(machine, n)) for n in (2, 3)]
        machine.step()
        waits = machine.ask(paid(machine, 4))
    for ticket in batch:
        assert isinstance(ticket.refused, DefectError)
        assert "test_engine.py" in str(ticket.refused) and "nobody thought of" not in str(ticket.refused), "the place, not the data"
    assert isinstance(on_its_way.refused, UnavailableError) and isinstance(waits.refused, UnavailableError)
    assert isinstance(machine.service.engine.failed, DefectError)
    before = list(machine.tickets)
    heal(machine)
    check(machine, before, set())
    machine.close()


def test_a_defect_in_a_command_is_told_to_who_gave_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, SimulatedFiles()).open()
    engine = machine.service.engine
    told: list[FraudloopError] = []

    def broken() -> None:
        raise KeyError("x")

    machine.service.command(lambda: [engine.state.active["rules"][1]], broken, refuse=told.append)
    after = machine.tell(engine.state.active["rules"][1])
    machine.step()
    assert [type(error) for error in told] == [DefectError]
    assert isinstance(after.refused, UnavailableError)
    heal(machine)
    same_state(machine.service.engine.state, clean(machine.files))
    machine.close()


def test_an_answer_that_cannot_be_given_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    machine = Machine(tmp_path, SimulatedFiles()).open()
    broken, fine = machine.ask(paid(machine, 0)), machine.ask(paid(machine, 1))
    machine.step()
    broken.durable = lambda: 1 // 0
    machine.flush()
    assert isinstance(broken.refused, DefectError) and fine.answered is not None
    assert machine.service.engine.failed is None and machine.service.engine.defect is not None
    machine.close()


def test_a_stored_answer_that_cannot_be_read_refuses_that_request_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path, SimulatedFiles()).open()
    first = machine.ask(paid(machine, 0))
    machine.settle()

    def unreadable(self: Positions, files: object, lsn: int) -> bytes:
        raise LedgerError("cannot be read")

    with monkeypatch.context() as patch:
        patch.setattr(Positions, "read", unreadable)
        retry, other = machine.ask(dict(first.row)), machine.ask(paid(machine, 1))
        machine.settle()
    assert isinstance(retry.refused, UnavailableError) and other.answered is not None
    retry = machine.ask(dict(first.row))
    machine.settle()
    assert retry.answered == first.answered
    machine.close()


# --- a slow disk, too much work ---------------------------------------------------------------------------------------


def test_while_a_flush_hangs_new_requests_are_sent_away_and_those_inside_are_answered_when_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path, SimulatedFiles(), config={"flush_s_max": 2.0}).open()
    engine = machine.service.engine
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    inside = machine.ask(paid(machine, 0))
    machine.step()
    assert isinstance(engine.flusher, ByHand)
    engine.flusher.since = now[0]
    now[0] += 1.9
    also = machine.ask(paid(machine, 1))
    machine.step()
    now[0] += 0.2
    turned_away = machine.ask(paid(machine, 2))
    assert isinstance(turned_away.refused, UnavailableError) and "disk" in str(turned_away.refused)
    assert not inside.settled and not also.settled
    engine.flusher.since = 0.0
    machine.flush()
    assert inside.answered is not None and also.answered is not None
    later = machine.ask(paid(machine, 2))
    machine.settle()
    assert later.answered is not None
    machine.close()


def test_a_disk_that_is_behind_gets_no_more_than_its_share_and_the_loop_does_not_spin(tmp_path: Path) -> None:
    machine = Machine(tmp_path, SimulatedFiles()).open()
    engine = machine.service.engine
    for n in range(engines.FLIGHTS_MAX):
        machine.ask(paid(machine, n))
        machine.step()
    waits = machine.ask(paid(machine, engines.FLIGHTS_MAX))
    machine.step()
    assert len(engine.flights) == engines.FLIGHTS_MAX and len(engine.queue) == 1
    behind = engine.busy
    machine.flush()
    assert (behind, engine.busy) == (False, True)
    machine.settle()
    assert waits.answered is not None
    machine.close()


def test_a_batch_waits_for_a_flush_that_is_short_and_not_for_a_long_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path, SimulatedFiles(), config={"queue_ms_max": 1e6}).open()
    engine = machine.service.engine

    def ripe() -> bool:
        return engine.ripe

    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    assert not ripe(), "nobody waits"
    machine.ask(paid(machine, 0))
    assert ripe()
    machine.step()
    assert isinstance(engine.flusher, ByHand)
    engine.flusher.since = now[0]
    machine.ask(paid(machine, 1))
    assert engine.busy and not ripe(), "those before are answered first"
    now[0] += 0.004
    assert ripe(), "a disk that takes its time does not hold up the next batch"
    now[0] -= 0.004
    for n in range(2, 70):
        machine.ask(paid(machine, n))
    assert ripe(), "nor do many who wait"
    engine.flusher.since = 0.0
    machine.settle()
    machine.close()


def test_while_the_disk_stands_still_payments_are_decided_in_ever_larger_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path, SimulatedFiles(), config={"queue_ms_max": 1e6}).open()
    engine = machine.service.engine
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    tickets = [machine.ask(paid(machine, 0))]
    machine.step()
    assert isinstance(engine.flusher, ByHand)
    engine.flusher.since = now[0] - 0.004
    for n in range(1, 3_000):  # at ten thousand a second as many as come in 0.3 s
        tickets.append(machine.ask(paid(machine, n)))
        if engine.ripe:
            machine.step()
    groups = [len(flight.tickets) for flight in engine.flights]
    assert len(groups) < engines.FLIGHTS_MAX and len(engine.queue) <= 64
    assert groups == sorted(groups) and groups[-1] == 64
    engine.flusher.since = 0.0
    machine.settle()
    assert all(ticket.answered is not None for ticket in tickets)
    machine.close()


@pytest.mark.parametrize("bound", ["queue_max", "queue_ms_max"])
def test_too_many_are_sent_away_at_once_and_those_inside_wait_no_longer_for_it(tmp_path: Path, bound: str) -> None:
    machine = Machine(tmp_path, SimulatedFiles(), config={"queue_max": 40} if bound == "queue_max" else {"queue_ms_max": 2.0}).open()
    engine = machine.service.engine
    engine.cost_ns, engine.strained = 50_000.0, True
    tickets = [machine.ask(paid(machine, n)) for n in range(60)]
    inside = [ticket for ticket in tickets if not ticket.settled]
    # 2 ms at 50 µs a payment are 40 that may wait, and the one that is being asked.
    assert len(inside) in (40, 41) and inside == tickets[: len(inside)]
    assert all(isinstance(ticket.refused, UnavailableError) and ticket.refused.fields["retry_after_s"] for ticket in tickets[len(inside) :])
    assert engine.counters.shed == 60 - len(inside)
    machine.settle()
    assert all(ticket.answered is not None for ticket in inside)
    machine.close()


def test_a_few_may_wait_however_dear_a_payment_seemed_and_show_what_one_costs(tmp_path: Path) -> None:
    machine = Machine(tmp_path, SimulatedFiles()).open()
    engine = machine.service.engine
    engine.cost_ns, engine.strained = 1e9, True
    for batch in range(100):
        tickets = [machine.ask(paid(machine, 20 * batch + n)) for n in range(20)]
        if not batch:
            assert [ticket.refused is None for ticket in tickets] == [True] * 16 + [False] * 4
        machine.settle()
    assert engine.cost_ns < 5e6, "a second a payment was an error, and must not shut the door for good"
    assert all(ticket.answered is not None for ticket in tickets)
    machine.close()


def test_after_a_moment_many_may_wait_and_nobody_is_sent_away_unless_it_lasts(tmp_path: Path) -> None:
    """Of 2 ms at 50 µs a payment, 40 may wait while more come than can be decided.

    ms    0 ············· 100 ·········
    wait  100 in, 10 a batch, never below 1 ms
          all are let in   │ strained: above 40 none is
    """
    machine = Machine(tmp_path, SimulatedFiles(), config={"queue_ms_max": 2.0, "batch_max": 10}).open()
    engine = machine.service.engine
    engine.cost_ns = 50_000.0

    def ask(number: int) -> Asked:
        ticket = machine.ask(paid(machine, number))
        ticket.arrived_ns = time.perf_counter_ns()
        return ticket

    inside = [ask(n) for n in range(100)]
    assert not any(ticket.settled for ticket in inside) and not bool(engine.strained)
    begin, n = time.monotonic(), 100
    while not engine.strained:
        assert time.monotonic() - begin < 10, "a tenth of a second, on a machine that stands still now and then"
        time.sleep(0.005)
        machine.step()
        inside += [ask(n + more) for more in range(10)]
        engine.cost_ns, n = 50_000.0, n + 10
    assert time.monotonic() - begin > 0.1
    assert not any(ticket.refused for ticket in inside[:-10]), "until then nobody was"
    assert ask(n).refused is not None
    machine.settle()
    assert all(ticket.answered is not None for ticket in inside[:-10])
    while bool(engine.strained):
        assert time.monotonic() - begin < 20
        n += 1
        ask(n)
        machine.settle()
    machine.close()


def test_who_is_sent_away_makes_the_others_no_dearer(tmp_path: Path) -> None:
    """Their reading took time, but no payment's: else the more came, the fewer would be let in."""
    machine = Machine(tmp_path, SimulatedFiles(), config={"queue_max": 32}).open()
    engine = machine.service.engine
    costs = []
    for more in (0, 2_000):
        for batch in range(40):
            for n in range(32 + more):
                name = paid(machine, 100_000 * (more > 0) + 32 * batch + min(n, 32))
                machine.ask(name)
            machine.settle()
        costs.append(engine.cost_ns)
    assert engine.counters.shed == 40 * 2_000
    assert costs[1] < 5 * costs[0]
    machine.close()


# --- two writers ------------------------------------------------------------------------------------------------------


def test_a_writer_that_was_taken_over_from_answers_nothing_more_and_says_why(tmp_path: Path) -> None:
    machine = Machine(tmp_path, SimulatedFiles()).open()
    before = machine.ask(paid(machine, 0))
    machine.settle()
    under_way = machine.ask(paid(machine, 1))
    machine.step()
    other = Log.open(machine.files, take_over=True)
    also = machine.ask(paid(machine, 2))
    machine.step()
    machine.flush()
    assert before.answered is not None
    assert isinstance(machine.service.engine.failed, FencedError)
    assert isinstance(under_way.refused, UnavailableError) and isinstance(also.refused, UnavailableError)
    # What it wrote before the other came is in the other's log, and what it wrote afterwards is not.
    assert clean(machine.files).next_lsn == other.next_lsn
    assert intake_of(machine, "t1")
    other.close()


def test_who_takes_over_from_the_dead_holds_the_lock_against_others(tmp_path: Path) -> None:
    files = SimulatedFiles()
    log = Log.open(files, take_over=True)
    with pytest.raises(LedgerError, match="holds"):
        Log.open(files)
    log.close()


def test_an_open_that_fails_lets_the_lock_go(tmp_path: Path) -> None:
    for step in range(1, 7):
        files = SimulatedFiles(fail_at=step)
        with pytest.raises(OSError, match="No space"):
            Log.open(files)
        Log.open(files).close()


def test_a_damaged_vault_does_not_keep_the_lock(tmp_path: Path) -> None:
    machine = Machine(tmp_path, SimulatedFiles()).open()
    machine.ask(paid(machine, 0))
    machine.settle()
    machine.close()
    whole = bytes(machine.files.now["vault"])
    machine.files.now["vault"][40] ^= 1
    with pytest.raises(LedgerError, match="vault"):
        machine.open()
    machine.files.now["vault"][:] = whole
    machine.open().close()


def test_the_share_of_a_canary_that_was_set_holds_after_a_restart(tmp_path: Path) -> None:
    machine = Machine(tmp_path, SimulatedFiles()).open()
    machine.service.set_canary_share(0.3, "ann", "more of it")
    machine.settle()
    heal(machine)
    assert machine.service.slots.canary_share == 0.3
    machine.close()


# --- without the state of the entities --------------------------------------------------------------------------------


def blinded(machine: Machine, seed: int = 7) -> list[Asked]:
    """A service that has decided, met a defect, and goes on without its state; what it was asked."""
    first = [machine.ask(paid(machine, n, seed)) for n in range(30)]
    machine.settle()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "judge", lambda *_, **__: 1 / 0)
        machine.ask(paid(machine, 30, seed))
        machine.step()
    assert isinstance(machine.service.engine.failed, DefectError)
    machine.service.close()
    files = FolderFiles(machine.service.config.log)
    machine.files = files  # type: ignore[assignment]
    machine.service = services.Service.blind(machine.service, files, machine.woken.append, ByHand)
    return first


def test_while_the_state_is_gone_payments_are_decided_on_what_they_say_and_then_as_if_nothing_had_been(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "log").mkdir(parents=True)
    machine = Machine(tmp_path, FolderFiles(data / "log"), config={"seal": False}).open()  # type: ignore[arg-type]
    first = blinded(machine)
    service = machine.service

    def why() -> tuple[str, ...]:
        return service.engine.in_force.why

    assert why() == ("no_model", "no_state")
    again = machine.ask(dict(first[3].row))
    blind = [machine.ask(paid(machine, n, 7)) for n in range(30, 40)]
    machine.settle()
    assert again.answered == first[3].answered, "ids are remembered"
    names = service.engine.in_force.names
    for ticket in blind:
        assert ticket.answered is not None
        record = decode(ticket.answered[0])
        assert isinstance(record, Transacted) and record.decision is not None
        vector = dict(zip(names, np.frombuffer(record.decision.vector), strict=True))
        assert tuple(record.decision.why) == ("no_model", "no_state")
        assert np.isnan(vector["customer_count_30d"]) and not np.isnan(vector["hour_of_day"])
        assert np.isnan(vector["amount"]) == (ticket.row["amount_base"] is None)
        assert record.decision.status in (0, TOO_LATE, TOO_EARLY)
        assert record.decision.outcome >= Outcome.REVIEW, "by the stricter tiers somebody looks"
    follower = recover(FolderFiles(data / "log"), None, DEFAULT_KEY)
    service.restored(follower.state)
    machine.settle()
    after = [machine.ask(paid(machine, n, 7)) for n in range(40, 60)]
    machine.settle()
    assert why() == ("no_model",) and all(ticket.answered is not None for ticket in after)
    same_state(service.engine.state, clean(machine.files))
    machine.close()
    found = compare(data, BundleStore(tmp_path / "store"))
    assert found.ok and found.decisions == 60 and not found.unjudged, found.first
    controls = [
        record
        for group in Reader(FolderFiles(data / "log"), 0).read()
        for record in decode_all(group.records)
        if isinstance(record, Changed)
    ]
    assert [(record.what, record.state) for record in controls] == [("state", "gone"), ("state", "there")]


@pytest.mark.parametrize("seed", range(12))
def test_what_was_appended_and_lost_is_not_taken_for_known(tmp_path: Path, seed: int) -> None:
    """The disk loses what was not flushed; a retry of it is decided, not looked up where nothing lies."""
    files = SimulatedFiles()
    machine = Machine(tmp_path, files).open()
    kept = [machine.ask(paid(machine, n)) for n in range(10)]
    machine.settle()
    lost = [machine.ask(paid(machine, n)) for n in range(10, 20)]
    machine.step()
    service = machine.service
    service.engine.flusher.flush = lambda: None  # type: ignore[attr-defined]
    service.engine._end(LedgerError("the disk is gone"), [])
    after = files.after_power_loss(Random(seed))
    service.close()
    machine.files = after
    machine.service = services.Service.blind(service, after, machine.woken.append, ByHand)
    told = [machine.ask(dict(ticket.row)) for ticket in (*kept, *lost)]
    machine.settle()
    assert all(ticket.answered is not None for ticket in told)
    assert [ticket.answered for ticket in told[:10]] == [ticket.answered for ticket in kept]
    machine.service.restored(recover(after, None, DEFAULT_KEY).state)
    machine.settle()
    same_state(machine.service.engine.state, clean(after))
    machine.close()


def test_where_something_was_being_changed_only_the_log_tells_what_holds(tmp_path: Path) -> None:
    machine = Machine(tmp_path, SimulatedFiles()).open()
    machine.tell(Activated("rules", "h", RuleSet.load("default").to_dict(), "ann", "why", machine.service.now_us()))
    machine.step()
    machine.service.engine._end(LedgerError("the disk is gone"), [])
    machine.service.close()
    with pytest.raises(UnavailableError):
        services.Service.blind(machine.service, machine.files, machine.woken.append, ByHand)

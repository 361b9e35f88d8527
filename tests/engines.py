"""A decision service over a simulated disk, driven by hand: what happens between two steps is the test's to say, and every ticket is watched."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from fraudloop.clock import ManualClock
from fraudloop.decisions.rules import RuleSet
from fraudloop.domain.label import Label
from fraudloop.door.identity import DEFAULT_KEY, hash_texts
from fraudloop.engine import intake
from fraudloop.engine import service as services
from fraudloop.engine.config import ServeConfig
from fraudloop.engine.recovery import recover
from fraudloop.engine.service import Service
from fraudloop.engine.snapshots import write
from fraudloop.engine.state import State
from fraudloop.errors import ConflictError, FraudloopError, InputError, LedgerError
from fraudloop.ledger.files import Files
from fraudloop.ledger.log import Log
from fraudloop.ledger.records import Activated, Erased, Listed, Record, Transacted, encode
from fraudloop.ledger.simulated import SimulatedFiles
from fraudloop.scoring.store import BundleStore
from tests.ledgers import BEGIN_US, COLUMNS, row_of


@dataclass(eq=False)
class Asked:
    """A ticket that notes what it is told: exactly one thing."""

    row: dict[str, Any]
    received_us: int
    decide: bool = True
    arrived_ns: int = 0
    answered: tuple[bytes, int] | None = None
    refused: FraudloopError | None = None
    durable: Callable[[], int] = lambda: 1 << 62

    @property
    def name(self) -> str:
        return str(self.row["transaction_id"])

    @property
    def settled(self) -> bool:
        return self.answered is not None or self.refused is not None

    def together(self, records: Sequence[Transacted]) -> AbstractContextManager[object]:
        return nullcontext()

    def answer(self, record: Transacted, lsn: int) -> None:
        assert not self.settled, "told twice"
        assert lsn < self.durable(), "answered before it was on disk"
        self.answered = (encode(record), lsn)

    def refuse(self, error: FraudloopError) -> None:
        assert not self.settled, "told twice"
        self.refused = error


@dataclass(eq=False)
class Told:
    """A command that notes what it is told: exactly one thing."""

    records: Sequence[Record]
    lsn: int | None = None
    refused: FraudloopError | None = None

    def done(self, lsn: int) -> None:
        assert self.lsn is None and self.refused is None, "told twice"
        self.lsn = lsn

    def refuse(self, error: FraudloopError) -> None:
        assert self.lsn is None and self.refused is None, "told twice"
        self.refused = error


class ByHand:
    """Flushes when it is told to, in the thread that tells it."""

    def __init__(self, log: Log, done: Callable[[int, float], None], failed: Callable[[FraudloopError], None]) -> None:
        self._log, self._done, self._failed = log, done, failed
        self.since = 0.0

    def wanted(self) -> None:
        pass

    def flush(self) -> None:
        try:
            lsn = self._log.flush()
        except FraudloopError as error:
            self._failed(error)
        else:
            self._done(lsn, 0.0)

    def stop(self) -> None:
        self.flush()


@dataclass
class Machine:
    """A service on a disk. folder: of what does not lie on that disk: snapshots, last good bundles."""

    folder: Path
    files: SimulatedFiles
    clock: ManualClock = field(default_factory=lambda: ManualClock(BEGIN_US))
    config: dict[str, Any] = field(default_factory=dict)
    service: Service = field(init=False)
    woken: list[int] = field(default_factory=list)
    tickets: list[Asked] = field(default_factory=list)
    commands: list[Told] = field(default_factory=list)

    def open(self) -> Machine:
        """Become the writer, without the warming up that each test need not wait for."""
        config = ServeConfig(data=str(self.folder / "data"), **self.config)
        self.woken.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(services, "warm", lambda state, in_force: None)
            self.service = Service.open(
                config, self.files, BundleStore(self.folder / "store"), self.clock, self.woken.append, key=DEFAULT_KEY, columns=COLUMNS,
                units={"amount": "EUR"}, vault=self.files, flusher=ByHand,
            )  # fmt: skip
        return self

    def ask(self, row: dict[str, Any], decide: bool = True) -> Asked:
        ticket = Asked(row, self.clock.now_us(), decide, durable=lambda log=self.service.engine.log: log.durable_lsn)  # type: ignore[misc]
        self.tickets.append(ticket)
        self.service.engine.ask(ticket)
        return ticket

    def tell(self, *records: Record) -> Told:
        told = Told(records)
        self.commands.append(told)
        self.service.command(lambda: list(records), self.service.refresh, told.done, told.refuse)
        return told

    def step(self) -> None:
        self.service.engine.step()

    def flush(self) -> None:
        """What the flusher does, and the loop when it is woken."""
        flusher = self.service.engine.flusher
        assert isinstance(flusher, ByHand)
        flusher.flush()
        self.wake()

    def wake(self) -> None:
        woken, self.woken[:] = list(self.woken), []
        for lsn in woken:
            self.service.engine.durable(lsn)

    def settle(self) -> None:
        """Until nobody waits."""
        engine = self.service.engine
        for _ in range(1_000):
            if not (engine.queue or engine.commands or engine.flights) or engine.failed is not None:
                self.wake()
                return
            self.step()
            self.flush()
        raise AssertionError("it does not come to an end")

    def snapshot(self) -> None:
        """As the service takes one: only of what is on disk."""
        if not self.service.engine.flights and self.service.engine.failed is None:
            write(self.service.config.snapshots, self.service.engine.state)

    def close(self) -> None:
        self.service.close()


@dataclass
class Script:
    """Random traffic from a seed: payments, copies, late ones, other bodies, labels, entries, rules, erasures."""

    seed: int
    steps: int = 40

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.rows: list[dict[str, Any]] = []
        self.erased: set[str] = set()

    def run(self, machine: Machine) -> None:
        for _ in range(self.steps):
            if machine.service.engine.failed is None:
                self.turn(machine)
        machine.settle()

    def turn(self, machine: Machine) -> None:
        random = self.random
        machine.clock.advance(random.choice((1, 1_000, 700_000)))
        what = random.random()
        if what < 0.45:
            for _ in range(random.randint(1, 3)):
                self.rows.append(self.fresh(machine))
                machine.ask(dict(self.rows[-1]), random.random() < 0.9)
        elif what < 0.55 and self.rows:
            row = random.choice(self.rows)
            if row["customer_id"] not in self.erased:
                machine.ask({**row, "amount_minor": row["amount_minor"] + random.choice((0, 0, 0, 1))})
        elif what < 0.62:
            self.label(machine)
        elif what < 0.66:
            machine.tell(
                Listed("block", "customer", f"c{random.randrange(12)}", None, random.random() < 0.3, "ann", "why", machine.service.now_us())
            )
        elif what < 0.69:
            rules = RuleSet.load("default")
            fewer = RuleSet(f"r{random.randrange(9)}", rules.rules[random.randrange(3) :])
            machine.tell(Activated("rules", fewer.hash, fewer.to_dict(), "ann", "why", machine.service.now_us()))
        elif what < 0.71:
            name = f"c{random.randrange(12)}"
            vault = machine.service.engine.state.vault
            if vault is not None:
                subject = hash_texts([name], DEFAULT_KEY)[0]
                self.erased.add(name)
                machine.tell(Erased(subject.tobytes(), vault.generation(subject), "ann", "asked", machine.service.now_us()))
        elif what < 0.85:
            machine.step()
        elif what < 0.97:
            machine.flush()
        else:
            machine.snapshot()

    def fresh(self, machine: Machine) -> dict[str, Any]:
        """A payment as the door gives it: now and then late, early, or in a different order than it took place."""
        now = machine.clock.now_us()
        row = row_of(len(self.rows), self.random, now)
        row["timestamp"] = now - self.random.choice((0, 0, 5_000_000, 3_600_000_000, 40 * 86_400_000_000, -600_000_000))
        return row

    def label(self, machine: Machine) -> None:
        service = machine.service
        if not self.rows:
            return
        row = self.random.choice(self.rows)
        now = service.now_us()
        label = Label(
            str(row["transaction_id"]),
            self.random.random() < 0.5,
            max(now, row["timestamp"]),
            self.random.choice(("review", "chargeback")),
            None,
        )
        try:
            record = intake.settle(service.engine.state, service.engine.log.files, label, now)
        except InputError:
            return  # not there yet
        machine.tell(record)


def same_state(one: State, other: State) -> None:
    """All that later decisions read is equal."""
    assert one.next_lsn == other.next_lsn
    assert one.digest() == other.digest()
    assert one.received_us == other.received_us
    assert one.columns == other.columns
    for name in ("known", "labels"):
        rows = [getattr(state, name).rows() for state in (one, other)]
        assert np.array_equal(*(part[np.lexsort(part.T)] for part in rows)), name
    assert {k: (lsn, encode(r)) for k, (lsn, r) in one.active.items()} == {k: (lsn, encode(r)) for k, (lsn, r) in other.active.items()}
    assert sorted(encode(e) for e in one.entries if isinstance(e, Listed)) == sorted(
        encode(e) for e in other.entries if isinstance(e, Listed)
    )
    assert one.plans == other.plans and one.imports == other.imports
    assert one.fold is not None and one.fold.verify() and other.fold is not None and other.fold.verify()


def clean(files: Files) -> State:
    """The state of a log by folding all of it."""
    return recover(files, None, DEFAULT_KEY).state


def check(machine: Machine, before: Sequence[Asked], erased: set[str]) -> None:
    """A machine that was opened after a fault, against what its predecessor said: nothing lost, nothing doubled, retries told the same."""
    service = machine.service
    same_state(service.engine.state, clean(machine.files))
    answers = {ticket.name: ticket.answered for ticket in before if ticket.answered is not None}
    for name, (_, lsn) in answers.items():
        found = intake.find(service.engine.state, machine.files, name)
        assert found is not None and found[0] == lsn, f"{name} was answered and is gone"
    first: dict[str, Asked] = {}
    for ticket in before:
        if ticket.row["customer_id"] not in erased:
            first.setdefault(ticket.name, ticket)
    told = [machine.ask(dict(ticket.row), ticket.decide) for ticket in before if ticket.row["customer_id"] not in erased]
    machine.settle()
    for ticket in told:
        assert ticket.settled, "nobody waits for ever"
        if ticket.refused is not None:
            assert isinstance(ticket.refused, ConflictError), ticket.refused
        elif ticket.name in answers:
            assert ticket.answered == answers[ticket.name], f"{ticket.name}: the retry was told something else"
    seen: set[str] = set()
    for group in machine_log(machine):
        for record in group:
            if isinstance(record, Transacted):
                assert str(record.row[0]) not in seen, f"{record.row[0]} stands in the log twice"
                seen.add(str(record.row[0]))
    assert all(name in seen for name in first)
    same_state(service.engine.state, clean(machine.files))
    resumed = recover(machine.files, service.config.snapshots, DEFAULT_KEY)
    assert not resumed.passed_over, resumed.passed_over
    same_state(service.engine.state, resumed.state)


def machine_log(machine: Machine) -> list[list[Record]]:
    from fraudloop.ledger.log import Reader
    from fraudloop.ledger.records import decode_all

    return [decode_all(group.records) for group in Reader(machine.files).read()]


class Full(SimulatedFiles):
    """A disk that has no room while `full`."""

    full = False

    def _step(self) -> None:
        super()._step()
        if self.full:
            raise OSError(28, "No space left on device")


def heal(machine: Machine) -> None:
    """As the service does: close, open anew. LedgerError, OSError: it cannot yet."""
    with contextlib.suppress(LedgerError, OSError):
        machine.close()
    machine.open()

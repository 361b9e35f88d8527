"""`/events` and `/feedback`: payments, labels and profiles that are absorbed, alone or as a list. It knows no route.

A list is admitted some events a turn of the loop, so that it never holds up decisions, and answered when all of it is in the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol

from fraudloop.api.problems import FieldError, at_fault, problem_of, refused
from fraudloop.api.wire import Absorbed, AbsorbedMany
from fraudloop.door.row import Admission, Row
from fraudloop.errors import ForbiddenError, FraudloopError, UnavailableError
from fraudloop.ledger.records import Transacted
from fraudloop.limits import HTTP_BATCH_ROWS_A_TURN

#: Nothing is cheaper for many events at once.
_ALONE: Final = nullcontext()


class Noted(Protocol):
    """A label or profile under way. Exactly one of the two is called, in the loop's thread."""

    def noted(self, lsn: int | None, *, parked: bool = False, in_force: bool | None = None) -> None:
        """It is on disk at this LSN. parked: the payment is not known yet; the label waits for it. in_force: whether the payment counts as
        fraud now."""
        ...

    def refuse(self, error: FraudloopError) -> None:
        """It was not taken. RefusedError(message, errors=refusals of the door); UnavailableError: nobody knows yet."""
        ...


class Intake(Protocol):
    """Takes labels and profiles. body: as it came, without `kind`."""

    def label(self, body: Mapping[str, Any], ticket: Noted) -> None: ...

    def profile(self, body: Mapping[str, Any], ticket: Noted) -> None: ...


class Door(Protocol):
    """Admits payments."""

    def admit(self, body: Mapping[str, Any]) -> Admission: ...

    def glance(self, raw: bytes) -> Row | None:
        """The row of a body as it came over the wire, where that is seen at a glance."""
        ...


class Event:
    """One event of `POST /events`: a ticket of the engine, and of the intake. `told` gets what became of it, once."""

    __slots__ = ("_told", "arrived_ns", "decide", "kind", "received_us", "row")

    def __init__(self, kind: str, received_us: int, told: Callable[[Absorbed | FraudloopError], None]) -> None:
        self.kind = kind
        self.row: Row = {}
        self.decide = False
        self.arrived_ns = time.perf_counter_ns()
        self.received_us = received_us
        self._told = told

    def answer(self, record: Transacted, lsn: int) -> None:
        self._told(Absorbed(True, lsn, "transaction", str(record.row[0])))

    def together(self, records: Sequence[Transacted]) -> AbstractContextManager[object]:
        return _ALONE

    def noted(self, lsn: int | None, *, parked: bool = False, in_force: bool | None = None) -> None:
        self._told(Absorbed(not parked, -1 if lsn is None else lsn, self.kind))

    def refuse(self, error: FraudloopError) -> None:
        self._told(error)


def take(
    body: Any,
    ticket: Event,
    door: Door,
    ask: Callable[[Event], None],
    intake: Intake | None,
    labels: bool,
) -> None:
    """Admit one event and send it on its way. labels: whether the caller may send them."""
    if not isinstance(body, dict):
        ticket.refuse(at_fault("body", "body.object", "must be a JSON object"))
        return
    kind = body.get("kind", "transaction")
    ticket.kind = str(kind)
    if kind == "transaction":
        if "kind" in body:
            body = {name: value for name, value in body.items() if name != "kind"}
        found = door.admit(body)
        if found.row is None:
            ticket.refuse(refused(found.refusals))
            return
        ticket.row = found.row
        ask(ticket)
        return
    if kind not in ("label", "profile"):
        ticket.refuse(at_fault("kind", "kind.unknown", "must be transaction, label or profile"))
    elif intake is None:
        ticket.refuse(UnavailableError("labels and profiles are not taken here", retry_after_s=60))
    elif kind == "profile":
        intake.profile({name: value for name, value in body.items() if name != "kind"}, ticket)
    elif not labels:
        ticket.refuse(ForbiddenError("a label needs an API key with the scope feedback", field="kind"))
    else:
        intake.label({name: value for name, value in body.items() if name != "kind"}, ticket)


class Many:
    """A list of events under way; `done` is called once, when all of them are in the log or refused.

    turned_away: why payments that come now are refused, if they are: asked for some rows at a time, so that a list is not refused because of
    its own length. take: queues one that is not. The next rows are admitted when those before them were told what became of them.
    """

    def __init__(
        self,
        bodies: list[Any],
        admit: Callable[[Any, Event, Callable[[Event], None]], None],
        turned_away: Callable[[], UnavailableError | None],
        take: Callable[[Event], None],
        now_us: Callable[[], int],
        soon: Callable[[Callable[[], None]], object],
        done: Callable[[AbsorbedMany | FraudloopError], None],
    ) -> None:
        self._bodies, self._admit, self._turned_away, self._take = bodies, admit, turned_away, take
        self._now_us, self._soon, self._done = now_us, soon, done
        self._at = self._told_of = 0
        self._absorbed = 0
        self._refused = 0
        self._errors: list[FieldError] = []
        self._unavailable: FraudloopError | None = None

    def turn(self) -> None:
        """Admit some more."""
        begin, self._at = self._at, min(len(self._bodies), self._at + HTTP_BATCH_ROWS_A_TURN)
        received_us, away = self._now_us(), self._turned_away()
        ask = self._take if away is None else _refusing(away)
        for at in range(begin, self._at):
            self._admit(self._bodies[at], Event("transaction", received_us, self._told(at)), ask)

    def _told(self, at: int) -> Callable[[Absorbed | FraudloopError], None]:
        def told(what: Absorbed | FraudloopError) -> None:
            if isinstance(what, Absorbed):
                self._absorbed += 1
            else:
                problem = problem_of(what)
                if problem.status >= 500:
                    self._unavailable = what
                self._refused += 1
                self._errors += [
                    FieldError(e.field, e.rule, e.reason, at)
                    for e in problem.errors or (FieldError("body", "body.refused", problem.detail),)
                ]
            self._told_of += 1
            if self._told_of < self._at:
                return
            if self._at < len(self._bodies):
                self._soon(self.turn)
            else:
                self._errors.sort(key=lambda e: e.index or 0)
                self._done(self._unavailable or AbsorbedMany(self._absorbed, self._refused, self._errors))

        return told


def _refusing(error: FraudloopError) -> Callable[[Event], None]:
    return lambda ticket: ticket.refuse(error)

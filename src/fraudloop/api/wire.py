"""What goes over the wire: answers and problems as JSON. It translates from records; nothing inside sees these types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np

from fraudloop.domain.outcome import Outcome
from fraudloop.ledger.records import Decision, Transacted

PROBLEM: Final = b"application/problem+json"


class Reason(msgspec.Struct, frozen=True):
    """Why: a stable code, a line for people, the contribution in log-odds (null for rules and lists) and where it comes from."""

    code: str
    text: str
    contribution: float | None
    source: str


class Versions(msgspec.Struct, frozen=True):
    """What decided: hashes of model, rules, policy and plan, and the build that computed it."""

    model: str | None
    rules: str
    policy: str
    plan: str
    build: str


class Answer(msgspec.Struct, frozen=True):
    """The answer of `POST /score_transaction`."""

    transaction_id: str
    decision: str
    fraud_score: float | None
    risk_score: float | None
    tier: str
    reasons: list[Reason] | str
    explanation: str
    degraded: bool
    degraded_why: list[str]
    missing_features: Sequence[str]
    versions: Versions
    latency_ms: float


_OUTCOMES: Final = tuple(outcome.text for outcome in Outcome)
_encode = msgspec.json.Encoder().encode


class Answers:
    """Makes answers of records, given the names of the features of each plan."""

    def __init__(self) -> None:
        self._names: dict[str, tuple[str, ...]] = {}
        self._missing: dict[tuple[str, bytes], tuple[str, ...]] = {}
        self._versions: dict[tuple[Any, ...], Versions] = {}

    def plan(self, plan: str, names: Sequence[str]) -> None:
        """What the columns of a plan's vectors are."""
        self._names[plan] = tuple(names)

    def answer(self, transaction_id: str, d: Decision) -> Answer:
        key = (d.model, d.rules, d.policy, d.plan, d.build)
        versions = self._versions.get(key)
        if versions is None:
            versions = self._versions[key] = Versions(*key)
        reasons: list[Reason] | str = [Reason(r.code, r.text, r.contribution, r.source) for r in d.reasons]
        if d.deferred and not reasons:
            reasons = "deferred"
        return Answer(
            transaction_id, _OUTCOMES[d.outcome], d.fraud_score, d.risk_score, _OUTCOMES[d.tier], reasons, "deferred" if d.deferred else d.method,
            bool(d.why), list(d.why), self.missing(d.plan, d.vector), versions, d.latency_us / 1_000,
        )  # fmt: skip

    def encode(self, record: Transacted) -> bytes:
        """The body of the answer of a decided payment."""
        assert record.decision is not None, "only decisions are answered"
        return _encode(self.answer(str(record.row[0]), record.decision))

    def missing(self, plan: str, vector: bytes) -> tuple[str, ...]:
        """The names of the features that a vector lacks."""
        absent = np.isnan(np.frombuffer(vector, np.float64))
        key = (plan, np.packbits(absent).tobytes())
        found = self._missing.get(key)
        if found is None:
            if len(self._missing) > 4_096:
                self._missing.clear()
            names = self._names.get(plan, ())
            found = self._missing[key] = tuple(name for name, gone in zip(names, absent, strict=False) if gone)
        return found


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as RFC 9457 has it. type: `about:blank` or a path into the reference; errors: the fields at fault."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] = []


def problem(status: int, title: str, detail: str, errors: Sequence[dict[str, str]] = (), kind: str = "about:blank") -> bytes:
    """The body of an error."""
    return _encode(Problem(kind, title, status, detail, list(errors)))

"""What goes over the wire, as JSON: bodies and answers of every route. It translates from records; nothing inside sees these types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np

from fraudloop.api.problems import FieldError
from fraudloop.domain.outcome import Outcome
from fraudloop.ledger.records import Decision, Transacted

Word = Literal["approve", "challenge", "review", "decline"]


class Reason(msgspec.Struct, frozen=True, gc=False):
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
    """The answer of `POST /score_transaction`.

    fraud_score: the calibrated chance of fraud, null without a model. risk_score: the same with the score changes of rules. tier: what the
    policy makes of risk_score alone. reasons: `deferred` where they are computed when the decision is read. explanation: by which method.
    degraded_why: what was not as it should be. observe: true where it was made beside a system that decides, so that nothing is to be done on it. missing_features: those that the payment or its history did not give. latency_ms: from
    arrival to the log.
    """

    transaction_id: str
    decision: Word
    fraud_score: float | None
    risk_score: float | None
    tier: Word
    reasons: list[Reason] | Literal["deferred"]
    explanation: str
    degraded: bool
    degraded_why: list[str]
    missing_features: Sequence[str]
    versions: Versions
    latency_ms: float
    slot: Literal["champion", "canary"] = "champion"
    observe: bool = False


class Decided(msgspec.Struct, frozen=True):
    """A decision as the log has it. transaction: canonical, times in microseconds since 1970 UTC. features: what the decision saw, null where
    missing. label: the last word about it, null while there is none. decision: null if the payment was only absorbed."""

    transaction_id: str
    lsn: int
    received_at: str
    transaction: dict[str, str | int | float | bool | None]
    decision: Answer | None
    features: dict[str, float | None]
    label: Told | None = None


class Told(msgspec.Struct, frozen=True):
    """The last label of a payment. in_force: whether the payment counts as fraud after it."""

    lsn: int
    is_fraud: bool
    source: str
    known_at: str
    reason: str | None
    in_force: bool


class Absorbed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was taken into the log without a decision. lsn: its position there."""

    absorbed: bool
    lsn: int
    kind: str
    transaction_id: str | None = None


class AbsorbedMany(msgspec.Struct, frozen=True):
    """What became of a list of events: how many are in the log now, how many were refused, and why by index."""

    absorbed: int
    refused: int
    errors: list[FieldError]


class Feedback(msgspec.Struct, frozen=True):
    """What became of a label. in_force: whether the payment counts as fraud after it, null while the payment is not known (parked)."""

    transaction_id: str
    lsn: int | None
    parked: bool = False
    in_force: bool | None = None


class Prediction(msgspec.Struct, frozen=True):
    """The answer of `POST /predict`.

    fraud_probability: calibrated. is_fraud: whether it reaches the threshold of the policy in force. confidence: the chance that `is_fraud` is
    right, which is fraud_probability or 1 minus it. missing_features: inputs of the model that were not brought.
    """

    is_fraud: bool
    fraud_probability: float
    confidence: float
    model_version: str
    missing_features: Sequence[str]


class Predictions(msgspec.Struct, frozen=True):
    """The answer of `POST /predict/batch`: one prediction for each row, in order."""

    predictions: list[Prediction]


class Health(msgspec.Struct, frozen=True):
    """How the service is. live: the loop turns. ready: it takes payments. why: what is degraded. role: `active` or `standby`. lsn: up to
    which the log is on disk. queue: payments that wait. lag_ms: how long the oldest of them, or the flush under way, has been waiting."""

    live: bool
    ready: bool
    degraded: bool
    why: Sequence[str]
    role: str
    lsn: int
    queue: int
    lag_ms: float
    version: str = ""
    pid: int = 0


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who publishes and why; expected: the hash that has to be in force until now, null for any."""

    who: str
    why: str
    expected: str | None = None


class PutRules(Command, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole set of rules, as the TOML file has it."""

    rules: dict[str, Any]


class PutPolicy(Command, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole policy."""

    policy: dict[str, Any]


class PutList(Command, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All words of a named list that rules look words up in."""

    entries: list[str]


class PutEntry(Command, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An entry of the block, allow or watch list. entity: what the id is of. expires_at: RFC 3339, null for never."""

    entity: str
    id: str
    expires_at: str | None = None


class PutModel(Command, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a slot (champion, challenger, canary) is to hold: a bundle of the store by hash or NAME@ALIAS, null to empty it. share: of a canary."""

    model: str | None
    share: float | None = None


class Erase(Command, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whose personal fields are to become unreadable."""

    customer_id: str


class Listing(msgspec.Struct, frozen=True):
    """A row of a page of payments, as the index has it; personal fields stand in the log alone. time, received_at: UTC. decision and what
    follows it: null where the payment was only absorbed."""

    transaction_id: str
    lsn: int
    received_at: str
    timestamp: str
    merchant_id: str | None
    amount_base: int | None
    decision: Word | None
    tier: Word | None
    fraud_score: float | None
    risk_score: float | None
    versions: Versions | None


class Page(msgspec.Struct, frozen=True):
    """Payments, newest first. before_lsn: of the next page, null on the last. indexed_lsn: what arrived below it is in the index; what came
    since is not on the page yet."""

    decisions: list[Listing]
    before_lsn: int | None
    indexed_lsn: int


class Commanded(msgspec.Struct, frozen=True):
    """What a command became. lsn: from where on it holds. hash: of what is in force now. diff: what changed, line by line."""

    lsn: int
    hash: str | None
    diff: list[str]


_OUTCOMES: Final = tuple(outcome.text for outcome in Outcome)
_encoder: Final = msgspec.json.Encoder()
_encode, _encode_into = _encoder.encode, _encoder.encode_into
_floats, _isnan = np.frombuffer, np.isnan


class _Usual(msgspec.Struct, frozen=True, gc=False):
    """`Answer` of a decision that nothing degraded, with neighbouring fields as one piece of JSON, for they come again and again: the same
    bytes in half the time. explanation: and what follows it up to `versions`. slot: and `observe`."""

    transaction_id: str
    decision: str
    fraud_score: float | None
    risk_score: float | None
    tier: str
    reasons: list[Reason] | str
    explanation: msgspec.Raw
    latency_ms: float
    slot: msgspec.Raw


def _unknown(plan: str) -> Sequence[str]:
    return ()


class Answers:
    """Makes answers of records, given the names of the features of each plan."""

    def __init__(self) -> None:
        self._names: dict[str, tuple[str, ...]] = {}
        #: Gives the names of a plan that was not told of yet; none where nobody knows it.
        self.look_up: Callable[[str], Sequence[str]] = _unknown
        self._missing: dict[tuple[str, bytes], tuple[tuple[str, ...], msgspec.Raw]] = {}
        self._versions: dict[tuple[Any, ...], msgspec.Raw] = {}
        self._usual: dict[tuple[Any, ...], tuple[msgspec.Raw, msgspec.Raw]] = {}
        self._buffer = bytearray()
        #: Records that are about to be answered, and the bodies of their answers by the record's `id`: no other object has it meanwhile.
        self._expected: Sequence[Transacted] = ()
        self._ready: dict[int, bytes] = {}

    def plan(self, plan: str, names: Sequence[str]) -> None:
        """What the columns of a plan's vectors are."""
        self._names[plan] = tuple(names)

    def names(self, plan: str) -> tuple[str, ...]:
        """The columns of a plan's vectors; none where nobody knows the plan."""
        found = self._names.get(plan)
        if found is None:
            found = tuple(self.look_up(plan))
            if found:
                self._names[plan] = found
        return found

    def answer(self, transaction_id: str, d: Decision, reasons: Sequence[Any] | None = None) -> Answer:
        """reasons: those of a decision whose own were deferred, where they have been computed since."""
        deferred = d.deferred and reasons is None
        told = d.reasons if reasons is None else reasons
        return Answer(
            transaction_id, _OUTCOMES[d.outcome], d.fraud_score, d.risk_score, _OUTCOMES[d.tier],  # type: ignore[arg-type]
            "deferred" if deferred and not told else [Reason(r.code, r.text, r.contribution, r.source) for r in told],
            "deferred" if deferred else d.method, bool(d.why), list(d.why), self.missing(d.plan, d.vector)[0],
            Versions(d.model, d.rules, d.policy, d.plan, d.build), d.latency_us / 1_000, d.slot, d.observe,  # type: ignore[arg-type]
        )  # fmt: skip

    def ahead(self, records: Sequence[Transacted]) -> None:
        """These will be answered now: make the bodies together, sooner than one by one. Of none: those of before are let go."""
        self._expected, self._ready = records, {}
        decided = [(record, record.decision) for record in records if record.decision is not None]
        vectors = [d.vector for _, d in decided]
        if len({*map(len, vectors)}) != 1:
            return
        try:
            raw = _isnan(_floats(b"".join(vectors))).tobytes()
            width = len(raw) // len(vectors)
            for begin, (record, d) in zip(range(0, len(raw), width), decided, strict=True):
                self._ready[id(record)] = self._body(record.row[0], d, raw[begin : begin + width])
        except (TypeError, ValueError, LookupError):
            return  # one that cannot be written is no harm to the others: `encode` says so when it is its turn

    def encode(self, record: Transacted) -> bytes:
        """The body of the answer of a decided payment: `answer` as JSON."""
        found = self._ready.get(id(record))
        if found is not None:
            return found
        d = record.decision
        assert d is not None, "only decisions are answered"
        return self._body(record.row[0], d, _isnan(_floats(d.vector)).tobytes())

    def _body(self, transaction_id: Any, d: Decision, absent: bytes) -> bytes:
        """absent: a byte for each feature, 1 where it is missing."""
        if d.why:
            return _encode(self.answer(transaction_id, d))
        deferred, told = d.deferred, d.reasons
        reasons: list[Reason] | str = (
            "deferred" if deferred and not told else [Reason(r.code, r.text, r.contribution, r.source) for r in told]
        )
        key = (absent, d.model, d.rules, d.policy, d.plan, d.build, d.method, deferred, d.slot, d.observe)
        usual = self._usual.get(key) or self._pieces(key, d)
        _encode_into(
            _Usual(transaction_id, _OUTCOMES[d.outcome], d.fraud_score, d.risk_score, _OUTCOMES[d.tier], reasons, usual[0], d.latency_us / 1_000, usual[1]),
            self._buffer,
        )  # fmt: skip
        return bytes(self._buffer)

    def _pieces(self, key: tuple[Any, ...], d: Decision) -> tuple[msgspec.Raw, msgspec.Raw]:
        """What stands in `_Usual` as JSON."""
        found = (
            msgspec.Raw(
                b'%b,"degraded":false,"degraded_why":[],"missing_features":%b,"versions":%b'
                % (_encode("deferred" if d.deferred else d.method), self.missing(d.plan, d.vector)[1], self._versions_of(d))
            ),
            msgspec.Raw(b'%b,"observe":%b' % (_encode(d.slot), _encode(d.observe))),
        )
        if d.plan in self._names:  # what a plan that nobody knows yet lacks may be known later
            if len(self._usual) > 4_096:
                self._usual.clear()
            self._usual[key] = found
        return found

    def _versions_of(self, d: Decision) -> msgspec.Raw:
        key = (d.model, d.rules, d.policy, d.plan, d.build)
        versions = self._versions.get(key)
        if versions is None:
            if len(self._versions) > 1_024:
                self._versions.clear()
            versions = self._versions[key] = msgspec.Raw(_encode(Versions(*key)))
        return versions

    def missing(self, plan: str, vector: bytes) -> tuple[tuple[str, ...], msgspec.Raw]:
        """The names of the features that a vector lacks, and the same as JSON."""
        absent = np.isnan(np.frombuffer(vector))
        key = (plan, absent.tobytes())
        found = self._missing.get(key)
        if found is None:
            names = tuple(name for name, gone in zip(self.names(plan), absent, strict=False) if gone)
            found = (names, msgspec.Raw(_encode(names)))
            if plan in self._names:
                if len(self._missing) > 4_096:
                    self._missing.clear()
                self._missing[key] = found
        return found

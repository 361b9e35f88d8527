"""What a record of the log says: one kind of event each, as MessagePack arrays with a number for the kind.

Plain values only: names, numbers, texts. The row of a payment stands in the order of columns that the last `Configured`
before it gave. Kinds and places of fields are a contract with every log written: fields are added at the end, with a
default, and numbers are never used again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from fraudloop.errors import LedgerError

Value: TypeAlias = str | int | float | bool | None


class Reason(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One reason of a decision, as it was answered. source: the feature, the rule or the list it comes from. share: of the absolute
    contributions of all columns, 0 for people's reasons."""

    code: str
    text: str
    contribution: float | None
    source: str
    share: float = 0.0


class Decision(msgspec.Struct, array_like=True, frozen=True):
    """What was decided of a payment, and on what.

    outcome, tier: numbers of `domain.outcome.Outcome`. decided: what settled it (`decisions.decide.Decided`). fraud_score,
    risk_score: None without a model. hits: ids of live rules that hit. reasons: as answered; deferred: the model's were not
    computed in time and are made when the decision is read. why: what was
    degraded, empty if nothing was. vector: the features as float64, little endian, in the order of the plan. status, approximate: of
    the vector (`features.fold.Vectors`). model, rules, policy, plan: hashes; build: what computed it. slot: `champion` or `canary`.
    control: the chance with which it was let through for control, None if it was not. latency_us: from arrival to the log. observe: it
    was made beside a system that decides, and nothing was to be done on it.
    """

    outcome: int
    tier: int
    decided: int
    fraud_score: float | None
    risk_score: float | None
    hits: Sequence[str]
    reasons: Sequence[Reason]
    deferred: bool
    why: Sequence[str]
    vector: bytes
    status: int
    approximate: int
    model: str | None
    rules: str
    policy: str
    plan: str
    build: str
    slot: str = "champion"
    control: float | None = None
    latency_us: int = 0
    method: str = ""
    observe: bool = False


class Configured(msgspec.Struct, array_like=True, frozen=True, tag=0):
    """From here on rows of payments have these columns, in this order, and ids are hashed with the key of this fingerprint.

    types: of the columns, as `domain.transaction.TRANSACTION_SCHEMA` has them; empty in logs that did not say. sealed: columns whose
    values stand in `personal` and are None in the row. hashed: those of them whose hashes stand in `hashes`, in this order.
    """

    columns: Sequence[str]
    key_id: str
    types: Sequence[str] = ()
    sealed: Sequence[str] = ()
    hashed: Sequence[str] = ()


class Transacted(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """A payment and, unless it was only absorbed, its decision. row: canonical values by the columns in force; times in
    microseconds since 1970 UTC. personal: the sealed values (`ledger.personal`), empty if none are. hashes: 16 bytes for each hashed
    column, zeros for null: what the fold needs of them."""

    row: Sequence[Value]
    received_us: int
    decision: Decision | None = None
    personal: bytes = b""
    hashes: bytes = b""


class Labelled(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """A label joined to its payment, and what is in force after it.

    lsn: of the payment. is_fraud, source, known_us, reason: as it was told. before, after: the label in force, 0 or 1.
    time_us: when the label in force after it became known. before_known_us: the same of the one before, None if that was not fraud. rank: of
    the label in force after it (`domain.label.SOURCE_RANKS`). row, hashes, payment_received_us: of the payment, so that nothing is looked up.
    """

    lsn: int
    transaction_id: str
    is_fraud: bool
    source: str
    known_us: int
    reason: str | None
    received_us: int
    before: int
    after: int
    time_us: int
    before_known_us: int | None
    rank: int
    row: Sequence[Value] = ()
    hashes: bytes = b""
    payment_received_us: int = 0


class Profiled(msgspec.Struct, array_like=True, frozen=True, tag=3):
    """What is known of an entity from `time` on: the canonical profile by name. personal: its sealed values; hashes: 16 bytes, of its id."""

    row: dict[str, Value]
    received_us: int
    personal: bytes = b""
    hashes: bytes = b""


class Listed(msgspec.Struct, array_like=True, frozen=True, tag=4):
    """An entry of a list was set or taken away. list: `block`, `allow`, `watch` or a named list. entity: what the id is of
    (`customer`, `merchant`, `device`, `card`, `ip`), or `word` in a named list. expires_us: None for never. removed: taken away."""

    list: str
    entity: str
    id: str
    expires_us: int | None
    removed: bool
    who: str
    why: str
    received_us: int


class Activated(msgspec.Struct, array_like=True, frozen=True, tag=5):
    """Something that decides was put in force. what: `rules`, `policy`, `lists`, `features`, or a slot: `champion`, `challenger`,
    `canary`; or `mode`: `decide` or `observe`. hash: of its content, None where the slot is empty now. body: the content itself; a bundle
    stays in the store, and its body says what else holds of the slot: `share` of a canary's customers, `taken_back`: the bundle that a
    guard took out of it."""

    what: str
    hash: str | None
    body: dict[str, Any]
    who: str
    why: str
    received_us: int


class Changed(msgspec.Struct, array_like=True, frozen=True, tag=6):
    """The mode of the service changed, or a guard tripped. what: `mode` or `guard`. name, state: which, and to what."""

    what: str
    name: str
    state: str
    why: str
    received_us: int


class Erased(msgspec.Struct, array_like=True, frozen=True, tag=7):
    """The personal fields of one subject are unreadable from here on. subject: its hash, 16 bytes. generation: of the key that was
    destroyed (`ledger.personal`). Whoever opens the vault beside this log sees to it that it is."""

    subject: bytes
    generation: int
    who: str
    why: str
    received_us: int


Record: TypeAlias = Configured | Transacted | Labelled | Profiled | Listed | Activated | Changed | Erased

_encoder = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Record)


def encode(record: Record) -> bytes:
    """The bytes of a record."""
    return _encoder.encode(record)


def decode(data: bytes | memoryview) -> Record:
    """The record of these bytes; LedgerError if they are none, or of a newer kind.

    >>> decode(encode(Configured(("transaction_id",), "k"))).columns
    ['transaction_id']
    """
    try:
        record: Record = _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise LedgerError(f"a record of the log is not understood ({error}); it was written by a newer fraudloop, or damaged") from error
    return record


def encode_all(records: Iterable[Record]) -> list[bytes]:
    """The bytes of each record."""
    return [*map(_encoder.encode, records)]


def kind_of(data: bytes) -> int:
    """The tag of a record without decoding it; -1 if these are no bytes of one.

    >>> kind_of(encode(Changed("mode", "service", "decide", "", 1)))
    6
    """
    at = 1 if data[:1] and 0x90 <= data[0] <= 0x9F else 3
    return data[at] if len(data) > at else -1


#: Tags of records that may be many: payments, labels, profiles. All others are control records.
MANY: Final = frozenset({1, 2, 3})


def decode_all(records: Iterable[bytes]) -> list[Record]:
    """The records of a group."""
    return [decode(data) for data in records]

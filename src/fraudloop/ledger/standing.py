"""What stands when a record is read: columns of rows, what is sealed, names of features. A fold over records; it knows no file."""

from __future__ import annotations

from typing import Any

import msgspec

from fraudloop.domain.definitions import FeatureSet
from fraudloop.ledger.records import Activated, Configured, Record, Transacted, Value


class Standing(msgspec.Struct, frozen=True):
    """columns, types, sealed, hashed, key_id: of the last `Configured`. features: names in the order of vectors, of the last
    `Activated` of features; plan: its hash.

    >>> Standing().after(Configured(("transaction_id", "amount_minor"), "k")).columns
    ('transaction_id', 'amount_minor')
    """

    columns: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    sealed: tuple[str, ...] = ()
    hashed: tuple[str, ...] = ()
    key_id: str = ""
    features: tuple[str, ...] = ()
    plan: str = ""

    def after(self, record: Record) -> Standing:
        """What stands for the record after this one."""
        if isinstance(record, Configured):
            return msgspec.structs.replace(
                self,
                columns=tuple(record.columns), types=tuple(record.types), sealed=tuple(record.sealed), hashed=tuple(record.hashed),
                key_id=record.key_id,
            )  # fmt: skip
        if isinstance(record, Activated) and record.what == "features":
            names = FeatureSet.from_dict(record.body).names
            return msgspec.structs.replace(self, features=names, plan=record.hash or "")
        return self

    def row(self, record: Transacted) -> dict[str, Value]:
        """The canonical row of a payment by name; sealed values are None."""
        return dict(zip(self.columns, record.row, strict=True))

    def encode(self) -> bytes:
        """The inverse of :meth:`decode`."""
        return msgspec.json.encode(self)

    @staticmethod
    def decode(data: bytes | memoryview | str) -> Standing:
        return msgspec.json.decode(data, type=Standing)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        out: dict[str, Any] = msgspec.to_builtins(self)
        return out

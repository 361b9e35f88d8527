"""What stands when a record is read: columns of rows, what is sealed, names of features. A fold over records.

Retention removes records that later ones are read by, so it leaves beside the log what stands at its first one: `begin.json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from fraudloop.domain.definitions import FeatureSet
from fraudloop.errors import LedgerError
from fraudloop.ledger.files import Files
from fraudloop.ledger.log import Group, segments
from fraudloop.ledger.records import MANY, Activated, Configured, Record, Transacted, Value, decode, kind_of

BEGIN: Final = "begin.json"


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


def standing_after(standing: Standing, groups: Iterable[Group], until_lsn: int | None = None) -> Standing:
    """What stands for the record at `until_lsn`, or after all groups. Payments are not decoded."""
    for group in groups:
        for lsn, data in enumerate(group.records, group.first_lsn):
            if until_lsn is not None and lsn >= until_lsn:
                return standing
            if kind_of(data) not in MANY:
                standing = standing.after(decode(data))
    return standing


class _Begins(msgspec.Struct, frozen=True):
    """By first LSN of the log."""

    at: dict[str, Standing]


def begin_of(files: Files) -> Standing:
    """What stands at the first LSN of a log; LedgerError if retention has removed what was before and did not leave it."""
    row = segments(files)
    if not row or row[0].first_lsn == 0:
        return Standing()
    found = _begins(files).at.get(str(row[0].first_lsn))
    if found is None:
        raise LedgerError(
            f"{BEGIN} does not say what stands at LSN {row[0].first_lsn}, where the log begins; restore it from a copy",
            lsn=row[0].first_lsn,
        )
    return found


def leave_begins(files: Files, begins: Mapping[int, Standing]) -> None:
    """Write what stands at each LSN that the log may begin at while its oldest segments are removed one by one; what was written for the
    present beginning stays until then."""
    row = segments(files)
    now = str(row[0].first_lsn) if row else "0"
    kept = {at: held for at, held in _begins(files).at.items() if at == now}
    files.create(BEGIN, msgspec.json.encode(_Begins(kept | {str(lsn): standing for lsn, standing in begins.items()})) + b"\n")


def _begins(files: Files) -> _Begins:
    if BEGIN not in files.names():
        return _Begins({})
    try:
        return msgspec.json.decode(files.read(BEGIN, 0, files.size(BEGIN)), type=_Begins)
    except msgspec.MsgspecError as error:
        raise LedgerError(f"{BEGIN}: damaged; restore it from a copy") from error

"""The bytes of a segment: its header, and the record groups after it. Pure: values in, bytes out, and back.

    segment  magic, schema, epoch, first LSN, id of the log, digest of the group before it, digest of this header
    group    magic, payload bytes, first LSN, records, epoch, LSN known to be on disk, crc of these; digest; payload
    payload  for each record its length in 4 bytes and its bytes

A group's digest is SHA-256 over the digest before it, its own header and its payload. So it is checksum and chain in
one: a torn group does not match, and no group can be changed, left out or exchanged without all later ones showing it.
Numbers are little endian.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from fraudloop.errors import LedgerError
from fraudloop.limits import LOG_GROUP_BYTES_MAX, LOG_RECORD_BYTES_MAX, LOG_RECORDS_MAX

#: 1, of before the first release, had digests by BLAKE2b.
SCHEMA: Final = 2
DIGEST_BYTES: Final = sha256().digest_size
LOG_ID_BYTES: Final = 16

_SEGMENT_MAGIC = b"fraudlog"
_SEGMENT = struct.Struct("<8sIIQ16s32s")
SEGMENT_BYTES: Final = _SEGMENT.size + DIGEST_BYTES

GROUP_MAGIC: Final = b"\x8bFLG"
_GROUP = struct.Struct("<4sIQIIQ")
_CRC = struct.Struct("<I")
_LENGTH = struct.Struct("<I")
HEADER_BYTES: Final = _GROUP.size + _CRC.size + DIGEST_BYTES


def genesis(log_id: bytes) -> bytes:
    """The digest before the first group of a log, 32 bytes: no two logs have a group with the same digest."""
    return _digest(log_id)


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """epoch: of the writer that began it. first_lsn: of its first record. log_id: 16 bytes, the same in every segment
    of a log. before: digest of the last group of the segment before it."""

    epoch: int
    first_lsn: int
    log_id: bytes
    before: bytes

    def encode(self) -> bytes:
        body = _SEGMENT.pack(_SEGMENT_MAGIC, SCHEMA, self.epoch, self.first_lsn, self.log_id, self.before)
        return body + _digest(body)

    @staticmethod
    def decode(data: bytes, where: str) -> SegmentHeader:
        """LedgerError if these are not the bytes of a header, or of a newer schema."""
        if len(data) < SEGMENT_BYTES or data[:8] != _SEGMENT_MAGIC:
            raise LedgerError(f"{where}: not a segment of a log; restore the file from a copy")
        _, schema, epoch, first_lsn, log_id, before = _SEGMENT.unpack_from(data)
        if schema == 1:
            raise LedgerError(f"{where}: of log schema 1, from before the first release, which is no longer read; begin a new log")
        if _digest(data[: _SEGMENT.size]) != data[_SEGMENT.size : SEGMENT_BYTES]:
            raise LedgerError(f"{where}: not a segment of a log, or its header is damaged; restore the file from a copy")
        if schema > SCHEMA:
            raise LedgerError(f"{where}: written with log schema {schema}, this version reads up to {SCHEMA}; update fraudloop")
        return SegmentHeader(epoch, first_lsn, log_id, before)


@dataclass(frozen=True, slots=True)
class GroupHeader:
    """payload_bytes: after the header. first_lsn, count: its records have first_lsn to first_lsn + count - 1. durable_lsn: every record
    below it was on disk when the group was written. digest: of the group and all before it."""

    payload_bytes: int
    first_lsn: int
    count: int
    epoch: int
    durable_lsn: int
    digest: bytes

    @property
    def next_lsn(self) -> int:
        return self.first_lsn + self.count

    @property
    def group_bytes(self) -> int:
        return HEADER_BYTES + self.payload_bytes


def encode_group(records: Sequence[bytes], first_lsn: int, epoch: int, durable_lsn: int, before: bytes) -> tuple[bytes, bytes]:
    """The group's bytes and its digest. Who appends keeps to the limits (assertions)."""
    assert 0 < len(records) <= LOG_RECORDS_MAX, "a group has 1 to LOG_RECORDS_MAX records"
    lengths = [*map(len, records)]
    assert max(lengths) <= LOG_RECORD_BYTES_MAX, "a record has at most LOG_RECORD_BYTES_MAX bytes"
    parts: list[bytes] = [b""] * (2 * len(records))
    parts[0::2], parts[1::2] = map(_LENGTH.pack, lengths), records
    payload = b"".join(parts)
    assert len(payload) <= LOG_GROUP_BYTES_MAX, "a group has at most LOG_GROUP_BYTES_MAX bytes"
    head = _GROUP.pack(GROUP_MAGIC, len(payload), first_lsn, len(records), epoch, durable_lsn)
    head += _CRC.pack(zlib.crc32(head))
    digest = _digest(before, head, payload)
    return b"".join((head, digest, payload)), digest


def decode_header(data: bytes | memoryview, offset: int = 0) -> GroupHeader | None:
    """The header at `offset`, or None where there is no whole one: its own checksum does not match."""
    if len(data) - offset < HEADER_BYTES:
        return None
    end = offset + _GROUP.size
    if _CRC.unpack_from(data, end)[0] != zlib.crc32(data[offset:end]):
        return None
    magic, payload_bytes, first_lsn, count, epoch, durable_lsn = _GROUP.unpack_from(data, offset)
    if magic != GROUP_MAGIC or payload_bytes > LOG_GROUP_BYTES_MAX or not 0 < count <= LOG_RECORDS_MAX:
        return None
    digest = bytes(data[end + _CRC.size : offset + HEADER_BYTES])
    return GroupHeader(payload_bytes, first_lsn, count, epoch, durable_lsn, digest)


def decode_records(data: bytes | memoryview, header: GroupHeader, before: bytes, offset: int = 0) -> list[bytes] | None:
    """The records of the group at `offset`, or None if its bytes are not those that were written after `before`."""
    head, start = data[offset : offset + _GROUP.size + _CRC.size], offset + HEADER_BYTES
    payload = bytes(data[start : start + header.payload_bytes])
    if len(payload) < header.payload_bytes or _digest(before, bytes(head), payload) != header.digest:
        return None
    return decode_payload(payload, header.count)


def decode_payload(payload: bytes, count: int) -> list[bytes]:
    """The records of a payload whose digest was seen to match."""
    records, at = [], 0
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(payload, at)
        records.append(payload[at + _LENGTH.size : at + _LENGTH.size + length])
        at += _LENGTH.size + length
    assert at == len(payload), "the payload is its records"
    return records


def decode_one(payload: bytes, number: int) -> bytes:
    """One record of a payload; those before it are stepped over."""
    at = 0
    for _ in range(number):
        at += _LENGTH.size + int.from_bytes(payload[at : at + 4], "little")
    (length,) = _LENGTH.unpack_from(payload, at)
    return payload[at + _LENGTH.size : at + _LENGTH.size + length]


def _digest(*parts: bytes) -> bytes:
    hashed = sha256()
    for part in parts:
        hashed.update(part)
    return hashed.digest()

"""The log: one order of all events, on disk before anybody is answered. It knows bytes, not what they mean.

    writer   Log.open(files) ─▶ append(epoch, records) -> LSN ... flush() -> everything below this LSN is on disk
    reader   Reader(files, from_lsn).read() ─▶ groups, as they come; beside a writer or alone

A log is a row of segments. Records have positions (LSN) without gaps from 0 on. `append` writes a group, `flush` makes
all groups so far durable (group commit); both may run in different threads, each in one at a time. A writer begins a
segment of its own with an epoch above all before it; from then on what an older writer still writes does not count, and
its next `flush` fails, so it answers nothing any more.

After a crash the end of the last segment may be torn. It is cut at the first group whose digest does not match, but
only if nothing says that the group was once on disk: each group states up to which LSN its writer had flushed. Where
that is proven the file is damaged, not torn, and is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from fraudloop.errors import FencedError, LedgerError
from fraudloop.ledger.files import Files
from fraudloop.ledger.groups import (
    GROUP_MAGIC,
    HEADER_BYTES,
    LOG_ID_BYTES,
    SEGMENT_BYTES,
    GroupHeader,
    SegmentHeader,
    decode_header,
    decode_records,
    encode_group,
    genesis,
)
from fraudloop.limits import LOG_AHEAD_BYTES, LOG_GROUP_BYTES_MAX, LOG_SEGMENT_BYTES
from fraudloop.telemetry import Progress, silent

_EPOCH: Final = "epoch.json"
_SUFFIX: Final = ".segment"

#: Locks: of the writer while it lives, and of the moment in which an epoch is taken.
_WRITER: Final = "writer"
_OPENING: Final = "opening"

#: Bytes read at once; a whole group always fits.
_READ_BYTES: Final = max(4 * 1024 * 1024, 2 * LOG_GROUP_BYTES_MAX)


@dataclass(frozen=True, slots=True)
class Group:
    """Records that were appended together. first_lsn: of the first of them. segment, offset: where they lie. durable_lsn: everything
    below it was on disk when the group was written. digest: of the group and all before it."""

    first_lsn: int
    epoch: int
    records: tuple[bytes, ...]
    segment: str = ""
    offset: int = 0
    durable_lsn: int = 0
    digest: bytes = b""

    @property
    def next_lsn(self) -> int:
        return self.first_lsn + len(self.records)


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment's file and what its name says."""

    name: str
    first_lsn: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Verified:
    """What was checked: segments, groups, records, the LSNs [first, next), and the digest that stands for all of it. log_id: hex. torn_bytes:
    at the end, of a group that is being written or that a crash cut; nobody was answered on it."""

    segments: int
    groups: int
    records: int
    first_lsn: int
    next_lsn: int
    digest: str
    log_id: str = ""
    torn_bytes: int = 0


class Log:
    """The one writer of a log.

    >>> from fraudloop.ledger.simulated import SimulatedFiles
    >>> log = Log.open(SimulatedFiles())
    >>> log.append(log.epoch, [b"a", b"b"]), log.append(log.epoch, [b"c"]), log.flush()
    (0, 2, 3)
    >>> [group.records for group in Reader(log.files).read()]
    [(b'a', b'b'), (b'c',)]
    """

    def __init__(self, files: Files, log_id: bytes, epoch: int, next_lsn: int, digest: bytes, segment_bytes: int, ahead_bytes: int) -> None:
        self.files, self.epoch, self.next_lsn, self.durable_lsn = files, epoch, next_lsn, next_lsn
        self._log_id, self._digest, self._segment_bytes, self._ahead_bytes = log_id, digest, segment_bytes, ahead_bytes
        self._stamp: tuple[int, ...] = ()
        #: The segment that is written, its bytes so far, and the length of its file: zeros may lie behind the bytes.
        self._segment, self._size, self._length = "", 0, 0
        self._ended: str | None = None
        #: The segment and offset of the group appended last.
        self.place: tuple[str, int] = ("", 0)

    @staticmethod
    def open(
        files: Files,
        *,
        take_over: bool = False,
        segment_bytes: int = LOG_SEGMENT_BYTES,
        ahead_bytes: int = 0,
        random: Callable[[int], bytes] = os.urandom,
    ) -> Log:
        """Become the writer: fence older ones off, cut a torn end, begin a segment.

        take_over: also while another process still holds the log, which then cannot answer any more. ahead_bytes: of zeros that are
        kept at the end of the segment, for who flushes often; they are cut when it is finished. LedgerError: another writer
        holds it, or a file is damaged.
        """
        try:
            if take_over:
                # Whoever is taken over from is dead as a rule, and then nobody else may come in uncalled.
                with contextlib.suppress(LedgerError):
                    files.lock(_WRITER)
            else:
                files.lock(_WRITER)
            files.lock(_OPENING)
            return Log._opened(files, segment_bytes, ahead_bytes, random)
        except (LedgerError, OSError):
            files.close()  # a lock that is still held would keep the next try out
            raise

    @staticmethod
    def _opened(files: Files, segment_bytes: int, ahead_bytes: int, random: Callable[[int], bytes]) -> Log:
        # The order is the proof: whoever flushed before the new epoch was there is read below; whoever flushes after
        # it finds it and does not answer.
        epoch = _read_epoch(files) + 1
        files.create(_EPOCH, json.dumps({"epoch": epoch}).encode() + b"\n")
        stamp = files.stamp(_EPOCH)
        log_id, next_lsn, digest = _recover(files, random)
        log = Log(files, log_id, epoch, next_lsn, digest, segment_bytes, ahead_bytes)
        log._stamp = stamp
        log._begin()
        files.unlock(_OPENING)
        return log

    def append(self, epoch: int, records: Sequence[bytes]) -> int:
        """Write a group and give the LSN of its first record. It is not durable before `flush`.

        FencedError: `epoch` is not this writer's. LedgerError: the disk refused; the epoch has ended, nothing appended since
        the last `flush` may be answered, and the log must be opened anew.
        """
        self._check(epoch)
        data, digest = encode_group(records, self.next_lsn, self.epoch, self.durable_lsn, self._digest)
        try:
            if self._size + len(data) > self._segment_bytes and self._size > SEGMENT_BYTES:
                self._finish()
                self._begin()
            self.files.write(self._segment, self._size, data)
            self.place = (self._segment, self._size)
            self._size += len(data)
            if self._ahead_bytes and self._size > self._length:
                self._extend()
        except OSError as error:
            raise self._end(f"the log cannot be written ({error.strerror or error})") from error
        first, self.next_lsn = self.next_lsn, self.next_lsn + len(records)
        self._digest = digest
        return first

    def flush(self) -> int:
        """Everything appended before the call is on disk when it returns: all below the LSN that it gives.

        FencedError: another writer has taken over; nothing since the last `flush` may be answered. LedgerError as in `append`.
        """
        self._check(self.epoch)
        target = self.next_lsn
        try:
            # A segment that was finished in between was flushed by `append`, so the present one is all there is.
            self.files.sync(self._segment)
        except OSError as error:
            raise self._end(f"the log cannot be flushed ({error.strerror or error})") from error
        self.end_flush(target)
        return target

    def begin_flush(self) -> tuple[int, int]:
        """For who flushes by himself: the LSN up to which was appended, and the descriptor of the file to be flushed for it."""
        self._check(self.epoch)
        return self.next_lsn, self.files.handle(self._segment)

    def end_flush(self, target: int) -> None:
        """Everything below an LSN was flushed since it was appended. FencedError: another writer has taken over, and nothing since the last
        flush may be answered."""
        self._check(self.epoch)
        try:
            fenced = self.files.stamp(_EPOCH) != self._stamp
        except OSError as error:
            raise self._end(f"the log cannot be flushed ({error.strerror or error})") from error
        if fenced:
            self._ended = "another writer has taken over"
            raise FencedError(epoch=self.epoch)
        self.durable_lsn = max(self.durable_lsn, target)

    def fail_flush(self) -> LedgerError:
        """The error of a flush that the disk refused: the epoch has ended."""
        return self._end("the log cannot be flushed")

    def close(self) -> None:
        """Flush and let go of the log; a second call does nothing."""
        try:
            if self._ended is None:
                self.flush()
                self._finish()
                self._ended = "it was closed"
        finally:
            self.files.close()

    @property
    def digest(self) -> bytes:
        """Of the last group appended and all before it."""
        return self._digest

    def _begin(self) -> None:
        header = SegmentHeader(self.epoch, self.next_lsn, self._log_id, self._digest)
        name = f"{self.next_lsn:020d}-{self.epoch:010d}{_SUFFIX}"
        self.files.create(name, header.encode())
        self.files.write(name, SEGMENT_BYTES, b"")  # opened here, so that a flush in another thread finds it open
        self._segment, self._size, self._length = name, SEGMENT_BYTES, SEGMENT_BYTES

    def _extend(self) -> None:
        """Leave zeros ahead; where the disk has no room for them, what was written is there all the same."""
        self._length = max(self._size, min(self._size + self._ahead_bytes, self._segment_bytes))
        try:
            self.files.extend(self._segment, self._length)
        except OSError:
            self._length = self.files.size(self._segment)

    def _finish(self) -> None:
        """Have the whole segment on disk, and nothing behind it."""
        if self._length > self._size:
            self.files.cut(self._segment, self._size)
        else:
            self.files.sync(self._segment)

    def _check(self, epoch: int) -> None:
        if self._ended is not None:
            raise LedgerError(f"this writer of the log has ended: {self._ended}; open the log anew", epoch=self.epoch)
        if epoch != self.epoch:
            raise FencedError(f"epoch {epoch} does not write this log any more; the present one is {self.epoch}", epoch=epoch)

    def _end(self, why: str) -> LedgerError:
        self._ended = why
        return LedgerError(f"{why}; the epoch has ended: open the log anew", epoch=self.epoch)


class Reader:
    """Groups in order, from the one that holds `from_lsn` on. `read` may be called again for what came since."""

    def __init__(self, files: Files, from_lsn: int = 0) -> None:
        self.files, self.next_lsn = files, from_lsn
        self._segment: Segment | None = None
        self._offset = 0
        self._digest = b""

    def read(self) -> Iterator[Group]:
        """What is there now. A group that is not whole yet ends it. LedgerError: damage, or `from_lsn` is gone."""
        if not self.seek():
            return
        while True:
            yield from self._rest_of_segment()
            after = self._after()
            if after is None:
                return
            yield from self._rest_of_segment()  # what came between the end that was met and the segment after it
            self._follow(after)

    @property
    def digest(self) -> bytes:
        """Of the last group read and all before it."""
        return self._digest

    @property
    def place(self) -> tuple[tuple[int, int], int]:
        """First LSN and epoch of the segment that is being read, and the byte up to which it was."""
        here = self._at()
        return (here.first_lsn, here.epoch), self._offset

    def seek(self) -> bool:
        """Go to the group that holds `next_lsn`, unless reading has begun; False if the log is empty. `digest` is then that of the
        group before it, or of the last one there is."""
        if self._segment is not None:
            return True
        row = segments(self.files)
        if not row:
            return False
        if self.next_lsn < row[0].first_lsn:
            raise LedgerError(f"the log begins at LSN {row[0].first_lsn}; {self.next_lsn} is no longer kept", first_lsn=row[0].first_lsn)
        self._enter(max((s for s in row if s.first_lsn <= self.next_lsn), key=lambda s: (s.first_lsn, s.epoch)))
        # Groups before it are only stepped over: the header says how far, and the digest to go on from.
        for header, offset in _headers(self.files, self._at().name):
            if header.next_lsn > self.next_lsn:
                break
            self._digest, self._offset = header.digest, offset + header.group_bytes
        return True

    def _enter(self, segment: Segment) -> None:
        header = SegmentHeader.decode(self.files.read(segment.name, 0, SEGMENT_BYTES), segment.name)
        if (header.first_lsn, header.epoch) != (segment.first_lsn, segment.epoch):
            raise LedgerError(f"{segment.name}: the file was renamed; its header says LSN {header.first_lsn}, epoch {header.epoch}")
        if header.first_lsn == 0 and header.before != genesis(header.log_id):
            raise LedgerError(f"{segment.name}: its header does not begin the log that it names; restore the file from a copy")
        self._segment, self._offset, self._digest = segment, SEGMENT_BYTES, header.before

    def _rest_of_segment(self) -> Iterator[Group]:
        name, after = self._at().name, self._after()
        end = None if after is None else after.first_lsn
        while decode_header(self.files.read(name, self._offset, HEADER_BYTES)) is not None:  # else the end, or zeros that were left ahead
            data, at = self.files.read(name, self._offset, _READ_BYTES), 0
            while (header := decode_header(data, at)) is not None:
                if end is not None and header.first_lsn >= end:
                    return  # of a writer that had been fenced off
                records = decode_records(data, header, self._digest, at)
                if records is None:
                    break
                group = Group(header.first_lsn, header.epoch, tuple(records), name, self._offset, header.durable_lsn, header.digest)
                at += header.group_bytes
                self._offset += header.group_bytes
                self._digest = header.digest
                if group.next_lsn > self.next_lsn:
                    self.next_lsn = group.next_lsn
                    yield group
            if at == 0:
                return  # a group that is being written

    def _after(self) -> Segment | None:
        """The segment after this one; None if there is none yet."""
        here = self._at()
        return next((s for s in segments(self.files) if (s.first_lsn, s.epoch) > (here.first_lsn, here.epoch)), None)

    def _follow(self, after: Segment) -> None:
        """Go on to the segment after this one."""
        digest, name = self._digest, self._at().name
        if self.next_lsn < after.first_lsn:
            raise LedgerError(
                f"{name}: damaged at byte {self._offset}: LSN {self.next_lsn} is not there, but {after.name} goes on after it; restore the file from a copy"
            )
        if self.next_lsn > after.first_lsn:
            raise LedgerError(
                f"{after.name}: begins at LSN {after.first_lsn}, and this reader has read up to {self.next_lsn} of a writer that was fenced off before it answered; read the log anew",
                lsn=after.first_lsn,
            )
        self._enter(after)
        if self._digest != digest:
            raise LedgerError(f"{after.name}: does not follow on {name}: a segment was changed, exchanged or left out")

    def _at(self) -> Segment:
        assert self._segment is not None, "read comes first"
        return self._segment


def segments(files: Files) -> list[Segment]:
    """The segments that count, in order. One does not if a writer with a higher epoch began at or before its first record: it holds
    nothing, or what a fenced writer wrote in vain."""
    row = []
    for name in files.names():
        if not name.endswith(_SUFFIX):
            continue
        first, _, epoch = name.removesuffix(_SUFFIX).partition("-")
        if not (first.isdigit() and epoch.isdigit()):
            raise LedgerError(f"{name}: is no segment's name; take the file out of the log's folder")
        row.append(Segment(name, int(first), int(epoch)))
    row.sort(key=lambda s: (-s.epoch, -s.first_lsn))
    out: list[Segment] = []
    for segment in row:
        newer = [s.first_lsn for s in out if s.epoch > segment.epoch]
        if segment.first_lsn < min(newer, default=segment.first_lsn + 1):
            out.append(segment)
    return out[::-1]


def unread(files: Files, name: str, offset: int = SEGMENT_BYTES) -> int:
    """Bytes of a segment from `offset` on, without the zeros that its writer keeps ahead."""
    size = files.size(name)
    last = files.read(name, max(offset, size - LOG_AHEAD_BYTES), LOG_AHEAD_BYTES)
    return max(0, size - offset - (len(last) - len(last.rstrip(b"\0"))))


def verify(files: Files, progress: Progress = silent) -> Verified:
    """Read everything and check every digest, position and link. LedgerError names the place of the first fault."""
    row = segments(files)
    if not row:
        return Verified(0, 0, 0, 0, 0, "")
    reader = Reader(files, row[0].first_lsn)
    groups = records = 0
    total, before, here = sum(files.size(segment.name) for segment in row), 0, row[0].name
    for group in reader.read():
        groups, records = groups + 1, records + len(group.records)
        if group.segment != here:
            before, here = before + files.size(here), group.segment
        progress("verify", before + group.offset, total)
    _refuse_damage(files, row[-1], reader)
    progress("verify", total, total)
    log_id = SegmentHeader.decode(files.read(row[0].name, 0, SEGMENT_BYTES), row[0].name).log_id.hex()
    torn = unread(files, row[-1].name, reader.place[1])
    return Verified(len(row), groups, records, row[0].first_lsn, reader.next_lsn, reader.digest.hex(), log_id, torn)


def drop_before(files: Files, lsn: int) -> int:
    """Remove the segments whose records all lie below `lsn` (retention); how many. The last one always stays."""
    row = segments(files)
    gone = [s for s, after in pairwise(row) if after.first_lsn <= lsn]
    for segment in gone:
        files.remove(segment.name)
    return len(gone)


def _recover(files: Files, random: Callable[[int], bytes]) -> tuple[bytes, int, bytes]:
    """The id of the log, its next LSN and last digest, after cutting a torn end."""
    row = segments(files)
    if not row:
        log_id = random(LOG_ID_BYTES)
        return log_id, 0, genesis(log_id)
    last = row[-1]
    reader = Reader(files, last.first_lsn)
    for _ in reader.read():
        pass
    _refuse_damage(files, last, reader)
    header = SegmentHeader.decode(files.read(last.name, 0, SEGMENT_BYTES), last.name)
    if reader._offset < files.size(last.name):
        files.cut(last.name, reader._offset)
    # What was read may not be on disk yet: the writer before this one died, or is still there.
    files.sync(last.name)
    return header.log_id, reader.next_lsn, reader.digest


def _refuse_damage(files: Files, last: Segment, reader: Reader) -> None:
    """LedgerError if what follows the last whole group shows that a group there was once on disk."""
    offset = reader._offset
    rest = files.read(last.name, offset, max(0, files.size(last.name) - offset))
    at = rest.find(GROUP_MAGIC)
    while at >= 0:
        header = decode_header(rest, at)
        if header is not None and header.durable_lsn > reader.next_lsn:
            raise LedgerError(
                f"{last.name}: damaged at byte {offset}: records from LSN {reader.next_lsn} on were on disk and answered, and cannot be read; restore the file from a copy",
                lsn=reader.next_lsn,
            )
        at = rest.find(GROUP_MAGIC, at + 1)


def _headers(files: Files, name: str) -> Iterator[tuple[GroupHeader, int]]:
    """The headers of a segment's groups with their offsets, without reading payloads."""
    offset = SEGMENT_BYTES
    while (header := decode_header(files.read(name, offset, HEADER_BYTES))) is not None:
        yield header, offset
        offset += header.group_bytes


def _read_epoch(files: Files) -> int:
    if _EPOCH not in files.names():
        return 0
    try:
        epoch = json.loads(files.read(_EPOCH, 0, 4_096))["epoch"]
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(f"{_EPOCH}: damaged; restore it, with a number at least as large as that of the last segment's name") from error
    if not isinstance(epoch, int) or epoch < 0:
        raise LedgerError(f"{_EPOCH}: {epoch!r} is not a number of an epoch")
    return epoch

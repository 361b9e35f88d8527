"""Personal fields of payments, sealed under a key of their own for each subject, so that destroying one key makes one subject unreadable.

    row ──▶ public values (in the record's row)                    for rules, fold, audit
        ├─▶ personal values ──Vault.seal_many──▶ `personal`        readable until the subject is erased
        └─▶ 128-bit keyed hashes ──▶ `hashes`                      for the fold: same state, same features, before and after

The keys are leaves of one punctured tree (`ledger.punctured`): a new subject costs no write, an erasure replaces one small file at once.
The cipher is AES-128-GCM of the library `cryptography`. Who may erase, and when, is not known here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from fraudloop.door.events import Events
from fraudloop.door.identity import DEFAULT_KEY, hash_texts
from fraudloop.door.row import Row, Value
from fraudloop.errors import LedgerError
from fraudloop.ledger.files import Files, FolderFiles
from fraudloop.ledger.punctured import Punctured
from fraudloop.limits import VAULT_CACHE, VAULT_ERASED_MAX

Words = NDArray[np.uint64]

#: Fields that say who or where somebody is. What else a shape marks comes on top.
PERSONAL: Final = (
    "customer_id", "card_id", "device_id", "ip", "latitude", "longitude", "home_latitude", "home_longitude", "home_country",
)  # fmt: skip

#: Those of them that are places as numbers, which the fold reads as they are and not as hashes.
PLACES: Final = ("latitude", "longitude", "home_latitude", "home_longitude")

#: Whose payment it is: the first of these that it names.
SUBJECTS: Final = ("customer_id", "card_id", "device_id", "ip")

_NAME: Final = "vault"
_MAGIC: Final = b"fraudloop vault\x01"
_DIGEST_BYTES: Final = 32
_ID_BYTES: Final = 16

#: format, generation, nonce; then the cipher's text and its tag of 16 bytes.
_FORMAT: Final = 1
_NONCE_BYTES: Final = 12
_HEAD_BYTES: Final = 2 + _NONCE_BYTES
GENERATIONS_MAX: Final = 255

#: More values than a micro-batch has are sealed subject by subject; keys of so many subjects are derived together.
_MANY: Final = 1_024
_TOGETHER: Final = 1_024

#: The hash of a text that is not there.
_NOBODY: Final = bytes(16)

_OTHER: Final = "a sealed value does not open: it is another vault's, or was changed; restore the right vault"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Vault:
    """The keys. Subjects are 128-bit keyed hashes, uint64 [n, 2]; (0, 0) is nobody, who cannot be erased.

    >>> from fraudloop.door.identity import hash_texts
    >>> from fraudloop.ledger.simulated import SimulatedFiles
    >>> vault = Vault.open(SimulatedFiles())
    >>> [ann, bob] = who = hash_texts(["ann", "bob"])
    >>> sealed = vault.seal_many(who, [b"Ann", b"Bob"])
    >>> vault.erase(ann), vault.unseal(ann, sealed[0]), vault.unseal(bob, sealed[1])
    (0, None, b'Bob')
    """

    def __init__(self, files: Files, vault_id: bytes, erased: int, tree: Punctured, random: Callable[[int], bytes]) -> None:
        self._files, self._id, self._erased, self._tree, self._random = files, vault_id, erased, tree, random
        self._ready: dict[bytes, tuple[bytes, AESGCM]] = {}
        self._erasing = Lock()

    @staticmethod
    def open(folder: Path | Files, *, make: bool = True, random: Callable[[int], bytes] = os.urandom) -> Vault:
        """The vault of a folder. make: begin one where there is none; without it that is a LedgerError, as it is for a log that has sealed
        records already. LedgerError: the file is damaged."""
        files = FolderFiles(folder) if isinstance(folder, Path) else folder
        if _NAME not in files.names():
            if not make:
                raise LedgerError(
                    "there is no vault beside this log, and without it nothing personal can be read; restore its file from a copy"
                )
            vault = Vault(files, random(_ID_BYTES), 0, Punctured.whole(random(16)), random)
            files.create(_NAME, vault._encode(vault._tree, 0))
            return vault
        return Vault(files, *_decoded(files.read(_NAME, 0, files.size(_NAME))), random)

    @property
    def erased(self) -> int:
        """How many keys were destroyed so far."""
        return self._erased

    @property
    def nodes(self) -> int:
        """Seeds that are held, 25 bytes each: what erasures have left."""
        return len(self._tree)

    def seal_many(self, subjects: Words, blobs: Sequence[bytes]) -> list[bytes]:
        """Each blob under the present key of its subject, 30 bytes longer. Nothing is written, so nothing need be flushed."""
        if len(blobs) > _MANY:
            return self._seal_by_subject(np.ascontiguousarray(subjects), blobs)
        raw = np.ascontiguousarray(subjects).tobytes()
        names = [raw[at : at + 16] for at in range(0, len(raw), 16)]
        ready = self._ready
        missing = [name for name in dict.fromkeys(names) if name not in ready]
        if missing:
            ready = self._prepare(missing)
            if any(name not in ready for name in names):  # it was full and begun anew
                ready = self._prepare(list(dict.fromkeys(names)))
        nonces = self._random(_NONCE_BYTES * len(names))
        out, at, own = [], 0, self._id
        for name, blob in zip(names, blobs, strict=True):
            head, cipher = ready[name]
            nonce = nonces[at : at + _NONCE_BYTES]
            at += _NONCE_BYTES
            out.append(head + nonce + cipher.encrypt(nonce, blob, own + name))
        return out

    def _seal_by_subject(self, subjects: Words, blobs: Sequence[bytes]) -> list[bytes]:
        """As `seal_many`, one subject after the other: each cipher is made once and used while it is in the caches, and none is kept."""
        order = np.lexsort((subjects[:, 1], subjects[:, 0]))
        ordered = subjects[order]
        begins = np.flatnonzero(np.r_[True, (ordered[1:] != ordered[:-1]).any(axis=1)])
        ends = np.append(begins[1:], len(order)).tolist()
        places, own = order.tolist(), self._id
        nonces = self._random(_NONCE_BYTES * len(places))
        out = [b""] * len(places)
        at = 0
        for first in range(0, len(begins), _TOGETHER):
            own_subjects = ordered[begins[first : first + _TOGETHER]]
            raw = own_subjects.tobytes()
            for number, (head, cipher) in enumerate(self._ciphers(own_subjects)):
                bound = own + raw[16 * number : 16 * number + 16]
                for place in places[at : ends[first + number]]:
                    nonce = nonces[_NONCE_BYTES * place : _NONCE_BYTES * place + _NONCE_BYTES]
                    out[place] = head + nonce + cipher.encrypt(nonce, blobs[place], bound)
                at = ends[first + number]
        return out

    def unseal(self, subject: Words, blob: bytes) -> bytes | None:
        """What was sealed; None if the subject was erased since. LedgerError: it was sealed by another vault or for another subject,
        or changed."""
        name = np.ascontiguousarray(subject).tobytes()
        if len(blob) < _HEAD_BYTES or blob[0] != _FORMAT:
            raise LedgerError("a sealed value is not understood; it was written by a newer fraudloop, or damaged")
        head, cipher = self._ready.get(name, (b"", None))
        if head != blob[:2] or cipher is None:
            seeds, there = self._tree.seeds(_leaves(subject, blob[1]))
            if not there[0]:
                return None
            cipher = AESGCM(seeds.tobytes())
        try:
            return cipher.decrypt(blob[2:_HEAD_BYTES], blob[_HEAD_BYTES:], self._id + name)
        except InvalidTag as error:
            raise LedgerError(_OTHER) from error

    def unseal_many(self, subjects: Words, blobs: Sequence[bytes]) -> list[bytes | None]:
        """As `unseal` of each; the keys are derived together. Empty blobs give None."""
        pairs = np.ascontiguousarray(subjects)
        generations = np.array([blob[1] if len(blob) >= _HEAD_BYTES else 0 for blob in blobs], np.uint64)
        leaves = pairs[:, 0] + generations * (pairs[:, 1] | np.uint64(1))
        seeds, there = self._tree.seeds(leaves)
        raw, names, own = seeds.tobytes(), pairs.tobytes(), self._id
        out: list[bytes | None] = []
        for at, (blob, found) in enumerate(zip(blobs, there.tolist(), strict=True)):
            if not blob or not found:
                out.append(None)
            elif len(blob) < _HEAD_BYTES or blob[0] != _FORMAT:
                raise LedgerError("a sealed value is not understood; it was written by a newer fraudloop, or damaged")
            else:
                cipher, bound = AESGCM(raw[16 * at : 16 * at + 16]), own + names[16 * at : 16 * at + 16]
                try:
                    out.append(cipher.decrypt(blob[2:_HEAD_BYTES], blob[_HEAD_BYTES:], bound))
                except InvalidTag as error:
                    raise LedgerError(_OTHER) from error
        return out

    def generation(self, subject: Words) -> int:
        """Of the subject's present key: how often it was erased."""
        for generation in range(GENERATIONS_MAX + 1):
            if self._tree.seeds(_leaves(subject, generation))[1][0]:
                return generation
        raise LedgerError(f"this subject was erased {GENERATIONS_MAX + 1} times; begin a new log")

    def erase(self, subject: Words, generation: int | None = None) -> int:
        """Destroy a key of the subject, on disk when it returns; the generation it had. What the subject does later is sealed under a new one.

        generation: which (that of an `Erased` record: doing it again changes nothing); None: the present one.
        """
        [done] = self.erase_many([(subject, generation)])
        return done

    def erase_many(self, subjects: Iterable[tuple[Words, int | None]]) -> list[int]:
        """As `erase` of each, with one write for all. Another thread may seal meanwhile: what it seals until this returns may be
        under a key that is being destroyed."""
        with self._erasing:
            return self._erase_many(subjects)

    def _erase_many(self, subjects: Iterable[tuple[Words, int | None]]) -> list[int]:
        tree, done, new = self._tree.copy(), [], 0
        for subject, wanted in subjects:
            if not np.asarray(subject).any():
                raise LedgerError("payments that name nobody have one key together, which cannot be erased")
            generation = self.generation(subject) if wanted is None else wanted
            new += tree.puncture(int(_leaves(subject, generation)[0]))
            done.append(generation)
        if new == 0:
            return done
        if self._erased + new > VAULT_ERASED_MAX:
            raise LedgerError(
                f"this vault has erased {self._erased:,} subjects, at most {VAULT_ERASED_MAX:,}; begin a new log and let this one age"
            )
        self._files.create(_NAME, self._encode(tree, self._erased + new), scrub=True)
        self._tree, self._erased = tree, self._erased + new
        self._ready = {}  # never cleared: who seals at this moment holds the old one
        return done

    def close(self) -> None:
        """Forget the keys in memory."""
        self._ready.clear()
        self._files.close()

    def _prepare(self, names: Sequence[bytes]) -> dict[bytes, tuple[bytes, AESGCM]]:
        """Have the ciphers of these subjects ready; where they are."""
        ready = self._ready
        if len(ready) + len(names) > VAULT_CACHE:
            ready = self._ready = {}
        subjects = np.frombuffer(b"".join(names), np.uint64).reshape(-1, 2)
        ready.update(zip(names, self._ciphers(subjects), strict=True))
        return ready

    def _ciphers(self, subjects: Words) -> Iterator[tuple[bytes, AESGCM]]:
        """Of each subject what its sealed values begin with, and the cipher of its present key."""
        seeds, there = self._tree.seeds(_leaves(subjects, 0))
        raw, first = seeds.tobytes(), bytes((_FORMAT, 0))
        for at, known in enumerate(there.tolist()):
            if known:
                yield first, AESGCM(raw[16 * at : 16 * at + 16])
            else:
                generation = self.generation(subjects[at])
                again = self._tree.seeds(_leaves(subjects[at], generation))[0]
                yield bytes((_FORMAT, generation)), AESGCM(again.tobytes())

    def _encode(self, tree: Punctured, erased: int) -> bytes:
        body = b"".join((_MAGIC, self._id, erased.to_bytes(8, "little"), tree.encode()))
        return body + blake2b(body, digest_size=_DIGEST_BYTES).digest()


def _decoded(data: bytes) -> tuple[bytes, int, Punctured]:
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if not body.startswith(_MAGIC) or blake2b(body, digest_size=_DIGEST_BYTES).digest() != digest:
        raise LedgerError("the vault's file is damaged; restore it from a copy, and erase again whom the log says was erased since")
    at = len(_MAGIC) + _ID_BYTES
    return body[len(_MAGIC) : at], int.from_bytes(body[at : at + 8], "little"), Punctured.decode(body[at + 8 :])


def _leaves(subjects: Words, generation: int) -> Words:
    """The leaves of subjects: for each generation another, spread over the tree by the hash itself."""
    pairs = np.atleast_2d(subjects)
    if generation == 0:
        return np.ascontiguousarray(pairs[:, 0])
    return pairs[:, 0] + np.uint64(generation) * (pairs[:, 1] | np.uint64(1))


class Sealed(NamedTuple):
    """What a record holds of a row: `row`, `personal` and `hashes` of `records.Transacted`."""

    row: tuple[Value, ...]
    personal: bytes
    hashes: bytes


@dataclass(frozen=True, slots=True)
class Sealing:
    """Which columns are personal. columns: of a row, in order. sealed: personal ones, None in the record's row. hashed: those of them that the
    record keeps the hash of. The three stand in `records.Configured`.

    >>> sealing = Sealing.of(("transaction_id", "customer_id", "latitude", "note"), marked=("note",))
    >>> sealing.to_record_row({"transaction_id": "t1", "customer_id": "ann", "latitude": 5, "note": "x"})[0]
    ('t1', None, None, None)
    >>> sealing.sealed, sealing.hashed
    (('customer_id', 'latitude', 'note'), ('customer_id',))
    """

    columns: tuple[str, ...]
    sealed: tuple[str, ...]
    hashed: tuple[str, ...]
    places: tuple[int, ...] = field(init=False, repr=False)
    #: Of SUBJECTS, where their hashes stand.
    _named: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", tuple(self.columns.index(name) for name in self.sealed))
        object.__setattr__(self, "_named", tuple(self.hashed.index(name) for name in SUBJECTS if name in self.hashed))

    @staticmethod
    def of(columns: Sequence[str], *, marked: Iterable[str] = (), words: Iterable[str] = (), keep_places: bool = False) -> Sealing:
        """marked: further columns that are personal; words: those of them that features read as words. keep_places: latitudes and longitudes
        stay in the row, so that features of places can be folded again after an erasure; they then stay readable."""
        personal = {*PERSONAL, *marked} - ({*PLACES} if keep_places else set())
        sealed = tuple(name for name in columns if name in personal)
        read = ({*PERSONAL} - {*PLACES}) | {*words}
        return Sealing(tuple(columns), sealed, tuple(name for name in sealed if name in read))

    def to_record_row(self, row: Row) -> tuple[tuple[Value, ...], bytes]:
        """The public values in order, and the personal ones as bytes that are not sealed yet. row: its values in the order of `columns`."""
        values = list(row.values())
        personal = [values[at] for at in self.places]
        for at in self.places:
            values[at] = None
        return tuple(values), _encode(personal)

    def from_record_row(self, public: Sequence[Value], personal: bytes | None) -> Row:
        """The row again; without its personal values (None) if they cannot be read any more."""
        row = dict(zip(self.columns, public, strict=False))
        if personal is not None and self.sealed:
            row.update(zip(self.sealed, _decode(personal), strict=True))
        return row

    def hashes(self, rows: Sequence[Row], key: bytes = DEFAULT_KEY) -> Words:
        """Of the hashed columns: uint64 [n, len(hashed), 2], zeros for null."""
        texts = [row[name] for row in rows for name in self.hashed]
        return hash_texts(texts, key).reshape(len(rows), len(self.hashed), 2)  # type: ignore[arg-type]

    def subjects(self, hashes: Words) -> Words:
        """Whose payments they are, uint64 [n, 2]: by the first of SUBJECTS that each names."""
        named = self._named
        if not named:
            return np.zeros((len(hashes), 2), np.uint64)
        out = hashes[:, named[0]].copy()
        for place in named[1:]:
            if _NOBODY not in out.tobytes():  # mostly everybody is named, and this sees it soonest
                break
            nobody = (out[:, 0] | out[:, 1]) == 0
            out[nobody] = hashes[nobody, place]
        return out

    def seal(self, vault: Vault, rows: Sequence[Row], hashes: Words) -> list[Sealed]:
        """The rows of a micro-batch as their records hold them."""
        split = [self.to_record_row(row) for row in rows]
        blobs = vault.seal_many(self.subjects(hashes), [personal for _, personal in split])
        raw, width = hashes.tobytes(), 16 * len(self.hashed)
        return [
            Sealed(public, blob, raw[at * width : (at + 1) * width])
            for at, ((public, _), blob) in enumerate(zip(split, blobs, strict=True))
        ]

    def seal_columns(self, vault: Vault, personal: Iterable[Sequence[Value]], hashes: Words) -> tuple[list[bytes], list[bytes]]:
        """As `seal` for many whose personal values are at hand in the order of `sealed`: `personal` and `hashes` of their records."""
        blobs = vault.seal_many(self.subjects(hashes), [*map(_encode, personal)])
        raw, width = hashes.tobytes(), 16 * len(self.hashed)
        return blobs, [raw[at : at + width] for at in range(0, len(raw), width)] if width else [b""] * len(blobs)

    def unseal(self, vault: Vault | None, public: Sequence[Value], personal: bytes, hashes: bytes) -> Row:
        """The row of a record; personal values are None if the subject was erased, or without a vault."""
        if not personal or vault is None:
            return self.from_record_row(public, None)
        words = np.frombuffer(hashes, np.uint64).reshape(1, -1, 2)
        return self.from_record_row(public, vault.unseal(self.subjects(words)[0], personal))


def unseal_rows(sealing: Sealing, vault: Vault | None, records: Sequence[tuple[Sequence[Value], bytes, bytes]]) -> list[Row]:
    """`Sealing.unseal` of many records, each (row, personal, hashes): what a restart reads the log by."""
    if vault is None or not sealing.hashed or any(len(hashes) != 16 * len(sealing.hashed) for _, _, hashes in records):
        return [sealing.unseal(vault, *record) for record in records]
    words = np.frombuffer(b"".join(hashes for _, _, hashes in records), np.uint64).reshape(len(records), -1, 2)
    opened = vault.unseal_many(sealing.subjects(words), [personal for _, personal, _ in records])
    return [sealing.from_record_row(public, blob) for (public, _, _), blob in zip(records, opened, strict=True)]


def with_hashes(events: Events, key_columns: Mapping[str, str], hashed: Sequence[str], hashes: Sequence[bytes]) -> Events:
    """Events whose keys of hashed columns are those that the records hold: what a log gives after an erasure is what it gave before.

    key_columns: the column of each of `events.key_names`. hashes: of the records of the events, which are all payments.
    """
    kept = np.frombuffer(b"".join(hashes), np.uint64).reshape(len(events), len(hashed), 2)
    keys = events.keys.copy()
    for at, name in enumerate(events.key_names):
        column = key_columns[name]
        if column in hashed:
            keys[:, at] = kept[:, hashed.index(column)]
    return Events(events.kind, events.time_us, events.received_us, keys, events.numbers, events.row, events.key_names, events.number_names)


def sealing_of(columns: Sequence[str], sealed: Sequence[str], hashed: Sequence[str]) -> Sealing:
    """Of what a `Configured` record says."""
    return Sealing(tuple(columns), tuple(sealed), tuple(hashed))


def subject_of(name: str, text: str, key: bytes = DEFAULT_KEY) -> Words:
    """The subject that payments of an id have, where nothing that comes before it in SUBJECTS is named. LedgerError for another column."""
    if name not in SUBJECTS:
        raise LedgerError(f"{name!r} names no subject; it must be one of {', '.join(SUBJECTS)}")
    out: Any = hash_texts([text], key)[0]
    return out  # type: ignore[no-any-return]

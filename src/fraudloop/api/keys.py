"""API keys: who may call what. A key is random and shown once; what is kept is a salted hash of it, in one file.

A running service looks at the file once a second, so keys come and go without a restart. The secret has 256 random bits: nobody guesses
it, so one keyed BLAKE2b is as good as a slow hash, and a new connection does not cost a tenth of a second.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import msgspec

from fraudloop.api.rates import Rate
from fraudloop.errors import InputError, NotFoundError
from fraudloop.limits import API_KEYS_MAX, STORE_LOCK_WAIT_S
from fraudloop.scoring.durable import Disk, exclusive

#: What a key may be for, and what each opens. `admin` opens everything.
SCOPES: Final[Mapping[str, str]] = {
    "score": "ask for decisions and predictions",
    "events": "send payments and profiles to be absorbed",
    "feedback": "send labels",
    "read": "read decisions, rules, policies, lists, models and metrics",
    "control": "change rules, policies, lists and models",
    "admin": "everything",
}

FILE: Final = "keys.json"
_VERSION: Final = 1
_KEY: Final = re.compile(r"fl_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}")


class Key(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a key. id: stands in it. hash: BLAKE2b of the secret, keyed with the salt, both in hex. created, revoked: UTC."""

    id: str
    name: str
    scopes: tuple[str, ...]
    salt: str
    hash: str
    created: datetime
    revoked: datetime | None = None
    per_s: float | None = None
    burst: float | None = None

    @property
    def rate(self) -> Rate | None:
        """How much it may ask, None for without bound."""
        return None if self.per_s is None else Rate(self.per_s, self.burst or 0.0)

    def opens(self, scope: str) -> bool:
        """Whether it has a scope."""
        return scope in self.scopes or "admin" in self.scopes


class _File(msgspec.Struct):
    version: int
    keys: list[Key]


def require_keys(host: str, keys: Sequence[Key]) -> None:
    """InputError if the service would be open to others: without any key it answers on this machine alone.

    >>> require_keys("127.0.0.1", [])
    >>> require_keys("0.0.0.0", [])
    Traceback (most recent call last):
    fraudloop.errors.InputError: 0.0.0.0 can be reached from outside, and there is no API key: make one with `fraudloop keys create`
    """
    if not is_local(host) and not any(key.revoked is None for key in keys):
        raise InputError(
            f"{host or 'every address'} can be reached from outside, and there is no API key: make one with `fraudloop keys create`",
            host=host,
        )


def is_local(host: str) -> bool:
    """Whether an address is of this machine alone: loopback, or the path of a Unix socket."""
    if host.startswith("/") or host in ("localhost", "unix"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def keys_for(host: str, folder: Path | str) -> Keys | None:
    """The keys that a service on this address asks for: None, open, while it answers this machine alone and no key was made. InputError if it
    would be open to others."""
    keys = Keys(folder)
    require_keys(host, keys.all())
    return keys if any(key.revoked is None for key in keys.all()) else None


class Keys:
    """The keys of a folder.

    >>> import tempfile
    >>> keys = Keys(tempfile.mkdtemp())
    >>> told, key = keys.create("till", ["score"])
    >>> keys.find(told).name, keys.find(told[:-1] + "!"), keys.find("fl_none")
    ('till', None, None)
    """

    def __init__(self, folder: Path | str) -> None:
        self.path = Path(folder) / FILE
        self._seen: tuple[int, int, int] | None = (0, 0, 0)
        self._by_id: dict[str, Key] = {}
        self.refresh()

    def refresh(self) -> bool:
        """Read the file if it is another one than before; whether it was. A file that cannot be read leaves the keys as they were."""
        try:
            stat = self.path.stat()
            seen: tuple[int, int, int] | None = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        except OSError:
            seen = None
        if seen == self._seen:
            return False
        first = self._seen == (0, 0, 0)
        if seen is None:
            self._seen, self._by_id = None, {}
            return not first
        try:
            found = self._read()
        except InputError:
            if first:
                raise
            return False  # written by a hand that is not done; the keys in force stay
        self._seen = seen
        self._by_id = {key.id: key for key in found}
        return True

    def _read(self) -> list[Key]:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror})", path=str(self.path)) from error
        try:
            found = msgspec.json.decode(data, type=_File)
        except msgspec.MsgspecError as error:
            raise InputError(f"{self.path}: not a file of keys ({error})", path=str(self.path)) from error
        if found.version != _VERSION:
            raise InputError(f"{self.path}: of a newer fraudloop (version {found.version})", path=str(self.path))
        return found.keys

    def all(self) -> list[Key]:
        """Every key in the order they were made, revoked ones too."""
        return list(self._by_id.values())

    def find(self, told: str) -> Key | None:
        """The key that somebody shows, None if it is none or revoked. As long for a wrong secret as for a right one."""
        match = _KEY.fullmatch(told)
        if match is None:
            return None
        key = self._by_id.get(match[1])
        salt, kept = (key.salt, key.hash) if key is not None else ("00" * 16, "00" * 32)
        same = hmac.compare_digest(_hash(match[2], salt), kept)
        return key if same and key is not None and key.revoked is None else None

    def create(self, name: str, scopes: Iterable[str], rate: Rate | None = None, now: datetime | None = None) -> tuple[str, Key]:
        """Make a key and keep its hash: what to tell its owner (never again), and what is kept. InputError for an unknown scope."""
        chosen = tuple(dict.fromkeys(scopes))
        unknown = [scope for scope in chosen if scope not in SCOPES]
        if unknown or not chosen:
            raise InputError(f"no scope {unknown[0] if unknown else ''!r}; scopes are {', '.join(SCOPES)}", field="scopes")
        if not _NAME.fullmatch(name):
            raise InputError(f"{name!r} is no name of a key: up to 64 letters, digits, spaces and . _ @ -", field="name")
        secret, salt = secrets.token_urlsafe(32), secrets.token_hex(16)
        key = Key(
            secrets.token_hex(6), name, chosen, salt, _hash(secret, salt), (now or datetime.now(UTC)).replace(microsecond=0), None,
            None if rate is None else rate.per_s, None if rate is None else rate.burst or None,
        )  # fmt: skip
        with self._alone():
            keys = self._read()
            if len(keys) >= API_KEYS_MAX:
                raise InputError(f"{self.path}: holds {API_KEYS_MAX} keys; more callers belong behind a gateway", path=str(self.path))
            self._write([*keys, key])
        return f"fl_{key.id}_{secret}", key

    def revoke(self, key_id: str, now: datetime | None = None) -> Key:
        """A key is none any more; what is kept of it stays, for whoever asks later. NotFoundError if there is none of this id."""
        with self._alone():
            keys = self._read()
            for at, key in enumerate(keys):
                if key.id == key_id:
                    if key.revoked is None:
                        keys[at] = key = msgspec.structs.replace(key, revoked=(now or datetime.now(UTC)).replace(microsecond=0))
                        self._write(keys)
                    return key
        raise NotFoundError(f"no key {key_id!r}; `fraudloop keys list` shows them", field="id")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else changes the file meanwhile."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path.parent}: cannot be made ({error.strerror})", path=str(self.path)) from error
        with exclusive(self.path.with_suffix(".lock"), STORE_LOCK_WAIT_S):
            yield

    def _write(self, keys: list[Key]) -> None:
        """Replace the file at once, readable by its owner alone."""
        try:
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{FILE}.")  # mode 0600
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(_File(_VERSION, keys)), indent=1))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
            Disk().sync_folder(self.path.parent)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror})", path=str(self.path)) from error
        self.refresh()


def _hash(secret: str, salt: str) -> str:
    return blake2b(secret.encode(), key=bytes.fromhex(salt), digest_size=32, person=b"fraudloop.key").hexdigest()

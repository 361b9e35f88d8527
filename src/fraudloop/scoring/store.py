"""The bundle store: immutable folders by hash, and for each named model aliases that move from one to another.

    store.json                           what this folder is
    lock                                 held by whoever writes
    bundles/<hash>/                      a bundle as `scoring.bundle` has it; never changed
    models/<name>/history.jsonl          every move of an alias: who, why, when; each line holds the hash of the one before
    models/<name>/<alias>.json           the bundle an alias names, and the line of the history that moved it there
    documents/<hash>.json                what a line of the history rests on (gate reports); never changed

A move writes its line first (an intention), then replaces the alias at once, then writes that it is done; each step is
on disk before the next begins. Killed between any two, the alias names the old bundle or the new one, and whoever
writes next completes the history to what the alias says. Writers hold the lock and say which bundle they believe to
replace, so of two only one can win. Readers take no lock and write nothing. It knows no clock: times are given.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

from fraudloop.errors import BundleError, InputError, StoreConflict, StoreError
from fraudloop.limits import BUNDLE_FILE_BYTES_MAX, STORE_HISTORY_BYTES_MAX, STORE_LOCK_WAIT_S, STORE_TEXT_CHARACTERS_MAX
from fraudloop.scoring.bundle import MANIFEST, Bundle, manifest_bytes
from fraudloop.scoring.durable import Disk, exclusive

KIND: Final = "fraudloop-store"
SCHEMA: Final = 1

#: The name of a model where none is given.
DEFAULT_NAME: Final = "payments"

CANDIDATE: Final = "candidate"
CHALLENGER: Final = "challenger"
CHAMPION: Final = "champion"

#: Shortest part of a hash that names a bundle.
PREFIX_CHARACTERS_MIN: Final = 6

_NAME = re.compile(r"^[a-z][a-z0-9_-]{0,63}$")
_HASH = re.compile(r"^[0-9a-f]{64}$")
_PREFIX = re.compile(rf"^[0-9a-f]{{{PREFIX_CHARACTERS_MIN},64}}$")

#: What a store's own folder may hold before it has a `store.json`.
_OWN = frozenset({"store.json", ".store.json", "lock", "bundles", "models", "documents"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One move of an alias. before, after: bundles by hash, None where the alias was or is not there. action: what the
    move was for (`set`, `promote`, `rollback`). details: what it rests on. line: the hash of its line."""

    number: int
    at_us: int
    alias: str
    action: str
    before: str | None
    after: str | None
    who: str
    why: str
    details: Mapping[str, Any]
    line: str

    @property
    def at(self) -> str:
        """When, for people: `2026-03-01 09:30:00Z`."""
        return datetime.fromtimestamp(self.at_us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Stored:
    """A bundle of the store, by its manifest alone. aliases: `name@alias` that name it now."""

    hash: str
    content: str
    created: str
    algorithms: tuple[str, ...]
    bytes: int
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    state: str
    body: Mapping[str, Any]
    hash: str


_Lines: TypeAlias = list[_Line]


@dataclass(slots=True)
class BundleStore:
    """The store in a folder, made with the first write. disk: the file operations, for tests that stop between two."""

    root: Path
    disk: Disk = field(default_factory=Disk)

    # --- bundles -------------------------------------------------------------------------------------------------

    def put(self, bundle: Bundle) -> str:
        """Keep a bundle; its hash. One that the store has, or one with the same content from an earlier training, is not
        stored again: the hash is then of the one that is there. BundleError for one that cannot be read as a model.
        """
        bundle.model()
        manifest = bundle.manifest()
        name = str(manifest["bundle"])
        with self._writing():
            for known in self._hashes():
                same = known == name or _manifest_of(self.root / "bundles" / known).get("content") == bundle.content
                if same and self._sound(known):
                    return known
            fresh = self.root / "bundles" / f".{name}.part"
            self.disk.remove_tree(fresh)
            self.disk.make_folder(fresh)
            folders = {fresh}
            for file, data in {**bundle.files, MANIFEST: manifest_bytes(manifest)}.items():
                if (fresh / file).parent not in folders:
                    self.disk.make_folder((fresh / file).parent)
                    folders.add((fresh / file).parent)
                self.disk.write(fresh / file, data)
            for folder in sorted(folders, reverse=True):
                self.disk.sync_folder(folder)
            if (self.root / "bundles" / name).exists():  # damaged, or it would have been enough
                self.disk.rename(self.root / "bundles" / name, self.root / "bundles" / f".{name}.gone")
            self.disk.rename(fresh, self.root / "bundles" / name)
            self.disk.sync_folder(self.root / "bundles")
        return name

    def get(self, reference: str) -> Bundle:
        """The bundle of a hash, the beginning of one, or `name@alias`, every hash of it checked. StoreError if there is
        none, BundleError if it was damaged or changed."""
        found = self.resolve(reference)
        bundle = Bundle.load(self.root / "bundles" / found)
        if bundle.hash != found:
            raise BundleError(f"{self.root / 'bundles' / found}: holds the bundle {bundle.hash}, not the one of its name")
        return bundle

    def __contains__(self, bundle: object) -> bool:
        """Whether a bundle of this whole hash is there."""
        return isinstance(bundle, str) and bool(_HASH.match(bundle)) and (self.root / "bundles" / bundle).is_dir()

    def resolve(self, reference: str) -> str:
        """The hash that a reference names; reads one small file for an alias. StoreError says what there is instead."""
        if "@" in reference:
            name, _, alias = reference.partition("@")
            if _PREFIX.match(alias):
                return self._by_prefix(alias)
            found = self.alias(reference)
            if found is None:
                there = sorted(key for key in self.aliases() if key.startswith(f"{name}@"))
                raise StoreError(
                    f"{reference}: no such alias in {self.root}; "
                    + (
                        f"there are {', '.join(there)}"
                        if there
                        else f"no model {name!r} is there: `fraudloop models put DIR --name {name}`"
                    )
                )
            return found
        return self._by_prefix(reference)

    def list(self) -> tuple[Stored, ...]:
        """Every bundle, the newest first."""
        named: dict[str, tuple[str, ...]] = {}
        for alias, bundle in self.aliases().items():
            named[bundle] = (*named.get(bundle, ()), alias)
        out = []
        for name in self._hashes():
            folder = self.root / "bundles" / name
            manifest = _manifest_of(folder)
            members = [row for row in manifest.get("members", []) if isinstance(row, dict)]
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            algorithms = tuple(dict.fromkeys(str(row.get("algorithm", row.get("format"))) for row in members))
            out.append(Stored(name, str(manifest.get("content")), str(manifest.get("created", "")), algorithms, size, named.get(name, ())))
        return tuple(sorted(out, key=lambda row: (row.created, row.hash), reverse=True))

    def remove(self, reference: str) -> str:
        """Take a bundle away; its hash. StoreError while an alias names it, or a rollback would need it."""
        name = self.resolve(reference)
        with self._writing():
            aliases = self.aliases()
            for alias, bundle in aliases.items():
                if bundle == name:
                    raise StoreError(f"{name}: is what {alias} names; move the alias first", bundle=name, alias=alias)
                if alias.endswith(f"@{CHAMPION}") and self.previous(alias) == name:
                    raise StoreError(f"{name}: is what a rollback of {alias} would restore", bundle=name, alias=alias)
            gone = self.root / "bundles" / f".{name}.gone"
            self.disk.rename(self.root / "bundles" / name, gone)
            self.disk.sync_folder(self.root / "bundles")
            self.disk.remove_tree(gone)
        return name

    # --- aliases -------------------------------------------------------------------------------------------------

    @property
    def is_there(self) -> bool:
        """Whether the folder is a store: one that was never made, or whose disk is gone, names nothing, which is not the same as no alias."""
        return (self.root / "store.json").is_file()

    def names(self) -> tuple[str, ...]:
        """The models that have a history."""
        folder = self.root / "models"
        return tuple(sorted(path.name for path in folder.iterdir() if _NAME.match(path.name))) if folder.is_dir() else ()

    def aliases(self) -> dict[str, str]:
        """`name@alias` -> hash, all of them."""
        out = {}
        for name in self.names():
            for path in sorted((self.root / "models" / name).glob("*.json")):
                found = self.alias(f"{name}@{path.stem}") if _NAME.match(path.stem) else None
                if found is not None:
                    out[f"{name}@{path.stem}"] = found
        return out

    def alias(self, reference: str) -> str | None:
        """The hash that `name@alias` names now, None if there is none. One small read."""
        found = self._pointer(*_parts(reference))
        return None if found is None else str(found["bundle"])

    def set_alias(
        self,
        reference: str,
        bundle: str | None,
        *,
        expected: str | None,
        who: str,
        why: str,
        at_us: int,
        action: str = "set",
        details: Mapping[str, Any] | None = None,
    ) -> Entry:
        """Let `name@alias` name a bundle (None: nothing any more), if it names `expected` until then; the line of it.

        who, why: for the history; neither may be empty. at_us: microseconds since 1970 UTC. StoreConflict says who moved
        it first; StoreError if the bundle is not in the store.
        """
        name, alias = _parts(reference)
        who, why = _text("who", who), _text("why", why)
        with self._writing():
            folder = self.root / "models" / name
            self.disk.make_folder(folder)
            self.disk.sync_folder(folder.parent)
            lines = self._recover(name)
            now = self.alias(reference)
            if now != expected:
                raise StoreConflict(
                    _conflict(reference, expected, now, self._entries(lines)), alias=reference, expected=expected, found=now
                )
            if bundle is not None and bundle not in self:
                raise StoreError(f"{bundle}: is not in the store {self.root}; `fraudloop models put DIR` adds a bundle", bundle=bundle)
            body = {
                "at_us": at_us,
                "alias": alias,
                "action": action,
                "before": now,
                "after": bundle,
                "who": who,
                "why": why,
                "details": dict(details or {}),
            }
            intent = self._write_line(name, lines, "intent", body)
            target, fresh = folder / f"{alias}.json", folder / f".{alias}.part"
            if bundle is None:
                self.disk.unlink(target)
            else:
                self.disk.write(fresh, _json({"bundle": bundle, "line": intent.hash}))
                self.disk.rename(fresh, target)
            self.disk.sync_folder(folder)
            self._write_line(name, [*lines, intent], "done", {})
            return _entry(len(lines) + 1, intent)

    def previous(self, reference: str) -> str | None:
        """The bundle that a rollback of `name@alias` restores: of those that held it before, the one under the present
        one; a rollback takes away what was above its aim. None if there is none."""
        name, alias = _parts(reference)
        stack: list[str] = []
        for entry in self.history(name):
            if entry.alias != alias or entry.after is None:
                continue
            if entry.action == "rollback" and entry.after in stack:
                del stack[len(stack) - stack[::-1].index(entry.after) :]
            elif not stack or stack[-1] != entry.after:
                stack.append(entry.after)
        if stack and stack[-1] == self.alias(reference):
            stack.pop()
        return stack[-1] if stack else None

    def history(self, name: str = DEFAULT_NAME) -> tuple[Entry, ...]:
        """Every move of the model's aliases that took place, the oldest first. StoreError if a line was changed."""
        _check_name(name)
        return self._entries(self._lines(name))

    def verify(self) -> tuple[str, ...]:
        """What in the store is not as it was written, in words: bundles, histories, aliases. Empty: all is well."""
        out = []
        for bundle in self._hashes():
            try:
                self.get(bundle).model()
            except BundleError as error:
                out.append(f"bundle {bundle}: {error}")
        for name in self.names():
            try:
                entries = self.history(name)
            except StoreError as error:
                out.append(str(error))
                continue
            last = {entry.alias: entry for entry in entries}
            for alias in sorted({*last, *(path.stem for path in (self.root / "models" / name).glob("*.json"))}):
                try:
                    found = self._pointer(name, alias)
                except StoreError as error:
                    out.append(str(error))
                    continue
                said = last[alias].after if alias in last else None
                now = None if found is None else found["bundle"]
                if now != said or (found is not None and found["line"] != last[alias].line):
                    out.append(f"{name}@{alias}: names {now}, but the history says {said}; it was moved by hand")
        out += [
            f"documents/{path.name}: changed after it was written (its hash does not match its name)"
            for path in sorted((self.root / "documents").glob("*.json"))
            if hashlib.sha256(path.read_bytes()).hexdigest() != path.stem
        ]
        return tuple(out)

    # --- documents -----------------------------------------------------------------------------------------------

    def put_document(self, body: Mapping[str, Any]) -> str:
        """Keep a document that decisions rest on, such as a gate report; its hash."""
        data = _json(body)
        name = hashlib.sha256(data).hexdigest()
        with self._writing():
            folder = self.root / "documents"
            if not (folder / f"{name}.json").is_file():
                self.disk.write(folder / f".{name}.part", data)
                self.disk.rename(folder / f".{name}.part", folder / f"{name}.json")
                self.disk.sync_folder(folder)
        return name

    def document(self, name: str) -> dict[str, Any]:
        """A document by its hash; StoreError if it is not there or was changed."""
        path = self.root / "documents" / f"{name}.json"
        if not _HASH.match(name) or not path.is_file():
            raise StoreError(f"{name}: no such document in {self.root}")
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != name:
            raise StoreError(f"documents/{name}.json: changed after it was written (its hash does not match its name)")
        return _object(data, path)

    def documents(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """All documents with their hashes, in no order that means anything."""
        folder = self.root / "documents"
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            if _HASH.match(path.stem):
                yield path.stem, self.document(path.stem)

    # --- inside --------------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the lock of the store, made if it is not there; what a killed writer left half written goes away."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            strange = {path.name for path in self.root.iterdir()} - _OWN
            if strange and not (self.root / "store.json").is_file():
                raise StoreError(
                    f"{self.root}: is a folder with other files in it; give a new or empty one for the store (FRAUDLOOP_STORE)"
                )
            with exclusive(self.root / "lock", STORE_LOCK_WAIT_S):
                self._prepare()
                yield
        except OSError as error:
            raise StoreError(f"{self.root}: the store cannot be written ({error.strerror})") from error

    def _prepare(self) -> None:
        for folder in ("bundles", "models", "documents"):
            self.disk.make_folder(self.root / folder)
        if not (self.root / "store.json").is_file():
            self.disk.write(self.root / ".store.json", _json({"kind": KIND, "schema": SCHEMA}))
            self.disk.rename(self.root / ".store.json", self.root / "store.json")
            self.disk.sync_folder(self.root)
        self._check_kind()
        for left in (self.root / "bundles").glob(".*"):
            self.disk.remove_tree(left)
        for left in (self.root / "documents").glob(".*"):
            self.disk.unlink(left)

    def _check_kind(self) -> None:
        body = _object((self.root / "store.json").read_bytes(), self.root / "store.json")
        if body.get("kind") != KIND:
            raise StoreError(f"{self.root}: is not a bundle store of fraudloop")
        if not isinstance(body.get("schema"), int) or body["schema"] > SCHEMA:
            raise StoreError(
                f"{self.root}: written with store schema {body.get('schema')}, this version reads up to {SCHEMA}; update fraudloop"
            )

    def _hashes(self) -> tuple[str, ...]:
        folder = self.root / "bundles"
        return tuple(sorted(path.name for path in folder.iterdir() if _HASH.match(path.name))) if folder.is_dir() else ()

    def _sound(self, name: str) -> bool:
        try:
            return Bundle.load(self.root / "bundles" / name).hash == name
        except BundleError:
            return False

    def _by_prefix(self, text: str) -> str:
        if not _PREFIX.match(text):
            raise StoreError(
                f"{text!r} names no bundle: give NAME@ALIAS, or a hash of at least {PREFIX_CHARACTERS_MIN} characters from `fraudloop models list`"
            )
        found = [name for name in self._hashes() if name.startswith(text)]
        if len(found) != 1:
            raise StoreError(f"{text}: {'no bundle' if not found else f'{len(found)} bundles'} of this hash in {self.root}")
        return found[0]

    def _pointer(self, name: str, alias: str) -> dict[str, Any] | None:
        path = self.root / "models" / name / f"{alias}.json"
        try:
            body = _object(path.read_bytes(), path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
        if not _HASH.match(str(body.get("bundle"))) or not _HASH.match(str(body.get("line"))):
            raise StoreError(f"{path}: damaged; the history of {name} says what it should name (`fraudloop models history --name {name}`)")
        return body

    def _lines(self, name: str) -> _Lines:
        """The whole lines of a history, each checked against the one before; the torn end of a killed writer is passed over."""
        path = self.root / "models" / name / "history.jsonl"
        try:
            if path.stat().st_size > STORE_HISTORY_BYTES_MAX:
                raise StoreError(f"{path}: larger than {STORE_HISTORY_BYTES_MAX} bytes")
            data = path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
        out: _Lines = []
        before = ""
        for number, text in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), 1):
            body = _object(text, path, number)
            said = body.pop("line", None)
            if body.get("previous") != before or said != _line_hash(body) or body.get("state") not in ("intent", "done", "void"):
                raise StoreError(f"{path}: line {number} was changed after it was written, or lines before it are missing")
            before = str(said)
            out.append(_Line(str(body["state"]), body, before))
        return out

    def _entries(self, lines: _Lines) -> tuple[Entry, ...]:
        """Of the intentions those that took place; of one whose end is not written the alias itself decides."""
        out = []
        for at, line in enumerate(lines):
            if line.state != "intent":
                continue
            after = lines[at + 1].state if at + 1 < len(lines) else ""
            if after == "done" or (after != "void" and self._took_place(line)):
                out.append(_entry(at + 1, line))
        return tuple(out)

    def _took_place(self, intent: _Line) -> bool:
        name, alias = str(intent.body["name"]), str(intent.body["alias"])
        found = self._pointer(name, alias)
        if intent.body["after"] is None:
            return found is None
        return found is not None and found["line"] == intent.hash

    def _recover(self, name: str) -> _Lines:
        """Under the lock: cut a torn line, and write the end of a move that was killed, as the alias says it went."""
        folder = self.root / "models" / name
        path = folder / "history.jsonl"
        if path.is_file():
            data = path.read_bytes()
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                self.disk.truncate(path, whole)
        for left in folder.glob(".*.part"):
            self.disk.unlink(left)
        lines = self._lines(name)
        if lines and lines[-1].state == "intent":
            # The name may have changed in memory only when the power went: what is about to be written must not be surer.
            self.disk.sync_folder(folder)
            lines.append(self._write_line(name, lines, "done" if self._took_place(lines[-1]) else "void", {}))
        return lines

    def _write_line(self, name: str, lines: _Lines, state: str, body: Mapping[str, Any]) -> _Line:
        folder = self.root / "models" / name
        whole = {"name": name, "state": state, **body, "previous": lines[-1].hash if lines else ""}
        line = _Line(state, whole, _line_hash(whole))
        self.disk.append(folder / "history.jsonl", _json({**whole, "line": line.hash}))
        if not lines:
            self.disk.sync_folder(folder)
        return line


def _entry(number: int, line: _Line) -> Entry:
    b = line.body
    return Entry(number, b["at_us"], b["alias"], b["action"], b["before"], b["after"], b["who"], b["why"], b["details"], line.hash)


def _conflict(reference: str, expected: str | None, now: str | None, entries: tuple[Entry, ...]) -> str:
    alias = reference.partition("@")[2]
    last = next((entry for entry in reversed(entries) if entry.alias == alias), None)
    by = f"{last.who} moved it at {last.at} ({last.why})" if last is not None else "it was changed"
    return (
        f"{reference}: names {_short(now)}, no longer {_short(expected)}: {by}. Nothing was changed; look at the history and decide again"
    )


def _short(name: str | None) -> str:
    return "nothing" if name is None else name[:12]


def _parts(reference: str) -> tuple[str, str]:
    name, at, alias = reference.partition("@")
    _check_name(name)
    if not at or not _NAME.match(alias):
        raise StoreError(f"{reference!r} is not NAME@ALIAS, like {DEFAULT_NAME}@{CHAMPION}")
    return name, alias


def _check_name(name: str) -> None:
    if not _NAME.match(name):
        raise StoreError(f"{name!r} cannot be the name of a model: small letters, digits, - and _, at most 64, a letter first")


def _text(what: str, text: str) -> str:
    text = text.strip()
    if not text or len(text) > STORE_TEXT_CHARACTERS_MAX:
        raise InputError(f"{what}: needs 1 to {STORE_TEXT_CHARACTERS_MAX} characters for the history")
    return text


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _line_hash(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def _object(data: bytes, path: Path, line: int | None = None) -> dict[str, Any]:
    where = f"{path}" + ("" if line is None else f", line {line}")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{where}: damaged; not valid JSON ({error})") from error
    if not isinstance(body, dict):
        raise StoreError(f"{where}: damaged; not a JSON object")
    return body


def _manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of a stored bundle, unchecked, for lists; {} if it cannot be read."""
    try:
        if (folder / MANIFEST).stat().st_size > BUNDLE_FILE_BYTES_MAX:
            return {}
        body = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}

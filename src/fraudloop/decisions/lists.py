"""Named lists that rules look words up in: what is on them, in which version, and where it comes from. Pure but for `load`.

name = "high_risk_countries"
version = "2026-06-19"
source = "where the entries come from"
entries = ["KP", "IR"]
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

from fraudloop.errors import RuleError


@dataclass(frozen=True, slots=True)
class NamedList:
    """name: by which rules call it. version: of its content. source: for whoever audits it. entries: the words on it."""

    name: str
    version: str
    source: str
    entries: frozenset[str]

    @staticmethod
    def from_dict(data: Mapping[str, Any], where: str = "list") -> NamedList:
        """Build and check; RuleError names the key."""
        for key in data:
            if key not in ("name", "version", "source", "entries"):
                close = get_close_matches(key, ["name", "version", "source", "entries"], n=1, cutoff=0.5)
                raise RuleError(f"{where}: unknown key {key!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        for key in ("name", "version"):
            if not isinstance(data.get(key), str) or not data[key]:
                raise RuleError(f'{where}: {key} is missing; a list has a name and a version, like "2026-11-01"')
        entries = data.get("entries")
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise RuleError(f'{where}: entries must be a list of words, like ["KP", "IR"]')
        return NamedList(data["name"], data["version"], str(data.get("source", "")), frozenset(entries))

    @property
    def hash(self) -> str:
        """32 hex digits of all that the list holds."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:32]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the inverse of :meth:`from_dict`."""
        return {"name": self.name, "version": self.version, "source": self.source, "entries": sorted(self.entries)}

    @staticmethod
    def load(path: Path) -> NamedList:
        """Read a TOML file."""
        try:
            return NamedList.from_dict(tomllib.loads(Path(path).read_text("utf-8")), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise RuleError(f"{path}: cannot be read ({error}); give a TOML file with name, version and entries") from error
        except tomllib.TOMLDecodeError as error:
            raise RuleError(f"{path}: not valid TOML: {error}") from error


def shipped_lists() -> dict[str, NamedList]:
    """The lists that come with the package, by name.

    >>> sorted(shipped_lists())
    ['high_risk_countries']
    """
    folder = resources.files("fraudloop.decisions") / "presets" / "lists"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".toml")), key=lambda entry: entry.name)
    found = [NamedList.from_dict(tomllib.loads(entry.read_text("utf-8")), entry.name) for entry in files]
    return {named.name: named for named in found}

"""Settings of a process: a frozen value, read from the environment once, at the edge (`fraudloop.cli`).

Inner rooms are given the values they need; they never read the environment. Every variable is `FRAUDLOOP_` and the
name of the field in capitals. What changes the meaning of a feature is no setting: see `fraudloop.limits`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fraudloop.errors import InputError

PREFIX: Final = "FRAUDLOOP_"

#: Read by the tests, the benchmarks and the tool targets, not by the package.
OUTSIDE: Final = frozenset({"FRAUDLOOP_PROVE", "FRAUDLOOP_HANDBOOK"})

#: The key of ids where none is set. Offline work needs the same hashes on every run, not secrecy: hashes are kept
#: in memory and snapshots of one's own machine. A service that answers others sets FRAUDLOOP_HASH_KEY.
DEFAULT_HASH_KEY: Final = b"fraudloop.ids.v1"

HASH_KEY_BYTES: Final = 16
TOKEN_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process is told from outside.

    hash_key: 16 bytes that key the hashes of ids (FRAUDLOOP_HASH_KEY: 32 hex digits); never printed.
    token_key: the secret of the tokens that replace card numbers in ids (FRAUDLOOP_TOKEN_KEY: 64 hex digits); None is
        the key that everybody has, with a warning when it is used. Never printed.
    token_key_id: stands in each token, so that keys can be changed (FRAUDLOOP_TOKEN_KEY_ID: 1 to 16 letters or digits).
    cache_dir: folder of the compiled kernels (FRAUDLOOP_CACHE_DIR); None: the places of `fraudloop.compiled`.
    store: folder of the bundle store (FRAUDLOOP_STORE); see `fraudloop.scoring.store`.
    base_currency: ISO 4217 code that amounts are converted to (FRAUDLOOP_BASE_CURRENCY).
    zone: IANA zone of times without an offset and of local hours without a better source (FRAUDLOOP_ZONE).
    tracking: MLflow tracking URI of training runs and of the mirrored registry, or `default` (FRAUDLOOP_TRACKING); it may
        hold a password. None: not tracked.
    artifacts: folder or URL for the bundles and rows of tracked runs (FRAUDLOOP_ARTIFACTS).
    api_key: what commands that call a running service show it (FRAUDLOOP_API_KEY); never printed.
    debug: show tracebacks (FRAUDLOOP_DEBUG=1).
    """

    hash_key: bytes = field(default=DEFAULT_HASH_KEY, repr=False)
    token_key: bytes | None = field(default=None, repr=False)
    token_key_id: str = "default"
    cache_dir: Path | None = None
    store: Path = Path("fraudloop-store")
    base_currency: str = "EUR"
    zone: str = "UTC"
    tracking: str | None = field(default=None, repr=False)
    artifacts: str | None = None
    api_key: str | None = field(default=None, repr=False)
    debug: bool = False

    @staticmethod
    def from_env(env: Mapping[str, str]) -> Settings:
        """Read and check; empty values count as not set. InputError names the variable and what it takes.

        >>> Settings.from_env({"FRAUDLOOP_BASE_CURRENCY": "USD"}).base_currency
        'USD'
        """
        known = {PREFIX + f.name.upper() for f in fields(Settings)} | OUTSIDE
        for name in sorted(env):
            if name.startswith(PREFIX) and name not in known:
                close = get_close_matches(name, known, n=1)
                raise InputError(f"{name} is not a setting{f'; did you mean {close[0]}?' if close else ''}", variable=name)
        return Settings(
            hash_key=_key("FRAUDLOOP_HASH_KEY", env.get("FRAUDLOOP_HASH_KEY", ""), HASH_KEY_BYTES) or DEFAULT_HASH_KEY,
            token_key=_key("FRAUDLOOP_TOKEN_KEY", env.get("FRAUDLOOP_TOKEN_KEY", ""), TOKEN_KEY_BYTES),
            token_key_id=_key_id(env.get("FRAUDLOOP_TOKEN_KEY_ID", "") or ("own" if env.get("FRAUDLOOP_TOKEN_KEY") else "default")),
            cache_dir=Path(env["FRAUDLOOP_CACHE_DIR"]).absolute() if env.get("FRAUDLOOP_CACHE_DIR") else None,
            store=Path(env["FRAUDLOOP_STORE"]).absolute() if env.get("FRAUDLOOP_STORE") else Path("fraudloop-store"),
            base_currency=_currency(env.get("FRAUDLOOP_BASE_CURRENCY", "") or "EUR"),
            zone=_zone(env.get("FRAUDLOOP_ZONE", "") or "UTC"),
            tracking=env.get("FRAUDLOOP_TRACKING") or None,
            artifacts=env.get("FRAUDLOOP_ARTIFACTS") or None,
            api_key=env.get("FRAUDLOOP_API_KEY") or None,
            debug=_flag("FRAUDLOOP_DEBUG", env.get("FRAUDLOOP_DEBUG", "")),
        )


def _key(name: str, text: str, size: int) -> bytes | None:
    if not text:
        return None
    if len(text) != 2 * size or not re.fullmatch(r"[0-9a-fA-F]+", text):
        raise InputError(f"{name} must be {2 * size} hex digits; it has {len(text)} characters", variable=name)
    return bytes.fromhex(text)


def _key_id(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]{1,16}", text):
        raise InputError("FRAUDLOOP_TOKEN_KEY_ID must be 1 to 16 letters or digits", variable="FRAUDLOOP_TOKEN_KEY_ID")
    return text


def _currency(text: str) -> str:
    if not re.fullmatch(r"[A-Z]{3}", text):
        raise InputError(f"FRAUDLOOP_BASE_CURRENCY={text!r} is not an ISO 4217 code like EUR", variable="FRAUDLOOP_BASE_CURRENCY")
    return text


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError(f"FRAUDLOOP_ZONE={text!r} is not an IANA time zone like Europe/Berlin", variable="FRAUDLOOP_ZONE") from error
    return text


def _flag(name: str, text: str) -> bool:
    if text.lower() in ("", "0", "false", "no"):
        return False
    if text.lower() in ("1", "true", "yes"):
        return True
    raise InputError(f"{name}={text!r} must be 0 or 1", variable=name)

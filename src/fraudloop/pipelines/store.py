"""The bundle store as commands reach it: where it is, which bundle a reference means, and how a trained one gets in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from fraudloop.clock import Clock, SystemClock
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.store import CANDIDATE, DEFAULT_NAME, PREFIX_CHARACTERS_MIN, BundleStore
from fraudloop.settings import Settings

_HASH: Final = re.compile(rf"^[0-9a-f]{{{PREFIX_CHARACTERS_MIN},64}}$")


def open_store(settings: Settings) -> BundleStore:
    """The store of the settings (FRAUDLOOP_STORE); nothing is made until something is written."""
    return BundleStore(settings.store)


def bundle_of(reference: str | Path, settings: Settings) -> Bundle:
    """The bundle of a folder, or of the store by `NAME@ALIAS` or hash. A folder of that name comes first. BundleError or
    StoreError says what is not there."""
    store, text = open_store(settings), str(reference)
    if isinstance(reference, Path) or Path(text).is_dir():
        return Bundle.load(Path(text))
    if "@" in text or (_HASH.match(text) and store.root.is_dir()):
        return store.get(text)
    return Bundle.load(Path(text))  # says that there is no such folder


def keep_candidate(
    bundle: Bundle, settings: Settings, *, name: str = DEFAULT_NAME, alias: str = CANDIDATE, who: str, why: str, clock: Clock | None = None
) -> str:
    """Put a bundle into the store and let `name@alias` name it, whatever it named before; its hash."""
    store = open_store(settings)
    found = store.put(bundle)
    now = store.alias(f"{name}@{alias}")
    if now != found:
        at_us = (clock or SystemClock()).now_us()
        store.set_alias(f"{name}@{alias}", found, expected=now, who=who, why=why, at_us=at_us)
    return found

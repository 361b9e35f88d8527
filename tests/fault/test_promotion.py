"""Killed between any two file operations, or with the power gone: the store has the old champion or the new one, never none."""

from __future__ import annotations

import shutil
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from fraudloop.errors import CheckFailed, StoreConflict
from fraudloop.scoring.store import BundleStore
from tests.bundles import linear_bundle
from tests.disks import PowerCut, Powered
from tests.fault.promotions import promoted

CHAMP = "payments@champion"

#: Does the same promotion again and again, each time in a copy of the store and a process of its own, killed a moment later.
WORKER = """
import os, shutil, sys
from pathlib import Path
from fraudloop.scoring.store import BundleStore
from tests.bundles import linear_bundle
from tests.disks import Killing
from tests.fault.promotions import promoted

store, copies, expected = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
at, status = 0, 9
while status == 9:
    shutil.copytree(store, copies / str(at))
    child = os.fork()
    if not child:
        promoted(BundleStore(copies / str(at), Killing(at)), 0.2, expected, "kim")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    at += 1
print(status, at - 1)
"""


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    store = BundleStore(tmp_path / "store")
    first = store.put(linear_bundle(0.1))
    store.set_alias(CHAMP, first, expected=None, who="ada", why="first", at_us=1, action="promote")
    return store


def check(folder: Path) -> str:
    """The champion there is: whole, one of the two, and what the history says, before and after the next writer."""
    store = BundleStore(folder)
    old, new = (str(linear_bundle(weight).manifest()["bundle"]) for weight in (0.1, 0.2))
    champion = store.get(CHAMP).hash
    assert champion in (old, new)
    assert store.history()[-1].after == champion
    store.set_alias("payments@challenger", old, expected=store.alias("payments@challenger"), who="next", why="goes on", at_us=3)
    assert store.get(CHAMP).hash == champion
    assert [entry.after for entry in store.history() if entry.alias == "champion"] == [old, new][: 2 if champion == new else 1]
    assert store.verify() == ()
    assert not list(folder.rglob(".*.part")), "what was left half written is gone"
    return champion


def test_killed_at_any_moment_leaves_the_old_champion_or_the_new_one(store: BundleStore, tmp_path: Path) -> None:
    old = store.resolve(CHAMP)
    (tmp_path / "killed").mkdir()
    code = [sys.executable, "-c", WORKER, str(store.root), str(tmp_path / "killed"), old]
    done = subprocess.run(code, capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[2])
    status, moments = (int(word) for word in done.stdout.split())
    assert status == 0
    assert moments > 30
    seen = [check(tmp_path / "killed" / str(at)) != old for at in range(moments)]
    assert seen == sorted(seen), "old up to a moment, new from then on"
    assert {True, False} == set(seen)


def test_with_the_power_gone_at_any_moment_too(store: BundleStore, tmp_path: Path) -> None:
    old = store.resolve(CHAMP)
    folder = tmp_path / "cut" / "store"
    at = 0
    seen = []
    while True:
        if folder.exists():
            shutil.rmtree(folder.parent)
        shutil.copytree(store.root, folder)
        cut = BundleStore(folder, Powered(at))
        try:
            promoted(cut, 0.2, old, "kim")
        except PowerCut:
            seen.append(check(folder) != old)
            at += 1
        else:
            break
    assert seen == sorted(seen)
    assert at > 20


def _promote(folder: str, weight: float, who: str, expected: str, start: Any, results: Any) -> None:
    store = BundleStore(Path(folder))
    store.put(linear_bundle(weight))
    start.wait()
    try:
        promoted(store, weight, expected, who)
        results.put((who, "won", ""))
    except (StoreConflict, CheckFailed) as error:
        results.put((who, "lost", str(error)))


def test_of_two_who_promote_at_once_one_wins_and_the_other_learns_who(store: BundleStore) -> None:
    old = store.resolve(CHAMP)
    context = get_context("spawn")
    start, results = context.Barrier(3), context.Queue()
    people = [context.Process(target=_promote, args=(str(store.root), 0.3 + n / 10, f"p{n}", old, start, results)) for n in range(3)]
    for process in people:
        process.start()
    said = sorted((results.get(timeout=60) for _ in people), key=lambda row: row[1])
    for process in people:
        process.join()
    assert [row[1] for row in said] == ["lost", "lost", "won"]
    # Late by a moment, the store says who won; late by more, the report is stale before the store is asked.
    assert all(f"{said[2][0]} moved it" in row[2] or "stale" in row[2] for row in said[:2])
    assert [entry.who for entry in store.history()] == ["ada", said[2][0]]
    assert store.verify() == ()

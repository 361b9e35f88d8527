"""Whatever the writer does and whenever power or process go: what was flushed is there, in order, and nothing is invented."""

from __future__ import annotations

import contextlib
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudloop.errors import LedgerError
from fraudloop.ledger.log import Log, Reader, verify
from fraudloop.ledger.simulated import PowerLoss, SimulatedFiles

#: append a group of so many records | flush | open anew
STEPS = st.lists(st.one_of(st.integers(1, 4), st.just("flush"), st.just("open")), min_size=1, max_size=25)


#: Zeros that the writer keeps ahead.
AHEAD = st.sampled_from((0, 150, 700, 5_000))


def run(files: SimulatedFiles, steps: list[int | str], appended: list[bytes], answered: list[int], ahead: int = 0) -> None:
    """Follow the steps; `appended` and `answered` say how far it got, whatever ends it."""
    log = Log.open(files, segment_bytes=900, ahead_bytes=ahead, random=lambda n: bytes(n))
    answered.append(0)
    for step in steps:
        if step == "flush":
            answered.append(log.flush())
        elif step == "open":
            log.close()
            log = Log.open(files, segment_bytes=900, ahead_bytes=ahead)
            answered.append(len(appended))
        else:
            records = [b"%d:" % (len(appended) + n) + b"x" * (37 * (len(appended) + n) % 700) for n in range(int(step))]
            appended.extend(records)
            log.append(log.epoch, records)


def recovered(files: SimulatedFiles) -> list[bytes]:
    Log.open(files).close()
    verify(files)
    return [record for group in Reader(files).read() for record in group.records]


@given(steps=STEPS, ahead=AHEAD, crash=st.integers(1, 120), seed=st.integers(0, 10_000), power=st.booleans())
@settings(max_examples=400, deadline=None)
def test_after_a_crash_at_any_step_all_that_was_answered_is_there_and_nothing_else_is(
    steps: list[int | str], ahead: int, crash: int, seed: int, power: bool
) -> None:
    files = SimulatedFiles(crash_at=crash)
    appended: list[bytes] = []
    answered: list[int] = []
    with contextlib.suppress(PowerLoss):
        run(files, steps, appended, answered, ahead)
    random = Random(seed)
    found = files.after_power_loss(random) if power else files.after_kill()
    first = recovered(found)
    assert first == appended[: len(first)] and len(first) >= max(answered, default=0)
    # Crashes while recovering from the crash change nothing.
    for again in range(1, 12):
        found.crash_at = found.steps + again
        with contextlib.suppress(PowerLoss):
            Log.open(found)
        found = found.after_power_loss(random) if power else found.after_kill()
        assert recovered(found) == first


@given(steps=STEPS, ahead=AHEAD, fail=st.integers(1, 120))
@settings(max_examples=200, deadline=None)
def test_a_disk_that_fails_at_any_step_loses_nothing_that_was_answered(steps: list[int | str], ahead: int, fail: int) -> None:
    files = SimulatedFiles(fail_at=fail)
    appended: list[bytes] = []
    answered: list[int] = []
    try:
        run(files, steps, appended, answered, ahead)
    except (LedgerError, OSError):
        files.close()
    files.fail_at = None
    found = recovered(files.after_kill())
    assert found == appended[: len(found)] and len(found) >= max(answered, default=0)


def test_the_model_of_a_disk_does_lose_and_tear() -> None:
    """Or the tests above would show nothing."""
    files = SimulatedFiles()
    files.create("a", b"synced")
    files.write("a", 6, b"x" * 2_000)
    kinds = set()
    for seed in range(200):
        data = files.after_power_loss(Random(seed)).read("a", 0, 9_999)
        assert data.startswith(b"synced")
        kinds.add("whole" if data == b"synced" + b"x" * 2_000 else "lost" if data == b"synced" else "holes" if b"\0" in data else "short")
    assert kinds == {"whole", "lost", "holes", "short"}
    # Over zeros that are on disk: some sectors of it, and the length stays.
    files.extend("a", 5_000)
    files.sync("a")
    files.write("a", 2_006, b"z" * 2_000)
    kinds = set()
    for seed in range(200):
        data = files.after_power_loss(Random(seed)).read("a", 0, 9_999)
        assert data.startswith(b"synced" + b"x" * 2_000) and len(data) == 5_000
        kinds.add({0: "lost", 2_000: "whole"}.get(data.count(b"z"), "holes"))
    assert kinds == {"whole", "lost", "holes"}


def test_without_the_flush_before_a_segment_the_model_would_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery that does not sync what it read can lose it under the segment after it: the tests above would find that."""
    found_it = False
    for crash in range(1, 60):
        for seed in range(6):
            files, answered = SimulatedFiles(crash_at=crash), list[int]()
            monkeypatch.setattr(SimulatedFiles, "sync", lambda self, name: self._step())
            with contextlib.suppress(PowerLoss):
                run(files, [3, "flush", 2, "open", 3, "flush", 2, "open"], [], answered)
            monkeypatch.undo()
            try:
                found_it |= len(recovered(files.after_power_loss(Random(seed)))) < max(answered, default=0)
            except LedgerError:
                found_it = True
    assert found_it

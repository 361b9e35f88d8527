"""From snapshot and log to the state, whatever is wrong with a snapshot; what is kept, and what a table of ids says."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.identity import DEFAULT_KEY
from fraudloop.engine import known as known_table
from fraudloop.engine.known import Known
from fraudloop.engine.recovery import SNAPSHOTS_KEPT, Follower, newest_first, recover
from fraudloop.engine.snapshots import Snapshots, write
from fraudloop.engine.state import State
from fraudloop.errors import LedgerError, RefoldNeeded
from fraudloop.ledger.log import Log, Reader, drop_before
from fraudloop.ledger.positions import Positions
from fraudloop.ledger.records import Activated, Labelled, Record, encode
from fraudloop.ledger.simulated import SimulatedFiles
from tests.engines import Machine, Script, clean, same_state
from tests.ledgers import BEGIN_US, activated, configured, records_of
from tests.ledgers import write as write_log


def run_twice(folder: Path, seed: int = 5) -> Machine:
    """A log with two snapshots and a tail."""
    machine = Machine(folder, SimulatedFiles()).open()
    for at in range(3):
        Script(seed * 10 + at, steps=25).run(renamed(machine, at))
        if at < 2:
            machine.snapshot()
    return machine


def renamed(machine: Machine, at: int) -> Machine:
    """Later scripts begin their ids anew: their payments are others."""
    ask = machine.ask

    def other(row: dict[str, Any], decide: bool = True) -> Any:
        return ask({**row, "transaction_id": f"{at}-{row['transaction_id']}"}, decide)

    machine.ask = other  # type: ignore[method-assign]
    return machine


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    machine = run_twice(tmp_path_factory.mktemp("recorded"))
    machine.close()
    return machine


@pytest.fixture
def snapshots(recorded: Machine, tmp_path: Path) -> Path:
    """A copy of the two snapshots, to be damaged."""
    return Path(shutil.copytree(recorded.service.config.snapshots, tmp_path / "snapshots"))


def test_a_snapshot_and_the_tail_are_the_whole_fold(recorded: Machine, snapshots: Path) -> None:
    assert len(newest_first(snapshots)) == 2
    found = recover(recorded.files, snapshots, DEFAULT_KEY)
    assert not found.passed_over
    same_state(found.state, clean(recorded.files))
    assert found.state.chain == clean(recorded.files).chain


DAMAGES = ["byte of state.msgpack", "byte of known.rows", "byte of labels.rows", "byte of fold.state", "half", "missing", "empty"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_snapshot_is_passed_over_with_its_reason(recorded: Machine, snapshots: Path, damage: str) -> None:
    newest = newest_first(snapshots)[0]
    random = Random(1)
    if damage.startswith("byte of"):
        path = newest / damage.removeprefix("byte of ")
        if not path.stat().st_size:
            pytest.skip(f"{path.name} is empty in this log")
        data = bytearray(path.read_bytes())
        data[random.randrange(len(data))] ^= 0x10
        path.write_bytes(data)
    elif damage == "half":
        path = newest / "fold.state"
        os.truncate(path, path.stat().st_size // 2)
    elif damage == "missing":
        (newest / "known.rows").unlink()
    else:
        for path in newest.iterdir():
            path.unlink()
    found = recover(recorded.files, snapshots, DEFAULT_KEY)
    assert len(found.passed_over) == 1 and newest.name in found.passed_over[0]
    same_state(found.state, clean(recorded.files))


def test_snapshots_of_another_key_or_another_log_are_passed_over(recorded: Machine, snapshots: Path, tmp_path: Path) -> None:
    other = run_twice(tmp_path / "other", seed=6)
    other.close()
    found = recover(other.files, snapshots, DEFAULT_KEY)
    assert len(found.passed_over) == 2 and all("another log" in why or "gone" in why or "LSN" in why for why in found.passed_over)
    same_state(found.state, clean(other.files))
    key = bytes(range(16))
    passed = recover(recorded.files, snapshots, key)
    assert len(passed.passed_over) == 2 and all("another key" in why for why in passed.passed_over)
    assert passed.state.next_lsn == clean(recorded.files).next_lsn


def test_a_snapshot_that_is_ahead_of_the_log_is_passed_over(recorded: Machine, snapshots: Path) -> None:
    """Of a log that was restored from an older copy."""
    shorter = SimulatedFiles()
    log = Log.open(shorter, random=lambda n: bytes(n))
    log.append(log.epoch, [encode(configured()), encode(activated())])
    log.close()
    found = recover(shorter, snapshots, DEFAULT_KEY)
    assert len(found.passed_over) == 2 and found.state.next_lsn == 2


def test_an_unfinished_snapshot_is_never_read_and_the_next_one_removes_it(recorded: Machine, snapshots: Path) -> None:
    half = snapshots / ".00000000000000000099.new"
    shutil.copytree(newest_first(snapshots)[0], half)
    (half / "known.rows").unlink()
    assert not recover(recorded.files, snapshots, DEFAULT_KEY).passed_over
    state = clean(recorded.files)
    write(snapshots, state)
    assert not half.exists()
    kept = newest_first(snapshots)
    assert len(kept) == SNAPSHOTS_KEPT == 2 and int(kept[0].name) == state.next_lsn
    same_state(recover(recorded.files, snapshots, DEFAULT_KEY).state, state)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_snapshot_is_written_by_a_child_that_holds_nothing_of_its_parents(recorded: Machine, tmp_path: Path) -> None:
    read, held = os.pipe()
    state = clean(recorded.files)
    snapshots = Snapshots(tmp_path / "snapshots", 1, 3_600.0)
    assert snapshots.due(state)
    snapshots.begin(state)
    os.close(held)
    assert os.read(read, 1) == b"", "the child has let go of what its parent had open"
    snapshots.wait()
    os.close(read)
    assert not snapshots.due(state)
    same_state(recover(recorded.files, tmp_path / "snapshots", DEFAULT_KEY).state, state)


def test_features_that_the_kept_events_do_not_hold_are_folded_from_the_beginning(tmp_path: Path) -> None:
    """A model with a longer window was put in force late in the log: recovery folds all of it under that."""
    narrow, wide = FeatureSet.load("compact"), FeatureSet.load("default")
    told: list[Record] = [record for record in records_of(300, seed=4, features=narrow) if not isinstance(record, Labelled)]
    files = SimulatedFiles()
    records: list[Record] = [
        *told[:150],
        Activated("features", wide.hash, wide.merge(narrow).to_dict(), "ann", "a new model", BEGIN_US),
        *told[150:],
    ]
    write_log(files, records)
    with pytest.raises(RefoldNeeded):
        Follower(files, State(DEFAULT_KEY), Reader(files, 0)).follow()
    found = recover(files, None, DEFAULT_KEY)
    assert found.state.next_lsn == len(records)
    whole = SimulatedFiles()
    write_log(
        whole, [told[0], Activated("features", wide.hash, wide.merge(narrow).to_dict(), "ann", "from the start", BEGIN_US), *told[2:]]
    )
    assert found.state.digest() == recover(whole, None, DEFAULT_KEY).state.digest()
    # And from a snapshot of before, too.
    state = State(DEFAULT_KEY)
    reader = Reader(files, 0)
    for group in reader.read():
        if group.next_lsn > 140:
            break
        state.apply(group)
        state.chain = reader.digest
    write(tmp_path / "snapshots", state)
    again = recover(files, tmp_path / "snapshots", DEFAULT_KEY)
    assert again.state.digest() == found.state.digest() and again.state.next_lsn == len(records)


# --- tables -----------------------------------------------------------------------------------------------------------

WORDS = st.integers(-(1 << 63), (1 << 63) - 1)
#: Fingerprints that fall on one place of the table, and any.
PRINTS = st.one_of(st.integers(0, 20).map(lambda n: n << 40), st.integers(-3, 3), WORDS)


@given(st.lists(st.one_of(st.lists(st.tuples(PRINTS, st.integers(0, 1_000)), max_size=40), st.integers(0, 1_000)), max_size=12))
def test_the_table_of_ids_is_a_dict(script: list[list[tuple[int, int]] | int]) -> None:
    known, plain = Known(), dict[int, int]()
    for step in script:
        if isinstance(step, int):
            known.drop_before(step)
            plain = {name: lsn for name, lsn in plain.items() if lsn >= step}
        else:
            known.put(np.array([name for name, _ in step], np.int64), np.array([lsn for _, lsn in step], np.int64))
            plain.update(step)
        assert len(known) == len(plain)
        asked = [*plain, 7, -1, 5 << 40]
        assert known.get(np.array(asked, np.int64)).tolist() == [plain.get(name, -1) for name in asked]
        assert dict(known.rows().tolist()) == plain


def test_the_table_of_ids_grows_and_keeps_all() -> None:
    known, random = Known(), np.random.default_rng(3)
    names = np.unique(random.integers(-(1 << 63), 1 << 63, 20_000, np.int64))
    for begin in range(0, len(names), 777):
        known.put(names[begin : begin + 777], np.arange(begin, min(begin + 777, len(names))))
    assert known.get(names).tolist() == list(range(len(names))) and len(known) == len(names)


@pytest.mark.parametrize("seed", [1, 2])
def test_while_the_table_of_ids_goes_over_into_a_larger_one_it_is_a_dict(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_table, "_ROWS_MIN", 16)
    known, plain, random = Known(), dict[int, int](), np.random.default_rng(seed)
    between, larger, told = 0, 0, set[int]()
    if seed == 2:
        known.look_ahead(lambda address, size: told.add(address))
    for step in range(400):
        # Ids of before come again with another LSN, those that have gone over and those that have not; many fall on one place.
        names = np.unique(random.integers(0, 1 + 3 * step, random.integers(1, 6))) << random.choice([0, 40])
        lsns = np.arange(step * 10, step * 10 + len(names))
        following, size = known._next, len(known._rows)
        known.put(names, lsns)
        if seed == 2 and len(known._rows) > size >= 128:  # of smaller ones a few ids fill what is left at once
            assert known._rows is following and following.ctypes.data in told, "a larger table is laid out before it is written"
            larger += 1
        plain.update(zip(names.tolist(), lsns.tolist(), strict=True))
        between += len(known._old) > 0
        if step % 9 == 0 or len(known._old):
            assert known.get(np.array([*plain], np.int64)).tolist() == [*plain.values()]
            assert known.get(np.array([-5, 1 << 50])).tolist() == [-1, -1]
            assert dict(known.rows().tolist()) == plain and len(known) == len(plain)
        if step % 150 == 149:
            known.drop_from(step * 9)
            plain = {name: lsn for name, lsn in plain.items() if lsn < step * 9}
    assert between > 20, "some steps were between two tables"
    assert seed == 1 or larger, "one of them grew"


def test_no_step_moves_the_whole_table_of_ids() -> None:
    known, moved = Known(), []
    for begin in range(0, 100_000, 64):
        before = known._over
        known.put(np.arange(begin, begin + 64) * 2_654_435_761, np.arange(begin, begin + 64))
        moved.append(max(0, known._over - before))
    assert max(moved) <= 8 * 64 and len(known) == 100_032


def test_positions_after_retention_say_what_is_gone_and_find_the_rest() -> None:
    files, positions = SimulatedFiles(), Positions()
    log = Log.open(files, segment_bytes=2_000)
    for n in range(0, 300, 3):
        positions.add(log.append(log.epoch, [b"%d" % at * 9 for at in range(n, n + 3)]), *log.place)
    log.flush()
    assert drop_before(files, 200) > 0
    first = Reader(files, 200)
    assert next(first.read()).first_lsn <= 200
    positions.drop_before(200)
    copy = Positions.from_dict(positions.to_dict())
    for held in (positions, copy):
        for lsn in range(200, 300):
            assert held.read(files, lsn) == b"%d" % lsn * 9
        with pytest.raises(LedgerError):
            held.read(files, 0)
    log.close()

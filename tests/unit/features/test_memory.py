"""Keys by the thousand: the key table, the list of headers and the arena grow in the middle of a step, and nothing is lost."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from fraudloop.domain.definitions import FeatureDefinition, Kind
from fraudloop.features import fold as fold_module
from fraudloop.features import memory
from fraudloop.features.fold import Fold
from fraudloop.features.layout import C_SLOTS, C_TOP, G_RESERVE, T_CODE
from fraudloop.features.plan import compile_plan
from fraudloop.limits import DAY_US, SECOND_US
from tests.large import START_US, assert_same_bits, expected, feature_set, payments, windows
from tests.oracle import differences, oracle
from tests.strategies import every_feature, to_events

FEATURES = windows((DAY_US,), (0,), (False,), over=("device",))


@numba.njit
def size_class(words: Any) -> Any:
    return memory.size_class(words)


@numba.njit
def mix(a: Any, b: Any) -> Any:
    return memory.mix(a, b)


def test_thousands_of_new_keys_in_one_step_are_all_found_again() -> None:
    n = 60_000
    chance = np.random.default_rng(1)
    customer = chance.integers(1, 20_000, n)
    time = START_US + np.arange(n, dtype=np.int64) * SECOND_US
    events = payments(
        FEATURES, time, keys={"customer": customer, "device": chance.integers(1, 40_000, n)}, numbers={"amount": chance.integers(0, 99, n)}
    )
    fold = Fold(compile_plan(FEATURES))
    values = fold.step(events).values
    named = len(np.unique(customer)) + len(np.unique(events.keys[:, events.key_names.index("device"), 0]))
    assert fold.counts()["keys"] == named
    assert fold.counts()["headers"] == len(np.unique(customer))
    rows = np.concatenate([chance.integers(0, n, 60), np.arange(n - 60, n)])
    assert_same_bits(values[rows], expected(FEATURES, events, rows), FEATURES.names, rows)
    assert fold.verify()


@pytest.mark.parametrize("size", [1, 7, 4_096])
def test_growing_at_another_event_changes_nothing(size: int) -> None:
    n = 8_000
    chance = np.random.default_rng(2)
    time = START_US + np.arange(n, dtype=np.int64) * SECOND_US
    events = payments(FEATURES, time, keys={"customer": chance.integers(1, 5_000, n), "device": chance.integers(1, 9_000, n)})
    whole, cut = Fold(compile_plan(FEATURES)), Fold(compile_plan(FEATURES))
    right = whole.step(events).values
    got = np.concatenate([cut.step(events[i : i + size]).values for i in range(0, n, size)])
    np.testing.assert_array_equal(got, right)
    assert cut.digest() == whole.digest()
    assert cut.size_bytes() == whole.size_bytes()


def test_an_arena_that_is_full_in_the_middle_of_a_step_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """With as little memory as a plan may start with, and hardly more each time, so that it is enlarged again and again."""
    many = payments_of_many(20_000)
    plan = compile_plan(FEATURES)
    roomy = Fold(plan)
    right = roomy.step(many).values
    grow, grown = fold_module._Arena.grow, []

    def little_by_little(self: fold_module._Arena, words: int) -> None:
        least = int(self.words[C_TOP]) + 2 * int(plan.general[G_RESERVE]) + 4_096
        grown.append(least)
        grow(self, least)

    monkeypatch.setattr(fold_module, "_FIRST_BYTES", 4_096)
    monkeypatch.setattr(fold_module, "_LARGE_PAGE", 4_096)
    monkeypatch.setattr(fold_module._Arena, "grow", little_by_little)
    fold = Fold(plan)
    np.testing.assert_array_equal(fold.step(many).values, right)
    assert len(grown) > 20
    assert fold.verify()
    assert fold.digest() == roomy.digest()
    assert fold.size_bytes() == roomy.size_bytes()


def payments_of_many(customers: int) -> Any:
    """Eight payments of each of many customers, in turns."""
    n = customers * 8
    time = START_US + np.arange(n, dtype=np.int64) * (SECOND_US // 100)
    return payments(
        FEATURES,
        time,
        keys={"customer": np.arange(n) % customers + 1, "device": np.arange(n) % 50 + 1},
        numbers={"amount": np.arange(n) % 7},
    )


def test_an_arena_where_the_system_cannot_move_memory_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    many = payments_of_many(20_000)
    plan = compile_plan(FEATURES)
    right = Fold(plan)
    expected_values = right.step(many).values
    real = mmap.mmap

    class Fixed(real):  # type: ignore[misc,valid-type]
        def resize(self, size: int) -> None:
            raise SystemError("mmap: resizing not available--no mremap()")

    monkeypatch.setattr(mmap, "mmap", Fixed)
    monkeypatch.setattr(fold_module, "_FIRST_BYTES", 4096)
    fold = Fold(plan)
    before = len(fold._arena.words)
    np.testing.assert_array_equal(fold.step(many).values, expected_values)
    assert len(fold._arena.words) > before
    assert fold.digest() == right.digest()


@pytest.mark.parametrize("sizes", [[256] * 740, [131_000, 100, 20_000, 38_000]], ids=["small steps", "a large one in the midst of it"])
def test_a_key_table_is_gone_through_once_when_it_grows_unless_very_many_keys_come_at_once(
    sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going through a table of millions of rows again would hold every payment up: keys that come behind the copying are listed."""
    n = sum(sizes)
    keys = np.random.default_rng(5).permutation(n) + 1  # every payment another device, all of one customer
    events = payments(FEATURES, START_US + np.arange(n, dtype=np.int64) * SECOND_US, keys={"device": keys})
    real, missed = fold_module.Fold._end_growth, []

    def end(fold: Fold) -> None:
        growth = fold._growth
        real(fold)
        missed.append(growth is not None and growth.missed)
        assert np.count_nonzero(fold._table[:, T_CODE]) == fold.counts()["keys"], "no key is left behind, and none is there twice"

    fold, plain = Fold(compile_plan(FEATURES)), Fold(compile_plan(FEATURES))
    right = plain.step(events).values, plain.step(events).values
    monkeypatch.setattr(fold_module.Fold, "_end_growth", end)
    ends = np.cumsum(sizes)
    got = [fold.step(events[end - size : end]).values for size, end in zip(sizes, ends.tolist(), strict=True)]
    assert len(missed) >= 3 and sum(missed) == (len(sizes) < 10)
    np.testing.assert_array_equal(np.concatenate(got), right[0])
    np.testing.assert_array_equal(fold.step(events).values, right[1])  # every key is found again
    assert fold.counts()["keys"] == n + 1
    assert fold.digest() == plain.digest()


def test_the_places_of_headers_grow_without_being_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of millions would hold every payment up for a tenth of a second."""
    monkeypatch.setattr(fold_module, "_FIRST_BYTES", 4096)
    monkeypatch.setattr(fold_module, "_LARGE_PAGE", 4096)
    many = payments_of_many(20_000)
    plan = compile_plan(FEATURES)
    fold, plain = Fold(plan), Fold(plan)
    before = len(fold._slots.words)
    real, copied = fold_module._Arena.grow, []

    def grow(arena: fold_module._Arena, words: int) -> None:
        memory = arena._map
        real(arena, words)
        copied.append(arena._map is not memory)

    monkeypatch.setattr(fold_module._Arena, "grow", grow)
    for i in range(0, len(many), 1_000):
        np.testing.assert_array_equal(fold.step(many[i : i + 1_000]).values, plain.step(many[i : i + 1_000]).values)
    assert len(fold._slots.words) >= 20_000 > before and copied and not any(copied)


def test_a_restored_state_goes_on_growing(tmp_path: Path) -> None:
    many = payments_of_many(9_000)
    plan = compile_plan(FEATURES)
    whole, fold = Fold(plan), Fold(plan)
    right = whole.step(many).values
    parts = []
    for i in range(0, len(many), 18_000):
        parts.append(fold.step(many[i : i + 18_000]).values)
        fold.snapshot(tmp_path / "state")
        fold = Fold.restore(tmp_path / "state")
    np.testing.assert_array_equal(np.concatenate(parts), right)
    assert fold.digest() == whole.digest()
    assert fold.size_bytes() == whole.size_bytes()


def test_who_lays_memory_out_is_told_of_it_before_it_is_written_and_changes_nothing() -> None:
    n = 60_000
    events = payments(
        FEATURES, START_US + np.arange(n, dtype=np.int64) * SECOND_US, keys={"device": np.random.default_rng(2).integers(1, 30_000, n)}
    )
    plain, ahead = Fold(compile_plan(FEATURES)), Fold(compile_plan(FEATURES))
    laid_out, slots, tables = [], [], []

    def told(address: int, size: int) -> None:
        arena, headers = ahead._arena.words, ahead._slots.words
        if 0 <= (begin := address - arena.ctypes.data) < arena.nbytes:
            laid_out.append(begin + size)
        elif 0 <= (begin := address - headers.ctypes.data) < headers.nbytes:
            slots.append(begin + size)
        else:
            tables.append((address, size))

    ahead.look_ahead(told)
    for i in range(0, n, 500):
        assert laid_out[-1] > 8 * int(ahead._arena.words[C_TOP]), "something is always laid out"
        assert slots[-1] > 8 * int(ahead._arena.words[C_SLOTS]), "of the places of headers too"
        part = events[i : i + 500]
        assert ahead.step(part).values.tobytes() == plain.step(part).values.tobytes()
    assert len(laid_out) > 1 and laid_out == sorted({*laid_out}), "more, as it grows"
    assert (ahead._table.ctypes.data, ahead._table.nbytes) in tables, "the larger table of keys too"
    assert ahead.digest() == plain.digest()


def test_keys_that_differ_in_one_bit_or_half_or_place_are_apart() -> None:
    """Every 128-bit pattern is a key but null, and the same bits as customer, merchant and value are three."""
    features = every_feature((DAY_US,), (0,))
    names = [f.name for f in features.features if f.kind in (Kind.COUNT, Kind.DISTINCT, Kind.IS_NEW) and not f.exclude_current]
    features = features.select(names)
    top = 2**64 - 1
    keys = [(0, 1), (1, 0), (1, 1), (0, 2**63), (2**63, 0), (top, top), (top, 0), (0, top), (0, 0x9E3779B97F4A7C15), (2**32, 2**32)]
    rows: list[tuple[int, int, int, dict[str, tuple[int, int]], dict[str, int]]] = []
    for i, customer in enumerate(keys * 2):
        merchant = keys[(i * 3) % len(keys)]
        named = {"customer": customer, "merchant": merchant, "channel": keys[(i * 7) % len(keys)], "country": merchant}
        rows.append((2, START_US + i * SECOND_US, START_US + i * SECOND_US, named, {}))
    events = to_events(features, rows)
    got = Fold(compile_plan(features)).step(events)
    assert differences(oracle(features, events), got.values) == []


def test_keys_whose_hashes_meet_in_one_row_are_told_apart() -> None:
    """The table looks from a key's low bits on: here they are all the same."""
    n = 600
    features = feature_set([FeatureDefinition("count", Kind.COUNT, "customer", window_us=DAY_US)])
    events = payments(features, START_US + np.arange(2 * n, dtype=np.int64))
    events.keys[:, 0, 0] = np.arange(2 * n) % n
    events.keys[:, 0, 1] = 5 + (np.arange(2 * n, dtype=np.uint64) % 2) * np.uint64(2**40)
    got = Fold(compile_plan(features)).step(events).values[:, 0]
    # n is even: key i comes with the same second half both times.
    assert got.tolist() == [1.0] * n + [2.0] * n


@pytest.mark.parametrize("words", [*range(1, 70), 100, 127, 128, 129, 1_000, 65_535, 65_536, 65_537, 3_000_000])
def test_a_block_is_at_most_a_quarter_larger_than_asked_for(words: int) -> None:
    kind, size = size_class(words)
    assert words <= size <= max(words * 1.25, words + 1)
    assert size_class(size) == (kind, size), "a block that is given back is found for the same size"
    assert kind < 256
    assert words == 1 or size_class(words - 1)[0] in (kind, kind - 1), "no class is left out between two sizes"


@pytest.mark.parametrize("change", [lambda x: x ^ 1, lambda x: x + 1, lambda x: x ^ (1 << 62), lambda x: -x])
def test_items_of_the_digest_change_in_half_of_their_bits(change: Callable[[int], int]) -> None:
    chance = np.random.default_rng(9)
    flips = []
    for a, b in chance.integers(-(2**62), 2**62, (200, 2)).tolist():
        others = (mix(change(a), b), mix(a, change(b)))
        flips += [((int(mix(a, b)) ^ int(other)) & (2**64 - 1)).bit_count() for other in others]
    assert min(flips) > 0
    assert 28 < np.mean(flips) < 36

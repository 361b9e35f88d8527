"""Personal fields: sealed, erased one subject at a time, and never missed by the fold."""

from __future__ import annotations

import contextlib
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.assemble import columns_of
from fraudloop.door.batch import Batcher
from fraudloop.door.identity import hash_text, hash_texts
from fraudloop.errors import LedgerError
from fraudloop.features.fold import Fold
from fraudloop.features.plan import compile_plan
from fraudloop.ledger import personal
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.log import Log, Reader, verify
from fraudloop.ledger.personal import Sealing, Vault, sealing_of, subject_of, unseal_rows, with_hashes
from fraudloop.ledger.punctured import Punctured
from fraudloop.ledger.records import Configured, Transacted, decode_all, encode
from fraudloop.ledger.simulated import PowerLoss, SimulatedFiles
from tests.ledgers import COLUMNS, row_of

WHO = hash_texts([f"c{n}" for n in range(40)])


# --- the tree ---------------------------------------------------------------------------------------------------------


def plain_seed(root: bytes, leaf: int) -> tuple[int, int]:
    """A leaf's seed by the definition: 32 steps down from the root."""
    seed = root
    for level in range(32):
        child = leaf >> (62 - 2 * level) & 3
        first, second = hash_text(chr(child), seed)
        seed = first.to_bytes(8, "little") + second.to_bytes(8, "little")
    return int.from_bytes(seed[:8], "little"), int.from_bytes(seed[8:], "little")


@given(
    leaves=st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 20) | st.integers(2**64 - 20, 2**64 - 1), min_size=1, max_size=12, unique=True),
    cut=st.integers(0, 12), root=st.binary(min_size=16, max_size=16),
)  # fmt: skip
def test_cut_leaves_are_gone_and_all_others_are_what_they_were(leaves: list[int], cut: int, root: bytes) -> None:
    tree = Punctured.whole(root)
    for leaf in leaves[:cut]:
        assert tree.puncture(leaf) and not tree.puncture(leaf)
    tree = Punctured.decode(tree.encode())
    seeds, there = tree.seeds(np.array(leaves, np.uint64))
    for at, leaf in enumerate(leaves):
        assert there[at] == (at >= cut)
        assert tuple(seeds[at].tolist()) == (plain_seed(root, leaf) if at >= cut else (0, 0))


def test_no_node_that_is_left_lies_above_a_cut_leaf() -> None:
    tree, random = Punctured.whole(bytes(range(16))), Random(1)
    cut = [random.getrandbits(64) for _ in range(200)]
    for leaf in cut:
        tree.puncture(leaf)
    nodes = list(zip(tree._first.tolist(), tree._level.tolist(), strict=True))
    assert nodes == sorted(nodes)
    for leaf in cut:
        assert all(leaf >> (64 - 2 * level) != first >> (64 - 2 * level) for first, level in nodes)
    assert sum(4 ** (32 - level) for _, level in nodes) == 2**64 - len(cut)


def test_a_puncture_of_a_copy_does_not_reach_the_other() -> None:
    tree = Punctured.whole(bytes(16))
    tree.copy().puncture(7)
    assert tree.seeds(np.array([7], np.uint64))[1][0]


# --- the vault --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["folder", "simulated"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> FolderFiles | SimulatedFiles:
    return FolderFiles(tmp_path / "vault") if request.param == "folder" else SimulatedFiles()


def test_what_was_sealed_opens_for_its_subject_over_restarts_until_it_is_erased(files: FolderFiles | SimulatedFiles) -> None:
    vault = Vault.open(files)
    blobs = [b"%d" % n * n for n in range(40)]
    sealed = vault.seal_many(WHO, blobs)
    assert all(blob not in held for blob, held in zip(blobs[8:], sealed[8:], strict=True))
    again = Vault.open(files, make=False)
    assert [again.unseal(who, held) for who, held in zip(WHO, sealed, strict=True)] == blobs
    assert again.erase(WHO[3]) == 0
    for reader in (again, Vault.open(files)):
        assert [reader.unseal(who, held) for who, held in zip(WHO, sealed, strict=True)] == [*blobs[:3], None, *blobs[4:]]
        assert reader.erased == 1 and reader.nodes == 96


def test_erasing_the_same_key_again_changes_nothing(files: FolderFiles | SimulatedFiles) -> None:
    vault = Vault.open(files)
    assert vault.erase(WHO[1]) == 0
    before = files.read("vault", 0, 10**6)
    assert vault.erase(WHO[1], 0) == 0
    assert files.read("vault", 0, 10**6) == before and vault.erased == 1


def test_a_subject_that_comes_back_gets_a_new_key_and_can_be_erased_again(files: FolderFiles | SimulatedFiles) -> None:
    vault = Vault.open(files)
    held = []
    for generation in range(3):
        [blob] = vault.seal_many(WHO[:1], [b"x%d" % generation])
        assert vault.generation(WHO[0]) == generation
        assert vault.unseal(WHO[0], blob) == b"x%d" % generation
        held.append(blob)
        assert vault.erase(WHO[0]) == generation
        assert [vault.unseal(WHO[0], old) for old in held] == [None] * (generation + 1)


def test_another_subject_another_vault_and_a_changed_byte_are_refused() -> None:
    vault = Vault.open(SimulatedFiles())
    [held] = vault.seal_many(WHO[:1], [b"secret"])
    with pytest.raises(LedgerError, match="another vault"):
        Vault.open(SimulatedFiles()).unseal(WHO[0], held)
    with pytest.raises(LedgerError, match="another vault"):
        vault.unseal(WHO[1], held)
    for at in range(len(held)):
        changed = bytearray(held)
        changed[at] ^= 1
        with pytest.raises(LedgerError):
            vault.unseal(WHO[0], bytes(changed))
    with pytest.raises(LedgerError, match="newer"):
        vault.unseal(WHO[0], b"")


def test_a_vault_that_is_missing_or_damaged_is_said_to_be(files: FolderFiles | SimulatedFiles) -> None:
    with pytest.raises(LedgerError, match="no vault"):
        Vault.open(files, make=False)
    Vault.open(files).erase(WHO[0])
    data = files.read("vault", 0, 10**6)
    for at in (0, 20, len(data) // 2, len(data) - 1):
        changed = bytearray(data)
        changed[at] ^= 1
        files.create("vault", bytes(changed))
        with pytest.raises(LedgerError, match="damaged"):
            Vault.open(files)


def test_nobody_is_not_erased_and_the_number_of_erasures_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    vault = Vault.open(SimulatedFiles())
    with pytest.raises(LedgerError, match="nobody"):
        vault.erase(np.zeros(2, np.uint64))
    monkeypatch.setattr(personal, "VAULT_ERASED_MAX", 2)
    vault.erase_many([(WHO[0], None), (WHO[1], None)])
    with pytest.raises(LedgerError, match="at most 2"):
        vault.erase(WHO[2])
    assert vault.erase(WHO[0], 0) == 0


def test_the_ciphers_that_are_kept_ready_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(personal, "VAULT_CACHE", 16)
    vault = Vault.open(SimulatedFiles())
    for begin in range(0, 40, 8):
        sealed = vault.seal_many(WHO[begin : begin + 8], [b"x"] * 8)
        assert len(vault._ready) <= 16
        assert [vault.unseal(who, held) for who, held in zip(WHO[begin : begin + 8], sealed, strict=True)] == [b"x"] * 8


def test_the_folder_overwrites_the_old_file_of_a_scrubbed_one(tmp_path: Path) -> None:
    files = FolderFiles(tmp_path)
    files.create("vault", b"old secret")
    (tmp_path / "other-name").hardlink_to(tmp_path / "vault")
    files.create("vault", b"new", scrub=True)
    assert (tmp_path / "other-name").read_bytes() == bytes(10)
    assert (tmp_path / "vault").read_bytes() == b"new"


@given(
    steps=st.lists(st.integers(0, 5), min_size=1, max_size=6), crash=st.integers(1, 30), seed=st.integers(0, 10_000), power=st.booleans()
)
@settings(max_examples=200)
def test_a_cut_at_any_step_leaves_each_subject_readable_or_erased_and_those_that_were_told_are_erased(
    steps: list[int], crash: int, seed: int, power: bool
) -> None:
    files = SimulatedFiles()
    vault = Vault.open(files)
    sealed = vault.seal_many(WHO[:6], [b"x"] * 6)
    files.crash_at = files.steps + crash
    told: set[int] = set()
    asked: set[int] = set()
    with contextlib.suppress(PowerLoss):
        for step in steps:
            asked.add(step)
            vault.erase(WHO[step], 0)
            told.add(step)
    found = files.after_power_loss(Random(seed)) if power else files.after_kill()
    after = Vault.open(found, make=False)
    for n in range(6):
        opened = after.unseal(WHO[n], sealed[n])
        assert opened in (b"x", None)
        assert n not in told or opened is None
        assert n in asked or opened == b"x"


def test_a_cut_while_the_vault_is_made_leaves_none_or_a_whole_one() -> None:
    for crash in range(1, 5):
        for seed in range(10):
            files = SimulatedFiles(crash_at=crash)
            with contextlib.suppress(PowerLoss):
                Vault.open(files)
            found = files.after_power_loss(Random(seed))
            Vault.open(found)


# --- rows and the fold ------------------------------------------------------------------------------------------------


def test_a_row_comes_back_whole_and_after_an_erasure_without_what_was_personal() -> None:
    vault, sealing, random = Vault.open(SimulatedFiles()), Sealing.of(tuple(COLUMNS), marked=("risk_note",)), Random(4)
    rows = [row_of(n, random, 10**15) for n in range(64)]
    held = sealing.seal(vault, rows, sealing.hashes(rows))
    assert [sealing.unseal(vault, *one) for one in held] == rows
    subjects = sealing.subjects(sealing.hashes(rows))
    vault.erase(subject_of("customer_id", "c5"))
    for row, one, subject in zip(rows, held, subjects, strict=True):
        found = sealing.unseal(vault, *one)
        if row["customer_id"] == "c5":
            assert found == {name: None if name in sealing.sealed else value for name, value in row.items()}
            assert (subject == subject_of("customer_id", "c5")).all()
        else:
            assert found == row
    assert sealing.unseal(None, *held[0])["customer_id"] is None
    assert unseal_rows(sealing, vault, held) == [sealing.unseal(vault, *one) for one in held]
    assert unseal_rows(sealing, None, held) == [sealing.unseal(None, *one) for one in held]
    vault.seal_many(subject_of("customer_id", "c5")[None], [b""])
    assert unseal_rows(sealing, vault, held) == [sealing.unseal(vault, *one) for one in held]
    assert unseal_rows(sealing, vault, [(held[0].row, b"", held[0].hashes)]) == [sealing.from_record_row(held[0].row, None)]
    with pytest.raises(LedgerError, match="another vault"):
        unseal_rows(sealing, Vault.open(SimulatedFiles()), held)


def test_the_subject_is_the_first_that_a_payment_names() -> None:
    sealing = Sealing.of(("customer_id", "card_id", "device_id", "ip"))
    rows = [
        {"customer_id": "a", "card_id": "b", "device_id": "c", "ip": "d"}, {"customer_id": None, "card_id": "b", "device_id": "c", "ip": "d"},
        {"customer_id": None, "card_id": None, "device_id": None, "ip": "d"}, {"customer_id": None, "card_id": None, "device_id": None, "ip": None},
    ]  # fmt: skip
    found = sealing.subjects(sealing.hashes(rows))  # type: ignore[arg-type]
    assert found.tolist() == [list(hash_text(text)) for text in ("a", "b", "d", None)]
    with pytest.raises(LedgerError, match="no subject"):
        subject_of("merchant_id", "m")


def test_nothing_personal_stands_in_a_record_of_a_log_and_its_chain_outlives_an_erasure() -> None:
    sealing, random = Sealing.of(tuple(COLUMNS)), Random(9)
    rows = [
        row_of(n, random, 10**15) | {"customer_id": "the-very-customer", "device_id": "the-very-device", "ip": "203.0.113.77"}
        for n in range(20)
    ]
    files, vault = SimulatedFiles(), Vault.open(SimulatedFiles())
    log = Log.open(files)
    log.append(log.epoch, [encode(Configured(sealing.columns, "k", (), sealing.sealed, sealing.hashed))])
    held = sealing.seal(vault, rows, sealing.hashes(rows))
    log.append(log.epoch, [encode(Transacted(one.row, 5, None, one.personal, one.hashes)) for one in held])
    log.close()
    whole = b"".join(bytes(data) for data in files.now.values())
    assert b"the-very" not in whole and b"203.0.113.77" not in whole
    before = verify(files)
    vault.erase(subject_of("customer_id", "the-very-customer"))
    assert verify(files) == before
    [_, *records] = [record for group in Reader(files).read() for record in decode_all(group.records)]
    for record in records:
        assert isinstance(record, Transacted)
        assert sealing.unseal(vault, record.row, record.personal, record.hashes)["customer_id"] is None


@pytest.mark.parametrize("keep_places", [False, True])
def test_after_an_erasure_the_log_folds_to_the_same_features(keep_places: bool) -> None:
    """All of everybody, bit for bit, if places are kept; else all but those of places of who was erased."""
    features = FeatureSet.load("default")
    sealing, random = Sealing.of(tuple(COLUMNS), keep_places=keep_places), Random(2)
    begin = 1_700_000_000_000_000
    rows = [row_of(n, random, begin + n * 600_000_000) | {"latitude": random.randrange(-900_000_000, 900_000_000)} for n in range(300)]
    received = [int(row["received_at"]) for row in rows]
    batcher = Batcher(features, beside=sealing.hashed)
    keys, _ = columns_of(features)
    events = batcher.events(rows, received)
    live = Fold(compile_plan(features)).step(events)
    vault = Vault.open(SimulatedFiles())
    hashes = sealing.hashes(rows)
    assert (batcher.hashes(rows)[:, [batcher.place(name) for name in sealing.hashed]] == hashes).all()
    held = sealing.seal(vault, rows, hashes)
    vault.erase(subject_of("customer_id", "c3"))
    read = sealing_of(sealing.columns, sealing.sealed, sealing.hashed)
    again = [read.unseal(vault, *one) for one in held]
    folded = Fold(compile_plan(features)).step(
        with_hashes(batcher.events(again, received), keys, read.hashed, [one.hashes for one in held])
    )
    same = (live.values.view(np.uint64) == folded.values.view(np.uint64)) | (np.isnan(live.values) & np.isnan(folded.values))
    erased = np.array([row["customer_id"] == "c3" for row in rows])
    assert same[~erased].all()
    differ = {name for name, column in zip(features.names, same[erased].T, strict=True) if not column.all()}
    if keep_places:
        assert not differ
    else:
        assert differ and differ <= {"customer_km_from_last", "customer_km_from_home", "customer_speed_kmh", "customer_impossible_travel"}


def test_a_batch_that_overflows_the_ready_ciphers_is_sealed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fraudloop.ledger.personal.VAULT_CACHE", 10)
    vault = Vault.open(SimulatedFiles())
    subjects = hash_texts([f"c{n}" for n in range(24)])
    for begin in range(0, 16, 4):
        some = subjects[begin : begin + 8]  # half of them were ready
        blobs = vault.seal_many(some, [b"%d" % n for n in range(8)])
        assert vault.unseal_many(some, blobs) == [b"%d" % n for n in range(8)]


@pytest.mark.parametrize(("values", "people"), [(3_000, 5), (3_000, 40), (1, 1)])
def test_many_values_are_sealed_as_a_few_are_to_the_byte(monkeypatch: pytest.MonkeyPatch, values: int, people: int) -> None:
    dice = Random(values + people)
    vault = Vault.open(SimulatedFiles(), random=lambda n: Random(7).randbytes(n))
    erased = {0, people // 2} if people > 1 else set()
    for who in erased:
        vault.erase(WHO[who])
    whose = [dice.randrange(people) for _ in range(values)]
    blobs = [dice.randbytes(dice.randrange(80)) for _ in range(values)]
    monkeypatch.setattr(personal, "_TOGETHER", 16)
    monkeypatch.setattr(personal, "_MANY", values)
    a_few = vault.seal_many(WHO[whose], blobs)
    monkeypatch.setattr(personal, "_MANY", 0)
    many = vault.seal_many(WHO[whose], blobs)
    assert many == a_few
    assert {sealed[1] for sealed in many} == ({0, 1} if erased else {0})
    assert [vault.unseal(WHO[who], sealed) for who, sealed in zip(whose, many, strict=True)] == blobs

"""The bundle store: what is put comes back, an alias moves only from what its mover believed, and nothing is changed unseen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle as Drawn
from hypothesis.stateful import RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from fraudloop.errors import BundleError, FraudloopError, InputError, StoreConflict, StoreError
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.store import CHAMPION, DEFAULT_NAME, BundleStore
from tests.bundles import linear_bundle

CHAMP = f"{DEFAULT_NAME}@{CHAMPION}"


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "store")


def move(store: BundleStore, to: str | None, expected: str | None, action: str = "promote", who: str = "ada", at_us: int = 0) -> None:
    store.set_alias(CHAMP, to, expected=expected, who=who, why="because", at_us=at_us, action=action)


def three(store: BundleStore) -> tuple[str, str, str]:
    a, b, c = (store.put(linear_bundle(weight)) for weight in (0.1, 0.2, 0.3))
    return a, b, c


def test_what_is_put_comes_back_by_hash_part_of_a_hash_and_alias(store: BundleStore) -> None:
    name = store.put(linear_bundle())
    move(store, name, None)
    for reference in (name, name[:6], CHAMP, f"{DEFAULT_NAME}@{name[:8]}"):
        found = store.get(reference)
        assert (found.hash, dict(found.files)) == (name, dict(linear_bundle().files))


def test_the_same_content_is_stored_once(store: BundleStore) -> None:
    first = store.put(linear_bundle(report=b"plot"))
    assert store.put(linear_bundle(report=b"plot")) == first
    assert store.put(linear_bundle(created="2025-01-01T00:00:00Z")) == first, "the same training a year later"
    assert store.put(store.get(first)) == first
    assert [row.hash for row in store.list()] == [first]


def test_a_bundle_that_is_put_from_a_folder_keeps_its_hash(store: BundleStore, tmp_path: Path) -> None:
    saved = linear_bundle().save(tmp_path / "model")
    assert store.put(Bundle.load(tmp_path / "model")) == saved.hash


def test_a_bundle_that_is_no_model_is_not_stored(store: BundleStore) -> None:
    broken = {**linear_bundle().files, "models/linear-1.json": b"{}"}
    with pytest.raises(BundleError, match=r"models/linear-1\.json"):
        store.put(Bundle(broken, linear_bundle().members))
    assert store.list() == ()


def test_a_damaged_bundle_is_refused_by_the_name_of_the_file_and_mended_by_putting_it_again(store: BundleStore) -> None:
    name = store.put(linear_bundle())
    (store.root / "bundles" / name / "metrics.json").write_text('{"a": 1}')
    with pytest.raises(BundleError, match=r"metrics\.json"):
        store.get(name)
    assert store.verify()[0].startswith(f"bundle {name}: metrics.json")
    assert store.put(linear_bundle()) == name
    assert store.verify() == ()


def test_a_bundle_under_another_ones_hash_is_refused(store: BundleStore) -> None:
    a, b, _ = three(store)
    shutil.rmtree(store.root / "bundles" / a)
    shutil.copytree(store.root / "bundles" / b, store.root / "bundles" / a)
    with pytest.raises(BundleError, match="not the one of its name"):
        store.get(a)


@pytest.mark.parametrize(
    "reference", ["", "x", "abc", "payments@", "Payments@champion", "payments@no such", "../x@champion", "0" * 64, "payments@nobody"]
)
def test_what_names_nothing_says_what_there_is(store: BundleStore, reference: str) -> None:
    store.put(linear_bundle())
    with pytest.raises(StoreError):
        store.get(reference)


def test_an_alias_moves_only_from_what_its_mover_believed_and_the_loser_learns_who_won(store: BundleStore) -> None:
    a, b, c = three(store)
    move(store, a, None)
    move(store, b, a, who="bea", at_us=1_700_000_000_000_000)
    with pytest.raises(StoreConflict, match=r"bea moved it at 2023-11-14 22:13:20Z \(because\)") as caught:
        move(store, c, a, who="cyd")
    assert caught.value.fields == {"alias": CHAMP, "expected": a, "found": b}
    with pytest.raises(StoreConflict):
        move(store, c, None)
    assert store.alias(CHAMP) == b
    assert [entry.who for entry in store.history()] == ["ada", "bea"]


def test_the_history_says_who_why_and_when(store: BundleStore) -> None:
    a, b, _ = three(store)
    move(store, a, None)
    entry = store.set_alias(
        CHAMP, b, expected=a, who="  Ada Byron ", why="fewer false alarms", at_us=5, action="promote", details={"report": "r"}
    )
    assert store.history()[-1] == entry
    assert (entry.before, entry.after, entry.who, entry.why, entry.details) == (a, b, "Ada Byron", "fewer false alarms", {"report": "r"})
    store.set_alias(CHAMP, None, expected=b, who="x", why="y", at_us=6)
    assert store.alias(CHAMP) is None
    assert store.history()[-1].after is None


@pytest.mark.parametrize(("who", "why"), [("", "x"), ("x", "  "), ("x" * 3_000, "x")])
def test_nobody_and_no_reason_are_refused(store: BundleStore, who: str, why: str) -> None:
    name = store.put(linear_bundle())
    with pytest.raises(InputError, match=r"who|why"):
        store.set_alias(CHAMP, name, expected=None, who=who, why=why, at_us=0)
    assert store.alias(CHAMP) is None


def test_an_alias_cannot_name_what_is_not_there(store: BundleStore) -> None:
    with pytest.raises(StoreError, match="not in the store"):
        move(store, "0" * 64, None)


def test_previous_is_what_a_rollback_restores(store: BundleStore) -> None:
    a, b, c = three(store)
    assert store.previous(CHAMP) is None
    for to, expected in ((a, None), (b, a), (c, b)):
        move(store, to, expected)
    assert store.previous(CHAMP) == b
    move(store, b, c, "rollback")
    assert store.previous(CHAMP) == a, "not c, which was rolled back"
    move(store, c, b)
    assert store.previous(CHAMP) == b
    move(store, a, c, "rollback")
    assert store.previous(CHAMP) is None


def test_what_an_alias_names_or_a_rollback_needs_cannot_be_removed(store: BundleStore) -> None:
    a, b, c = three(store)
    move(store, a, None)
    move(store, b, a)
    with pytest.raises(StoreError, match="payments@champion names"):
        store.remove(CHAMP)
    with pytest.raises(StoreError, match="rollback"):
        store.remove(a)
    assert store.remove(c) == c
    assert {row.hash for row in store.list()} == {a, b}
    with pytest.raises(StoreError):
        store.get(c)


def test_a_list_names_what_there_is_with_its_aliases(store: BundleStore) -> None:
    a, b, c = three(store)
    move(store, a, None)
    store.set_alias("refunds@candidate", a, expected=None, who="x", why="y", at_us=0)
    rows = {row.hash: row.aliases for row in store.list()}
    assert rows == {a: ("payments@champion", "refunds@candidate"), b: (), c: ()}
    assert store.names() == ("payments", "refunds")


@pytest.mark.parametrize("cut", [1, 10, 200])
def test_the_torn_end_of_a_history_is_cut(store: BundleStore, cut: int) -> None:
    a, b, _ = three(store)
    move(store, a, None)
    path = store.root / "models" / DEFAULT_NAME / "history.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert store.alias(CHAMP) == a
    assert [entry.after for entry in store.history()] == ([a] if cut < len(whole.splitlines()[1]) else [])
    move(store, b, a)
    assert store.alias(CHAMP) == b
    assert store.history()[-1].after == b


def test_a_changed_or_missing_line_of_a_history_is_found(store: BundleStore) -> None:
    a, b, _ = three(store)
    move(store, a, None)
    move(store, b, a)
    path = store.root / "models" / DEFAULT_NAME / "history.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for changed in (
        whole.replace(b"ada", b"eve", 1),
        b"".join(lines[1:]),
        b"".join(lines[:1] + lines[2:]),
        b"\n" + whole,
        whole[:-1] + b"x\n",
    ):
        path.write_bytes(changed)
        with pytest.raises(StoreError, match=r"line 1|line 2|line 4"):
            store.history()
        assert store.verify() != ()
        with pytest.raises(StoreError):
            move(store, a, b)
    assert store.alias(CHAMP) == b, "readers of the alias are not touched by it"


def test_an_alias_that_was_moved_by_hand_is_found(store: BundleStore) -> None:
    a, b, _ = three(store)
    move(store, a, None)
    assert store.verify() == ()
    path = store.root / "models" / DEFAULT_NAME / "champion.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "bundle": b}))
    assert "moved by hand" in store.verify()[0]
    for text in ("", "{}", '{"bundle": "../../etc", "line": ""}', "[" * 100_000):
        path.write_text(text)
        with pytest.raises(StoreError, match="damaged"):
            store.get(CHAMP)
        assert store.verify() != ()


def test_documents_are_kept_by_hash(store: BundleStore) -> None:
    name = store.put_document({"verdict": "pass"})
    assert store.put_document({"verdict": "pass"}) == name
    assert dict(store.documents()) == {name: {"verdict": "pass"}}
    (store.root / "documents" / f"{name}.json").write_text('{"verdict": "refuse"}')
    with pytest.raises(StoreError, match="changed"):
        store.document(name)
    assert "documents" in store.verify()[0]


def test_another_folder_is_never_taken_for_a_store(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(StoreError, match="other files"):
        BundleStore(tmp_path).put(linear_bundle())
    (tmp_path / "thesis.txt").unlink()
    (tmp_path / "store.json").write_text('{"kind": "fraudloop-store", "schema": 99}')
    with pytest.raises(StoreError, match="update fraudloop"):
        BundleStore(tmp_path).put(linear_bundle())


def test_reading_writes_nothing(store: BundleStore) -> None:
    assert (store.list(), store.aliases(), store.names(), store.history(), store.verify()) == ((), {}, (), (), ())
    with pytest.raises(StoreError, match="no model 'payments'"):
        store.get(CHAMP)
    assert not store.root.exists()


class StoreMachine(RuleBasedStateMachine):
    """Any order of puts, moves, rollbacks and removals: the store says what a dictionary and a list say."""

    known = Drawn("known")

    @initialize()
    def begin(self) -> None:
        import tempfile

        self.folder = Path(tempfile.mkdtemp(prefix="fraudloop-store-"))
        self.store = BundleStore(self.folder / "store")
        self.here: set[str] = set()
        self.alias: dict[str, str] = {}
        self.moves: list[tuple[str, str | None, str | None]] = []

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    @rule(target=known, weight=st.integers(1, 5))
    def put(self, weight: int) -> str:
        name = self.store.put(linear_bundle(weight / 10))
        self.here.add(name)
        return name

    @rule(alias=st.sampled_from(["payments@champion", "payments@challenger", "refunds@champion"]), bundle=known, right=st.booleans())
    def move(self, alias: str, bundle: str, right: bool) -> None:
        now = self.alias.get(alias)
        expected = now if right else "f" * 64
        try:
            self.store.set_alias(alias, bundle, expected=expected, who="w", why="y", at_us=len(self.moves))
        except StoreConflict:
            assert not right
        except StoreError:
            assert bundle not in self.here
        else:
            assert right
            assert bundle in self.here
            self.moves.append((alias, now, bundle))
            self.alias[alias] = bundle

    @rule(alias=st.sampled_from(["payments@champion", "refunds@champion"]))
    def drop(self, alias: str) -> None:
        now = self.alias.pop(alias, None)
        self.store.set_alias(alias, None, expected=now, who="w", why="y", at_us=len(self.moves))
        self.moves.append((alias, now, None))

    @rule(target=known, bundle=consumes(known))
    def remove(self, bundle: str) -> object:
        try:
            self.store.remove(bundle)
        except FraudloopError:
            return bundle
        assert bundle not in self.alias.values()
        self.here.discard(bundle)
        return multiple()

    @rule(cut=st.integers(1, 400))
    def tear(self, cut: int) -> None:
        """Only the line of the end of a move can be torn without the alias knowing."""
        path = self.store.root / "models" / "payments" / "history.jsonl"
        if path.is_file():
            data = path.read_bytes()
            last = data[data[:-1].rfind(b"\n") + 1 :]
            if b'"state": "intent"' not in last:
                path.write_bytes(data[: -min(cut, len(last))])

    @invariant()
    def says_what_happened(self) -> None:
        if not hasattr(self, "store"):
            return
        assert self.store.aliases() == self.alias
        assert {row.hash for row in self.store.list()} == self.here
        for name in ("payments", "refunds"):
            told = [(f"{name}@{entry.alias}", entry.before, entry.after) for entry in self.store.history(name)]
            assert told == [move for move in self.moves if move[0].startswith(name)]
        assert self.store.verify() == ()


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])

"""API keys: made once, kept as hashes, changed under a running service; and rates."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fraudloop.api.keys import SCOPES, Keys, is_local, require_keys
from fraudloop.api.rates import Addresses, Bucket, Rate
from fraudloop.cli.main import run
from fraudloop.errors import InputError, NotFoundError


def test_a_key_is_shown_once_and_kept_as_a_hash_that_only_its_owner_reads(tmp_path: Path) -> None:
    told, key = Keys(tmp_path).create("till", ["score", "read"])
    path = tmp_path / "keys.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert told.split("_", 2)[2] not in path.read_text()
    found = Keys(tmp_path).find(told)
    assert found == key and found.opens("score") and found.opens("read") and not found.opens("control")


@pytest.mark.parametrize("told", ["", "fl_", "fl_000000000000_" + "a" * 43, "x" * 1_000, "fl_\0", "Bearer fl_1"])
def test_what_is_no_key_finds_none(tmp_path: Path, told: str) -> None:
    keys = Keys(tmp_path)
    keys.create("till", ["score"])
    assert keys.find(told) is None


def test_admin_opens_everything(tmp_path: Path) -> None:
    _, key = Keys(tmp_path).create("boss", ["admin"])
    assert all(key.opens(scope) for scope in SCOPES)


def test_a_file_that_changes_is_noticed_once_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    assert not keys.refresh()
    told, key = Keys(tmp_path).create("till", ["score"])
    assert keys.find(told) is None and keys.refresh() and not keys.refresh() and keys.find(told) is not None
    (tmp_path / "keys.json").write_text("{half")
    assert not keys.refresh() and keys.find(told) is not None
    with pytest.raises(InputError):
        Keys(tmp_path)
    (tmp_path / "keys.json").unlink()
    assert keys.refresh() and keys.find(told) is None
    assert key.revoked is None


def test_who_revokes_and_who_creates_at_once_lose_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: Keys(tmp_path).create(f"k{n}", ["score"])[1], range(24)))
        list(pool.map(lambda key: Keys(tmp_path).revoke(key.id), made[::2]))
    kept = Keys(tmp_path).all()
    assert {key.id for key in kept} == {key.id for key in made}
    assert {key.id for key in kept if key.revoked} == {key.id for key in made[::2]}
    assert not list(tmp_path.glob(".keys.json.*"))


def test_what_cannot_be_a_key_is_refused(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    for name, scopes in (("till", []), ("till", ["all"]), ("", ["score"]), ("a\nb", ["score"])):
        with pytest.raises(InputError):
            keys.create(name, scopes)
    with pytest.raises(NotFoundError):
        keys.revoke("none")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "/run/fraudloop.sock"])
def test_this_machine_alone_needs_no_key(host: str) -> None:
    assert is_local(host)
    require_keys(host, [])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "fraud.example", "127.0.0.1.example"])
def test_elsewhere_the_service_does_not_start_without_a_key(tmp_path: Path, host: str) -> None:
    with pytest.raises(InputError, match="keys create"):
        require_keys(host, [])
    keys = Keys(tmp_path)
    _, key = keys.create("till", ["score"])
    require_keys(host, keys.all())
    keys.revoke(key.id)
    with pytest.raises(InputError):
        require_keys(host, keys.all())


def test_the_command_line_makes_lists_and_revokes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", "create", "--name", "till", "--scopes", "score, read", "--data", str(tmp_path), "--rate", "50", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    found = Keys(tmp_path).find(made["key"])
    assert found is not None and found.rate == Rate(50)
    assert run(["keys", "list", "--data", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert made["id"] in shown and made["key"] not in shown
    assert run(["keys", "revoke", made["id"], "--data", str(tmp_path)]) == 0
    assert Keys(tmp_path).find(made["key"]) is None
    assert run(["keys", "create", "--name", "x", "--scopes", "all", "--data", str(tmp_path)]) == 2


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = Bucket(Rate(100, 10))
    taken = sum(bucket.take(5.0) == 0 for _ in range(50))
    assert taken == 10
    taken = sum(bucket.take(5.0 + n / 1_000) == 0 for n in range(1_000))
    assert 99 <= taken <= 100
    waits = [bucket.take(6.0) for _ in range(3)]
    assert waits[0] == 0 and 0 < waits[1] == waits[2] <= 0.0101


def test_a_batch_larger_than_the_bucket_is_lent_when_it_is_full() -> None:
    bucket = Bucket(Rate(10, 10))
    assert bucket.take(1.0, 1_000) == 0
    wait = bucket.take(1.0, 1)
    assert 0 < wait <= 100
    assert bucket.take(1.0 + 100, 1) == 0


def test_addresses_are_bounded_and_the_quietest_goes_first() -> None:
    addresses = Addresses(Rate(1), most=2)
    first = addresses.bucket("a")
    addresses.bucket("b")
    assert addresses.bucket("a") is first
    addresses.bucket("c")
    assert len(addresses) == 2 and addresses.bucket("a") is first


@pytest.mark.parametrize(("per_s", "burst"), [(0, 1), (-1, 1), (1, -1), (1e9, 1)])
def test_a_rate_that_is_none_is_refused(per_s: float, burst: float) -> None:
    with pytest.raises(InputError):
        Rate(per_s, burst)

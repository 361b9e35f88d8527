"""Backtests: every figure against plain Python over the same payments, from a stored file and from a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fraudloop.cli.main import run
from fraudloop.errors import InputError, RuleError
from fraudloop.pipelines.features import features_file
from fraudloop.pipelines.rules import Backtest, backtest_file, check_file

RULES = """
[[rules]]
id = "large"
when = "amount > 50"
outcome = "review"
reason = "Large"
state = "live"

[[rules]]
id = "abroad_and_large"
when = "in_list(country, 'far') and amount > 20"
outcome = "decline"
reason = "Far away"
state = "live"

[[rules]]
id = "busy"
when = "customer_count_24h >= 3 and country = 'DE'"
score = 0.1
reason = "Busy"
state = "shadow"

[[rules]]
id = "device"
when = "device_count_1h > 0"
outcome = "review"
reason = "Never known here"

[[rules]]
id = "old"
when = "nothing that is understood"
outcome = "review"
reason = "Gone"
state = "retired"
"""
LIST = 'name = "far"\nversion = "1"\nentries = ["AU", "NZ"]\n'
START = datetime(2025, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rules")
    rows = 600
    pl.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in range(rows)],
            "timestamp": [START + timedelta(minutes=37 * i) for i in range(rows)],
            "customer_id": [f"c{i % 7}" for i in range(rows)],
            "merchant_id": [f"m{i % 5}" for i in range(rows)],
            "amount": [float(i * 13 % 97) for i in range(rows)],
            "currency": ["EUR"] * rows,
            "country": [[None, "DE", "AU", "FR"][i % 4] for i in range(rows)],
            "is_fraud": [i % 11 == 0 for i in range(rows)],
        }
    ).write_parquet(folder / "payments.parquet")
    (folder / "rules.toml").write_text(RULES)
    (folder / "far.toml").write_text(LIST)
    return folder


@pytest.fixture(scope="module")
def stored(world: Path) -> Path:
    features_file(world / "payments.parquet", world / "features.parquet", "native", "default")
    return world / "features.parquet"


def test_every_figure_equals_a_plain_count(world: Path, stored: Path) -> None:
    found = backtest_file(world / "rules.toml", stored, lists=[world / "far.toml"], label_delay="7d")
    rows = pl.read_parquet(stored).rows(named=True)
    hits = {
        "large": [r["amount"] > 50 for r in rows],
        "abroad_and_large": [r["country"] in ("AU", "NZ") and r["amount"] > 20 for r in rows],
        "busy": [r["customer_count_24h"] >= 3 and r["country"] == "DE" for r in rows],
        "device": [False] * len(rows),
    }
    end = max(max(r["timestamp"], r["label_known_at"] or r["timestamp"]) for r in rows)
    mature = [r["timestamp"] + timedelta(days=7) <= end for r in rows]
    fraud = [bool(r["is_fraud"]) for r in rows]
    assert sum(mature) > 0
    assert (found.payments, found.frauds, found.mature, found.days) == (600, sum(fraud), sum(mature), 16)
    assert [row["rule"] for row in found.rules] == list(hits)
    hits["together"] = [a or b for a, b in zip(hits["large"], hits["abroad_and_large"], strict=True)]
    for name, row in zip(hits, [*found.rules, found.together], strict=True):
        chosen = [r for r, hit in zip(rows, hits[name], strict=True) if hit]
        caught = [r for r in chosen if r["is_fraud"]]
        assert (row["hits"], row["frauds"]) == (len(chosen), len(caught))
        assert row["precision"] == (len(caught) / len(chosen) if chosen else None)
        assert row["recall"] == len(caught) / sum(fraud)
        assert row["money_caught"] == pytest.approx(sum(r["amount"] for r in caught))
        assert row["money_blocked"] == pytest.approx(sum(r["amount"] for r in chosen if not r["is_fraud"]))
        assert row["mature"]["hits"] == sum(h and m for h, m in zip(hits[name], mature, strict=True))
        assert row["mature"]["frauds"] == sum(h and m and f for h, m, f in zip(hits[name], mature, fraud, strict=True))
        if name != "together":
            others = [any(hits[o][i] for o in ("large", "abroad_and_large", "busy", "device") if o != name) for i in range(600)]
            assert row["alone"] == sum(h and not o for h, o in zip(hits[name], others, strict=True))
    by_rule = {row["rule"]: row for row in found.rules}
    assert by_rule["device"]["unknown"] == 600 and by_rule["abroad_and_large"]["unknown"] == sum(
        r["country"] is None and r["amount"] > 20 for r in rows
    )
    pairs = {(row["first"], row["second"]): row["payments"] for row in found.overlap}
    both = sum(a and b for a, b in zip(hits["large"], hits["abroad_and_large"], strict=True))
    assert pairs["large", "abroad_and_large"] == both > 0


def test_a_table_of_transactions_gives_what_its_stored_features_give(world: Path, stored: Path) -> None:
    def plain(found: Backtest) -> tuple[Any, ...]:
        return found.rules, found.together, found.overlap, found.payments, found.mature

    lists = [world / "far.toml"]
    from_table = backtest_file(world / "rules.toml", world / "payments.parquet", lists=lists)
    assert plain(from_table) == plain(backtest_file(world / "rules.toml", stored, lists=lists))


def test_a_list_that_is_not_given_is_named(world: Path, stored: Path) -> None:
    with pytest.raises(RuleError, match="rule 'abroad_and_large': at character 18: no list 'far'"):
        backtest_file(world / "rules.toml", stored)
    with pytest.raises(RuleError, match="rule 'old': at character 1: no feature or field 'nothing'"):
        check_file(world / "rules.toml", lists=[world / "far.toml"])


def test_a_file_that_is_none_is_refused(world: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        backtest_file(world / "rules.toml", path, lists=[world / "far.toml"])


def test_the_commands_show_tables_and_json(world: Path, stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "check"]) == 0
    assert "impossible_travel" in capsys.readouterr().out
    argv = ["rules", "backtest", str(world / "rules.toml"), str(stored), "--list", str(world / "far.toml")]
    assert run(argv) == 0
    assert "all that act" in capsys.readouterr().out
    assert run([*argv, "--json"]) == 0
    assert '"together"' in capsys.readouterr().out
    assert run(["rules", "check", str(world / "rules.toml"), "--list", str(world / "far.toml")]) == 2
    assert "rule 'old'" in capsys.readouterr().err

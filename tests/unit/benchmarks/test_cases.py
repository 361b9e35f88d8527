"""Every benchmark case runs in a tiny setting and gives figures; what it compares or claims is checked while it does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks import (
    bench_algorithms,
    bench_door,
    bench_fold,
    bench_fold_vs,
    bench_handbook,
    bench_scoring,
    handbook_baselines,
    handbook_limits,
    handbook_own,
    handbook_protocol,
    handbook_published,
    run,
)
from benchmarks.tables import show
from benchmarks.worlds import Payments, handbook_shaped, labels_of
from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.events import LABEL, TRANSACTION
from fraudloop.limits import DAY_US
from fraudloop.training.config import TrainConfig
from fraudloop.training.folds import Dataset
from tests.worlds import FEATURES, feature_table

CASES = {
    "algorithms",
    "bound",
    "decision",
    "door",
    "fold",
    "fold_vs",
    "scoring",
    "handbook",
    "index",
    "network",
    "personal",
    "reasons",
    "recovery",
    "rules",
    "service",
}


def test_the_cases_are_those_of_the_page() -> None:
    assert {path.stem.removeprefix("bench_") for path in run.find(run.FOLDER, [])} == CASES
    page = (run.FOLDER / "README.md").read_text("utf-8")
    assert all(f"| `{name}` |" in page for name in CASES)


def test_the_door_is_timed_on_bodies_that_its_exact_way_reads_alike(capsys: pytest.CaptureFixture[str]) -> None:
    figures = bench_door.main(quick=True)
    calls, bodies = figures["calls"], figures["bodies"]
    assert isinstance(calls, dict) and isinstance(bodies, dict)
    assert min(calls.values()) > 0 and len(bodies) == len(bench_door.UNUSUAL) + len(bench_door.REFUSED)
    assert calls["an ordinary body, decoded"] < calls["a table of one row"] / 100
    assert "Bodies that are not ordinary" in capsys.readouterr().out


def test_the_fold_is_timed_and_its_state_measured(capsys: pytest.CaptureFixture[str]) -> None:
    tiny = bench_fold.Sizes(
        rounds=1,
        customers=40,
        terminals=100,
        days=20,
        few=50,
        few_warm=600,
        few_timed=900,
        many=400,
        many_warm=400,
        many_timed=800,
        batches=5,
        chunk=300,
    )
    figures = bench_fold.main(sizes=tiny)
    few, many = figures["default_few"], figures["default_many"]
    assert isinstance(few, dict) and isinstance(many, dict)
    assert few["runs"] == 3 and few["transactions"] == 900 and few["transactions_per_cpu_s"] > 0
    assert few["micro_batch"]["median_us"] <= few["micro_batch"]["p99_us"]
    assert few["state_bytes_per_customer"] > max(few["bytes_by_part"].values()) > 0
    assert many["keep"]["snapshot_bytes"] > 0
    assert "A live micro-batch of 32" in capsys.readouterr().out


def test_all_engines_give_the_fold_s_values(capsys: pytest.CaptureFixture[str]) -> None:
    figures = bench_fold_vs.main(sizes=bench_fold_vs.Sizes(customers=60, terminals=150, days=60, rounds=1))
    for title in ("counts and means", "counts, means and fraud rates"):
        part = figures[title]
        assert isinstance(part, dict)
        assert set(part) == {"fold", "fold, door included", "Polars", "DuckDB", "pandas"}
        assert all(row["largest_difference"] <= bench_fold_vs.TOLERANCE for row in part.values())
    assert "CPU / fold" in capsys.readouterr().out


def test_a_wrong_value_stops_the_comparison() -> None:
    right = {"customer_count_1d": np.array([1.0, 2.0]), "merchant_count_1d_after_7d": np.array([0.0, 3.0])}
    wrong = {**right, "merchant_count_1d_after_7d": np.array([0.0, 3.0001])}
    none = np.zeros(2, np.bool_)
    assert bench_fold_vs.check("same", right, right, none) == 0.0
    with pytest.raises(AssertionError, match="merchant_count_1d_after_7d"):
        bench_fold_vs.check("wrong", wrong, right, none)


def test_every_format_is_scored_at_every_batch_size(capsys: pytest.CaptureFixture[str]) -> None:
    figures = bench_scoring.main(sizes=bench_scoring.Sizes(customers=50, rows=3_000, trees=12, depth=3, rounds=1, call_rows=40))
    for name in ("logistic", "forest", "xgboost", "lightgbm", "all four"):
        by_batch = figures[name]
        assert isinstance(by_batch, dict) and set(by_batch) == {"1", "7", "32", "1000"}
        assert all(row["bundle"]["call_us"] > 0 for row in by_batch.values())
    assert "xgboost, library" in capsys.readouterr().out


def test_the_handbook_case_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv(handbook_protocol.FILE, raising=False)
    assert "FRAUDLOOP_HANDBOOK" in str(bench_handbook.main()["skipped"])
    assert "skipped" in capsys.readouterr().out


def test_the_handbook_case_refuses_a_table_of_other_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = handbook_shaped(60, 150, 150)
    file = tmp_path / "transactions.parquet"
    made.select(
        pl.col("transaction_id").cast(pl.Int32).alias("TRANSACTION_ID"), pl.col("timestamp").dt.replace_time_zone(None).alias("TX_DATETIME"),
        pl.col("customer_id").cast(pl.Int32).alias("CUSTOMER_ID"), pl.col("merchant_id").cast(pl.Int32).alias("TERMINAL_ID"),
        (pl.col("amount_minor") / 100).alias("TX_AMOUNT"), pl.col("is_fraud").cast(pl.Int8).alias("TX_FRAUD"),
    ).write_parquet(file)  # fmt: skip
    monkeypatch.setenv(handbook_protocol.FILE, str(file))
    with pytest.raises(AssertionError, match="other rows than the protocol's"):
        bench_handbook.main(quick=True)
    # The models themselves run on a made table too: the book's, own ones, an ensemble.
    data, values = handbook_protocol.load(str(file), "compact")
    fold = handbook_protocol.Fold.of(data, handbook_protocol.TEST_FOLDS[0])
    quick = handbook_own.member("xgboost", {**handbook_own.XGBOOST, "rounds": 5}, seeds=2)
    resampled = handbook_own.member("logistic", {}, strategy="undersample")
    row = handbook_own.Row("both", "", handbook_own.ensemble([(0.6, quick), (0.4, resampled)]))
    results = handbook_own.run_row(row, handbook_own.Margins(data), [fold])
    assert 0.5 < results.mean[0] <= 1.0 and 0.0 < results.mean[1] < 1.0
    grid = handbook_baselines.grids()["decision tree"]
    chosen = handbook_protocol.choose(handbook_protocol.run_many(grid.fit, values, [fold], grid.settings[:3]))
    assert set(chosen) <= set(grid.settings[:3])
    assert 0.5 < handbook_protocol.run_chosen(grid.fit, values, [fold], chosen).mean[0] <= 1.0


def test_the_published_table_and_the_grids_are_of_the_same_rows() -> None:
    made = {*handbook_baselines.grids(), "feed-forward network"}
    assert made == set(handbook_published.FOUR)
    assert set(handbook_baselines.CHOSEN) == set(handbook_baselines.grids())
    assert all(chosen in grid.settings for name, grid in handbook_baselines.grids().items() for chosen in handbook_baselines.CHOSEN[name])
    assert {row.beside for row in handbook_own.ROWS} <= {*handbook_published.FOUR, ""}


def test_boosters_and_forests_of_fewer_trees_are_read_off_the_larger_ones() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(400, 4)), random.random(400) < 0.2
    for name, few in (("random forest", (25, 5)), ("XGBoost", (25, 0.3, 3, 1))):
        fit = handbook_baselines.grids()[name].fit
        more = (50, *few[1:])
        assert np.allclose(fit(x, y, x, [few, more])[few], fit(x, y, x, [few])[few])


def test_the_limit_sorts_frauds_by_what_could_be_known_of_them() -> None:
    """A terminal whose fraud of day 100 is labelled on day 107; a customer who once paid 50."""
    day = [100.0, 106.0, 108.0, 130.0, 101.0, 102.0]
    table = pl.DataFrame(
        {
            "transaction_id": list("abcdef"), "timestamp": [int(d * DAY_US) for d in day], "merchant_id": ["t", "t", "t", "t", "u", "u"],
            "customer_id": ["c", "d", "e", "f", "g", "g"], "amount": [1.0, 1.0, 1.0, 300.0, 50.0, 49.0], "is_fraud": [True, True, True, True, False, True],
        }
    ).with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))  # fmt: skip
    data = Dataset.of(table, ["amount"], 7 * DAY_US)
    rows = np.array([1, 2, 3, 4, 5])
    fold = handbook_protocol.Fold(rows[:0], np.zeros(0, bool), rows, data.card[rows], data.day[rows], data.truth.fraud[rows])
    found = handbook_limits.limit(data, np.array([2, 2, 2, 1, 0, 3]), fold)
    # b: nothing labelled yet; c: a is; d: by its amount; f: paid before.
    assert [handbook_limits.GROUPS[g] if g >= 0 else "" for g in found.group] == [
        handbook_limits.GROUPS[2], handbook_limits.GROUPS[1], handbook_limits.GROUPS[0], "", handbook_limits.GROUPS[4],
    ]  # fmt: skip
    assert found.reach([])[:2] == (1.0, 1.0)
    assert found.share(1) == 0.25


def test_made_tables_have_the_shape_they_promise() -> None:
    table = handbook_shaped(300, 600, 60)
    assert table.equals(handbook_shaped(300, 600, 60))
    assert table["timestamp"].is_sorted() and table["transaction_id"].n_unique() == table.height
    assert 300 * 60 * 1.6 < table.height < 300 * 60 * 2.4
    assert labels_of(table).height == int(table["is_fraud"].sum()) > 0


def test_payments_come_in_the_same_order_however_they_are_cut() -> None:
    features = FeatureSet.load("default")
    payments = Payments.make(100, 3_000)
    assert len(np.unique(payments.customer[:100])) == 100
    whole = payments.events(features, 0, 3_000)
    runs = list(payments.runs(features, 700))
    for field in ("kind", "time_us", "received_us", "keys", "numbers"):
        assert np.array_equal(np.concatenate([getattr(run, field) for run in runs]), getattr(whole, field))
    assert bool((np.diff(whole.time_us) >= 0).all())
    assert whole.transactions == 3_000
    labels = int((whole.kind == LABEL).sum())
    assert labels == int((payments.fraud & (payments.time_us + DAY_US <= payments.time_us[-1])).sum()) > 0
    assert set(np.unique(whole.kind)) == {LABEL, TRANSACTION}


def test_a_table_is_printed_in_columns(capsys: pytest.CaptureFixture[str]) -> None:
    show("title", ["a", "b"], [["long name", 5], ["x", 1_000]])
    assert capsys.readouterr().out.splitlines() == ["", "title", "  a             b", "  long name     5", "  x          1000"]


def test_algorithms_are_compared_on_small_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = {name: {**params, "rounds": 2} if kind != "logistic" else params for name, (kind, params) in bench_algorithms.VARIANTS.items()}
    kinds = {name: kind for name, (kind, _) in bench_algorithms.VARIANTS.items()}
    kept = ("logistic, standard", "network, standard", "xgboost")
    monkeypatch.setattr(bench_algorithms, "VARIANTS", {name: (kinds[name], quick[name]) for name in kept})
    monkeypatch.setattr(bench_algorithms, "EPOCHS", (1, 2))
    table = feature_table(2_000)
    world = bench_algorithms.World(Dataset.of(table, FEATURES.names, 7 * DAY_US), np.full(table.height, "ordinary"))
    config = TrainConfig(threads=1, folds=1)
    figures = bench_algorithms.network_part(*bench_algorithms.world_folds(world, config), config, "small")
    assert {*kept, "0.6/0.4", "found"} == set(figures)
    assert "CPU s" in capsys.readouterr().out

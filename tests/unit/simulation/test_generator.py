"""The synthetic world keeps its promises: rates, strengths, drift, labels, order and repeatability."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fraudloop.door.rates import RATE_SCALE, RateTable
from fraudloop.errors import InputError
from fraudloop.simulation import ordinary
from fraudloop.simulation.generator import FraudDataGenerator, Generated
from fraudloop.simulation.pattern import SCHEMES, FraudPattern
from fraudloop.simulation.tables import LABELS, TRANSACTIONS, TRUTH

ROWS = 200_000


def make(**arguments: Any) -> Generated:
    return FraudDataGenerator(**{"seed": 11, "transactions": ROWS, **arguments}).generate()


def joined(world: Generated) -> pl.DataFrame:
    """Transactions with the truth, the customer's profile, price in euro, and night and foreign by that profile."""
    rates = pl.DataFrame(
        {"currency": [r.currency for r in RateTable.sample().rates], "rate": [r.value / 10**RATE_SCALE for r in RateTable.sample().rates]}
    )
    local = pl.col("timestamp") + pl.duration(minutes=pl.col("offset").cast(pl.Int64))
    home = world.profiles.select(
        customer_id="id", home="home_country", offset="utc_offset", home_latitude="home_latitude", opened="opened_at"
    )
    return (
        world.transactions.join(world.truth, on="transaction_id", maintain_order="left")
        .join(home, on="customer_id", maintain_order="left")
        .join(rates, on="currency", maintain_order="left")
        .with_columns(
            euro=pl.col("amount") * pl.col("rate"),
            foreign=pl.col("country") != pl.col("home"),
            night=(local.dt.hour() >= 21) | (local.dt.hour() < 5),
        )
    )


@pytest.fixture(scope="module")
def world() -> Generated:
    return make()


@pytest.fixture(scope="module")
def rows(world: Generated) -> pl.DataFrame:
    return joined(world)


@pytest.fixture(scope="module")
def fraud(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter("true_fraud")


def test_the_tables_have_the_stated_columns_and_as_many_rows_as_asked(world: Generated) -> None:
    assert world.transactions.schema == pl.Schema(TRANSACTIONS) and world.transactions.height == ROWS
    assert world.truth.schema == pl.Schema(TRUTH) and world.labels.schema == pl.Schema(LABELS)
    assert world.transactions["transaction_id"].n_unique() == ROWS
    assert world.truth["transaction_id"].equals(world.transactions["transaction_id"])
    assert not set(world.transactions.columns) & {"scheme", "true_fraud", "fraud_probability"}


def test_rows_are_in_time_order_within_the_period(world: Generated) -> None:
    time = world.transactions["timestamp"]
    assert time.is_sorted()
    assert datetime(2025, 1, 1, tzinfo=UTC) <= time[0] and time[-1] < datetime(2025, 4, 1, tzinfo=UTC)


@pytest.mark.parametrize("rate", [0.005, 0.01, 0.02])
def test_the_fraud_rate_is_met_exactly(rate: float) -> None:
    made = make(transactions=20_000, fraud_rate=rate)
    assert made.transactions["is_fraud"].sum() == round(20_000 * rate) == made.report.known_fraud


def test_more_is_fraud_than_is_ever_known_to_be(world: Generated, rows: pl.DataFrame) -> None:
    known, true = int(rows["is_fraud"].sum()), int(rows["true_fraud"].sum())
    assert known == ROWS * 0.01 and true == pytest.approx(known / 0.89, abs=1)
    assert world.report.true_fraud == true
    labelled = set(world.labels["transaction_id"])
    silent = rows.filter("true_fraud").filter(~pl.col("transaction_id").is_in(list(labelled))).height
    assert silent == world.report.never_reported and silent / true == pytest.approx(0.10, abs=0.002)


def test_the_night_and_foreign_shares_of_fraud_are_those_of_the_pattern(fraud: pl.DataFrame, rows: pl.DataFrame) -> None:
    assert fraud["night"].mean() == pytest.approx(0.7, abs=0.01)
    assert fraud["foreign"].mean() == pytest.approx(0.6, abs=0.01)
    genuine = rows.filter(~pl.col("true_fraud"))
    # Night owls, late shoppers, travellers and shops abroad are genuine look-alikes.
    assert 0.12 < float(genuine["night"].mean()) < 0.3  # type: ignore[arg-type]
    assert 0.05 < float(genuine["foreign"].mean()) < 0.2  # type: ignore[arg-type]


@pytest.mark.parametrize(("night", "foreign"), [(0.0, 1.0), (1.0, 0.0), (0.3, 0.3)])
def test_other_shares_are_met_as_well(night: float, foreign: float) -> None:
    made = joined(make(transactions=60_000, pattern=FraudPattern(late_night_probability=night, foreign_probability=foreign))).filter(
        "true_fraud"
    )
    assert made["night"].mean() == pytest.approx(night, abs=0.03)
    assert made["foreign"].mean() == pytest.approx(foreign, abs=0.03)


def test_every_scheme_has_its_share(world: Generated, fraud: pl.DataFrame) -> None:
    mix = FraudPattern().mix
    for scheme in SCHEMES:
        share = fraud.filter(pl.col("scheme") == scheme).height / fraud.height
        assert share == pytest.approx(0.9 * mix[scheme], abs=0.002)
    assert set(world.report.by_scheme) == {*SCHEMES, "quiet"} and sum(world.report.by_scheme.values()) == fraud.height


def test_the_amount_multiplier_multiplies_what_a_scheme_pays(fraud: pl.DataFrame) -> None:
    loud = ~pl.col("scheme").is_in(["card_testing", "ordinary"])
    plain = joined(make(pattern=FraudPattern(amount_multiplier=1))).filter("true_fraud").filter(loud)
    strong = fraud.filter(loud)
    assert strong["euro"].median() / plain["euro"].median() == pytest.approx(5, rel=0.02)  # type: ignore[operator]


def test_fraud_costs_about_the_multiplier_of_a_genuine_purchase(rows: pl.DataFrame) -> None:
    mean = dict(rows.group_by("true_fraud").agg(pl.col("euro").mean()).iter_rows())
    assert 3.5 < mean[True] / mean[False] < 7


def gaps(made: pl.DataFrame, scheme: str) -> float:
    """Median seconds between the purchases of a run."""
    of = made.filter(pl.col("scheme") == scheme).sort("episode", "timestamp")
    gap = of.select(pl.col("timestamp").diff().over("episode").dt.total_seconds()).to_series().drop_nulls()
    return float(gap.median())  # type: ignore[arg-type]


def test_the_velocity_multiplier_sets_the_pace_of_a_run(fraud: pl.DataFrame) -> None:
    slow = joined(make(pattern=FraudPattern(velocity_multiplier=2))).filter("true_fraud")
    # Slower schemes go on the next night, which stretches their gaps beyond the pace.
    for scheme in ("card_testing", "account_takeover"):
        assert gaps(slow, scheme) / gaps(fraud, scheme) == pytest.approx(5, rel=0.25)


def test_runs_are_at_least_ten_times_faster_than_the_customer_usually_is(rows: pl.DataFrame, fraud: pl.DataFrame) -> None:
    usual_gap_s = 90 * 86_400 / (rows.height / rows["customer_id"].n_unique())
    for scheme in ("card_testing", "account_takeover", "lost_or_stolen", "bust_out"):
        assert gaps(fraud, scheme) < usual_gap_s / 10


def test_card_testing_is_small_change_at_one_merchant_from_one_device(fraud: pl.DataFrame) -> None:
    runs = fraud.filter(pl.col("scheme") == "card_testing").group_by("episode").agg(
        pl.col("merchant_id").n_unique().alias("merchants"), pl.col("device_id").n_unique().alias("devices"),
        pl.col("euro").median(), pl.len(), (pl.col("timestamp").max() - pl.col("timestamp").min()).dt.total_minutes().alias("minutes"),
    )  # fmt: skip
    assert runs["merchants"].max() == 1 and runs["devices"].max() == 1
    assert runs["euro"].median() < 5 and runs["len"].mean() > 6 and runs["minutes"].median() < 60  # type: ignore[operator]


def test_an_account_takeover_comes_from_a_device_the_customer_never_used(rows: pl.DataFrame, fraud: pl.DataFrame) -> None:
    own = rows.filter(~pl.col("true_fraud")).select("customer_id", "device_id").unique()
    taken = fraud.filter(pl.col("scheme") == "account_takeover")
    assert 0.5 < taken.join(own, on=["customer_id", "device_id"], how="anti").height / taken.height < 0.85


def test_a_breach_hits_many_customers_of_one_merchant(rows: pl.DataFrame, fraud: pl.DataFrame) -> None:
    victims = fraud.filter(pl.col("scheme") == "merchant_compromise")["customer_id"].unique()
    visits = rows.filter(pl.col("scheme") == "ordinary").select("customer_id", "merchant_id").unique()
    among = visits.with_columns(victim=pl.col("customer_id").is_in(victims.implode()))
    by = among.group_by("merchant_id").agg(pl.len().alias("customers"), pl.col("victim").sum(), pl.col("victim").mean().alias("share"))
    overall = among["victim"].mean()
    breached = by.filter(pl.col("victim") >= 5).sort("share", descending=True)
    assert breached["share"].head(5).min() > 3 * overall  # type: ignore[operator]


def test_impossible_travel_is_faster_than_an_airliner(rows: pl.DataFrame) -> None:
    ids = rows.filter(pl.col("scheme") == "impossible_travel").select("episode").unique()
    runs = (
        rows.join(ids, on="episode", how="semi")
        .filter(pl.col("scheme").is_in(["impossible_travel", "lead_in"]))
        .sort("episode", "timestamp")
    )
    first = runs.group_by("episode", maintain_order=True).agg(
        pl.col("scheme").first(), pl.col("latitude").head(2).diff().last().abs().alias("north"),
        pl.col("longitude").head(2).diff().last().abs().alias("east"), pl.col("timestamp").head(2).diff().last().dt.total_minutes().alias("minutes"),
        pl.col("foreign").last(),
    ).filter("foreign")  # fmt: skip
    assert (first["scheme"] == "lead_in").mean() > 0.97  # type: ignore[operator]
    km = 111 * np.hypot(first["north"].to_numpy(), 0.6 * first["east"].to_numpy())
    speed = km / (first["minutes"].to_numpy() / 60)
    assert np.median(speed) > 1_000


def test_a_bust_out_begins_slowly_and_ends_large(rows: pl.DataFrame) -> None:
    runs = rows.filter((pl.col("scheme") == "bust_out") & pl.col("true_fraud")).sort("episode", "timestamp")
    ends = (
        runs.group_by("episode")
        .agg(pl.col("euro").first().alias("first"), pl.col("euro").last().alias("last"), pl.len())
        .filter(pl.col("len") >= 3)
    )
    assert ends["last"].median() > 2 * ends["first"].median()  # type: ignore[operator]
    lead = rows.join(runs.select("episode").unique(), on="episode", how="semi").filter(pl.col("scheme") == "lead_in")
    assert lead.height >= 4 * runs["episode"].n_unique() and not lead["true_fraud"].any()


def test_customers_live_in_more_than_fifty_countries_with_their_currencies(world: Generated, rows: pl.DataFrame) -> None:
    assert world.profiles["home_country"].n_unique() > 50
    assert rows["country"].n_unique() > 50 and rows["currency"].n_unique() > 35
    assert rows["rate"].null_count() == 0, "every currency has a sample rate"
    homes = world.profiles["home_country"].value_counts(sort=True)
    assert homes["count"][0] > 20 * homes["count"][-1]


def test_customers_have_habits_usual_merchants_and_few_devices(rows: pl.DataFrame) -> None:
    genuine = rows.filter(pl.col("scheme") == "ordinary", ~pl.col("true_fraud"))
    by = genuine.group_by("customer_id").agg(
        pl.len(), pl.col("merchant_id").value_counts(sort=True).head(5).struct.field("count").sum().alias("top"),
        pl.col("device_id").drop_nulls().n_unique().alias("devices"),
    ).filter(pl.col("len") >= 40)  # fmt: skip
    assert int(by["top"].sum()) / int(by["len"].sum()) > 0.4
    assert by["devices"].median() <= 4  # type: ignore[operator]
    hours = genuine.group_by((pl.col("timestamp") + pl.duration(minutes=pl.col("offset").cast(pl.Int64))).dt.hour().alias("hour")).len()
    by_hour = dict(hours.iter_rows())
    assert by_hour[12] > 5 * by_hour[3]


def test_popularity_of_merchants_is_long_tailed(rows: pl.DataFrame) -> None:
    counts = rows["merchant_id"].value_counts(sort=True)["count"]
    assert counts.head(len(counts) // 10).sum() > 0.3 * ROWS


def test_some_customers_travel(rows: pl.DataFrame) -> None:
    abroad = rows.filter(pl.col("scheme") == "ordinary", ~pl.col("true_fraud"), "card_present", "foreign")
    assert 0.005 < abroad.height / ROWS < 0.08
    assert 0.02 < abroad["customer_id"].n_unique() / rows["customer_id"].n_unique() < 0.6


def test_cards_are_present_in_shops_and_never_online(rows: pl.DataFrame) -> None:
    assert not rows.filter("is_online")["card_present"].any()
    assert rows.filter("is_online")["device_id"].null_count() == 0
    assert rows.filter("card_present")["ip"].null_count() > 0.5 * rows.filter("card_present").height
    assert rows["amount"].min() > 0  # type: ignore[operator]


def test_amounts_are_whole_minor_units_of_their_currency(rows: pl.DataFrame) -> None:
    from fraudloop.domain.money import exponent_of, to_minor

    for currency, amount in rows.select("currency", "amount").unique("currency").iter_rows():
        to_minor(amount, exponent_of(currency))
    yen = rows.filter(pl.col("currency") == "JPY")["amount"]
    assert (yen == yen.round(0)).all()


def test_labels_come_weeks_days_or_hours_late_by_their_source(world: Generated) -> None:
    first = world.labels.filter("is_fraud").join(world.transactions.select("transaction_id", "timestamp"), on="transaction_id")
    delay = first.with_columns(days=(pl.col("known_at") - pl.col("timestamp")).dt.total_seconds() / 86_400)
    by = {
        name: (median, share)
        for name, median, share in delay.group_by("source").agg(pl.col("days").median(), pl.len() / delay.height).iter_rows()
    }
    assert 17 < by["chargeback"][0] < 23 and by["chargeback"][1] == pytest.approx(0.55, abs=0.04)
    assert 1 < by["customer_report"][0] < 5 and by["customer_report"][1] == pytest.approx(0.30, abs=0.04)
    assert 1 < by["review"][0] * 24 < 12 and by["review"][1] == pytest.approx(0.15, abs=0.03)
    assert delay["days"].min() > 0  # type: ignore[operator]


def test_reversals_follow_their_report_from_the_same_source(world: Generated) -> None:
    labels = world.labels
    assert labels["known_at"].is_sorted()
    back = labels.filter(~pl.col("is_fraud")).join(labels.filter("is_fraud"), on=["transaction_id", "source"], suffix="_first")
    assert back.height == world.report.reversed == labels.filter(~pl.col("is_fraud")).height
    assert (back["known_at"] > back["known_at_first"]).all() and (back["reason"] == "reversed").all()
    assert 0.03 < back.height / labels.filter("is_fraud").height < 0.10
    truth = world.truth.join(back, on="transaction_id", how="semi")["true_fraud"].mean()
    assert 0.1 < truth < 0.3, "most reports taken back were mistaken, some were right"  # type: ignore[operator]


def test_the_label_columns_hold_the_last_word_of_the_labels_table(world: Generated) -> None:
    last = world.labels.group_by("transaction_id", maintain_order=True).last()
    both = world.transactions.join(last, on="transaction_id", how="left", suffix="_last")
    assert both["is_fraud"].equals(both["is_fraud_last"].fill_null(value=False))
    assert both["label_known_at"].equals(both["known_at"]) and both["label_source"].equals(both["source"])


def test_the_true_probability_of_fraud_is_calibrated(world: Generated) -> None:
    truth = world.truth
    assert truth["fraud_probability"].is_between(0, 1).all()
    assert truth["fraud_probability"].sum() == pytest.approx(truth["true_fraud"].sum(), rel=0.03)
    certain = truth.filter(pl.col("fraud_probability") > 0.5)
    assert certain["true_fraud"].mean() == pytest.approx(certain["fraud_probability"].mean(), abs=0.01)


def test_profiles_hold_a_home_a_clock_and_an_account_for_every_customer(world: Generated) -> None:
    profiles = world.profiles
    assert set(world.transactions["customer_id"]) <= set(profiles["id"]) and profiles["id"].n_unique() == profiles.height
    assert (profiles["opened_at"] < profiles["time"]).all() and (profiles["time"] == datetime(2025, 1, 1, tzinfo=UTC)).all()
    assert profiles.null_count().sum_horizontal()[0] == 0


DRIFT = ["2025-02-15:amount_multiplier=1,foreign_probability=0.1,late_night_probability=0.2,fraud_rate=0.02", "2025-03-15:card_testing=9"]


def test_drift_changes_fraud_from_its_date_on_and_not_before() -> None:
    made = joined(make(drift=DRIFT)).with_columns(
        part=pl.when(pl.col("timestamp") < datetime(2025, 2, 15, tzinfo=UTC))
        .then(0)
        .when(pl.col("timestamp") < datetime(2025, 3, 15, tzinfo=UTC))
        .then(1)
        .otherwise(2)
    )
    rates = made.group_by("part").agg(pl.col("is_fraud").mean(), pl.col("true_fraud").mean()).sort("part")
    assert rates["true_fraud"].to_list() == pytest.approx([0.01 / 0.89, 0.02 / 0.89, 0.02 / 0.89], rel=0.06)
    assert made["is_fraud"].sum() == FraudDataGenerator(seed=11, transactions=ROWS, drift=DRIFT).generate().report.known_fraud
    by = made.filter("true_fraud").group_by("part").agg(
        pl.col("foreign").mean(), pl.col("night").mean(), (pl.col("scheme") == "card_testing").mean().alias("testing"),
        pl.col("euro").filter(~pl.col("scheme").is_in(["card_testing", "ordinary"])).median(),
    ).sort("part")  # fmt: skip
    assert by["foreign"].to_list() == pytest.approx([0.6, 0.1, 0.1], abs=0.02)
    assert by["night"].to_list() == pytest.approx([0.7, 0.2, 0.2], abs=0.02)
    assert by["testing"].to_list() == pytest.approx([0.162, 0.162, 0.9 * 9 / 9.82], abs=0.02)
    assert by["euro"][0] > 3 * by["euro"][1]


@pytest.mark.parametrize("since", ["2025-01-01", "2025-04-01", "2024-06-01"])
def test_drift_outside_the_period_is_refused(since: str) -> None:
    with pytest.raises(InputError, match="drift"):
        FraudDataGenerator(transactions=1_000, drift=[f"{since}:bust_out=1"])


def test_more_changes_than_fraudsters_have_devices_for_are_refused() -> None:
    changes = [f"2025-{month:02}-{day:02}:bust_out=1" for month in (2, 3, 4) for day in range(1, 25)]
    with pytest.raises(InputError, match="72 changes"):
        FraudDataGenerator(transactions=1_000, days=365, drift=changes)


def digest(frame: pl.DataFrame) -> str:
    return hashlib.sha256(frame.write_csv().encode()).hexdigest()


def test_the_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    first, again, other = make(transactions=5_000), make(transactions=5_000), make(transactions=5_000, seed=12)
    for name in ("transactions", "labels", "profiles", "truth"):
        assert digest(getattr(first, name)) == digest(getattr(again, name)), name
        assert digest(getattr(first, name)) != digest(getattr(other, name)), name


def test_neither_chunks_nor_threads_nor_format_change_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordinary, "BLOCK_ROWS", 3_000)  # many blocks in a small world
    made = make(transactions=30_000)
    for chunk_rows, threads in ((30_000, 1), (777, 2), (5_000, 3)):
        generator = FraudDataGenerator(seed=11, transactions=30_000)
        files = {name: tmp_path / f"{name}-{chunk_rows}.parquet" for name in ("transactions", "labels", "profiles", "truth")}
        report = generator.write(
            files["transactions"],
            labels=files["labels"],
            profiles=files["profiles"],
            truth=files["truth"],
            chunk_rows=chunk_rows,
            threads=threads,
        )
        for name, path in files.items():
            assert digest(pl.read_parquet(path)) == digest(getattr(made, name)), (name, chunk_rows)
        assert report.reachable_average_precision == made.report.reachable_average_precision


def test_a_larger_block_of_hours_is_no_different_in_kind() -> None:
    """Hours are never split: one hour may hold more rows than a block."""
    made = FraudDataGenerator(seed=3, transactions=600_000, days=1, customers=3_000).generate()
    assert made.transactions.height == 600_000 and made.transactions["timestamp"].is_sorted()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"transactions": 99}, "transactions"),
        ({"transactions": 1.5}, "transactions"),
        ({"customers": 1}, "customers"),
        ({"merchants": 5}, "merchants"),
        ({"days": 0}, "days"),
        ({"fraud_rate": 0.5}, "fraud_rate"),
        ({"fraud_rate": 0.0}, "fraud_rate"),
        ({"seed": -1}, "seed"),
        ({"start": "01.02.2025"}, "start"),
        ({"start": "1890-01-01"}, "start"),
    ],
)
def test_an_argument_out_of_range_is_refused_by_name(arguments: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError, match=name) as caught:
        FraudDataGenerator(**{"transactions": 1_000, **arguments})
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        {"transactions": 100},
        {"transactions": 1_000, "days": 1},
        {"transactions": 2_000, "customers": 10, "merchants": 20, "days": 400},
        {"transactions": 3_000, "fraud_rate": 0.2},
        {"transactions": 3_000, "fraud_rate": 0.0001},
    ],
)
def test_small_and_odd_worlds_are_made_as_well(arguments: dict[str, Any]) -> None:
    made = FraudDataGenerator(seed=2, **arguments).generate()
    assert made.transactions.height == arguments["transactions"]
    assert made.transactions["is_fraud"].sum() == round(arguments["transactions"] * arguments.get("fraud_rate", 0.01))

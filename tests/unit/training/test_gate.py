"""The gate: a good candidate passes, and for each thing that is asked one is refused by that check alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from fraudloop.clock import ManualClock
from fraudloop.decisions.policy import Policy
from fraudloop.errors import InputError
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.smoke import SMOKE, SmokeCase
from fraudloop.training.config import TrainConfig
from fraudloop.training.folds import Dataset
from fraudloop.training.gate import FreshLoad, GateData, GateReport, run_gate
from fraudloop.training.gate_config import Floor, GateConfig
from fraudloop.training.splits import Period
from fraudloop.training.train import train
from tests.worlds import DAY_US, FEATURES, feature_table

JUDGED = Period.parse("2024-02-16..2024-02-29")
POLICY = Policy(decline=0.97, review=0.45)

#: Quick, and without a bound on time: a busy machine is no reason of the candidate's.
CONFIG = GateConfig(
    floors={"average_precision": Floor(0.3)}, rounds=100, frauds_min=20, tries=1, single_calls=5, batch_calls=2, batch_rows=50, seconds=0.05,
    review_max=0.2, decline_max=0.1, single_median_ms=1e6, single_p99_ms=1e6, batch_median_ms=1e6, batch_p99_ms=1e6, load_p99_ms=1e6, jump_max=1.0, segments=(),
)  # fmt: skip


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return feature_table()


def trained(table: pl.DataFrame, **options: Any) -> Bundle:
    """A logistic model of the days up to 10 February, with the labels of the fifteenth."""
    config = TrainConfig(algorithms=("logistic",), folds=1, threads=1, members=1, candidates={"logistic": ({},)}, **options)
    made = train(
        table, FEATURES, config, delay_us=5 * DAY_US, origin={"created": "2024-03-01T00:00:00Z"}, train_period=Period.parse("2024-01-01..2024-02-10"),
        test_period=JUDGED,
    )  # fmt: skip
    return stored(made.bundle)


def stored(bundle: Bundle) -> Bundle:
    """With the hash that saving would give."""
    return Bundle(bundle.files, bundle.members, bundle.origin, None, str(bundle.manifest()["bundle"]))


@pytest.fixture(scope="module")
def good(table: pl.DataFrame) -> Bundle:
    return trained(table)


@pytest.fixture(scope="module")
def data(table: pl.DataFrame) -> GateData:
    dataset = Dataset.of(table, (), 5 * DAY_US, "UTC", ())
    return GateData(dataset, dataset.rows(JUDGED), {"file": "shop.parquet", "period": str(JUDGED)})


def changed(bundle: Bundle, name: str, change: Callable[[dict[str, Any]], None]) -> Bundle:
    body = json.loads(bundle.files[name])
    change(body)
    return stored(Bundle({**bundle.files, name: json.dumps(body).encode()}, bundle.members, bundle.origin))


def without_smoke(bundle: Bundle) -> Bundle:
    return stored(Bundle({name: body for name, body in bundle.files.items() if name != SMOKE}, bundle.members, bundle.origin))


def resmoked(bundle: Bundle) -> Bundle:
    """Its cases with the scores that it gives now: a model that was made wrong on purpose, and honestly stored."""
    from fraudloop.scoring.smoke import bundle_cases, case_inputs, cases_bytes

    model = bundle.model()
    cases = bundle_cases(bundle)
    scores = model.score(case_inputs(cases, model)).tolist()
    body = cases_bytes([replace(case, score=score) for case, score in zip(cases, scores, strict=True)])
    return stored(Bundle({**bundle.files, SMOKE: body}, bundle.members, bundle.origin))


def turned(bundle: Bundle) -> Bundle:
    """The same model with every weight turned round: the worst there is."""

    def turn(body: dict[str, Any]) -> None:
        body["weights"] = [-weight for weight in body["weights"]]

    return resmoked(changed(bundle, "models/logistic-1.json", turn))


def failed(report: GateReport) -> set[str]:
    assert report.to_dict()["verdict"] == ("refuse" if report.failed else "pass")
    assert all(check.why for check in report.checks)
    return {check.name for check in report.failed}


def test_a_good_candidate_passes_alone_and_beside_a_champion(good: Bundle, data: GateData) -> None:
    alone = run_gate(good, None, data, POLICY, CONFIG, fresh=FreshLoad())
    assert failed(alone) == set()
    assert alone.champion is None
    beside = run_gate(good, good, data, POLICY, CONFIG)
    assert failed(beside) == set()
    assert {"not_worse", "outcome_change"} <= {check.name for check in beside.checks}


def test_the_report_is_plain_data_with_everything_in_it(good: Bundle, data: GateData) -> None:
    body = run_gate(good, good, data, POLICY, replace(CONFIG, segments=None), clock=ManualClock(1_700_000_000_000_000)).to_dict()
    again = json.loads(json.dumps(body, allow_nan=False))
    assert again == json.loads(json.dumps(again))
    assert set(body) == {
        "verdict", "candidate", "champion", "created", "data", "policy", "checks", "metrics", "comparison", "segments", "outcomes", "latency", "config",
    }  # fmt: skip
    assert (body["verdict"], body["candidate"], body["champion"], body["created"]) == ("pass", good.hash, good.hash, "2023-11-14T22:13:20Z")
    assert set(body["checks"][0]) == {"name", "title", "passed", "measured", "bound", "relation", "unit", "why", "detail"}
    assert set(body["metrics"]) == {"candidate", "champion"}
    assert body["comparison"]["difference"] == 0.0
    assert sum(body["outcomes"]["candidate"].values()) == pytest.approx(1.0)
    assert set(body["latency"]) == {"single", "batch", "load"}
    assert set(body["segments"]["columns"]) == {"country"}
    assert body["data"]["transactions"] == body["metrics"]["candidate"]["transactions"] > 1_000


# --- refused by each check ---------------------------------------------------------------------------------------


def test_bytes_that_are_not_those_of_the_hash(good: Bundle, data: GateData) -> None:
    tampered = Bundle({**good.files, "thresholds.json": good.files["thresholds.json"] + b" "}, good.members, good.origin, None, good.hash)
    report = run_gate(tampered, None, data, POLICY, CONFIG)
    assert failed(report) == {"integrity"}
    assert report.metrics == {}, "nothing is said of a model that is not itself"


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("features.json", lambda body: body["features"][0].update(kind="sorcery"), "features.json"),
        ("models/logistic-1.json", lambda body: body.update(weights=[1.0]), "models/logistic-1.json"),
        (
            "preprocessing.json",
            lambda body: body["preprocessings"]["linear"]["steps"][0].update(column="gone"),
            "columns that the data does not have",
        ),
        ("thresholds.json", lambda body: body.update(review="high"), "policy"),
        ("calibration.json", lambda body: body.update(chances=[0.0, *body["chances"][1:]]), "above 0 and below 1"),
    ],
)
def test_what_this_version_cannot_run(good: Bundle, data: GateData, name: str, change: Callable[[dict[str, Any]], None], says: str) -> None:
    report = run_gate(changed(good, name, change), None, data, POLICY, CONFIG)
    assert failed(report) == {"integrity"}
    assert says in report.failed[0].why


@pytest.mark.parametrize("fresh", [FreshLoad(error="models/x.json: damaged"), FreshLoad(training_libraries=("sklearn", "xgboost"))])
def test_what_a_fresh_process_could_not_run_or_only_with_training_libraries(good: Bundle, data: GateData, fresh: FreshLoad) -> None:
    report = run_gate(good, None, data, POLICY, CONFIG, fresh=fresh)
    assert failed(report) == {"fresh_process"}
    assert "damaged" in report.failed[0].why or "sklearn, xgboost" in report.failed[0].why


def test_payments_from_before_its_training_ended(good: Bundle, data: GateData) -> None:
    early = replace(data, rows=data.dataset.rows(Period.parse("2024-02-14..2024-02-29")))
    assert failed(run_gate(good, None, early, POLICY, CONFIG)) == {"after_training"}
    silent = changed(good, "metrics.json", lambda body: body["training"].pop("cut"))
    assert failed(run_gate(silent, None, data, POLICY, CONFIG)) == {"after_training"}


def test_payments_that_an_update_has_learned_from_since(good: Bundle, data: GateData) -> None:
    updated = changed(good, "metrics.json", lambda body: body.update(update={"cut": "2024-02-20T00:00:00Z"}))
    assert failed(run_gate(updated, None, data, POLICY, CONFIG)) == {"after_training"}


def test_a_champion_that_learned_from_some_of_the_payments_is_noted(good: Bundle, data: GateData) -> None:
    later = changed(good, "metrics.json", lambda body: body["training"].update(cut="2024-02-20T00:00:00Z"))
    [check] = [c for c in run_gate(good, later, data, POLICY, CONFIG).checks if c.name == "after_training"]
    assert check.passed
    assert check.detail["champion_learned_from_some"]


def test_too_little_fraud_to_judge_by(good: Bundle, data: GateData) -> None:
    assert failed(run_gate(good, None, data, POLICY, replace(CONFIG, frauds_min=10_000))) == {"frauds"}


def test_labels_that_have_not_had_their_time(good: Bundle, data: GateData, table: pl.DataFrame) -> None:
    young = Dataset.of(table, (), 40 * DAY_US, "UTC", ())
    assert failed(run_gate(good, None, replace(data, dataset=young), POLICY, CONFIG)) == {"label_maturity"}


@pytest.mark.parametrize(
    ("floor", "reachable", "passes"),
    [
        (Floor(0.99), {}, False),
        (Floor(0.95, "reachable"), {"average_precision": 0.999}, False),
        (Floor(0.5, "reachable"), {"average_precision": 0.9}, True),
        (Floor(0.5, "reachable"), {}, False),
        (Floor(30, "base"), {}, False),
        (Floor(5, "base"), {}, True),
    ],
)
def test_a_metric_below_its_floor(good: Bundle, data: GateData, floor: Floor, reachable: dict[str, float], passes: bool) -> None:
    report = run_gate(good, None, replace(data, reachable=reachable), POLICY, replace(CONFIG, floors={"average_precision": floor}))
    assert failed(report) == (set() if passes else {"floor_average_precision"})


def test_without_floors_a_generated_world_is_held_to_what_is_reachable_and_own_data_to_the_share_of_fraud(
    good: Bundle, data: GateData
) -> None:
    open_ = replace(CONFIG, floors=None)
    world = replace(data, reachable={"average_precision": 1.0, "recall_at_90_precision": 1.0})
    floors = {check.name: check.bound for check in run_gate(good, None, world, POLICY, open_).checks if check.name.startswith("floor_")}
    assert floors == {"floor_average_precision": 0.85, "floor_recall_at_90_precision": 0.80}
    [own] = [check for check in run_gate(good, None, data, POLICY, open_).checks if check.name.startswith("floor_")]
    assert own.name == "floor_average_precision"
    assert own.bound == pytest.approx(5 * own.detail["whole"])


def test_a_candidate_worse_than_the_champion(good: Bundle, data: GateData) -> None:
    assert {"not_worse", "floor_average_precision"} <= failed(run_gate(turned(good), good, data, POLICY, CONFIG))
    assert failed(run_gate(good, turned(good), data, POLICY, replace(CONFIG, change_max=1.0))) == set()


def test_a_gain_too_small_where_one_is_asked_for(good: Bundle, data: GateData) -> None:
    assert failed(run_gate(good, good, data, POLICY, replace(CONFIG, gain_min=0.01))) == {"minimum_gain"}
    assert failed(run_gate(good, good, data, POLICY, replace(CONFIG, gain_min=0.0))) == set()


def test_a_smoke_case_that_scores_otherwise_or_none_at_all(good: Bundle, data: GateData) -> None:
    def nudge(body: dict[str, Any]) -> None:
        body["cases"][0]["score"] = float(np.nextafter(body["cases"][0]["score"], 0.0))

    assert failed(run_gate(changed(good, SMOKE, nudge), None, data, POLICY, CONFIG)) == {"smoke_bits"}
    assert "smoke_bits" in failed(run_gate(without_smoke(good), None, data, POLICY, CONFIG))


def test_a_known_fraud_that_would_be_approved(good: Bundle, data: GateData) -> None:
    own = SmokeCase("stolen abroad", True, {"amount": 1.0, "customer_count_24h": 1.0}, {"country": "DE"})
    report = run_gate(good, None, data, POLICY, replace(CONFIG, smoke=(own,)))
    assert failed(report) == {"smoke_fraud"}
    assert "stolen abroad" in report.failed[0].why


def test_a_known_genuine_payment_that_would_be_declined(good: Bundle, data: GateData) -> None:
    own = SmokeCase("the founder's car", False, {"amount": 90_000.0, "customer_count_24h": 40.0}, {"country": "BR"})
    report = run_gate(good, None, data, Policy(decline=0.6, review=0.45), replace(CONFIG, smoke=(own,), decline_max=1.0))
    assert failed(report) == {"smoke_genuine"}


def test_a_score_that_jumps_when_an_input_is_missing_or_unknown(good: Bundle, data: GateData) -> None:
    assert failed(run_gate(good, None, data, POLICY, replace(CONFIG, jump_max=0.001))) == {"missing_values", "unknown_words"}


@pytest.mark.parametrize(
    ("limits", "check"),
    [
        ({"single_median_ms": 1e-6}, "latency_single"),
        ({"single_p99_ms": 1e-6}, "latency_single"),
        ({"batch_median_ms": 1e-6}, "latency_batch"),
        ({"batch_p99_ms": 1e-6}, "latency_batch"),
        ({"load_p99_ms": 1e-6}, "load"),
    ],
)
def test_a_model_that_is_too_slow(good: Bundle, data: GateData, limits: dict[str, float], check: str) -> None:
    assert failed(run_gate(good, None, data, POLICY, replace(CONFIG, **limits))) == {check}  # type: ignore[arg-type]


def test_a_measurement_above_its_bound_is_made_again_and_said_to_be(good: Bundle, data: GateData) -> None:
    report = run_gate(good, None, data, POLICY, replace(CONFIG, tries=3, single_p99_ms=1e-6))
    [check] = report.failed
    assert len(check.detail["tries"]) == 3
    assert "best of 3 tries; requests that do nothing have p99" in check.why
    assert report.latency["load"]["tries"] == 1


def test_too_many_declined_or_reviewed(good: Bundle, data: GateData) -> None:
    assert "decline_share" in failed(run_gate(good, None, data, Policy(decline=0.02, review=0.02), CONFIG))
    assert failed(run_gate(good, None, data, Policy(decline=0.99, review=0.005), CONFIG)) == {"review_share"}


def test_outcomes_far_from_the_champions(good: Bundle, data: GateData) -> None:
    def raise_all(body: dict[str, Any]) -> None:
        body["intercept"] += 3.0

    bold = resmoked(changed(good, "models/logistic-1.json", raise_all))
    report = run_gate(bold, good, data, POLICY, replace(CONFIG, review_max=1.0, decline_max=1.0, smoke=()))
    assert "outcome_change" in failed(report)
    assert "not_worse" not in failed(report), "the order of payments is the same"


def test_a_gap_between_segments_beyond_chance(good: Bundle, data: GateData, table: pl.DataFrame) -> None:
    sizes = table.with_columns(size=pl.when(pl.col("amount") > pl.col("amount").median()).then(pl.lit("large")).otherwise(pl.lit("small")))
    here = replace(data, dataset=Dataset.of(sizes, (), 5 * DAY_US, "UTC", ()))
    strict = replace(CONFIG, segments=("size",), gaps={"false_positive_rate": 0.01}, review_max=1.0)
    policy = Policy(decline=0.99, review=0.02)
    report = run_gate(good, None, here, policy, strict)
    assert failed(report) == {"gap_false_positive_rate"}
    assert "size: small" in report.failed[0].why
    assert failed(run_gate(good, None, here, policy, replace(strict, gaps={"false_positive_rate": 0.9}))) == set()


def test_nothing_to_judge_by_is_bad_input(good: Bundle, data: GateData) -> None:
    with pytest.raises(InputError, match="no payments"):
        run_gate(good, None, replace(data, rows=data.rows[:0]), POLICY, CONFIG)
    other = data.dataset.table.drop("country")
    with pytest.raises(InputError, match="champion reads"):
        run_gate(good, good, replace(data, champion_table=other), POLICY, CONFIG)

"""A run with no server: a SQLite file and a folder. What is written can be read again, and nothing trained is ever lost."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fraudloop.data.columns import ColumnMap
from fraudloop.errors import ColumnMapError, InputError, TrackingError
from fraudloop.pipelines import train as pipeline
from fraudloop.pipelines.features import fold_file
from fraudloop.pipelines.tracking import Inputs, keep_inputs, track_bundle, tracking_of
from fraudloop.pipelines.train import Trained
from fraudloop.scoring.bundle import Bundle
from fraudloop.settings import Settings
from fraudloop.training.config import TrainConfig
from fraudloop.training.datasets import restore
from fraudloop.training.mlflow_client import load_mlflow
from fraudloop.training.tracking import TAG_BUNDLE, TAG_DATASET, Tracker, Tracking
from tests.tracked import TEST, local_tracking, shop, train_shop


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tracked")


@pytest.fixture(scope="module")
def tracking(place: Path) -> Tracking:
    return local_tracking(place)


@pytest.fixture(scope="module")
def trained(place: Path, tracking: Tracking) -> Trained:
    return train_shop(shop(place / "shop"), place / "model", tracking)


@pytest.fixture(scope="module")
def run(trained: Trained, tracking: Tracking) -> Any:
    """The run as MLflow has it."""
    return Tracker(tracking).client.get_run(trained.run)


def test_a_run_is_finished_and_named_by_its_bundle(run: Any, trained: Trained) -> None:
    assert run.info.status == "FINISHED"
    assert run.data.tags[TAG_BUNDLE] == trained.bundle.hash
    assert run.data.tags["fraudloop.content"] == trained.bundle.content
    assert json.loads(run.data.tags["fraudloop.versions"])["python"] == trained.bundle.origin["versions"]["python"]


def test_parameters_are_what_was_told_and_what_was_chosen(run: Any, trained: Trained) -> None:
    params = run.data.params
    assert (params["config.seed"], params["config.algorithms"], params["test"]) == ("0", "logistic, xgboost", TEST)
    chosen = trained.report["validation"]["algorithms"]["xgboost"]["params"]
    assert params["xgboost.depth"] == str(chosen["depth"])


def test_metrics_are_those_of_the_report_overall_and_by_fold(run: Any, trained: Trained, tracking: Tracking) -> None:
    assert run.data.metrics["test.all.average_precision"] == trained.report["test"]["all"]["average_precision"]
    history = Tracker(tracking).client.get_metric_history(trained.run, "validation.average_precision")
    assert {m.step: m.value for m in history} == {k: f["average_precision"] for k, f in enumerate(trained.report["validation"]["folds"])}


def test_the_artifacts_are_the_bundle_with_its_plots(trained: Trained, tracking: Tracking, tmp_path: Path) -> None:
    assert trained.run is not None
    fetched = Tracker(tracking).bundle_of(trained.run, tmp_path)
    assert fetched.hash == trained.bundle.hash
    assert {name for name in fetched.files if name.startswith("report/")} == {
        name for name in trained.bundle.files if name.startswith("report/")
    }


def test_the_rows_are_named_in_the_run_and_lie_in_the_store(run: Any, trained: Trained, tracking: Tracking) -> None:
    dataset = run.data.tags[TAG_DATASET]
    assert trained.bundle.origin["dataset"] == {"hash": dataset}
    manifest = restore(Tracker(tracking).datasets, dataset)
    assert {role: file.name for role, file in manifest.files.items()} == {
        "transactions": "orders.csv", "labels": "labels.csv", "rates": "rates.csv",
    }  # fmt: skip
    inputs = {entry.tags[0].value: entry.dataset.digest for entry in run.inputs.dataset_inputs}
    assert inputs == {"transactions": manifest.files["transactions"].sha256[:36]}


def test_keys_and_secrets_stay_outside(place: Path, trained: Trained, tracking: Tracking) -> None:
    tracker = Tracker(tracking)
    settings = Settings(hash_key=b"0123456789abcdef", token_key=b"s" * 32, token_key_id="own")
    inputs = Inputs(
        place / "shop" / "orders.csv", place / "shop" / "map.toml", trained.bundle.features, "5d", None, None, TrainConfig(), None, None, 0.0
    )  # fmt: skip
    text = keep_inputs(tracker, inputs, settings).to_bytes()
    for secret in (settings.hash_key, settings.token_key or b""):
        assert secret not in text
        assert secret.hex().encode() not in text
    assert json.loads(text)["settings"] == {"base_currency": "EUR", "zone": "UTC", "token_key_id": "own", "hash_key": "own"}


def test_a_bundle_is_tracked_once(trained: Trained, tracking: Tracking) -> None:
    assert trained.bundle.path is not None
    again = track_bundle(trained.bundle.path, tracking)
    assert (again.run, again.known) == (trained.run, True)


def test_a_store_that_fails_after_training_leaves_the_bundle_and_says_how_to_go_on(
    place: Path, trained: Trained, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = type(Tracker(tracking).client)

    def refuse(*_: Any, **__: Any) -> None:
        raise load_mlflow().exceptions.MlflowException("the bucket is full")

    monkeypatch.setattr(client, "log_artifacts", refuse)
    out = place / "lost"
    with pytest.raises(TrackingError, match=r"bucket is full.*The bundle is saved in .*lost.*fraudloop models track"):
        train_shop(place / "shop", out, tracking, seed=1)
    bundle = Bundle.load(out)
    monkeypatch.undo()
    failed = Tracker(tracking).client.search_runs([Tracker(tracking).experiment_id], "attributes.status = 'FAILED'")
    assert [r.data.tags[TAG_BUNDLE] for r in failed] == [bundle.hash]
    later = track_bundle(out, tracking)
    assert not later.known
    assert track_bundle(out, tracking).run == later.run


def test_a_store_that_does_not_answer_stops_before_any_work(place: Path, trained: Trained) -> None:
    nowhere = Tracking("postgresql+psycopg://ml:secret@127.0.0.1:1/runs", str(place / "artifacts"))
    with pytest.raises(TrackingError, match="opening the tracking store") as error:
        train_shop(place / "shop", place / "never", nowhere)
    assert "secret" not in str(error.value)
    assert not (place / "never").exists()


def test_rows_that_change_during_the_run_stop_it(
    place: Path, trained: Trained, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place / "changing"
    shutil.copytree(place / "shop", folder)
    fold = fold_file

    def meanwhile(*args: Any, **kwargs: Any) -> Any:
        out = fold(*args, **kwargs)
        with (folder / "orders.csv").open("a") as file:
            file.write("t9,01.02.2024 00:00:00.000000,c1,5.0,EUR,DE\n")
        return out

    monkeypatch.setattr(pipeline, "fold_file", meanwhile)
    with pytest.raises(InputError, match=r"orders\.csv: it changed"):
        train_shop(folder, place / "changed", tracking)
    assert not (place / "changed").exists()


def test_a_map_that_is_no_text_cannot_be_kept(place: Path, trained: Trained, tracking: Tracking) -> None:
    columns = ColumnMap.load(place / "shop" / "map.toml")
    with pytest.raises(ColumnMapError, match="can be kept"):
        pipeline.train_file(place / "shop" / "orders.csv", place / "x", columns=columns, tracking=tracking)


def test_an_experiment_is_shared_and_another_is_apart(trained: Trained, tracking: Tracking) -> None:
    assert Tracker(tracking).experiment_id == Tracker(tracking).experiment_id
    assert Tracker(replace(tracking, experiment="other")).experiment_id != Tracker(tracking).experiment_id


def test_the_option_goes_before_the_setting_and_brings_its_own_artifacts(tmp_path: Path) -> None:
    settings = Settings(tracking="http://mlflow:5000", artifacts="s3://bucket/prefix")
    assert tracking_of(None, settings, working=tmp_path) == Tracking("http://mlflow:5000", "s3://bucket/prefix")
    assert tracking_of("off", settings, working=tmp_path) is None
    assert tracking_of(None, Settings(), working=tmp_path) is None
    assert tracking_of("sqlite:///a.db", settings, working=tmp_path) == Tracking(f"sqlite:///{tmp_path}/a.db", f"{tmp_path}/artifacts")


def test_no_usage_data_leaves_the_machine() -> None:
    load_mlflow()
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert is_telemetry_disabled()

"""What is told to MLflow, and where: places made whole, figures by name and fold, no password in any message."""

from __future__ import annotations

from pathlib import Path

import pytest

from fraudloop.errors import InputError
from fraudloop.training.mlflow_client import redacted
from fraudloop.training.tracking import Tracking, run_metrics

HERE = Path("/var/lib/shop")


@pytest.mark.parametrize(
    ("track", "artifacts", "uri", "root"),
    [
        ("default", None, "sqlite:////var/lib/shop/fraudloop-tracking/tracking.db", "/var/lib/shop/fraudloop-tracking/artifacts"),
        ("sqlite:///runs/my.db", None, "sqlite:////var/lib/shop/runs/my.db", "/var/lib/shop/runs/artifacts"),
        ("sqlite:////var/my.db", "s3://bucket/prefix/", "sqlite:////var/my.db", "s3://bucket/prefix"),
        ("postgresql+psycopg://db/runs", "store", "postgresql+psycopg://db/runs", "/var/lib/shop/store"),
        ("http://mlflow:5000", None, "http://mlflow:5000", None),
        ("https://mlflow.shop", "s3://bucket/prefix", "https://mlflow.shop", "s3://bucket/prefix"),
    ],
)
def test_a_place_is_made_whole(track: str, artifacts: str | None, uri: str, root: str | None) -> None:
    assert Tracking.of(track, artifacts, HERE) == Tracking(uri, root)


@pytest.mark.parametrize("track", [None, "off"])
def test_nothing_said_and_off_track_nothing(track: str | None) -> None:
    assert Tracking.of(track, None, HERE) is None


@pytest.mark.parametrize(
    ("track", "message"),
    [("postgresql+psycopg://ml:secret@db/runs", "holds no files"), ("runs.db", "not a tracking URI"), ("ftp://ml:secret@host", "not a tracking URI")],
)  # fmt: skip
def test_a_place_that_cannot_be_says_so_without_its_password(track: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        Tracking.of(track, None, HERE)
    assert "secret" not in str(error.value)


def test_passwords_are_struck_out_wherever_a_url_stands() -> None:
    text = "cannot reach postgresql+psycopg://ml:pa$$@db:5432/x or http://a:b@c/ but s3://bucket/a:b@c stays"
    assert redacted(text) == "cannot reach postgresql+psycopg://ml:***@db:5432/x or http://a:***@c/ but s3://bucket/a:b@c stays"


def test_figures_go_by_name_and_those_of_folds_by_step() -> None:
    metrics = {
        "test": {"period": "a..b", "all": {"average_precision": 0.5, "f1_review": None, "reliability": {"rows": [1, 2]}}},
        "validation": {
            "folds": [{"average_precision": 0.1}, {"average_precision": 0.2}],
            "algorithms": {"xgboost": {"average_precision": 0.15, "by_fold": [0.1, 0.2], "params": {"depth": 3}}},
        },
        "training": {"transactions": 100, "period": "a..b"},
        "segments": {"country": {"DE": {"recall": 0.5}}},
    }
    assert list(run_metrics(metrics)) == [
        ("test.all.average_precision", 0.5, 0), ("training.transactions", 100.0, 0), ("validation.average_precision", 0.1, 0),
        ("validation.average_precision", 0.2, 1), ("validation.xgboost.average_precision", 0.15, 0),
        ("validation.xgboost.average_precision_by_fold", 0.1, 0), ("validation.xgboost.average_precision_by_fold", 0.2, 1),
    ]  # fmt: skip

"""A column that only reports may see: it reaches the report of training and evaluation, no feature and no model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from fraudloop.domain.definitions import FeatureSet
from fraudloop.errors import InputError
from fraudloop.pipelines.evaluate import evaluate_file
from fraudloop.pipelines.features import fold_file
from fraudloop.pipelines.score import score_file
from fraudloop.pipelines.train import Trained, train_file
from fraudloop.scoring.bundle import Bundle
from fraudloop.training.config import TrainConfig
from tests.worlds import FEATURES, feature_table

CONFIG = TrainConfig(algorithms=("logistic",), threads=1, segments=("country", "age_group"))


@pytest.fixture(scope="module")
def payments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Transactions with a column that says almost everything about fraud, and that no model may use."""
    table = feature_table(3_000, 40).drop("customer_count_24h", "customer_amount_mean_7d", "amount_base")
    path = tmp_path_factory.mktemp("payments") / "payments.parquet"
    group = pl.when("is_fraud").then(pl.lit("young")).otherwise(pl.lit("old"))
    table.with_columns(age_group=group, currency=pl.lit("EUR")).write_parquet(path)
    return path


@pytest.fixture(scope="module")
def trained(payments: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path]:
    out = tmp_path_factory.mktemp("bundle") / "model"
    return train_file(payments, out, features=FEATURES, config=CONFIG), out


def test_a_named_column_is_reported_and_no_model_reads_it(trained: tuple[Trained, Path]) -> None:
    done, out = trained
    assert list(done.report["segments"]["columns"]) == ["country", "age_group"]
    assert {v["value"] for v in done.report["segments"]["columns"]["age_group"]["values"]} == {"young", "old"}
    bundle = Bundle.load(out)
    assert bundle.metrics["segments"]["columns"].keys() == {"country", "age_group"}
    assert "country" in bundle.model().words
    assert "age_group" not in (*bundle.model().numbers, *bundle.model().words)
    assert done.report["config"]["withheld"] == ("age_group",)


def test_evaluation_reports_the_same_segments(trained: tuple[Trained, Path], payments: Path, tmp_path: Path) -> None:
    done, out = trained
    scores = tmp_path / "scores.parquet"
    score_file(payments, scores, model=out, period=done.report["test"]["period"])
    found = evaluate_file(scores, config=CONFIG)
    assert found.segments["columns"] == done.report["segments"]["columns"]


def test_the_map_can_name_it_too(payments: Path, tmp_path: Path) -> None:
    columns = tmp_path / "map.toml"
    columns.write_text('[segments]\nband = "age_group"\n[label]\ncolumn = "is_fraud"\n[label.columns]\nknown_at = "label_known_at"\n')
    done = train_file(payments, tmp_path / "model", columns=columns, features=FEATURES, config=replace(CONFIG, segments=("band",)))
    assert list(done.report["segments"]["columns"]) == ["band"]
    assert "band" not in done.bundle.model().words


def test_no_feature_can_be_made_of_it(payments: Path) -> None:
    features = FeatureSet.from_dict(
        {"entities": {"customer": "customer_id"}, "categories": {"band": "age_group"}, "features": ["customer_band_distinct_24h"]}
    )
    with pytest.raises(InputError, match="no column 'age_group', which a feature needs"):
        fold_file(payments, "native", features, segments=("age_group",))
    folded = fold_file(payments, "native", FEATURES, segments=("age_group",))
    assert folded.withheld == ("age_group",)
    assert set(folded.table["age_group"]) == {"young", "old"}


def test_a_column_that_the_file_lacks_is_named(payments: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no column 'age_grup'.*did you mean 'age_group'"):
        train_file(payments, tmp_path / "model", features=FEATURES, config=replace(CONFIG, segments=("age_grup",)))


def test_a_withheld_feature_is_refused(payments: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="withheld columns cannot be features or categories too: amount"):
        train_file(payments, tmp_path / "model", features=FEATURES, config=replace(CONFIG, withheld=("amount",)))

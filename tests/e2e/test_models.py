"""The way of a model as a user walks it: train into the store, gate, promote, a second one refused and compared, rollback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fraudloop.cli.main import run
from fraudloop.pipelines.generate import reachable
from tests.worlds import feature_table

FEATURES = """
features = ["amount", "customer_count_24h", "customer_amount_mean_7d"]
[entities]
customer = "customer_id"
[numbers]
amount = { column = "amount_base", scale = 2 }
"""
CONFIG = "threads = 1\nmembers = 1\nfolds = 1\nbootstrap = 0\n[candidates]\nlogistic = [{}]\nxgboost = [{rounds = 20}]\n"
GATE = """
[floors]
average_precision = { min = 3, of = "base" }
[evidence]
frauds_min = 20
[champion]
rounds = 50
worse_max = 1
[latency]
single_p99_ms = 5000
single_median_ms = 5000
batch_rows = 50
batch_p99_ms = 50000
batch_median_ms = 50000
[load]
seconds = 0.2
p99_ms = 50000
[outcomes]
review_max = 0.2
decline_max = 0.2
change_max = 0.2
[robustness]
jump_max = 1
[segments]
columns = []
"""
JUDGED = ("--period", "2024-02-20..2024-02-29")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, two trained models in a store (`good` as champion-to-be, `weak` beside it) and a gate's configuration."""
    path = tmp_path_factory.mktemp("shop")
    feature_table(rows=5_000).select(
        "transaction_id", "timestamp", "customer_id", pl.col("amount").alias("total"), pl.lit("EUR").alias("currency"), "country",
        pl.col("is_fraud").cast(pl.Int8).alias("bad"),
    ).write_parquet(path / "orders.parquet")  # fmt: skip
    (path / "map.toml").write_text(
        'zone = "UTC"\naliases = false\n[columns]\ntransaction_id = "transaction_id"\ntimestamp = "timestamp"\ncustomer_id = "customer_id"\n'
        'amount = "total"\ncurrency = "currency"\ncountry = "country"\n[label]\ncolumn = "bad"\ndelay = "5d"\n'
    )
    (path / "features.toml").write_text(FEATURES)
    (path / "config.toml").write_text(CONFIG)
    (path / "gate.toml").write_text(GATE)
    return path


@pytest.fixture(autouse=True)
def store(shop: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRAUDLOOP_STORE", str(shop / "store"))
    return shop / "store"


def train(shop: Path, algorithm: str, *more: str) -> list[str]:
    return [
        "train", str(shop / "orders.parquet"), "--columns", str(shop / "map.toml"), "--features", str(shop / "features.toml"),
        "--config", str(shop / "config.toml"), "--algorithms", algorithm, "--test", "2024-02-10..2024-02-19", "--label-delay", "5d", *more,
    ]  # fmt: skip


def gate(shop: Path, *more: str) -> list[str]:
    return ["models", "gate", str(shop / "orders.parquet"), "--config", str(shop / "gate.toml"), *JUDGED, *more]


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    out = capsys.readouterr()
    return json.loads(out.out), out.err


def test_from_training_to_champion_and_back(shop: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(train(shop, "logistic", "--out", str(shop / "first"), "--name", "payments", "--json")) == 0
    first = said(capsys)[0]["candidate"]
    assert "smoke.json" in json.loads((store / "bundles" / first / "manifest.json").read_bytes())["files"]

    # Nobody is promoted without the gate.
    assert run(["models", "promote", "--approver", "ada", "--json"]) == 1
    assert "no gate report" in capsys.readouterr().err

    assert run(gate(shop, "--out", str(shop / "gate.html"), "--json")) == 0
    report, _ = said(capsys)
    assert (report["verdict"], report["candidate"], report["champion"]) == ("pass", first, None)
    assert {"integrity", "fresh_process", "after_training", "load", "smoke_bits"} <= {check["name"] for check in report["checks"]}
    assert {**json.loads((shop / "gate.json").read_bytes()), "document": report["document"]} == report
    assert first[:12] in (shop / "gate.html").read_text()
    assert run(["models", "card", "payments@candidate", "--out", str(shop / "card.html"), "--json"]) == 0
    assert said(capsys)[0]["bundle"] == first
    assert first[:12] in (shop / "card.html").read_text()
    assert run(["models", "promote", "--auto", "--json"]) == 0
    assert said(capsys)[0]["champion"] == first

    # The champion by its name scores as the folder does.
    for model, out in (("payments@champion", "a.csv"), (str(shop / "first"), "b.csv")):
        assert (
            run(
                [
                    "score",
                    str(shop / "orders.parquet"),
                    "--columns",
                    str(shop / "map.toml"),
                    "--model",
                    model,
                    "--out",
                    str(shop / out),
                    "--json",
                ]
            )
            == 0
        )
    assert (shop / "a.csv").read_bytes() == (shop / "b.csv").read_bytes()
    capsys.readouterr()

    # A second model is held against it, refused for its reasons, and put in force only over them.
    assert run(train(shop, "xgboost", "--out", str(shop / "second"), "--name", "payments", "--json")) == 0
    second = said(capsys)[0]["candidate"]
    assert (
        run(
            [
                "models",
                "compare",
                "payments@candidate",
                "payments@champion",
                str(shop / "orders.parquet"),
                *JUDGED,
                "--rounds",
                "50",
                "--json",
            ]
        )
        == 0
    )
    compared, _ = said(capsys)
    assert compared["hashes"] == [second, first]
    assert compared["difference"]["low"] <= compared["difference"]["difference"] <= compared["difference"]["high"]

    # A file of features is not folded again, and gives the same figures; one of other definitions is refused.
    features = ["features", str(shop / "orders.parquet"), "--columns", str(shop / "map.toml"), "--features"]
    assert run([*features, str(shop / "features.toml"), "--out", str(shop / "folded.parquet")]) == 0
    assert run([*features, "compact", "--out", str(shop / "other.parquet")]) == 0
    capsys.readouterr()
    again = [
        "models",
        "compare",
        "payments@candidate",
        "payments@champion",
        str(shop / "folded.parquet"),
        *JUDGED,
        "--rounds",
        "50",
        "--json",
    ]
    assert run(again) == 0
    assert said(capsys)[0] == compared
    assert run([word.replace("folded", "other") for word in again]) == 2
    assert "was folded with a feature set that lacks" in capsys.readouterr().err

    (shop / "strict.toml").write_text(GATE + "[smoke]\nfile = 'smoke.toml'\n")
    (shop / "smoke.toml").write_text('[[case]]\nname = "tiny theft"\nfraud = true\ninputs = { amount = 0.01, country = "DE" }\n')
    strict = [word.replace("gate.toml", "strict.toml") for word in gate(shop, "--json")]
    assert run(strict) == 1
    refused, err = said(capsys)
    assert (refused["verdict"], refused["champion"]) == ("refuse", first)
    assert [check["name"] for check in refused["checks"] if not check["passed"]] == ["smoke_fraud"]
    assert "refused by 1 of" in err
    assert run(["models", "promote", "--auto"]) == 1
    assert "tiny theft" in capsys.readouterr().err
    for short in (["--override", "--auto", "--why", "x"], ["--override", "--approver", "ada"]):
        assert run(["models", "promote", *short]) == 2
        capsys.readouterr()
    assert run(["models", "promote", "--approver", "ada", "--override", "--why", "the case is wrong", "--json"]) == 0
    assert set(said(capsys)[0]["overridden"]) == {"smoke_fraud"}

    assert run(["models", "rollback", "--who", "bea", "--why", "declines doubled", "--json"]) == 0
    assert said(capsys)[0]["champion"] == first

    assert run(["models", "history", "--json"]) == 0
    history, _ = said(capsys)
    assert [(entry["action"], entry["who"]) for entry in history["history"] if entry["alias"] == "champion"] == [
        ("promote", "auto"), ("promote", "ada"), ("rollback", "bea"),
    ]  # fmt: skip
    assert history["wrong"] == []
    for words in (["list"], ["history"], ["show", "payments@champion"]):
        assert run(["models", *words]) == 0
    shown = capsys.readouterr().out
    assert first[:12] in shown and "payments@champion" in shown and "(overrode smoke_fraud)" in shown

    # What was tampered with is found, and is not brought back.
    (store / "bundles" / second / "metrics.json").write_text("{}")
    assert run(["models", "history"]) == 1
    assert "metrics.json" in capsys.readouterr().err
    assert run(["models", "rollback", "--who", "bea", "--why", "back again", "--to", second]) == 2
    assert "metrics.json" in capsys.readouterr().err


def test_a_folder_is_put_under_a_name_but_not_as_champion(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not (shop / "first").is_dir():
        assert run(train(shop, "logistic", "--out", str(shop / "first"), "--json")) == 0
        capsys.readouterr()
    assert run(["models", "put", str(shop / "first"), "--name", "refunds", "--alias", "challenger", "--json"]) == 0
    found = said(capsys)[0]
    assert found["alias"] == "refunds@challenger"
    assert run(["models", "put", str(shop / "first"), "--alias", "champion"]) == 2
    assert "after the gate" in capsys.readouterr().err
    assert run(["models", "remove", found["bundle"]]) == 2
    assert "move the alias first" in capsys.readouterr().err


def test_a_generated_table_says_what_is_reachable_until_it_is_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "world.parquet"
    assert run(["generate", "--transactions", "3000", "--out", str(table), "--json"]) == 0
    report, _ = said(capsys)
    assert reachable(table) == {
        "average_precision": report["reachable_average_precision"], "recall_at_90_precision": report["reachable_recall_at_90_precision"],
    }  # fmt: skip
    assert reachable(tmp_path / "other.parquet") == {}
    with table.open("ab") as file:
        file.write(b"x")
    assert reachable(table) == {}

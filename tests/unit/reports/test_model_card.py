"""The model card: one file that asks nothing of anywhere, whose every figure stands in the bundle, and that says what is missing."""

from __future__ import annotations

import json
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fraudloop.errors import InputError
from fraudloop.pipelines.card import card_file
from fraudloop.reports.model_card import card_facts, model_card_html
from fraudloop.reports.page import count, figure, percent
from fraudloop.scoring.bundle import Bundle
from fraudloop.training.config import TrainConfig
from tests.reported import Page, bundle, changed, gate, self_contained

HOSTILE = '<script>alert("x")</script>&"\''


def test_it_is_one_file_that_asks_nothing_of_anywhere() -> None:
    self_contained(model_card_html(bundle()))
    self_contained(model_card_html(bundle(), gate()))


def test_it_goes_from_purpose_and_limits_to_origin() -> None:
    page = Page(model_card_html(bundle()))
    top = [h for h in page.headings if h in {
        "Purpose", "Limits and known weaknesses", "Data", "What it reads", "How it was made", "What it reached", "Thresholds and outcomes", "Calibration", "Segments",
        "Gate", "Origin, and how to make it again",
    }]  # fmt: skip
    assert top == [
        "Purpose", "Limits and known weaknesses", "Data", "What it reads", "How it was made", "What it reached", "Thresholds and outcomes", "Calibration", "Segments",
        "Origin, and how to make it again",
    ]  # fmt: skip
    assert "without a gate report" in page.text
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    ids = {attrs.get("id") for _, attrs in page.tags}
    assert links
    assert all(link is not None and link[1:] in ids for link in links)


def test_every_headline_figure_is_the_bundles() -> None:
    text = Page(model_card_html(bundle())).text
    report = bundle().metrics
    head = report["test"][report["test"]["headline"]]
    training = report["training"]
    low, high = head["intervals_95"]["average_precision"]
    for shown in (
        f"Average precision {figure(head['average_precision'], 3)} 95 %: {figure(low, 3)} to {figure(high, 3)}",
        f"AUC-ROC {figure(head['auc_roc'], 3)}",
        f"Recall at 90 % precision {percent(head['recall_at_90_precision'])}",
        f"Recall at review budget {percent(head['recall_at_budget'])}",
        f"{count(training['transactions'])} payments, {count(training['frauds'])} of them known as fraud",
        f"review above {figure(bundle().thresholds['review'])}",
        f"Brier score {figure(head['brier'])}",
        bundle().content,
        "ab" * 32,
    ):
        assert shown in text, shown


def test_every_segment_figure_is_the_bundles() -> None:
    facts = card_facts(bundle())
    report = bundle().metrics["segments"]
    for column, (name, found) in zip(facts["segments"]["columns"], report["columns"].items(), strict=True):
        assert column["name"] == name
        for row, value in zip(column["rows"], found["values"], strict=True):
            assert row["transactions"] == value["transactions"]
            assert row["drawn"]["recall"]["text"] == percent(value["recall"]["value"])
            assert row["drawn"]["false_positive_rate"]["judged"] == value["false_positive_rate"]["judged"]


def test_every_number_in_a_sentence_is_one_of_the_bundles() -> None:
    """Limits are made of the data: without what makes them, they are not said."""
    heads = {limit["head"] for limit in card_facts(bundle())["limits"]}
    assert "Few frauds in the test" in heads
    assert "No intervals" not in heads
    report = json.loads(json.dumps(bundle().metrics))
    for part in ("all", "without_known_compromised"):
        report["test"][part].pop("intervals_95")
        report["test"][part] |= {"frauds": 5_000, "label_maturity": 0.75}
    report["training"]["frauds_not_known_by_the_cut"] = 0
    found = {limit["head"]: limit["text"] for limit in card_facts(changed(bundle(), report))["limits"]}
    assert "No intervals" in found
    assert "Few frauds in the test" not in found
    assert "Late labels in training" not in found
    assert found["Immature labels"].startswith("25.0 % of the judged payments")


def test_a_hostile_name_is_shown_and_runs_nothing() -> None:
    origin = {
        **bundle().origin,
        "git_commit": HOSTILE,
        "data": {**bundle().origin["data"], "columns": HOSTILE, "files": {"transactions": {"name": HOSTILE, "sha256": HOSTILE}}},
    }
    metrics: dict[str, Any] = {"importance": [{"column": HOSTILE, "share": 0.9}], "warnings": [HOSTILE]}
    segments = json.loads(json.dumps(bundle().metrics["segments"]))
    segments["columns"] = {HOSTILE: segments["columns"]["country"]}
    segments["columns"][HOSTILE]["values"][0]["value"] = HOSTILE
    found = changed(bundle(), {**metrics, "segments": segments})
    html = model_card_html(Bundle(found.files, found.members, origin, None, found.hash), gate(created=HOSTILE))
    self_contained(html)
    assert "<script" not in html
    assert Page(html).text.count('<script>alert("x")</script>') >= 6


@pytest.mark.parametrize(
    "part", ["segments", "curve", "cost_curve", "importance", "algorithms", "validation", "training", "test", "config", "warnings"]
)
def test_what_a_bundle_lacks_is_left_out(part: str) -> None:
    self_contained(model_card_html(changed(bundle(), {part: None})))


def test_an_empty_report_is_a_card_that_claims_nothing() -> None:
    html = model_card_html(changed(bundle(), dict.fromkeys(bundle().metrics)))
    page = Page(html)
    assert "The bundle holds no metrics of a test." in page.text
    assert "not calibrated" in page.text
    assert not re.search(r"\b0\.[0-9]{3}\b", page.text.partition("Origin")[0].partition("Thresholds and outcomes")[0])


def test_its_configuration_reads_back_as_the_one_that_was_used() -> None:
    text = card_facts(bundle())["origin"]["config"]
    config = TrainConfig.from_dict(tomllib.loads(text))
    assert json.loads(json.dumps(config.to_dict())) == bundle().metrics["config"]


def test_the_verdict_of_a_gate_and_its_reasons_stand_at_the_top() -> None:
    page = Page(model_card_html(bundle(), gate()))
    assert page.text.index("The candidate is refused: 1 of 2 checks did not pass.") < page.text.index("Average precision")
    assert "P99 31.5 ms, at most 20 ms" in page.text
    assert "Gate" in page.headings


def test_a_gate_report_of_another_bundle_is_refused() -> None:
    with pytest.raises(InputError, match="the gate report is of bundle aaaaaaaaaaaa, not of dddddddddddd"):
        model_card_html(bundle(), gate(candidate="a" * 64))


def test_tables_have_heads_and_charts_have_words() -> None:
    page = Page(model_card_html(bundle(), gate()))
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.tags if tag == "th")
    charts = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(charts) == 3
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in charts)
    levels = [int(tag[1]) for tag, _ in page.tags if tag in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_a_card_is_written_from_a_folder_and_a_report_in_json(tmp_path: Path) -> None:
    saved = bundle().save(tmp_path / "model")
    (tmp_path / "gate.json").write_text(json.dumps(gate(candidate=saved.hash)))
    out = card_file(tmp_path / "model", tmp_path / "new" / "card.html", tmp_path / "gate.json")
    assert saved.hash in out.read_text("utf-8")
    (tmp_path / "gate.json").write_text("[]")
    with pytest.raises(InputError, match="not a gate report"):
        card_file(saved, tmp_path / "card.html", tmp_path / "gate.json")
    with pytest.raises(InputError, match="cannot be written"):
        card_file(saved, tmp_path / "model")

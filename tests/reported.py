"""A trained bundle, a gate's report and the reading of a page: for tests of reports."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from html.parser import HTMLParser
from typing import Any

from fraudloop.scoring.bundle import Bundle
from fraudloop.training.config import TrainConfig
from fraudloop.training.train import to_json, train
from tests.worlds import DAY_US, FEATURES, feature_table

#: Elements without an end tag.
VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})


@cache
def bundle() -> Bundle:
    """A small bundle with everything that a training writes, the hash as if it were saved."""
    config = TrainConfig.from_dict(
        {"algorithms": ["logistic", "xgboost"], "threads": 1, "members": 2, "xgboost": {"rounds": 30}, "bootstrap": 20}
    )
    data = {
        "files": {"transactions": {"name": "payments.parquet", "sha256": "ab" * 32}}, "columns": "native", "zone": "UTC", "currency": "EUR",
        "transactions": 6_000, "first": "2024-01-01 00:00:00", "last": "2024-02-29 00:00:00",
    }  # fmt: skip
    origin = {"created": "2024-03-01T00:00:00Z", "git_commit": "c0ffee", "versions": {"python": "3.11"}, "data": data, "seed": 0}
    made = train(feature_table(), FEATURES, config, delay_us=7 * DAY_US, origin=origin).bundle
    return Bundle(made.files, made.members, made.origin, None, "d" * 64)


def changed(found: Bundle, metrics: Mapping[str, Any]) -> Bundle:
    """The same bundle with parts of metrics.json replaced, or taken out where the value is None."""
    body = {**found.metrics, **metrics}
    kept = {key: value for key, value in body.items() if value is not None}
    return Bundle({**found.files, "metrics.json": to_json(kept)}, found.members, found.origin, None, found.hash)


def gate(**changes: Any) -> dict[str, Any]:
    """A gate's report that refuses the bundle."""
    check = {
        "name": "floor",
        "title": "Finds enough",
        "passed": True,
        "measured": 0.7,
        "bound": 0.6,
        "relation": ">=",
        "unit": "share",
        "why": "70 % of 60 %",
        "detail": {},
    }
    late = {
        "name": "load",
        "title": "Answers in time",
        "passed": False,
        "measured": 31.5,
        "bound": 20.0,
        "relation": "<=",
        "unit": "ms",
        "why": "p99 31.5 ms, at most 20 ms",
        "detail": {},
    }
    head = bundle().metrics["test"]["all"]
    return {
        "verdict": "refuse", "candidate": "d" * 64, "champion": "e" * 64, "created": "2024-03-02T00:00:00Z", "data": {"transactions": 1_000, "frauds": 40, "days": 9},
        "policy": {"decline": 0.9, "review": 0.5, "challenge": None}, "checks": [check, late], "metrics": {"candidate": head, "champion": {**head, "average_precision": head["average_precision"] + 0.05}},
        "comparison": {"difference": -0.05, "low": -0.09, "high": -0.01, "worse": 0.99, "level": 0.95, "rounds": 500, "by": "card", "blocks": 300},
        "segments": bundle().metrics["segments"], "outcomes": {"candidate": {"approve": 0.9, "challenge": 0.0, "review": 0.08, "decline": 0.02}, "champion": {"approve": 0.95, "challenge": 0.0, "review": 0.04, "decline": 0.01}},
        "latency": {"single": {"calls": 100, "median_ms": 0.4, "p99_ms": 0.9, "max_ms": 1.2}, "load": {"calls": 50, "median_ms": 1.0, "p99_ms": 31.5, "max_ms": 40.0, "rate": 100, "seconds": 5}},
        "config": {"rounds": 500}, **changes,
    }  # fmt: skip


class Page(HTMLParser):
    """The text of a page, its headings, tags and addresses; AssertionError if tags are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.parts: list[str] = []
        self.headings: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("h1", "h2", "h3"):
            self.headings.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.parts.append(data)
        if self.headings and {"h1", "h2", "h3"} & set(self.open):
            self.headings[-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.parts).split())


def self_contained(html: str) -> None:
    """AssertionError if a page asks anything of anywhere, or runs anything."""
    page = Page(html)
    for tag, attrs in page.tags:
        assert tag not in ("script", "iframe", "object", "embed", "link", "base", "form"), tag
        assert not any(name.startswith("on") for name in attrs), (tag, attrs)
        for name in ("src", "href", "action", "srcset", "data", "poster"):
            assert (attrs.get(name) or "#").startswith(("#", "data:")), (tag, attrs)
    style = html.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style and "@import" not in style

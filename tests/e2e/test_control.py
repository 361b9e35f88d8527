"""Rules, policies and lists put into a running service by commands, and read back from it and from its log."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fraudloop.cli.main import run
from fraudloop.cli.remote import Remote
from tests.family import payment, serving

MINE = """
name = "mine"
[[rules]]
id = "large"
when = "amount > 40"
outcome = "review"
reason = "Large"
state = "live"
"""


@pytest.fixture
def ran(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any]]:
    """Runs a command; its exit code and its JSON."""

    def call(*words: object) -> tuple[int, Any]:
        capsys.readouterr()
        code = run([*map(str, words), "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out if code == 0 else err)

    return call


def test_what_decides_is_changed_by_commands_and_told_by_the_log(tmp_path: Path, ran: Callable[..., tuple[int, Any]]) -> None:
    data = tmp_path / "data"
    mine = tmp_path / "mine.toml"
    mine.write_text(MINE, "utf-8")
    with serving(data, "--no-standby") as served:
        at = ("--url", f"http://127.0.0.1:{served.port}")
        about = (*at, "--who", "ann", "--why", "a test")

        code, shown = ran("rules", "show", *at)
        assert code == 0 and shown["rules"]["name"] == "default"
        assert ran("rules", "publish", mine, *about)[1]["error"] == "InputError", "large would act unwatched"
        code, made = ran("rules", "shadow", mine, *about)
        assert code == 0 and made["diff"] == ["added 'large', shadow: review when amount > 40"]
        code, made = ran("rules", "move", "large", "live", *about)
        assert code == 0 and made["diff"] == ["'large': shadow → live"]
        code, wrong = ran("rules", "move", "large", "draft", *about)
        assert code == 2 and "live → draft is no way" in wrong["message"]
        code, wrong = ran("rules", "publish", mine, *about, "--expected", "0" * 32)
        assert code == 1 and wrong["error"] == "PublishConflict" and "ann" in wrong["message"]
        assert ran("rules", "publish", mine, *at, "--why", "x", "--dry-run")[1]["diff"][0].startswith("removed 'impossible_travel'")

        policy = tmp_path / "policy.toml"
        policy.write_text('name = "mine"\ndecline = 0.9\nreview = 0.4\n', "utf-8")
        code, made = ran("policy", "publish", policy, *about)
        assert code == 0 and "review: 0.5 → 0.4" in made["diff"]
        assert ran("policy", "show", *at)[1]["policy"]["review"] == 0.4

        code, made = ran("lists", "add", "block", "device", "d-bad", *about, "--expires", "2031-01-01T00:00:00Z")
        assert code == 0 and made["diff"] == ["block device d-bad: until 2031-01-01T00:00:00Z"]
        table = tmp_path / "entries.csv"
        table.write_text("entity,id,expires\ncountry,KP,\ncustomer,c-9,2031-01-01T00:00:00Z\n", "utf-8")
        assert ran("lists", "import", "watch", table, *about) == (0, {"list": "watch", "entries": 2})
        assert [(e["entity"], e["id"]) for e in ran("lists", "show", "watch", *at)[1]["entries"]] == [
            ("country", "KP"),
            ("customer", "c-9"),
        ]
        with Remote(at[1]) as service:
            blocked = service.call("POST", "/score_transaction", payment(1, device={"id": "d-bad"}))
        assert blocked["decision"] == "decline" and blocked["reasons"][0]["source"] == "block:device"
        assert ran("lists", "remove", "block", "device", "d-bad", *about)[0] == 0
        assert ran("lists", "remove", "block", "device", "d-bad", *about)[0] == 2

        words = tmp_path / "words.toml"
        words.write_text('name = "high_risk_countries"\nversion = "2030-01-01"\nentries = ["KP", "IR", "XX"]\n', "utf-8")
        code, made = ran("lists", "publish", words, *about)
        assert code == 0 and "high_risk_countries: added XX" in made["diff"]

        code, versions = ran("rules", "history", "--data", data)
        assert code == 0 and [v["who"].partition(" ")[0] for v in versions] == ["fraudloop", "ann", "ann"]
        assert versions[-1]["diff"] == ["'large': shadow → live"]
        assert len(ran("policy", "history", "--data", data)[1]) == 2
        assert len(ran("lists", "history", "--data", data)[1]) == 1
    code, wrong = ran("rules", "show", *at)
    assert code == 1 and wrong["error"] == "TransportError" and "is `fraudloop serve` running there?" in wrong["message"]

"""Results on stdout, everything else on stderr; JSON that any reader takes; progress that fits where it goes."""

from __future__ import annotations

import datetime as dt
import json
import math

import pytest

from fraudloop.cli import output


def test_json_is_one_document_and_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"b": math.nan, "a": [1.5, math.inf], "when": dt.date(2018, 8, 8)})
    out, err = capsys.readouterr()
    assert json.loads(out, parse_constant=lambda word: pytest.fail(word)) == {"b": None, "a": [1.5, None], "when": "2018-08-08"}
    assert list(json.loads(out)) == ["b", "a", "when"]
    assert err == ""


def test_a_table_shows_every_cell_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table("Metrics [test]", ("metric", "value"), [("average precision", 0.7311), ("rows [all]", 1_754_155)], right=("value",))
    out = capsys.readouterr().out
    assert "Metrics [test]" in out
    assert "0.7311" in out
    assert "rows [all]" in out
    assert "1,754,155" in out


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("fraudloop.cli.output.time.monotonic", lambda: now)
    with output.progress() as show:
        for done in range(0, 1_001, 10):
            now += 0.3
            show("folding", done, 1_000)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "folding: 0 of 1,000 (0 %)"
    assert lines[-1] == "folding: 1,000 of 1,000 (100 %)"
    assert len(lines) == 4


def test_quiet_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress(quiet=True) as show:
        show("folding", 1, 1)
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal_is_a_bar_per_stage(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with output.progress() as show:
        show("reading", 5, 10)
        show("folding [fast]", 1, 0)
        show("reading", 10, 10)
    out, err = capsys.readouterr()
    assert out == ""
    assert "reading" in err
    assert "10/10" in err
    assert "folding [fast]" in err

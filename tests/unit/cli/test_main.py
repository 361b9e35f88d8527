"""The edge of the process: commands are found, errors become one line and an exit code."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from fraudloop.cli import main as edge
from fraudloop.cli.options import JsonOutput
from fraudloop.errors import CheckFailed, DataError, FraudloopError, SnapshotError
from fraudloop.settings import Settings


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., None]], None]:
    """Puts a function into the table of commands as `probe`."""

    def add(function: Callable[..., None]) -> None:
        module = types.ModuleType("fraudloop_probe")
        module.command = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "fraudloop_probe", module)
        monkeypatch.setitem(edge.COMMANDS, "probe", ("fraudloop_probe", "A probe."))

    return add


@pytest.mark.parametrize("name", edge.COMMANDS)
def test_every_command_of_the_table_is_there_and_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(edge.COMMANDS[name][0])
    assert hasattr(module, "command") != hasattr(module, "app"), "a command module has either `command` or `app`"
    assert edge.run([name, "--help"]) == 0
    assert f"fraudloop {name}" in capsys.readouterr().out


def test_help_names_every_command_with_its_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert edge.run(["--help"]) == 0
    out = capsys.readouterr().out
    for name, (_, help_line) in edge.COMMANDS.items():
        assert name in out
        assert help_line in out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert edge.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("fraudloop 0.")


@pytest.mark.parametrize(("error", "code"), [(DataError, 2), (CheckFailed, 1), (SnapshotError, 1)])
def test_an_error_is_one_line_on_stderr_and_its_exit_code(
    error: type[FraudloopError],
    code: int,
    command: Callable[[Callable[..., None]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def probe() -> None:
        raise error("row 7: amount [b]is[/b] negative", row=7)

    command(probe)
    assert edge.run(["probe"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: row 7: amount [b]is[/b] negative\n"


def test_with_json_an_error_is_one_document_on_stderr(
    command: Callable[[Callable[..., None]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def probe(json: JsonOutput = False) -> None:
        assert json
        raise DataError("no column amount", column="amount")

    command(probe)
    assert edge.run(["probe", "--json"]) == 2
    assert json.loads(capsys.readouterr().err) == {"error": "DataError", "message": "no column amount", "fields": {"column": "amount"}}


def test_a_defect_is_one_line_with_an_id_and_keeps_the_message_to_itself(
    command: Callable[[Callable[..., None]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    customer = str(4700 + 11)

    def probe() -> None:
        raise KeyError(customer)

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    command(probe)
    assert edge.run(["probe"]) == edge.EXIT_INTERNAL
    err = capsys.readouterr().err
    assert err.startswith("error: a defect in fraudloop (KeyError, id ")
    assert err.count("\n") == 1
    [kept] = tmp_path.iterdir()
    text = kept.read_text("utf-8")
    assert "in probe" in text
    assert customer not in (text + err).replace(str(tmp_path), "")


def test_debug_shows_the_traceback(
    command: Callable[[Callable[..., None]], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe() -> None:
        raise DataError("no rows")

    command(probe)
    monkeypatch.setenv("FRAUDLOOP_DEBUG", "1")
    assert edge.run(["probe"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_interruption_ends_with_the_code_that_shells_expect(command: Callable[[Callable[..., None]], None]) -> None:
    def probe() -> None:
        raise KeyboardInterrupt

    command(probe)
    assert edge.run(["probe"]) == 130


def test_an_unknown_command_is_bad_input_and_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert edge.run(["docter"]) == 2
    assert "doctor" in capsys.readouterr().err


def test_a_wrong_setting_stops_before_any_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUDLOOP_ZONE", "Nowhere")
    assert edge.run(["doctor"]) == 2
    assert "FRAUDLOOP_ZONE" in capsys.readouterr().err


def test_a_command_gets_the_settings(command: Callable[[Callable[..., None]], None], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def probe(context: typer.Context) -> None:
        seen.append(context.obj)

    command(probe)
    monkeypatch.setenv("FRAUDLOOP_BASE_CURRENCY", "CHF")
    assert edge.run(["probe"]) == 0
    assert isinstance(seen[0], Settings)
    assert seen[0].base_currency == "CHF"


def test_a_reader_that_goes_away_brings_no_complaint() -> None:
    script = f"'{sys.executable}' -m fraudloop --help | true"
    for _ in range(3):
        done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
        assert done.stderr == ""

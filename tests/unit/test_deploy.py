"""What `deploy/` holds is taken by the programs that it is for."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fraudloop.cli import main as edge

UNIT = Path(__file__).parents[2] / "deploy" / "fraudloop.service"


def command() -> list[str]:
    [line] = [line for line in UNIT.read_text("utf-8").splitlines() if line.startswith("ExecStart=")]
    return shlex.split(line.removeprefix("ExecStart="))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text("utf-8").replace(command()[0], sys.executable), "utf-8")  # the program has to be there
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_starts_the_service_with_options_that_there_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    _, serve, *options = command()
    assert edge.run([serve, "--help"]) == 0
    told = capsys.readouterr().out
    assert all(option in told for option in options if option.startswith("--"))

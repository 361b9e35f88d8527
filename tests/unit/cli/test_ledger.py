"""What the ledger's commands write is for nobody else on the machine."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fraudloop.cli.main import run


def test_what_is_imported_indexed_and_exported_is_for_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUDLOOP_STORE", str(tmp_path / "store"))
    table, data = tmp_path / "table.parquet", tmp_path / "data"
    before = os.umask(0o022)
    try:
        assert run(["generate", "--transactions", "300", "--days", "3", "--out", str(table)]) == 0
        for command in (("import", str(table)), ("index",), ("export",)):
            assert run(["ledger", *command, "--data", str(data)]) == 0
        assert {str(path): mode for path in [data, *data.rglob("*")] if (mode := stat.S_IMODE(path.stat().st_mode)) & 0o007} == {}
        assert len([*data.rglob("*.parquet")]) > 1 and (data / "index.sqlite").exists() and [*(data / "snapshots").iterdir()]
        assert run(["ledger", "show", "--data", str(tmp_path / "none")]) == 2
        assert os.umask(0o022) == 0o022, "what comes after is as it was"
    finally:
        os.umask(before)

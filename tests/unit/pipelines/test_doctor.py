"""What the doctor finds on the machine that runs the tests, and what it says of one that lacks something."""

from __future__ import annotations

from importlib import metadata

import pytest

from fraudloop.pipelines import doctor
from fraudloop.settings import Settings


@pytest.fixture(scope="module")
def findings() -> list[doctor.Finding]:
    return doctor.examine(Settings())


def test_a_set_up_machine_lacks_nothing_needed(findings: list[doctor.Finding]) -> None:
    assert [f for f in findings if f.needed and not f.ok] == []


def test_every_group_is_looked_at(findings: list[doctor.Finding]) -> None:
    groups = list(dict.fromkeys(f.group for f in findings))
    assert groups == ["python", "core", "score", "data", "train", "track", "bench", "kernels", "folders", "tracking", "serve", "machine"]


def test_versions_are_those_installed(findings: list[doctor.Finding]) -> None:
    by_name = {f.name: f for f in findings}
    for name in ("numba", "polars", "xgboost-cpu"):
        assert by_name[name].value == metadata.version(name)


def test_a_second_look_finds_the_kernels_ready() -> None:
    found = {f.name: f for f in doctor.examine(Settings())}
    assert found["compiled cache"].value.startswith("ready")


def test_a_missing_extra_says_how_to_get_it_and_what_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("pandera", "numba"):
            raise metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(metadata, "version", version)
    found = {f.name: f for f in doctor._packages()}
    assert (found["pandera"].ok, found["pandera"].needed) == (False, False)
    assert found["pandera"].advice == "pip install 'fraudloop[data]' to validate tables by contract"
    assert (found["numba"].ok, found["numba"].needed) == (False, True)


@pytest.mark.parametrize(
    ("tracking", "shown", "ok"),
    [
        (None, "not tracked", True),
        ("sqlite:////srv/runs.db", "sqlite:////srv/runs.db, artifacts in s3://bucket/runs", True),
        ("postgresql+psycopg://ml:secret@127.0.0.1:1/runs", "postgresql+psycopg://ml:***@127.0.0.1:1/runs, artifacts in s3://bucket/runs", False),
    ],
)  # fmt: skip
def test_where_runs_go_is_shown_without_its_password(tracking: str | None, shown: str, ok: bool) -> None:
    found = doctor._tracking(Settings(tracking=tracking, artifacts="s3://bucket/runs"))
    assert (found.value, found.ok, found.needed) == (shown, ok, False)
    assert ok or "does not answer" in found.advice

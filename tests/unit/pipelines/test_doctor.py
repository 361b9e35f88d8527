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
    assert groups == ["python", "core", "score", "data", "train", "bench", "kernels", "folders", "machine"]


def test_versions_are_those_installed(findings: list[doctor.Finding]) -> None:
    by_name = {f.name: f for f in findings}
    for name in ("numba", "polars", "xgboost-cpu"):
        assert by_name[name].value == metadata.version(name)


def test_a_second_look_finds_the_kernels_ready() -> None:
    found = {f.name: f for f in doctor.examine(Settings())}
    assert found["compiled cache"].value.startswith("ready")


def test_a_missing_extra_says_how_to_get_it_and_what_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("xgboost-cpu", "numba"):
            raise metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(metadata, "version", version)
    found = {f.name: f for f in doctor._packages()}
    assert (found["xgboost-cpu"].ok, found["xgboost-cpu"].needed) == (False, False)
    assert found["xgboost-cpu"].advice == "pip install 'fraudloop[score]' to score with a bundle"
    assert (found["numba"].ok, found["numba"].needed) == (False, True)

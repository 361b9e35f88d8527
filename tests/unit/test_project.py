"""The files around the package say the same thing: requirements, make targets, changelog, decisions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import fraudloop

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PINNED = ("core.txt", "serve.txt", "dev.txt", "uv.txt")


def pins(name: str) -> dict[str, list[str]]:
    """Package -> hashes of one requirement file."""
    text = (ROOT / "requirements" / name).read_text("utf-8")
    out: dict[str, list[str]] = {}
    for block in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]:
        found = re.match(r"([a-z0-9.-]+)==([^ \\\n]+)", block)
        assert found is not None, block
        out[found[1]] = re.findall(r"--hash=sha256:([0-9a-f]{64})", block)
    return out


def wanted(group: str | None) -> set[str]:
    """The names that pyproject.toml asks for, of the core or of an extra and those it includes."""
    project = PROJECT["project"]
    lines = project["dependencies"] if group is None else project["optional-dependencies"][group]
    out = set()
    for line in lines:
        if line.startswith("fraudloop["):
            for inner in line.removeprefix("fraudloop[").removesuffix("]").split(","):
                out |= wanted(inner)
        else:
            out.add(re.split(r"[<>=\[]", line, maxsplit=1)[0])
    return out


@pytest.mark.parametrize("name", PINNED)
def test_every_requirement_has_its_hashes(name: str) -> None:
    assert all(pins(name).values())
    assert pins(name)


def test_requirement_files_hold_what_the_project_asks_for() -> None:
    assert wanted(None) <= set(pins("core.txt"))
    assert wanted(None) | wanted("serve") <= set(pins("serve.txt"))
    assert wanted(None) | wanted("dev") <= set(pins("dev.txt"))


def test_the_core_holds_no_library_of_an_extra() -> None:
    extras = set().union(*(wanted(group) for group in ("score", "data", "train", "bench", "dev")))
    assert not extras & set(pins("core.txt"))


def test_the_serving_install_holds_no_library_that_only_learns() -> None:
    others = set().union(*(wanted(group) for group in ("data", "train", "track", "bench"))) - wanted(None) - wanted("serve")
    assert not (others | {"pandas", "scipy", "sqlalchemy"}) & set(pins("serve.txt"))


def test_no_gpu_library_comes_along() -> None:
    assert not [name for name in pins("dev.txt") if name.startswith(("nvidia", "cuda", "torch")) or name == "xgboost"]


@pytest.mark.parametrize("name", ["core.txt", "serve.txt"])
def test_what_is_tested_is_what_is_installed(name: str) -> None:
    both = [(ROOT / "requirements" / file).read_text("utf-8") for file in (name, "dev.txt")]
    versions = [set(re.findall(r"^([a-z0-9.-]+==[^ \\\n]+)", text, re.MULTILINE)) for text in both]
    assert versions[0] <= versions[1]


def test_every_make_target_that_a_reader_is_told_of_is_there_and_in_help() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    told = set()
    for page in ("README.md", "requirements/README.md", "benchmarks/README.md", ".ci/run"):
        told |= set(re.findall(r"(?m)(?:`|^ *)make ([a-z]+)\b", (ROOT / page).read_text("utf-8")))
    assert {"setup", "demo", "test", "prove", "lint", "bench"} <= told
    for target in told:
        assert re.search(rf"^{target}:.* ## ", makefile, re.MULTILINE), target


def test_every_decision_is_numbered_without_a_gap_and_listed() -> None:
    folder = ROOT / "docs" / "adr"
    records = sorted(path.name for path in folder.glob("[0-9]*.md"))
    listed = re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", (folder / "README.md").read_text("utf-8"))
    assert records == listed
    assert [int(name[:4]) for name in records] == list(range(1, len(records) + 1))


def test_every_decision_says_what_was_rejected_and_how_it_is_checked() -> None:
    for path in (ROOT / "docs" / "adr").glob("[0-9]*.md"):
        text = path.read_text("utf-8")
        assert {"## Rejected", "## Checked"} <= set(text.splitlines()), path.name


def test_every_room_stands_in_the_architecture() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    package = Path(fraudloop.__path__[0])
    for path in package.iterdir():
        if not path.name.startswith("_") and (path.is_dir() or path.suffix == ".py"):
            assert re.search(rf"\b{path.stem}\b", page), path.name


def test_links_between_the_pages_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md"), *(ROOT / "requirements").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} -> {target}"

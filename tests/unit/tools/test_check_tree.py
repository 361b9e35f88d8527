"""The check of the tree finds what it is there for, and nothing in ordinary text."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import check_tree

#: Taken apart, so that this file itself passes the check.
HOST = "py" + "pi.org"
HOME = "/ho" + "me/somebody/data.csv"
CARD = "4539 5787" + " 6362 1486"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (f"https://{HOST}/simple", "registry"),
        ("--extra-" + "index-url x", "registry"),
        (f"path = '{HOME}'", "path of one machine"),
        (f"card {CARD}", "card number"),
        ("card " + CARD.replace(" ", ""), "card number"),
        ("card " + CARD.replace(" ", "-"), "card number"),
        ("amex 3782 8224" + "63 10006", "nothing"),
    ],
)
def test_a_place_is_found_by_its_kind(line: str, what: str) -> None:
    found = [text for _, text in check_tree.findings("fine\n" + line)]
    assert (what == "nothing" and not found) or (len(found) == 1 and what in found[0])


def test_a_card_number_is_not_repeated() -> None:
    [(line, text)] = check_tree.findings(CARD)
    assert line == 1
    assert CARD[:6] not in text


@pytest.mark.parametrize(
    "line",
    [
        "4111 1111 1111 1111 is published",
        "5555555555554444",
        "at 1532476800000000 us",
        "sha256:4539578763621486abcdef",
        "/tmp/x /usr/bin/env",
        "a/home/b",
    ],
)
def test_ordinary_text_passes(line: str) -> None:
    assert list(check_tree.findings(line)) == []


def test_all_published_numbers_are_card_numbers() -> None:
    for number in check_tree.PUBLISHED:
        assert check_tree.luhn(number), number
        assert check_tree.SCHEMES.fullmatch(number), number


def test_a_folder_without_git_is_read_as_it_lies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.md").write_text(f"see {HOST}\n", "utf-8")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "b.md").write_text(f"see {HOST}\n", "utf-8")
    assert check_tree.main(tmp_path) == 1
    assert capsys.readouterr().out.startswith("a.md:1: names a registry")

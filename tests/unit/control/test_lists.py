"""Lists changed: ids as the door writes them, ends that lie ahead, versions that mean one thing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fraudloop.control import lists
from fraudloop.control.lists import Entry
from fraudloop.decisions.entries import Entries
from fraudloop.decisions.lists import NamedList, shipped_lists
from fraudloop.door.pan import TokenKey
from fraudloop.errors import InputError, PublishConflict
from fraudloop.ledger.records import Activated, Listed

NOW_US = 1_000_000_000
TOKENS = TokenKey("t", b"0123456789abcdef")
ABOUT: dict[str, Any] = {"who": "ann", "why": "stolen", "at_us": NOW_US, "tokens": TOKENS}
SHIPPED = shipped_lists()
HIGH = SHIPPED["high_risk_countries"]


def added(*new: Entry, entries: Entries | None = None, kind: str = "block") -> Entries:
    entries = entries or Entries()
    made = lists.add(entries, kind, new, **ABOUT)
    for record in made.records:
        assert isinstance(record, Listed)
        entries.apply(record)
    return entries


def test_an_entry_that_is_set_hits_and_one_that_is_taken_away_does_not() -> None:
    entries = added(Entry("device", " d1 ", NOW_US + 10), Entry("country", "Germany"))
    rows: list[dict[str, Any]] = [{"device_id": "d1", "country": "FR"}, {"device_id": None, "country": "DE"}]
    assert entries.look_up(rows, [NOW_US + 9] * 2).block.tolist() == [True, True]
    assert entries.look_up(rows, [NOW_US + 10] * 2).block.tolist() == [False, True]
    made = lists.remove(entries, "block", [Entry("country", "DEU")], **ABOUT)
    assert made.diff == ("block country DE: removed; was without end by ann (stolen)",)
    assert isinstance(made.records[0], Listed)
    entries.apply(made.records[0])
    assert entries.look_up(rows, [NOW_US] * 2).block.tolist() == [True, False]


def test_a_card_number_becomes_the_token_that_payments_bear_and_is_refused_elsewhere() -> None:
    number = "4111 1111 1111 1111"
    entries = added(Entry("card", number))
    assert [entry.id for entry in entries] == [TOKENS.token(number)]
    made = lists.add(entries, "block", [Entry("card", number)], **ABOUT)
    assert "1111" not in str(made)
    with pytest.raises(InputError, match="a card number stands where none may be") as error:
        lists.add(entries, "block", [Entry("ip", number)], **ABOUT)
    assert "1111" not in str(error.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Entry("devcie", "d"), "no entity 'devcie'; did you mean 'device'"),
        (Entry("device", " "), "an entry needs an id"),
        (Entry("device", "d" * 1_025), "more than 1,024 bytes"),
        (Entry("country", "Atlantis"), "'Atlantis' is no country"),
        (Entry("device", "d", NOW_US), "expires must lie ahead"),
        (Entry("device", "d", 10**17), "before 2100"),
    ],
)
def test_an_entry_that_cannot_be_is_refused_and_none_with_it_is_set(entry: Entry, message: str) -> None:
    with pytest.raises(InputError, match=message):
        lists.add(Entries(), "watch", [entry], **ABOUT)
    with pytest.raises(InputError, match="entry 2: "):
        lists.add(Entries(), "watch", [Entry("device", "ok"), entry], **ABOUT)


def test_what_is_not_there_is_not_taken_away_and_lists_have_their_names() -> None:
    with pytest.raises(InputError, match="device d is not on the allow list"):
        lists.remove(Entries(), "allow", [Entry("device", "d")], **ABOUT)
    with pytest.raises(InputError, match="no list 'deny' of entries; there are block, allow, watch"):
        lists.add(Entries(), "deny", [Entry("device", "d")], **ABOUT)
    with pytest.raises(InputError, match="a command has 1 to 10,000"):
        lists.add(Entries(), "block", [], **ABOUT)


def test_an_entry_in_place_of_another_says_which() -> None:
    entries = added(Entry("device", "d", NOW_US + 2_000_000))
    made = lists.add(entries, "block", [Entry("device", "d")], **ABOUT)
    assert made.diff == ("block device d: without end; was until 1970-01-01T00:16:42Z by ann",)


def test_entries_go_round_as_csv() -> None:
    entries = added(Entry("device", "d,1", NOW_US + 2_000_000), Entry("card", 'c"2'))
    text = lists.write_csv(entries)
    assert sorted(lists.read_csv(text), key=lambda e: e.entity, reverse=True) == [
        Entry("device", "d,1", NOW_US + 2_000_000),
        Entry("card", 'c"2'),
    ]
    with pytest.raises(InputError, match="no column 'entity'"):
        lists.read_csv("enttity,id\na,b\n")
    with pytest.raises(InputError, match="line 2: expires = 'tomorrow' is no time with an offset"):
        lists.read_csv("entity,id,expires\ncard,a,tomorrow\n")


def test_a_named_list_is_replaced_by_another_version_of_it() -> None:
    new = replace(HIGH, version="2026-02-13", entries=HIGH.entries | {"XX"})
    made = lists.replace_list(None, SHIPPED, new, expected=HIGH.hash, who="ann", why="new list", at_us=5)
    assert made.diff == ("high_risk_countries: version 2025-10-24 → 2026-02-13", "high_risk_countries: added XX")
    (record,) = made.records
    assert isinstance(record, Activated)
    assert record.what == "lists" and NamedList.from_dict(record.body["high_risk_countries"]) == new
    other = NamedList("bad_words", "1", "me", frozenset({"x"}))
    both = lists.replace_list(record, SHIPPED, other, expected=None, who="bea", why="w", at_us=6).records[0]
    assert isinstance(both, Activated)
    assert sorted(both.body) == ["bad_words", "high_risk_countries"]
    assert lists.diff(record.body, both.body) == ("bad_words: new, version 1, 1 words",)
    with pytest.raises(PublishConflict, match="published by bea"):
        lists.replace_list(both, SHIPPED, replace(other, version="2"), expected="0" * 32, who="ann", why="w", at_us=7)
    with pytest.raises(PublishConflict, match="is version 2025-10-24"):
        lists.replace_list(None, SHIPPED, new, expected=None, who="ann", why="w", at_us=7)


def test_a_version_means_one_list() -> None:
    with pytest.raises(InputError, match="give it a new version"):
        lists.replace_list(None, SHIPPED, replace(HIGH, entries=frozenset({"FR"})), expected=HIGH.hash, who="a", why="w", at_us=5)
    with pytest.raises(InputError, match="nothing changes"):
        lists.replace_list(None, SHIPPED, HIGH, expected=HIGH.hash, who="a", why="w", at_us=5)
    huge = NamedList("huge", "1", "", frozenset(f"{n:0100d}x" for n in range(6_000)))
    with pytest.raises(InputError, match="at most 524,288"):
        lists.replace_list(None, SHIPPED, huge, expected=None, who="a", why="w", at_us=5)

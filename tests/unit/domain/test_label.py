"""Whose word counts does not depend on who is asked first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.domain.label import SOURCE_RANKS, Label, effective, source_rank
from fraudloop.errors import InputError

LABELS = st.builds(Label, st.just("t1"), st.booleans(), st.integers(0, 5), st.sampled_from(sorted(SOURCE_RANKS)))


def meaning(label: Label | None) -> tuple[int, int] | None:
    return None if label is None else (label.rank, label.known_at_us)


def test_without_labels_none_is_in_force() -> None:
    assert effective([]) is None


@given(st.lists(LABELS, min_size=1))
def test_the_strongest_source_counts_and_of_it_the_last_known(labels: list[Label]) -> None:
    found = effective(labels)
    assert found is not None
    assert found in labels
    assert all((label.rank, label.known_at_us) <= (found.rank, found.known_at_us) for label in labels)


@given(st.lists(LABELS), st.randoms())
def test_the_order_of_arrival_matters_only_at_equal_source_and_time(labels: list[Label], chance: object) -> None:
    mixed = list(labels)
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    assert meaning(effective(mixed)) == meaning(effective(labels))


@given(st.lists(LABELS, min_size=1))
def test_adding_a_label_gives_the_new_one_or_leaves_the_old(labels: list[Label]) -> None:
    assert effective(labels) is effective(labels[:-1]) or effective(labels) is labels[-1]


@given(st.lists(LABELS, min_size=1))
def test_what_is_in_force_can_be_folded_one_by_one(labels: list[Label]) -> None:
    found = None
    for label in labels:
        found = effective([label] if found is None else [found, label])
    assert found is effective(labels)


@given(st.lists(LABELS), LABELS)
def test_a_source_takes_its_word_back_by_saying_the_opposite_later(labels: list[Label], label: Label) -> None:
    first = effective([*labels, label])
    assert first is not None
    reversal = Label("t1", not first.is_fraud, first.known_at_us + 1, first.source)
    assert effective([*labels, label, reversal]) is reversal


def test_of_the_same_source_and_time_the_last_to_arrive_counts() -> None:
    yes, no = Label("t1", True, 5), Label("t1", False, 5)
    assert effective([yes, no]) is no
    assert effective([no, yes]) is yes


def test_a_chargeback_outweighs_a_later_review() -> None:
    chargeback = Label("t1", True, 5, "chargeback")
    assert effective([chargeback, Label("t1", False, 9, "review")]) is chargeback


def test_every_source_has_a_rank_of_its_own() -> None:
    assert len(set(SOURCE_RANKS.values())) == len(SOURCE_RANKS)


def test_an_unknown_source_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="'rumour'; sources, the strongest last: rule, file, review, customer_report, chargeback"):
        source_rank("rumour")

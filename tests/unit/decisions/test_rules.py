"""Rule sets: what they may say, what they ask for, and that every mistake names its rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fraudloop.decisions.lists import NamedList, shipped_lists
from fraudloop.decisions.rule_language import Type
from fraudloop.decisions.rules import Rule, RuleSet, State, Unknown, vocabulary
from fraudloop.domain.definitions import FeatureSet
from fraudloop.domain.outcome import Outcome
from fraudloop.errors import RuleError

NAMES = {"amount": Type.NUMBER, "is_foreign": Type.FLAG}


def rule(**given: object) -> dict[str, object]:
    return {"id": "a", "when": "amount > 5", "reason": "much", "outcome": "review", **given}


def verdicts(rows: list[dict[str, object]], amounts: list[float]) -> tuple[list[int], list[int], list[float], list[list[bool]]]:
    compiled = RuleSet.from_dict({"rules": rows}).compile(NAMES)
    values = {"amount": np.array(amounts), "is_foreign": np.zeros(len(amounts))}
    found = compiled.verdicts(compiled.program.run(lambda name: values[name], lambda _: [], {}, len(amounts)))
    return found.outcome.tolist(), found.firm.tolist(), found.score_change.tolist(), found.hits.tolist()


def test_live_rules_act_shadow_ones_are_seen_and_drafts_and_retired_ones_are_not() -> None:
    rows = [rule(id=state, state=state, score=0.1) for state in ("draft", "shadow", "live", "retired")]
    outcome, _, change, hits = verdicts(rows, [9.0, 1.0])
    assert outcome == [Outcome.REVIEW, 0] and change == [0.1, 0.0]
    assert hits == [[True, False], [True, False]]  # shadow and live


def test_the_severest_outcome_counts_and_changes_of_the_score_add_up() -> None:
    rows = [
        rule(id="a", state="live", score=0.25),
        rule(id="b", state="live", outcome="decline", when="amount > 7"),
        rule(id="c", state="live", outcome=None, score=-0.5, when="amount > 8"),
    ]
    outcome, _, change, _ = verdicts([{k: v for k, v in row.items() if v is not None} for row in rows], [6.0, 7.5, 9.0])
    assert outcome == [Outcome.REVIEW, Outcome.DECLINE, Outcome.DECLINE]
    assert change == [0.25, 0.25, -0.25]


@pytest.mark.parametrize(
    ("unknown", "outcome", "hit"), [("no", 0, False), ("yes", Outcome.DECLINE, True), ("review", Outcome.REVIEW, False)]
)
def test_an_unknown_condition_counts_as_the_rule_says(unknown: str, outcome: int, hit: bool) -> None:
    got, _, _, hits = verdicts([rule(state="live", outcome="decline", unknown=unknown)], [float("nan")])
    assert (got, hits) == ([outcome], [[hit]])


def test_what_no_allow_entry_overrides_is_told_apart() -> None:
    rows = [rule(id="soft", state="live", outcome="decline"), rule(id="firm", state="live", overridable=False, when="amount > 7")]
    outcome, firm, _, _ = verdicts(rows, [6.0, 9.0])
    assert outcome == [Outcome.DECLINE, Outcome.DECLINE] and firm == [0, Outcome.REVIEW]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"wehn": "x"}, "rules: rule 'a': unknown key 'wehn'; did you mean 'when'?"),
        ({"reason": " "}, "rule 'a': reason is missing"),
        ({"id": "A b"}, "an id has lower-case letters"),
        ({"score": 2}, "score = 2 must be a number from -1 to 1"),
        ({"outcome": "block"}, "'block' is not an outcome"),
        ({"outcome": "approve"}, "a rule cannot approve; an allow list does"),
        ({"outcome": None}, "it does nothing; give an outcome or a score"),
        ({"state": "on"}, "'on' is not a valid State"),
        ({"overridable": "no"}, "overridable must be true or false"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_meant_is_named(given: dict[str, object], message: str) -> None:
    with pytest.raises(RuleError) as error:
        RuleSet.from_dict({"rules": [rule(**given)]})
    assert message in str(error.value)


def test_a_condition_that_is_not_understood_names_its_rule_and_place() -> None:
    rules = RuleSet.from_dict({"rules": [rule(), rule(id="b", when="amuont > 5")]})
    with pytest.raises(RuleError, match="rule 'b': at character 1: no feature or field 'amuont'; did you mean 'amount'") as error:
        rules.conditions(NAMES)
    assert error.value.fields == {"rule": "b", "at": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules = 3", "rules must be a list of tables"),
        ("name = ", "not valid TOML"),
        ("nmae = 'x'", "unknown key 'nmae'; did you mean 'name'?"),
        ("[[rules]]\nid='a'\nwhen='is_foreign'\nreason='r'\nscore=0.1\n" * 2, "the rule 'a' stands twice"),
    ],
)
def test_a_file_that_is_no_rule_set_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(RuleError, match=message):
        RuleSet.load(path)


def test_a_set_that_is_not_there_is_named() -> None:
    with pytest.raises(RuleError, match="no rule set 'defualt'; did you mean 'default'"):
        RuleSet.load("defualt")
    with pytest.raises(RuleError, match="cannot be read"):
        RuleSet.load("nowhere/rules.toml")


def test_the_hash_is_of_all_that_a_set_means_and_data_goes_round() -> None:
    base = RuleSet("x", (Rule("a", "is_foreign", "r", Outcome.REVIEW),))
    others = [
        RuleSet("y", base.rules),
        RuleSet("x", (Rule("a", "is_foreign", "r", Outcome.DECLINE),)),
        RuleSet("x", (Rule("a", "is_foreign", "r", Outcome.REVIEW, state=State.LIVE),)),
        RuleSet("x", (Rule("a", "is_foreign", "r", Outcome.REVIEW, unknown=Unknown.YES),)),
    ]
    assert len({base.hash, *(other.hash for other in others)}) == 5
    assert RuleSet.from_dict(base.to_dict()) == base and RuleSet.from_dict(base.to_dict()).hash == base.hash


def test_the_shipped_rules_are_understood_with_the_default_features_and_the_shipped_lists() -> None:
    compiled = RuleSet.load("default").compile(vocabulary(FeatureSet.load("default")), frozenset(shipped_lists()))
    assert len(compiled.rules.rules) == 4
    assert all(named.source and named.version for named in shipped_lists().values())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "x", "version": "1", "entires": []}, "unknown key 'entires'; did you mean 'entries'?"),
        ({"name": "x", "entries": []}, "version is missing"),
        ({"name": "x", "version": "1", "entries": [1]}, "entries must be a list of words"),
    ],
)
def test_a_list_that_is_none_is_refused(data: dict[str, object], message: str) -> None:
    with pytest.raises(RuleError) as error:
        NamedList.from_dict(data)
    assert message in str(error.value)

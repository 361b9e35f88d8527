"""From vectors to decisions: rules, model, lists and policy over one micro-batch, and the records that say so. No clock, no file.

Everything that decides is in `InForce`, a value; every payment is decided by itself, so batches change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.decisions.decide import LACKS, Decisions, Evidence, decide, draw
from fraudloop.decisions.entries import Entries, Hits
from fraudloop.decisions.policy import DecisionPolicy
from fraudloop.decisions.reasons import reasons
from fraudloop.decisions.rules import CompiledRules, State, Verdicts
from fraudloop.domain.definitions import FeatureSet
from fraudloop.domain.outcome import Outcome
from fraudloop.door.events import TOO_EARLY, TOO_LATE
from fraudloop.door.row import Row
from fraudloop.engine.loaded import Loaded
from fraudloop.features.fold import Vectors
from fraudloop.ledger.records import Decision, Reason
from fraudloop.scoring.inputs import Inputs

Floats = NDArray[np.float64]

#: Reasons of the model that an answer tells, beside rules, lists and lacks.
TOP_REASONS: Final = 4

#: Payments whose reasons are computed together before the clock is looked at again.
_REASON_ROWS: Final = 8


@dataclass(frozen=True, slots=True)
class InForce:
    """What decides. features: the plan's, in the order of the vectors. fallback: the rules that decide where there is no model.
    lists: words by named list. why: what is degraded now. secret: of the draws. versions of rules and policy are hashes of their content."""

    features: FeatureSet
    plan: str
    rules: CompiledRules
    policy: DecisionPolicy
    policy_hash: str
    build: str
    secret: bytes
    champion: Loaded | None = None
    fallback: CompiledRules | None = None
    lists: Mapping[str, frozenset[str]] = field(default_factory=dict)
    entries: Entries = field(default_factory=Entries)
    units: Mapping[str, str] = field(default_factory=dict)
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """A batch after rules, model and policy. answers: int8 [rules, n]. inputs: what the model read, None without one."""

    decisions: Decisions
    verdicts: Verdicts
    score: Floats
    inputs: Inputs | None
    lacks: NDArray[np.uint8]
    listed: Hits
    slot: Loaded | None


def judge(in_force: InForce, rows: Sequence[Row], received_us: Sequence[int], vectors: Vectors) -> Judged:
    """Decide n payments. rows: canonical. vectors: of the plan, as the fold gave them."""
    n = len(rows)
    values = vectors.values
    rules = in_force.rules
    slot = in_force.champion
    if slot is None and in_force.fallback is not None:
        rules = in_force.fallback
    answers = rules.program.evaluate(rule_columns(rules, in_force, values, rows)) if rules.rules.rules else np.zeros((0, n), np.int8)
    verdicts = rules.verdicts(answers)
    if slot is not None:
        score, inputs = slot.score(in_force.features, values, rows)
    else:
        score, inputs = np.full(n, np.nan), None
    lacks = np.zeros(n, np.uint8)
    amounts = np.empty(n)
    for at, row in enumerate(rows):
        if row.get("customer_id") is None or row.get("merchant_id") is None:
            lacks[at] |= LACKS["missing_critical"]
        base = row.get("amount_base")
        if base is None:
            lacks[at] |= LACKS["no_rate"]
            amounts[at] = np.nan
        else:
            amounts[at] = base / 100  # type: ignore[operator]
    if vectors.status.any():
        lacks |= np.where(vectors.status & TOO_LATE, LACKS["too_late"], 0).astype(np.uint8)
        lacks |= np.where(vectors.status & TOO_EARLY, LACKS["too_early"], 0).astype(np.uint8)
    listed = in_force.entries.look_up(rows, received_us)
    policy = in_force.policy
    history = np.full(n, np.nan)
    if policy.cold_start is not None and policy.cold_start.count in in_force.features.names:
        history = values[:, in_force.features.names.index(policy.cold_start.count)]
    chance = np.zeros(n)
    if policy.control is not None and policy.control.share > 0:
        chance = np.array([draw(policy.control.experiment, str(row["transaction_id"]), in_force.secret) for row in rows])
    evidence = Evidence(
        score, verdicts.outcome, verdicts.firm, verdicts.score_change, listed.block, listed.allow, lacks, history, amounts, chance,
        np.ones(n, bool) if "no_state" in in_force.why else None, rules is in_force.fallback,
    )  # fmt: skip
    return Judged(decide(evidence, policy), verdicts, score, inputs, lacks, listed, slot)


def rule_columns(rules: CompiledRules, in_force: InForce, values: Floats, rows: Sequence[Row]) -> Floats:
    """The columns that a program reads, float64 [numbers + words + members, n]."""
    program = rules.program
    names = in_force.features.names
    n = len(rows)
    out = np.empty((len(program.numbers) + len(program.words) + len(program.members), n))
    at = 0
    for name in program.numbers:
        if name in names:
            out[at] = values[:, names.index(name)]
        else:
            out[at] = [np.nan if row.get(name) is None else float(row[name]) for row in rows]  # type: ignore[arg-type]
        at += 1
    if len(program.words):
        # A word that no condition names is any number beyond those that they name.
        dictionary, other = program.dictionary, float(len(program.dictionary) + 1)
        for name in program.words:
            seen: dict[str, float] = {}
            column = []
            for row in rows:
                word = row.get(name)
                if word is None:
                    column.append(np.nan)
                else:
                    known = dictionary.get(str(word))
                    column.append(seen.setdefault(str(word), other + len(seen)) if known is None else float(known))
            out[at] = column
            at += 1
    for name, list_name in program.members:
        on = in_force.lists.get(list_name, frozenset())
        out[at] = [np.nan if row.get(name) is None else float(row[name] in on) for row in rows]
        at += 1
    return out


def reasons_of(
    in_force: InForce, judged: Judged, rows: Sequence[Row], values: Floats, left: Callable[[], bool]
) -> list[list[Reason] | None]:
    """The reasons of each payment; None where time ran out before the model's were computed. left: whether there is time.

    Those that are not approved come first: somebody will read them.
    """
    n = len(rows)
    out: list[list[Reason] | None] = [None] * n
    if judged.slot is None or judged.inputs is None:
        return [[] for _ in range(n)]
    order = np.argsort(-judged.decisions.outcome, kind="stable")
    stopped = int(np.count_nonzero(judged.decisions.outcome > Outcome.APPROVE))
    begin = 0
    while begin < n:
        if begin >= stopped and not left():
            break
        end = min(n, begin + _REASON_ROWS) if begin >= stopped else min(n, max(stopped, begin + 1))
        chosen = order[begin:end]
        for at, found in zip(chosen.tolist(), explain_rows(in_force, judged.slot, judged.inputs, chosen, values), strict=True):
            out[at] = found
        begin = end
    return out


def explain_rows(in_force: InForce, slot: Loaded, inputs: Inputs, chosen: NDArray[np.int64], values: Floats) -> list[list[Reason]]:
    """The model's reasons of the chosen rows."""
    part = Inputs(inputs.names, inputs.values[chosen], {name: [words[i] for i in chosen] for name, words in inputs.categories.items()})
    found = slot.explainer.explain(part)
    out = []
    for i, at in enumerate(chosen.tolist()):
        known: dict[str, float | str | None] = dict(zip(in_force.features.names, values[at].tolist(), strict=True))
        known |= {name: words[i] for name, words in part.categories.items()}
        contributions = dict(zip(found.columns, found.contributions[i].tolist(), strict=True))
        told = reasons(slot.features, known, contributions, top=TOP_REASONS, units=in_force.units, typical=slot.typical)
        out.append([Reason(r.code, r.text, r.contribution, r.source) for r in told])
    return out


def decisions_of(
    in_force: InForce, judged: Judged, vectors: Vectors, told: Sequence[list[Reason] | None], latency_us: Sequence[int]
) -> list[Decision]:
    """What is logged and answered of each payment."""
    made = judged.decisions
    outcome, tier, decided = made.outcome.tolist(), made.tier.tolist(), made.decided.tolist()
    scores, risks = judged.score.tolist(), made.risk_score.tolist()
    status, approximate = vectors.status.tolist(), vectors.approximate.tolist()
    slot = judged.slot
    model = None if slot is None else slot.short
    rules = in_force.rules if slot is not None or in_force.fallback is None else in_force.fallback
    method = "" if slot is None else "; ".join(dict.fromkeys(slot.explainer.method.values()))
    live = [(at, rule) for at, rule in enumerate(rules.rules.rules) if rule.state is State.LIVE]
    hit_any = np.zeros(len(outcome), bool)
    for number, _ in live:
        hit_any |= judged.verdicts.hits[number]
    rules_hash, why = rules.rules.hash[:16], in_force.why
    bytes_of = np.ascontiguousarray(vectors.values)
    width = bytes_of.shape[1] * 8
    whole = bytes_of.tobytes()
    control = in_force.policy.control
    out = []
    for at in range(len(outcome)):
        mine: list[Reason] = []
        hits: tuple[str, ...] = ()
        for hit in judged.listed.found.get(at, ()):
            mine.append(Reason(f"{hit.list}_list", f"this {hit.entity} is on the {hit.list} list", None, hit.code))
        if judged.lacks[at]:
            mine += [Reason(code, _LACK_TEXTS[code], None, "payment") for code, bit in LACKS.items() if judged.lacks[at] & bit]
        if hit_any[at]:
            found = [rule for number, rule in live if judged.verdicts.hits[number, at]]
            hits = tuple(rule.id for rule in found)
            mine += [Reason(f"rule:{rule.id}", rule.reason, rule.score or None, "rule") for rule in found]
        own = told[at]
        score, risk = scores[at], risks[at]
        out.append(
            Decision(
                outcome[at], tier[at], decided[at], None if score != score else score, None if risk != risk else risk, hits,
                (*mine, *(own or ())), own is None, why,
                whole[at * width : (at + 1) * width], status[at], approximate[at], model, rules_hash, in_force.policy_hash, in_force.plan,
                in_force.build, "champion", control.share if control is not None and made.control[at] else None, latency_us[at], method,
            )
        )  # fmt: skip
    return out


_LACK_TEXTS: Final[Mapping[str, str]] = {
    "missing_critical": "the payment names no customer or no merchant",
    "no_rate": "no exchange rate is known for this currency at this time",
    "too_late": "the payment is dated too long before its arrival; its history was not read",
    "too_early": "the payment is dated after its arrival; its history was not read",
}

"""From vectors to decisions: rules, models, lists and policy over one micro-batch, and the records that say so. No clock, no file.

Everything that decides is in `InForce`, a value; every payment is decided by itself, so batches change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudloop.compiled import plain
from fraudloop.decisions.decide import LACKS, Decisions, Evidence, decide, draw
from fraudloop.decisions.entries import Entries, Hits
from fraudloop.decisions.policy import DecisionPolicy
from fraudloop.decisions.rule_program import take_columns
from fraudloop.decisions.rules import CompiledRules, Rule, State, Verdicts
from fraudloop.domain.definitions import FeatureSet
from fraudloop.domain.outcome import Outcome
from fraudloop.door.events import TOO_EARLY, TOO_LATE
from fraudloop.door.row import Row
from fraudloop.engine.loaded import Loaded, Read
from fraudloop.features.fold import Vectors
from fraudloop.ledger.records import Decision, Reason
from fraudloop.scoring.inputs import Inputs

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Reasons of the model that an answer tells, beside rules, lists and lacks.
TOP_REASONS: Final = 4

_APPROVED: Final = int(Outcome.APPROVE)
_TEXTS: Final = frozenset((str, type(None)))

#: Why a service is degraded, as `InForce.why` and answers say it.
NO_MODEL: Final = "no_model"
NO_STATE: Final = "no_state"


@dataclass(frozen=True, slots=True)
class InForce:
    """What decides. features: the plan's, in the order of the vectors. plan, policy_hash: short hashes. fallback: the rules that decide where
    there is no model. lists: words by named list. why: what is degraded now. secret: of the draws. canary decides the share
    `canary_share` of customers in place of the champion. observe: another system decides, nothing is done on what is found here."""

    features: FeatureSet
    plan: str
    rules: CompiledRules
    policy: DecisionPolicy
    policy_hash: str
    build: str
    secret: bytes
    champion: Loaded | None = None
    canary: Loaded | None = None
    canary_share: float = 0.0
    fallback: CompiledRules | None = None
    lists: Mapping[str, frozenset[str]] = field(default_factory=dict)
    entries: Entries = field(default_factory=Entries)
    why: tuple[str, ...] = ()
    observe: bool = False
    #: The names of the features, once; and their places: many of each are asked for with every batch.
    names: tuple[str, ...] = field(init=False, repr=False)
    places: Mapping[str, int] = field(init=False, repr=False)
    live: tuple[tuple[int, Rule], ...] = field(init=False, repr=False)
    #: Their places among the acting rules.
    live_rows: Ints | slice = field(init=False, repr=False)
    acting: CompiledRules = field(init=False, repr=False)
    #: By place of a live rule its id, and the reason that a hit gives.
    told: Mapping[int, tuple[str, Reason]] = field(init=False, repr=False)
    #: What every decision says of what decided it: rules, policy, plan, build.
    versions: tuple[str, str, str, str] = field(init=False, repr=False)
    #: Of the number columns that the acting rules read: those of the vector, by their places there, and the names of the others.
    read: tuple[Ints, Ints, tuple[tuple[int, str], ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        acting = self.rules if self.champion is not None or self.fallback is None else self.fallback
        object.__setattr__(self, "names", self.features.names)
        object.__setattr__(self, "places", {name: at for at, name in enumerate(self.names)})
        object.__setattr__(self, "acting", acting)
        told = {
            at: (rule.id, Reason(f"rule:{rule.id}", rule.reason, rule.score or None, "rule"))
            for at, rule in enumerate(acting.rules.rules)
            if rule.state is State.LIVE
        }
        object.__setattr__(self, "told", told)
        object.__setattr__(self, "versions", (acting.rules.hash[:16], self.policy_hash, self.plan, self.build))
        numbers = acting.program.numbers
        own = [at for at, name in enumerate(numbers) if name in self.places]
        others = tuple((at, name) for at, name in enumerate(numbers) if name not in self.places)
        object.__setattr__(self, "read", (np.array(own, np.int64), np.array([self.places[numbers[at]] for at in own], np.int64), others))
        live = tuple((at, rule) for at, rule in enumerate(acting.rules.rules) if rule.state is State.LIVE)
        object.__setattr__(self, "live", live)
        all_live = len(live) == len(acting.rules.rules)
        object.__setattr__(self, "live_rows", slice(None) if all_live else np.array([at for at, _ in live], np.int64))

    @property
    def canary_experiment(self) -> str:
        """The name of the draw that says whose payments the canary decides: another canary, other customers."""
        return f"canary:{'' if self.canary is None else self.canary.short}"


class Part(msgspec.Struct, frozen=True, gc=False):
    """The payments of a batch that one model scored. rows: their places, None for all."""

    slot: str
    loaded: Loaded
    rows: Ints | None
    read: Read


class Judged(msgspec.Struct, frozen=True, gc=False):
    """A batch after rules, models and policy. parts: by model. draws: of customers for the canary, None without one."""

    decisions: Decisions
    verdicts: Verdicts
    score: Floats
    parts: tuple[Part, ...]
    lacks: NDArray[np.uint8]
    listed: Hits
    amounts: Floats
    draws: Floats | None = None

    @property
    def stopped(self) -> int:
        """How many are not approved."""
        return len(self.score) - self.decisions.outcome.tobytes().count(_APPROVED)

    def by(self) -> list[tuple[str | None, str, str]]:
        """Of each payment the model that scored it, the slot it stands in, and how its reasons are found."""
        n = len(self.score)
        out: list[tuple[str | None, str, str]] = [(None, "champion", "")] * n
        for part in self.parts:
            what = (part.loaded.short, part.slot, part.loaded.method)
            if part.rows is None:
                return [what] * n
            for at in part.rows.tolist():
                out[at] = what
        return out


def judge(in_force: InForce, rows: Sequence[Row], received_us: Sequence[int], vectors: Vectors, *, explained: bool = False) -> Judged:
    """Decide n payments. rows: canonical. vectors: of the plan, as the fold gave them. explained: reasons of all will be asked for."""
    n = len(rows)
    values = vectors.values
    rules = in_force.acting
    answers = rules.program.evaluate(_rule_columns(in_force, values, rows)) if rules.rules.rules else np.zeros((0, n), np.int8)
    verdicts = rules.verdicts(answers)
    score, parts, draws = _scores(in_force, values, rows, explained)
    amounts, lacks = _lacks(rows, vectors)
    listed = in_force.entries.look_up(rows, received_us)
    policy = in_force.policy
    history = chance = None
    if policy.cold_start is not None:
        place = in_force.places.get(policy.cold_start.count)
        history = np.full(n, np.nan) if place is None else values[:, place]
    if policy.control is not None and policy.control.share > 0:
        chance = np.array([draw(policy.control.experiment, str(row["transaction_id"]), in_force.secret) for row in rows])
    evidence = Evidence(
        score, verdicts.outcome, verdicts.firm, verdicts.score_change, listed.block, listed.allow, lacks, amounts, history, chance,
        np.ones(n, bool) if NO_STATE in in_force.why else None, rules is in_force.fallback,
    )  # fmt: skip
    return Judged(decide(evidence, policy), verdicts, score, parts, lacks, listed, amounts, draws)


def _lacks(rows: Sequence[Row], vectors: Vectors) -> tuple[Floats, NDArray[np.uint8]]:
    """Amounts in the base currency, float64 [n], NaN unknown; and what each payment lacks, uint8 [n], bits of LACKS."""
    lacks = np.zeros(len(rows), np.uint8)
    columns: list[list[Any]] = [[*map(itemgetter(name), rows)] for name in ("amount_base", "customer_id", "merchant_id")]
    for column, lack in zip(columns, ("no_rate", "missing_critical", "missing_critical"), strict=True):
        if None in column:
            lacks |= np.array([LACKS[lack] if value is None else 0 for value in column], np.uint8)
    if any(vectors.status.tobytes()):  # sooner than the array's own `any`
        lacks |= np.where(vectors.status & TOO_LATE, LACKS["too_late"], 0).astype(np.uint8)
        lacks |= np.where(vectors.status & TOO_EARLY, LACKS["too_early"], 0).astype(np.uint8)
    return np.array(columns[0], np.float64) / 100, lacks  # None becomes NaN


def _scores(in_force: InForce, values: Floats, rows: Sequence[Row], explained: bool) -> tuple[Floats, tuple[Part, ...], Floats | None]:
    """Calibrated scores [n], NaN without a model; what each model read; the draws for the canary."""
    n = len(rows)
    champion, canary = in_force.champion, in_force.canary
    if champion is None:
        return np.full(n, np.nan), (), None
    if canary is None:
        read = champion.read(in_force.features, values, rows, explained=explained)
        return read.scored.scores, (Part("champion", champion, None, read),), None
    experiment = in_force.canary_experiment
    draws = np.array([np.nan if row["customer_id"] is None else draw(experiment, str(row["customer_id"]), in_force.secret) for row in rows])
    score, parts = np.empty(n), []
    for slot, loaded, chosen in (
        ("champion", champion, ~(draws < in_force.canary_share)),
        ("canary", canary, draws < in_force.canary_share),
    ):
        places = np.flatnonzero(chosen)
        if len(places):
            read = loaded.read(in_force.features, values[places], [rows[at] for at in places.tolist()], explained=explained)
            score[places] = read.scored.scores
            parts.append(Part(slot, loaded, places, read))
    return score, tuple(parts), draws


def _rule_columns(in_force: InForce, values: Floats, rows: Sequence[Row]) -> Floats:
    """The columns that the program of the acting rules reads, float64 [numbers + words + members, n]."""
    program = in_force.acting.program
    out = np.empty((len(program.numbers) + len(program.words) + len(program.members), len(rows)))
    own, places, others = in_force.read
    take_columns(plain(values), places, own, out)
    for at, name in others:
        out[at] = np.array([row.get(name) for row in rows], np.float64)  # None becomes NaN
    at = len(program.numbers)
    # A word that no condition names is any number beyond those that they name; the same word in two columns is the same number.
    dictionary, other = program.dictionary, len(program.dictionary) + 1
    codes: dict[str | None, float] = {None: np.nan}
    for name in program.words:
        words: list[Any] = [row.get(name) for row in rows]
        if not _TEXTS.issuperset(map(type, words)):
            words = [word if word is None else str(word) for word in words]
        for new in {*words} - codes.keys():
            codes[new] = float(dictionary.get(str(new), other + len(codes)))
        out[at] = [*map(codes.__getitem__, words)]
        at += 1
    for name, list_name in program.members:
        on = in_force.lists.get(list_name, frozenset())
        out[at] = [np.nan if (word := row.get(name)) is None else word in on for row in rows]
        at += 1
    return out


def reasons_of(in_force: InForce, judged: Judged, values: Floats, approved_max: int) -> list[list[Reason] | None]:
    """The models' reasons of each payment, empty without a model; None of approved ones beyond `approved_max`.

    Those that are not approved all have theirs: somebody will read them. Of the others those with the highest risk come first.
    A model explains its payments together: its tables pass through the caches once.
    """
    n = len(judged.score)
    if not judged.parts:
        return [[] for _ in range(n)]
    out: list[list[Reason] | None] = [None] * n
    outcomes = judged.decisions.outcome
    wanted = n if approved_max >= n else judged.stopped + max(0, approved_max)
    if wanted == 0:
        return out
    told = None
    if wanted < n:
        told = np.ones(n, bool)
        told[np.lexsort((-np.nan_to_num(judged.decisions.risk_score), -outcomes))[wanted:]] = False
    for part in judged.parts:
        # Mostly a model's payments are told of one and all, and nothing needs to be picked out.
        chosen, places = None, part.rows
        if told is not None:
            chosen = np.flatnonzero(told if part.rows is None else told[part.rows])
            if len(chosen) == 0:
                continue
            places = chosen if part.rows is None else part.rows[chosen]
        if places is None:
            out[:] = explain(in_force, part, chosen, values)
        else:
            for at, found in zip(places.tolist(), explain(in_force, part, chosen, values[places]), strict=True):
                out[at] = found
    return out


def explain(in_force: InForce, part: Part, chosen: Ints | None, values: Floats) -> list[list[Reason]]:
    """The model's reasons of the chosen rows of a part, None for all. values: their vectors."""
    loaded, read = part.loaded, part.read
    found = loaded.explainer.explain_tables(read.tables, read.scored, chosen)
    words = read.words
    if chosen is not None and words:
        asked = chosen.tolist()
        words = {name: [column[at] for at in asked] for name, column in words.items()}
    return loaded.writer.of_batch(Inputs(in_force.names, values, words), found.columns, found.contributions, TOP_REASONS)


def decisions_of(
    in_force: InForce, judged: Judged, vectors: Vectors, told: Sequence[list[Reason] | None], latency_us: Sequence[int]
) -> list[Decision]:
    """What is logged and answered of each payment."""
    made = judged.decisions
    hit = _hits_of(in_force, judged)
    whole = np.ascontiguousarray(vectors.values)
    width = whole.shape[1] * 8
    raw = whole.tobytes()
    by = judged.by()
    common = in_force.versions
    why, control = in_force.why, in_force.policy.control
    scores = [None if score != score else score for score in judged.score.tolist()]
    risks = [None if risk != risk else risk for risk in made.risk_score.tolist()]
    columns: Any = zip(
        made.outcome.tolist(), made.tier.tolist(), made.decided.tolist(), scores, risks, judged.lacks.tolist(), told,
        vectors.status.tolist(), vectors.approximate.tolist(), made.control.tolist(), by, latency_us, strict=True,
    )  # fmt: skip
    listed = judged.listed.found
    out = []
    for at, (outcome, tier, decided, score, risk, lacks, own, status, approximate, let, (model, slot, method), latency) in enumerate(
        columns
    ):
        hits: tuple[str, ...] = ()
        reasons: Sequence[Reason] = own or ()
        if at in hit or lacks or at in listed:
            hits, before = _people(judged, at, lacks, hit.get(at, ()))
            reasons = (*before, *reasons)
        out.append(
            Decision(
                outcome, tier, decided, score, risk, hits, reasons, own is None, why, raw[at * width : (at + 1) * width], status, approximate, model, *common, slot,
                control.share if let and control is not None else None, latency, method, in_force.observe,
            )
        )  # fmt: skip
    return out


def _hits_of(in_force: InForce, judged: Judged) -> dict[int, list[tuple[str, Reason]]]:
    """The live rules that hit, by payment, each with the reason that it gives."""
    out: dict[int, list[tuple[str, Reason]]] = {}
    if not any(judged.verdicts.counts.tolist()):
        return out
    rules, rows = np.nonzero(judged.verdicts.hits)
    told = in_force.told
    for rule, row in zip(rules.tolist(), rows.tolist(), strict=True):
        if rule in told:
            out.setdefault(row, []).append(told[rule])
    return out


def _people(judged: Judged, at: int, lacks: int, hit: Sequence[tuple[str, Reason]]) -> tuple[tuple[str, ...], list[Reason]]:
    """The live rules that hit a payment, and the reasons that lists, lacks and rules give."""
    out = [
        Reason(f"{found.list}_list", f"this {found.entity} is on the {found.list} list", None, found.code)
        for found in judged.listed.found.get(at, ())
    ]
    if lacks:
        out += [Reason(code, _LACK_TEXTS[code], None, "payment") for code, bit in LACKS.items() if lacks & bit]
    return tuple([name for name, _ in hit]), [*out, *(reason for _, reason in hit)]


_LACK_TEXTS: Final[Mapping[str, str]] = {
    "missing_critical": "the payment names no customer or no merchant",
    "no_rate": "no exchange rate is known for this currency at this time",
    "too_late": "the payment is dated too long before its arrival; its history was not read",
    "too_early": "the payment is dated after its arrival; its history was not read",
}

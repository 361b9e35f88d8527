"""The gate: what a candidate must show before it may decide, each check with what was measured, the bound and the reason.

It judges through the scorers that will serve, on rows that the candidate has not learned from, beside the champion on
the same rows. It reads no file; the clock and what a fresh process found are given (`pipelines.gate`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import polars as pl

from fraudloop.clock import Clock, SystemClock
from fraudloop.decisions.policy import Policy
from fraudloop.domain.outcome import Outcome
from fraudloop.errors import FraudloopError, InputError
from fraudloop.features.plan import compile_plan
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.model import Model
from fraudloop.scoring.smoke import SmokeCase, bundle_cases, case_inputs, changed_cases
from fraudloop.telemetry import Progress, silent
from fraudloop.training.folds import Dataset
from fraudloop.training.gate_config import ABSOLUTE, BASE, OWN_FLOORS, REACHABLE, WORLD_FLOORS, Floor, GateConfig
from fraudloop.training.latency import batches, open_loop, single_rows
from fraudloop.training.metrics import CostMatrix, Floats, Ints, ReviewBudget, Scored, evaluate
from fraudloop.training.paired import Difference, paired_difference
from fraudloop.training.segments import segment_columns, segment_report
from fraudloop.training.table import inputs_of

PASS: Final = "pass"
REFUSE: Final = "refuse"

#: A word that no training table holds.
UNKNOWN_WORD: Final = "⁇ never seen"

#: Rows of the evaluation in which inputs are taken away or made unknown.
_ROBUSTNESS_ROWS: Final = 200

#: Rows whose single scores are timed, in turn.
_LATENCY_ROWS: Final = 500

_TITLES: Final[Mapping[str, str]] = {
    "integrity": "The bundle is whole and this version can run it",
    "fresh_process": "It loads and scores in a fresh process without training libraries",
    "after_training": "The rows judged by lie after all that it learned from",
    "frauds": "Enough known frauds to judge by",
    "label_maturity": "The labels have had their time to arrive",
    "not_worse": "Not worse than the champion on the same payments",
    "minimum_gain": "Better than the champion by the gain asked for",
    "smoke_bits": "Its smoke cases score as they did in training, to the last bit",
    "smoke_fraud": "Known frauds are not approved",
    "smoke_genuine": "Known genuine payments are not declined",
    "unknown_words": "A word never seen gives a score, and no wild one",
    "missing_values": "A missing input gives a score, and no wild one",
    "latency_single": "One payment is scored in time",
    "latency_batch": "A batch is scored in time",
    "load": "Requests at a steady rate are answered in time",
    "decline_share": "The share of declined payments stays within its bound",
    "review_share": "The share of payments for review stays within its bound",
    "outcome_change": "The policy in force would not shift far from the champion's outcomes",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing asked. measured, bound: the number found and the number allowed, None where it is none. relation: how
    they must relate, `>=` or `<=`. why: one sentence with both. detail: what else a reader may want, plain data."""

    name: str
    title: str
    passed: bool
    measured: float | None
    bound: float | None
    relation: str
    unit: str
    why: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GateData:
    """The rows a candidate is judged on. dataset: a feature table with labels, that holds what both models read. rows:
    those judged, in time order. about: what it is, for the report. reachable: what the best model could reach there by
    name of the metric, empty where nobody knows. champion_table: the same rows as the champion's features have them, where
    its definitions say otherwise under the same names. costs, budget: for the metrics."""

    dataset: Dataset
    rows: Ints
    about: Mapping[str, Any] = field(default_factory=dict)
    reachable: Mapping[str, float] = field(default_factory=dict)
    champion_table: pl.DataFrame | None = None
    costs: CostMatrix = field(default_factory=CostMatrix)
    budget: ReviewBudget = field(default_factory=ReviewBudget)


@dataclass(frozen=True, slots=True)
class FreshLoad:
    """What a fresh process found that loaded the bundle and scored its smoke cases. error: why it could not, "" if it
    could. training_libraries: those it had to load. seconds: how long it took, start of Python included."""

    error: str = ""
    training_libraries: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class GateReport:
    """The verdict and everything it rests on, plain data throughout."""

    candidate: str
    champion: str | None
    created: str
    checks: tuple[Check, ...]
    data: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    comparison: Mapping[str, Any] | None = None
    segments: Mapping[str, Any] = field(default_factory=dict)
    outcomes: Mapping[str, Any] = field(default_factory=dict)
    latency: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that refuse it."""
        return tuple(check for check in self.checks if not check.passed)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it: NaN becomes None."""
        return {
            "verdict": PASS if self.passed else REFUSE, "candidate": self.candidate, "champion": self.champion, "created": self.created,
            "data": _plain(self.data), "policy": _plain(self.policy), "checks": [_plain(asdict(check)) for check in self.checks],
            "metrics": _plain(self.metrics), "comparison": _plain(self.comparison), "segments": _plain(self.segments),
            "outcomes": _plain(self.outcomes), "latency": _plain(self.latency), "config": _plain(self.config),
        }  # fmt: skip


def run_gate(
    candidate: Bundle,
    champion: Bundle | None,
    data: GateData,
    policy: Policy,
    config: GateConfig | None = None,
    *,
    fresh: FreshLoad | None = None,
    clock: Clock | None = None,
    progress: Progress = silent,
) -> GateReport:
    """Judge a candidate. policy: the tiers in force. fresh: None leaves that check out (nobody looked).

    A candidate that cannot be run is refused by that alone; nothing else can be measured of it. InputError if the data
    has no rows, or the champion cannot be run on it.
    """
    config, clock = config or GateConfig(), clock or SystemClock()
    created = datetime.fromtimestamp(clock.now_us() // 1_000_000, UTC).isoformat().replace("+00:00", "Z")
    rows = data.rows
    if not len(rows):
        raise InputError("the gate has no payments to judge by")
    report: dict[str, Any] = {
        "candidate": candidate.hash, "champion": None if champion is None else champion.hash, "created": created,
        "policy": policy.to_dict(), "config": config.to_dict(),
    }  # fmt: skip
    progress("gate: integrity", 0, 5)
    whole, model = _integrity(candidate, data.dataset)
    checks = [whole, *([] if fresh is None else [_fresh(fresh)])]
    if model is None:
        return GateReport(checks=tuple(checks), data=dict(data.about), **report)

    progress("gate: scoring", 1, 5)
    inputs = inputs_of(data.dataset.table[rows], model.numbers, model.words)
    y = data.dataset.truth.fraud[rows]
    scored = data.dataset.scored(rows, model.score(inputs), y)
    theirs = None if champion is None else data.dataset.scored(rows, _champion_scores(champion, data), y)
    both = {"candidate": scored, **({} if theirs is None else {"champion": theirs})}
    metrics = {name: evaluate(part, policy.review, policy.decline, data.costs, data.budget) for name, part in both.items()}

    progress("gate: comparing", 2, 5)
    checks += _evidence(candidate, champion, data, scored, config)
    checks += _floors(metrics["candidate"], data.reachable, config)
    difference = None
    if theirs is not None:
        difference = paired_difference(scored, theirs, by=config.by, rounds=config.rounds, seed=config.seed, level=config.level)
        checks += _compared(difference, metrics, config)
    checks += _smoke(candidate, model, policy, config.smoke)
    checks += _robust(model, _with_alerts(inputs, scored.score), config)

    progress("gate: latency", 3, 5)
    sample = _spread(inputs, _LATENCY_ROWS)
    timed, latency = _latency(model, sample, config, clock)
    checks += timed

    progress("gate: outcomes and segments", 4, 5)
    outcomes = _outcomes(both, policy, candidate)
    checks += _outcome_checks(outcomes, config)
    groups = segment_columns(data.dataset.table[rows], config.segments)
    segments = segment_report(scored, groups, policy, rounds=config.rounds, seed=config.seed)
    checks += _gaps(segments, config)
    progress("gate: outcomes and segments", 5, 5)
    about = {
        **data.about, "transactions": len(scored), "frauds": int(y.sum()), "days": len(np.unique(scored.day)),
        "first": _moment(int(data.dataset.time_us[rows].min())), "last": _moment(int(data.dataset.time_us[rows].max())),
        "label_maturity": float(scored.mature.mean()), "reachable": dict(data.reachable),
    }  # fmt: skip
    return GateReport(
        checks=tuple(checks), data=about, metrics=metrics, comparison=None if difference is None else asdict(difference),
        segments=segments, outcomes=outcomes, latency=latency, **report,
    )  # fmt: skip


# --- the bundle itself -------------------------------------------------------------------------------------------


def _integrity(bundle: Bundle, data: Dataset) -> tuple[Check, Model | None]:
    """Hashes, formats, features that this version can compute, columns that the data has; and the model if it runs."""
    try:
        if bundle.hash and bundle.manifest()["bundle"] != bundle.hash:
            return _check("integrity", False, why="the files are not those of its hash"), None
        model = bundle.model()
        compile_plan(bundle.features)
        bundle_cases(bundle)
        Policy.from_dict(bundle.thresholds)
    except FraudloopError as error:
        return _check("integrity", False, why=str(error)), None
    lacking = [name for name in (*model.numbers, *model.words) if name not in data.table.columns]
    if lacking:
        return _check(
            "integrity",
            False,
            why=f"it reads {len(lacking)} columns that the data does not have: {', '.join(lacking[:5])}",
            lacking=lacking,
        ), None
    why = f"{len(bundle.files)} files agree with their hashes; {len(model.members)} members and {len(model.numbers)} numbers run here"
    return _check("integrity", True, why=why, files=len(bundle.files), members=[member.name for member in model.members]), model


def _fresh(found: FreshLoad) -> Check:
    if found.error:
        why = found.error
    elif found.training_libraries:
        why = f"it needs {', '.join(found.training_libraries)}, which a service does not have"
    else:
        why = f"done in {found.seconds:.1f} s, start of Python included"
    return _check(
        "fresh_process", not found.error and not found.training_libraries, float(len(found.training_libraries)), 0.0, "<=", "libraries", why,
        seconds=found.seconds,
    )  # fmt: skip


# --- what it is judged by ----------------------------------------------------------------------------------------


def _evidence(candidate: Bundle, champion: Bundle | None, data: GateData, scored: Scored, config: GateConfig) -> list[Check]:
    first = int(data.dataset.time_us[data.rows].min())
    cut = learned_until_us(candidate)
    theirs = None if champion is None else learned_until_us(champion)
    note: dict[str, Any] = {"champion_learned_from_some": theirs is not None and first < theirs}
    if cut is None:
        after = _check("after_training", False, why="the bundle does not say until when it learned", **note)
    else:
        late = int((data.dataset.time_us[data.rows] < cut).sum())
        why = f"it learned from labels until {_moment(cut)}; the first payment judged is of {_moment(first)}" + (
            f", {late:,} are from before" if late else ""
        )
        after = _check("after_training", late == 0, float(late), 0.0, "<=", "payments", why, **note)
    frauds, maturity = int(scored.y.sum()), float(scored.mature.mean())
    return [
        after,
        _bounded("frauds", frauds, config.frauds_min, ">=", "frauds", f"{frauds:,} known frauds among {len(scored):,} payments"),
        _bounded(
            "label_maturity", maturity, config.maturity_min, ">=", "share", f"{maturity:.1%} of the payments are older than the label delay"
        ),
    ]


def _floors(metrics: Mapping[str, Any], reachable: Mapping[str, float], config: GateConfig) -> list[Check]:
    floors = config.floors
    if floors is None:
        floors = WORLD_FLOORS if all(name in reachable for name in WORLD_FLOORS) else OWN_FLOORS
    return [_floor_check(name, floor, metrics, reachable) for name, floor in floors.items()]


def _floor_check(metric: str, floor: Floor, metrics: Mapping[str, Any], reachable: Mapping[str, float]) -> Check:
    name, title = f"floor_{metric}", f"{_words(metric)} is high enough"
    measured = float(metrics[metric])
    if floor.of == REACHABLE and metric not in reachable:
        why = "the floor is a share of what is reachable, and nobody knows that of this data; give an absolute one"
        return Check(name, title, False, measured, None, ">=", "", why)
    base = metrics["frauds"] / metrics["transactions"]
    whole = {ABSOLUTE: 1.0, REACHABLE: reachable.get(metric, math.nan), BASE: base}[floor.of]
    bound = floor.min * whole
    of = {
        ABSOLUTE: "",
        REACHABLE: f" = {floor.min:g} × the {whole:.4f} reachable here",
        BASE: f" = {floor.min:g} × the share of fraud, {whole:.4f}",
    }
    passed = math.isfinite(measured) and measured >= bound
    why = f"{_words(metric)} is {measured:.4f}; at least {bound:.4f}{of[floor.of]}"
    share = measured / whole if whole > 0 else math.nan
    return Check(name, title, passed, measured, bound, ">=", "", why, {"of": floor.of, "whole": whole, "share": share})


def _compared(found: Difference, metrics: Mapping[str, Any], config: GateConfig) -> list[Check]:
    mine, theirs = (metrics[name]["average_precision"] for name in ("candidate", "champion"))
    said = (
        f"average precision {mine:.4f} beside {theirs:.4f}: {found.difference:+.4f}, "
        f"{found.level:.0%} interval [{found.low:+.4f}, {found.high:+.4f}] over {found.blocks:,} {found.by}s"
    )
    not_worse = math.isfinite(found.low) and found.low >= -config.worse_max
    out = [
        _check(
            "not_worse", not_worse, found.low, -config.worse_max, ">=", "", f"{said}; its low end must be above {-config.worse_max:+.4f}"
        )
    ]
    if config.gain_min is not None:
        gained = math.isfinite(found.difference) and found.difference >= config.gain_min
        out.append(
            _check(
                "minimum_gain",
                gained,
                found.difference,
                config.gain_min,
                ">=",
                "",
                f"{said}; a gain of {config.gain_min:+.4f} is asked for",
            )
        )
    return out


# --- single payments ---------------------------------------------------------------------------------------------


def _smoke(bundle: Bundle, model: Model, policy: Policy, own: Sequence[SmokeCase]) -> list[Check]:
    cases = bundle_cases(bundle)
    out = []
    if cases:
        changed = changed_cases(bundle)
        why = f"{len(cases)} cases of its training" + (f"; {len(changed)} score otherwise: {changed[0]['name']}" if changed else "")
        out.append(_check("smoke_bits", not changed, float(len(changed)), 0.0, "<=", "cases", why, changed=changed))
    else:
        out.append(_check("smoke_bits", False, why="the bundle holds no smoke cases; train it again with this version"))
    every = [*cases, *own]
    score = model.score(case_inputs(every, model)) if every else np.zeros(0)
    outcome = [Outcome(int(level)).text for level in policy.tiers(score)]
    told = [
        {"name": case.name, "fraud": case.fraud, "score": float(value), "outcome": word, "own": case.score is None}
        for case, value, word in zip(every, score, outcome, strict=True)
    ]
    for name, fraud, wrong in (("smoke_fraud", True, Outcome.APPROVE.text), ("smoke_genuine", False, Outcome.DECLINE.text)):
        mine = [row for row in told if row["fraud"] == fraud]
        bad = [row for row in mine if row["outcome"] == wrong]
        kind = "frauds" if fraud else "genuine payments"
        why = f"{len(mine) - len(bad)} of {len(mine)} {kind} are not {wrong}d" + (
            f"; {wrong}d: {', '.join(str(row['name']) for row in bad[:5])}" if bad else ""
        )
        out.append(_check(name, bool(mine) and not bad, float(len(bad)), 0.0, "<=", "cases", why, cases=mine))
    return out


def _with_alerts(inputs: Inputs, score: Floats) -> Inputs:
    """Rows from all over and, as a quarter of them, those with the highest scores: where a jump changes an outcome."""
    spread = np.linspace(0, len(inputs) - 1, min(_ROBUSTNESS_ROWS * 3 // 4, len(inputs))).round().astype(np.int64)
    return _rows(inputs, np.union1d(spread, np.argsort(-score, kind="stable")[: _ROBUSTNESS_ROWS // 4]))


def _robust(model: Model, sample: Inputs, config: GateConfig) -> list[Check]:
    usual = model.score(sample)
    unknown = {name: _with_words(sample, [name], UNKNOWN_WORD) for name in model.words}
    missing = {name: _without_number(sample, at) for at, name in enumerate(sample.names)}
    missing |= {name: _with_words(sample, [name], None) for name in model.words}
    everything = Inputs(sample.names, np.full_like(sample.values, np.nan), {name: [None] * len(sample) for name in model.words})
    out = []
    for check, changed in (("unknown_words", unknown), ("missing_values", missing)):
        if not changed:
            out.append(_check(check, True, 0.0, config.jump_max, "<=", "score", "it reads no words"))
            continue
        scores = {name: model.score(part) for name, part in changed.items()}
        invalid = [name for name, values in scores.items() if not _proper(values)]
        if check == "missing_values" and not _proper(model.score(everything)):
            invalid.append("everything")
        jumps = np.concatenate([np.abs(values - usual) for values in scores.values()])
        measured = float(np.quantile(jumps, 0.99)) if np.isfinite(jumps).all() else math.nan
        worst = max(scores, key=lambda name: float(np.max(np.abs(scores[name] - usual))))
        why = (
            f"no score between 0 and 1 for {', '.join(invalid[:5])}" if invalid else
            f"99 of 100 scores move by at most {measured:.4f} over {len(sample)} payments × {len(scores)} columns (most by {worst}); at most {config.jump_max:g}"
        )  # fmt: skip
        out.append(_check(check, not invalid and measured <= config.jump_max, measured, config.jump_max, "<=", "score", why, worst=worst))
    return out


def _proper(scores: Floats) -> bool:
    return bool(np.all(np.isfinite(scores) & (scores > 0.0) & (scores < 1.0)))


def _with_words(inputs: Inputs, columns: Sequence[str], word: str | None) -> Inputs:
    return Inputs(
        inputs.names, inputs.values, {name: [word] * len(inputs) if name in columns else words for name, words in inputs.categories.items()}
    )


def _without_number(inputs: Inputs, at: int) -> Inputs:
    values = inputs.values.copy()
    values[:, at] = np.nan
    return Inputs(inputs.names, values, inputs.categories)


# --- time --------------------------------------------------------------------------------------------------------


def _latency(model: Model, sample: Inputs, config: GateConfig, clock: Clock) -> tuple[list[Check], dict[str, Any]]:
    rows = [sample[at : at + 1] for at in range(len(sample))]
    kinds: tuple[tuple[str, Callable[[], Floats], float, float, str], ...] = (
        ("single", lambda: single_rows(model, sample, config.single_calls, clock), config.single_median_ms, config.single_p99_ms, "one payment"),
        (
            "batch", lambda: batches(model, sample, config.batch_rows, config.batch_calls, clock), config.batch_median_ms, config.batch_p99_ms,
            f"{config.batch_rows:,} payments at once",
        ),
        (
            "load", lambda: open_loop(lambda k: model.score(rows[k % len(rows)]), config.rate, config.seconds, clock), math.inf, config.load_p99_ms,
            f"{config.rate:g} requests a second, each from when it was due",
        ),
    )  # fmt: skip
    checks, told = [], {}
    for kind, measure, median_max, p99_max, what in kinds:
        tries: list[dict[str, Any]] = []
        while len(tries) < config.tries and not any(_in_time(found, median_max, p99_max) for found in tries):
            tries.append(_times(measure()))
        found = min(tries, key=lambda times: float(times["p99_ms"]))
        found = next((times for times in tries if _in_time(times, median_max, p99_max)), found)
        passed = _in_time(found, median_max, p99_max)
        median = f"median {found['median_ms']:.3f} ms" + (f" (at most {median_max:g})" if math.isfinite(median_max) else "")
        why = (
            f"{what}: {median}, p99 {found['p99_ms']:.3f} ms (at most {p99_max:g}), slowest of {found['calls']:,} {found['max_ms']:.3f} ms"
        )
        if len(tries) > 1:
            why += f"; the best of {len(tries)} tries"
        if not passed:
            # What the machine adds by itself, so that a reader can tell a slow model from a busy machine.
            idle = _times(open_loop(lambda _: None, config.rate, min(config.seconds, 1.0), clock))
            why += f"; requests that do nothing have p99 {idle['p99_ms']:.3f} ms here"
            found = {**found, "idle": idle}
        told[kind] = {**found, "tries": len(tries)}
        name = "load" if kind == "load" else f"latency_{kind}"
        checks.append(_check(name, passed, found["p99_ms"], p99_max, "<=", "ms", why, median_ms=found["median_ms"], tries=tries))
    told["batch"] |= {"rows": config.batch_rows, "row_us": told["batch"]["median_ms"] * 1_000 / config.batch_rows}
    told["load"] |= {"rate": config.rate, "seconds": config.seconds, "counted_from": "when each request was due"}
    return checks, told


def _in_time(found: Mapping[str, Any], median_max: float, p99_max: float) -> bool:
    return float(found["median_ms"]) <= median_max and float(found["p99_ms"]) <= p99_max


def _times(values: Floats) -> dict[str, Any]:
    return {
        "calls": len(values), "median_ms": float(np.median(values)), "p99_ms": float(np.quantile(values, 0.99)), "max_ms": float(values.max()),
    }  # fmt: skip


# --- outcomes and segments ---------------------------------------------------------------------------------------


def outcome_shares(score: Floats, policy: Policy) -> dict[str, float]:
    """The share of each outcome of these scores under a policy.

    >>> outcome_shares(np.array([0.1, 0.6, 0.95, 0.2]), Policy())
    {'approve': 0.5, 'challenge': 0.0, 'review': 0.25, 'decline': 0.25}
    """
    tiers = policy.tiers(score)
    return {outcome.text: float((tiers == outcome).mean()) for outcome in Outcome}


def _outcomes(both: Mapping[str, Scored], policy: Policy, candidate: Bundle) -> dict[str, Any]:
    own = Policy.from_dict(candidate.thresholds)
    return {
        "policy": policy.to_dict(),
        **{name: outcome_shares(part.score, policy) for name, part in both.items()},
        "suggested": {"policy": own.to_dict(), "candidate": outcome_shares(both["candidate"].score, own)},
    }


def _outcome_checks(outcomes: Mapping[str, Any], config: GateConfig) -> list[Check]:
    mine, theirs = outcomes["candidate"], outcomes.get("champion")
    out = []
    for name, word, bound in (("decline_share", "decline", config.decline_max), ("review_share", "review", config.review_max)):
        beside = "" if theirs is None else f", the champion {theirs[word]:.2%}"
        out.append(_bounded(name, mine[word], bound, "<=", "share", f"{word}: {mine[word]:.2%} of payments{beside}; at most {bound:.2%}"))
    if theirs is not None:
        changes = {word: mine[word] - theirs[word] for word in mine}
        largest = max(changes, key=lambda word: abs(changes[word]))
        why = f"the share of {largest} goes from {theirs[largest]:.2%} to {mine[largest]:.2%}; at most {config.change_max:.2%} either way"
        out.append(_bounded("outcome_change", abs(changes[largest]), config.change_max, "<=", "share", why, changes=changes))
    return out


def _gaps(segments: Mapping[str, Any], config: GateConfig) -> list[Check]:
    """One check for each measure with a bound: the largest gap over all columns that is not what chance would make."""
    out = []
    for measure, bound in config.gaps.items():
        found = [
            (float(gap["gap"]), name, gap)
            for name, column in segments["columns"].items()
            for gap in (column["gaps"].get(measure),)
            if gap is not None and gap["gap"] is not None
        ]
        real = [row for row in found if row[2].get("beyond_chance")]
        nothing: tuple[float, str, Mapping[str, Any]] = (0.0, "", {})
        size, name, gap = max(real or found, key=lambda row: row[0], default=nothing)
        passed = not real or size <= bound
        ends = [f"{gap[end]['value']} {gap[end]['rate']:.4f}" for end in ("lowest", "highest")] if name else []
        where = f"{name}: {' to '.join(ends)}" if name else "no segment is large enough to judge"
        why = f"{_words(measure)}: largest gap {size:.4f} ({where}); at most {bound:g}" + (
            "" if real or not found else ", and no gap is beyond chance"
        )
        title = f"{_words(measure)} is alike in all segments"
        out.append(Check(f"gap_{measure}", title, passed, size, bound, "<=", "", why, {"column": name, "gap": dict(gap)}))
    return out


# --- small things ------------------------------------------------------------------------------------------------


def _check(
    name: str, passed: bool, measured: float | None = None, bound: float | None = None, relation: str = "", unit: str = "", why: str = "",
    **detail: Any,
) -> Check:  # fmt: skip
    return Check(name, _TITLES[name], bool(passed), measured, bound, relation, unit, why, detail)


def _bounded(name: str, measured: float, bound: float, relation: str, unit: str, why: str, **detail: Any) -> Check:
    passed = measured >= bound if relation == ">=" else measured <= bound
    return _check(name, passed, float(measured), float(bound), relation, unit, why, **detail)


def _champion_scores(champion: Bundle, data: GateData) -> Floats:
    model = champion.model()
    table = (data.dataset.table if data.champion_table is None else data.champion_table)[data.rows]
    lacking = [name for name in (*model.numbers, *model.words) if name not in table.columns]
    if lacking:
        raise InputError(f"the data lacks {len(lacking)} columns that the champion reads: {', '.join(lacking[:8])}")
    return model.score(inputs_of(table, model.numbers, model.words))


def learned_until_us(bundle: Bundle) -> int | None:
    """Until when a bundle's training, and its last update since, knew labels, in microseconds since 1970 UTC."""
    parts = [bundle.metrics.get(name) for name in ("training", "update")]
    texts = [part["cut"] for part in parts if isinstance(part, Mapping) and part.get("cut") is not None]
    try:
        return max((round(datetime.fromisoformat(str(text)).timestamp() * 1_000_000) for text in texts), default=None)
    except ValueError:
        return None


def _spread(inputs: Inputs, rows: int) -> Inputs:
    """At most so many rows, evenly over all."""
    return _rows(inputs, np.unique(np.linspace(0, len(inputs) - 1, min(rows, len(inputs))).round().astype(np.int64)))


def _rows(inputs: Inputs, at: Ints) -> Inputs:
    return Inputs(inputs.names, inputs.values[at], {name: [words[i] for i in at.tolist()] for name, words in inputs.categories.items()})


def _moment(us: int) -> str:
    return datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _words(name: str) -> str:
    return name.replace("_at_90_precision", " at 90 % precision").replace("_", " ")


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    return value

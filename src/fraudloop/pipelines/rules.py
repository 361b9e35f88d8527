"""Rules over the past: checked against a vocabulary, and backtested on payments with the values of that moment."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fraudloop.decisions.lists import NamedList, shipped_lists
from fraudloop.decisions.rule_language import names_of
from fraudloop.decisions.rule_program import UNKNOWN, YES, Program, compile_rules
from fraudloop.decisions.rules import Rule, RuleSet, State, vocabulary
from fraudloop.domain.definitions import FeatureSet, parse_duration_us
from fraudloop.errors import InputError
from fraudloop.limits import DAY_US
from fraudloop.pipelines.features import features_of, fold_file
from fraudloop.settings import Settings
from fraudloop.telemetry import Progress, silent

#: Rows evaluated at once, so that memory follows the batch and not the file.
_BATCH_ROWS: Final = 262_144

#: Columns of a table that tell the outcome or belong to the file, and are no values of that moment.
_NOT_NAMES: Final = frozenset({"is_fraud", "label_known_at", "window_status", "approximate", "timestamp", "received_at"})


@dataclass(frozen=True, slots=True)
class Checked:
    """A rule set whose conditions are understood. reads: by rule, the names that its condition reads."""

    rules: RuleSet
    reads: dict[str, tuple[str, ...]]
    lists: dict[str, NamedList]


@dataclass(frozen=True, slots=True)
class Backtest:
    """rules: a row a rule (see `backtest_file`). together: the same of all that act. overlap: by pair of rules the payments that both hit.
    payments, frauds, days: what was looked at; `mature`: those older than the label delay at the end of the data."""

    rules: list[dict[str, Any]]
    together: dict[str, Any]
    overlap: list[dict[str, Any]]
    payments: int
    frauds: int
    mature: int
    days: int
    seconds: float


def check_file(spec: str | Path, *, features: str | Path | None = None, lists: Sequence[Path] = ()) -> Checked:
    """Read a rule set and understand every condition. RuleError names the rule, the character, and the nearest name."""
    rules = RuleSet.load(spec)
    known = lists_of(lists)
    trees = rules.conditions(vocabulary(FeatureSet.load(features or "default")), frozenset(known))
    return Checked(rules, {name: tuple(sorted(names_of(tree))) for name, tree in trees.items()}, known)


def lists_of(files: Sequence[Path]) -> dict[str, NamedList]:
    """The shipped lists and those of files, which replace shipped ones of the same name."""
    return shipped_lists() | {named.name: named for named in map(NamedList.load, files)}


def backtest_file(
    spec: str | Path,
    path: Path,
    *,
    columns: str | Path = "native",
    features: str | Path | None = None,
    labels: Path | None = None,
    profiles: Path | None = None,
    lists: Sequence[Path] = (),
    label_delay: str = "7d",
    settings: Settings | None = None,
    progress: Progress = silent,
) -> Backtest:
    """What every rule that is not retired would have done to the payments of a file.

    path: a file of `fraudloop features` (Parquet), whose values are those of the moment of each payment, or a table of
    transactions, which is folded first. Each row of the result has: hits, unknown, a_day, and twice (over all payments and
    over those with mature labels) precision, recall, frauds caught; then money_caught (fraud stopped) and money_blocked
    (genuine money stopped) in the base currency, and alone (hits that no other rule has).
    InputError and its kinds say what cannot be used.
    """
    rules = RuleSet.load(spec).in_state(State.DRAFT, State.SHADOW, State.LIVE)
    if not rules.rules:
        raise InputError(f"{spec}: no rules to test (retired ones are left out)")
    known = lists_of(lists)
    delay_us = parse_duration_us(label_delay, "--label-delay")
    feature_set = features_of(features, columns)
    start = time.monotonic()
    stored = _is_feature_file(path)
    if stored:
        schema = pl.read_parquet_schema(path)
        frame = None
    else:
        frame = fold_file(path, columns, feature_set, settings=settings, labels=labels, profiles=profiles, progress=progress).table
        schema = frame.schema
    present = FeatureSet.select(feature_set, [name for name in feature_set.names if name in schema])
    own_numbers = [name for name, kind in schema.items() if kind.is_numeric() and name not in _NOT_NAMES]
    own_words = [name for name, kind in schema.items() if kind == pl.String and name not in _NOT_NAMES]
    names = vocabulary(present, own_numbers, own_words)
    program = compile_rules(list(rules.conditions(names, frozenset(known)).values()))
    needed = [*dict.fromkeys((*program.numbers, *program.words, *(name for name, _ in program.members)))]
    # What a payment may bring and this table does not is unknown there, as it would be in service.
    absent = [name for name in needed if name not in schema]
    beside = [name for name in ("timestamp", "amount_base", "amount", "is_fraud", "label_known_at") if name in schema]
    tally = _Tally(rules, delay_us)
    total = frame.height if frame is not None else pq.ParquetFile(path).metadata.num_rows
    wanted = list(dict.fromkeys([*(name for name in needed if name in schema), *beside]))
    end_us = _end_us(frame if frame is not None else pl.scan_parquet(path), schema)
    done = 0
    for part in _batches(path, frame, wanted):
        answers = program.evaluate(_columns(program, part, known, absent))
        tally.add(part, answers, end_us)
        done += part.height
        progress("backtesting", done, total)
    return tally.result(time.monotonic() - start)


def _is_feature_file(path: Path) -> bool:
    if Path(path).suffix != ".parquet":
        return False
    try:
        return b"fraudloop.features" in (pq.read_schema(path).metadata or {})
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({error})") from error


def _batches(path: Path, frame: pl.DataFrame | None, columns: list[str]) -> Iterator[pl.DataFrame]:
    if frame is not None:
        yield from frame.select(columns).iter_slices(_BATCH_ROWS)
        return
    for batch in pq.ParquetFile(path).iter_batches(_BATCH_ROWS, columns=columns):
        part = pl.from_arrow(batch)
        assert isinstance(part, pl.DataFrame)
        yield part


def _end_us(table: pl.DataFrame | pl.LazyFrame, schema: Mapping[str, pl.DataType]) -> int:
    """When the data ends: the last payment, or the last label known."""
    times = [pl.col(name).cast(pl.Datetime("us")).cast(pl.Int64).max() for name in ("timestamp", "label_known_at") if name in schema]
    row = table.lazy().select(pl.max_horizontal(times).alias("end")).collect()
    return int(row["end"][0] or 0)


def _columns(program: Program, part: pl.DataFrame, lists: Mapping[str, NamedList], absent: Sequence[str]) -> NDArray[np.float64]:
    """The evaluator's columns of a batch, float64 [columns, rows]: as `Program.run` makes them, by whole columns."""
    out = np.empty((len(program.numbers) + len(program.words) + len(program.members), part.height))
    codes: dict[str, float] = {word: float(code) for word, code in program.dictionary.items()}
    at = 0
    for name in program.numbers:
        out[at] = math.nan if name in absent else part[name].cast(pl.Float64).fill_null(math.nan).to_numpy()
        at += 1
    for name in program.words:
        if name in absent:
            out[at] = math.nan
        else:
            words = part[name].unique().drop_nulls().to_list()
            new = [codes.setdefault(word, float(len(codes) + 1)) for word in words]
            coded = part[name].replace_strict(words, new, default=None, return_dtype=pl.Float64)
            out[at] = coded.fill_null(math.nan).to_numpy()
        at += 1
    for name, list_name in program.members:
        if name in absent:
            out[at] = math.nan
        else:
            on = part[name].is_in(sorted(lists[list_name].entries)).cast(pl.Float64)
            out[at] = on.fill_null(math.nan).to_numpy()
        at += 1
    return out


class _Tally:
    """Sums over batches."""

    def __init__(self, rules: RuleSet, delay_us: int) -> None:
        self.rules, self.delay_us = rules.rules, delay_us
        k = len(self.rules) + 1  # the last row is all that act together
        self.counts = {name: np.zeros(k, np.int64) for name in ("hits", "unknown", "alone", "frauds", "mature_hits", "mature_frauds")}
        self.money = {name: np.zeros(k) for name in ("money_caught", "money_blocked")}
        self.both = np.zeros((k - 1, k - 1), np.int64)
        self.payments = self.all_frauds = self.mature = self.mature_all_frauds = 0
        self.days: set[int] = set()

    def add(self, part: pl.DataFrame, answers: NDArray[np.int8], end_us: int) -> None:
        hit = answers == YES
        acts = np.array([rule.state is not State.SHADOW and rule.outcome is not None for rule in self.rules], bool)
        any_hit = hit[acts].any(axis=0) if acts.any() else np.zeros(part.height, bool)
        rows = np.vstack([hit, any_hit])
        fraud = part["is_fraud"].fill_null(value=False).to_numpy() if "is_fraud" in part.columns else np.zeros(part.height, bool)
        times = part["timestamp"].cast(pl.Datetime("us")).cast(pl.Int64).to_numpy()
        mature = times + self.delay_us <= end_us
        amount = _amount(part)
        # Every sum over payments is one row of one matrix product: hits of each rule times what a hit counts for.
        single = hit & (hit.sum(axis=0) == 1)
        counted = np.column_stack(
            [np.ones(part.height), fraud, mature, mature & fraud, np.where(fraud, amount, 0.0), np.where(fraud, 0.0, amount)]
        )
        sums = rows.astype(np.float64) @ counted.astype(np.float64)
        for at, name in enumerate(("hits", "frauds", "mature_hits", "mature_frauds")):
            self.counts[name] += sums[:, at].astype(np.int64)
        self.money["money_caught"] += sums[:, 4]
        self.money["money_blocked"] += sums[:, 5]
        self.counts["unknown"][:-1] += np.count_nonzero(answers == UNKNOWN, axis=1)
        self.counts["alone"][:-1] += np.count_nonzero(single, axis=1)
        several = hit[:, hit.any(axis=0) & ~single.any(axis=0)].astype(np.float32)  # counts below 2**24 are exact
        self.both += (several @ several.T).astype(np.int64)
        self.payments += part.height
        self.all_frauds += int(fraud.sum())
        self.mature += int(mature.sum())
        self.mature_all_frauds += int((mature & fraud).sum())
        self.days |= set(np.unique(times // DAY_US).tolist())

    def result(self, seconds: float) -> Backtest:
        rows = [self._row(at, rule) for at, rule in enumerate(self.rules)]
        ids = [rule.id for rule in self.rules]
        pairs: list[dict[str, Any]] = [
            {
                "first": ids[i],
                "second": ids[j],
                "payments": int(self.both[i, j]),
                "share_of_first": _share(self.both[i, j], self.counts["hits"][i]),
            }
            for i in range(len(ids))
            for j in range(i + 1, len(ids))
            if self.both[i, j]
        ]
        pairs.sort(key=lambda row: (-row["payments"], row["first"], row["second"]))
        return Backtest(rows, self._row(len(ids), None), pairs, self.payments, self.all_frauds, self.mature, len(self.days), seconds)

    def _row(self, at: int, rule: Rule | None) -> dict[str, Any]:
        c = {name: int(values[at]) for name, values in self.counts.items()}
        about: dict[str, Any] = (
            {}
            if rule is None
            else {"rule": rule.id, "state": rule.state.value, "outcome": rule.outcome and rule.outcome.text, "score": rule.score}
        )
        return {
            **about, "hits": c["hits"], "share": _share(c["hits"], self.payments), "a_day": _share(c["hits"], len(self.days)), "unknown": c["unknown"],
            "alone": c["alone"], "frauds": c["frauds"], "precision": _share(c["frauds"], c["hits"]), "recall": _share(c["frauds"], self.all_frauds),
            "mature": {
                "hits": c["mature_hits"], "frauds": c["mature_frauds"], "precision": _share(c["mature_frauds"], c["mature_hits"]),
                "recall": _share(c["mature_frauds"], self.mature_all_frauds),
            },
            **{name: round(float(values[at]), 2) for name, values in self.money.items()},
        }  # fmt: skip


def _amount(part: pl.DataFrame) -> NDArray[np.float64]:
    """Units of the base currency, 0 where unknown."""
    if "amount_base" in part.columns:
        return part["amount_base"].cast(pl.Float64).fill_null(0.0).to_numpy() / 100.0
    return part["amount"].cast(pl.Float64).fill_null(0.0).fill_nan(0.0).to_numpy()


def _share(part: float, whole: float) -> float | None:
    return None if whole == 0 else float(part) / float(whole)

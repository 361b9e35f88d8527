"""`FraudDataGenerator`: a synthetic world of payments from a seed, as tables in memory or streamed to files.

Rare things (schemes, sprees, fraud that looks like nothing) are planned first and held in memory; ordinary purchases
are made block by block of hours, merged with the planned rows of those hours, and written in time order. Streams of
random numbers belong to blocks and purposes, so neither chunks nor threads change a row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraudloop import limits
from fraudloop.errors import InputError
from fraudloop.limits import DAY_US, HOUR_US
from fraudloop.simulation import tables
from fraudloop.simulation.bound import expected_average_precision, expected_recall_at_precision
from fraudloop.simulation.labelling import SOURCES, Verdicts, give_verdicts, true_fraud
from fraudloop.simulation.ordinary import Calendar, build_calendar, draw_anytime, draw_block, people_by_clock, purchases
from fraudloop.simulation.pattern import SCHEMES, Change, FraudPattern, check_rate, read_changes
from fraudloop.simulation.pick import Floats, Ints, largest_remainder
from fraudloop.simulation.rows import NONE, ORDINARY, ORIGINS, Rows
from fraudloop.simulation.schemes import NIGHT_FROM_HOUR, NIGHT_HOURS, Segment, run_scheme, sprees
from fraudloop.simulation.streams import Purpose, stream
from fraudloop.simulation.world import World, build_world
from fraudloop.simulation.writers import check_path, open_table
from fraudloop.telemetry import Progress, silent

SEED_MAX: Final = 2**63 - 1
SPREE_SHARE: Final = 0.08
CHUNK_ROWS: Final = 1 << 19
STAGE: Final = "transactions"

#: Ordinary purchases at night or not and abroad or not are strata of their own: index = 2 * night + foreign.
_CELLS: Final = 4


@dataclass(frozen=True, slots=True)
class Report:
    """What was made. rows; known_fraud: labelled fraud once every label is in; true_fraud: what really was;
    by_scheme: true frauds; never_reported, reversed: rows; sources: labels by source; the two bounds of average
    precision against known and true fraud; that of recall at 90 % precision against known fraud; files: bytes of each written file."""

    rows: int
    customers: int
    merchants: int
    days: int
    known_fraud: int
    true_fraud: int
    by_scheme: dict[str, int]
    never_reported: int
    reversed: int
    sources: dict[str, int]
    reachable_average_precision: float
    reachable_average_precision_true: float
    reachable_recall_at_90_precision: float
    files: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Generated:
    """The tables of a world; `truth` is for analysis only, `labels` has each report and reversal as it comes in."""

    transactions: pl.DataFrame
    labels: pl.DataFrame
    profiles: pl.DataFrame
    truth: pl.DataFrame
    report: Report


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is decided before the first ordinary purchase. Rows are in time order, verdicts beside them; segment cell
    chances: how likely an ordinary purchase of each cell is fraud, float64 [segments, cells]."""

    world: World
    calendar: Calendar
    rows: Rows
    verdicts: Verdicts
    segments: tuple[Segment, ...]
    chances: Floats
    probability: Floats


@dataclass(slots=True)
class _Block:
    transactions: pl.DataFrame
    truth: pl.DataFrame | None
    planned_ids: pl.Series
    cells: Ints


class FraudDataGenerator:
    """A synthetic world of card payments.

    transactions: rows in all. fraud_rate: share of them that is labelled fraud once every label is in; a little more
    really is (never reported). customers and merchants follow from transactions if not given. start: first day, UTC.
    drift: changes of the pattern (`Change`, or texts `DATE:name=value,...`, or paths of TOML files).
    PatternError or InputError names an argument that does not fit.

    >>> tables = FraudDataGenerator(seed=1, transactions=2_000, days=30).generate()
    >>> tables.transactions.height, int(tables.transactions["is_fraud"].sum())
    (2000, 20)
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        transactions: int = 100_000,
        customers: int | None = None,
        merchants: int | None = None,
        days: int = 90,
        fraud_rate: float = 0.01,
        pattern: FraudPattern | None = None,
        start: date | str = date(2025, 1, 1),
        drift: Sequence[Change | str] | None = None,
    ) -> None:
        self.seed = _whole("seed", seed, 0, SEED_MAX)
        self.transactions = _whole("transactions", transactions, limits.SIMULATED_TRANSACTIONS_MIN, limits.SIMULATED_TRANSACTIONS_MAX)
        derived = min(max(self.transactions // 60, 50), limits.SIMULATED_CUSTOMERS_MAX)
        self.customers = (
            derived if customers is None else _whole("customers", customers, limits.SIMULATED_CUSTOMERS_MIN, limits.SIMULATED_CUSTOMERS_MAX)
        )
        derived = min(max(self.customers // 10, 500), 100_000)
        self.merchants = (
            derived if merchants is None else _whole("merchants", merchants, limits.SIMULATED_MERCHANTS_MIN, limits.SIMULATED_MERCHANTS_MAX)
        )
        self.days = _whole("days", days, 1, limits.SIMULATED_DAYS_MAX)
        self.fraud_rate = check_rate(fraud_rate)
        self.pattern = pattern or FraudPattern()
        self.start_us = _start(start)
        changes = [change for change in drift or () if isinstance(change, Change)]
        texts = [change for change in drift or () if isinstance(change, str)]
        self.drift = tuple(sorted((*changes, *read_changes(texts)), key=lambda change: change.since))
        if len(self.drift) > limits.SIMULATED_CHANGES_MAX:
            raise InputError(f"drift: {len(self.drift)} changes; give at most {limits.SIMULATED_CHANGES_MAX}", name="drift")
        for change in self.drift:
            if not self.start_us < _start(change.since) < self.start_us + self.days * DAY_US:
                first, last = _day(self.start_us), _day(self.start_us + (self.days - 1) * DAY_US)
                raise InputError(f"drift: {change.since} is not after the first day {first} and up to the last {last}", name="drift")
        self._segments()

    def generate(self, *, progress: Progress = silent, threads: int = 2) -> Generated:
        """All tables in memory: about 250 bytes a transaction. progress hears of each block."""
        plan = self._plan
        blocks, done = [], 0
        for block in self._blocks(plan, with_truth=True, threads=threads):
            blocks.append(block)
            done += block.transactions.height
            progress(STAGE, done, self.transactions)
        truths = [block.truth for block in blocks if block.truth is not None]
        ids = pl.concat([block.planned_ids for block in blocks])
        return Generated(
            transactions=pl.concat([block.transactions for block in blocks]).rechunk(),
            labels=tables.labels(ids, plan.verdicts),
            profiles=tables.profiles(tables.Texts.of(plan.world)),
            truth=pl.concat(truths).rechunk(),
            report=self._report(plan, np.sum([block.cells for block in blocks], axis=0)),
        )

    def write(
        self,
        path: str | Path,
        *,
        labels: str | Path | None = None,
        profiles: str | Path | None = None,
        truth: str | Path | None = None,
        chunk_rows: int = CHUNK_ROWS,
        threads: int = 2,
        progress: Progress = silent,
    ) -> Report:
        """Stream the transactions to a file, and the other tables to theirs where named; Parquet, CSV or CSV.gz by suffix.

        A file appears under its name only when it is complete. chunk_rows: rows of a row group, which bounds memory.
        """
        chunk_rows = _whole("chunk_rows", chunk_rows, 1, 1 << 24)
        paths = {"transactions": path, "labels": labels, "profiles": profiles, "truth": truth}
        targets = {name: check_path(name, Path(given)) for name, given in paths.items() if given is not None}
        if len(set(targets.values())) < len(targets):
            raise InputError("two tables are to be written to the same file; give each its own name", name="out")
        plan = self._plan
        cells = np.zeros((len(plan.segments), _CELLS), np.int64)
        ids: list[pl.Series] = []
        done = 0
        with ExitStack() as stack:
            out = {name: stack.enter_context(open_table(target, chunk_rows)) for name, target in targets.items()}
            for block in self._blocks(plan, with_truth="truth" in out, threads=threads):
                out["transactions"].write(block.transactions)
                if block.truth is not None:
                    out["truth"].write(block.truth)
                ids.append(block.planned_ids)
                cells += block.cells
                done += block.transactions.height
                progress(STAGE, done, self.transactions)
            if "labels" in out:
                out["labels"].write(tables.labels(pl.concat(ids), plan.verdicts))
            if "profiles" in out:
                out["profiles"].write(tables.profiles(tables.Texts.of(plan.world)))
        return self._report(plan, cells, {str(target): target.stat().st_size for target in targets.values()})

    def _segments(self) -> tuple[Segment, ...]:
        end_us = self.start_us + self.days * DAY_US
        pattern, rate, begin = self.pattern, self.fraud_rate, self.start_us
        out: list[Segment] = []
        for change in self.drift:
            since = _start(change.since)
            if since > begin:
                out.append(Segment(len(out), begin, since, pattern, rate))
            pattern, rate = change.apply(pattern, rate)
            begin = since
        return (*out, Segment(len(out), begin, end_us, pattern, rate))

    @cached_property
    def _plan(self) -> _Plan:
        world = build_world(self.seed, self.customers, self.merchants, self.start_us, self.days)
        segments = self._segments()
        _, activity = people_by_clock(world)
        of_hour = activity.sum(axis=1)
        hours = [slice((s.start_us - self.start_us) // HOUR_US, (s.end_us - self.start_us) // HOUR_US) for s in segments]
        rows_of = largest_remainder(self.transactions, np.array([of_hour[h].sum() for h in hours]))
        rates = np.array([s.fraud_rate for s in segments])
        known = largest_remainder(round(float(rows_of @ rates)), rows_of * rates)
        usual = self.transactions / self.days * world.customers.activity / world.customers.activity.sum()

        parts: list[Rows] = []
        known_total = 0
        chances = np.zeros((len(segments), _CELLS))
        episode = 0
        for segment, hour, known_rows, all_rows in zip(segments, hours, known.tolist(), rows_of.tolist(), strict=True):
            fraud = true_fraud(known_rows)
            known_total += known_rows
            quiet = round(fraud * segment.pattern.quiet_share)
            counts = largest_remainder(fraud - quiet, np.array([segment.pattern.mix[scheme] for scheme in SCHEMES]))
            for code, (scheme, count) in enumerate(zip(SCHEMES, counts.tolist(), strict=True)):
                rng = stream(self.seed, Purpose.SCHEMES, segment.number, code)
                part = run_scheme(world, rng, scheme, count, segment, usual, episode)
                episode += int(part.episode.max() + 1 - episode) if len(part) else 0
                parts.append(part)
            part, share = self._quiet(world, segment, hour, quiet)
            ordinary = max(1.0, all_rows * (1 - SPREE_SHARE) - fraud)
            in_cell = np.bincount(_cell(world, part), minlength=_CELLS)
            chances[segment.number] = in_cell / np.maximum(1.0, in_cell + share * ordinary)
            parts.append(part)
        spree_rows = int(self.transactions * SPREE_SHARE)
        planned = sum(len(part) for part in parts)
        if planned + spree_rows >= self.transactions:
            raise InputError(
                f"fraud_rate {self.fraud_rate:g} leaves no room for genuine purchases among {self.transactions} transactions; lower it",
                name="fraud_rate",
            )
        rng = stream(self.seed, Purpose.SPREES)
        spree = sprees(world, rng, spree_rows, *draw_anytime(rng, spree_rows // 3 + 1, world, slice(0, len(of_hour))))
        spree.episode += episode
        parts.append(spree)

        rows = Rows.concat(parts)
        rows = rows.take(np.argsort(rows.time_us, kind="stable"))
        verdicts = give_verdicts(stream(self.seed, Purpose.LABELS), rows, known_total)
        calendar = build_calendar(self.seed, world, self.transactions - len(rows))
        probability = _probability(world, rows, segments, chances)
        return _Plan(world, calendar, rows, verdicts, segments, chances, probability)

    def _quiet(self, world: World, segment: Segment, hours: slice, count: int) -> tuple[Rows, Floats]:
        """Fraud that follows no scheme: ordinary purchases of the wanted night and foreign share, drawn from a larger
        number of them; and the share of each cell among ordinary purchases."""
        rng = stream(self.seed, Purpose.QUIET, segment.number)
        night = rng.permutation(count) < round(count * segment.pattern.late_night_probability)
        foreign = rng.permutation(count) < round(count * segment.pattern.foreign_probability)
        left = np.bincount(2 * night + foreign, minlength=_CELLS)
        chosen: list[Rows] = []
        seen = np.zeros(_CELLS, np.int64)
        for attempt in range(6):
            size = max(20_000, 20 * count) if attempt == 0 else max(20_000, 40 * int(left.sum()) * 2**attempt)
            pool = purchases(world, rng, *draw_anytime(rng, size, world, hours))
            cell = _cell(world, pool)
            seen += np.bincount(cell, minlength=_CELLS)
            # The first so many of each cell: the pool is in no order within an hour, so shuffle before.
            order = rng.permutation(len(pool))
            rank = np.zeros(len(pool), np.int64)
            for c in range(_CELLS):
                mine = order[cell[order] == c]
                rank[mine] = np.arange(len(mine))
            # A world without trips or shops abroad cannot give the wanted cell: take any in the last attempt.
            take = rank < left[cell]
            if attempt == 5 and left.sum() > take.sum():
                take[order[~take[order]][: int(left.sum() - take.sum())]] = True
            chosen.append(pool.take(take))
            left = np.maximum(0, left - np.bincount(cell[take], minlength=_CELLS))
            if not left.any() or attempt == 5:
                break
        rows = Rows.concat(chosen)
        rows.fraud[:] = True
        return rows, seen / seen.sum()

    def _blocks(self, plan: _Plan, *, with_truth: bool, threads: int) -> Iterator[_Block]:
        threads = _whole("threads", threads, 1, 64)
        texts = tables.Texts.of(plan.world)
        blocks = plan.calendar.blocks()
        per_hour = plan.calendar.rows
        jobs = []
        first = planned = 0
        for number, hours in enumerate(blocks):
            end_us = self.start_us + hours.stop * HOUR_US
            upto = int(np.searchsorted(plan.rows.time_us, end_us)) if number < len(blocks) - 1 else len(plan.rows)
            jobs.append((number, hours, first, slice(planned, upto)))
            first += int(per_hour[hours].sum()) + upto - planned
            planned = upto
        if threads == 1:
            for job in jobs:
                yield self._block(plan, texts, *job, with_truth=with_truth)
            return
        with ThreadPoolExecutor(threads) as pool:
            waiting: deque[Future[_Block]] = deque()
            for job in jobs:
                waiting.append(pool.submit(self._block, plan, texts, *job, with_truth=with_truth))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _block(
        self, plan: _Plan, texts: tables.Texts, number: int, hours: slice, first: int, planned: slice, *, with_truth: bool
    ) -> _Block:
        ordinary = draw_block(self.seed, number, hours, plan.calendar, plan.world)
        n = len(ordinary)
        rows = Rows.concat([ordinary, plan.rows.take(planned)])
        order = np.argsort(rows.time_us, kind="stable")
        rows = rows.take(order)
        from_plan = np.flatnonzero(order >= n)
        beside = order[from_plan] - n + planned.start
        known_us = np.zeros(len(rows), np.int64)
        source = np.full(len(rows), NONE, np.int8)
        fraud = np.zeros(len(rows), np.bool_)
        verdicts = plan.verdicts.take(beside)
        known_us[from_plan] = np.where(verdicts.reversed_us > 0, verdicts.reversed_us, verdicts.known_us)
        source[from_plan] = verdicts.source
        fraud[from_plan] = verdicts.fraud
        table = tables.transactions(texts, rows, first, known_us, source, fraud)

        is_ordinary = order < n
        cell = _cell(plan.world, rows)
        segment = _segment_of(plan.segments, rows)
        cells = np.bincount((segment * _CELLS + cell)[is_ordinary], minlength=plan.chances.size).reshape(plan.chances.shape)
        truth = None
        if with_truth:
            probability = plan.chances[segment, cell]
            probability[from_plan] = plan.probability[beside]
            truth = tables.truth(texts, rows, first, probability)
        # Ids of the planned rows, in the order of the plan.
        in_order = from_plan[np.argsort(beside, kind="stable")]
        return _Block(table, truth, table["transaction_id"].gather(in_order), cells)

    def _report(self, plan: _Plan, cells: Ints, files: dict[str, int] | None = None) -> Report:
        rows, verdicts = plan.rows, plan.verdicts
        bounds = []
        for outcome in (verdicts.fraud, rows.fraud):
            stratum, count = _strata(plan.world, rows, verdicts, plan.segments, outcome)
            size = np.bincount(stratum, minlength=count)
            size[: cells.size] += cells.ravel()
            positives = np.bincount(stratum[outcome], minlength=count)
            bounds.append((expected_average_precision(size, positives), expected_recall_at_precision(size, positives)))
        reported = verdicts.known_us > 0
        by_scheme = np.bincount(rows.origin[rows.fraud], minlength=len(ORIGINS))
        names = ["quiet", *ORIGINS[1:]]
        return Report(
            rows=self.transactions,
            customers=self.customers,
            merchants=self.merchants,
            days=self.days,
            known_fraud=int(verdicts.fraud.sum()),
            true_fraud=int(rows.fraud.sum()),
            by_scheme={name: int(count) for name, count in zip(names, by_scheme, strict=True) if name in (*SCHEMES, "quiet")},
            never_reported=int((rows.fraud & ~reported).sum()),
            reversed=int((verdicts.reversed_us > 0).sum()),
            sources={
                name: int(count)
                for name, count in zip(SOURCES, np.bincount(verdicts.source[reported], minlength=len(SOURCES)), strict=True)
            },
            reachable_average_precision=bounds[0][0],
            reachable_average_precision_true=bounds[1][0],
            reachable_recall_at_90_precision=bounds[0][1],
            files=files or {},
        )


def _cell(world: World, rows: Rows) -> Ints:
    """2 * (at night by the customer's clock) + (at a merchant abroad): int64 [n]."""
    people = world.customers
    hour = (rows.time_us // 60_000_000 + people.utc_offset[rows.customer]) // 60 % 24
    night = (hour - NIGHT_FROM_HOUR) % 24 < NIGHT_HOURS
    foreign = world.merchants.country[rows.merchant] != people.country[rows.customer]
    return np.asarray(2 * night + foreign, np.int64)


def _segment_of(segments: Sequence[Segment], rows: Rows) -> Ints:
    starts = np.array([s.start_us for s in segments])
    return np.asarray(np.searchsorted(starts, rows.time_us, side="right") - 1, np.int64)


def _told(rows: Rows, verdicts: Verdicts) -> NDArray[np.bool_]:
    """Rows of a run of which an earlier label was known when they happened. Rows are in time order."""
    runs = int(rows.episode.max()) + 1 if len(rows) else 0
    first = np.full(runs, np.iinfo(np.int64).max)
    labelled = (verdicts.known_us > 0) & (rows.episode >= 0)
    np.minimum.at(first, rows.episode[labelled], verdicts.known_us[labelled])
    return (rows.episode >= 0) & (rows.time_us >= first[rows.episode] if runs else np.zeros(len(rows), np.bool_))


def _strata(world: World, rows: Rows, verdicts: Verdicts, segments: Sequence[Segment], outcome: NDArray[np.bool_]) -> tuple[Ints, int]:
    """The stratum of each planned row and how many there are. The first are the cells of ordinary purchases."""
    segment = _segment_of(segments, rows)
    after = len(segments) * _CELLS
    runs = after + len(segments) * len(ORIGINS)
    stratum = np.where(rows.origin == ORDINARY, segment * _CELLS + _cell(world, rows), after + segment * len(ORIGINS) + rows.origin)
    return np.where(_told(rows, verdicts), runs + outcome, stratum), runs + 2


def _probability(world: World, rows: Rows, segments: Sequence[Segment], chances: Floats) -> Floats:
    """How likely each planned row is truly fraud, given its stratum."""
    segment = _segment_of(segments, rows)
    group = segment * len(ORIGINS) + rows.origin
    share = np.bincount(group, rows.fraud) / np.maximum(1, np.bincount(group))
    return np.where(rows.origin == ORDINARY, chances[segment, _cell(world, rows)], share[group])


def _whole(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise InputError(f"{name} = {value!r}: give a whole number from {low:,} to {high:,}", name=name, value=value)
    return int(value)


def _start(day: date | str) -> int:
    try:
        day = date.fromisoformat(day) if isinstance(day, str) else day
        us = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
    except ValueError:
        raise InputError(f"start = {day!r}: write a date like 2025-01-01", name="start", value=day) from None
    if not 1990 <= day.year <= 2090:
        raise InputError(f"start = {day}: give a day from 1990 to 2090", name="start", value=day)
    return us


def _day(us: int) -> date:
    return datetime.fromtimestamp(us / 1e6, UTC).date()

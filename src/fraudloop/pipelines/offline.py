"""What the service decided, decided again from its log alone: the fold from an empty state, the same rules, policy and bundles.

    log ─▶ records in order ─▶ fold ─▶ vectors ──▶ the same bits as those in the log?
                │                        └─▶ judge ─▶ the same decisions?
                └─ rules, policy, features, lists, bundles as they were put in force

Two things can be proved of a decision: the same bits under the build that made it, or the same outcome and scores within 1e-6 under
another one. Features are the same bits everywhere. It only reads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from fraudloop.domain.definitions import FeatureSet
from fraudloop.domain.outcome import Outcome
from fraudloop.door.identity import DEFAULT_KEY
from fraudloop.engine import force
from fraudloop.engine.build import build_id
from fraudloop.engine.deciding import NO_MODEL, NO_STATE, InForce, Judged, judge
from fraudloop.engine.loaded import Loaded, load
from fraudloop.engine.recovery import newest_first
from fraudloop.engine.state import Event, State
from fraudloop.errors import BundleError, FraudloopError, InputError, LedgerError, RefoldNeeded, SnapshotError
from fraudloop.features.fold import Vectors
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.log import Reader, segments
from fraudloop.ledger.personal import Vault
from fraudloop.ledger.records import Activated, Configured, Decision, Erased, Labelled, Profiled, Transacted, decode, kind_of
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.store import BundleStore
from fraudloop.telemetry import Progress, silent

#: Of scores that another build computed.
TOLERANCE: Final = 1e-6

BITS: Final = "the same to the last bit"
CLOSE: Final = "the same outcome, scores within 1e-6: another build"
NOTHING: Final = "not the same"

#: Payments folded together: more than the service takes at once, so that batches are seen to change nothing.
_RUN: Final = 4_096

_CONFIGURED: Final = 0
_ACTIVATED: Final = 5

#: Differences that are told in full.
FIRST: Final = 10


@dataclass(frozen=True, slots=True)
class Difference:
    """One decision that came out otherwise. values: by name of a feature or a field of the decision, (in the log, found)."""

    lsn: int
    transaction_id: str
    values: dict[str, tuple[Any, Any]]


@dataclass(slots=True)
class Comparison:
    """vectors, decisions: how many were compared. vectors_differ, decisions_differ: how many came out otherwise; bits_differ: features of
    them. unjudged: decisions that could not be made again, by why. erased: payments of erased subjects, whose vectors alone were compared. other_builds: decisions of builds that are not this one."""

    vectors: int = 0
    decisions: int = 0
    vectors_differ: int = 0
    bits_differ: int = 0
    decisions_differ: int = 0
    other_builds: int = 0
    records: int = 0
    erased: int = 0
    unjudged: dict[str, int] = field(default_factory=dict)
    first: list[Difference] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.vectors_differ or self.decisions_differ or self.unjudged)

    def text(self) -> str:
        """One line."""
        line = f"{self.vectors_differ} of {self.vectors:,} vectors differ, {self.decisions_differ} decisions differ"
        if self.unjudged:
            line += "; not judged: " + ", ".join(f"{n:,} ({why})" for why, n in self.unjudged.items())
        return line


@dataclass(frozen=True, slots=True)
class Reproduction:
    """One decision made again. features: the names of the vector. vector, outcome, fraud_score, risk_score, hits: found. proved: BITS, CLOSE
    or NOTHING. why: what stood in the way of judging, None if nothing did."""

    transaction_id: str
    lsn: int
    received_us: int
    row: Mapping[str, Any]
    logged: Decision
    features: tuple[str, ...]
    vector: tuple[float, ...]
    outcome: str | None
    fraud_score: float | None
    risk_score: float | None
    hits: tuple[str, ...]
    build: str
    proved: str
    difference: Difference | None
    why: str | None

    @property
    def ok(self) -> bool:
        return self.proved != NOTHING


def compare(data: Path, store: BundleStore, *, key: bytes = DEFAULT_KEY, since_lsn: int = 0, progress: Progress = silent) -> Comparison:
    """Fold the log of a service's data folder from an empty state, and hold every vector and decision in it to what comes out.

    since_lsn: decisions before it are folded, and not compared. LedgerError: there is no log, it is damaged, or it does not begin at 0.
    """
    found = Comparison()
    again = _Again(data, store, key)
    total = 0
    for run in again.runs():
        found.records = again.lsn
        total += len(run.records)
        progress("folding the log again", total, 0)
        chosen = [at for at, record in enumerate(run.records) if record.decision is not None and run.first_lsn[at] >= since_lsn]
        for difference in again.differences(run, chosen, found):
            if len(found.first) < FIRST:
                found.first.append(difference)
    return found


def show(data: Path, transaction_id: str) -> tuple[int, Transacted, dict[str, Any]]:
    """The LSN, the record and the row of a payment; InputError if the log does not hold it."""
    files = _files(data)
    columns: tuple[str, ...] = ()
    sought = transaction_id.encode()
    for group in Reader(files, segments(files)[0].first_lsn).read():
        for at, raw in enumerate(group.records):
            if sought in raw or kind_of(raw) == _CONFIGURED:
                record = decode(raw)
                if isinstance(record, Configured):
                    columns = tuple(record.columns)
                elif isinstance(record, Transacted) and record.row[columns.index("transaction_id") if columns else 0] == transaction_id:
                    return group.first_lsn + at, record, dict(zip(columns, record.row, strict=True))
    raise InputError(f"{transaction_id!r} is not in the log of {data}", transaction_id=transaction_id)


def reproduce(
    data: Path, store: BundleStore, transaction_id: str, *, key: bytes = DEFAULT_KEY, progress: Progress = silent
) -> Reproduction:
    """Make one decision again: the state before it from the newest snapshot that is old enough, else from the beginning of the log.

    InputError: the log does not hold the payment, or it was only absorbed.
    """
    lsn, record, row = show(data, transaction_id)
    if record.decision is None:
        raise InputError(f"{transaction_id!r} was absorbed, not decided", transaction_id=transaction_id)
    again = _Again(data, store, key, until_lsn=lsn + 1, from_snapshot=True)
    last: _Run | None = None
    for run in again.runs():
        last = run
        progress("folding the log again", again.lsn, lsn)
    assert last is not None and last.records and last.first_lsn[-1] == lsn, "the log was read up to the payment"
    at = len(last.records) - 1
    counted = Comparison()
    differences = list(again.differences(last, [at], counted))
    names = again.logged_features().names
    vector = tuple(last.vectors.values[at, again.places(last)].tolist())
    degraded = tuple(record.decision.why)
    judged = again.judged(last, [at], degraded)
    made = None if isinstance(judged, str) else judged.decisions
    why = judged if isinstance(judged, str) else None
    if differences or why:
        proved = NOTHING
    else:
        proved = BITS if record.decision.build == build_id() or _same_bits(record.decision, judged) else CLOSE
    return Reproduction(
        transaction_id, lsn, record.received_us, row, record.decision, names, vector,
        None if made is None else Outcome(int(made.outcome[0])).text,
        None if isinstance(judged, str) else _number(judged.score[0]), None if made is None else _number(made.risk_score[0]),
        () if isinstance(judged, str) else _hits(again.in_force(degraded), judged, 0), build_id(), proved, differences[0] if differences else None, why,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Run:
    """Payments that follow each other in the log with nothing between them, and their vectors, found."""

    first_lsn: list[int]
    records: list[Transacted]
    rows: list[dict[str, Any]]
    vectors: Vectors


class _Again:
    """A walk through the log that folds as it goes."""

    def __init__(self, data: Path, store: BundleStore, key: bytes, until_lsn: int | None = None, from_snapshot: bool = False) -> None:
        self.data, self.store, self.until = data, store, until_lsn
        self.files = _files(data)
        self.state, self.lsn = State(key), 0
        if from_snapshot and until_lsn is not None:
            self._restore(until_lsn, key)
        if self.lsn == 0 and (wider := self._wider()) is not None:
            self.state.wider = wider
        self._loaded: dict[str, Loaded] = {}
        self._force: dict[tuple[str, ...], InForce] = {}
        self._places: dict[tuple[str, str], list[int]] = {}
        self._secret = _secret(data)
        with contextlib.suppress(LedgerError, OSError):
            self.state.vault = Vault.open(data / "vault", make=False)

    def _restore(self, until_lsn: int, key: bytes) -> None:
        for path in newest_first(self.data / "snapshots"):
            if int(path.name) < until_lsn:
                try:
                    self.state = State.restore(path, key)
                except SnapshotError:
                    continue
                self.lsn = self.state.next_lsn
                return

    def _wider(self) -> FeatureSet | None:
        """All features that were ever active, where a later set reads what an earlier one does not keep; else None."""
        probe, union = State(), None
        for group in Reader(self.files, 0).read():
            for raw in group.records:
                if kind_of(raw) != _ACTIVATED:
                    continue
                record = decode(raw)
                if isinstance(record, Activated) and record.what == "features":
                    features = FeatureSet.from_dict(record.body)
                    union = features if union is None else union.merge(features)
                    try:
                        probe.change(record)
                    except RefoldNeeded:
                        probe = State()
                        probe.wider = union
                        probe.change(record)
        return probe.wider

    def runs(self) -> Iterator[_Run]:
        """The runs of payments, folded; between them whatever else the log says has been applied."""
        state = self.state
        begin = self.lsn
        run: list[tuple[int, Event]] = []
        for group in Reader(self.files, begin).read():
            for lsn, raw in enumerate(group.records, group.first_lsn):
                if lsn < begin:
                    continue
                if self.until is not None and lsn >= self.until:
                    break
                record = decode(raw)
                if isinstance(record, Transacted | Labelled | Profiled):
                    run.append((lsn, record))
                    self.lsn = lsn + 1
                    if len(run) == _RUN:
                        yield self._fold(run)
                        run = []
                    continue
                if run:
                    yield self._fold(run)
                    run = []
                # The vault on disk has destroyed these keys already; here nothing is written.
                if not isinstance(record, Erased):
                    state.change(record)
                if isinstance(record, Activated):
                    state.active[record.what] = (lsn, record)
                self._force.clear()
                self.lsn = lsn + 1
            if self.until is not None and self.lsn >= self.until:
                break
        if run:
            yield self._fold(run)

    def _fold(self, run: Sequence[tuple[int, Event]]) -> _Run:
        vectors = self.state.fold_in([event for _, event in run])
        paid = [(lsn, event) for lsn, event in run if isinstance(event, Transacted)]
        blind = [at for at, (_, record) in enumerate(paid) if record.decision is not None and NO_STATE in record.decision.why]
        if blind:
            # Decided while the state of the entities was gone, and absorbed into the one that was folded anew.
            found = self.state.unseen([paid[at][1] for at in blind])
            vectors.values[blind], vectors.status[blind], vectors.approximate[blind] = found.values, found.status, found.approximate
        return _Run([lsn for lsn, _ in paid], [record for _, record in paid], [self.state.row_of(record) for _, record in paid], vectors)

    # --- what was in force ---------------------------------------------------------------------------------------

    def in_force(self, why: tuple[str, ...] = ()) -> InForce:
        """As the log has it at this point; why: what was degraded then. BundleError: a bundle is not to be had."""
        if why not in self._force:
            slots = force.Slots()
            for slot in () if NO_MODEL in why else force.SLOTS:
                said = self.state.active[slot][1] if slot in self.state.active else None
                if said is not None and said.hash is not None:
                    slots = slots.put(slot, self._bundle(said.hash))
                    if slot == "canary":
                        slots = replace(slots, canary_share=force.canary_share(self.state, 0.0))
            self._force[why] = force.in_force(self.state, slots, self._secret, why)
        return self._force[why]

    def _bundle(self, name: str) -> Loaded:
        if name not in self._loaded:
            try:
                self._loaded[name] = load(self.store.get(name))
            except (FraudloopError, OSError) as error:
                kept = self.data / "last-good" / name
                if not kept.is_dir():
                    raise BundleError(f"bundle {name[:12]} cannot be used here ({error})") from error
                self._loaded[name] = load(Bundle.load(kept))
        return self._loaded[name]

    def logged_features(self) -> FeatureSet:
        """What the vectors in the log hold at this point."""
        return FeatureSet.from_dict(self.state.active["features"][1].body)

    def places(self, run: _Run) -> list[int]:
        """Which columns of the vectors found are those of the log."""
        have = self.state.features
        key = (have.hash, str(self.state.active["features"][1].hash))
        if key not in self._places:
            by_hash = {feature.hash: at for at, feature in enumerate(have.features)}
            self._places[key] = [by_hash[feature.hash] for feature in self.logged_features().features]
        return self._places[key]

    def judged(self, run: _Run, chosen: Sequence[int], why: tuple[str, ...]) -> Judged | str:
        """The chosen payments of a run, decided again; a text where that cannot be."""
        if self.state.sealing is not None and self.state.vault is None:
            return "what is personal is sealed, and the vault is not here"
        try:
            in_force = self.in_force(why)
        except BundleError as error:
            return str(error)
        at = np.array(chosen, np.int64)
        vectors = Vectors(run.vectors.values[at], run.vectors.status[at], run.vectors.approximate[at])
        return judge(in_force, [run.rows[i] for i in chosen], [run.records[i].received_us for i in chosen], vectors)

    # --- the comparison ------------------------------------------------------------------------------------------

    def differences(self, run: _Run, chosen: Sequence[int], found: Comparison) -> Iterator[Difference]:
        """Whatever of a run came out otherwise than the log has it; counted in `found`."""
        by_why: dict[tuple[str, ...] | None, list[int]] = {}
        for at in chosen:
            by_why.setdefault(None if self._erased(run, at) else tuple(_logged(run, at).why), []).append(at)
        out = [difference for why, places in by_why.items() for difference in self._differences(run, places, why, found)]
        yield from sorted(out, key=lambda difference: difference.lsn)

    def _erased(self, run: _Run, at: int) -> bool:
        """Whether the key of what is personal in a payment was destroyed: its vector can be made again, its decision not."""
        sealing = self.state.sealing
        if sealing is None or self.state.vault is None or not run.records[at].personal:
            return False
        return all(run.rows[at].get(name) is None for name in sealing.sealed)

    def _differences(self, run: _Run, chosen: Sequence[int], why: tuple[str, ...] | None, found: Comparison) -> Iterator[Difference]:
        features, places, build = self.logged_features(), self.places(run), build_id()
        values = np.ascontiguousarray(run.vectors.values[:, places])
        judged = None if why is None else self.judged(run, chosen, why)
        found.vectors += len(chosen)
        if judged is None:
            found.erased += len(chosen)
        elif isinstance(judged, str):
            found.unjudged[judged] = found.unjudged.get(judged, 0) + len(chosen)
        else:
            found.decisions += len(chosen)
        models = [] if judged is None or isinstance(judged, str) else _models(judged)
        for number, at in enumerate(chosen):
            decision = _logged(run, at)
            told: dict[str, tuple[Any, Any]] = {}
            status, approximate = int(run.vectors.status[at]), int(run.vectors.approximate[at])
            if decision.vector != values[at].tobytes() or (decision.status, decision.approximate) != (status, approximate):
                found.vectors_differ += 1
                told |= _different_features(features, decision, values[at])
                found.bits_differ += len(told)
                if decision.status != status:
                    told["window_status"] = (decision.status, status)
                if decision.approximate != approximate:
                    told["approximate"] = (decision.approximate, approximate)
            found.other_builds += decision.build != build
            if why is not None and judged is not None and not isinstance(judged, str):
                in_force = self.in_force(why)
                otherwise = _different_decision(decision, in_force, judged, models[number], number, exact=decision.build == build)
                found.decisions_differ += bool(otherwise)
                told |= otherwise
            if told:
                yield Difference(run.first_lsn[at], str(run.rows[at]["transaction_id"]), told)


def _logged(run: _Run, at: int) -> Decision:
    decision = run.records[at].decision
    assert decision is not None, "only decisions are chosen"
    return decision


def _models(judged: Judged) -> list[tuple[str, str | None]]:
    """Slot and model of each payment."""
    out: list[tuple[str, str | None]] = [("champion", None)] * len(judged.score)
    for part in judged.parts:
        for at in range(len(out)) if part.rows is None else part.rows.tolist():
            out[at] = (part.slot, part.loaded.short)
    return out


def _different_decision(
    decision: Decision, in_force: InForce, judged: Judged, model: tuple[str, str | None], at: int, *, exact: bool
) -> dict[str, tuple[Any, Any]]:
    made = judged.decisions
    pairs: dict[str, tuple[Any, Any]] = {
        "outcome": (decision.outcome, int(made.outcome[at])),
        "tier": (decision.tier, int(made.tier[at])),
        "decided": (decision.decided, int(made.decided[at])),
        "hits": (tuple(decision.hits), _hits(in_force, judged, at)),
        "slot": (decision.slot, model[0]),
        "model": (decision.model, model[1]),
        "rules": (decision.rules, in_force.acting.rules.hash[: len(decision.rules)]),
        "policy": (decision.policy, in_force.policy_hash),
    }
    out = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    for name, before, after in (
        ("fraud_score", decision.fraud_score, _number(judged.score[at])),
        ("risk_score", decision.risk_score, _number(made.risk_score[at])),
    ):
        close = before is not None and after is not None and abs(before - after) <= TOLERANCE
        if before != after and (exact or not close):
            out[name] = (before, after)
    return out


def _different_features(features: FeatureSet, decision: Decision, values: Any) -> dict[str, tuple[Any, Any]]:
    logged = np.frombuffer(decision.vector, np.float64)
    if len(logged) != len(values):
        return {"width": (len(logged), len(values))}
    bits = logged.view(np.uint64) != np.ascontiguousarray(values).view(np.uint64)
    return {features.names[at]: (float(logged[at]), float(values[at])) for at in np.flatnonzero(bits).tolist()}


def _hits(in_force: InForce, judged: Judged, at: int) -> tuple[str, ...]:
    return tuple(rule.id for number, rule in in_force.live if judged.verdicts.hits[number, at])


def _same_bits(decision: Decision, judged: Judged | str) -> bool:
    if isinstance(judged, str):
        return False
    return decision.fraud_score == _number(judged.score[0]) and decision.risk_score == _number(judged.decisions.risk_score[0])


def _number(value: Any) -> float | None:
    return None if value != value else float(value)


def _files(data: Path) -> FolderFiles:
    """The log of a data folder; LedgerError if there is none."""
    folder = data / "log"
    if not folder.is_dir():
        raise LedgerError(f"{data}: there is no log; give the folder that `fraudloop serve --data` was given")
    files = FolderFiles(folder)
    if not segments(files):
        raise LedgerError(f"{folder}: the log is empty")
    return files


def _secret(data: Path) -> bytes:
    """The key of the draws of a data folder; of a copy without it, none."""
    try:
        return bytes.fromhex((data / "draw.key").read_text("ascii").strip())
    except OSError:
        return b""

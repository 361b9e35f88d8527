"""One decision service over one log: opened, kept up with the store, changed by commands, closed. It knows no HTTP.

Service.open(...)       recover ─▶ become the writer ─▶ what a new log begins with ─▶ bundles
service.engine          asks are put there; the loop calls its `step` and `durable`
service.look()          have the aliases of the store moved? load aside, then swap between two batches
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from fraudloop.clock import Clock
from fraudloop.decisions.policy import DecisionPolicy
from fraudloop.decisions.rules import RuleSet
from fraudloop.decisions.rules import State as RuleState
from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.row import Row
from fraudloop.engine import force
from fraudloop.engine.config import ServeConfig
from fraudloop.engine.deciding import InForce, Part, decisions_of, explain, judge, reasons_of
from fraudloop.engine.engine import Command, Engine, Flushing, Limits
from fraudloop.engine.flusher import Flusher
from fraudloop.engine.loaded import Loaded, load
from fraudloop.engine.recovery import Follower, recover
from fraudloop.engine.state import State
from fraudloop.errors import FraudloopError, InputError, RefoldNeeded, StoreError, UnavailableError
from fraudloop.features.derive import obstacles
from fraudloop.features.fold import Fold
from fraudloop.features.plan import compile_plan
from fraudloop.ledger.files import Files
from fraudloop.ledger.log import Log
from fraudloop.ledger.personal import Sealing, Vault
from fraudloop.ledger.records import Activated, Changed, Configured, Reason, Record, Transacted, decode_all, encode
from fraudloop.ledger.simulated import SimulatedFiles
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.store import BundleStore
from fraudloop.telemetry import Progress, silent

#: Who is written down for what the service does by itself.
BY_ITSELF: Final = "fraudloop"


@dataclass(slots=True)
class Warming:
    """features: what the state is folded anew under. then: called once it is swapped in."""

    features: FeatureSet
    then: Callable[[], None]


@dataclass(slots=True)
class Service:
    """columns: of rows from here on. slots: what is loaded. alarms: what somebody should look at, by name, in words."""

    config: ServeConfig
    clock: Clock
    engine: Engine
    store: BundleStore
    slots: force.Slots
    secret: bytes
    units: Mapping[str, str]
    base: FeatureSet
    alarms: dict[str, str] = field(default_factory=dict)
    seen: dict[str, str | None] = field(default_factory=dict)
    #: Names of the columns of the user's own that rules may read.
    own_numbers: tuple[str, ...] = ()
    own_words: tuple[str, ...] = ()
    #: The champion before this one, at hand if a guard takes this one back.
    former: Loaded | None = None
    #: What is being folded anew for whom, and what is to be done then.
    warming: dict[str, Warming] = field(default_factory=dict)
    _explained: dict[str, Loaded] = field(default_factory=dict)

    @staticmethod
    def open(
        config: ServeConfig,
        files: Files,
        store: BundleStore,
        clock: Clock,
        wake: Callable[[int], None],
        *,
        key: bytes,
        columns: tuple[str, ...],
        units: Mapping[str, str],
        standby: Follower | None = None,
        progress: Progress = silent,
        vault: Files | None = None,
        flusher: Callable[[Log, Callable[[int, float], None], Callable[[FraudloopError], None]], Flushing] = Flusher,
    ) -> Service:
        """Become the writer of the log and be ready to decide.

        standby: a state that follows the log already; else it is recovered first. wake, flusher: see `Engine`. vault: where the keys of
        personal fields lie, None for the data folder. LedgerError: another writer
        is there, or the log is damaged. A bundle that cannot be used is an alarm, not an error: the one used last, or the fallback
        rules, decide.
        """
        follower = standby or recover(files, config.snapshots, key, progress)
        log = Log.open(files, take_over=standby is not None)
        try:
            return Service._opened(config, log, follower, store, clock, wake, columns, units, vault, flusher)
        except BaseException:
            files.close()  # or the lock would keep the next try out
            raise

    @staticmethod
    def _opened(
        config: ServeConfig, log: Log, follower: Follower, store: BundleStore, clock: Clock, wake: Callable[[int], None], columns: tuple[str, ...],
        units: Mapping[str, str], vault: Files | None, flusher: Callable[[Log, Callable[[int, float], None], Callable[[FraudloopError], None]], Flushing],
    ) -> Service:  # fmt: skip
        while follower.follow():
            pass  # what came between; the log is ours now
        state = follower.state
        assert state.next_lsn == log.next_lsn, "everything in the log is in the state"
        if config.seal:
            state.vault = Vault.open(vault or config.folder / "vault", make=state.sealing is None)
        secret = _secret(config.folder)
        base = FeatureSet.load(config.features)
        share = config.canary_share
        if "canary" in state.active:
            share = float(state.active["canary"][1].body.get("share", share))  # what was set holds until another is
        service = Service(config, clock, None, store, force.Slots(canary_share=share), secret, units, base)  # type: ignore[arg-type]
        service._load_at_start(state)
        service._begin(log, state, columns)
        in_force = service._in_force(state)
        warm(state, in_force)
        service.engine = Engine(state, log, in_force, wake, limits_of(config), flusher)
        service.engine.beside.use(in_force, service.slots.challenger)
        return service

    # --- what a log begins with ----------------------------------------------------------------------------------

    def _begin(self, log: Log, state: State, columns: tuple[str, ...]) -> None:
        """Log what is not active yet or not as it must be: columns, policy, rules, slots, features."""
        now = max(state.received_us, self.clock.now_us())
        records: list[Record] = []

        def activate(what: str, content: str | None, body: dict[str, Any], why: str) -> None:
            records.append(Activated(what, content, body, BY_ITSELF, why, now))

        sealing = Sealing.of(columns, keep_places=True) if self.config.seal else None
        if state.columns != columns or (state.sealing is None) != (sealing is None):
            sealed, hashed = ((), ()) if sealing is None else (sealing.sealed, sealing.hashed)
            records.append(Configured(columns, key_id(state.key), (), sealed, hashed))
        if "policy" not in state.active:
            policy = DecisionPolicy.load(self.config.policy)
            activate("policy", policy.hash, policy.to_dict(), "a new log")
        rules = force.rules_of(state)
        if "rules" not in state.active:
            rules = RuleSet.load(self.config.rules)
            activate("rules", rules.hash, rules.to_dict(), "a new log")
        for slot in force.SLOTS:
            loaded = getattr(self.slots, slot)
            said = state.active[slot][1].hash if slot in state.active else None
            if (loaded.hash if loaded else None) != said:
                activate(slot, loaded.hash if loaded else None, self._body_of(slot), "as the store has it")
        features = force.wanted_features(self.base, self.slots, rules)
        if "features" not in state.active:
            activate("features", features.hash, features.to_dict(), "a new log")
        else:
            features = merged(state.features, features)
            if features.hash != state.active["features"][1].hash:
                activate("features", features.hash, features.to_dict(), "what models and rules read")
        if not records:
            return
        first = log.append(log.epoch, [encode(record) for record in records])
        log.flush()
        state.note(first, records, *log.place)
        state.chain = log.digest
        for record in records:
            state.change(record)

    def _load_at_start(self, state: State) -> None:
        for slot in force.SLOTS:
            try:
                hash_now = self.store.alias(f"{self.config.name}@{slot}")
            except FraudloopError as error:
                self.alarms[f"store:{slot}"] = str(error)
                hash_now = state.active[slot][1].hash if slot in state.active else None
            self.seen[slot] = hash_now
            if hash_now is None:
                continue
            loaded = self._load(slot, hash_now)
            if loaded is None and slot in state.active and state.active[slot][1].hash not in (None, hash_now):
                loaded = self._load(slot, str(state.active[slot][1].hash))
            if loaded is not None:
                self.slots = self.slots.put(slot, loaded)

    def _load(self, slot: str, name: str) -> Loaded | None:
        """The bundle of a hash, ready; None and an alarm if it cannot be used."""
        try:
            try:
                bundle = self.store.get(name)
            except (StoreError, OSError):
                kept = self.config.folder / "last-good" / name
                if not kept.is_dir():
                    raise
                bundle = Bundle.load(kept)
            loaded = load(bundle, dict(self.units))
            if slot == "champion":
                keep_last_good(self.config.folder / "last-good", bundle)
        except (FraudloopError, OSError) as error:
            self.alarms[f"bundle:{slot}"] = f"{slot} {name[:12]} cannot be used: {error}"
            return None
        self.alarms.pop(f"bundle:{slot}", None)
        return loaded

    # --- while it runs -------------------------------------------------------------------------------------------

    def look(self) -> list[tuple[str, str | None]]:
        """The slots whose alias names another bundle than was seen last: (slot, hash). Reads three small files."""
        out: list[tuple[str, str | None]] = []
        for slot in force.SLOTS:
            try:
                now = self.store.alias(f"{self.config.name}@{slot}")
            except FraudloopError as error:
                self.alarms[f"store:{slot}"] = str(error)
                continue
            self.alarms.pop(f"store:{slot}", None)
            if now != self.seen.get(slot):
                self.seen[slot] = now
                out.append((slot, now))
        return out

    def prepare(self, slot: str, name: str | None) -> Loaded | None:
        """Load a bundle aside, check and warm it; for a thread of its own. None where the slot is to be empty or an alarm was raised."""
        return None if name is None else self._load(slot, name)

    def change_slot(self, slot: str, loaded: Loaded | None, why: str, who: str = BY_ITSELF) -> None:
        """Put what `prepare` gave into its slot between the next two batches. RefoldNeeded if it reads what the kept events do not hold."""
        slots = self.slots.put(slot, loaded)
        records = self.features_for(slots, force.rules_of(self.engine.state), who, why)
        records.append(Activated(slot, loaded.hash if loaded else None, self._body_of(slot), who, why, self.now_us()))

        def apply() -> None:
            if slot == "champion" and self.slots.champion is not None:
                self.former = self.slots.champion
            self.slots = self.slots.put(slot, loaded)
            self.refresh()

        self.command(records, apply)

    def _body_of(self, slot: str) -> dict[str, Any]:
        """What the log keeps of a slot beside its bundle."""
        return {"share": self.slots.canary_share} if slot == "canary" else {}

    def features_for(self, slots: force.Slots, rules: RuleSet, who: str, why: str) -> list[Record]:
        """The activation of the union of features that these need, if it is not active. RefoldNeeded where the kept events do not hold it."""
        state = self.engine.state
        features = merged(state.features, force.wanted_features(self.base, slots, rules))
        if features.hash == state.features.hash:
            return []
        assert state.fold is not None
        reasons = obstacles(state.fold.plan, compile_plan(features))
        if reasons or state.fold.counts()["approximate_streams"]:
            raise RefoldNeeded("the kept events do not hold all of it: " + "; ".join(reasons), features=features, reasons=reasons)
        return [Activated("features", features.hash, features.to_dict(), who, why, self.now_us())]

    def set_canary_share(self, share: float, who: str, why: str) -> None:
        """The share of customers that the canary decides, from the next batch on."""
        if not 0 < share <= 0.5:
            raise InputError(f"share = {share} must be above 0 and at most 0.5", field="share")
        loaded = self.slots.canary
        record = Activated("canary", None if loaded is None else loaded.hash, {"share": share}, who, why, self.now_us())

        def apply() -> None:
            self.slots = replace(self.slots, canary_share=share)
            self.refresh()

        self.command([record], apply)

    def guard(self) -> None:
        """Act on what goes on beside the decisions: take back what acts on too much, and a canary that is worse."""
        beside, state = self.engine.beside, self.engine.state
        trips = beside.taken()
        rules = [trip for trip in trips if trip.subject.kind == "rule"]
        if rules:
            active = force.rules_of(state)
            names = {trip.subject.name for trip in rules}
            moved = RuleSet(
                active.name, tuple(replace(rule, state=RuleState.SHADOW) if rule.id in names else rule for rule in active.rules)
            )
            records: list[Record] = [Changed("guard", trip.subject.name, "shadow", trip.text, trip.received_us) for trip in rules]
            why = "; ".join(trip.text for trip in rules)
            records.append(Activated("rules", moved.hash, moved.to_dict(), BY_ITSELF, why, self.now_us()))
            self.command(records, self.refresh)
            self.alarms.update({f"guard:{trip.subject.name}": trip.text for trip in rules})
        models = [trip for trip in trips if trip.subject.kind == "model" and self.slots.champion is not None]
        if models:
            text = "; ".join(trip.text for trip in models)
            heir = self.former if self.former is not None and self.former.hash != models[0].subject.version else None
            self.alarms["guard:model"] = f"{text}; {'the champion before it decides' if heir else 'rules alone decide'}"
            self.command([Changed("guard", "model", heir.hash if heir else "rules", text, models[0].received_us)], lambda: None)
            self.former = None
            self.change_slot("champion", heir, text)
        found = beside.comparison
        if found is not None and found.verdict == "worse" and self.slots.canary is not None:
            self.alarms["canary"] = f"canary {self.slots.canary.short} is taken back: {found.why}"
            self.roll_canary_back(found.why)

    def roll_canary_back(self, why: str) -> None:
        """Empty the canary's slot, in the store too."""
        reference = f"{self.config.name}@canary"
        self.change_slot("canary", None, why)
        try:
            self.store.set_alias(
                reference, None, expected=self.store.alias(reference), who=BY_ITSELF, why=why, at_us=self.now_us(), action="rollback"
            )
        except FraudloopError as error:
            self.alarms["store:canary"] = str(error)
        self.seen["canary"] = None

    def canary_report(self) -> dict[str, Any] | None:
        """How the canary stands beside the champion, None without one."""
        beside = self.engine.beside
        if beside.canary is None:
            return None
        return beside.canary.compare(beside.bounds).to_dict()

    # --- what was decided ----------------------------------------------------------------------------------------

    def features_of(self, plan: str) -> FeatureSet | None:
        """The features of a plan by its short hash."""
        for name, body in self.engine.state.plans.items():
            if name.startswith(plan):
                return FeatureSet.from_dict(body)
        return None

    def plan_names(self, plan: str) -> tuple[str, ...]:
        """The names of the values of a vector."""
        if plan == self.engine.in_force.plan:
            return self.engine.in_force.features.names
        found = self.features_of(plan)
        return () if found is None else found.names

    def explain(self, record: Transacted) -> list[Reason] | None:
        """The reasons of a decision whose own were deferred; None where its model is gone."""
        decision = record.decision
        assert decision is not None, "only decisions have reasons"
        if decision.model is None:
            return []
        features = self.features_of(decision.plan)
        loaded = self._by_short(decision.model)
        if features is None or loaded is None:
            return None
        values = np.frombuffer(decision.vector, np.float64).reshape(1, -1)
        row = self.engine.state.row_of(record)
        part = Part("champion", loaded, None, loaded.read(features, values, [row]))
        [told] = explain(replace(self.engine.in_force, features=features), part, np.zeros(1, np.int64), values)
        return [*decision.reasons, *told]

    def _by_short(self, short: str) -> Loaded | None:
        for loaded in (self.slots.champion, self.slots.canary, self.slots.challenger, self.former):
            if loaded is not None and loaded.short == short:
                return loaded
        if short not in self._explained:
            try:
                found = load(self.store.get(short), dict(self.units))
            except (FraudloopError, OSError):
                return None
            if len(self._explained) >= 4:
                self._explained.clear()
            self._explained[short] = found
        return self._explained[short]

    # --- folding anew --------------------------------------------------------------------------------------------

    def warm_up(self, name: str, error: RefoldNeeded, then: Callable[[], None]) -> None:
        """Have the log folded under what the kept events do not hold; `then` is called once that state is swapped in."""
        features = error.fields["features"]
        assert isinstance(features, FeatureSet), "who needs a fold says of what"
        self.warming[name] = Warming(features, then)
        self.alarms[f"warming:{name}"] = f"{name} is warming: the log is being folded anew"

    def swap(self, fold: Fold, why: str) -> None:
        """Go on with a state that was folded beside, under more features; called between two batches, with nothing missing in it."""
        state = self.engine.state
        state.use(fold)
        state.wider = fold.plan.features
        features = fold.plan.features
        record = Activated("features", features.hash, features.to_dict(), BY_ITSELF, why, self.now_us())
        self.command([record], self.refresh)
        self.refresh()

    @staticmethod
    def rehearse(config: ServeConfig, store: BundleStore, state: State, units: Mapping[str, str]) -> None:
        """What a process that stands by does beforehand: machine code and libraries are there when it has to act."""
        if state.fold is None or "policy" not in state.active:
            return
        champion = None
        try:
            name = store.alias(f"{config.name}@champion")
            champion = None if name is None else load(store.get(name), dict(units))
            warm(state, force.in_force(state, force.Slots(champion), b"rehearsal"))
        except (FraudloopError, OSError):
            return  # it is told when it acts

    def command(
        self,
        records: list[Record],
        apply: Callable[[], None],
        done: Callable[[int], None] = lambda lsn: None,
        refuse: Callable[[FraudloopError], None] = lambda error: None,
    ) -> None:
        """Have records appended and applied between the next two batches."""
        if self.engine.failed is not None:
            refuse(UnavailableError(f"the log cannot be written now ({self.engine.failed}); come again", retry_after_s=1))
            return
        self.engine.commands.append(Command(records, apply, done, refuse))

    def refresh(self) -> None:
        """Make what is in force anew, after the state or the slots changed."""
        self.engine.in_force = self._in_force(self.engine.state)
        self.engine.beside.use(self.engine.in_force, self.slots.challenger)

    def _in_force(self, state: State) -> InForce:
        why = tuple(name for name, here in (("no_model", self.slots.champion is None),) if here)
        return force.in_force(state, self.slots, self.secret, why)

    def now_us(self) -> int:
        """The wall clock, never behind the newest arrival."""
        return max(self.engine.state.received_us, self.clock.now_us())

    def close(self) -> None:
        self.engine.close()


def limits_of(config: ServeConfig) -> Limits:
    """The limits of the loop."""
    return Limits(
        config.batch_max, config.queue_max, config.queue_ms_max * 1e6, config.flush_s_max, int(config.reason_budget_ms * 1e6)
    )  # fmt: skip


def warm(state: State, in_force: InForce) -> None:
    """Decide made payments on a scratch state, so that no first customer waits for machine code."""
    scratch = State(state.key, columns=state.columns)
    scratch.use(Fold(compile_plan(state.features)))
    if state.sealing is not None:
        scratch.sealing, scratch.vault = state.sealing, Vault.open(SimulatedFiles())
    assert scratch.fold is not None
    for size in (1, 8, 40):
        rows: list[Row] = [
            {**dict.fromkeys(state.columns), "transaction_id": f"warm{at}", "timestamp": at, "customer_id": "warm", "merchant_id": "warm", "amount_minor": 1, "amount_base": 1}
            for at in range(size)
        ]  # fmt: skip
        times = list(range(size))
        events = scratch.events(rows, times)
        vectors = scratch.fold.step(events)
        judged = judge(in_force, rows, times, vectors)
        told = reasons_of(in_force, judged, vectors.values, lambda: True)
        records = scratch.records(rows, events, times, decisions_of(in_force, judged, vectors, told, times))
        decode_all([encode(record) for record in records])
        scratch.known.put(scratch.fingerprints([str(row["transaction_id"]) for row in rows]), np.arange(size))
        scratch.known.get(scratch.fingerprints(["none"]))


def merged(now: FeatureSet, wanted: FeatureSet) -> FeatureSet:
    """What is run now and what is wanted: nothing that is run is dropped, for that costs a fold and saves little."""
    return now.merge(wanted)


def key_id(key: bytes) -> str:
    """A name for a key that does not tell it."""
    return hashlib.blake2b(key, digest_size=8).hexdigest()


def keep_last_good(folder: Path, bundle: Bundle) -> None:
    """A copy of the champion beside the log, for a day on which the store is away; older copies go."""
    target = folder / bundle.hash
    if not target.is_dir():
        bundle.save(target)
    for other in folder.iterdir():
        if other.name != bundle.hash and not other.name.startswith("."):
            shutil.rmtree(other, ignore_errors=True)


def _secret(folder: Path) -> bytes:
    """The key of the draws, made once: who could choose it could choose who is let through."""
    path = folder / "draw.key"
    try:
        return bytes.fromhex(path.read_text("ascii").strip())
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
        secret = os.urandom(32)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secret.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        return secret

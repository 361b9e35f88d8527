"""One decision service over one log: opened, kept up with the store, changed by commands, closed. It knows no HTTP.

Service.open(...)       recover ─▶ become the writer ─▶ what a new log begins with ─▶ bundles
service.engine          asks are put there; the loop calls its `step` and `durable`
service.look()          have the aliases of the store moved? load aside, then swap between two batches
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Set
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
from fraudloop.engine import counts, force
from fraudloop.engine.beside import version_of
from fraudloop.engine.config import ServeConfig
from fraudloop.engine.deciding import NO_MODEL, NO_STATE, InForce, Part, decisions_of, explain, judge, reasons_of
from fraudloop.engine.engine import Command, Engine, Flushing, Limits
from fraudloop.engine.flusher import Flusher
from fraudloop.engine.loaded import Loaded, load
from fraudloop.engine.recovery import Follower, caught_up, recover, refold
from fraudloop.engine.state import State
from fraudloop.errors import (
    BundleError,
    DefinitionError,
    FraudloopError,
    InputError,
    RefoldNeeded,
    StoreConflict,
    StoreError,
    UnavailableError,
)
from fraudloop.features.derive import obstacles
from fraudloop.features.fold import Fold
from fraudloop.features.plan import compile_plan
from fraudloop.ledger.files import Files
from fraudloop.ledger.log import Log
from fraudloop.ledger.personal import Sealing, Vault, subject_of
from fraudloop.ledger.records import (
    Activated,
    Changed,
    Configured,
    Erased,
    Labelled,
    Reason,
    Record,
    Transacted,
    decode,
    decode_all,
    encode,
)
from fraudloop.ledger.simulated import SimulatedFiles
from fraudloop.limits import LOG_AHEAD_BYTES, STORE_TEXT_CHARACTERS_MAX
from fraudloop.monitoring.guard import Trip
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.store import BundleStore
from fraudloop.telemetry import Progress, silent

#: Who is written down for what the service does by itself.
BY_ITSELF: Final = "fraudloop"

#: A bundle that could not be used is tried again after so long: its files may have been mended, or its disk be back.
_AGAIN_S: Final = 5.0


@dataclass(slots=True)
class Warming:
    """features: what the state is folded anew under. then: called once it is swapped in."""

    features: FeatureSet
    then: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Move:
    """What an alias of the store is to name, if it still names `before`."""

    slot: str
    before: str
    after: str | None
    why: str


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
    #: Aliases of the store that have yet to follow what was done here.
    moves: deque[Move] = field(default_factory=deque)
    #: The champion before this one, at hand if a guard takes this one back.
    former: Loaded | None = None
    #: What is being folded anew for whom, and what is to be done then.
    warming: dict[str, Warming] = field(default_factory=dict)
    _former_sought: bool = False
    #: When a bundle that could not be used was tried last, by slot.
    _tried: dict[str, float] = field(default_factory=dict)
    _explained: dict[str, Loaded] = field(default_factory=dict)
    _erasing: set[asyncio.Task[None]] = field(default_factory=set)

    @staticmethod
    def open(
        config: ServeConfig,
        files: Files,
        store: BundleStore,
        clock: Clock,
        wake: Callable[[int], None],
        *,
        key: bytes,
        columns: Mapping[str, str],
        units: Mapping[str, str],
        types: Mapping[str, str] | None = None,
        standby: Follower | None = None,
        progress: Progress = silent,
        vault: Files | None = None,
        flusher: Callable[[Log, Callable[[int, float], None], Callable[[FraudloopError], None]], Flushing] = Flusher,
    ) -> Service:
        """Become the writer of the log and be ready to decide.

        columns: of canonical rows, with their types. standby: a state that follows the log already; else it is recovered first. wake, flusher:
        see `Engine`. vault: where the keys of personal fields lie, None for the data folder. LedgerError: another writer is there, or the
        log is damaged. A bundle that cannot be used is an alarm, not an error: the one used last, or the fallback rules, decide.
        """
        follower = standby or recover(files, config.snapshots, key, progress)
        log = Log.open(files, take_over=standby is not None, ahead_bytes=LOG_AHEAD_BYTES)
        try:
            return Service._opened(config, files, log, follower, store, clock, wake, key, columns, units, vault, flusher, progress)
        except BaseException:
            files.close()  # or the lock would keep the next try out
            raise

    @staticmethod
    def _opened(
        config: ServeConfig, files: Files, log: Log, follower: Follower, store: BundleStore, clock: Clock, wake: Callable[[int], None], key: bytes,
        columns: Mapping[str, str], units: Mapping[str, str], vault: Files | None,
        flusher: Callable[[Log, Callable[[int, float], None], Callable[[FraudloopError], None]], Flushing], progress: Progress,
    ) -> Service:  # fmt: skip
        follower = caught_up(follower, config.snapshots, progress)  # what came between; the log is ours now
        state = follower.state
        assert state.next_lsn == log.next_lsn, "everything in the log is in the state"
        base = FeatureSet.load(config.features)
        if state.fold is not None:
            always = merged(state.features, force.wanted_features(base, force.Slots(), force.rules_of(state), columns))
            if not_held(state, always):
                state = refold(files, always, key, progress).state
        if config.seal:
            state.vault = Vault.open(vault or config.folder / "vault", make=state.sealing is None)
            state.complete_erasures()
        secret = _secret(config.folder)
        slots = force.Slots(canary_share=force.canary_share(state, config.canary_share))
        service = Service(config, clock, None, store, slots, secret, units, base)  # type: ignore[arg-type]
        service._load_at_start(state, columns)
        service._begin(log, state, columns)
        in_force = service._in_force(state)
        warm(state, in_force)
        service.engine = Engine(state, log, in_force, wake, limits_of(config), flusher)
        beside = service.engine.beside
        beside.bounds, beside.limits, beside.theirs = config.canary.bounds, config.guard, config.observed_field
        beside.shadow_batches_max = config.shadow_batches_max
        beside.use(in_force, service.slots.challenger, state.next_lsn)
        anew = counts.recall(config.counts, beside, state.next_lsn, state.received_us)
        if anew is not None:
            service.alarms["counts"] = anew
        return service

    @staticmethod
    def blind(
        old: Service,
        files: Files,
        wake: Callable[[int], None],
        flusher: Callable[[Log, Callable[[int, float], None], Callable[[FraudloopError], None]], Flushing] = Flusher,
    ) -> Service:
        """Open the log of a service that has ended its epoch anew, and go on without the state of the entities until it is `restored`.

        Ids, lists, and what is in force are those of the service before, as far as the log has them. UnavailableError: something was being
        changed when the epoch ended, so only the log itself tells what holds; LedgerError as in `open`.
        """
        engine, state = old.engine, old.engine.state
        if engine.unsure or state.fold is None:
            raise UnavailableError("something was being changed when the log's epoch ended")
        log = Log.open(files, ahead_bytes=LOG_AHEAD_BYTES)
        if log.next_lsn > state.next_lsn:
            files.close()
            raise UnavailableError("the log holds more than the state knew of")
        try:
            state.lose(log.next_lsn)
            record = Changed("state", "entities", "gone", str(engine.failed or ""), max(state.received_us, old.clock.now_us()))
            first = log.append(log.epoch, [encode(record)])
            log.flush()
            state.note(first, [record], *log.place)
            state.chain = log.digest
            service = replace(old, alarms=dict(old.alarms))
            in_force = service._in_force(state)
            service.engine = Engine(state, log, in_force, wake, limits_of(old.config), flusher)
            service.engine.counters, service.engine.beside, service.engine.defect = engine.counters, engine.beside, engine.defect
            service.engine.beside.use(in_force, service.slots.challenger, state.next_lsn)
            return service
        except BaseException:
            files.close()  # or the lock would keep the next try out
            raise

    def restored(self, state: State) -> None:
        """Go on with the state that was folded anew beside; called between two batches, with nothing missing in it."""
        engine = self.engine
        assert engine.state.gone and state.next_lsn == engine.log.next_lsn, "nothing is missing"
        state.vault, state.first_lsn = engine.state.vault, max(state.first_lsn, engine.state.first_lsn)
        now = self.now_us()
        records: list[Record] = [Changed("state", "entities", "there", "folded anew", now)]
        if state.features.hash != state.active["features"][1].hash:
            records.append(Activated("features", state.features.hash, state.features.to_dict(), BY_ITSELF, "folded anew", now))
        engine.state = state
        self.refresh()
        self.command(lambda: records, self.refresh)

    # --- what a log begins with ----------------------------------------------------------------------------------

    def _begin(self, log: Log, state: State, columns: Mapping[str, str]) -> None:
        """Log what is not active yet or not as it must be: columns, mode, policy, rules, slots, features."""
        now = max(state.received_us, self.clock.now_us())
        records: list[Record] = []

        def activate(what: str, content: str | None, body: dict[str, Any], why: str) -> None:
            records.append(Activated(what, content, body, BY_ITSELF, why, now))

        names, types = tuple(columns), tuple(columns.values())
        sealing = Sealing.of(names, keep_places=True) if self.config.seal else None
        if (state.columns, state.types) != (names, types) or (state.sealing is None) != (sealing is None):
            sealed, hashed = ((), ()) if sealing is None else (sealing.sealed, sealing.hashed)
            records.append(Configured(names, key_id(state.key), types, sealed, hashed))
        if self.config.observe != force.observes(state):
            mode = force.OBSERVE if self.config.observe else force.DECIDE
            activate("mode", mode, {}, "as the service was started")
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
                activate(slot, loaded.hash if loaded else None, self._slot_body(slot), "as the store has it")
        features = force.wanted_features(self.base, self.slots, rules, columns)
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

    def _load_at_start(self, state: State, columns: Mapping[str, str]) -> None:
        for slot in force.SLOTS:
            said = state.active[slot][1] if slot in state.active else None
            logged = None if said is None else said.hash
            try:
                named = self._alias(slot, logged)
            except FraudloopError as error:
                self.alarms[f"store:{slot}"] = str(error)
                named = logged
            self.seen[slot] = named
            if named is not None and said is not None and said.body.get("taken_back") == named:
                self.alarms["guard:model"] = f"{slot} {named[:12]} was taken back: {said.why}"
                named = logged
            if named is None:
                continue
            for name in dict.fromkeys((named, logged)):
                loaded = None if name is None else self._load(slot, name)
                if loaded is None:
                    continue
                try:
                    wanted = force.wanted_features(self.base, self.slots.put(slot, loaded), force.rules_of(state), columns)
                    held = state.fold is None or not not_held(state, merged(state.features, wanted))
                except DefinitionError as error:
                    self.alarms[f"bundle:{slot}"] = f"{slot} {loaded.hash[:12]} cannot be used: {error}"
                    continue
                if held:
                    self.slots = self.slots.put(slot, loaded)
                    break
                self.seen[slot] = logged  # it is seen to have moved, and warmed

    def _alias(self, slot: str, held: str | None) -> str | None:
        """What the store names for a slot. held: what was there last; StoreError if something was, and the store is away."""
        if held is not None and not self.store.is_there:
            raise StoreError(f"{self.store.root}: the store is not there; what was used last goes on")
        return self.store.alias(f"{self.config.name}@{slot}")

    def _load(self, slot: str, name: str) -> Loaded | None:
        """The bundle of a hash, ready; None and an alarm if it cannot be used."""
        try:
            bundle = self._bundle(name)
            loaded = load(bundle, dict(self.units))
            if slot == "champion":
                keep = {one.hash for one in (self.slots.champion, self.former) if one is not None}
                keep_last_good(self.config.folder / "last-good", bundle, keep)
        except (FraudloopError, OSError) as error:
            self.alarms[f"bundle:{slot}"] = f"{slot} {name[:12]} cannot be used: {error}"
            self._tried[slot] = time.monotonic()
            return None
        self.alarms.pop(f"bundle:{slot}", None)
        return loaded

    def _bundle(self, name: str) -> Bundle:
        """From the store, else the copy beside the log."""
        try:
            return self.store.get(name)
        except (FraudloopError, OSError):
            kept = self.config.folder / "last-good" / name
            if not kept.is_dir():
                raise
            bundle = Bundle.load(kept)
            if bundle.hash != name:
                raise BundleError(f"{kept}: holds the bundle {bundle.hash[:12]}, not the one of its name") from None
            return bundle

    # --- while it runs -------------------------------------------------------------------------------------------

    def look(self) -> list[tuple[str, str | None]]:
        """The slots whose alias names another bundle than was seen last, or one that could not be used some time ago: (slot, hash).
        Reads three small files. Moves of aliases that are due are made first."""
        while self.moves and self._move(self.moves[0]):
            self.moves.popleft()
        out: list[tuple[str, str | None]] = []
        for slot in force.SLOTS:
            try:
                now = self._alias(slot, self.seen.get(slot))
            except FraudloopError as error:
                self.alarms[f"store:{slot}"] = str(error)
                continue
            self.alarms.pop(f"store:{slot}", None)
            again = f"bundle:{slot}" in self.alarms and time.monotonic() - self._tried.get(slot, 0.0) > _AGAIN_S
            if now != self.seen.get(slot) or again:
                self.seen[slot] = now
                out.append((slot, now))
        return out

    def _move(self, move: Move) -> bool:
        """Let an alias of the store follow what was done here; False if that has to wait."""
        reference = f"{self.config.name}@{move.slot}"
        try:
            now = self.store.alias(reference)
            if now == move.before:
                self.store.set_alias(
                    reference, move.after, expected=now, who=BY_ITSELF, why=move.why[:STORE_TEXT_CHARACTERS_MAX], at_us=self.now_us(), action="rollback"
                )  # fmt: skip
                self.seen[move.slot] = move.after
        except StoreConflict:
            return True  # somebody else has moved it meanwhile: that is followed
        except FraudloopError as error:
            self.alarms[f"store:{move.slot}"] = str(error)
            return False
        return True

    def prepare(self, slot: str, name: str | None) -> Loaded | None:
        """Load a bundle aside, check and warm it; for a thread of its own. None where the slot is to be empty or an alarm was raised."""
        if name is None:
            self.alarms.pop(f"bundle:{slot}", None)
            return None
        return self._load(slot, name)

    def find_former(self) -> None:
        """Have the champion before this one at hand, for a thread of its own: a guard may take this one back at any time."""
        if self._former_sought or self.slots.champion is None or self.former is not None:
            return
        self._former_sought = True
        try:
            name = self.store.previous(f"{self.config.name}@champion")
            if name is not None and name != self.slots.champion.hash:
                self.former = load(self.store.get(name), dict(self.units))
        except (FraudloopError, OSError):
            return  # then rules alone decide

    def change_slot(
        self, slot: str, loaded: Loaded | None, why: str, who: str = BY_ITSELF, refuse: Callable[[FraudloopError], None] | None = None
    ) -> None:
        """Put what `prepare` gave into its slot between the next two batches.

        refuse: RefoldNeeded if it reads what the kept events do not hold, DefinitionError if it means something else by a name than
        another one; without it an alarm is raised.
        """

        def make() -> list[Record]:
            now = getattr(self.slots, slot)
            if (None if now is None else now.hash) == (None if loaded is None else loaded.hash):
                return []
            records = self.features_for(self.slots.put(slot, loaded), force.rules_of(self.engine.state), who, why)
            records.append(Activated(slot, loaded.hash if loaded else None, self._slot_body(slot), who, why, self.now_us()))
            return records

        def apply() -> None:
            now = getattr(self.slots, slot)
            if (None if now is None else now.hash) == (None if loaded is None else loaded.hash):
                return
            if slot == "champion" and now is not None:
                self.former = now
            for name in ("guard:model",) if slot == "champion" else ("canary",) if slot == "canary" and loaded is not None else ():
                self.alarms.pop(name, None)
            self.slots = self.slots.put(slot, loaded)
            self.refresh()

        def alarm(error: FraudloopError) -> None:
            self.alarms[f"bundle:{slot}"] = f"{slot} {loaded.short if loaded else 'empty'} cannot be used: {error}"
            self._tried[slot] = time.monotonic()

        self.command(make, apply, refuse=refuse or alarm)

    def _slot_body(self, slot: str) -> dict[str, Any]:
        return {"share": self.slots.canary_share} if slot == "canary" else {}

    def features_for(self, slots: force.Slots, rules: RuleSet, who: str, why: str) -> list[Record]:
        """The activation of the union of features that these need, if it is not active. RefoldNeeded where the kept events do not hold it."""
        state = self.engine.state
        features = merged(state.features, force.wanted_features(self.base, slots, rules, state.columns))
        if features.hash == state.features.hash:
            return []
        reasons = not_held(state, features)
        if reasons:
            raise RefoldNeeded("the kept events do not hold all of it: " + "; ".join(reasons), features=features, reasons=reasons)
        return [Activated("features", features.hash, features.to_dict(), who, why, self.now_us())]

    def set_canary_share(self, share: float, who: str, why: str) -> None:
        """The share of customers that the canary decides, from the next batch on."""
        check_share(share)

        def make() -> list[Record]:
            loaded = self.slots.canary
            return [Activated("canary", None if loaded is None else loaded.hash, {"share": share}, who, why, self.now_us())]

        def apply() -> None:
            self.slots = replace(self.slots, canary_share=share)
            self.refresh()

        self.command(make, apply)

    def guard(self) -> None:
        """Act on what goes on beside the decisions: take back what acts on too much, and a canary that is worse.

        While another system decides nothing acts, so nothing is taken back: it is told.
        """
        beside = self.engine.beside
        trips = beside.taken()
        for trip in trips:
            self.alarms["guard:model" if trip.subject.kind == "model" else f"guard:{trip.subject.name}"] = trip.text
        if self.engine.in_force.observe:
            return
        rules = [trip for trip in trips if trip.subject.kind == "rule"]
        if rules:
            self._take_back_rules(rules)
        models = [trip for trip in trips if trip.subject.kind == "model"]
        if models:
            self._take_back_champion(models)
        found = beside.comparison
        if found is not None and found.verdict == "worse" and self.slots.canary is not None:
            beside.comparison = None
            self._take_back_canary(self.slots.canary, found.why)

    def counted(self) -> bytes:
        """What was counted beside the decisions, as `config.counts` keeps it."""
        return counts.encoded(self.engine.beside, self.engine.log.durable_lsn)

    def clear_guards(self) -> None:
        """Somebody has published rules: what guards said of those before is done with."""
        for name in [name for name in self.alarms if (name.startswith("guard:") and name != "guard:model") or name == "rules"]:
            del self.alarms[name]

    def _take_back_rules(self, trips: list[Trip]) -> None:
        versions = {trip.subject.name: trip.subject.version for trip in trips}

        def make() -> list[Record]:
            active = force.rules_of(self.engine.state)
            # One that was changed meanwhile is another rule.
            taken = {rule.id for rule in active.rules if rule.state is RuleState.LIVE and versions.get(rule.id) == version_of(rule)}
            told = [trip for trip in trips if trip.subject.name in taken]
            if not told:
                return []
            moved = RuleSet(
                active.name, tuple(replace(rule, state=RuleState.SHADOW) if rule.id in taken else rule for rule in active.rules)
            )
            records: list[Record] = [Changed("guard", trip.subject.name, "shadow", trip.text, trip.received_us) for trip in told]
            why = "; ".join(trip.text for trip in told)
            return [*records, Activated("rules", moved.hash, moved.to_dict(), BY_ITSELF, why, self.now_us())]

        self.command(make, self.refresh)

    def _take_back_champion(self, trips: list[Trip]) -> None:
        text, version = "; ".join(trip.text for trip in trips), trips[0].subject.version
        chosen: list[Loaded | None] = []

        def make() -> list[Record]:
            if self.slots.champion is None or self.slots.champion.hash != version:
                return []
            heir, features = self.former, list[Record]()
            try:
                if heir is not None:
                    slots = self.slots.put("champion", heir)
                    features = self.features_for(slots, force.rules_of(self.engine.state), BY_ITSELF, text)
            except FraudloopError:
                heir = None
            chosen.append(heir)
            name = None if heir is None else heir.hash
            return [
                Changed("guard", "model", name or "rules", text, trips[0].received_us),
                *features,
                Activated("champion", name, {"taken_back": version}, BY_ITSELF, text, self.now_us()),
            ]

        def apply() -> None:
            if not chosen:
                return
            [heir] = chosen
            self.alarms["guard:model"] = f"{text}; {'the champion before it decides' if heir else 'rules alone decide'}"
            self.former = None
            self.slots = self.slots.put("champion", heir)
            self.moves.append(Move("champion", version, None if heir is None else heir.hash, text))
            self.refresh()

        self.command(make, apply)

    def _take_back_canary(self, canary: Loaded, why: str) -> None:
        def here() -> bool:
            return self.slots.canary is not None and self.slots.canary.hash == canary.hash

        def make() -> list[Record]:
            if not here():
                return []
            body = {**self._slot_body("canary"), "taken_back": canary.hash}
            now = self.now_us()
            return [Changed("guard", "canary", "empty", why, now), Activated("canary", None, body, BY_ITSELF, why, now)]

        def apply() -> None:
            if not here():
                return
            self.alarms["canary"] = f"canary {canary.short} was taken back: {why}"
            self.slots = self.slots.put("canary", None)
            self.moves.append(Move("canary", canary.hash, None, why))
            self.refresh()

        self.command(make, apply)

    def label_noted(self, label: Labelled, *, first: bool) -> None:
        """A label is in force: what is counted beside the decisions hears of it. first: its payment had none before."""
        engine, state = self.engine, self.engine.state
        if engine.beside.canary is None and not engine.in_force.observe:
            return
        payment = decode(state.positions.read(engine.log.files, label.lsn))
        if isinstance(payment, Transacted) and payment.decision is not None:
            engine.beside.label(engine.in_force, label, label.lsn, state.row_of(payment), payment.decision, first=first)

    def canary_report(self) -> dict[str, Any] | None:
        """How the canary stands beside the champion, None without one."""
        beside = self.engine.beside
        if beside.canary is None:
            return None
        return {"share": beside.canary.share, **beside.canary.compare(beside.bounds).to_dict()}

    def shadow_report(self) -> dict[str, Any] | None:
        """How far the challenger agrees with what was decided, None without one."""
        beside = self.engine.beside
        if beside.challenger is None:
            return None
        return {
            "hash": beside.challenger.hash,
            "waiting": len(beside.shadow),
            "dropped": beside.shadow_dropped,
            **beside.agreement.to_dict(),
        }

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

    # --- erasing -------------------------------------------------------------------------------------------------

    def erase(
        self, column: str, text: str, who: str, why: str, done: Callable[[int], None], refuse: Callable[[FraudloopError], None]
    ) -> None:
        """Make the personal fields of a subject unreadable for good: the log says so first, and once that is on disk its key goes, in a
        thread, for it is a write to disk. done(lsn): it is gone. Doing it again erases what came since. InputError: nothing is sealed here."""
        state = self.engine.state
        vault = state.vault
        if vault is None or state.sealing is None:
            raise InputError("the records of this log are not sealed, so nobody can be erased from it")
        subject = subject_of(column, text, state.key)
        generation = vault.generation(subject)
        while (subject.tobytes(), generation) in state.erased:
            generation += 1  # one that is on its way
        record = Erased(subject.tobytes(), generation, who, why, self.now_us())
        loop = asyncio.get_running_loop()

        async def destroy(lsn: int) -> None:
            try:
                await loop.run_in_executor(None, vault.erase, subject, generation)
            except (FraudloopError, OSError) as error:
                self.alarms["erase"] = f"the vault cannot be written ({error}); a restart completes what the log says was erased"
                refuse(
                    UnavailableError(
                        f"the log says so at LSN {lsn}, but the vault cannot be written ({error}); erase again", retry_after_s=5
                    )
                )
                return
            done(lsn)

        def noted(lsn: int) -> None:
            task = loop.create_task(destroy(lsn))
            self._erasing.add(task)
            task.add_done_callback(self._erasing.discard)

        self.command(lambda: [record], lambda: None, noted, refuse)

    # --- folding anew --------------------------------------------------------------------------------------------

    def warm_up(self, name: str, error: RefoldNeeded, then: Callable[[], None]) -> None:
        """Have the log folded under what the kept events do not hold; `then` is called once that state is swapped in."""
        features = error.fields["features"]
        assert isinstance(features, FeatureSet), "who needs a fold says of what"
        self.forget_warming(name.partition(" ")[0])
        self.warming[name] = Warming(features, then)
        self.alarms[f"warming:{name}"] = f"{name} is warming: the log is being folded anew"

    def forget_warming(self, kind: str) -> None:
        """What waits for a slot, or for rules, is no longer wanted."""
        for name in [name for name in self.warming if name.partition(" ")[0] == kind]:
            del self.warming[name]
            self.alarms.pop(f"warming:{name}", None)

    def swap(self, fold: Fold, why: str) -> None:
        """Go on with a state that was folded beside, under more features; called between two batches, with nothing missing in it."""
        state = self.engine.state
        state.use(fold)
        state.wider = fold.plan.features
        features = fold.plan.features
        record = Activated("features", features.hash, features.to_dict(), BY_ITSELF, why, self.now_us())
        self.refresh()
        self.command(lambda: [record], self.refresh)

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
        make: Callable[[], Sequence[Record]],
        apply: Callable[[], None],
        done: Callable[[int], None] = lambda lsn: None,
        refuse: Callable[[FraudloopError], None] = lambda error: None,
    ) -> None:
        """Have records appended and applied between the next two batches; see `engine.Command`."""
        if self.engine.failed is not None:
            refuse(UnavailableError(f"the log cannot be written now ({self.engine.failed}); come again", retry_after_s=1))
            return
        self.engine.commands.append(Command(make, apply, done, refuse))

    def refresh(self) -> None:
        """Make what is in force anew, after the state or the slots changed."""
        self.engine.in_force = self._in_force(self.engine.state)
        self.engine.beside.use(self.engine.in_force, self.slots.challenger, self.engine.state.next_lsn)

    def _in_force(self, state: State) -> InForce:
        why = tuple(name for name, here in ((NO_MODEL, self.slots.champion is None), (NO_STATE, state.gone)) if here)
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
    if state.sealing is not None:
        scratch.sealing, scratch.vault = state.sealing, Vault.open(SimulatedFiles())
    scratch.use(Fold(compile_plan(state.features)))
    assert scratch.fold is not None
    for size in (1, 8, 40):
        rows: list[Row] = [
            {**dict.fromkeys(state.columns), "transaction_id": f"warm{at}", "timestamp": at, "customer_id": "warm", "merchant_id": "warm", "amount_minor": 1, "amount_base": 1}
            for at in range(size)
        ]  # fmt: skip
        times, hashes = list(range(size)), scratch.hashes(rows)
        events = scratch.events(rows, times, hashes)
        vectors = scratch.fold.step(events)
        judged = judge(in_force, rows, times, vectors)
        told = reasons_of(in_force, judged, vectors.values, len(rows))
        records = scratch.records(rows, times, decisions_of(in_force, judged, vectors, told, times), hashes)
        decode_all([encode(record) for record in records])
        scratch.known.put(scratch.fingerprints_in(hashes), np.arange(size))
        scratch.known.get(scratch.fingerprints(["none"]))


def merged(now: FeatureSet, wanted: FeatureSet) -> FeatureSet:
    """What is run now and what is wanted: nothing that is run is dropped, for that costs a fold and saves little."""
    return now.merge(wanted)


def key_id(key: bytes) -> str:
    """A name for a key that does not tell it."""
    return hashlib.blake2b(key, digest_size=8).hexdigest()


def not_held(state: State, features: FeatureSet) -> list[str]:
    """Why the state cannot be derived for these features from the events that it keeps; empty where it can."""
    assert state.fold is not None, "features are active"
    if features.hash == state.features.hash:
        return []
    reasons = obstacles(state.fold.plan, compile_plan(features))
    if state.fold.counts()["approximate_streams"]:
        reasons.append("a key is beyond the exact bound, so its events are no longer kept")
    return reasons


def check_share(share: float) -> None:
    """InputError unless it can be the share of a canary."""
    if not 0 < share <= 0.5:
        raise InputError(f"share = {share} must be above 0 and at most 0.5", field="share")


def keep_last_good(folder: Path, bundle: Bundle, keep: Set[str] = frozenset()) -> None:
    """A copy of the champion beside the log, for a day on which the store is away; older copies go, but for those of `keep`."""
    target = folder / bundle.hash
    if not target.is_dir():
        bundle.save(target)
    for other in folder.iterdir():
        if other.name != bundle.hash and other.name not in keep and not other.name.startswith("."):
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

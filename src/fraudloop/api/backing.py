"""What the routes stand on: the service of this process asked and changed in the terms of the HTTP surface. It knows no connection."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.api.absorb import Noted
from fraudloop.api.metrics import BATCH, FLUSH_S, BesideStats, EngineStats, FeatureStats, Histogram
from fraudloop.api.problems import FieldError, at_fault, refused
from fraudloop.api.scorer import Found
from fraudloop.api.wire import Commanded, Health
from fraudloop.control import lists, policy, rules
from fraudloop.control.change import Change
from fraudloop.control.lists import Entry
from fraudloop.decisions.entries import COLUMNS
from fraudloop.decisions.lists import NamedList, shipped_lists
from fraudloop.decisions.policy import DecisionPolicy
from fraudloop.decisions.rules import RuleSet
from fraudloop.door.label import admit_label
from fraudloop.door.pan import TokenKey, holds_pan
from fraudloop.door.profile import admit_profile
from fraudloop.engine import force, intake
from fraudloop.engine.loaded import Loaded
from fraudloop.engine.service import Service, check_share
from fraudloop.errors import FraudloopError, InputError, NotFoundError, RefoldNeeded, RefusedError
from fraudloop.ledger.records import Activated, Labelled, Reason, Record
from fraudloop.scoring.inputs import Inputs

Floats = NDArray[np.float64]

#: Features are counted over one in so many batches' rows: what drifts does so over days.
_SLOT_NAMES: Final = ("champion", "canary", "challenger")


class Predicting:
    """The champion as `/predict` asks it: rows of its own inputs, without any state."""

    def __init__(self, loaded: Loaded, threshold: float) -> None:
        self._loaded = loaded
        self.version = loaded.short
        self.numbers: Sequence[str] = loaded.model.numbers
        self.words: Sequence[str] = loaded.model.words
        self.threshold = threshold

    def score(self, values: Floats, words: Mapping[str, Sequence[str | None]]) -> Floats:
        """Calibrated probabilities [n]."""
        return self._loaded.model.score(Inputs(tuple(self.numbers), values, words))


class Backing:
    """The service behind the routes. poke: called when there is something for the loop to do."""

    def __init__(self, service: Service, tokens: TokenKey, poke: Callable[[], None]) -> None:
        self.service, self._tokens, self._poke = service, tokens, poke
        self._predicting: Predicting | None = None
        #: Of the log on disk, as the worker said last.
        self.log_bytes = 0

    # --- asked ---------------------------------------------------------------------------------------------------

    def health(self) -> Health:
        """How the service is."""
        service, engine = self.service, self.service.engine
        why = [*engine.in_force.why, *service.alarms]
        failed = engine.failed
        if failed is not None and "log" not in why:
            why.insert(0, "log")
        if engine.defect is not None and "defect" not in why:
            why.append("defect")
        since = engine.flusher.since
        lag = max(
            time.monotonic() - since if since else 0.0,
            (time.perf_counter_ns() - engine.queue[0].arrived_ns) * 1e-9 if engine.queue else 0.0,
        )
        return Health(
            True,
            failed is None and engine.halted is None,
            bool(why),
            why,
            "active",
            engine.log.durable_lsn,
            len(engine.queue),
            lag * 1e3,
            engine.in_force.build,
            os.getpid(),
        )

    def stats(self) -> EngineStats:
        """What the engine counts."""
        engine, state = self.service.engine, self.service.engine.state
        c = engine.counters
        entries: dict[str, int] = {}
        for entry in state.entries:
            entries[entry.list] = entries.get(entry.list, 0) + 1
        active = {what: record.hash for what, (_, record) in state.active.items() if record.hash}
        names = engine.in_force.features.names
        features = {
            name: FeatureStats(int(c.feature_values[at]), int(c.feature_rows - c.feature_values[at]), float(c.feature_totals[at]), float(c.feature_squares[at]))
            for at, name in enumerate(names)
            if at < len(c.feature_values)
        }  # fmt: skip
        return EngineStats(
            role="active", ready=engine.failed is None and engine.halted is None, modes=self.health().why, queue=len(engine.queue), queue_max=engine.limits.queue_max, lsn=engine.log.next_lsn,
            durable_lsn=engine.log.durable_lsn, batches=c.batches, decided=c.decided, absorbed=c.absorbed, repeated=c.repeated, conflicts=c.conflicts, shed=c.shed,
            deferred=c.deferred, batch=Histogram(BATCH, c.batch_sizes.tolist(), float(c.decided)), flush_s=Histogram(FLUSH_S, c.flushes.tolist(), c.flush_s),
            phases_s={name: spent / 1e9 for name, spent in c.phases_ns.items()}, features=features, unknown=dict(c.unknown), slots={k: str(v) for k, v in active.items()},
            labels=dict(c.labels), entries=entries, beside=self._beside(), state_bytes=0 if state.fold is None else state.fold.size_bytes(), log_bytes=self.log_bytes,
        )  # fmt: skip

    def _beside(self) -> BesideStats:
        beside, service = self.service.engine.beside, self.service
        found = None if beside.canary is None else beside.canary.compare(beside.bounds)
        agreement = beside.agreement.to_dict()
        return BesideStats(
            guards=[(g["kind"], g["name"], str(g["window_s"]), g["acted"] / g["payments"] if g["payments"] else 0.0) for g in beside.guard.shares()],
            tripped=beside.tripped, canary_share=0.0 if beside.canary is None else beside.canary.share, canary="" if found is None else found.verdict,
            canary_payments={} if found is None else {"canary": found.payments[0], "champion": found.payments[1]},
            shadowed=beside.shadowed, shadow_dropped=beside.shadow_dropped, shadow_waiting=len(beside.shadow), shadow_differing=agreement["differing_share"] or 0.0,
            shadow_correlation=agreement["score_correlation"], warming=len(service.warming),
            observed=[(row["theirs"], row["ours"], row["payments"], row["money"]) for row in beside.observed.rows()], unknown_words=beside.unknown_words,
        )  # fmt: skip

    def predictor(self) -> Predicting | None:
        """The champion for predictions, None while there is none."""
        loaded = self.service.slots.champion
        if loaded is None:
            return None
        if self._predicting is None or self._predicting.version != loaded.short:
            self._predicting = Predicting(loaded, self.service.engine.in_force.policy.tiers.review)
        return self._predicting

    def find(self, transaction_id: str) -> Found | None:
        """A payment of the log."""
        engine, state = self.service.engine, self.service.engine.state
        found = intake.find(state, engine.log.files, transaction_id)
        if found is None:
            return None
        lsn, record = found
        names: Sequence[str] = ()
        reasons: list[Reason] | None = None
        if record.decision is not None:
            names = self.service.plan_names(record.decision.plan)
            if record.decision.deferred:
                reasons = self.service.explain(record)
        return Found(lsn, record, state.row_of(record), intake.last_label(state, engine.log.files, lsn), names, reasons)

    # --- told: labels and profiles -------------------------------------------------------------------------------

    def label(self, body: Mapping[str, Any], ticket: Noted) -> None:
        """A label: settled against those before it, and logged."""
        service, engine = self.service, self.service.engine
        if engine.halted is not None:
            ticket.refuse(engine.halted)
            return
        now = service.now_us()
        admitted = admit_label(body, now, self._tokens, "review")
        if admitted.label is None:
            ticket.refuse(refused(admitted.refusals))
            return
        try:
            intake.settle(engine.state, engine.log.files, admitted.label, now)
        except intake.NoPayment as error:
            ticket.refuse(RefusedError(str(error), errors=(FieldError("transaction_id", "transaction_id.unknown", str(error)),)))
            return
        except InputError as error:
            ticket.refuse(RefusedError(str(error), errors=(FieldError("known_at", "known_at.before_transaction", str(error)),)))
            return
        label, verdict = admitted.label, "fraud" if admitted.label.is_fraud else "genuine"
        settled: list[tuple[Labelled, bool]] = []

        def make() -> list[Record]:
            # Against whatever labels came before it by then.
            record = intake.settle(engine.state, engine.log.files, label, now)
            settled.append((record, intake.last_label(engine.state, engine.log.files, record.lsn) is None))
            return [record]

        def apply() -> None:
            engine.counters.labels[verdict] = engine.counters.labels.get(verdict, 0) + 1
            [(record, first)] = settled
            service.label_noted(record, first=first)

        service.command(make, apply, lambda lsn: ticket.noted(lsn, in_force=bool(settled[0][0].after)), ticket.refuse)
        self._poke()

    def profile(self, body: Mapping[str, Any], ticket: Noted) -> None:
        """A profile: what is known of an entity from now on."""
        service = self.service
        if service.engine.halted is not None:
            ticket.refuse(service.engine.halted)
            return
        state, now = service.engine.state, service.now_us()
        admitted = admit_profile(body, now, self._tokens)
        if admitted.profile is None:
            ticket.refuse(refused(admitted.refusals))
            return
        row = dict(admitted.profile)
        known = {entity.name for entity in state.features.entities}
        if row["entity"] not in known:
            ticket.refuse(at_fault("entity", "entity.unknown", f"must be one of {', '.join(sorted(known))}"))
            return
        service.command(lambda: [state.profiled(row, now)], lambda: None, ticket.noted, ticket.refuse)
        self._poke()

    # --- in force ------------------------------------------------------------------------------------------------

    def read(self, what: str) -> Mapping[str, Any]:
        """What is in force."""
        state = self.service.engine.state
        if what in ("rules", "policy"):
            lsn, record = state.active[what]
            return {
                "lsn": lsn,
                "hash": record.hash,
                what: record.body,
                "who": record.who,
                "why": record.why,
                "received_us": record.received_us,
            }
        if what == "lists":
            named = force.lists_of(state)
            return {
                "named": {name: {"version": one.version, "hash": one.hash, "entries": len(one.entries)} for name, one in named.items()},
                "entries": [_entry(entry) for entry in state.entries],
            }
        if what.startswith("list:"):
            return self._list(what.removeprefix("list:"))
        if what == "models":
            slots = self.service.slots
            return {
                "slots": {slot: self._slot(slot, getattr(slots, slot)) for slot in _SLOT_NAMES}, "canary_share": slots.canary_share,
                "mode": force.OBSERVE if force.observes(state) else force.DECIDE, "warming": list(self.service.warming),
                "alarms": dict(self.service.alarms), "canary": self.service.canary_report(), "challenger": self.service.shadow_report(),
                "guards": self.service.engine.beside.guard.shares(),
            }  # fmt: skip
        if what == "observe":
            beside = self.service.engine.beside
            return {
                "observe": force.observes(state), "field": self.service.config.observed_field, "unknown_words": beside.unknown_words,
                "summary": beside.observed.summary(), "outcomes": beside.observed.rows(), "most_different": beside.observed.most_different(),
            }  # fmt: skip
        raise NotFoundError(f"nothing is called {what!r}")

    def _slot(self, slot: str, loaded: Loaded | None) -> Mapping[str, Any] | None:
        if loaded is None:
            return None
        lsn, record = self.service.engine.state.active[slot]
        return {
            "hash": loaded.hash, "members": [member.name for member in loaded.model.members], "lsn": lsn, "who": record.who, "why": record.why,
            "received_us": record.received_us,
        }  # fmt: skip

    def _list(self, name: str) -> Mapping[str, Any]:
        state = self.service.engine.state
        if name in ("block", "allow", "watch"):
            return {"name": name, "entries": [_entry(entry) for entry in state.entries if entry.list == name]}
        named = force.lists_of(state)
        if name not in named:
            raise NotFoundError(f"no list {name!r}; there are {', '.join(('block', 'allow', 'watch', *named))}", field="name")
        one = named[name]
        return {"name": name, "version": one.version, "hash": one.hash, "source": one.source, "entries": sorted(one.entries)}

    def command(
        self,
        what: str,
        body: Mapping[str, Any],
        who: str,
        why: str,
        expected: str | None,
        done: Callable[[Commanded], None],
        refuse: Callable[[FraudloopError], None],
    ) -> None:
        """Change what is in force."""
        service = self.service
        try:
            if what == "erase":
                self._erase(str(body["customer_id"]), who, why, done, refuse)
                return
            if what == "model":
                self._model(body, who, why, done, refuse)
                return
            if what == "rules":
                RuleSet.from_dict(body)
        except FraudloopError as error:
            refuse(error)
            return
        made: list[tuple[Change, int]] = []

        def make() -> list[Record]:
            # Between two batches, when all commands before it are in force: of two on one basis the second is refused.
            change = self._change(what, body, who, why, expected)
            if what != "rules":
                made.append((change, 0))
                return list(change.records)
            new = RuleSet.from_dict(body)
            before = service.engine.state.active["rules"][1].hash
            try:
                features = service.features_for(service.slots, new, who, why)
            except RefoldNeeded as error:
                self._warm_rules(new, body, who, why, before, error)
                done(Commanded(-1, change.hash, [*change.diff, f"warming: {error}"]))
                return []
            made.append((change, len(features)))
            return [*features, *change.records]

        def apply() -> None:
            if made:
                if what == "rules":
                    service.forget_warming("rules")
                    service.clear_guards()
                service.refresh()

        def told(lsn: int) -> None:
            for change, at in made:
                done(Commanded(lsn + at, change.hash, list(change.diff)))

        service.command(make, apply, told, refuse)
        self._poke()

    def _warm_rules(self, new: RuleSet, body: Mapping[str, Any], who: str, why: str, before: str | None, error: RefoldNeeded) -> None:
        """Publish these rules once the state holds what they read, if those that were in force still are."""
        service, name = self.service, f"rules {new.hash[:12]}"

        def failed(error: FraudloopError) -> None:
            service.alarms["rules"] = f"{name} were warmed and are not in force: {error}"

        service.warm_up(name, error, lambda: self.command("rules", body, who, why, before, _nobody, failed))

    def _change(self, what: str, body: Mapping[str, Any], who: str, why: str, expected: str | None) -> Change:
        service, state = self.service, self.service.engine.state
        now = service.now_us()
        if what == "rules":
            active = state.active["rules"][1]
            return rules.publish(
                active, RuleSet.from_dict(body), features=state.features, lists=frozenset(force.lists_of(state)), expected=expected or active.hash, who=who, why=why,
                at_us=now, at_once=True, numbers=service.own_numbers, words=service.own_words,
            )  # fmt: skip
        if what == "policy":
            active = state.active["policy"][1]
            return policy.publish(
                active,
                DecisionPolicy.from_dict(body),
                features=state.features,
                expected=expected or active.hash,
                who=who,
                why=why,
                at_us=now,
            )
        if what == "list":
            latest: Activated | None = state.active["lists"][1] if "lists" in state.active else None
            named = force.lists_of(state)
            was = named.get(str(body["name"]))
            new = NamedList.from_dict({"version": _version(now), "source": who, **body})
            return lists.replace_list(
                latest, shipped_lists(), new, expected=expected or (None if was is None else was.hash), who=who, why=why, at_us=now
            )
        if what in ("entry", "entry_removed"):
            entry = Entry(str(body["entity"]), str(body["id"]), body.get("expires_us"))
            columns = {entity.name: entity.column for entity in state.features.entities}
            kind = str(body["list"])
            if what == "entry":
                return lists.add(
                    state.entries, kind, [entry], who=who, why=why, at_us=now, tokens=self._tokens, columns={**COLUMNS, **columns}
                )
            return lists.remove(
                state.entries, kind, [entry], who=who, why=why, at_us=now, tokens=self._tokens, columns={**COLUMNS, **columns}
            )
        raise NotFoundError(f"nothing is called {what!r}")

    def _erase(
        self, customer: str, who: str, why: str, done: Callable[[Commanded], None], refuse: Callable[[FraudloopError], None]
    ) -> None:
        """Of the id as payments keep it: a card number is its token there."""
        name = customer.strip()
        if holds_pan(name):
            name = self._tokens.token(name)
        said = ["the key is destroyed; copies of the folder vault made before this must be destroyed too"]
        self.service.erase("customer_id", name, who, why, lambda lsn: done(Commanded(lsn, None, said)), refuse)
        self._poke()

    def _model(
        self, body: Mapping[str, Any], who: str, why: str, done: Callable[[Commanded], None], refuse: Callable[[FraudloopError], None]
    ) -> None:
        """Move the slot's alias in the store; the service follows it as it follows every other move."""
        service, slot = self.service, str(body["slot"])
        if slot == "champion":
            raise InputError(
                "a champion is promoted or rolled back: `fraudloop models promote` and `fraudloop models rollback`", field="slot"
            )
        share = None if slot != "canary" or body.get("share") is None else float(body["share"])
        if share is not None:
            check_share(share)
        reference = f"{service.config.name}@{slot}"
        name = None if body.get("model") is None else service.store.resolve(str(body["model"]))
        service.store.set_alias(reference, name, expected=service.store.alias(reference), who=who, why=why, at_us=service.now_us())
        if share is not None:
            service.set_canary_share(share, who, why)
            self._poke()
        done(Commanded(service.engine.log.next_lsn, name, [f"{reference} names {name[:12] if name else 'nothing'}"]))


def _entry(entry: Any) -> dict[str, Any]:
    return {
        "list": entry.list, "entity": entry.entity, "id": entry.id, "expires_us": entry.expires_us, "who": entry.who, "why": entry.why,
        "received_us": entry.received_us,
    }  # fmt: skip


def _version(now_us: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_us // 1_000_000))


def _nobody(what: Commanded) -> None:
    pass

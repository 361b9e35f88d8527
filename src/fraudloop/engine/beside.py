"""What goes on beside the decisions: guards, the canary's comparison, the challenger in shadow. It decides nothing by itself; what it finds
is for the service to act on, by a record of the log.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.decisions.decide import draw
from fraudloop.decisions.rules import Rule
from fraudloop.domain.outcome import Outcome
from fraudloop.door.row import Row
from fraudloop.engine.config import GuardConfig
from fraudloop.engine.deciding import InForce, Judged
from fraudloop.engine.loaded import Loaded
from fraudloop.ledger.records import Decision, Labelled
from fraudloop.monitoring.agreement import Agreement, Observed, outcome_of
from fraudloop.monitoring.canary import Bounds, Canary, Comparison
from fraudloop.monitoring.guard import Guard, Trip, counts, subjects_of

Floats = NDArray[np.float64]

#: The canary is compared after so many of its payments.
_COMPARE_EVERY: Final = 256


@dataclass(slots=True)
class Shadow:
    """A batch that the challenger has not looked at yet."""

    rows: Sequence[Row]
    values: Floats
    judged: Judged


@dataclass(slots=True)
class Beside:
    """guard: of what is in force. canary: while there is one. agreement: of champion and challenger. trips: guards that tripped and were not
    taken yet; tripped: how many ever did. shadow: batches that wait for the challenger, at most `shadow_batches_max`; further ones are
    dropped and counted, for decisions come first. observed: beside the system that decides; theirs: the column of a row with its word."""

    bounds: Bounds = field(default_factory=Bounds)
    limits: GuardConfig = field(default_factory=GuardConfig)
    shadow_batches_max: int = 64
    theirs: str = ""
    observed: Observed = field(default_factory=Observed)
    unknown_words: int = 0
    tripped: int = 0
    guard: Guard = field(default_factory=lambda: Guard(()))
    canary: Canary | None = None
    comparison: Comparison | None = None
    challenger: Loaded | None = None
    agreement: Agreement = field(default_factory=Agreement)
    shadow: deque[Shadow] = field(default_factory=deque)
    shadowed: int = 0
    shadow_dropped: int = 0
    trips: list[Trip] = field(default_factory=list)
    #: The position of the log from which on the canary of now decides.
    canary_lsn: int = 0
    _canary: str = ""
    _compared: int = 0
    _guarded: bool = False

    def use(self, in_force: InForce, challenger: Loaded | None, lsn: int) -> None:
        """Something else is in force from `lsn` on: what stays the same keeps its counts."""
        limits = self.limits
        if not self._guarded:
            self.guard = Guard(
                (), limits.windows_s, payments_min=limits.payments_min, release=limits.release, look_payments=limits.look_payments
            )
            self._guarded = True
        live = {rule.id: version_of(rule) for _, rule in in_force.live}
        champion = None if in_force.champion is None else in_force.champion.hash
        subjects = subjects_of(
            live, champion, rule_share_max=limits.rule_share_max, stop_share_max=limits.stop_share_max,
            decline_share_max=limits.decline_share_max,
        )  # fmt: skip
        if subjects != self.guard.subjects:
            self.guard = self.guard.with_subjects(subjects)
        name = "" if in_force.canary is None else f"{in_force.canary.hash} {in_force.canary_share}"
        if name != self._canary:
            self._canary, self._compared, self.comparison, self.canary_lsn = name, 0, None, lsn
            self.canary = None if not name or not in_force.canary_share else Canary(in_force.canary_share)
        if challenger is not self.challenger:
            self.challenger, self.agreement = challenger, Agreement()
            self.shadow.clear()

    def note(self, in_force: InForce, judged: Judged, rows: Sequence[Row], values: Floats, received_us: int) -> None:
        """A batch was decided."""
        live = judged.verdicts.counts[in_force.live_rows]
        tiers = None if in_force.champion is None else judged.decisions.tier
        if tiers is not None and judged.draws is not None:  # what the canary does is held against the canary
            tiers = np.where(judged.draws < in_force.canary_share, np.int8(Outcome.APPROVE), tiers)
        trips = self.guard.note(received_us, len(rows), counts(live, tiers))
        if trips:
            self.trips += trips
            self.tripped += len(trips)
        if in_force.observe:
            words = [row.get(self.theirs) for row in rows]
            theirs = np.array([outcome_of(word) for word in words], np.int64)
            self.unknown_words += sum(1 for word, at in zip(words, theirs.tolist(), strict=True) if word is not None and at == len(Outcome))
            self.observed.note([str(row["transaction_id"]) for row in rows], theirs, judged.decisions.outcome, judged.amounts, judged.score)
        if self.canary is not None and judged.draws is not None:
            self.canary.note(judged.draws, judged.decisions.outcome, judged.score)
            self._compared += int(np.count_nonzero(judged.draws < self.canary.share))
            if self._compared >= _COMPARE_EVERY:
                self._compared = 0
                self.comparison = self.canary.compare(self.bounds)
        if self.challenger is not None:
            if len(self.shadow) >= self.shadow_batches_max:
                self.shadow_dropped += len(rows)
            else:
                self.shadow.append(Shadow(rows, values, judged))

    def turn(self, in_force: InForce) -> None:
        """Let the challenger look at one batch that waits."""
        if not self.shadow or self.challenger is None:
            return
        batch = self.shadow.popleft()
        if batch.values.shape[1] != len(in_force.features.names):
            self.shadow_dropped += len(batch.rows)
            return  # of a plan that is no longer
        read = self.challenger.read(in_force.features, batch.values, batch.rows)
        score = read.scored.scores
        n = len(score)
        tiers = in_force.policy.tier(score, batch.judged.amounts)
        self.agreement.note(batch.judged.decisions.tier, tiers, batch.judged.score, score)
        self.shadowed += n

    def label(self, in_force: InForce, label: Labelled, lsn: int, row: Row, decision: Decision, *, first: bool) -> None:
        """A label of a payment came. row, decision: of the payment at `lsn`. first: there was none before it."""
        was, now = bool(label.before), bool(label.after)
        if self.canary is not None and lsn >= self.canary_lsn and row["customer_id"] is not None:
            drawn = draw(in_force.canary_experiment, str(row["customer_id"]), in_force.secret)
            self.canary.label(drawn, decision.outcome, now, was=None if first else was)
        if decision.observe and was != now:
            base = row["amount_base"]
            amount = math.nan if base is None else float(base) / 100
            self.observed.label(outcome_of(row.get(self.theirs)), decision.outcome, amount, now, was=was)

    def to_dict(self) -> dict[str, Any]:
        """What was counted, as plain data, for :meth:`take_up`."""
        return {
            "guard": self.guard.to_dict(),
            "canary": None if self.canary is None else {"name": self._canary, "lsn": self.canary_lsn, "counts": self.canary.to_dict()},
            "challenger": None if self.challenger is None else {"hash": self.challenger.hash, "counts": self.agreement.to_dict()},
            "observed": self.observed.to_dict(), "unknown_words": self.unknown_words,
        }  # fmt: skip

    def take_up(self, data: Mapping[str, Any], received_us: int) -> None:
        """Go on with what another process had counted; of a canary, challenger, rule or model that is another one by now nothing is taken.

        received_us: no later batch will have arrived before. Called after `use`. KeyError, TypeError, ValueError, OverflowError or InputError: this is nothing that `to_dict` gave, and nothing was taken.
        """
        limits = self.limits
        guard = Guard.from_dict(
            data["guard"], received_us, payments_min=limits.payments_min, release=limits.release, look_payments=limits.look_payments
        ).with_subjects(self.guard.subjects)
        observed, unknown_words = Observed.from_dict(data["observed"]), int(data["unknown_words"])
        canary = agreement = None
        if (told := data["canary"]) is not None and self.canary is not None and told["name"] == self._canary:
            canary, lsn = Canary.from_dict(told["counts"]), int(told["lsn"])
        if (told := data["challenger"]) is not None and self.challenger is not None and told["hash"] == self.challenger.hash:
            agreement = Agreement.from_dict(told["counts"])
        if guard.windows_s == self.guard.windows_s:
            self.guard = guard
        self.observed, self.unknown_words = observed, unknown_words
        if canary is not None:
            self.canary, self.canary_lsn = canary, lsn
        if agreement is not None:
            self.agreement = agreement

    def taken(self) -> list[Trip]:
        """The trips since the last call."""
        out, self.trips = self.trips, []
        return out


def version_of(rule: Rule) -> str:
    """A hash of all that a rule does."""
    return hashlib.sha256(json.dumps(rule.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

"""What goes on beside the decisions: guards, the canary's comparison, the challenger in shadow. It decides nothing by itself; what it finds
is for the service to act on, by a record of the log.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.decisions.rules import Rule
from fraudloop.door.row import Row
from fraudloop.engine.deciding import InForce, Judged
from fraudloop.engine.loaded import Loaded
from fraudloop.monitoring.agreement import Agreement
from fraudloop.monitoring.canary import Bounds, Canary, Comparison
from fraudloop.monitoring.guard import Guard, Trip, counts, subjects_of

Floats = NDArray[np.float64]

#: Batches that may wait for the challenger; further ones are dropped and counted: decisions come first.
SHADOW_BATCHES_MAX: Final = 64

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
    taken yet."""

    bounds: Bounds = field(default_factory=Bounds)
    guard: Guard = field(default_factory=lambda: Guard(()))
    canary: Canary | None = None
    comparison: Comparison | None = None
    challenger: Loaded | None = None
    agreement: Agreement = field(default_factory=Agreement)
    shadow: deque[Shadow] = field(default_factory=deque)
    shadowed: int = 0
    shadow_dropped: int = 0
    trips: list[Trip] = field(default_factory=list)
    _canary: str = ""
    _compared: int = 0

    def use(self, in_force: InForce, challenger: Loaded | None) -> None:
        """Something else is in force: what stays the same keeps its counts."""
        live = {rule.id: version_of(rule) for _, rule in in_force.live}
        champion = None if in_force.champion is None else in_force.champion.hash
        subjects = subjects_of(live, champion)
        if subjects != self.guard.subjects:
            self.guard = self.guard.with_subjects(subjects)
        name = "" if in_force.canary is None else f"{in_force.canary.hash} {in_force.canary_share}"
        if name != self._canary:
            self._canary, self._compared, self.comparison = name, 0, None
            self.canary = None if not name or not in_force.canary_share else Canary(in_force.canary_share)
        if challenger is not self.challenger:
            self.challenger, self.agreement = challenger, Agreement()
            self.shadow.clear()

    def note(self, in_force: InForce, judged: Judged, rows: Sequence[Row], values: Floats, received_us: int) -> None:
        """A batch was decided."""
        live = judged.verdicts.hits[[at for at, _ in in_force.live]] if in_force.live else np.zeros((0, len(rows)), bool)
        acted = counts(live, None if in_force.champion is None else judged.decisions.tier)
        self.trips += self.guard.note(received_us, len(rows), acted)
        if self.canary is not None and judged.draws is not None:
            self.canary.note(judged.draws, judged.decisions.outcome, judged.score)
            self._compared += int(np.count_nonzero(judged.draws < self.canary.share))
            if self._compared >= _COMPARE_EVERY:
                self._compared = 0
                self.comparison = self.canary.compare(self.bounds)
        if self.challenger is not None:
            if len(self.shadow) >= SHADOW_BATCHES_MAX:
                self.shadow_dropped += len(rows)
            else:
                self.shadow.append(Shadow(rows, values, judged))

    def turn(self, in_force: InForce) -> None:
        """Let the challenger look at one batch that waits."""
        if not self.shadow or self.challenger is None:
            return
        batch = self.shadow.popleft()
        try:
            read = self.challenger.read(in_force.features, batch.values, batch.rows)
        except KeyError:
            return  # of a plan that did not have its features yet
        score = read.scored.scores
        n = len(score)
        none = np.zeros(n, bool)
        tiers = in_force.policy.tier(score, batch.judged.amounts, none, none)
        self.agreement.note(batch.judged.decisions.tier, tiers, batch.judged.score, score)
        self.shadowed += n

    def taken(self) -> list[Trip]:
        """The trips since the last call."""
        out, self.trips = self.trips, []
        return out


def version_of(rule: Rule) -> str:
    """A hash of all that a rule does."""
    return hashlib.sha256(json.dumps(rule.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

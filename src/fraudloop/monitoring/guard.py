"""Guards: a rule or model that would act on more than its share of the traffic is to be taken back. Pure; time is the logged arrival.

    payments ──▶ │ · │ · │ · │ · │ · │ now │     a window is 60 parts; a part that has passed out of it is taken off the sums
                 └── share of payments acted on ──▶ above the limit, of enough payments: a trip, once
                     below 0.8 of the limit again: armed again

What a trip leads to is the engine's: a rule goes from live to shadow, a model gives way to the champion before it or to rules alone. The
trip itself is a record of the log, so that decisions follow from the log whatever the batches were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.domain.outcome import Outcome
from fraudloop.errors import InputError
from fraudloop.limits import (
    GUARD_DECLINE_SHARE_MAX,
    GUARD_LOOK_PAYMENTS,
    GUARD_PAYMENTS_MIN,
    GUARD_RELEASE,
    GUARD_RULE_SHARE_MAX,
    GUARD_STOP_SHARE_MAX,
    GUARD_WINDOWS_S,
    SECOND_US,
)

Ints = NDArray[np.int64]

#: Parts of a window: a share is late by at most one of them.
PARTS: Final = 60

_REVIEW, _DECLINE = int(Outcome.REVIEW), int(Outcome.DECLINE)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is guarded. kind: `rule` or `model`. name: the rule's id, or `stop` and `decline` of a model. version: with another one it is
    counted from the beginning. share_max: of payments, that it may act on."""

    kind: str
    name: str
    version: str
    share_max: float

    def __post_init__(self) -> None:
        if not 0 < self.share_max <= 1:
            raise InputError(f"guard: the share of {self.kind} {self.name} is {self.share_max}; it must be above 0 and at most 1")


@dataclass(frozen=True, slots=True)
class Trip:
    """A guard that tripped: `acted` of `payments` within `window_s` up to `received_us`."""

    subject: Subject
    acted: int
    payments: int
    window_s: int
    received_us: int

    @property
    def text(self) -> str:
        """As alarms and the log say it."""
        share = self.acted / self.payments
        return (
            f"{self.subject.kind} {self.subject.name} acted on {self.acted:,} of {self.payments:,} payments ({100 * share:.1f} %) within "
            f"{self.window_s:,} s; at most {100 * self.subject.share_max:g} %"
        )


def subjects_of(
    rules: Mapping[str, str], model: str | None, *, rule_share_max: float = GUARD_RULE_SHARE_MAX, stop_share_max: float = GUARD_STOP_SHARE_MAX,
    decline_share_max: float = GUARD_DECLINE_SHARE_MAX,
) -> tuple[Subject, ...]:  # fmt: skip
    """Of the live rules (id -> version, such as a hash of the rule) and the champion's hash, in the order of :func:`counts`."""
    out = [Subject("rule", name, version, rule_share_max) for name, version in rules.items()]
    if model is not None:
        out += [Subject("model", "stop", model, stop_share_max), Subject("model", "decline", model, decline_share_max)]
    return tuple(out)


def counts(hits: Ints, tiers: NDArray[np.int8] | None) -> Ints:
    """Payments of a batch that each subject acts on. hits: int64 [rules], of each live rule. tiers: int8 [n], what the policy makes of the
    model's score alone, None without a model."""
    if tiers is None:
        return hits
    by_outcome = tiers.tobytes().count
    declined = by_outcome(_DECLINE)
    out = np.empty(len(hits) + 2, np.int64)
    out[:-2] = hits
    out[-2], out[-1] = declined + by_outcome(_REVIEW), declined
    return out


class Guard:
    """Counts over sliding windows, and which subjects are armed.

    >>> guard = Guard((Subject("rule", "big", "v1", 0.05),), payments_min=100, look_payments=1)
    >>> guard.note(1_000_000, 100, np.array([5])), [trip.text for trip in guard.note(2_000_000, 100, np.array([6]))]
    ((), ['rule big acted on 11 of 200 payments (5.5 %) within 60 s; at most 5 %'])
    """

    def __init__(
        self, subjects: Sequence[Subject], windows_s: Sequence[int] = GUARD_WINDOWS_S, *, payments_min: int = GUARD_PAYMENTS_MIN, release: float = GUARD_RELEASE,
        look_payments: int = GUARD_LOOK_PAYMENTS,
    ) -> None:  # fmt: skip
        if not windows_s or min(windows_s) < 1 or payments_min < 1 or look_payments < 1 or not 0 < release < 1:
            raise InputError("guard: windows of a second or more, a payment at least, and a release between 0 and 1")
        self.subjects = tuple(subjects)
        self.windows_s = tuple(windows_s)
        self.payments_min, self.release, self.look_payments = payments_min, release, look_payments
        k = len(self.subjects)
        self._share_max = np.array([subject.share_max for subject in self.subjects])
        self._rings = [_Ring(window, k) for window in self.windows_s]
        self.armed = np.ones(k, bool)
        self._all_armed = True
        self._newest = -1
        self._waiting = 0
        self._acted = np.zeros(k, np.int64)
        self._part_end = 0

    def note(self, received_us: int, payments: int, acted: Ints) -> tuple[Trip, ...]:
        """Count a batch that arrived at `received_us` (never earlier than the one before), and say which guards trip.

        payments: how many. acted: int64 [subjects], on how many of them each acts. Shares are looked at after `look_payments`, and
        before the first batch of a later part.
        """
        if not self.subjects:
            return ()
        assert received_us >= self._newest, "arrivals never go back"
        out: tuple[Trip, ...] = ()
        if received_us >= self._part_end:
            if self._waiting:
                out = self._look()
            self._part_end = self._part_end_after(received_us)
        self._newest = received_us
        self._waiting += payments
        self._acted += acted
        return out + self._look() if self._waiting >= self.look_payments else out

    def _part_end_after(self, received_us: int) -> int:
        return min((received_us // ring.part_us + 1) * ring.part_us for ring in self._rings)

    def _look(self) -> tuple[Trip, ...]:
        """Add what waits to every window and compare."""
        out: tuple[Trip, ...] = ()
        below = None
        for ring in self._rings:
            ring.add(self._newest, self._waiting, self._acted)
            seen, hit = ring.sums
            over = hit > self._share_max * seen
            if over.any():
                over &= seen >= self.payments_min
                over &= self.armed
                for at in np.flatnonzero(over).tolist():
                    out += (Trip(self.subjects[at], int(hit[at]), int(seen[at]), ring.window_s, self._newest),)
                    self.armed[at] = self._all_armed = False
            if not self._all_armed:
                low = hit <= self.release * self._share_max * seen
                below = low if below is None else below & low
        if below is not None:
            self.armed |= below
            self._all_armed = bool(self.armed.all())
        self._waiting = 0
        self._acted[:] = 0
        return out

    def shares(self) -> list[dict[str, Any]]:
        """Plain data for metrics, as of the last look: by subject and window the payments, those acted on, the limit, and whether it is armed."""
        return [
            {
                "kind": subject.kind, "name": subject.name, "window_s": ring.window_s, "payments": int(ring.sums[0, at]), "acted": int(ring.sums[1, at]),
                "share_max": subject.share_max, "armed": bool(self.armed[at]),
            }
            for ring in self._rings
            for at, subject in enumerate(self.subjects)
        ]  # fmt: skip

    def with_subjects(self, subjects: Sequence[Subject]) -> Guard:
        """A guard of these; what is the same in kind, name and version keeps its counts, what is new begins with none, armed."""
        out = Guard(subjects, self.windows_s, payments_min=self.payments_min, release=self.release, look_payments=self.look_payments)
        out._newest, out._part_end = self._newest, self._part_end
        place = {(s.kind, s.name, s.version): at for at, s in enumerate(self.subjects)}
        pairs = [(at, place[key]) for at, s in enumerate(out.subjects) if (key := (s.kind, s.name, s.version)) in place]
        new, old = [at for at, _ in pairs], [was for _, was in pairs]
        for mine, theirs in zip(out._rings, self._rings, strict=True):
            mine.part = theirs.part
            mine.parts[:, :, new] = theirs.parts[:, :, old]
            mine.sums[:, new] = theirs.sums[:, old]
        if self._waiting:  # what was not looked at yet is of the sets before
            acted = np.zeros(len(out.subjects), np.int64)
            acted[new] = self._acted[old]
            kept = np.zeros(len(out.subjects), bool)
            kept[new] = True
            for ring in out._rings:
                ring.add(self._newest, np.where(kept, self._waiting, 0), acted)
        out.armed[new] = self.armed[old]
        out._all_armed = bool(out.armed.all())
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the inverse of :meth:`from_dict`: what was counted, not the settings."""
        return {
            "subjects": [[s.kind, s.name, s.version, s.share_max] for s in self.subjects], "armed": self.armed.tolist(), "newest_us": self._newest,
            "waiting": self._waiting, "acted": self._acted.tolist(),
            "windows": [[ring.window_s, ring.part, ring.parts.tolist()] for ring in self._rings],
        }  # fmt: skip

    @staticmethod
    def from_dict(
        data: Mapping[str, Any], until_us: int, *, payments_min: int = GUARD_PAYMENTS_MIN, release: float = GUARD_RELEASE, look_payments: int = GUARD_LOOK_PAYMENTS
    ) -> Guard:  # fmt: skip
        """A guard of the subjects and windows of then. until_us: no later batch will have arrived before."""
        subjects = [Subject(*given) for given in data["subjects"]]
        windows = [int(window_s) for window_s, _, _ in data["windows"]]
        out = Guard(subjects, windows, payments_min=payments_min, release=release, look_payments=look_payments)
        for ring, (_, part, parts) in zip(out._rings, data["windows"], strict=True):
            ring.part = int(part)
            ring.parts = np.array(parts, np.int64).reshape(ring.parts.shape)
            ring.sums = ring.parts.sum(axis=0)
        out.armed = np.array(data["armed"], bool).reshape(out.armed.shape)
        out._all_armed = bool(out.armed.all())
        out._newest, out._waiting = min(int(data["newest_us"]), until_us), int(data["waiting"])
        out._acted = np.array(data["acted"], np.int64).reshape(out._acted.shape)
        if out._newest >= 0:
            out._part_end = out._part_end_after(out._newest)
        return out


class _Ring:
    """One window: parts int64 [PARTS, 2, subjects] of payments and of those acted on, and their sums."""

    __slots__ = ("part", "part_us", "parts", "sums", "window_s")

    def __init__(self, window_s: int, k: int) -> None:
        self.window_s = window_s
        self.part_us = window_s * SECOND_US // PARTS
        self.part = -1
        self.parts = np.zeros((PARTS, 2, k), np.int64)
        self.sums = np.zeros((2, k), np.int64)

    def add(self, received_us: int, payments: int | Ints, acted: Ints) -> None:
        part = received_us // self.part_us
        if part != self.part:
            if part - self.part >= PARTS or self.part < 0:
                self.parts[:] = 0
                self.sums[:] = 0
            else:
                for passed in range(self.part + 1, part + 1):
                    old = self.parts[passed % PARTS]
                    self.sums -= old
                    old[:] = 0
            self.part = part
        here = self.parts[part % PARTS]
        here[0] += payments
        here[1] += acted
        self.sums[0] += payments
        self.sums[1] += acted

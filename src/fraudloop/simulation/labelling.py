"""What becomes known of fraud, and when: sources, delays, reports that come too soon and are reversed, silence.

It draws verdicts for rows whose truth is given; within an origin they depend on chance alone. It knows no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fraudloop.limits import DAY_S, HOUR_US, SECOND_US
from fraudloop.simulation.pick import Ints
from fraudloop.simulation.rows import ORDINARY, ORIGINS, SPREE, Rows

#: Where a label comes from, its share, and how long it takes: chargebacks about three weeks, reports of customers
#: days, reviews hours.
SOURCES: Final = ("chargeback", "customer_report", "review")
SOURCE_SHARES: Final = (0.55, 0.30, 0.15)

#: Share of fraud that nobody ever reports, and of reported fraud that is wrongly taken back.
NEVER_REPORTED: Final = 0.10
WRONGLY_REVERSED: Final = 0.01
#: Genuine purchases reported as fraud and taken back later, for each fraud.
FALSE_REPORTS: Final = 0.05
#: How much rather a fraud without a scheme goes unnoticed, and one of card testing (small change).
_SILENCE: Final = {ORDINARY: 3.0, ORIGINS.index("card_testing"): 1.6}


@dataclass(slots=True)
class Verdicts:
    """For n rows: when fraud was reported (0: never), by which source, and when it was taken back (0: not)."""

    known_us: Ints
    source: NDArray[np.int8]
    reversed_us: Ints

    def take(self, at: Ints | slice) -> Verdicts:
        """The verdicts of these rows."""
        return Verdicts(self.known_us[at], self.source[at], self.reversed_us[at])

    @property
    def fraud(self) -> NDArray[np.bool_]:
        """Whether a row counts as fraud once every label is in."""
        fraud: NDArray[np.bool_] = (self.known_us > 0) & (self.reversed_us == 0)
        return fraud


def true_fraud(known: int) -> int:
    """How many frauds there must be so that `known` of them are known in the end.

    >>> true_fraud(890)
    1000
    """
    return round(known / (1.0 - NEVER_REPORTED - WRONGLY_REVERSED))


def delays(rng: Generator, source: NDArray[np.int8]) -> Ints:
    """Microseconds from a transaction to its label, for each source (index of SOURCES), whole seconds."""
    n = len(source)
    chargeback = 5 + rng.gamma(4.0, 4.0, n)
    customer_report = rng.gamma(1.3, 2.2, n) + 0.1
    review = rng.gamma(1.5, 4.0, n) / 24 + 0.02
    days = np.choose(source, [chargeback, customer_report, review])
    return (days * DAY_S).astype(np.int64) * SECOND_US


def give_verdicts(rng: Generator, rows: Rows, known: int) -> Verdicts:
    """Verdicts such that exactly `known` frauds are known in the end (or all, if there are fewer)."""
    n = len(rows)
    fraud = np.flatnonzero(rows.fraud)
    silent = max(0, len(fraud) - known)
    lost = min(round(len(fraud) * WRONGLY_REVERSED), silent)
    weight = np.ones(len(ORIGINS))
    for origin, factor in _SILENCE.items():
        weight[origin] = factor
    # The smallest of exponential times with these rates: a weighted draw without replacement.
    order = fraud[np.argsort(rng.exponential(1.0, len(fraud)) / weight[rows.origin[fraud]], kind="stable")]
    unreported, taken_back = order[: silent - lost], order[silent - lost : silent]
    genuine = np.flatnonzero(~rows.fraud & ((rows.origin != ORDINARY) & (rows.origin != SPREE)))
    others = np.flatnonzero(~rows.fraud & (rows.origin == SPREE))
    false = min(round(len(fraud) * FALSE_REPORTS), len(genuine) + len(others))
    suspicious = min(false * 2 // 3, len(genuine))
    suspicious = max(suspicious, false - len(others))
    mistaken = np.concatenate([rng.permutation(genuine)[:suspicious], rng.permutation(others)[: false - suspicious]])

    source = rng.choice(len(SOURCES), n, p=SOURCE_SHARES).astype(np.int8)
    source[mistaken] = rng.choice(2, len(mistaken), p=[0.3, 0.7])
    reported = rows.fraud.copy()
    reported[unreported] = False
    reported[mistaken] = True
    known_us = np.where(reported, rows.time_us + delays(rng, source), 0)
    reversed_us = np.zeros(n, np.int64)
    for back in (taken_back, mistaken):
        reversed_us[back] = known_us[back] + rng.integers(36, 40 * 24, len(back)) * HOUR_US
    return Verdicts(known_us, source, reversed_us)

"""Two ways of deciding on the same payments: a challenger in shadow beside the champion, or our decision beside that of a system that runs
already (observe mode). Running sums that are plain data, for metrics and a table. Pure.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.domain.outcome import Outcome

Floats = NDArray[np.float64]

#: Payments that `Observed` remembers as the most different: a page that somebody reads.
MOST_DIFFERENT: Final = 100

#: What the other system said, where it said nothing.
UNSAID: Final = len(Outcome)

#: What other systems call the four outcomes.
_SYNONYMS: Final[Mapping[Outcome, str]] = {
    Outcome.APPROVE: "approve approved approval accept accepted allow allowed authorise authorised authorize authorized pass passed ok legit genuine",
    Outcome.CHALLENGE: "challenge challenged step_up stepup 3ds sca verify otp authenticate",
    Outcome.REVIEW: "review reviewed manual manual_review hold held pend pending refer referred escalate escalated queue queued",
    Outcome.DECLINE: "decline declined deny denied reject rejected block blocked refuse refused stop stopped fraud",
}
_WORDS: Final[Mapping[str, int]] = {word: int(outcome) for outcome, words in _SYNONYMS.items() for word in words.split()}

_TEXTS: Final = tuple(outcome.text for outcome in Outcome)


def outcome_of(word: object) -> int:
    """The number of the outcome that another system's word means; UNSAID for none that is known.

    >>> outcome_of("Step-up"), outcome_of("DENIED"), outcome_of(None) == UNSAID
    (1, 3, True)
    """
    return _WORDS.get(word.strip().lower().replace("-", "_").replace(" ", "_"), UNSAID) if isinstance(word, str) else UNSAID


class Agreement:
    """A challenger beside the champion.

    >>> both = Agreement()
    >>> both.note(np.array([0, 3], np.int8), np.array([0, 2], np.int8), np.array([0.1, 0.95]), np.array([0.2, 0.6]))
    >>> both.to_dict()["differing_share"]
    0.5
    """

    def __init__(self) -> None:
        #: [champion's outcome, challenger's]: payments.
        self.outcomes = np.zeros((len(Outcome), len(Outcome)), np.int64)
        #: Of payments that both score: n, Σa, Σb, Σa², Σb², Σab, Σ|a−b|.
        self.sums = np.zeros(7)

    def note(self, champion: NDArray[np.int8], challenger: NDArray[np.int8], scores: Floats, other_scores: Floats) -> None:
        """Count a batch: outcomes int8 [n] and scores float64 [n] of both, NaN for none."""
        k = len(Outcome)
        self.outcomes += np.bincount(champion.astype(np.int64) * k + challenger, minlength=k * k).reshape(k, k)
        both = ~(np.isnan(scores) | np.isnan(other_scores))
        a, b = scores[both], other_scores[both]
        self.sums += (len(a), a.sum(), b.sum(), (a * a).sum(), (b * b).sum(), (a * b).sum(), np.abs(a - b).sum())

    def merge(self, other: Agreement) -> Agreement:
        """The sums of both."""
        out = Agreement()
        out.outcomes = self.outcomes + other.outcomes
        out.sums = self.sums + other.sums
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain data: shares, correlation (Pearson) and mean distance of the scores, and the sums that they are made of."""
        total = int(self.outcomes.sum())
        n, a, b, aa, bb, ab, distance = self.sums.tolist()
        spread = math.sqrt(max(0.0, n * aa - a * a) * max(0.0, n * bb - b * b))
        return {
            "payments": total,
            "differing_share": _share(total - int(np.trace(self.outcomes)), total),
            "milder_share": _share(int(np.tril(self.outcomes, -1).sum()), total),
            "severer_share": _share(int(np.triu(self.outcomes, 1).sum()), total),
            "score_correlation": min(1.0, max(-1.0, (n * ab - a * b) / spread)) if spread > 0 else None,
            "score_distance": _share(distance, n),
            "outcomes": self.outcomes.tolist(),
            "sums": self.sums.tolist(),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Agreement:
        """Of what :meth:`to_dict` gave."""
        out = Agreement()
        out.outcomes = np.array(data["outcomes"], np.int64).reshape(out.outcomes.shape)
        out.sums = np.array(data["sums"], np.float64).reshape(out.sums.shape)
        return out


class Observed:
    """Our decisions beside those of a system that runs already.

    >>> seen = Observed()
    >>> seen.note(["t1", "t2"], np.array([0, UNSAID]), np.array([3, 0], np.int8), np.array([900.0, 5.0]), np.array([0.97, 0.01]))
    >>> seen.rows()[0]["theirs"], seen.rows()[0]["ours"], seen.rows()[0]["money"], seen.most_different()[0]["transaction_id"]
    ('approve', 'decline', 900.0, 't1')
    """

    def __init__(self, most: int = MOST_DIFFERENT) -> None:
        k = len(Outcome)
        #: [theirs or UNSAID, ours]: payments, money in the base currency; of those labelled fraud, the same; payments labelled genuine.
        self.payments = np.zeros((k + 1, k), np.int64)
        self.money = np.zeros((k + 1, k))
        self.frauds = np.zeros((k + 1, k), np.int64)
        self.fraud_money = np.zeros((k + 1, k))
        self.most = most
        self._heap: list[tuple[int, float, str, int, int, float]] = []

    def note(self, ids: Sequence[str], theirs: NDArray[Any], ours: NDArray[np.int8], amounts: Floats, scores: Floats) -> None:
        """Count a batch. theirs: [n] of Outcome, UNSAID where they said nothing. amounts: base currency, NaN counts as none."""
        k = len(Outcome)
        place = theirs.astype(np.int64) * k + ours
        money = np.nan_to_num(amounts)
        self.payments += np.bincount(place, minlength=(k + 1) * k).reshape(k + 1, k)
        self.money += np.bincount(place, money, minlength=(k + 1) * k).reshape(k + 1, k)
        gap = np.where(theirs == UNSAID, 0, np.abs(theirs.astype(np.int64) - ours))
        least = self._heap[0][:2] if len(self._heap) == self.most else (0, -math.inf)
        for at in np.flatnonzero(gap > 0).tolist():
            if (int(gap[at]), money[at]) < least:
                continue
            self._keep((int(gap[at]), float(money[at]), ids[at], int(theirs[at]), int(ours[at]), float(scores[at])))

    def _keep(self, item: tuple[int, float, str, int, int, float]) -> None:
        if len(self._heap) < self.most:
            heapq.heappush(self._heap, item)
        else:
            heapq.heappushpop(self._heap, item)

    def label(self, theirs: int, ours: int, amount: float, is_fraud: bool, *, was: bool = False) -> None:
        """A payment turned out to be fraud, or not after all (`was`: what it was taken for before)."""
        change = int(is_fraud) - int(was)
        self.frauds[theirs, ours] += change
        self.fraud_money[theirs, ours] += change * (0.0 if math.isnan(amount) else amount)

    def rows(self) -> list[dict[str, Any]]:
        """The table: a row for each pair of decisions that came up, those that differ first, by money."""
        out = [
            {
                "theirs": (*_TEXTS, "unsaid")[i], "ours": _TEXTS[j], "payments": int(self.payments[i, j]), "money": round(float(self.money[i, j]), 2),
                "frauds": int(self.frauds[i, j]), "fraud_money": round(float(self.fraud_money[i, j]), 2),
            }
            for i in range(len(Outcome) + 1)
            for j in range(len(Outcome))
            if self.payments[i, j]
        ]  # fmt: skip
        return sorted(out, key=lambda row: (row["theirs"] in (row["ours"], "unsaid"), -row["money"]))

    def most_different(self) -> list[dict[str, Any]]:
        """The payments that the two judge most differently, the largest amounts first among equals."""
        return [
            {
                "transaction_id": name, "theirs": _TEXTS[theirs], "ours": _TEXTS[ours], "money": round(money, 2), "score": None if math.isnan(score) else score,
            }
            for _, money, name, theirs, ours, score in sorted(self._heap, reverse=True)
        ]  # fmt: skip

    def summary(self) -> dict[str, Any]:
        """In a few numbers: how often the two agree, what we would stop that they let through, and the other way round."""
        k, stop = len(Outcome), int(Outcome.REVIEW)
        said = self.payments[:k]
        passed_by_them, passed_by_us = (slice(0, stop), slice(stop, k)), (slice(stop, k), slice(0, stop))
        total = int(said.sum())
        return {
            "payments": int(self.payments.sum()),
            "compared": total,
            "agreeing_share": _share(int(np.trace(said)), total),
            "we_stop_they_pass": self._part(passed_by_them),
            "they_stop_we_pass": self._part(passed_by_us),
        }

    def _part(self, where: tuple[slice, slice]) -> dict[str, float]:
        return {
            "payments": int(self.payments[where].sum()), "money": round(float(self.money[where].sum()), 2),
            "frauds": int(self.frauds[where].sum()), "fraud_money": round(float(self.fraud_money[where].sum()), 2),
        }  # fmt: skip

    def merge(self, other: Observed) -> Observed:
        """The sums of both, and the most different of both."""
        out = Observed(self.most)
        for name in ("payments", "money", "frauds", "fraud_money"):
            setattr(out, name, getattr(self, name) + getattr(other, name))
        for item in (*self._heap, *other._heap):
            out._keep(item)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the inverse of :meth:`from_dict`."""
        return {
            "payments": self.payments.tolist(), "money": self.money.tolist(), "frauds": self.frauds.tolist(), "fraud_money": self.fraud_money.tolist(),
            "most": self.most, "most_different": [[*item[:5], None if math.isnan(item[5]) else item[5]] for item in sorted(self._heap)],
        }  # fmt: skip

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Observed:
        out = Observed(int(data["most"]))
        for name, kind in (("payments", np.int64), ("money", np.float64), ("frauds", np.int64), ("fraud_money", np.float64)):
            setattr(out, name, np.array(data[name], kind).reshape(getattr(out, name).shape))
        for gap, money, name, theirs, ours, score in data["most_different"]:
            out._keep((gap, money, name, theirs, ours, math.nan if score is None else score))
        return out


def _share(part: float, whole: float) -> float | None:
    return None if whole == 0 else part / whole

"""What a decision can be, in order of severity. Merging two outcomes is `max`; nothing here knows a score or a rule."""

from __future__ import annotations

from enum import IntEnum

from fraudloop.errors import InputError


class Outcome(IntEnum):
    """`APPROVE < CHALLENGE < REVIEW < DECLINE`.

    >>> max(Outcome.REVIEW, Outcome.CHALLENGE).text
    'review'
    """

    APPROVE = 0
    CHALLENGE = 1
    REVIEW = 2
    DECLINE = 3

    @property
    def text(self) -> str:
        """The word used in answers, files and logs."""
        return self.name.lower()

    @staticmethod
    def from_text(text: str) -> Outcome:
        """The outcome a word stands for; InputError for any other word."""
        try:
            return Outcome[text.strip().upper()]
        except KeyError:
            words = ", ".join(o.text for o in Outcome)
            raise InputError(f"{text!r} is not an outcome; use one of {words}") from None

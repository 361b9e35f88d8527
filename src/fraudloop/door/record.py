"""One object with a small vocabulary (a label, a profile) becoming canonical values, as `door.table` reads a table of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fraudloop.door.body import Refusal, card_in, check_time, holds_card, scalars
from fraudloop.door.pan import TokenKey, hide
from fraudloop.door.table import CARD_REASON, CARD_RULE, NO_TEXT
from fraudloop.door.value import Wrong
from fraudloop.errors import ColumnMapError

Read = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Record:
    """The fields of an object with their other names, how each is read, which must be there, which is an id, which are times."""

    fields: Mapping[str, tuple[str, ...]]
    read: Mapping[str, Read]
    required: Sequence[str]
    id: str
    times: frozenset[str]

    def admit(self, body: Mapping[str, Any], tokens: TokenKey) -> tuple[dict[str, Any], dict[str, str], list[Refusal], Counter[str]]:
        """Canonical values by field, the column of each field, what is wrong, and what was noted (`table.Admitted.notes`)."""
        names: dict[str, str] = {}
        for name, others in self.fields.items():
            for column in (name, *others):
                names.setdefault(column, name)
        notes: Counter[str] = Counter()
        columns, refusals = scalars(body, names, self.required)
        if refusals:
            return {}, {}, refusals, notes
        fields: dict[str, str] = {}
        for name, others in self.fields.items():
            first = next((c for c in (name, *others) if c in columns), None)
            if first is not None:
                fields[name] = first
        got: dict[str, Any] = dict.fromkeys(self.read)
        for name, read in self.read.items():
            if name not in fields:
                continue
            column, value = fields[name], columns[fields[name]]
            try:
                if name in self.times:
                    check_time(name, column, value, None)
                    moment = None if value is None else read(value)
                    got[name] = None if moment is None else moment[0]
                else:
                    got[name] = read(value)
            except Wrong as error:
                refusals += [Refusal(hide(column), f"{name}.{rule}", reason) for rule, reason in error.faults]
            except ColumnMapError as error:
                refusals.append(Refusal(hide(column), f"{name}.format", str(error)))
        for name in self.required:
            if got[name] is None and not any(r.rule.startswith(f"{name}.") for r in refusals):
                refusals.append(Refusal(hide(fields[name]), f"{name}.missing", "has no value"))
        text = got[self.id]
        if text is not None and len(text) > 12 and holds_card(text):
            got[self.id] = tokens.token(text)
            notes["card_number.tokenised"] += 1
        for column in columns:
            name = names.get(column, "") if column in fields.values() else ""
            if name != self.id and name not in NO_TEXT and card_in(columns[column]):
                refusals.append(Refusal(hide(column), CARD_RULE, CARD_REASON))
        return got, fields, refusals, notes

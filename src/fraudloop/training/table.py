"""The feature table as arrays: which columns a model reads, whose card, how much money, which day, which label by when.

A feature table is a polars frame, one row a transaction in source order: `transaction_id`, `timestamp` (microseconds,
UTC), ids, number features (Float64, NaN = missing), category columns (text), `is_fraud` (the label in force at the end
of the file) and `label_known_at`. It knows no file and no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraudloop.domain.label import LABEL_SCHEMA, Label, effective
from fraudloop.errors import InputError
from fraudloop.limits import DAY_US
from fraudloop.scoring.inputs import Inputs

#: Text columns that are ids, outcomes or free of meaning for a model: never categories unless asked for by name.
NOT_CATEGORIES: Final = frozenset(
    {
        "transaction_id", "customer_id", "merchant_id", "device_id", "card_id", "ip", "status", "flow", "home_country", "rate_version", "source", "reason",
        "window_status",
    }
)  # fmt: skip

#: A text column with more different words than this in training is an id, not a category.
CATEGORY_WORDS_MAX: Final = 1_000

#: Number columns of the door that describe the payment in raw units: never features unless named as such.
NOT_FEATURES: Final = frozenset(
    {"amount_minor", "amount_base", "latitude", "longitude", "home_latitude", "home_longitude", "utc_offset", "zone_offset"}
)


def number_columns(table: pl.DataFrame, features: Sequence[str]) -> tuple[str, ...]:
    """The features and then the user's own float columns; InputError names features that are not there."""
    lacking = [name for name in features if name not in table.columns]
    if lacking:
        close = get_close_matches(lacking[0], table.columns, n=1, cutoff=0.5)
        hint = f"; the nearest column is {close[0]!r}" if close else ""
        raise InputError(
            f"the feature table lacks {len(lacking)} of {len(features)} features: {', '.join(lacking[:5])}{hint}", features=lacking
        )
    own = [name for name, kind in table.schema.items() if kind.is_float() and name not in NOT_FEATURES]
    return tuple(dict.fromkeys((*features, *own)))


def word_columns(table: pl.DataFrame, wanted: Sequence[str] | None = None) -> tuple[str, ...]:
    """The category columns: those asked for, or every text column that holds two to CATEGORY_WORDS_MAX words."""
    if wanted is not None:
        for name in wanted:
            if name not in table.columns:
                close = get_close_matches(name, table.columns, n=1, cutoff=0.5)
                raise InputError(f"no category column {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        return tuple(wanted)
    words = [name for name, kind in table.schema.items() if kind in (pl.String, pl.Categorical, pl.Enum) and name not in NOT_CATEGORIES]
    return tuple(name for name in words if 2 <= table[name].drop_nulls().n_unique() <= CATEGORY_WORDS_MAX)


def inputs_of(table: pl.DataFrame, numbers: Iterable[str], words: Iterable[str]) -> Inputs:
    """These columns as arrays; null becomes NaN or None."""
    names = tuple(numbers)
    values = np.empty((table.height, len(names)), np.float64)
    for at, name in enumerate(names):
        values[:, at] = table[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return Inputs(names, values, {name: table[name].cast(pl.String).to_list() for name in words})


def times_us(table: pl.DataFrame, column: str = "timestamp") -> NDArray[np.int64]:
    """A time column as microseconds since 1970 UTC; null is the largest int64 (never)."""
    return table[column].cast(pl.Datetime("us")).cast(pl.Int64).fill_null(np.iinfo(np.int64).max).to_numpy()


def local_days(table: pl.DataFrame, zone: str) -> NDArray[np.int64]:
    """Days since 1970 in a zone."""
    local = table["timestamp"].cast(pl.Datetime("us"))
    if zone != "UTC":
        local = local.dt.replace_time_zone("UTC").dt.convert_time_zone(zone).dt.replace_time_zone(None)
    days: NDArray[np.int64] = local.cast(pl.Int64).to_numpy() // DAY_US
    return days


def cards(table: pl.DataFrame) -> NDArray[np.int64]:
    """A code for each card: `card_id`, else `customer_id`, else a code of its own for each row."""
    columns = [name for name in ("card_id", "customer_id") if name in table.columns]
    if not columns:
        return np.arange(table.height, dtype=np.int64)
    ids = table.select(pl.coalesce(pl.col(name).cast(pl.String) for name in columns).alias("card"))
    own = pl.int_range(pl.len(), dtype=pl.Int64)
    return (
        ids.select(pl.when(pl.col("card").is_null()).then(-1 - own).otherwise(pl.col("card").rank("dense").cast(pl.Int64)))
        .to_series()
        .to_numpy()
    )


def amounts(table: pl.DataFrame) -> NDArray[np.float64]:
    """Amounts in units of the base currency, 0 where unknown: for costs, not for models."""
    if "amount_base" in table.columns:
        return table["amount_base"].cast(pl.Float64).fill_null(0.0).to_numpy() / 100.0
    for name in ("amount", "amount_minor"):
        if name in table.columns:
            values = table[name].cast(pl.Float64).fill_null(0.0).fill_nan(0.0).to_numpy()
            return values / 100.0 if name == "amount_minor" else values
    return np.zeros(table.height)


@dataclass(frozen=True, slots=True)
class Truth:
    """Labels of all rows. fraud: in force at the end of the file. known_us: when that became known (genuine: never).
    stated: whether anybody said anything. history: by row, for rows with more than one statement, all of them."""

    fraud: NDArray[np.bool_]
    known_us: NDArray[np.int64]
    stated: NDArray[np.bool_]
    history: dict[int, tuple[Label, ...]]

    def by(self, cut_us: int) -> NDArray[np.bool_]:
        """Which rows were known as fraud at a moment: the label in force among the statements known by then."""
        out: NDArray[np.bool_] = self.fraud & (self.known_us <= cut_us)
        for row, labels in self.history.items():
            found = effective(label for label in labels if label.known_at_us <= cut_us)
            out[row] = found is not None and found.is_fraud
        return out


def truth_of(table: pl.DataFrame, delay_us: int, labels: pl.DataFrame | None = None) -> Truth:
    """The labels of a feature table. Without `label_known_at` a fraud is known `delay_us` after it happened.

    `labels` (a canonical label table in order of arrival) adds the history of rows that more than one statement
    speaks of, so that a reversal counts only from when it came.
    """
    if "is_fraud" not in table.columns:
        raise InputError("the table has no labels (column is_fraud); map one in the column map, or bring a label file")
    fraud = table["is_fraud"].cast(pl.Boolean).fill_null(value=False).to_numpy()
    happened = times_us(table)
    known = np.where(fraud, happened + delay_us, np.iinfo(np.int64).max)
    if "label_known_at" in table.columns:
        given = times_us(table, "label_known_at")
        known = np.where(fraud & (given != np.iinfo(np.int64).max), given, known)
    history: dict[int, tuple[Label, ...]] = {}
    if labels is not None and labels.height:
        several = labels.filter(pl.len().over("transaction_id") > 1)
        rows = dict(zip(table["transaction_id"].to_list(), range(table.height), strict=True)) if several.height else {}
        for row in several.select(*LABEL_SCHEMA).iter_rows(named=True):
            at = rows.get(row["transaction_id"])
            if at is not None:
                moment = round(row["known_at"].timestamp() * 1_000_000)
                history[at] = (*history.get(at, ()), Label(row["transaction_id"], row["is_fraud"], moment, row["source"], row["reason"]))
    return Truth(fraud, known, table["is_fraud"].is_not_null().to_numpy(), history)

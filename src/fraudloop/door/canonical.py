"""Which transactions are the same: the canonical hash of a body, and what becomes of a repeated id.

Same id and same body is one transaction told twice; same id and another body is refused. One function for a file, a
request and a stream; it knows no store: what is already known is given to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import polars as pl

from fraudloop.domain.transaction import OUTSIDE_BODY

#: Stands in every hash, so that another way of writing a body can never meet this one's hashes.
BODY_VERSION: Final = b"fraudloop body 1"

CONFLICT_RULE: Final = "transaction_id.conflict"
CONFLICT_REASON: Final = "the same id came before with another body"


@dataclass(frozen=True, slots=True)
class Settled:
    """Which rows of a table count: Boolean [n] each, and exactly one of them is true in every row.

    first: the first of its id. copy: same id and same body as the first. conflict: same id, another body.
    """

    first: pl.Series
    copy: pl.Series
    conflict: pl.Series


def body_hashes(table: pl.DataFrame) -> pl.Series:
    """The canonical hash of each row of a canonical table: String [n] of 32 hex digits.

    It covers every column but those that the door or the arrival makes (OUTSIDE_BODY) and `row`; null fields are left
    out, so that neither the order of columns, nor other names for them, nor a column without values changes it.
    """
    names = sorted(n for n in table.columns if n not in OUTSIDE_BODY and n != "row")
    pieces = []
    for name in names:
        dtype = table.schema[name]
        value = pl.col(name)
        if isinstance(dtype, pl.Datetime):
            value = value.dt.convert_time_zone("UTC").dt.cast_time_unit("us").to_physical()
        elif dtype.is_float():
            # The bits, not a rendering; both zeros are one.
            value = (value.cast(pl.Float64) + 0.0).reinterpret(dtype=pl.Int64)
        text = value.cast(pl.String)
        # The length before the value makes the parts of two bodies meet only if they are equal.
        pieces.append(
            pl.when(value.is_not_null())
            .then(pl.concat_str(pl.lit(f"{name}="), text.str.len_bytes().cast(pl.String), pl.lit(":"), text))
            .otherwise(pl.lit(""))
        )
    bodies = table.select(pl.concat_str(pieces)).to_series() if table.height else pl.Series([], dtype=pl.String)
    return pl.Series("body", [blake2b(BODY_VERSION + b.encode(), digest_size=16).hexdigest() for b in bodies.to_list()], dtype=pl.String)


def settle(table: pl.DataFrame, known: pl.DataFrame | None = None) -> Settled:
    """Which rows are the first of their id, copies of it, or conflicts with it, in the order of the table.

    table: canonical transactions. known: `transaction_id` and `body` (as by `body_hashes`) of those already taken in.

    >>> rows = pl.DataFrame({"transaction_id": ["a", "a", "a"], "amount_minor": [1, 1, 2]})
    >>> s = settle(rows); s.copy.to_list(), s.conflict.to_list()
    ([False, True, False], [False, False, True])
    """
    n = table.height
    none = pl.repeat(False, n, dtype=pl.Boolean, eager=True)
    ids = table["transaction_id"]
    repeated = ids.is_duplicated()
    if known is not None and known.height:
        repeated = repeated | ids.is_in(known["transaction_id"].implode())
    if not repeated.any():
        return Settled(~none, none, none)
    # Only the bodies of repeated ids are compared.
    at = repeated.arg_true()
    some = table[at]
    frame = pl.DataFrame({"at": at, "transaction_id": some["transaction_id"], "body": body_hashes(some)})
    if known is not None and known.height:
        before = known.select("transaction_id", pl.col("body").alias("known"))
        frame = frame.join(before, on="transaction_id", how="left", maintain_order="left")
    else:
        frame = frame.with_columns(pl.lit(None, dtype=pl.String).alias("known"))
    frame = frame.with_columns(
        reference=pl.coalesce("known", pl.col("body").first().over("transaction_id")),
        nth=pl.int_range(pl.len()).over("transaction_id"),
    ).with_columns(first=pl.col("known").is_null() & (pl.col("nth") == 0))
    copies = frame.filter(~pl.col("first") & (pl.col("body") == pl.col("reference")))["at"]
    conflicts = frame.filter(~pl.col("first") & (pl.col("body") != pl.col("reference")))["at"]
    rows = pl.int_range(n, dtype=pl.Int64, eager=True)
    copy, conflict = rows.is_in(copies.cast(pl.Int64).implode()), rows.is_in(conflicts.cast(pl.Int64).implode())
    return Settled(~copy & ~conflict, copy, conflict)

"""What is typical of the traffic that a bundle was trained on: the median of each number, from its reference profile."""

from __future__ import annotations

import io

from fraudloop.errors import BundleError
from fraudloop.scoring.bundle import Bundle


def typical(bundle: Bundle) -> dict[str, float]:
    """By number column its median in training, as near as the profile's tenths tell it: the lower end of the bin that half
    of the known values lie below or in. Columns whose bins have no ends, or that were never known, are left out.

    BundleError if the profile cannot be read.
    """
    import polars as pl  # for the few who explain: scoring itself needs no tables

    try:
        profile = pl.read_parquet(io.BytesIO(bundle.files["reference.parquet"]))
        rows = profile.filter((pl.col("kind") == "number") & (pl.col("bin") >= 0)).select("column", "bin", "lower", "upper", "rows").rows()
    except (pl.exceptions.PolarsError, KeyError) as error:
        raise BundleError(f"reference.parquet: not the profile of a bundle ({error})") from error
    by_column: dict[str, list[tuple[int, float, float, int]]] = {}
    for column, place, lower, upper, count in rows:
        by_column.setdefault(column, []).append((place, lower, upper, count))
    out = {}
    for column, bins in by_column.items():
        whole, below = sum(count for *_, count in bins), 0
        for _, lower, upper, count in sorted(bins):
            below += count
            if 2 * below >= whole > 0:
                end = lower if lower > float("-inf") else upper
                if abs(end) < float("inf"):
                    out[column] = end
                break
    return out

"""A table of the user's becoming canonical transactions, labels and profiles, through the one door.

Bad rows go to the quarantine with row, column, rule and reason, good ones go on, until more than `max_rejected` of
them are bad: then nothing is accepted. It knows no feature and no model.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import polars as pl

from fraudloop.data import contracts, summary
from fraudloop.data.columns import DEFAULT_DELAY_US, ColumnMap
from fraudloop.data.readers import MALFORMED, Source, scan
from fraudloop.domain.label import DEFAULT_SOURCE, LABEL_SCHEMA
from fraudloop.domain.label import FIELDS as LABEL_FIELDS
from fraudloop.domain.profile import FIELDS as PROFILE_FIELDS
from fraudloop.domain.profile import PROFILE_SCHEMA
from fraudloop.domain.profile import REQUIRED as PROFILE_REQUIRED
from fraudloop.domain.transaction import FIELDS
from fraudloop.door.canonical import CONFLICT_REASON, CONFLICT_RULE, settle
from fraudloop.door.pan import TokenKey, hide
from fraudloop.door.rates import RateTable
from fraudloop.door.shape import Shape, listed, nearest
from fraudloop.door.table import REJECTED_SCHEMA, Admitted, admit, admit_labels, admit_profiles, flatten, polars_schema
from fraudloop.errors import ColumnMapError, DataError, InputError
from fraudloop.telemetry import Progress, silent

DEFAULT_MAX_REJECTED: Final = 0.01
TABLE_SUFFIXES: Final = (".parquet", ".pq", ".csv")


@dataclass(frozen=True, slots=True)
class Ingested:
    """What a table came to.

    transactions, labels, profiles: canonical, in file order. rejected: REJECTED_SCHEMA. report: plain data about all of
    it, see `docs/reference/columns.md`.
    """

    transactions: pl.DataFrame
    labels: pl.DataFrame
    profiles: pl.DataFrame
    rejected: pl.DataFrame
    report: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resources:
    """What reading needs from outside: rates for amounts in the base currency, the key of tokens."""

    rates: RateTable
    tokens: TokenKey

    @staticmethod
    def of(columns: ColumnMap, base_currency: str = "EUR", tokens: TokenKey | None = None) -> Resources:
        """The map's own rate table, else the sample; the map's base currency goes before `base_currency`."""
        base = columns.base_currency or base_currency
        rates = RateTable.load(columns.rates, base) if columns.rates else RateTable.sample(base)
        return Resources(rates, tokens or TokenKey())


def read(path: str | Path, columns: ColumnMap | str | Path, quarantine: str | Path | None = None, max_rejected: float = DEFAULT_MAX_REJECTED, *,
         labels: str | Path | None = None, profiles: str | Path | None = None, resources: Resources | None = None,
         progress: Progress = silent) -> Ingested:  # fmt: skip
    """Read a table of transactions, with its labels and profiles.

    columns: a map, a preset's name or a TOML file. quarantine: where rejections go (.parquet or .csv), written whatever
    comes of the run. max_rejected: the largest share of bad rows; DataError above it, and nothing is accepted. labels,
    profiles: files apart, instead of those the map names. InputError or ColumnMapError if a file is no table or does
    not fit the map.
    """
    columns = columns if isinstance(columns, ColumnMap) else ColumnMap.load(columns)
    if not 0.0 <= max_rejected <= 1.0:
        raise InputError(f"the largest share of bad rows is {max_rejected}; it must be 0 to 1")
    if quarantine is not None:
        check_writable(quarantine)
    run = _Run(columns, resources or Resources.of(columns), Counter(), Counter(), [])
    source = scan(path, columns.delimiter, columns.encoding)
    table, marks = run.transactions(source, progress)
    table, marks = run.without_copies(table, marks)
    table, marks = run.within_contract(table, marks)
    label_path = labels or (columns.label.file if columns.label else None)
    events = run.labels_apart(label_path, table) if label_path else run.labels_beside(marks, table)
    profile_path = profiles or (columns.profiles.file if columns.profiles else None)
    profile_table = run.profiles(profile_path) if profile_path else pl.DataFrame(schema=polars_schema(PROFILE_SCHEMA))
    rejected = pl.concat(run.rejected) if run.rejected else pl.DataFrame(schema=dict(REJECTED_SCHEMA))
    if quarantine is not None:
        write_table(rejected, quarantine)
    run.enforce(max_rejected, rejected, quarantine)
    report = run.report(source, table, marks, events, profile_table, rejected)
    return Ingested(table.drop("row"), events, profile_table, rejected, report)


def check_writable(path: str | Path) -> None:
    """InputError if a table cannot be written there, before any work is done."""
    path = Path(path)
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise InputError(f"{path}: the name of a table to write ends in {', '.join(TABLE_SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}")


def write_table(table: pl.DataFrame, path: str | Path) -> None:
    """Write Parquet, or CSV if the name ends so; InputError if it cannot be written."""
    path = Path(path)
    check_writable(path)
    try:
        if path.suffix.lower() == ".csv":
            table.write_csv(path)
        else:
            table.write_parquet(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


@dataclass(slots=True)
class _Run:
    """One reading: the map, what it needs, and what was counted and refused so far, by table."""

    columns: ColumnMap
    resources: Resources
    notes: Counter[str]
    counts: Counter[str]
    rejected: list[pl.DataFrame]
    ignored: list[str] = field(default_factory=list)

    def transactions(self, source: Source, progress: Progress) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """Canonical transactions behind `row`, and the labels beside them (behind `row` too)."""
        shape = self.columns.shape
        where = str(source.path)
        fields = shape.resolve(source.columns, FIELDS, ("transaction_id", "timestamp", "amount"), where)
        wanted = [*fields.values(), *shape.extra.values()]
        beside = self._beside(source, fields.get("transaction_id", ""))
        taken = dict.fromkeys([*wanted, *(beside.fields.values() if beside else ())])
        self.ignored = [c for c in source.columns if c not in taken]
        tables, marks = [], []
        for first, chunk in source.chunks(list(taken)):
            flat = flatten(chunk)
            admitted = admit(
                flat.select(list(dict.fromkeys(wanted))), shape, self.resources.rates, self.resources.tokens, first_row=first, where=where
            )
            admitted = self._of_lines(flat, admitted, first, "transactions")
            table = admitted.accepted
            if beside is not None:
                mark, bad = self._marks(flat, table, beside, first, admitted)
                if len(bad):
                    table = table.filter(~pl.col("row").is_in(bad.implode()))
                marks.append(mark)
            else:
                self._count("transactions", admitted, 0)
            tables.append(table)
            progress("reading", first + chunk.height, source.rows or 0)
        if not tables:
            raise InputError(f"{source.path} has a header but no rows")
        return pl.concat(tables), pl.concat(marks) if marks else None

    def _of_lines(self, chunk: pl.DataFrame, admitted: Admitted, first: int, table: str) -> Admitted:
        """What the lines of a CSV say beyond their values: a malformed line is one fault, a blank one is nothing."""
        self.counts[f"{table}.rows"] += chunk.height
        if not admitted.rejected_rows:
            return admitted
        rows = pl.int_range(first, first + chunk.height, dtype=pl.Int64, eager=True).alias("row")
        blank = rows.filter(chunk.select(pl.all_horizontal(pl.all().is_null())).to_series())
        rejected, bad = admitted.rejected, admitted.rejected_rows
        if len(blank):
            rejected = rejected.filter(~pl.col("row").is_in(blank.implode()))
            bad -= len(blank)
            self.counts[f"{table}.rows"] -= len(blank)
            self.notes["row.blank"] += len(blank)
        if MALFORMED in chunk.columns:
            lines = chunk.select(rows, pl.col(MALFORMED)).drop_nulls()
            own = lines.select(
                pl.lit(table).alias("table"), "row", pl.lit(None, dtype=pl.String).alias("column"), pl.lit("row.fields").alias("rule"),
                pl.col(MALFORMED).alias("reason"), pl.lit(None, dtype=pl.String).alias("value"),
            )  # fmt: skip
            rejected = pl.concat([rejected.filter(~pl.col("row").is_in(lines["row"].implode())), own]).sort("row", maintain_order=True)
        return replace(admitted, rejected=rejected, rejected_rows=bad)

    def _beside(self, source: Source, id_column: str) -> Shape | None:
        """The shape of labels in the table itself, None if there are none."""
        label = self.columns.label
        if label is None or label.file is not None or "is_fraud" not in label.shape.fields:
            return None
        column = label.shape.fields["is_fraud"]
        if column not in source.columns:
            if label.optional:
                return None
            raise ColumnMapError(
                f"{source.path}: no column {column!r} (mapped to is_fraud){nearest(column, source.columns)}; columns: {listed(source.columns)}"
            )
        if label.optional:
            # A map for tables in general names columns that a table may lack.
            fields = {field: name for field, name in label.shape.fields.items() if name in source.columns}
            return replace(label.shape, fields=fields)
        return label.shape

    def _marks(
        self, chunk: pl.DataFrame, table: pl.DataFrame, shape: Shape, first: int, admitted: Admitted
    ) -> tuple[pl.DataFrame, pl.Series]:
        """Labels of the accepted rows of a chunk, and the rows whose label cannot be read."""
        rows = table["row"]
        picked = chunk.select(list(dict.fromkeys(shape.fields.values())))
        picked = picked if table.height == chunk.height else picked[rows - first]
        picked = picked.with_columns(table["transaction_id"].alias("!id"))
        own = replace(shape, fields={**shape.fields, "transaction_id": "!id"})
        given = picked[shape.fields["is_fraud"]].is_not_null()
        if picked.schema[shape.fields["is_fraud"]] == pl.String:
            given = given & (picked[shape.fields["is_fraud"]].str.strip_chars() != "")
        at = rows if given.all() else rows.filter(given)
        labels = admit_labels(picked if given.all() else picked.filter(given), own, self.resources.tokens, where="labels", settled=True)
        bad = at.gather(labels.rejected["row"].unique()) if labels.rejected_rows else pl.Series("row", [], dtype=pl.Int64)
        if labels.rejected_rows:
            self.rejected.append(
                labels.rejected.with_columns(at.gather(labels.rejected["row"]).alias("row"), pl.lit("transactions").alias("table"))
            )
        self._count("transactions", admitted, labels.rejected_rows)
        return labels.accepted.with_columns(at.gather(labels.accepted["row"]).alias("row")), bad

    def _count(self, table: str, admitted: Admitted, more: int) -> None:
        self.notes.update(admitted.notes)
        self.counts[f"{table}.rejected"] += admitted.rejected_rows + more
        if admitted.rejected.height:
            self.rejected.append(admitted.rejected)

    def without_copies(self, table: pl.DataFrame, marks: pl.DataFrame | None) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """Each id once; copies are counted, conflicts rejected."""
        settled = settle(table)
        if settled.first.all():
            return table, marks
        conflicts = table.filter(settled.conflict)
        self.notes["transaction_id.copy"] += int(settled.copy.sum())
        self.counts["transactions.rejected"] += conflicts.height
        if conflicts.height:
            shape = self.columns.shape
            self.rejected.append(conflicts.select(
                pl.lit("transactions").alias("table"), "row", pl.lit(shape.fields.get("transaction_id", "transaction_id")).alias("column"),
                pl.lit(CONFLICT_RULE).alias("rule"), pl.lit(CONFLICT_REASON).alias("reason"),
                pl.Series("value", [hide(v) for v in conflicts["transaction_id"].to_list()], dtype=pl.String),
            ))  # fmt: skip
        kept = table.filter(settled.first)
        return kept, marks.filter(pl.col("row").is_in(kept["row"].implode())) if marks is not None else None

    def within_contract(self, table: pl.DataFrame, marks: pl.DataFrame | None) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """The rows that keep the contract of transactions; the door and the user's expectations make it."""
        shape = self.columns.shape
        extra = {n: table.schema[n] for n in shape.extra}
        checked = contracts.check_transactions(table.drop("row"), self.columns.expect, extra)
        if not checked.bad.height:
            return table, marks
        own = {**shape.fields, **shape.extra}
        refused = contracts.as_rejected(checked, "transactions", table["row"], own)
        self.rejected.append(refused)
        bad = refused["row"].unique()
        self.counts["transactions.rejected"] += len(bad)
        keep = ~pl.col("row").is_in(bad.implode())
        return table.filter(keep), marks.filter(keep) if marks is not None else None

    def labels_beside(self, marks: pl.DataFrame | None, table: pl.DataFrame) -> pl.DataFrame:
        """Label events from the table's own column."""
        label = self.columns.label
        if marks is None or label is None:
            return pl.DataFrame(schema=polars_schema(LABEL_SCHEMA))
        # Genuine is what nobody has reported, unless the row says since when or from whom it is known.
        events = marks.filter(pl.col("is_fraud") | pl.col("known_at").is_not_null() | pl.col("source").is_not_null())
        events = events.join(table.select("row", "timestamp"), on="row", how="left", maintain_order="left")
        return self._known(events, label.delay_us, label.source, "transactions")

    def labels_apart(self, path: str | Path, table: pl.DataFrame) -> pl.DataFrame:
        """Label events from a file of their own."""
        label = self.columns.label
        shape = label.shape if label is not None and label.file is not None else Shape(zone=self.columns.shape.zone)
        events = pl.concat(self._apart(path, shape, LABEL_FIELDS, ("transaction_id", "is_fraud"), "labels"))
        events = events.join(table.select("transaction_id", "timestamp"), on="transaction_id", how="left", maintain_order="left")
        return self._known(events, label.delay_us if label else DEFAULT_DELAY_US, label.source if label else None, "labels")

    def profiles(self, path: str | Path) -> pl.DataFrame:
        """Profiles from their file."""
        shape = (
            self.columns.profiles.shape
            if self.columns.profiles is not None
            else Shape(constants={"entity": "customer"}, zone=self.columns.shape.zone)
        )
        return pl.concat(self._apart(path, shape, PROFILE_FIELDS, PROFILE_REQUIRED, "profiles")).drop("row")

    def _apart(self, path: str | Path, shape: Shape, schema: Any, required: tuple[str, ...], table: str) -> list[pl.DataFrame]:
        source = scan(path, None, self.columns.encoding)
        fields = shape.resolve(source.columns, schema, required, str(path))
        out = []
        for first, frame in source.chunks(list(fields.values())):
            chunk = flatten(frame)
            by = admit_labels if table == "labels" else admit_profiles
            admitted = self._of_lines(chunk, by(chunk, shape, self.resources.tokens, first_row=first, where=str(path)), first, table)
            self._count(table, admitted, 0)
            out.append(admitted.accepted)
        if not out:
            raise InputError(f"{path} has a header but no rows")
        return out

    def _known(self, events: pl.DataFrame, delay_us: int, source: str | None, table: str) -> pl.DataFrame:
        """Labels with the time they were known and their source filled in, as far as they keep their contract."""
        filled = int(events["known_at"].null_count())
        if filled:
            self.notes["label.default_delay"] += filled
        known = pl.coalesce("known_at", pl.col("timestamp") + pl.duration(microseconds=delay_us))
        events = events.with_columns(known_at=known, source=pl.col("source").fill_null(source or DEFAULT_SOURCE))
        # A label for nothing has no time either, if it is to come a delay after its transaction.
        lost = events["timestamp"].is_null()
        if lost.any():
            self.rejected.append(events.filter(lost).select(
                pl.lit(table).alias("table"), "row", pl.lit("transaction_id").alias("column"), pl.lit(contracts.NO_TRANSACTION).alias("rule"),
                pl.lit("no such transaction in the table").alias("reason"), pl.lit(None, dtype=pl.String).alias("value"),
            ))  # fmt: skip
            self.counts[f"{table}.orphans"] += int(lost.sum())
            events = events.filter(~lost)
        if not events.height:
            return events.select(list(LABEL_SCHEMA))
        checked = contracts.check_labels(events.select(*LABEL_SCHEMA, pl.col("timestamp").alias("transaction_time")))
        if checked.bad.height:
            refused = contracts.as_rejected(checked, table, events["row"], self.columns.label.shape.fields if self.columns.label else {})
            self.rejected.append(refused)
            bad = checked.bad["at"].unique()
            self.counts[f"{table}.rejected"] += len(bad)
            at = pl.int_range(events.height, dtype=pl.Int64, eager=True)
            events = events.filter(~at.is_in(bad.implode()))
        return events.select(list(LABEL_SCHEMA))

    def enforce(self, max_rejected: float, rejected: pl.DataFrame, quarantine: str | Path | None) -> None:
        """DataError where more than `max_rejected` of a table's rows are bad."""
        for table in ("transactions", "labels", "profiles"):
            rows, bad = self.counts[f"{table}.rows"], self.counts[f"{table}.rejected"]
            if rows and bad > max_rejected * rows:
                worst = rejected.filter(pl.col("table") == table).group_by("rule", "column").len().sort("len", descending=True).head(3)
                rules = "; ".join(f"{n:,} x {rule}" + (f" ({column})" if column else "") for rule, column, n in worst.iter_rows())
                see = f"see {quarantine}" if quarantine is not None else "give --quarantine FILE to see them"
                raise DataError(
                    f"{bad:,} of {rows:,} {table} are bad ({bad / rows:.1%}, at most {max_rejected:.1%}): {rules}; {see}",
                    table=table,
                    rejected=bad,
                    rows=rows,
                )

    def report(
        self,
        source: Source,
        table: pl.DataFrame,
        marks: pl.DataFrame | None,
        labels: pl.DataFrame,
        profiles: pl.DataFrame,
        rejected: pl.DataFrame,
    ) -> dict[str, Any]:
        """Plain data about the reading; `findings` and `warnings` are what a person should look at."""
        label = self.columns.label
        span = summary.time_span(table)
        frauds = (
            summary.fraud(table, labels, None if marks is None else marks.height)
            if label is not None or labels.height
            else {"labelled": 0, "frauds": 0, "rate": None}
        )
        expected = {
            "fraud_rate": frauds["rate"],
            "out_of_order_rows": span["out_of_order"],
            "unknown_currency_rows": self.notes["currency.unknown"],
            "no_rate_rows": int(table["amount_base"].null_count()),
        }
        findings = contracts.check_business(expected, self.columns.expect)
        counts = {
            name: {
                "rows": self.counts[f"{name}.rows"],
                "accepted": accepted,
                "rejected": self.counts[f"{name}.rejected"],
            }
            for name, accepted in (("transactions", table.height), ("labels", labels.height), ("profiles", profiles.height))
            if name == "transactions" or self.counts[f"{name}.rows"]
        }
        counts["transactions"]["copies"] = self.notes["transaction_id.copy"]
        if "labels" in counts:
            counts["labels"]["without_transaction"] = self.counts["labels.orphans"]
        shape = self.columns.shape
        return {
            "file": str(source.path),
            "columns": self.columns.name,
            "counts": counts,
            "rejections": summary.rejections(rejected),
            "time": span,
            "fraud": frauds,
            "labels": summary.maturity(table, labels, label.delay_us if label else DEFAULT_DELAY_US),
            "currencies": summary.currencies(table),
            "base_currency": self.resources.rates.base,
            "nulls": summary.null_shares(table.drop("row"), {**shape.fields, **shape.constants}),
            "ignored_columns": self.ignored,
            "notes": dict(self.notes),
            "findings": [asdict(f) for f in findings],
            "warnings": self._warnings(source, table, labels),
        }

    def _warnings(self, source: Source, table: pl.DataFrame, labels: pl.DataFrame) -> list[str]:
        out = []
        label = self.columns.label
        if self.notes["label.default_delay"] and not (label is not None and label.stated):
            days = (label.delay_us if label else DEFAULT_DELAY_US) / 86_400e6
            out.append(
                f"{self.notes['label.default_delay']:,} labels do not say when they became known; taken as {days:g} days after the transaction. Map known_at, or state label.delay in the column map."
            )
        if self.notes["card_number.tokenised"]:
            out.append(f"{self.notes['card_number.tokenised']:,} ids held card numbers and were replaced by tokens.")
            if self.resources.tokens.is_default:
                out.append(
                    "The tokens are made with the key that everybody has: whoever tries all numbers can undo them. Set FRAUDLOOP_TOKEN_KEY."
                )
        if self.notes["place.half"]:
            out.append(f"{self.notes['place.half']:,} places had a latitude or a longitude alone and were left out.")
        if self.notes["transaction_id.copy"]:
            out.append(f"{self.notes['transaction_id.copy']:,} rows repeat an earlier one exactly and were counted once.")
        if self.resources.rates.is_sample and table.filter(pl.col("currency") != self.resources.rates.base).height:
            out.append(
                'Amounts in other currencies were converted by the sample rates, which are rounded and fixed. Give your own: rates = "FILE.csv" in the column map.'
            )
        for name in ("customer_id", "merchant_id"):
            missing = int(table[name].null_count())
            if missing:
                out.append(f"{missing:,} of {table.height:,} rows have no {name}; their features of it will be missing.")
        if not labels.height:
            out.append("There are no labels: nothing can be trained on this table alone.")
        return out

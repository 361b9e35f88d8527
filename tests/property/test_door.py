"""The door against plain definitions: money, times, rates, card numbers and the canonical hash, on generated values."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from typing import Any

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from fraudloop.domain.money import CURRENCIES, EXPONENTS, AmountError, from_minor, to_minor
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.door.canonical import body_hashes, settle
from fraudloop.door.pan import TokenKey, find_pans, hide, holds_pan, is_pan, luhn
from fraudloop.door.rates import BASE_SCALE, RATE_SCALE, Rate, RateTable
from fraudloop.door.shape import Number, Shape
from fraudloop.door.table import Admitted, admit
from fraudloop.limits import AMOUNT_MINOR_MAX

RATES = RateTable.sample()
CODES = st.sampled_from(sorted(CURRENCIES))
MINORS = st.integers(-AMOUNT_MINOR_MAX, AMOUNT_MINOR_MAX)


def through(amounts: list[Any], currency: str, dtype: Any = pl.String, **shape: Any) -> Admitted:
    """Amounts through the door for tables, one transaction each."""
    n = len(amounts)
    frame = pl.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in range(n)],
            "timestamp": ["2026-01-31T00:00:00Z"] * n,
            "amount": pl.Series(amounts, dtype=dtype),
            "currency": [currency] * n,
        }
    )
    return admit(frame, Shape(negative=True, **shape), RATES)


def by_row(admitted: Admitted, n: int) -> list[int | str]:
    """Minor units, or the rule that refused each row."""
    out: dict[int, int | str] = {row: rule.removeprefix("amount.") for row, rule in admitted.rejected.select("row", "rule").iter_rows()}
    out |= dict(admitted.accepted.select("row", "amount_minor").iter_rows())
    return [out[i] for i in range(n)]


def scalar(amount: str | float, currency: str, round_finer: bool = False) -> int | str:
    try:
        return to_minor(amount, EXPONENTS.get(currency, 2), round_finer=round_finer)
    except AmountError as error:
        return str(error.fields["rule"])


@given(MINORS, CODES)
def test_minor_units_written_as_text_come_back_exactly(minor: int, currency: str) -> None:
    text = from_minor(minor, EXPONENTS[currency])
    assert to_minor(text, EXPONENTS[currency]) == minor
    assert by_row(through([text], currency), 1) == [minor]


@given(MINORS, CODES)
@example(999_999_999_999_999, "CLF")
@example(-999_999_999_999_873, "EUR")
def test_minor_units_written_as_a_float_come_back_exactly(minor: int, currency: str) -> None:
    value = float(from_minor(minor, EXPONENTS[currency]))
    assert to_minor(value, EXPONENTS[currency]) == minor
    assert by_row(through([value], currency, pl.Float64), 1) == [minor]


AMOUNT_TEXTS = st.one_of(
    st.from_regex(r"\A[+-]?[0-9]{0,20}\.?[0-9]{0,24}\Z"),
    st.from_regex(r"\A[+-]?[0-9]{1,3}\.?[0-9]{0,3}[eE][+-]?[0-9]{1,3}\Z"),
    st.sampled_from(
        ["nan", "-inf", "Infinity", ".", "+", "", "1,5", "0x10", "1_000", "٣", "1e999", "-0", "0.000", "1e-400", "00000000000000000000001"]
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6),
)


@given(st.lists(AMOUNT_TEXTS, min_size=1, max_size=8), st.sampled_from(["EUR", "JPY", "KWD", "CLF"]), st.booleans())
@example(["0.125", "0.135", "-0.125", "1.0000000000000000000001"], "EUR", True)
@example(["2000000000000000.1", "1000000000000000.6"], "JPY", False)
@example(["0E30", "-0e-400"], "EUR", False)
def test_text_means_the_same_for_a_table_as_for_one_value(texts: list[str], currency: str, round_finer: bool) -> None:
    def expected(text: str) -> int | str:
        return "missing" if not text.strip() else scalar(text, currency, round_finer)

    assert by_row(through(texts, currency, round_finer=round_finer), len(texts)) == [expected(t) for t in texts]


@given(st.lists(st.floats(), min_size=1, max_size=8), st.sampled_from(["EUR", "JPY", "KWD", "CLF"]), st.booleans())
@example([85.64999999999999, 57.16, 0.1 + 0.2, 1e13, -0.0, 0.015, 5e-324], "EUR", False)
def test_a_float_means_the_same_for_a_table_as_for_one_value(values: list[float], currency: str, round_finer: bool) -> None:
    got = by_row(through(values, currency, pl.Float64, round_finer=round_finer), len(values))
    assert got == [scalar(v, currency, round_finer) for v in values]


@given(st.decimals(-(10**6), 10**6, places=6))
def test_rounding_by_request_is_half_to_even(value: Decimal) -> None:
    with localcontext() as context:
        context.prec = 50
        expected = int((value * 100).to_integral_value(rounding=ROUND_HALF_EVEN))
    assert by_row(through([str(value)], "EUR", round_finer=True), 1) == [expected]


@given(
    st.lists(
        st.tuples(st.sampled_from(["EUR", "USD", "JPY", "KWD"]), st.integers(0, 5), st.integers(1, 10 ** (RATE_SCALE + 3))), max_size=8
    ),
    st.sampled_from(["EUR", "JPY", "KWD"]),
    st.lists(st.tuples(MINORS, st.sampled_from(["EUR", "USD", "JPY", "KWD", "XXQ", None]), st.integers(0, 6)), min_size=1, max_size=8),
)
def test_conversion_is_the_fraction_rounded_half_to_even(
    rates: list[tuple[str, int, int]], base: str, rows: list[tuple[int, str | None, int]]
) -> None:
    kept = {(currency, time): Rate(currency, time, value, f"v{time}") for currency, time, value in [*rates, (base, 0, 10**RATE_SCALE)]}
    table = RateTable.of(kept.values(), base)

    def in_force(currency: str, time: int) -> Rate | None:
        return max(
            (r for r in kept.values() if r.currency == currency and r.valid_from_us <= time), key=lambda r: r.valid_from_us, default=None
        )

    def expected(minor: int, currency: str | None, time: int) -> tuple[int | None, str | None]:
        rate, own = in_force(currency or "", time), in_force(base, time)
        if currency is None or rate is None or own is None:
            return None, None
        exact = Fraction(minor) * 10**BASE_SCALE * Fraction(rate.value, own.value) / 10 ** EXPONENTS[currency]
        rounded = round(exact)  # Python rounds halves to even
        return (rounded, rate.version) if abs(rounded) <= AMOUNT_MINOR_MAX else (None, rate.version)

    got = table.convert_columns(
        pl.Series([r[0] for r in rows], dtype=pl.Int64),
        pl.Series([r[1] for r in rows], dtype=pl.String),
        pl.Series([r[2] for r in rows], dtype=pl.Int64),
    )
    assert got.rows() == [expected(*row) for row in rows]


# --- times ---------------------------------------------------------------------------------------------------------

MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2099, 12, 30))  # noqa: DTZ001 - naive on purpose
OFFSETS = st.integers(-12 * 60, 14 * 60)


@given(MOMENTS, OFFSETS, st.sampled_from(["T", " ", "t"]), st.integers(0, 6), st.sampled_from([":", ""]))
def test_iso_times_mean_what_python_reads(moment: datetime, offset: int, between: str, digits: int, colon: str) -> None:
    zone = timezone(timedelta(minutes=offset))
    sign, (hours, minutes) = "-" if offset < 0 else "+", divmod(abs(offset), 60)
    fraction = f".{moment.microsecond:06d}"[: digits + 1] if digits else ""
    text = f"{moment:%Y-%m-%d}{between}{moment:%H:%M:%S}{fraction}{sign}{hours:02d}{colon}{minutes:02d}"
    cut = moment.replace(microsecond=int(f"{fraction[1:]:0<6}") if digits else 0)
    row = stamped([text]).accepted.row(0, named=True)
    assert row["timestamp"] == cut.replace(tzinfo=zone)
    assert row["utc_offset"] == (None if text.endswith(("-0000", "-00:00")) else offset)


@given(
    MOMENTS.filter(lambda t: t.year < 2100),
    st.sampled_from(["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]),
    st.sampled_from(["earliest", "latest"]),
)
def test_a_local_time_is_one_that_the_zone_shows_at_that_moment(moment: datetime, zone: str, ambiguous: str) -> None:
    from zoneinfo import ZoneInfo

    done = stamped([moment.isoformat()], zone=zone, ambiguous=ambiguous)
    local = moment.replace(tzinfo=ZoneInfo(zone), fold=int(ambiguous == "latest"))
    exists = local.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) == moment
    if not exists:
        assert done.rejected["rule"].to_list() == ["timestamp.gap"]
        return
    row = done.accepted.row(0, named=True)
    assert row["timestamp"] == local.astimezone(UTC)
    offset = local.utcoffset()
    assert offset is not None
    assert row["zone_offset"] == offset.total_seconds() // 60
    assert row["utc_offset"] is None


@given(st.integers(0, 4_100_000_000_000_000), st.sampled_from(["s", "ms", "us", "ns"]))
def test_epochs_are_read_in_their_unit_and_cut_to_microseconds(us: int, unit: str) -> None:
    number, expected = {
        "s": (us // 10**6, us // 10**6 * 10**6),
        "ms": (us // 1000, us // 1000 * 1000),
        "us": (us, us),
        "ns": (us * 1000 + 999, us),
    }[unit]
    for values in ([number], [str(number)]):
        assert stamped(values, unit=unit).accepted["timestamp"].to_physical().to_list() == [expected]
    with_fraction = f"{us // 10**6}.{us % 10**6:06d}999"
    assert stamped([with_fraction], unit="s").accepted["timestamp"].to_physical().to_list() == [us]


def stamped(values: list[Any], **shape: Any) -> Admitted:
    n = len(values)
    frame = pl.DataFrame({"transaction_id": [f"t{i}" for i in range(n)], "timestamp": values, "amount": ["1"] * n, "currency": ["EUR"] * n})
    return admit(frame, Shape(**shape), RATES)


# --- the whole door ------------------------------------------------------------------------------------------------

IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(lambda s: s.strip() == s and s != "")
ROWS = st.fixed_dictionaries(
    {
        "transaction_id": IDS,
        "timestamp": st.datetimes(datetime(1970, 1, 2), datetime(2099, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001
        "customer_id": st.none() | IDS,
        "merchant_category": st.none() | IDS,
        "amount": st.integers(0, 10**12),
        "currency": st.sampled_from(["EUR", "JPY", "KWD", "USD"]),
        "country": st.none() | st.sampled_from(["DE", "FRA", "united kingdom", "US"]),
        "is_online": st.none() | st.booleans(),
        "latitude": st.none() | st.integers(-900_000_000, 900_000_000),
        "longitude": st.none() | st.integers(-1_800_000_000, 1_800_000_000),
        "points": st.none() | st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: not is_pan(str(math.trunc(abs(x))))),
        "channel": st.none() | IDS,
    }
)
SHAPE = Shape(numbers={"points": Number("points")}, categories={"channel": "channel"})


def outside(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a caller would bring them: amounts as decimal text, degrees as text of seven decimals."""
    types: dict[str, Any] = {
        "transaction_id": pl.String, "timestamp": pl.Datetime("us", "UTC"), "customer_id": pl.String, "merchant_category": pl.String,
        "amount": pl.String, "currency": pl.String, "country": pl.String, "is_online": pl.Boolean, "latitude": pl.String, "longitude": pl.String,
        "points": pl.Float64, "channel": pl.String,
    }  # fmt: skip
    out = []
    for row in rows:
        degrees = {k: None if row[k] is None else from_minor(row[k], 7) for k in ("latitude", "longitude")}
        out.append({**row, "amount": from_minor(row["amount"], EXPONENTS[row["currency"]]), **degrees})
    return pl.DataFrame(out, schema=types)


def again(table: pl.DataFrame) -> pl.DataFrame:
    """A canonical table written as a caller would bring it."""
    rows = table.rename({"amount_minor": "amount"}).select("transaction_id", "timestamp", "customer_id", "merchant_category", "amount", "currency",
                                                         "country", "is_online", "latitude", "longitude", "points", "channel").to_dicts()  # fmt: skip
    return outside(rows)


@given(st.lists(ROWS, min_size=1, max_size=6))
def test_what_came_through_the_door_comes_through_unchanged(rows: list[dict[str, Any]]) -> None:
    first = admit(outside(rows), SHAPE, RATES)
    assert first.rejected.height == 0
    second = admit(again(first.accepted), SHAPE, RATES)
    assert second.accepted.equals(first.accepted)


@given(st.lists(ROWS, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_rows_come_out_alike_alone_and_together(rows: list[dict[str, Any]], random: Any) -> None:
    together = admit(outside(rows), SHAPE, RATES).accepted
    alone = pl.concat([admit(outside([row]), SHAPE, RATES, first_row=i).accepted for i, row in enumerate(rows)])
    assert alone.equals(together)


@given(st.lists(ROWS, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_the_hash_of_a_body_does_not_change_with_order_names_or_empty_columns(rows: list[dict[str, Any]], random: Any) -> None:
    frame = outside(rows)
    expected = body_hashes(admit(frame, SHAPE, RATES).accepted)
    columns = frame.columns
    random.shuffle(columns)
    renamed = frame.select(columns).rename({"customer_id": "user_id", "country": "merchant_country", "points": "pts"})
    other = Shape(numbers={"points": Number("pts")}, categories={"channel": "channel"})
    nested = renamed.with_columns(location=pl.struct("latitude", "longitude"), device_id=pl.lit(None, dtype=pl.String)).drop(
        "latitude", "longitude"
    )
    table = admit(nested, other, RATES).accepted
    shuffled = table.columns
    random.shuffle(shuffled)
    assert body_hashes(table.select(shuffled)).to_list() == expected.to_list()
    later = table.with_columns(
        received_at=pl.lit(datetime(2026, 1, 1, tzinfo=UTC)), rate_version=pl.lit("other"), amount_base=pl.lit(1, dtype=pl.Int64)
    )
    assert body_hashes(later).to_list() == expected.to_list()


@given(ROWS, ROWS)
def test_bodies_have_one_hash_if_and_only_if_they_are_equal(a: dict[str, Any], b: dict[str, Any]) -> None:
    table = admit(outside([a, b]), SHAPE, RATES).accepted
    body = [n for n in (*TRANSACTION_SCHEMA, "points", "channel") if n not in ("received_at", "zone_offset", "amount_base", "rate_version")]
    same = table.select(body).row(0) == table.select(body).row(1)
    hashes = body_hashes(table)
    assert (hashes[0] == hashes[1]) == same


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), max_size=12),
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2)), max_size=3),
)
def test_repeated_ids_are_settled_as_one_by_one(rows: list[tuple[str, int]], before: list[tuple[str, int]]) -> None:
    taken = dict(before)

    def frame(pairs: list[tuple[str, int]]) -> pl.DataFrame:
        return pl.DataFrame(
            {"transaction_id": [p[0] for p in pairs], "amount_minor": [p[1] for p in pairs]},
            schema={"transaction_id": pl.String, "amount_minor": pl.Int64},
        )

    stored = frame(list(taken.items()))
    known = stored.select("transaction_id").with_columns(body_hashes(stored))
    expected = []
    for name, body in rows:
        expected.append("first" if name not in taken else "copy" if taken[name] == body else "conflict")
        taken.setdefault(name, body)
    got = settle(frame(rows), known)
    assert [
        n
        for row in zip(got.first, got.copy, got.conflict, strict=True)
        for n, yes in zip(("first", "copy", "conflict"), row, strict=True)
        if yes
    ] == expected


# --- card numbers --------------------------------------------------------------------------------------------------


def check_digit(digits: str) -> str:
    return next(d for d in "0123456789" if luhn(digits + d))


CARDS = st.tuples(
    st.sampled_from([("4", 16), ("51", 16), ("2221", 16), ("34", 15), ("36", 14), ("6011", 16), ("3528", 16), ("62", 19), ("6759", 18), ("2200", 16)]),
    st.integers(0, 10**18),
).map(lambda p: (p[0][0] + f"{p[1]:018d}"[: p[0][1] - len(p[0][0]) - 1]))  # fmt: skip


@given(CARDS, st.sampled_from(["", " ", "-", "."]), st.text("abcXYZ:# ", max_size=4), st.text("abcXYZ:# ", max_size=4))
def test_a_card_number_is_found_however_it_is_written_and_never_shown(stem: str, mark: str, before: str, after: str) -> None:
    number = stem + check_digit(stem)
    written = mark.join(number[i : i + 4] for i in range(0, len(number), 4))
    text = before + written + after
    assert holds_pan(text)
    assert find_pans(pl.Series([None, text, "ordinary"])).to_list() == [False, True, False]
    assert written not in hide(text)
    assert number not in hide(text)
    assert TokenKey().token(written) == TokenKey().token(number)
    wrong = stem + str((int(check_digit(stem)) + 1) % 10)
    assert not holds_pan(wrong)


@given(st.lists(st.text(st.sampled_from("0123456789 -abcdef"), max_size=40), max_size=10))
def test_the_quick_search_finds_what_the_slow_one_finds(texts: list[str]) -> None:
    assert find_pans(pl.Series(texts, dtype=pl.String)).to_list() == [holds_pan(t) for t in texts]


def test_a_float_one_place_off_is_still_the_nearest_cent() -> None:
    for cents in range(0, 200_000, 7):
        value = cents / 100
        assert to_minor(value, 2) == cents
        if cents:
            assert to_minor(math.nextafter(value, math.inf), 2) == cents

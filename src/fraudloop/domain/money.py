"""Money: the currencies of ISO 4217 with their exponents, and exact conversion between decimals and minor units.

Amounts are exact decimals outside and int64 minor units inside; a float is taken only
where it says without doubt which number of minor units is meant. It knows no exchange rate: see `door.rates`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation, Rounded
from types import MappingProxyType
from typing import Final

from fraudloop.errors import InputError
from fraudloop.limits import AMOUNT_MINOR_MAX

#: Of a currency that is not in the table: most have two decimals. Such an amount has no rate and is never converted.
UNKNOWN_EXPONENT: Final = 2
EXPONENT_MAX: Final = 4

#: How far a float may be from a whole number of minor units, as a share of it: 16 units in the last place, which some
#: multiplications and a sum or two leave (5 x 17.13 is 85.64999999999999). A float32 has 29 bits less.
FLOAT_NOISE: Final = 2.0**-48
FLOAT32_NOISE: Final = 2.0**-20
#: And not further than this share of one minor unit, beyond which a float no longer says which,
FLOAT_NOISE_MAX: Final = 2.0**-4
#: unless the number is so large that the nearest float of an amount, times its power of ten, is: a last place of each of the two.
FLOAT_LAST_PLACES: Final = 2.0**-52

_TWO = """
AED UAE Dirham; AFN Afghani; ALL Lek; AMD Armenian Dram; AOA Kwanza; ARS Argentine Peso; AUD Australian Dollar; AWG
Aruban Florin; AZN Azerbaijan Manat; BAM Convertible Mark; BBD Barbados Dollar; BDT Taka; BMD Bermudian Dollar; BND
Brunei Dollar; BOB Boliviano; BOV Mvdol; BRL Brazilian Real; BSD Bahamian Dollar; BTN Ngultrum; BWP Pula; BYN
Belarusian Ruble; BZD Belize Dollar; CAD Canadian Dollar; CDF Congolese Franc; CHE WIR Euro; CHF Swiss Franc; CHW WIR
Franc; CNY Yuan Renminbi; COP Colombian Peso; COU Unidad de Valor Real; CRC Costa Rican Colon; CUP Cuban Peso; CVE
Cabo Verde Escudo; CZK Czech Koruna; DKK Danish Krone; DOP Dominican Peso; DZD Algerian Dinar; EGP Egyptian Pound; ERN
Nakfa; ETB Ethiopian Birr; EUR Euro; FJD Fiji Dollar; FKP Falkland Islands Pound; GBP Pound Sterling; GEL Lari; GHS
Ghana Cedi; GIP Gibraltar Pound; GMD Dalasi; GTQ Quetzal; GYD Guyana Dollar; HKD Hong Kong Dollar; HNL Lempira; HTG
Gourde; HUF Forint; IDR Rupiah; ILS New Israeli Sheqel; INR Indian Rupee; IRR Iranian Rial; JMD Jamaican Dollar; KES
Kenyan Shilling; KGS Som; KHR Riel; KPW North Korean Won; KYD Cayman Islands Dollar; KZT Tenge; LAK Lao Kip; LBP
Lebanese Pound; LKR Sri Lanka Rupee; LRD Liberian Dollar; LSL Loti; MAD Moroccan Dirham; MDL Moldovan Leu; MGA
Malagasy Ariary; MKD Denar; MMK Kyat; MNT Tugrik; MOP Pataca; MRU Ouguiya; MUR Mauritius Rupee; MVR Rufiyaa; MWK
Malawi Kwacha; MXN Mexican Peso; MXV Mexican Unidad de Inversion; MYR Malaysian Ringgit; MZN Mozambique Metical; NAD
Namibia Dollar; NGN Naira; NIO Cordoba Oro; NOK Norwegian Krone; NPR Nepalese Rupee; NZD New Zealand Dollar; PAB
Balboa; PEN Sol; PGK Kina; PHP Philippine Peso; PKR Pakistan Rupee; PLN Zloty; QAR Qatari Rial; RON Romanian Leu; RSD
Serbian Dinar; RUB Russian Ruble; SAR Saudi Riyal; SBD Solomon Islands Dollar; SCR Seychelles Rupee; SDG Sudanese
Pound; SEK Swedish Krona; SGD Singapore Dollar; SHP Saint Helena Pound; SLE Leone; SOS Somali Shilling; SRD Surinam
Dollar; SSP South Sudanese Pound; STN Dobra; SVC El Salvador Colon; SYP Syrian Pound; SZL Lilangeni; THB Baht; TJS
Somoni; TMT Turkmenistan New Manat; TOP Pa'anga; TRY Turkish Lira; TTD Trinidad and Tobago Dollar; TWD New Taiwan
Dollar; TZS Tanzanian Shilling; UAH Hryvnia; USD US Dollar; USN US Dollar; UYU Peso Uruguayo; UZS Uzbekistan Sum; VED
Bolívar Digital; VES Bolívar Soberano; WST Tala; XAD Arab Accounting Dinar; XCD East Caribbean Dollar; XCG Caribbean
Guilder; YER Yemeni Rial; ZAR Rand; ZMW Zambian Kwacha; ZWG Zimbabwe Gold
"""
_NONE = """
BIF Burundi Franc; CLP Chilean Peso; DJF Djibouti Franc; GNF Guinean Franc; ISK Iceland Krona; JPY Yen; KMF Comorian
Franc; KRW Won; PYG Guarani; RWF Rwanda Franc; UGX Uganda Shilling; UYI Uruguay Peso en Unidades Indexadas; VND Dong;
VUV Vatu; XAF CFA Franc BEAC; XOF CFA Franc BCEAO; XPF CFP Franc
"""
_THREE = """
BHD Bahraini Dinar; IQD Iraqi Dinar; JOD Jordanian Dinar; KWD Kuwaiti Dinar; LYD Libyan Dinar; OMR Rial Omani; TND
Tunisian Dinar
"""
_FOUR = """
CLF Unidad de Fomento; UYW Unidad Previsional
"""
# Metals, units of account and the test code have no minor unit in the standard ("N.A."): whole units here.
_WITHOUT_MINOR = """
XAG Silver; XAU Gold; XBA European Composite Unit; XBB European Monetary Unit; XBC European Unit of Account 9; XBD
European Unit of Account 17; XDR SDR; XPD Palladium; XPT Platinum; XSU Sucre; XTS Reserved for testing; XUA ADB Unit
of Account; XXX No currency
"""
# Withdrawn from the standard, still found in tables of past transactions. One with exponent 0: BYR.
_WITHDRAWN_TWO = """
ANG Netherlands Antillean Guilder; AZM Azerbaijanian Manat (old); BGN Bulgarian Lev; CUC Peso Convertible; CYP Cyprus
Pound; EEK Estonian Kroon; GHC Cedi (old); HRK Croatian Kuna; LTL Lithuanian Litas; LVL Latvian Lats; MRO Ouguiya
(old); MTL Maltese Lira; MZM Mozambique Metical (old); ROL Romanian Leu (old); SDD Sudanese Dinar; SIT Slovenian
Tolar; SKK Slovak Koruna; SLL Leone (old); SRG Surinam Guilder; STD Dobra (old); TMM Turkmenistan Manat (old); TRL
Turkish Lira (old); VEB Bolívar (old); VEF Bolívar; ZMK Zambian Kwacha (old); ZWL Zimbabwe Dollar
"""
_WITHDRAWN_NONE = """
BYR Belarusian Ruble (old)
"""


@dataclass(frozen=True, slots=True)
class Currency:
    """One currency of ISO 4217: 10**exponent minor units make one major unit; `current` is False once withdrawn."""

    code: str
    name: str
    exponent: int
    current: bool


def _read(text: str, exponent: int, current: bool = True) -> dict[str, Currency]:
    rows = (row.strip().split(" ", 1) for row in " ".join(text.split()).split(";"))
    return {code: Currency(code, name, exponent, current) for code, name in rows}


#: Every currency by its code, of the standard as amended to January 2026, with those withdrawn since 2003.
CURRENCIES: Final[Mapping[str, Currency]] = MappingProxyType(
    dict(
        sorted(
            {
                **_read(_TWO, 2), **_read(_NONE, 0), **_read(_THREE, 3), **_read(_FOUR, 4), **_read(_WITHOUT_MINOR, 0),
                **_read(_WITHDRAWN_TWO, 2, False), **_read(_WITHDRAWN_NONE, 0, False),
            }.items()
        )
    )
)  # fmt: skip

EXPONENTS: Final[Mapping[str, int]] = MappingProxyType({c.code: c.exponent for c in CURRENCIES.values()})

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
# Wide enough for any text of an amount up to the limit; anything that would still round is refused.
_EXACT = Context(prec=400, traps=[InvalidOperation, Rounded])


class AmountError(InputError):
    """The amount is not an exact number of minor units; correct it or say in the column map how to read it."""


def exponent_of(currency: str | None) -> int:
    """Decimals of a currency; UNKNOWN_EXPONENT where the code is missing or not of ISO 4217.

    >>> exponent_of("EUR"), exponent_of("JPY"), exponent_of("KWD"), exponent_of(None)
    (2, 0, 3, 2)
    """
    return EXPONENTS.get(currency or "", UNKNOWN_EXPONENT)


def to_minor(amount: str | int | float | Decimal, exponent: int, *, round_finer: bool = False) -> int:
    """Minor units of an amount in major units, exactly.

    A float stands for the nearest number of minor units if it is as near as FLOAT_NOISE, so 57.16 is 5,716 cents. A
    decimal finer than the exponent is refused, or with `round_finer` rounded half to even. AmountError names what is wrong; its field `rule`
    is one of `format`, `finite`, `finer`, `range`.

    >>> to_minor("57.16", 2), to_minor(57.16, 2), to_minor("1e3", 0), to_minor("-0.001", 3)
    (5716, 5716, 1000, -1)
    >>> to_minor("0.125", 2, round_finer=True)
    12
    """
    if isinstance(amount, str):
        text = amount.strip()
        if re.fullmatch(r"[+-]?(nan|inf|infinity)", text, re.IGNORECASE):
            raise AmountError("the amount is not a finite number", rule="finite")
        if not _DECIMAL.fullmatch(text) or len(text) > 300:
            raise AmountError("the amount is not a decimal number", rule="format")
        value = Decimal(text)
    elif isinstance(amount, float):
        return _float_to_minor(amount, exponent, round_finer)
    else:
        value = Decimal(amount)
    if not value.is_finite():
        raise AmountError("the amount is not a finite number", rule="finite")
    if value == 0:
        return 0  # whatever its exponent
    if value.adjusted() > 20:
        raise AmountError(f"the amount is beyond {AMOUNT_MINOR_MAX:,} minor units", rule="range")
    if value.adjusted() < -100:
        if not round_finer:
            raise AmountError(f"the amount has more than {exponent} decimals", rule="finer")
        return 0
    scaled = value.scaleb(exponent, _EXACT)
    whole = int(scaled.to_integral_value(rounding="ROUND_HALF_EVEN", context=_EXACT))
    if abs(whole if round_finer else int(scaled)) > AMOUNT_MINOR_MAX:
        raise AmountError(f"the amount is beyond {AMOUNT_MINOR_MAX:,} minor units", rule="range")
    if scaled != whole and not round_finer:
        raise AmountError(f"the amount has more than {exponent} decimals", rule="finer")
    return whole


def float_noise(whole: int) -> float:
    """How far a float that stands for `whole` may be from it.

    >>> float_noise(100) < 1e-12, float_noise(10**14), float_noise(10**15) < 0.25
    (True, 0.0625, True)
    """
    size = float(abs(whole))
    return min(size * FLOAT_NOISE, max(FLOAT_NOISE_MAX, size * FLOAT_LAST_PLACES))


def _float_to_minor(amount: float, exponent: int, round_finer: bool) -> int:
    if not math.isfinite(amount):
        raise AmountError("the amount is not a finite number", rule="finite")
    scaled = amount * float(10**exponent)
    if not abs(scaled) <= AMOUNT_MINOR_MAX + 0.5:
        raise AmountError(f"the amount is beyond {AMOUNT_MINOR_MAX:,} minor units", rule="range")
    whole = round(scaled)
    if not round_finer and abs(scaled - whole) > float_noise(whole):
        raise AmountError(f"the amount has more than {exponent} decimals", rule="finer")
    return whole


def from_minor(minor: int, exponent: int) -> str:
    """The exact decimal text of minor units, with all decimals of the currency.

    >>> from_minor(-5, 2), from_minor(1500, 0)
    ('-0.05', '1500')
    """
    digits = str(abs(minor)).rjust(exponent + 1, "0")
    text = f"{digits[:-exponent]}.{digits[-exponent:]}" if exponent else digits
    return f"-{text}" if minor < 0 else text

"""Countries by code and name."""

from __future__ import annotations

import pytest

from fraudloop.domain.country import BY_NAME, COUNTRIES, alpha2, fold


def test_every_country_is_found_by_its_codes_and_name() -> None:
    assert len(COUNTRIES) == 250  # 249 of ISO 3166-1 and Kosovo
    for code, country in COUNTRIES.items():
        assert {alpha2(t) for t in (code, code.lower(), country.alpha3, country.name, country.name.upper())} == {code}
        assert -90 <= country.latitude <= 90
        assert -180 <= country.longitude <= 180
    assert len({c.alpha3 for c in COUNTRIES.values()}) == len(COUNTRIES)
    assert set(BY_NAME.values()) == set(COUNTRIES)


@pytest.mark.parametrize(
    ("text", "code"),
    [("UK", "GB"), ("U.S.A.", "US"), ("Côte d’Ivoire", "CI"), ("Russia", "RU"), ("South Korea", "KR"), ("Korea, Republic of", "KR"), ("Türkiye", "TR"),
     ("Czech Republic", "CZ"), ("Bosnia & Herzegovina", "BA"), ("  viet  nam ", "VN"), ("NA", "NA"), ("Niger", "NE"), ("Nigeria", "NG")],
)  # fmt: skip
def test_what_people_write_is_found(text: str, code: str) -> None:
    assert alpha2(text) == code


@pytest.mark.parametrize("text", ["", "Atlantis", "ZZ", "XX", "EU", "??", "D"])
def test_what_is_no_country_is_none(text: str) -> None:
    assert alpha2(text) is None


def test_folding_is_idempotent() -> None:
    for name in BY_NAME:
        assert fold(name) == name

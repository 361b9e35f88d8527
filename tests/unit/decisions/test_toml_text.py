"""What is written is read back as the same."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fraudloop.decisions.toml_text import to_toml

KEYS = st.text(st.sampled_from('abc_-.é "'), min_size=1, max_size=5)
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
ROWS = st.dictionaries(KEYS, st.one_of(SCALARS, st.lists(SCALARS, max_size=3)), max_size=4)
TABLES = st.dictionaries(KEYS, st.one_of(SCALARS, st.lists(SCALARS, max_size=3), ROWS, st.lists(ROWS, min_size=1, max_size=3)), max_size=5)


@given(TABLES)
def test_text_is_read_back_as_the_same(data: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(data)) == data


def test_what_has_no_value_is_left_out() -> None:
    assert tomllib.loads(to_toml({"a": None, "b": {"c": None, "d": 1}})) == {"b": {"d": 1}}

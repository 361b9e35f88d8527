"""Plain data as TOML text: what `tomllib` reads back as the same. Keys without a value (None) are left out, as TOML has none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def to_toml(data: Mapping[str, Any]) -> str:
    """Tables of numbers, texts, flags, lists of these, tables, and lists of tables.

    >>> print(to_toml({"review": 0.5, "control": {"share": 0.01}}), end="")
    review = 0.5
    <BLANKLINE>
    [control]
    share = 0.01
    """
    return "\n".join(_table(data, ())).lstrip("\n") + "\n"


def _table(data: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    inner = {key: value for key, value in data.items() if isinstance(value, Mapping)}
    rows = {key: value for key, value in data.items() if isinstance(value, list | tuple) and value and isinstance(value[0], Mapping)}
    for key, value in data.items():
        if value is not None and key not in inner and key not in rows:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in inner.items():
        yield from ("", f"[{'.'.join(map(_key, (*path, key)))}]", *_table(value, (*path, key)))
    for key, value in rows.items():
        for row in value:
            yield from ("", f"[[{'.'.join(map(_key, (*path, key)))}]]", *_table(row, (*path, key)))


def _key(key: str) -> str:
    return key if key.isascii() and key.replace("_", "").replace("-", "").isalnum() else _text(key)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    assert isinstance(value, int | float), f"{type(value).__name__} has no form here"
    return repr(value)

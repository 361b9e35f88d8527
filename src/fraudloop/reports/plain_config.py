"""A training configuration written as the TOML file that a command reads back. Plain data in, text out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def config_toml(config: Mapping[str, Any]) -> str:
    """Plain data of a `TrainConfig` as TOML; what is None is left out, because TOML has no word for it.

    >>> print(config_toml({"seed": 7, "params": {"xgboost": {"depth": 3}}, "fold_days": None}))
    seed = 7
    <BLANKLINE>
    [xgboost]
    depth = 3
    """
    top = [f"{_key(key)} = {_value(value)}" for key, value in config.items() if value is not None and not isinstance(value, Mapping)]
    parts = ["\n".join(top)] if top else []
    for key, value in config.items():
        if key == "params" and isinstance(value, Mapping):
            parts += [_table(name, body) for name, body in value.items() if body]
        elif key == "candidates" and isinstance(value, Mapping):
            parts += [_table(f"candidates.{_key(name)}", row, "[[", "]]") for name, rows in value.items() for row in rows]
        elif isinstance(value, Mapping) and value:
            parts.append(_table(_key(key), value))
    return "\n\n".join(parts)


def _table(name: str, body: Mapping[str, Any], opening: str = "[", closing: str = "]") -> str:
    return "\n".join([f"{opening}{name}{closing}", *(f"{_key(key)} = {_value(value)}" for key, value in body.items() if value is not None)])


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }"
    return repr(value)

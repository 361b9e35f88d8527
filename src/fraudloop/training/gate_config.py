"""What the gate asks of a candidate, as one frozen value; a TOML file gives any part of it. It reads no table.

[floors]                                    # lowest value of a metric: a number, or a share of something
average_precision = { min = 0.85, of = "reachable" }    # what the best model could reach (generated worlds say it)
recall_at_90_precision = 0.3                # absolute
precision_at_budget = { min = 10, of = "base" }         # times the share of fraud
[champion]
worse_max = 0.02                            # average precision that the candidate may lie below, at the low end of the interval
gain_min = 0.005                            # and the gain it must show (not asked for by default)
[evidence]
frauds_min = 50
maturity_min = 0.9
[robustness]
jump_max = 0.5
[latency]
single_p99_ms = 50
[load]
rate = 100
[outcomes]
decline_max = 0.02
[segments]
columns = ["country", "age_group"]
gaps = { false_positive_rate = 0.05 }
[smoke]
file = "smoke.toml"                         # beside this file
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from fraudloop.errors import InputError
from fraudloop.scoring.smoke import SmokeCase, read_cases
from fraudloop.training.segments import MEASURES

#: Metrics that can have a floor, as `training.metrics.evaluate` names them.
FLOORED: Final = (
    "average_precision", "auc_roc", "recall_at_90_precision", "precision_at_budget", "recall_at_budget", "card_precision_100", "saved_share",
)  # fmt: skip

#: What a floor is a share of, and for which metrics that means something.
ABSOLUTE, REACHABLE, BASE = "absolute", "reachable", "base"
SHARES_OF: Final[Mapping[str, tuple[str, ...]]] = {
    ABSOLUTE: FLOORED, REACHABLE: ("average_precision", "recall_at_90_precision"), BASE: ("average_precision", "precision_at_budget"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Floor:
    """The lowest value of a metric: `min`, times what is reachable or the share of fraud where `of` says so."""

    min: float
    of: str = ABSOLUTE


#: Where no floors are given: on a generated world, which says what is reachable; and elsewhere. Five times the share of
#: fraud is what a list in random order would need five times the analysts for; less is no model.
WORLD_FLOORS: Final = {"average_precision": Floor(0.85, REACHABLE), "recall_at_90_precision": Floor(0.80, REACHABLE)}
OWN_FLOORS: Final = {"average_precision": Floor(5.0, BASE)}


@dataclass(frozen=True, slots=True)
class GateConfig:
    """floors: None takes WORLD_FLOORS or OWN_FLOORS. worse_max, gain_min, level, rounds, by: the comparison with the
    champion. frauds_min, maturity_min: what there must be to judge by. jump_max: how far a score may move, in 99 of 100
    cases, when one input is missing or unknown. Latencies in milliseconds, of the whole scorer;
    tries: how often a measurement above its bound is made again, because what else runs on the machine only adds to it. rate, seconds, load_p99_ms:
    the load test. decline_max, review_max: shares of payments under the policy; change_max: how far either may be from the
    champion's. segments: None for those of reports. gaps: largest gap by measure (none by default).
    """

    floors: Mapping[str, Floor] | None = None
    worse_max: float = 0.02
    gain_min: float | None = None
    level: float = 0.9
    rounds: int = 400
    by: str = "card"
    seed: int = 0
    frauds_min: int = 50
    maturity_min: float = 0.9
    jump_max: float = 0.5
    tries: int = 3
    single_calls: int = 200
    single_median_ms: float = 10.0
    single_p99_ms: float = 50.0
    batch_rows: int = 1_000
    batch_calls: int = 20
    batch_median_ms: float = 250.0
    batch_p99_ms: float = 1_000.0
    rate: float = 100.0
    seconds: float = 3.0
    load_p99_ms: float = 100.0
    decline_max: float = 0.02
    review_max: float = 0.05
    change_max: float = 0.02
    segments: tuple[str, ...] | None = None
    gaps: Mapping[str, float] = field(default_factory=dict)
    smoke: tuple[SmokeCase, ...] = ()

    def __post_init__(self) -> None:
        for name, floor in (self.floors or {}).items():
            if name not in FLOORED:
                raise InputError(f"floors: {_unknown(name, FLOORED)}")
            if floor.of not in SHARES_OF or name not in SHARES_OF[floor.of]:
                takes = [kind for kind, metrics in SHARES_OF.items() if name in metrics]
                raise InputError(f"floors: {name} cannot be a share of {floor.of!r}; it takes {', '.join(takes)}")
        for name in self.gaps:
            if name not in MEASURES:
                raise InputError(f"segments: gaps: {_unknown(name, MEASURES)}")
        if self.by not in ("card", "day"):
            raise InputError(f"champion: by = {self.by!r} must be card or day")
        for name in ("rounds", "tries", "single_calls", "batch_rows", "batch_calls", "rate", "seconds"):
            if not getattr(self, name) > 0:
                raise InputError(f"gate: {name} = {getattr(self, name)} must be above 0")
        for name in ("level", "maturity_min", "jump_max", "decline_max", "review_max", "change_max"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"gate: {name} = {getattr(self, name)} must be from 0 to 1")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the report; of smoke cases their number."""
        return {**asdict(self), "smoke": len(self.smoke)}

    @staticmethod
    def from_dict(data: Mapping[str, Any], where: str = "gate", folder: Path = Path()) -> GateConfig:
        """Build and check; InputError names the table, the key and the nearest known one."""
        out: dict[str, Any] = {}
        for table, values in data.items():
            if table not in _TABLES:
                raise InputError(f"{where}: {_unknown(table, _TABLES)}")
            if not isinstance(values, dict):
                raise InputError(f"{where}: {table} must be a table, like [{table}]")
            for key, value in values.items():
                if table == "floors":
                    out.setdefault("floors", {})[key] = _floor(value, f"{where}: floors: {key}")
                    continue
                if key not in _TABLES[table]:
                    raise InputError(f"{where}: {table}: {_unknown(key, _TABLES[table])}")
                out[_TABLES[table][key]] = _value(value, _TABLES[table][key], f"{where}: {table}: {key}", folder)
            if table == "floors":
                out.setdefault("floors", {})
        try:
            return GateConfig(**out)
        except TypeError as error:
            raise InputError(f"{where}: a value has the wrong type ({error})") from error
        except InputError as error:
            raise InputError(f"{where}: {error}") from error

    @staticmethod
    def load(path: Path) -> GateConfig:
        """Read a TOML file; files it names lie beside it."""
        try:
            data = tomllib.loads(Path(path).read_text("utf-8"))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not valid TOML: {error}") from error
        return GateConfig.from_dict(data, str(path), Path(path).parent)


#: By table of the file, its keys and the fields they give.
_TABLES: Final[Mapping[str, Mapping[str, str]]] = {
    "floors": {},
    "champion": {name: name for name in ("worse_max", "gain_min", "level", "rounds", "by", "seed")},
    "evidence": {name: name for name in ("frauds_min", "maturity_min")},
    "robustness": {"jump_max": "jump_max"},
    "latency": {
        name: name
        for name in (
            "tries",
            "single_calls",
            "single_median_ms",
            "single_p99_ms",
            "batch_rows",
            "batch_calls",
            "batch_median_ms",
            "batch_p99_ms",
        )
    },
    "load": {"rate": "rate", "seconds": "seconds", "p99_ms": "load_p99_ms"},
    "outcomes": {name: name for name in ("decline_max", "review_max", "change_max")},
    "segments": {"columns": "segments", "gaps": "gaps"},
    "smoke": {"file": "smoke"},
}

_NUMBERS: Final = {f.name for f in fields(GateConfig)} - {"floors", "segments", "gaps", "smoke", "by"}


def _floor(value: object, where: str) -> Floor:
    if isinstance(value, dict) and set(value) <= {"min", "of"} and "min" in value:
        return Floor(_number(value["min"], where), str(value.get("of", ABSOLUTE)))
    if isinstance(value, dict):
        raise InputError(f'{where}: a floor is a number, or like {{ min = 0.85, of = "reachable" }}')
    return Floor(_number(value, where))


def _value(value: object, name: str, where: str, folder: Path) -> object:
    if name == "smoke":
        return read_cases(folder / str(value))
    if name == "segments":
        if not isinstance(value, list) or not all(isinstance(column, str) for column in value):
            raise InputError(f"{where}: must be a list of columns")
        return tuple(value)
    if name == "gaps":
        if not isinstance(value, dict):
            raise InputError(f"{where}: must be a table from measure to largest gap")
        return {str(key): _number(item, where) for key, item in value.items()}
    return _number(value, where) if name in _NUMBERS else value


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: {value!r} must be a number")
    return value


def _unknown(name: str, known: object) -> str:
    names = list(known)  # type: ignore[call-overload]
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    return f"unknown key {name!r}" + (f"; did you mean {close[0]!r}?" if close else f"; it takes {', '.join(names)}")

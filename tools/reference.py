"""The parts of docs/reference that are made from the code: commands, errors, the features of the presets.

python tools/reference.py            write them
python tools/reference.py --check    say which are not as the code is, and exit with 1 if any
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import typer

from fraudloop import errors
from fraudloop.api import metrics, problems
from fraudloop.api.keys import SCOPES
from fraudloop.api.routes import ROUTES, errors_of
from fraudloop.cli.main import COMMANDS, build
from fraudloop.decisions.lists import shipped_lists
from fraudloop.decisions.reasons import CODES, MEANINGS, reasons
from fraudloop.decisions.rule_language import OPERATORS
from fraudloop.decisions.rules import RuleSet
from fraudloop.domain.definitions import FeatureDefinition, FeatureSet, format_duration
from fraudloop.domain.needs import needs
from fraudloop.engine.config import CanaryConfig, GuardConfig, ServeConfig
from fraudloop.errors import FraudloopError

PAGES = Path(__file__).resolve().parent.parent / "docs" / "reference"


def main(check: bool) -> int:
    stale = 0
    for name, text in pages().items():
        path = PAGES / name
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale += 1
        print(f"docs/reference/{name} " + ("is not as the code is; run python tools/reference.py" if check else "written"))
        if not check:
            path.write_text(text, "utf-8")
    return int(check and stale > 0)


def pages() -> dict[str, str]:
    """File name -> its whole text, with every part between `<!-- made: NAME -->` and `<!-- end -->` made anew."""
    made = {
        "commands.md": {"commands": "\n".join(commands())},
        "errors.md": {"errors": "\n".join(error_table())},
        "features.md": {"presets": "\n".join(presets())},
        "serving.md": {"settings": "\n".join(serve_settings())},
        "reasons.md": {"codes": "\n".join(reason_codes())},
        "http.md": {"routes": "\n".join(http_routes()), "problems": "\n".join(http_problems()), "scopes": "\n".join(http_scopes())},
        "rules.md": {
            "operators": "\n".join(operators()),
            "rules": "\n".join(shipped_rules()),
            "fallback": "\n".join(rules_table("fallback")),
        },
    }
    whole = {"metrics.md": metrics.page()}
    return {name: _filled((PAGES / name).read_text("utf-8"), parts) for name, parts in made.items()} | whole


def _filled(text: str, parts: dict[str, str]) -> str:
    for name, part in parts.items():
        begin, end = f"<!-- made: {name} (tools/reference.py) -->\n", "<!-- end -->"
        before, found, rest = text.partition(begin)
        assert found and end in rest, f"no place for {name}"
        text = before + begin + "\n" + part.strip() + "\n\n" + end + rest.partition(end)[2]
    return text


# --- commands ----------------------------------------------------------------------------------------------------


def commands() -> Iterator[str]:
    """A section for each command, its text and its options as the command itself has them."""
    for name in COMMANDS:
        command = typer.main.get_command(build(name)).commands[name]  # type: ignore[attr-defined]
        yield from _command(name, command, "##")
        for part, inner in getattr(command, "commands", {}).items():
            yield from _command(f"{name} {part}", inner, "###")


def _command(name: str, command: Any, level: str) -> Iterator[str]:
    """A section for one command, or for a group of them its text alone."""
    group = hasattr(command, "commands")
    shown = [p for p in command.params if "--help" not in p.opts]
    yield f"{level} {name}\n"
    if not group:
        arguments = "".join(f" {_metavar(p)}" for p in shown if p.param_type_name == "argument")
        needed = "".join(f" {p.opts[0]} {_metavar(p)}" for p in shown if p.param_type_name == "option" and p.required)
        yield f"    fraudloop {name}{arguments}{needed}" + (" [OPTIONS]" if any(not p.required for p in shown) else "") + "\n"
    yield re.sub(r"(?<!\n)\n(?!\n)", " ", str(command.help).strip()) + "\n"
    if shown and not group:
        yield "| | takes | default | |\n|---|---|---|---|"
        for parameter in shown:
            yield _row(parameter)
        yield ""


def _row(parameter: Any) -> str:
    word = _metavar(parameter) if parameter.param_type_name == "argument" else parameter.opts[0]
    flag = getattr(parameter, "is_flag", False)
    takes = "" if flag else _metavar(parameter)
    default = (
        "needed" if parameter.required else "" if flag or parameter.default is None or parameter.default == [] else f"`{parameter.default}`"
    )
    text = (parameter.help or "").replace("|", "\\|")
    return f"| `{word}` | {takes if takes != word else ''} | {default} | {text} |"


def _metavar(parameter: Any) -> str:
    annotation = parameter.type_descriptor.annotation
    return str(parameter.metavar or {int: "N", float: "X"}.get(annotation, "TEXT")).replace("|", "\\|")


# --- errors ------------------------------------------------------------------------------------------------------


def error_classes() -> list[type[FraudloopError]]:
    """Every class of error, as `fraudloop.errors` has them in order."""
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FraudloopError)]


def error_table() -> Iterator[str]:
    yield "| error | is a | exit code | default message |\n|---|---|---|---|"
    for kind in error_classes():
        parent = f"`{kind.__bases__[0].__name__}`" if kind is not FraudloopError else ""
        yield f"| `{kind.__name__}` | {parent} | {kind.exit_code} | {str(kind.__doc__).strip()} |"


# --- HTTP --------------------------------------------------------------------------------------------------------


def http_routes() -> Iterator[str]:
    """A row for each route."""
    yield "| | | scope | | errors |\n|---|---|---|---|---|"
    for route in ROUTES:
        own = [str(status) for status in errors_of(route) if status in route.errors]
        yield f"| {route.method} | `{route.path}` | {f'`{route.scope}`' if route.scope else 'none'} | {route.summary}. {route.text} | {', '.join(own)} |"


def http_problems() -> Iterator[str]:
    """What each error is over the wire, by status."""
    yield "| status | type | title | error |\n|---|---|---|---|"
    rows: dict[tuple[int, str, str], list[str]] = {}
    for kind, row in problems.KINDS.items():
        rows.setdefault((row.status, row.slug, row.title), []).append(f"`{kind.__name__}`")
    for (status, slug, title), names in sorted(rows.items()):
        yield f"| {status} | `/docs#{slug}` | {title} | {', '.join(names)} |"


def http_scopes() -> Iterator[str]:
    yield "| scope | opens |\n|---|---|"
    for name, text in SCOPES.items():
        yield f"| `{name}` | {text} |"


def serve_settings() -> Iterator[str]:
    """A table of the keys of `ServeConfig`, and one for each table in it."""
    for heading, kind in (("", ServeConfig), ("[guard]", GuardConfig), ("[canary]", CanaryConfig)):
        meanings = dict(
            re.findall(r"(?:^|\. |, )((?:\w+, )*\w+): (.*?)(?=(?:\. (?:\w+, )*\w+: )|\.$)", " ".join(str(kind.__doc__).split()))
        )
        by_key = {key: text for keys, text in meanings.items() for key in keys.split(", ")}
        if heading:
            yield f"\n`{heading}`\n"
        yield "| key | default | |\n|---|---|---|"
        for field in msgspec.structs.fields(kind):
            if field.name in ("guard", "canary", "data"):
                continue
            default = field.default
            shown = str(default).lower() if isinstance(default, bool) else list(default) if isinstance(default, tuple) else default
            text = by_key[field.name]
            yield f"| `{field.name}` | `{shown}` | {text[0].upper() + text[1:]} |"


# --- presets -----------------------------------------------------------------------------------------------------


def operators() -> Iterator[str]:
    """What a condition may hold."""
    yield "| | |\n|---|---|"
    for operator, text in OPERATORS.items():
        yield f"| `{operator}` | {text} |"


def shipped_rules() -> Iterator[str]:
    """The shipped rules, and the lists that they look words up in."""
    yield from rules_table("default")
    yield "\n| list | version | entries | source |\n|---|---|---|---|"
    for named in shipped_lists().values():
        yield f"| `{named.name}` | {named.version} | {', '.join(sorted(named.entries))} | {named.source} |"


def rules_table(name: str) -> Iterator[str]:
    """The rules of a shipped set."""
    yield "| rule | when | then | |\n|---|---|---|---|"
    for rule in RuleSet.load(name).rules:
        yield f"| `{rule.id}` | `{rule.when}` | {rule.outcome.text if rule.outcome else rule.score} | {rule.reason} |"


def preset_names() -> list[str]:
    """The presets that ship, by name."""
    folder = resources.files("fraudloop.features") / "presets"
    return sorted(path.name.removesuffix(".toml") for path in folder.iterdir() if path.name.endswith(".toml"))


def reason_codes() -> Iterator[str]:
    """A row for each code: the kind of feature, what the sentence speaks of, a sentence of the default features."""
    features = FeatureSet.load("default")
    kinds = {code: kind for kind, code in CODES.items()}
    yield "| code | kind of feature | tells | like |\n|---|---|---|---|"
    for code, meaning in MEANINGS.items():
        kind = kinds.get(code)
        names = [f.name for f in features.features if f.kind is kind]
        words = ""
        if names:
            row = {**_USUAL, names[0]: _USUAL.get(names[0], 3.0)}
            [reason] = reasons(features, row, {names[0]: 1.0}, units={"amount": "EUR"})
            words = reason.text
        yield f"| `{code}` | {f'`{kind.value}`' if kind else ''} | {meaning} | {words} |"


#: What the examples of reasons are made of.
_USUAL = {
    "amount": 412.0, "customer_count_1h": 12.0, "customer_count_30d": 731.0, "customer_amount_sum_1h": 900.0, "customer_amount_sum_30d": 4_100.0,
    "customer_amount_mean_7d": 67.54, "customer_amount_mean_30d": 67.54, "customer_amount_std_30d": 20.1, "customer_amount_deviation": 4.2,
    "customer_seconds_since_last": 45.0, "customer_km_from_last": 840.0, "customer_speed_kmh": 1_755.0, "customer_impossible_travel": 1.0,
    "customer_km_from_home": 840.0, "customer_is_new_country": 1.0, "customer_age_days": 400.0, "is_foreign": 1.0, "hour_of_day": 3.0,
    "is_weekend": 1.0, "is_night": 1.0, "merchant_fraud_rate_7d_after_7d": 0.125, "customer_amount_max_24h": 412.0,
}  # fmt: skip


def presets() -> Iterator[str]:
    """A table of each preset: what every feature is in full, and the fields it needs."""
    for preset in preset_names():
        features = FeatureSet.load(preset)
        wanted = needs(features)
        start, end = features.night
        entities = ", ".join(f"{e.name} (`{e.column}`)" for e in features.entities)
        numbers = ", ".join(f"{n.name} (`{n.column}`, {n.scale} decimals)" for n in features.numbers)
        categories = ", ".join(f"{name} (`{column}`)" for name, column in features.categories)
        yield f"### {preset}: {len(features.features)} features\n"
        yield (
            f"Entities: {entities}. Numbers: {numbers}."
            + (f" Categories: {categories}." if categories else "")
            + f" Night: [{start}, {end}).\n"
        )
        yield "| feature | kind | window | after | of | needs |\n|---|---|---|---|---|---|"
        for f in features.features:
            yield _feature(f, wanted[f.name])
        yield ""


def _feature(f: FeatureDefinition, fields: tuple[str, ...]) -> str:
    kind = (
        f"`{f.kind.value}`"
        + (f", missing = {f.missing:g}" if f.missing is not None else "")
        + (", without itself" if f.exclude_current else "")
    )
    of = ", ".join(f"`{name}`" for name in f.of) if f.of else f"{f.field or ''}"
    window, delay = (format_duration(us) if us else "" for us in (f.window_us, f.delay_us))
    return f"| `{f.name}` | {kind} | {window} | {delay} | {of} | {', '.join(f'`{field}`' for field in fields)} |"


if __name__ == "__main__":
    raise SystemExit(main("--check" in sys.argv[1:]))

"""`fraudloop demo`: runs the commands of `fraudloop.pipelines.demo` as a user would, and shows what came out.

Every step is the real command in this process: what is printed above it is what runs.
"""

from __future__ import annotations

import contextlib
import io
import json as json_text
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudloop.cli.demo_service import Ending, live
from fraudloop.cli.demo_text import announce as _announce
from fraudloop.cli.demo_text import rule as _rule
from fraudloop.cli.demo_text import say as _say
from fraudloop.cli.main import run
from fraudloop.cli.options import JsonOutput, Seed
from fraudloop.cli.output import print_json
from fraudloop.errors import CheckFailed
from fraudloop.pipelines.demo import (
    DEFAULT_SEED,
    DEFAULT_TRANSACTIONS,
    Example,
    Explained,
    Step,
    explain_three,
    plots,
    prepare,
    steps,
    store,
)
from fraudloop.settings import Settings


def command(
    context: typer.Context,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where everything is written; what an earlier run left is replaced.")
    ] = Path("out/demo"),
    transactions: Annotated[int, typer.Option("--transactions", metavar="N", help="Size of the world.")] = DEFAULT_TRANSACTIONS,
    seed: Seed = DEFAULT_SEED,
    keep: Annotated[bool, typer.Option("--keep", help="Go on with the world that an earlier run made, instead of a new one.")] = False,
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="The service at the end, with a day of payments through it.")] = True,
    port: Annotated[
        int | None, typer.Option("--port", metavar="N", help="Where the service listens; 8000 if it is free, else another.")
    ] = None,
    stay: Annotated[
        bool | None,
        typer.Option("--stay/--no-stay", help="Keep the service up at the end until Ctrl-C; on a terminal it does so by itself."),
    ] = None,
    json: JsonOutput = False,
) -> None:
    """The whole way in a few minutes: make a world, check it, fold it, learn from it, decide unseen days and say why; then serve it.

    Each step is a command of its own, printed before it runs, on files that stay in the folder.
    """
    settings: Settings = context.obj
    began = time.monotonic()
    plan = steps(out, transactions, seed)
    skipped = prepare(out, transactions, keep=keep)
    if not json:
        _say(f"The commands below run as they stand, with a bundle store of their own:\n\n$ export FRAUDLOOP_STORE={store(out)}")
    total = len(plan) + (5 if serve else 1)
    done: list[dict[str, Any]] = []
    for number, step in enumerate(plan, 1):
        if not json:
            _announce(f"{number} of {total}", step, kept=step.name in skipped)
        if step.name in skipped:
            continue
        start = time.monotonic()
        with _exported("FRAUDLOOP_STORE", str(store(out))):
            result = _run(step, as_json=json)
        if not json and step.exit_code:
            _say(f"(exit code {step.exit_code}: a script would stop here)")
        done.append({"step": step.name, "command": step.command, "seconds": round(time.monotonic() - start, 3), "result": result})
    explained = explain_three(out, settings)
    drawn = plots(out)
    if not json:
        _rule(f"{len(plan) + 1} of {total} · three scores and what drove them")
        _say("What each fact of the payment added to the score (+ towards fraud, − away from it), the largest first.\n")
        _show(explained)
    small = transactions < DEFAULT_TRANSACTIONS // 2
    with (
        _exported("FRAUDLOOP_STORE", str(store(out))),
        _ending(serve, out, settings, small=small, port=port, first=len(plan) + 2, quiet=json) as ending,
    ):
        seconds = time.monotonic() - began
        if json:
            print_json(
                {
                    "folder": str(out), "seconds": round(seconds, 3), "steps": done, "method": explained.method, "examples": explained.examples,
                    "plots": [str(path) for path, _ in drawn], "service": None if ending is None else ending.facts,
                }
            )  # fmt: skip
        else:
            _left(out, drawn, served=serve)
            _say(f"\nDone in {seconds:.0f} s. Your own table next: `fraudloop profile FILE` says which features its columns give.")
        if ending is not None and ((sys.stdin.isatty() and sys.stdout.isatty() and not json) if stay is None else stay):
            _stay(ending)


@contextlib.contextmanager
def _ending(
    serve: bool, out: Path, settings: Settings, *, small: bool, port: int | None, first: int, quiet: bool
) -> Iterator[Ending | None]:
    if not serve:
        yield None
        return
    with live(out, settings, small=small, port=port, first=first, quiet=quiet) as ending:
        yield ending


def _left(out: Path, drawn: list[tuple[Path, str]], *, served: bool) -> None:
    _rule("what is left to look at")
    for path, text in drawn:
        _say(f"{path!s:<42} {text}")
    _say(f"{out / 'card.html'!s:<42} the model card of the champion that scored")
    _say(f"{out / 'gate-refused.html'!s:<42} why the weak model was refused; gate.html: why the other was not")
    _say(f"{out / 'model'!s:<42} the bundle: data only, with a hash for every file")
    if served:
        _say(f"{out / 'data'!s:<42} the service's log, and all that can be made from it")


def _stay(ending: Ending) -> None:
    _say(f"\nThe service stays up at {ending.url} until Ctrl-C.")
    with contextlib.suppress(KeyboardInterrupt):
        while ending.is_up():
            time.sleep(0.5)
    _say("\nIt drains and ends. `fraudloop demo --keep` goes on with the same world.")


def _run(step: Step, *, as_json: bool) -> Any:
    """Run the step's command; its document if `as_json`, else it prints for itself. CheckFailed if it fails."""
    kept = io.StringIO()
    if as_json:
        with contextlib.redirect_stdout(kept):
            code = run([*step.argv, "--json"])
    else:
        code = run(step.argv)
    if code != step.exit_code:
        raise CheckFailed(f"the demo stops: `fraudloop {step.argv[0]}` ended with exit code {code}", step=step.name, exit_code=code)
    return json_text.loads(kept.getvalue()) if as_json else None


@contextlib.contextmanager
def _exported(name: str, value: str) -> Iterator[None]:
    """A variable of the environment for the commands that run meanwhile."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _show(explained: Explained) -> None:
    for example in explained.examples:
        _say(_text(example))
    member = {
        method: [name for name, own in explained.method.items() if own == method] for method in dict.fromkeys(explained.method.values())
    }
    how = "; ".join(f"{method} ({', '.join(names)})" for method, names in member.items())
    _say(f"Log-odds before calibration; found by {how}. Each column adds up exactly.\n")


def _text(example: Example) -> str:
    lines = [
        f"{example.title}: score {example.score:.3f} → {example.decision}; {example.outcome}",
        f"  {example.transaction_id}, {example.happened}",
        f"    {_signed(example.base)}  any payment",
        *(f"    {_signed(reason.contribution)}  {reason.text}" for reason in example.reasons),
        f"    {_signed(example.others[1])}  {example.others[0]} other facts",
        f"    {_signed(example.margin)}  together\n",
    ]
    return "\n".join(lines)


def _signed(value: float) -> str:
    return f"{value:+6.2f}".replace("-", "−")

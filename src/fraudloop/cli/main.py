"""The command `fraudloop`: the table of commands and the edge of the process.

A command is one row of COMMANDS: its name, the module that holds it and one line of help. The module has either a
function `command` (one command) or a `typer.Typer` named `app` (a group with commands of its own); it is imported only
when that command runs, so that help is quick. It reads options, calls a function of `fraudloop.pipelines` and prints
the result by `fraudloop.cli.output`; settings come in `typer.Context.obj`. It catches no errors: this module does.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from fraudloop.cli.output import print_error
from fraudloop.errors import FraudloopError
from fraudloop.settings import Settings

#: name -> (module, one line of help), in the order of the help page: the demo, then the way of the data.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("fraudloop.cli.demo", "The whole way on a synthetic world: generate, validate, features, train, score, evaluate."),
    "generate": ("fraudloop.cli.generate", "Make a synthetic world of payments, with fraud and late labels."),
    "validate": ("fraudloop.cli.validate", "Check a table of transactions and say what it holds."),
    "profile": ("fraudloop.cli.profile", "What my columns give, and which features I lack for want of which column."),
    "features": ("fraudloop.cli.features", "Exact point-in-time features of every transaction, row by row."),
    "train": ("fraudloop.cli.train", "Train, calibrate and measure models; keep the best as a bundle of data."),
    "compare": ("fraudloop.cli.compare", "Algorithms and strategies against imbalance side by side on past days, with intervals."),
    "tune": ("fraudloop.cli.tune", "Search hyperparameters on past days; resumable, pruned, within a time budget."),
    "update": ("fraudloop.cli.update", "Let a model learn from newly labelled days, between two trainings."),
    "score": ("fraudloop.cli.score", "Score transactions with a bundle and decide by its policy."),
    "evaluate": ("fraudloop.cli.evaluate", "Measure scores against the labels: precision, recall, money, calibration."),
    "rules": ("fraudloop.cli.rules", "Rules that analysts write: check them, test them on the past, and put them in force."),
    "lists": ("fraudloop.cli.lists", "Who is blocked, allowed or watched, and the lists of words that rules look up."),
    "policy": ("fraudloop.cli.policy", "Which score leads to which outcome: check a policy, and put it in force."),
    "models": ("fraudloop.cli.models", "The store of models: list, compare, judge, promote, roll back, and who did what."),
    "serve": ("fraudloop.cli.serve", "Decide payments over HTTP, in milliseconds, each on disk before it is answered."),
    "keys": ("fraudloop.cli.keys", "API keys: who may call the service, and what for."),
    "ledger": ("fraudloop.cli.ledger", "The log of everything decided: verify, show, audit, index, export, let go, erase."),
    "replay": ("fraudloop.cli.replay", "Send past payments to a service, then hold what it decided to its log folded offline."),
    "decisions": ("fraudloop.cli.decisions", "What was decided of a payment and why; and the same made again from the log."),
    "report": ("fraudloop.cli.report", "What the service found, for people: our decisions beside those of another system."),
    "doctor": ("fraudloop.cli.doctor", "What this machine has and lacks for each command."),
}

EXIT_INTERNAL: Final = 70  # the error is in fraudloop itself, as sysexits has it
EXIT_INTERRUPTED: Final = 130  # as shells have it


def build(chosen: str | None) -> typer.Typer:
    """The application with the chosen command's module loaded and the others as name and help only."""
    app = typer.Typer(
        name="fraudloop",
        help="Exact point-in-time features and calibrated fraud models from a table of past payments.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for name, (module_name, help_line) in COMMANDS.items():
        if name != chosen:
            app.command(name, help=help_line)(_elsewhere)
            continue
        module = importlib.import_module(module_name)
        if hasattr(module, "command"):
            app.command(name)(module.command)
        else:
            app.add_typer(module.app, name=name, help=help_line)
    return app


def main() -> NoReturn:
    """Run the command line of this process and exit with its code."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone; what it did not want is dropped without a second complaint at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def run(argv: Sequence[str]) -> int:
    """Run one command and give its exit code: 0 ok, 1 a check failed, 2 bad input, 70 a defect, 130 interrupted."""
    as_json = "--json" in argv
    debug = os.environ.get("FRAUDLOOP_DEBUG", "") not in ("", "0")
    try:
        settings = Settings.from_env(os.environ)
        chosen = next((word for word in argv if not word.startswith("-")), None)
        typer.main.get_command(build(chosen)).main(args=list(argv), prog_name="fraudloop", obj=settings)
    except FraudloopError as error:
        if debug:
            traceback.print_exc()
        print_error(str(error), kind=type(error).__name__, fields=error.fields, as_json=as_json)
        return error.exit_code
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0 if done.code is None else 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the edge of the process: a defect becomes one line with an id
        if debug:
            traceback.print_exc()
        print_error(_defect(error), kind="InternalError", fields={}, as_json=as_json)
        return EXIT_INTERNAL
    return 0


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"fraudloop {_version()}")
        raise typer.Exit


def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)] = False,
) -> None:
    pass  # the callback of the option has done it


def _version() -> str:
    from importlib.metadata import version  # 30 ms that help does not wait for

    return version("fraudloop")


def _elsewhere() -> None:
    """Stands for a command that was not chosen: it has a name and a line of help, and cannot run."""
    raise AssertionError("only the chosen command runs")


def _defect(error: Exception) -> str:
    """Keep where it happened in a file, without the message of the error: that could hold a customer's data."""
    name = os.urandom(4).hex()
    path = Path(tempfile.gettempdir()) / f"fraudloop-defect-{name}.txt"
    frames = "".join(traceback.format_tb(error.__traceback__))
    try:
        path.write_text(f"fraudloop {_version()}, Python {sys.version}\n{frames}{type(error).__name__}\n", "utf-8")
        where = f"where it happened is in {path}"
    except OSError:
        where = "run it again with FRAUDLOOP_DEBUG=1 to see where it happened"
    return f"a defect in fraudloop ({type(error).__name__}, id {name}); {where}"

"""How the demo speaks: a rule above each step, its story, its command."""

from __future__ import annotations

import sys

from fraudloop.cli.output import console
from fraudloop.pipelines.demo import Step


def announce(number: str, step: Step, *, kept: bool) -> None:
    rule(f"{number} · {step.name}")
    say(step.story)
    say("(kept from an earlier run)" if kept else "\n$ " + step.command.replace("\n", "\n  ") + "\n")


def rule(title: str) -> None:
    from rich.rule import Rule

    out = console(sys.stdout)
    out.print()
    out.print(Rule(title, align="left"), width=min(out.width, 110))


def say(text: str) -> None:
    console(sys.stdout).print(text, markup=False, soft_wrap=True)

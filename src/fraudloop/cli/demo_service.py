"""The last steps of the demo: history in, service up, a day through it, the process that decides killed, and what the log says then."""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fraudloop.cli.demo_text import announce, rule, say
from fraudloop.cli.main import run
from fraudloop.cli.output import progress
from fraudloop.cli.replay import live_lines
from fraudloop.client import Client
from fraudloop.clock import SystemClock
from fraudloop.engine.config import ServeConfig
from fraudloop.errors import CheckFailed
from fraudloop.pipelines import demo_service
from fraudloop.pipelines.demo import MODEL, PEOPLE, store
from fraudloop.pipelines.demo_service import KILL_AFTER, Found, Live, Serving, found_in
from fraudloop.pipelines.importing import import_file
from fraudloop.pipelines.offline import Comparison, compare
from fraudloop.pipelines.replay import Live as Now
from fraudloop.pipelines.replay import Pace, Replayed, replay
from fraudloop.pipelines.sealers import spare_processes
from fraudloop.pipelines.shift import time_us
from fraudloop.scoring.store import BundleStore
from fraudloop.settings import Settings


@dataclass(frozen=True, slots=True)
class Ending:
    """What is up at the end. facts: of all steps, for `--json`."""

    url: str
    facts: dict[str, Any]
    service: Serving

    def is_up(self) -> bool:
        return self.service.process.poll() is None


@contextlib.contextmanager
def live(out: Path, settings: Settings, *, small: bool, port: int | None, first: int, quiet: bool) -> Iterator[Ending]:
    """Run the last steps, numbered from `first`; the service is up for the length of the block."""
    plan = demo_service.plan(out, SystemClock().now_us(), small=small, port=port)
    history, serve, day = plan.steps()
    total, tell = first + 3, _nothing if quiet else say
    facts: dict[str, Any] = {}
    if not quiet:
        announce(f"{first} of {total}", history, kept=False)
    with progress(quiet=quiet) as show:
        done = import_file(
            plan.table, ServeConfig(data=str(plan.data), name=MODEL, policy=str(plan.policy)), labels=out / "labels.parquet", profiles=out / "profiles.parquet",
            shift=plan.shift, until_us=time_us(plan.since, "--until"), settings=settings, processes=spare_processes(), progress=show,
        )  # fmt: skip
    tell(
        f"{done.transactions:,} payments, {done.labels:,} labels and {done.profiles:,} profiles are in the log, and in the state of every customer, merchant and "
        f"device, after {done.seconds:.1f} s"
    )
    facts["imported"] = {
        "transactions": done.transactions,
        "labels": done.labels,
        "profiles": done.profiles,
        "seconds": round(done.seconds, 3),
    }
    if not quiet:
        announce(f"{first + 1} of {total}", serve, kept=False)
    with demo_service.serving(plan, serve) as service:
        tell(service.said.read_text("utf-8").strip())
        tell(f"ready after {service.ready_s:.1f} s")
        if not quiet:
            announce(f"{first + 2} of {total}", day, kept=False)
        facts["day"] = _day(plan, service, settings, tell, quiet=quiet)
        if not quiet:
            rule(f"{first + 3} of {total} · three decisions, and yours")
        facts["decisions"] = _decisions(plan, facts["day"].pop("examples"), tell)
        facts["own"] = _own(plan, tell, quiet=quiet)
        yield Ending(plan.url, facts, service)


def _day(plan: Live, service: Serving, settings: Settings, tell: Callable[[str], None], *, quiet: bool) -> dict[str, Any]:
    """The day sent, the kill in the midst of it, and what the log says."""
    killed: list[int] = []
    lines: Callable[[Now], None] = _ignore if quiet else live_lines()

    def watch(now: Now) -> None:
        lines(now)
        if not killed and now.done >= KILL_AFTER * now.total:
            killed.append(service.kill())
            if sys.stderr.isatty():
                sys.stderr.write("\n")
            tell(f"$ kill -9 {killed[0]}      # the process that decides, {now.done:,} of {now.total:,} answered")

    done = replay(
        plan.table,
        plan.url,
        Pace(speed=plan.speed),
        shift=plan.shift,
        since_us=time_us(plan.since, "--since"),
        settings=settings,
        live=watch,
    )
    answered = sum(done.outcomes.values())
    found = found_in(plan)
    with progress(quiet=quiet) as show:
        compared = compare(plan.data, BundleStore(store(plan.folder)), key=settings.hash_key, progress=show)
    taken_over = service.taken_over_s
    for line in _told(done, answered, found, compared, taken_over):
        tell(line)
    if not killed or answered != found.decided or found.doubled or done.undecided or not compared.ok:
        raise CheckFailed(f"{answered:,} answered, {found.decided:,} in the log, {found.doubled:,} doubled; {compared.text()}")
    return {
        "payments": done.payments, "answered": answered, "outcomes": done.outcomes, "degraded": done.degraded, "in_log": found.decided, "doubled": found.doubled,
        "sent_again": done.load.retried, "taken_over_s": taken_over, "latency_ms": done.load.latency, "vectors": compared.vectors, "vectors_differ": compared.vectors_differ,
        "decisions_differ": compared.decisions_differ, "examples": found,
    }  # fmt: skip


def _told(done: Replayed, answered: int, found: Found, compared: Comparison, taken_over_s: float | None) -> Iterator[str]:
    outcomes = ", ".join(f"{count:,} {name}" for name, count in done.outcomes.items())
    latency = done.load.latency
    yield ""
    yield f"{answered:,} payments answered: {outcomes}; half of them within {latency['p50']:.1f} ms"
    if taken_over_s is not None:
        yield f"the process that stood by took over in {taken_over_s:.2f} s; sent again meanwhile, under the same id: {done.load.retried:,}"
    yield f"{found.decided:,} decisions in the log for {answered:,} answers, {found.doubled} doubled: nothing was lost, nothing counted twice"
    yield f"the log folded again from its first record: {compared.text()}"


def _decisions(plan: Live, found: Found, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """One approved, one reviewed, one declined, as the service tells them."""
    out = []
    with Client(plan.url, deadline_s=30.0) as client:
        for name in demo_service.three(found):
            told = client.decision(name)
            decision = told["decision"]
            out.append(told)
            tell(f"\n$ curl {plan.url}/decisions/{name}")
            payment = told["transaction"]
            tell(
                f"  {decision['decision']}: risk {decision['risk_score']:.3f}, decided in {decision['latency_ms']:.1f} ms; {_what(payment)}"
            )
            for reason in decision["reasons"][:4]:
                weight = reason.get("contribution")
                tell(f"    {_signed(weight)}  {reason['text']}")
    return out


def _what(payment: dict[str, Any]) -> str:
    place = "online" if payment.get("is_online") else f"in {payment.get('country')}"
    return f"{payment.get('merchant_category')}, {place}"


def _signed(weight: float | None) -> str:
    return "  rule" if weight is None else f"{weight:+6.2f}".replace("-", "−")


def _own(plan: Live, tell: Callable[[str], None], *, quiet: bool) -> list[dict[str, Any]]:
    """A call to paste and its answer; a person's word, and the next answer."""
    first, second = "my-0", "my-1"
    tell("\nOne of your own:\n")
    tell("$ " + plan.curl)
    answers = [demo_service.send(plan, first)]
    tell(msgspec.json.format(msgspec.json.encode(answers[0]), indent=2).decode())
    block = ("lists", "add", "block", "device", demo_service.PHONE, "--who", PEOPLE[0], "--why", "reported stolen", "--url", plan.url)
    tell("\nSomebody reports the phone stolen; what a person says holds from the next payment on:\n")
    tell("$ fraudloop " + shlex.join(block))
    with contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext():
        if run(block) != 0:
            raise CheckFailed("the demo stops: `fraudloop lists add` did not work")
    answers.append(demo_service.send(plan, second))
    tell("\nThe same call again:\n")
    tell(f"  {answers[1]['decision']}: " + "; ".join(reason["text"] for reason in answers[1]["reasons"][:1]))
    tell(f"\n{plan.url + '/':<36} the way in\n{plan.url + '/docs':<36} every route, to try\n{plan.url + '/metrics':<36} for Prometheus")
    return answers


def _nothing(text: str) -> None:
    pass


def _ignore(now: Now) -> None:
    pass

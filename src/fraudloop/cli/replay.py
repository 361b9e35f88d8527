"""`fraudloop replay`: sends a table to a service, shows how it goes, and checks what was decided against the service's log."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudloop.cli.options import Columns, InputFile, JsonOutput
from fraudloop.cli.output import PROGRESS_LINE_S, note, print_json, print_table, progress
from fraudloop.data.ingest import DEFAULT_MAX_REJECTED
from fraudloop.domain.definitions import format_duration
from fraudloop.errors import CheckFailed, InputError
from fraudloop.pipelines.offline import Comparison, Difference, compare
from fraudloop.pipelines.replay import Disorder, Live, Pace, Replayed, replay
from fraudloop.pipelines.shift import time_us
from fraudloop.scoring.store import BundleStore
from fraudloop.settings import Settings


def command(
    context: typer.Context,
    file: InputFile,
    url: Annotated[str, typer.Option("--url", metavar="U", help="The service.")] = "http://127.0.0.1:8000",
    rate: Annotated[str | None, typer.Option("--rate", metavar="R", help="Payments a second, or max: as fast as it answers.")] = None,
    speed: Annotated[str | None, typer.Option("--speed", metavar="X", help="Times their own time, like 60x, instead of a rate.")] = None,
    columns: Columns = "native",
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="FILE", help="Labels, sent to /feedback in between, when they became known.")
    ] = None,
    own_labels: Annotated[bool, typer.Option("--own-labels", help="Send the labels that the table itself holds.")] = False,
    times: Annotated[
        str,
        typer.Option("--times", help="now: each payment takes place when it is due; own: it keeps its time, and old ones are too late."),
    ] = "now",
    shift: Annotated[
        str | None,
        typer.Option(
            "--shift",
            metavar="TO",
            help="now: move the table by whole weeks up to now and send what falls into the last 23 h; or by a duration like 574d. Distances stay.",
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Only payments after this time (after the shift): where the import ended.")
    ] = None,
    prefix: Annotated[str, typer.Option("--prefix", metavar="TEXT", help="Put before each id, so that a table can be sent again.")] = "",
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="Only the first N payments.")] = None,
    duplicate: Annotated[float, typer.Option("--duplicate", metavar="SHARE", help="Payments that are sent a second time.")] = 0.0,
    reorder: Annotated[float, typer.Option("--reorder", metavar="SHARE", help="Payments that others overtake, by up to a minute.")] = 0.0,
    late: Annotated[float, typer.Option("--late", metavar="SHARE", help="Payments that come late, by up to 20 hours.")] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Of what is put in; the same seed puts in the same.")] = 0,
    connections: Annotated[int, typer.Option("--connections", metavar="N", help="Kept open; one request at a time on each.")] = 128,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="The service's data folder: decide everything again from its log.")
    ] = None,
    max_rejected: Annotated[
        float, typer.Option("--max-rejected", metavar="SHARE", help="Stop if more rows are bad than this share.")
    ] = DEFAULT_MAX_REJECTED,
    json: JsonOutput = False,
) -> None:
    """Send past payments to a running service in the order in which they came, then compare what it decided with the log folded offline."""
    settings: Settings = context.obj
    pace = _pace(rate, speed, times)
    with progress(quiet=json) as show:
        done = replay(
            file, url, pace, columns=columns, labels=labels, with_labels=own_labels, disorder=Disorder(duplicate, reorder, late, seed), limit=limit,
            prefix=prefix, connections=connections, shift=shift, since_us=None if since is None else time_us(since, "--since"), max_rejected=max_rejected, settings=settings, progress=show, live=_silent if json else _Lines(),
        )  # fmt: skip
    if not json:
        _show(done)
    compared = None
    if data is not None:
        with progress(quiet=json) as show:
            compared = compare(data, BundleStore(settings.store), key=settings.hash_key, progress=show)
    if json:
        print_json({"replay": done, "compared": None if compared is None else {**_plain(compared), "ok": compared.ok}})
    elif compared is not None:
        note(compared.text())
        for one in compared.first:
            note(_told(one))
    if compared is not None and not compared.ok:
        raise CheckFailed(compared.text())
    if done.unlike or (done.undecided and not done.stopped):
        raise CheckFailed(f"{done.unlike:,} second answers differ from the first; {done.undecided:,} payments were not decided")


def _pace(rate: str | None, speed: str | None, times: str) -> Pace:
    if (rate is None) == (speed is None):
        raise InputError("give either --rate R (or --rate max) or --speed 60x")
    if times not in ("now", "own"):
        raise InputError(f"--times {times}: it is now or own")
    if rate == "max":
        return Pace(own_times=times == "own")
    text, name = (rate, "--rate") if rate is not None else (str(speed).removesuffix("x"), "--speed")
    try:
        value = float(text or "")
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise InputError(f"{name} {text}: must be a number above 0" + (", or max" if rate is not None else ", like 60x"))
    return Pace(value if rate is not None else None, None if rate is not None else value, times == "own")


class _Lines:
    """A line a second on a terminal, in place; elsewhere one now and then."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, now: Live) -> None:
        shares = "  ".join(f"{name} {count / max(1, sum(now.outcomes.values())):.1%}" for name, count in now.outcomes.items())
        line = f"{now.elapsed_s:6.0f} s  {now.done:,} of {now.total:,}  {now.rate:,.0f}/s  p50 {now.p50:.1f} ms  p99 {now.p99:.1f} ms  {shares}"
        if now.retried:
            line += f"  sent again {now.retried:,}"
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{line[:180]}" + ("\n" if now.done >= now.total else ""))
            sys.stderr.flush()
        elif now.elapsed_s >= self._next:
            self._next = now.elapsed_s + PROGRESS_LINE_S
            note(line)


def live_lines() -> Callable[[Live], None]:
    """How it goes, for people, on stderr."""
    return _Lines()


def _silent(now: Live) -> None:
    pass


def _show(done: Replayed) -> None:
    load = done.load
    if done.shift_us:
        note(f"times moved by {format_duration(done.shift_us)}; give `--shift {format_duration(done.shift_us)}` to move others alike")
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    rows: list[tuple[object, object]] = [
        ("payments", done.payments), ("answered", sum(done.outcomes.values())), *((f"  {name}", count) for name, count in done.outcomes.items()),
        ("degraded", done.degraded), ("sent a second time", done.copies), ("  answered otherwise", done.unlike), ("labels taken", done.labels_taken),
        ("not decided", done.undecided), ("sent again after 503 or a lost connection", load.retried), ("answers a second", round(load.achieved)),
        *((f"latency {name.replace('_', '.')} ms", value) for name, value in load.latency.items()),
    ]  # fmt: skip
    rows += [(f"refused, {what}", count) for what, count in done.refused.items()]
    print_table("stopped" if done.stopped else "sent", ("what", "value"), rows, right=("value",))
    if load.is_bottleneck:
        note("warning: the sender itself was late; latencies are partly its own: give it a core of its own or a lower rate")


def _plain(found: Comparison) -> dict[str, Any]:
    return {
        "vectors": found.vectors, "vectors_differ": found.vectors_differ, "bits_differ": found.bits_differ, "decisions": found.decisions,
        "decisions_differ": found.decisions_differ, "unjudged": found.unjudged, "other_builds": found.other_builds,
        "first": [{"lsn": one.lsn, "transaction_id": one.transaction_id, "differs": {name: list(pair) for name, pair in one.values.items()}} for one in found.first],
    }  # fmt: skip


def _told(one: Difference) -> str:
    parts = [f"{name} {before!r} -> {after!r}" for name, (before, after) in list(one.values.items())[:6]]
    return f"  LSN {one.lsn} {one.transaction_id}: " + ", ".join(parts)

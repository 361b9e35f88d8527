"""The end of the demo: a service on the world's history that decides one more day, loses the process that decides, and loses nothing else.

    world, moved to now ──┬─ up to 22 h ago ──▶ ledger import ──▶ log ◀── serve ◀── replay ◀─┐
                          └─ the 22 h since ──────────────────────────────────────────────────┘

Here are the commands, the service as a process, and what its log says afterwards; the command line shows them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from fraudloop.client import Client
from fraudloop.decisions.policy import Policy
from fraudloop.domain.definitions import format_duration
from fraudloop.domain.outcome import Outcome
from fraudloop.errors import CheckFailed, FraudloopError
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.log import Reader
from fraudloop.ledger.records import Configured, Transacted, decode_all
from fraudloop.limits import HOUR_US
from fraudloop.pipelines.demo import MODEL, Step, store
from fraudloop.pipelines.shift import NOW, shift_us
from fraudloop.scoring.store import BundleStore

#: What is replayed, and how fast: under the 24 h after which a payment is too late, in some twenty seconds.
DAY_US: Final = 22 * HOUR_US
SPEED: Final = 3_600.0
SPEED_OF_SMALL: Final = 14_400.0

#: The share of the day after which the process that decides is killed.
KILL_AFTER: Final = 0.4

#: A score is a probability: above this a payment is more likely fraud than not.
DECLINE: Final = 0.5

PORT: Final = 8000
_START_S: Final = 120.0
_STOP_S: Final = 60.0

#: What a newcomer is to send first. The time is now: a payment of last year would be too late.
PHONE: Final = "my-phone"
PAYMENT: Final = (
    '{{"transaction_id":"{id}","timestamp":"{time}","customer_id":"C02348","merchant_id":"M00015",'
    '"merchant_category":"electronics","amount":249.90,"currency":"EUR","country":"DE","is_online":true,"device":{{"id":"my-phone"}}}}'
)


@dataclass(frozen=True, slots=True)
class Live:
    """The commands. since_us: where the history ends and the day begins. shift: of both, as `--shift` takes it."""

    folder: Path
    since: str
    shift: str
    port: int
    speed: float

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def policy(self) -> Path:
        return self.folder / "policy.toml"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def table(self) -> Path:
        return self.folder / "transactions.parquet"

    def steps(self) -> tuple[Step, Step, Step]:
        """import, serve, replay."""
        folder = self.folder
        opened = ("--name", MODEL, "--policy", str(self.policy))
        return (
            Step(
                "import",
                "The world's payments, labels and homes go into the service's log, moved by whole weeks so that it ends now; all but the last 22 hours.",
                (
                    "ledger", "import", str(self.table), "--labels", str(folder / "labels.parquet"), "--profiles", str(folder / "profiles.parquet"),
                    "--data", str(self.data), *opened, "--shift", self.shift, "--until", self.since,
                ),
            ),
            Step(
                "serve",
                "The service: one process decides, one stands by, a desk shows. Nothing else has to run.",
                ("serve", "--data", str(self.data), *opened, "--port", str(self.port)),
            ),
            Step(
                "a day, and a kill",
                f"The last 22 hours come in, {self.speed:,.0f} times as fast as they happened. On the way the process that decides is killed with kill -9.",
                (
                    "replay", str(self.table), "--url", self.url, "--shift", self.shift, "--since", self.since, "--speed", f"{self.speed:g}x",
                    "--data", str(self.data),
                ),
            ),
        )  # fmt: skip

    @property
    def curl(self) -> str:
        """To be pasted, more than once: id and time are the shell's."""
        body = PAYMENT.format(id="my-'$(date +%s)'", time="'$(date -u +%FT%TZ)'")
        return f"curl {self.url}/score_transaction -H 'content-type: application/json' -d '{body}'"


@dataclass(frozen=True, slots=True)
class Found:
    """What the log holds of the day. decided: payments with a decision; doubled: ids that stand in it more than once, each an error.
    examples: an id of each outcome, the one of the highest risk; of those approved the one of the lowest."""

    decided: int
    doubled: int
    examples: dict[str, str]


def plan(folder: Path, now_us: int, *, port: int | None = None, small: bool = False) -> Live:
    """The commands of a run that begins now; data of an earlier run goes."""
    since_us = now_us - DAY_US
    last = pl.scan_parquet(folder / "transactions.parquet").select(pl.col("timestamp").dt.timestamp("us").max()).collect().item()
    shift = format_duration(shift_us(NOW, last, now_us))
    since = f"{datetime.fromtimestamp(since_us // 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    live = Live(folder, since, shift, free_port() if port is None else port, SPEED_OF_SMALL if small else SPEED)
    if live.data.is_dir():
        shutil.rmtree(live.data)
    bundles = BundleStore(store(folder))
    suggested = Policy.from_dict(bundles.get(f"{MODEL}@champion").thresholds)
    live.policy.write_text(
        "# What the team decides by: review as the champion suggests it from costs and capacity, decline what is more likely fraud than not.\n"
        f'name = "demo"\nreview = {min(suggested.review, DECLINE)!r}\ndecline = {DECLINE}\n',
        "utf-8",
    )
    return live


def free_port() -> int:
    """8000 if nobody listens there, else one that is free."""
    for port in (PORT, 0):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)) as listener:
            found: int = listener.getsockname()[1]
            return found
    raise CheckFailed("no port is free on 127.0.0.1")


@dataclass(slots=True)
class Serving:
    """The running service. said: the file of what it says of itself."""

    process: subprocess.Popen[bytes]
    said: Path
    ready_s: float

    @property
    def decides(self) -> int:
        """The process that decides now."""
        return int(re.findall(r"process (\d+) decides", self.said.read_text("utf-8"))[-1])

    @property
    def taken_over_s(self) -> float | None:
        """How long the last take-over took, None before the first."""
        found = re.findall(r"taken over in ([\d.]+) s", self.said.read_text("utf-8"))
        return float(found[-1]) if found else None

    def kill(self) -> int:
        """kill -9 for the process that decides; which it was."""
        pid = self.decides
        os.kill(pid, signal.SIGKILL)
        return pid


@contextlib.contextmanager
def serving(live: Live, step: Step) -> Iterator[Serving]:
    """The service for the length of a block, ready to decide; CheckFailed with its own words if it does not get there."""
    said = live.folder / "serve.log"
    begin = time.monotonic()
    with said.open("wb") as out:
        # A session of its own: Ctrl-C is for the demo, which ends it as an operator does.
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "fraudloop", *step.argv], stdout=out, stderr=out, start_new_session=True,
            env={**os.environ, "FRAUDLOOP_STORE": str(store(live.folder))},
        )  # fmt: skip
    try:
        _wait(live, process, said, begin + _START_S)
        yield Serving(process, said, time.monotonic() - begin)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(live: Live, process: subprocess.Popen[bytes], said: Path, end: float) -> None:
    with Client(live.url, deadline_s=1.0) as client:
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(FraudloopError):
                client.health()
                # One that stands by, so that there is somebody to take over.
                if re.search(r"process \d+ stands by", said.read_text("utf-8")):
                    return
            time.sleep(0.1)
    raise CheckFailed(f"the service did not start: {said.read_text('utf-8').strip()[-400:] or 'it says nothing'}")


def found_in(live: Live) -> Found:
    """What the log holds of the table's payments: what others sent meanwhile is theirs."""
    sent = set(pl.read_parquet(live.table, columns=["transaction_id"])["transaction_id"].to_list())
    ids: Counter[str] = Counter()
    best: dict[str, tuple[float, str]] = {}
    decided, at = 0, -1
    for group in Reader(FolderFiles(live.data / "log"), 0).read():
        for record in decode_all(group.records):
            if isinstance(record, Configured):
                at = tuple(record.columns).index("transaction_id")
            elif isinstance(record, Transacted):
                name = str(record.row[at])
                if name not in sent:
                    continue
                ids[name] += 1
                decision = record.decision
                if decision is None:
                    continue
                decided += 1
                outcome = Outcome(decision.outcome)
                risk = decision.risk_score or 0.0
                rank = -risk if outcome is Outcome.APPROVE else risk
                if outcome.text not in best or rank > best[outcome.text][0]:
                    best[outcome.text] = (rank, name)
    return Found(decided, sum(n > 1 for n in ids.values()), {name: found for name, (_, found) in best.items()})


def three(found: Found) -> list[str]:
    """The ids to show: approved, reviewed and declined, as far as there are."""
    return [found.examples[one.text] for one in (Outcome.APPROVE, Outcome.REVIEW, Outcome.DECLINE) if one.text in found.examples]


def send(live: Live, name: str) -> dict[str, Any]:
    """The answer to the call that `Live.curl` shows."""
    with Client(live.url, deadline_s=30.0) as client:
        return client.score(msgspec.json.decode(PAYMENT.format(id=name, time=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")))

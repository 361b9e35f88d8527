"""The worker beside a real service: index, pages, export, the disk; and erasing a customer while it decides."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from fraudloop.api.worker import Report, read_report
from fraudloop.cli.main import run
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.log import verify
from fraudloop.ledger.records import Configured, Erased, Profiled
from tests.family import Served, clean_state, payment, payments, records, serving, wait_for

NOW = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def body_of(n: int) -> dict[str, object]:
    return payment(
        n, timestamp=NOW, card_id=f"K{n}", device={"id": f"D{n}", "ip": "192.0.2.9"}, location={"latitude": 52.5, "longitude": 13.4}
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("worker") / "data", "--no-standby") as found:
        wait_for(lambda: found.ask("GET", "/metrics")[0] == 200, 60)
        for n in range(60):
            assert found.ask("POST", "/score_transaction", body_of(n))[0] == 200
        yield found


def indexed(served: Served) -> None:
    """Until the index has all that is in the log now."""
    lsn = served.ask("GET", "/health")[1]["lsn"]
    wait_for(lambda: (found := read_report(served.data / "run")) is not None and found.indexed_lsn >= lsn, 30)


def page(served: Served, query: str) -> dict[str, Any]:
    status, found = served.ask("GET", f"/decisions?{query}")
    assert status == 200, found
    return found


def test_pages_come_from_the_index_newest_first_and_by_every_key(served: Served) -> None:
    indexed(served)
    everything: list[str] = []
    query = "limit=25"
    while True:
        found = page(served, query)
        everything += [row["transaction_id"] for row in found["decisions"]]
        if found["before_lsn"] is None:
            break
        query = f"limit=25&before_lsn={found['before_lsn']}"
    assert sorted(everything) == sorted({f"T{n}" for n in range(60)} | set(everything)) and len(everything) == len(set(everything))
    assert [row["transaction_id"] for row in page(served, "customer=C3")["decisions"]] == ["T40", "T3"]
    assert [row["transaction_id"] for row in page(served, "merchant=M4&customer=C4")["decisions"]] == ["T4"]
    outcomes = {row["decision"] for row in page(served, "outcome=review,approve&limit=1000")["decisions"]}
    assert outcomes <= {"review", "approve"} and outcomes
    assert page(served, f"from={NOW[:10]}&limit=1000")["decisions"] and not page(served, f"until={NOW[:10]}")["decisions"]
    row = page(served, "customer=C3&limit=1")["decisions"][0]
    status, whole = served.ask("GET", f"/decisions/{row['transaction_id']}")
    assert status == 200 and whole["lsn"] == row["lsn"] and whole["decision"]["versions"] == row["versions"]
    assert served.ask("GET", "/decisions?customers=C3")[0] == 422
    assert served.ask("GET", "/decisions?limit=0")[0] == 422
    assert served.ask("GET", f"/decisions?from={quote('yesterday')}")[0] == 422


def test_an_erased_customer_is_null_everywhere_and_nothing_else_changes(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    profile = {"kind": "profile", "entity": "customer", "id": "C5", "time": NOW, "home_country": "FR"}
    assert served.ask("POST", "/events", profile)[0] == 200
    before = served.ask("GET", "/decisions/T5")[1]
    answer = served.ask("POST", "/score_transaction", body_of(5))[1]
    assert before["transaction"]["customer_id"] == "C5" and before["transaction"]["ip"] == "192.0.2.9"
    code = run(
        ["ledger", "erase", "--url", f"http://127.0.0.1:{served.port}", "--customer", "C5", "--who", "dpo", "--why", "request 7", "--json"]
    )
    told = json.loads(capsys.readouterr().out)
    assert code == 0
    after = served.ask("GET", "/decisions/T5")[1]
    sealed = ("customer_id", "card_id", "device_id", "ip")
    assert all(after["transaction"][name] is None for name in sealed)
    assert {k: v for k, v in after["transaction"].items() if k not in sealed} == {
        k: v for k, v in before["transaction"].items() if k not in sealed
    }
    assert (after["decision"], after["features"]) == (before["decision"], before["features"])
    assert served.ask("GET", "/decisions/T6")[1]["transaction"]["customer_id"] == "C6", "nobody else is touched"
    # A retry gets the stored answer, one with another body does not.
    assert served.ask("POST", "/score_transaction", body_of(5)) == (200, answer)
    assert served.ask("POST", "/score_transaction", {**body_of(5), "card_id": "other"})[0] == 409
    assert served.ask("POST", "/score_transaction", {**body_of(5), "amount": 3})[0] == 409
    # Again: no error, and what came since goes too.
    assert served.ask("POST", "/score_transaction", {**body_of(500), "customer_id": "C5"})[0] == 200
    assert served.ask("GET", "/decisions/T500")[1]["transaction"]["customer_id"] == "C5"
    status, again = served.ask("POST", "/customers/erase", {"customer_id": " C5 ", "who": "dpo", "why": "request 8"})
    assert status == 200 and again["lsn"] > told["lsn"]
    assert served.ask("GET", "/decisions/T500")[1]["transaction"]["customer_id"] is None
    assert served.ask("POST", "/customers/erase", {"customer_id": "", "who": "dpo", "why": "x"})[0] == 422
    found = [record for record in records(served.data) if isinstance(record, Erased)]
    assert [(record.generation, record.why) for record in found] == [(0, "request 7"), (1, "request 8")]
    verify(FolderFiles(served.data / "log"))


def test_profiles_are_sealed_and_columns_have_types(served: Served) -> None:
    assert served.ask("POST", "/events", {"kind": "profile", "entity": "customer", "id": "C9", "time": NOW, "home_country": "FR"})[0] == 200
    assert served.ask("POST", "/events", {"kind": "profile", "entity": "merchant", "id": "M9", "time": NOW, "home_country": "FR"})[0] == 200
    found = [record for record in records(served.data) if isinstance(record, Profiled)]
    assert found[-2].row["id"] is None and found[-2].row["home_country"] is None and found[-2].personal and len(found[-2].hashes) == 32
    assert found[-1].row["id"] == "M9" and not found[-1].personal
    [configured] = [record for record in records(served.data) if isinstance(record, Configured)]
    assert configured.types[:2] == ["String", "Datetime(us, UTC)"] and all(configured.types)


def test_labels_and_profiles_of_files_are_told(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels, profiles, url = tmp_path / "labels.csv", tmp_path / "profiles.csv", f"http://127.0.0.1:{served.port}"
    lines = [f"T{n},{n % 2},chargeback" for n in range(10, 20)]
    labels.write_text("\n".join(["transaction_id,is_fraud,source", *lines, "nobody,1,chargeback", "T11,1,rumour", ""]))
    assert run(["labels", "import", str(labels), "--url", url, "--json"]) == 1, "two were refused"
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["taken"], told["refused"]) == (12, 10, 2)
    assert [(r["row"], r["field"]) for r in told["refusals"]] == [(11, "transaction_id"), (12, "source")]
    assert served.ask("GET", "/decisions/T11")[1]["label"]["in_force"] and not served.ask("GET", "/decisions/T12")[1]["label"]["in_force"]
    profiles.write_text(f"id,time,home_country\nC1,{NOW},DE\nC2,{NOW},FR\n")
    assert run(["profiles", "import", str(profiles), "--url", url]) == 0
    assert [record.row["entity"] for record in records(served.data) if isinstance(record, Profiled)][-2:] == ["customer", "customer"]
    capsys.readouterr()
    assert run(["labels", "import", str(profiles), "--url", url]) == 2, "no labels stand in it"
    assert run(["labels", "import", str(tmp_path / "none.csv"), "--url", url]) == 2


def test_after_a_kill_the_state_is_the_same_and_the_erased_stay_erased(served: Served) -> None:
    served.ask("POST", "/score_transaction", body_of(900))
    [active] = [pid for pid, role in served.children().items() if role == "active"]
    vault = (served.data / "vault" / "vault").read_bytes()
    os.kill(active, signal.SIGKILL)
    wait_for(lambda: active not in served.children() and "active" in served.children().values(), 30)
    wait_for(lambda: _healthy(served), 30)
    assert served.ask("GET", "/decisions/T5")[1]["transaction"]["customer_id"] is None
    assert (served.data / "vault" / "vault").read_bytes() == vault, "erasing again changes nothing"


def _healthy(served: Served) -> bool:
    try:
        return served.ask("GET", "/health", timeout=2.0)[1].get("ready") is True
    except OSError:
        return False


def test_a_killed_worker_is_started_again_and_goes_on(served: Served) -> None:
    [worker] = [pid for pid, role in served.children().items() if role == "worker"]
    assert os.getpriority(os.PRIO_PROCESS, worker) == 10
    os.kill(worker, signal.SIGKILL)
    for n in range(1_000, 1_020):
        assert served.ask("POST", "/score_transaction", body_of(n))[0] == 200
    indexed(served)
    assert page(served, "limit=1")["decisions"][0]["transaction_id"] == "T1019"
    found = read_report(served.data / "run")
    assert isinstance(found, Report) and found.pid != worker and found.room == "ok" and not found.alarms
    assert served.ask("GET", "/health")[1]["why"] == ["no_model"]
    assert "fraudloop_log_bytes 0.0" not in served.ask("GET", "/metrics")[1]["text"]


def test_the_family_is_of_one_session_so_that_the_worker_gets_what_the_others_leave(served: Served) -> None:
    """Linux shares a core out between sessions first, whatever the priorities within them: a worker with a session of its own took an eighth of
    the scorer's core under load, and every payment waited for it."""
    family = [served.process.pid, *served.children()]
    assert {os.getsid(pid) for pid in family} == {os.getsid(served.process.pid)}
    assert len({os.getpgid(pid) for pid in family}) == len(family), "Ctrl-C in a terminal is for the supervisor alone"
    [worker] = [pid for pid, role in served.children().items() if role == "worker"]
    assert os.sched_getscheduler(worker) == os.SCHED_IDLE


def test_it_ends_as_one_and_the_state_is_that_of_the_log(served: Served) -> None:
    assert served.stop() == 0
    assert clean_state(served.data).next_lsn == len(records(served.data)) and len(payments(served.data)) == 82

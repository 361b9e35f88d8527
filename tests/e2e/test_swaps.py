"""A service whose model and rules change all the time under load: no request fails, and every answer is of something that was in force."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fraudloop.cli.main import run
from fraudloop.scoring.store import BundleStore
from tests.conftest import PROVE
from tests.family import Load, Served, clean_state, payment, serving, wait_for
from tests.slots import NAME, activations, bundle_of, check_log, point, rule, rule_set

#: Promotions and publications of the test under load.
ROUNDS = 20 if PROVE else 4

NO_GUARD = "[guard]\npayments_min = 1000000\n"

BASE = {"amount": 0.01, "customer_count_1h": 0.02}


class Told(Load):
    """Clients that note every answer but 200, and do not try again: none may come."""

    def _run(self) -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=30)) as connection:
            self._tell(connection)

    def _tell(self, connection: http.client.HTTPConnection) -> None:
        while not self._stop.is_set():
            with self._lock:
                number = self._next
                self._next += 1
            body = payment(number, card_id=f"K{number % 23}")
            try:
                connection.request("POST", "/score_transaction", json.dumps(body), {"content-type": "application/json"})
                answer = connection.getresponse()
                data = answer.read()
            except OSError as error:
                self.bad.append((0, repr(error)))
                return
            if answer.status != 200:
                self.bad.append((answer.status, data.decode()))
            else:
                self.answers[str(body["transaction_id"])] = json.loads(data)


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "store")


def config(tmp_path: Path, text: str = "") -> tuple[str, str]:
    path = tmp_path / "serve.toml"
    path.write_text("follow_s = 0.05\n" + text)
    return "--config", str(path)


def champion(served: Served) -> str | None:
    slot = served.ask("GET", "/models")[1]["slots"]["champion"]
    return None if slot is None else str(slot["hash"])


def publish(served: Served, rules: dict[str, object], **more: object) -> dict[str, Any]:
    status, told = served.ask("PUT", "/rules", {"rules": rules, "who": "test", "why": "test", **more})
    assert status == 200, told
    return told


def promotions() -> Iterator[dict[str, Any]]:
    """Weights and entities of one champion after another: mostly others of what is there, then derived features, one in so many a fold anew."""
    made = (
        {"weights": {"amount": 0.02, "customer_count_5m": 0.03}},
        {"weights": {"amount": 0.01, "card_count_24h": 0.05}, "entities": {"customer": "customer_id", "card": "card_id"}},
        {"weights": {"amount": 0.015, "customer_amount_max_7d": 0.001}},
        {"weights": {"amount": 0.012, "customer_count_45m": 0.001}},
        {"weights": {"amount": 0.012, "customer_count_60d": 0.001}},
    )
    for at in range(ROUNDS):
        if at < len(made):
            yield made[at]
        else:
            yield {"weights": {"amount": 0.01 + at / 1_000, f"customer_count_{at}m": 0.01}}


def test_models_and_rules_change_under_load_and_no_request_fails(tmp_path: Path, store: BundleStore) -> None:
    names = [point(store, "champion", bundle_of(BASE))]
    sets = []
    with serving(tmp_path / "data", "--no-standby", "--name", NAME, *config(tmp_path, NO_GUARD)) as served:
        with Told(served, clients=4) as load:
            for at, made in enumerate(promotions()):
                names.append(point(store, "champion", bundle_of(**made)))
                # Some name what the plan lacks: `customer_count_17m` is derived.
                when = f"customer_count_{17 + at}m > {3 + at}" if at % 2 else f"amount > {300 + at}"
                told = publish(served, rule_set(rule("first", when), name=f"set{at}"))
                sets.append(told["hash"])
                wait_for(lambda: champion(served) == names[-1])
                before = len(load.answers)
                wait_for(lambda before=before: len(load.answers) > before + 20)  # type: ignore[misc]
        assert load.bad == []
        health = served.ask("GET", "/health")[1]
        assert health["why"] == []
        digest = clean_state(tmp_path / "data")
        assert served.stop() == 0
    data = tmp_path / "data"
    assert {answer["versions"]["model"] for answer in load.answers.values()} <= {str(name)[:16] for name in names}
    assert [record.hash for record in activations(data, "champion")] == names
    assert [record.hash for record in activations(data, "rules")][1:] == sets
    assert check_log(data, store) == len(load.answers)
    assert {"card_count_24h", "customer_count_5m", "customer_amount_max_7d"} <= set(digest.features.names)


@pytest.mark.prove
def test_one_that_stands_by_takes_over_after_a_fold_anew(tmp_path: Path, store: BundleStore) -> None:
    point(store, "champion", bundle_of(BASE))
    with serving(tmp_path / "data", "--name", NAME, *config(tmp_path)) as served:
        for number in range(30):
            assert served.ask("POST", "/score_transaction", payment(number, card_id="K1"))[0] == 200
        wait_for(lambda: len(served.children()) >= 3)
        card = point(store, "champion", bundle_of({"card_count_24h": 0.05}, entities={"card": "card_id"}))
        wait_for(lambda: champion(served) == card)
        os.kill(int(served.ask("GET", "/health")[1]["pid"]), signal.SIGKILL)
        wait_for(lambda: served.ask("GET", "/health")[0] == 200)
        assert champion(served) == card
        told = served.ask("POST", "/score_transaction", payment(99, card_id="K1"))[1]
        assert told["versions"]["model"] == str(card)[:16]
        assert served.ask("GET", "/decisions/T99")[1]["features"]["card_count_24h"] == 31.0
        assert served.stop() == 0
    check_log(tmp_path / "data", store)


def test_a_bundle_that_cannot_be_used_keeps_the_old_one_and_alarms(tmp_path: Path, store: BundleStore) -> None:
    good = point(store, "champion", bundle_of(BASE))
    with serving(tmp_path / "data", "--no-standby", "--name", NAME, *config(tmp_path)) as served:

        def alarmed(word: str) -> bool:
            return word in served.ask("GET", "/models")[1]["alarms"].get("bundle:champion", "")

        damaged = store.put(bundle_of({"amount": 0.5}))
        (store.root / "bundles" / damaged / "models" / "linear-1.json").write_text("{}")
        store.set_alias(f"{NAME}@champion", damaged, expected=good, who="test", why="test", at_us=1)
        wait_for(lambda: alarmed(damaged[:12]))
        assert "bundle:champion" in served.ask("GET", "/health")[1]["why"]
        point(store, "champion", bundle_of({"amount": 0.6}, smoke=0.123))
        wait_for(lambda: alarmed("smoke case"))
        gone = store.put(bundle_of({"amount": 0.7}))
        decider = int(served.ask("GET", "/health")[1]["pid"])
        os.kill(decider, signal.SIGSTOP)  # it would load the bundle in between, and be right
        store.set_alias(f"{NAME}@champion", gone, expected=store.alias(f"{NAME}@champion"), who="test", why="test", at_us=1)
        shutil.rmtree(store.root / "bundles" / gone)
        os.kill(decider, signal.SIGCONT)
        wait_for(lambda: alarmed(gone[:12]))
        assert served.ask("POST", "/score_transaction", payment(1))[1]["versions"]["model"] == str(good)[:16]
        # The alias back, and all is well.
        store.set_alias(f"{NAME}@champion", good, expected=gone, who="test", why="test", at_us=1)
        wait_for(lambda: served.ask("GET", "/health")[1]["why"] == [])
        # Nothing named: rules alone decide, and every answer says so.
        point(store, "champion", None)
        wait_for(lambda: champion(served) is None)
        told = served.ask("POST", "/score_transaction", payment(2))[1]
        assert (told["degraded_why"], told["fraud_score"], told["versions"]["model"]) == (["no_model"], None, None)
        point(store, "champion", bundle_of(BASE))
        wait_for(lambda: champion(served) == good)
        assert served.stop() == 0
    check_log(tmp_path / "data", store)


def test_a_canary_decides_its_share_keeps_it_over_a_restart_and_is_taken_back_when_it_is_worse(tmp_path: Path, store: BundleStore) -> None:
    point(store, "champion", bundle_of({"amount": 0.001}))
    worse = point(store, "canary", bundle_of({"amount": 0.001}, intercept=3.0))  # stops everybody
    options = (
        "--no-standby",
        "--name",
        NAME,
        *config(tmp_path, "canary_share = 0.1\n[canary]\npayments_min = 40\n[guard]\npayments_min = 100000\n"),
    )
    data = tmp_path / "data"
    with serving(data, *options) as served:
        status, told = served.ask("PUT", "/models/canary", {"model": worse, "share": 0.7, "who": "test", "why": "test"})
        assert (status, told["errors"][0]["field"]) == (422, "share")
        assert served.ask("PUT", "/models/canary", {"model": worse, "share": 0.4, "who": "test", "why": "test"})[0] == 200
        wait_for(lambda: served.ask("GET", "/models")[1]["canary_share"] == 0.4)
        with Told(served, clients=3, first=100) as load:
            wait_for(lambda: store.alias(f"{NAME}@canary") is None)
        assert load.bad == []
        models, health = served.ask("GET", "/models")[1], served.ask("GET", "/health")[1]
        assert models["slots"]["canary"] is None and "canary" in health["why"]
        assert "stop" in models["alarms"]["canary"]
        slots = {answer["transaction_id"]: answer["slot"] for answer in load.answers.values()}
        assert served.stop() == 0
    by_customer: dict[int, set[str]] = {}
    for name, slot in slots.items():
        by_customer.setdefault(int(name[1:]) % 37, set()).add(slot)
    once = [slot for slot in by_customer.values() if "canary" in slot]
    assert 5 <= len(once) <= 26  # of 37 customers, at a share of 0.4
    entry = store.history(NAME)[-1]
    assert (entry.alias, entry.action, entry.who) == ("canary", "rollback", "fraudloop") and "stop" in entry.why
    assert activations(data, "canary")[-1].body == {"share": 0.4, "taken_back": worse}
    check_log(data, store)


def test_a_challenger_and_deferred_reasons_come_after_the_answer(tmp_path: Path, store: BundleStore) -> None:
    point(store, "champion", bundle_of({"amount": 0.001}))
    other = point(store, "challenger", bundle_of({"amount": 0.01}))
    with serving(tmp_path / "data", "--no-standby", "--name", NAME, *config(tmp_path, "reason_budget_ms = 0\n")) as served:
        for number in range(40):
            served.ask("POST", "/score_transaction", payment(number, amount=100 * number + 1))
        wait_for(lambda: served.ask("GET", "/models")[1]["challenger"]["payments"] == 40, 10)
        told = served.ask("GET", "/models")[1]["challenger"]
        assert told["hash"] == other and told["dropped"] == 0 and told["severer_share"] > 0.3 and told["milder_share"] == 0
        wait_for(lambda: "fraudloop_shadow_payments_total 40.0" in served.ask("GET", "/metrics")[1].get("text", ""))
        # Reasons that were deferred are computed by the reader.
        told = served.ask("POST", "/score_transaction", payment(1_000, amount=1))[1]
        assert (told["decision"], told["reasons"], told["explanation"]) == ("approve", "deferred", "deferred")
        read = served.ask("GET", "/decisions/T1000")[1]["decision"]
        assert read["reasons"][0]["source"] == "amount" and read["explanation"] != "deferred"
        assert served.stop() == 0


def test_a_rule_and_a_model_that_act_on_too_much_are_taken_back(tmp_path: Path, store: BundleStore) -> None:
    mild = point(store, "champion", bundle_of({"amount": 0.0001}))
    data = tmp_path / "data"
    options = ("--no-standby", "--name", NAME, *config(tmp_path, "[guard]\npayments_min = 50\nlook_payments = 10\n"))
    with serving(data, *options) as served:
        publish(served, rule_set(rule("all", "amount > 0"), rule("some", "amount > 100000")))
        with Told(served, clients=3) as load:
            wait_for(lambda: "guard:all" in served.ask("GET", "/health")[1]["why"])
            states = {one["id"]: one.get("state") for one in served.ask("GET", "/rules")[1]["rules"]["rules"]}
            assert states == {"all": "shadow", "some": "live"}
            harsh = point(store, "champion", bundle_of({"amount": 0.0001}, intercept=6.0))
            wait_for(lambda: harsh in {r.hash for r in activations(data, "champion")} and champion(served) == mild)
            wait_for(lambda: store.alias(f"{NAME}@champion") == mild)
        assert load.bad == []
        assert "the champion before it decides" in served.ask("GET", "/models")[1]["alarms"]["guard:model"]
        publish(served, rule_set(rule("some", "amount > 100000")))
        wait_for(lambda: "guard:all" not in served.ask("GET", "/health")[1]["why"])
        assert served.stop() == 0
    assert activations(data, "champion")[-1].body == {"taken_back": harsh}
    check_log(data, store)


def test_beside_another_system_it_compares_and_acts_on_nothing(
    tmp_path: Path, store: BundleStore, capsys: pytest.CaptureFixture[str]
) -> None:
    point(store, "champion", bundle_of({"amount": 0.01}))
    data = tmp_path / "data"
    with serving(data, "--no-standby", "--observe", "--name", NAME, *config(tmp_path)) as served:
        theirs = ("approved", "DENIED", "manual-review", "whatever", None)
        for number in range(50):
            told = served.ask("POST", "/score_transaction", payment(number, amount=20 * number + 1, existing_decision=theirs[number % 5]))[
                1
            ]
            assert told["observe"] is True
        assert served.ask("POST", "/feedback", {"transaction_id": "T45", "is_fraud": True, "source": "chargeback"})[0] == 200
        found = served.ask("GET", "/observe")[1]
        rows = Counter[str]()
        for row in found["outcomes"]:
            rows[row["theirs"]] += row["payments"]
        assert rows == {"approve": 10, "decline": 10, "review": 10, "unsaid": 20} and found["unknown_words"] == 10
        assert found["most_different"][0]["theirs"] != found["most_different"][0]["ours"]
        assert sum(row["frauds"] for row in found["outcomes"] if row["theirs"] == "approve") == 1
        assert run(["report", "observe", "--url", f"http://127.0.0.1:{served.port}"]) == 0
        assert "alike" in capsys.readouterr().err
        assert served.stop() == 0
    check_log(data, store)
    for end in ("killed", "stopped"):  # what was counted outlives it
        with serving(data, "--no-standby", "--observe", "--name", NAME, *config(tmp_path)) as served:
            assert served.ask("GET", "/observe")[1] == found
            if end == "killed":
                served.kill_all()

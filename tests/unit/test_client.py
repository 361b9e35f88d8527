"""The client against a real server, and against servers that break in all the ways servers break."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from fraudloop.api.keys import Keys
from fraudloop.client import Client
from fraudloop.errors import (
    ConflictError,
    ForbiddenError,
    InputError,
    NotFoundError,
    RefusedError,
    TransportError,
    UnauthorizedError,
    UnavailableError,
)
from tests.service import MemoryEngine, parts, payment, running


def test_every_route_of_the_client_against_the_service() -> None:
    with running() as service, Client(service.url) as client:
        answer = client.score(payment("t-1", amount="4000"))
        assert (answer["decision"], answer["transaction_id"]) == ("review", "t-1")
        assert client.score(payment("t-1", amount="4000")) == answer
        assert client.events([payment("t-2"), {"kind": "profile", "entity": "customer", "id": "c-7"}])["absorbed"] == 2
        assert client.feedback("t-1", True, source="chargeback")["in_force"] is True
        assert client.decision("t-1")["label"]["source"] == "chargeback"
        assert client.predict({"amount": 1_500})["is_fraud"] is True
        assert [row["is_fraud"] for row in client.predict_batch([{"amount": 1_500}, {"amount": 3}])] == [True, False]
        assert client.health()["ready"] is True
        assert service.server.counters.connections == 1  # one connection served all of it


def test_errors_are_typed_and_name_their_fields() -> None:
    with running() as service, Client(service.url) as client:
        client.score(payment("t-1"))
        with pytest.raises(ConflictError) as conflict:
            client.score(payment("t-1", amount="1"))
        assert conflict.value.fields["errors"][0]["field"] == "transaction_id"  # type: ignore[index]
        with pytest.raises(RefusedError) as refused:
            client.score(payment("t-3", amount="a lot"))
        assert [e["field"] for e in refused.value.fields["errors"]] == ["amount"]  # type: ignore[attr-defined]
        assert refused.value.fields["status"] == 422 and refused.value.fields["request_id"]
        with pytest.raises(NotFoundError):
            client.decision("none/at all?")


def test_keys_open_what_they_are_for(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    told, _ = keys.create("till", ["score"])
    with running(parts(keys=keys)) as service:
        with Client(service.url, told) as client:
            assert client.score(payment("t-1"))["decision"] == "approve"
            with pytest.raises(ForbiddenError):
                client.decision("t-1")
        with Client(service.url) as client, pytest.raises(UnauthorizedError):
            client.score(payment("t-2"))


def test_many_threads_share_a_client() -> None:
    with running() as service, Client(service.url, connections_max=4) as client, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: client.score(payment(f"t-{n}"))["transaction_id"], range(200)))
        assert found == [f"t-{n}" for n in range(200)]
        assert len(client._idle) <= 4


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://a", "http://", "http://a?b=c"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        Client(url)


OK = b'HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{"done":true}'


def refusal(status: int, *headers: bytes) -> bytes:
    body = json.dumps({"title": "Unavailable", "status": status, "detail": "come again"}).encode()
    return b"HTTP/1.1 %d X\r\n%bcontent-length: %d\r\n\r\n%b" % (status, b"".join(h + b"\r\n" for h in headers), len(body), body)


def whole(client: socket.socket) -> bytes:
    """One request, or nothing."""
    data = b""
    while True:
        head, found, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
        if found and len(body) >= length:
            return data
        part = client.recv(65_536)
        if not part:
            return b""
        data += part


@contextmanager
def faulty(*answers: bytes | str | float) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives these answers in turn: bytes; `reset`, `close` (nothing comes) or seconds of silence."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)

        def serve() -> None:
            left = list(answers)
            while left:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client:
                    while left:
                        data = whole(client)
                        if not data:
                            break
                        seen.append(data)
                        answer = left.pop(0)
                        if isinstance(answer, bytes):
                            client.sendall(answer)
                            continue
                        if answer == "reset":
                            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                        elif isinstance(answer, float):
                            time.sleep(answer)
                        break

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", seen
        thread.join(10)


def waits() -> tuple[list[float], Callable[[float], None]]:
    slept: list[float] = []
    return slept, slept.append


@pytest.mark.parametrize(
    "faults",
    [
        ("reset",),
        ("close",),
        (refusal(503, b"retry-after: 1"), refusal(429, b"retry-after: 2"), refusal(502)),
        (0.4,),
        ("reset", "reset", refusal(503), "close"),
    ],
)
def test_the_same_request_is_sent_again_until_it_is_answered(faults: tuple[bytes | str | float, ...]) -> None:
    slept, sleep = waits()
    with faulty(*faults, OK) as (url, seen):
        client = Client(url, timeout_s=0.2, deadline_s=20, sleep=sleep)
        assert client.score({"transaction_id": "t-1"}) == {"done": True}
        client.close()
    assert len(seen) == len(faults) + 1 and len(set(seen)) == 1
    assert len(slept) == len(faults)
    told = [float(f.partition(b"retry-after: ")[2][:1]) if isinstance(f, bytes) and b"retry-after" in f else 0.0 for f in faults]
    assert all(wait >= least for wait, least in zip(slept, told, strict=True))


def test_after_the_deadline_the_last_problem_is_told() -> None:
    with (
        faulty(refusal(503, b"retry-after: 60")) as (url, _),
        Client(url, deadline_s=5) as client,
        pytest.raises(UnavailableError) as error,
    ):
        client.health()
    assert error.value.fields["retry_after_s"] == 60
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(TransportError):
        Client(f"http://127.0.0.1:{port}", deadline_s=0.3).health()


def test_a_command_is_sent_once() -> None:
    with faulty("close", OK) as (url, seen), Client(url) as client:
        with pytest.raises(TransportError):
            client.call("PUT", "/rules", {})
        client.health()
    assert len(seen) == 2


def test_a_payment_whose_answer_was_lost_is_not_decided_twice() -> None:
    engine = MemoryEngine()
    with running(parts(engine)) as service, Client(service.url) as client:
        body = json.dumps(payment("t-1")).encode()
        head = b"POST /score_transaction HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        with socket.create_connection(("127.0.0.1", service.port)) as lost:
            lost.sendall(head % len(body) + body)
            for _ in range(100):
                if engine.log:
                    break
                time.sleep(0.01)
        assert client.score(payment("t-1"))["transaction_id"] == "t-1"
        assert len(engine.log) == 1


def test_the_service_says_when_to_come_again() -> None:
    engine = MemoryEngine()
    engine.refusing = UnavailableError("the disk is full", retry_after_s=7)
    with running(parts(engine)) as service, Client(service.url, deadline_s=1) as client, pytest.raises(UnavailableError) as error:
        client.score(payment("t-1"))
    assert error.value.fields["retry_after_s"] == 7

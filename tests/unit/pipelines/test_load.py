"""The load generator: open loop, latency from when a request was due, order within a key, what is sent again and what is given up.

due      │ 0   1   2 …  stall of the server …   n │        every request that is due in the stall waits for its end,
closed   │ 0   1   ×   ×   ×   ×   ×   ×   ×    2 │        and a generator that waits for answers asks once in it
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fraudloop.errors import InputError
from fraudloop.pipelines.exchange import Target
from fraudloop.pipelines.histogram import Histogram
from fraudloop.pipelines.load import Load, Report, Retry, Sending, run

Answer = Callable[[bytes], bytes | None]


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def stalling(at: bytes, seconds: float) -> Answer:
    """Echo, but for one body that stalls everybody."""

    def answer(body: bytes) -> bytes:
        if body == at:
            time.sleep(seconds)
        return ok(body)

    return answer


class Server:
    """Answers one request after another by a function of its body; None closes the connection. All in one thread: a function that
    sleeps stalls everybody."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.port, self.seen = answer, 0, list[bytes]()
        self.open: set[Wire] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        server = self._loop.run_until_complete(self._loop.create_server(lambda: Wire(self), "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._gone())
        server.close()
        self._loop.close()

    async def _gone(self) -> None:
        """The clients have gone by now; their connections end."""
        await asyncio.sleep(0.05)
        for wire in self.open:
            wire.transport.abort()
        await asyncio.sleep(0.05)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


class Wire(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self.server, self.buffer = server, b""
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.open.discard(self)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, blank, rest = self.buffer.partition(b"\r\n\r\n")
        length = int(head.lower().rpartition(b"content-length:")[2]) if blank else 0
        if not blank or len(rest) < length:
            return
        body, self.buffer = rest[:length], rest[length:]
        self.server.seen.append(body)
        answer = self.server.answer(body)
        if answer is None:
            self.transport.close()
        else:
            self.transport.write(answer)


@pytest.fixture
def serving() -> Iterator[Callable[[Answer], Server]]:
    servers: list[Server] = []

    def start(answer: Answer) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def target(server: Server) -> Target:
    return Target.of(f"http://127.0.0.1:{server.port}/x")


def bodies() -> Iterator[bytes]:
    return (b"%d" % n for n in range(10**9))


def load_of(server: Server, sendings: list[Sending], **options: object) -> tuple[Report, list[tuple[object, int, bytes]]]:
    answers: list[tuple[object, int, bytes]] = []
    load = Load(target(server), sendings, rate=1.0, answered=lambda tag, status, body, ns: answers.append((tag, status, body)), **options)  # type: ignore[arg-type]
    return load.run(), answers


def sending(server: Server, n: int, key: str | None = None, due_ms: float = 0.0) -> Sending:
    return Sending(round(due_ms * 1e6), target(server).request(b"%d" % n), key, n)


def test_every_request_is_sent_once_at_its_rate_and_answered(serving: Callable[[Answer], Server]) -> None:
    server = serving(ok)
    found = run(target(server), bodies(), rate=400, duration_s=0.5, connections=4)
    assert (found.scheduled, found.sent, found.completed, found.ok) == (200, 200, 200, 200)
    assert found.status == {200: 200}
    assert sorted(map(int, server.seen)) == list(range(200))
    assert found.achieved == pytest.approx(400, rel=0.15)


def test_a_stall_delays_all_that_came_due_in_it(serving: Callable[[Answer], Server]) -> None:
    server = serving(stalling(b"100", 0.5))
    found = run(target(server), bodies(), rate=200, duration_s=1.25, connections=8)
    # 100 of 250 were due in the stall, their waits even from 0 to 0.5 s: six in ten had none, nine in ten at most 0.375 s.
    assert found.latency["p90"] == pytest.approx(375, abs=60)
    assert found.latency["max"] == pytest.approx(500, abs=60)
    assert found.latency["p50"] < 60
    # What a tool that waits would say: only the one in each connection that was under way took long.
    assert found.service["p90"] < 100
    assert found.waited > 50


def test_warm_up_does_not_count(serving: Callable[[Answer], Server]) -> None:
    server = serving(ok)
    found = run(target(server), bodies(), rate=200, duration_s=0.5, warmup_s=0.25, connections=2)
    assert found.scheduled == 100
    assert len(server.seen) == 150


def test_a_closed_loop_finds_a_ceiling(serving: Callable[[Answer], Server]) -> None:
    found = run(target(serving(ok)), bodies(), rate=0, duration_s=0.3, connections=4)
    assert found.completed == found.ok == found.sent > 100


def test_those_of_one_key_go_one_after_the_other_and_others_pass_them(serving: Callable[[Answer], Server]) -> None:
    server = serving(ok)
    given = [sending(server, n, "abc"[n % 3] if n % 2 else "z") for n in range(300)]
    found, answers = load_of(server, given, connections=16)
    assert found.ok == 300
    for key in "abcz":
        mine = [item.tag for item in given if item.key == key]
        assert [int(body) for body in server.seen if int(body) in mine] == mine
        assert [tag for tag, _, _ in answers if tag in mine] == mine


def test_what_is_refused_for_now_is_sent_again_before_later_ones_of_its_key(serving: Callable[[Answer], Server]) -> None:
    refused: dict[bytes, int] = {}
    dice = random.Random(3)

    def answer(body: bytes) -> bytes:
        if dice.random() < 0.3 and refused.get(body, 0) < 2:
            refused[body] = refused.get(body, 0) + 1
            return b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0.02\r\nContent-Length: 0\r\n\r\n"
        return ok(body)

    server = serving(answer)
    found, answers = load_of(server, [sending(server, n, f"k{n % 5}") for n in range(100)], connections=8, retry=Retry())
    assert found.status == {200: 100}
    assert found.retried == sum(refused.values()) > 20
    for k in range(5):
        assert [tag for tag, _, _ in answers if isinstance(tag, int) and tag % 5 == k] == list(range(k, 100, 5))


def test_without_retry_nothing_is_sent_twice(serving: Callable[[Answer], Server]) -> None:
    server = serving(lambda body: b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n" if body == b"3" else None if body == b"5" else ok(body))
    found, _ = load_of(server, [sending(server, n, due_ms=5 * n) for n in range(10)], connections=2)
    assert sorted(map(int, server.seen)) == list(range(10))
    assert found.status == {200: 8, 503: 1}
    assert found.errors == {"connect": 0, "closed": 1, "protocol": 0}
    assert found.ok == 8


def test_a_lost_connection_is_made_anew_and_its_request_sent_again_where_that_is_allowed(serving: Callable[[Answer], Server]) -> None:
    lost: set[bytes] = set()

    def answer(body: bytes) -> bytes | None:
        if int(body) % 7 == 0 and body not in lost:
            lost.add(body)
            return None
        return ok(body)

    server = serving(answer)
    found, answers = load_of(server, [sending(server, n) for n in range(50)], connections=3, retry=Retry(after_s=0.01))
    assert sorted(tag for tag, _, _ in answers) == list(range(50))  # type: ignore[type-var]
    assert found.retried == len(lost) == 8
    assert found.reconnects > 0


def test_what_takes_too_long_is_given_up_at_its_age_sent_or_not(serving: Callable[[Answer], Server]) -> None:
    server = serving(stalling(b"0", 0.6))
    found, _ = load_of(server, [sending(server, n) for n in range(5)], connections=2, timeout_s=0.2)
    assert found.timeouts["unanswered"] >= 2
    assert found.timeouts["unanswered"] + found.timeouts["unsent"] + found.completed == 5
    assert found.latency["max"] >= 200


def test_answers_in_pieces_in_chunks_and_with_a_close_are_read(serving: Callable[[Answer], Server]) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"
    server = serving(lambda body: {b"0": chunked, b"1": closing, b"2": b"nonsense\r\n\r\n"}.get(body, ok(b"x" * 200_000)))
    found, answers = load_of(server, [sending(server, n, due_ms=20 * n) for n in range(5)], connections=1)
    assert [body for _, _, body in answers] == [b"abcde", b"hi", b"x" * 200_000, b"x" * 200_000]
    assert found.errors["protocol"] == 1


def test_a_run_that_is_stopped_reports_what_it_did(serving: Callable[[Answer], Server]) -> None:
    load = Load(target(serving(ok)), (Sending(n * 10_000_000, Target("h", 1, "/").request(b"x")) for n in range(10**6)), rate=100.0)

    async def stopped() -> Report:
        asyncio.get_running_loop().call_later(0.3, load.stop)
        return await load.serve()

    found = asyncio.run(stopped())
    assert 10 < found.completed < 60
    assert found.completed == found.sent == found.scheduled


def test_nothing_listening_and_nonsense_for_a_url_are_told(serving: Callable[[Answer], Server]) -> None:
    server = serving(ok)
    server_port = server.port
    assert Target.of(f"127.0.0.1:{server_port}").path == "/"
    with pytest.raises(InputError, match="does not answer"):
        run(Target.of("http://127.0.0.1:1/"), bodies(), rate=10, duration_s=0.1)
    for url in ("https://h/", "http:///x", "http://h:a/", "http://h/ x"):
        with pytest.raises(InputError, match="no URL"):
            Target.of(url)


def test_percentiles_are_within_a_hundredth_and_never_below() -> None:
    dice = random.Random(1)
    values = sorted(int(dice.lognormvariate(13, 2)) + 1 for _ in range(5_000))
    seen = Histogram()
    for value in values:
        seen.add(value)
    for share in (0.01, 0.5, 0.9, 0.99, 0.999, 1.0):
        exact = values[max(0, -(-round(share * 1e6) * len(values) // 10**6) - 1)]
        assert exact <= seen.percentile(share) <= exact * 1.0079 + 1
    assert Histogram().percentile(0.5) == 0

"""Bytes in, answers out: pipelining, chunks, smuggling, limits, slow senders, back-pressure and drain."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any

import pytest
import uvloop

from fraudloop.api.http import Bad, Bounds, Connection, Head, Server, parse
from fraudloop.limits import HTTP_HEAD_BYTES_MAX, HTTP_HEAD_REMEMBERED_BYTES_MAX
from tests.service import MemoryEngine, parts, payment, running


class Wire:
    """A transport that keeps what was written."""

    def __init__(self) -> None:
        self.out = b""
        self.closed = self.aborted = self.ended = self.paused = False

    def write(self, data: bytes) -> None:
        self.out += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_extra_info(self, name: str) -> Any:
        return None


class Route:
    body_bytes_max = 64
    remember = True


class Echo:
    """Answers with what it was asked; `later` holds answers back."""

    def __init__(self) -> None:
        self.later: list[tuple[Connection, bytes]] | None = None
        self.routed = 0

    def connected(self, connection: Connection) -> None:
        pass

    def route(self, head: Head) -> Route:
        self.routed += 1
        return Route()

    def serve(self, connection: Connection, head: Head, body: bytes) -> None:
        told = json.dumps([head.method, head.path, head.query, body.decode("latin-1")]).encode()
        if self.later is None:
            connection.respond_ok(told)
        else:
            self.later.append((connection, told))

    def fail(self, connection: Connection, status: int, detail: str, field: str) -> None:
        connection.respond(status, json.dumps([detail, field]).encode())


def opened(app: Echo | None = None, bounds: Bounds | None = None) -> tuple[Server, Connection, Wire]:
    server = Server(app or Echo(), bounds)
    connection, wire = server(), Wire()
    connection.connection_made(wire)
    return server, connection, wire


def answers(out: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Status, headers and body of each answer."""
    found = []
    while out:
        head, _, out = out.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        status = int(lines[0].split()[1])
        headers = dict(line.split(": ", 1) for line in lines[1:])
        length = 0 if status in (100, 204) else int(headers["content-length"])
        found.append((status, headers, out[:length]))
        out = out[length:]
    return found


GET = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"


def post(body: bytes, *headers: bytes) -> bytes:
    return b"POST /p HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b" % (b"".join(h + b"\r\n" for h in headers), len(body), body)


class Large(Echo):
    """Answers of megabytes, each of one byte: more than sockets hold."""

    def serve(self, connection: Connection, head: Head, body: bytes) -> None:
        connection.respond_ok(body[:1] * (8_000_000 + body[0]))


def test_answers_that_the_socket_does_not_take_whole_arrive_whole_and_in_order() -> None:
    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Server(Large()), "127.0.0.1", 0)
        client = socket.create_connection(server.sockets[0].getsockname())
        client.setblocking(False)
        out = bytearray()
        for burst in ((b"a", b"b", b"c"), (b"d",)):
            await loop.sock_sendall(client, b"".join(post(body) for body in burst))
            await asyncio.sleep(0.05)  # the client does not read yet
            want = len(out) + sum(8_000_000 + body[0] for body in burst)
            while len(out) < want or answers(bytes(out))[-1][2][-1:] != burst[-1]:
                out += await loop.sock_recv(client, 1_000_000)
                await asyncio.sleep(0)
        client.close()
        server.close()
        return bytes(out)

    for run in (asyncio.run, uvloop.run):
        found = answers(run(main()))
        assert [(status, body[:1], len(body) - 8_000_000, len(set(body))) for status, _, body in found] == [
            (200, name, name[0], 1) for name in (b"a", b"b", b"c", b"d")
        ]


def test_requests_sent_at_once_are_answered_in_order() -> None:
    _, connection, wire = opened()
    connection.data_received(GET + post(b"one") + post(b"") + GET)
    bodies = [json.loads(body) for _, _, body in answers(wire.out)]
    assert bodies == [["GET", "/a", "b=c", ""], ["POST", "/p", "", "one"], ["POST", "/p", "", ""], ["GET", "/a", "b=c", ""]]


def test_thousands_of_requests_in_one_piece_do_not_exhaust_the_stack() -> None:
    server, connection, wire = opened()
    connection.data_received(GET * 3_000)
    assert wire.out.count(b"HTTP/1.1 200 OK") == 3_000 == server.counters.requests


def test_a_request_waits_for_the_answer_to_the_one_before() -> None:
    app = Echo()
    app.later = []
    _, connection, wire = opened(app)
    connection.data_received(post(b"one") + post(b"two"))
    connection.data_received(post(b"three"))
    for name in (b"one", b"two", b"three"):
        [(asked, told)] = app.later
        app.later.clear()
        assert name in told
        asked.respond_ok(told)
    assert [json.loads(body)[3] for _, _, body in answers(wire.out)] == ["one", "two", "three"]


def test_a_head_is_parsed_once_whatever_its_request_id() -> None:
    app = Echo()
    server, connection, wire = opened(app)
    for n in range(5):
        connection.data_received(b"GET /a HTTP/1.1\r\nHost: x\r\nX-Request-Id: id-%d\r\nTraceparent: 00-%d\r\nAccept: */*\r\n\r\n" % (n, n))
    assert server.counters.parsed == app.routed == 1
    assert [headers["x-request-id"] for _, headers, _ in answers(wire.out)] == [f"id-{n}" for n in range(5)]
    server.forget()
    connection.data_received(GET)
    assert server.counters.parsed == 2


def test_a_request_id_is_made_where_none_is_given_or_the_given_one_is_not_plain() -> None:
    _, connection, wire = opened()
    for given in (
        b"",
        b"X-Request-Id: \r\n",
        b"X-Request-Id: a b\r\n",
        b"X-Request-Id: " + b"a" * 65 + b"\r\n",
        b"x-request-id: <script>\r\n",
    ):
        connection.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n" + given + b"\r\n")
    ids = [headers["x-request-id"] for _, headers, _ in answers(wire.out)]
    assert len(set(ids)) == 5
    assert all(name.replace("-", "").isalnum() for name in ids)


def test_large_heads_are_not_remembered() -> None:
    server, connection, _ = opened()
    for n in range(3):
        connection.data_received(b"GET / HTTP/1.1\r\nHost: x\r\nCookie: %b%d\r\n\r\n" % (b"c" * HTTP_HEAD_REMEMBERED_BYTES_MAX, n))
    assert not server.heads


def test_heads_that_are_remembered_are_bounded() -> None:
    server, connection, _ = opened(bounds=Bounds(heads_max=4))
    for n in range(100):
        connection.data_received(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n)
        assert len(server.heads) <= 4


@pytest.mark.parametrize(
    ("head", "status", "field"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2", 400, "content-length"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1", 400, "content-length"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1", 400, "content-length"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1", 400, "content-length"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked", 400, "transfer-encoding"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 1", 400, "transfer-encoding"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked", 501, "transfer-encoding"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity", 400, "transfer-encoding"),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked", 400, "transfer-encoding"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked", 400, "head"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nA: b\r\n c: d", 400, "head"),
        (b"POST / HTTP/1.1\r\nHost: x\nContent-Length: 5", 400, "head"),
        (b"POST / HTTP/1.1\r\nHost: x\rContent-Length: 5", 400, "head"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: \0", 400, "head"),
        (b"GET / HTTP/1.1", 400, "host"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y", 400, "host"),
        (b"GET / HTTP/2.0\r\nHost: x", 505, "head"),
        (b"PRI * HTTP/2.0", 400, "head"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1", 405, "method"),
        (b"GET nowhere HTTP/1.1\r\nHost: x", 400, "head"),
        (b"\x16\x03\x01\x02", 400, "head"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: gifts", 417, "expect"),
    ],
)  # fmt: skip
def test_what_two_parsers_could_read_in_two_ways_is_refused(head: bytes, status: int, field: str) -> None:
    found = parse(head)
    assert isinstance(found, Bad)
    assert (found.status, found.field) == (status, field)
    server, connection, wire = opened()
    connection.data_received(head + b"\r\n\r\n" + GET)
    [(got, headers, _)] = answers(wire.out)
    assert got == status and headers["connection"] == "close"
    connection.data_received(GET)
    assert len(answers(wire.out)) == 1  # nothing after it is taken for a request
    assert server.counters.bad == {status: 1}


CHUNKED = b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_body_in_chunks_is_put_together_and_what_follows_is_the_next_request() -> None:
    _, connection, wire = opened()
    connection.data_received(CHUNKED + b"3\r\nabc\r\nA;ext=1\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n" + GET)
    assert [json.loads(body)[3] for _, _, body in answers(wire.out)] == ["abc0123456789", ""]


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        (b"zz\r\n", 400),
        (b"-1\r\n", 400),
        (b"0x1\r\na\r\n", 400),
        (b"1\r\nab\r\n", 400),
        (b"3\r\nabcX", 400),
        (b"41\r\n", 413),
        (b"FFFFFFFFFFFFFFFF\r\n", 400),
        (b"1;" + b"e" * 400, 400),
        (b"0\r\n" + b"T: x\r\n" * 2_000, 400),
    ],
)
def test_malformed_chunks_are_refused(chunks: bytes, status: int) -> None:
    _, connection, wire = opened()
    connection.data_received(CHUNKED + chunks)
    [(got, headers, body)] = answers(wire.out)
    assert got == status and headers["connection"] == "close" and json.loads(body)[1] == "body"


def test_a_body_that_is_too_large_is_refused_before_it_comes() -> None:
    _, connection, wire = opened()
    connection.data_received(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 65\r\nExpect: 100-continue\r\n\r\n")
    [(status, _, body)] = answers(wire.out)
    assert status == 413 and json.loads(body)[1] == "body"
    assert wire.ended and not wire.closed  # what is still on its way is swallowed, so that the answer is read
    connection.data_received(b"x" * 65)


def test_who_asks_whether_to_send_a_body_is_told_to() -> None:
    _, connection, wire = opened()
    connection.data_received(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert wire.out == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.data_received(b"ok")
    assert [status for status, _, _ in answers(wire.out)] == [100, 200]


def test_an_empty_line_before_a_request_is_overlooked() -> None:
    _, connection, wire = opened()
    connection.data_received(b"\r\n\r\n" + GET)
    assert [status for status, _, _ in answers(wire.out)] == [200]


@pytest.mark.parametrize(
    ("request_", "says", "closed"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "close", True),
        (b"GET / HTTP/1.0\r\n\r\n", "close", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "keep-alive", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", None, False),
        (GET, None, False),
    ],
)
def test_a_connection_stays_open_as_both_sides_said(request_: bytes, says: str | None, closed: bool) -> None:
    _, connection, wire = opened()
    connection.data_received(request_ + GET)
    found = answers(wire.out)
    assert found[0][1].get("connection") == says and wire.closed is closed
    assert len(found) == (1 if closed else 2)


def test_the_answer_to_head_has_the_length_and_no_body() -> None:
    _, connection, wire = opened()
    connection.data_received(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"content-length: 21\r\n" in wire.out and wire.out.endswith(b"\r\n\r\n")


def test_an_endless_head_is_refused() -> None:
    _, connection, wire = opened()
    connection.data_received(b"GET / HTTP/1.1\r\n")
    while not wire.out:
        connection.data_received(b"A: " + b"b" * 1_000 + b"\r\n")
    assert answers(wire.out)[0][0] == 431
    _, connection, wire = opened()
    connection.data_received(b"GET /" + b"a" * HTTP_HEAD_BYTES_MAX + b" HTTP/1.1\r\n\r\n")
    assert answers(wire.out)[0][0] == 431


def test_a_client_that_sends_ahead_without_end_is_not_read() -> None:
    app = Echo()
    app.later = []
    _, connection, wire = opened(app, Bounds(ahead_bytes_max=1_000))
    connection.data_received(GET * 100)
    paused = wire.paused
    assert paused
    while app.later:
        asked, told = app.later.pop()
        asked.respond_ok(told)
    assert wire.paused is False
    assert len(answers(wire.out)) == 100


def test_a_client_that_does_not_read_gets_no_further_request_served_and_is_cut_at_last() -> None:
    server, connection, wire = opened(bounds=Bounds(unread_s_max=10))
    connection.data_received(GET)
    connection.pause_writing()
    connection.data_received(GET + GET)
    assert len(answers(wire.out)) == 1
    server.sweep(server.now + 9)
    assert not wire.aborted
    connection.resume_writing()
    assert len(answers(wire.out)) == 3
    connection.pause_writing()
    server.sweep(server.now + 11)
    assert wire.aborted


@pytest.mark.parametrize("begun", [b"GET / HT", post(b"body")[:-1], CHUNKED + b"5\r\nab"])
def test_a_slow_sender_is_told_408_and_closed(begun: bytes) -> None:
    server, connection, wire = opened(bounds=Bounds(request_s_max=5, linger_s=2))
    begin = server.now
    for second in range(1, 6):
        connection.data_received(begun[second - 1 : second] if second < 5 else begun[4:])
        server.sweep(begin + second)
        assert not wire.out
    server.sweep(begin + 6.5)
    [(status, headers, _)] = answers(wire.out)
    assert status == 408 and headers["connection"] == "close"
    server.sweep(begin + 10)
    assert wire.aborted and server.counters.timed_out == 1


def test_a_silent_connection_is_closed_and_one_under_way_is_not() -> None:
    app = Echo()
    server, connection, wire = opened(app, Bounds(idle_s_max=10))
    server.sweep(server.now + 9)
    connection.data_received(GET)
    server.sweep(server.now + 9)
    assert not wire.closed
    app.later = []
    connection.data_received(GET)
    server.sweep(server.now + 100)
    assert not wire.closed
    app.later[0][0].respond_ok(b"{}")
    server.sweep(server.now + 11)
    assert wire.closed


def test_connections_beyond_the_limit_are_told_503() -> None:
    server, _, _ = opened(bounds=Bounds(connections_max=1))
    other = Wire()
    server().connection_made(other)
    assert answers(other.out)[0][0] == 503 and other.ended and server.counters.turned_away == 1


def test_a_shutdown_answers_what_is_under_way_and_says_so() -> None:
    app = Echo()
    server, _, idle_wire = opened(app)
    busy, wire = server(), Wire()
    busy.connection_made(wire)
    app.later = []
    busy.data_received(GET)
    partly, partly_wire = server(), Wire()
    partly.connection_made(partly_wire)
    partly.data_received(post(b"whole")[:-2])
    server.drain()
    assert idle_wire.closed and not wire.closed and not partly_wire.closed
    partly.data_received(b"le")
    for asked, told in app.later:
        asked.respond_ok(told)
    for each in (wire, partly_wire):
        [(status, headers, _)] = answers(each.out)
        assert status == 200 and headers["connection"] == "close" and each.closed


def test_a_client_that_stops_sending_gets_what_it_asked_for() -> None:
    app = Echo()
    app.later = []
    _, connection, wire = opened(app)
    connection.data_received(GET + post(b"two"))
    assert connection.eof_received()
    while app.later:
        asked, told = app.later.pop()
        asked.respond_ok(told)
    assert len(answers(wire.out)) == 2 and wire.closed


def test_an_answer_to_a_client_that_has_gone_is_dropped() -> None:
    app = Echo()
    app.later = []
    server, connection, wire = opened(app)
    connection.data_received(GET)
    wire.closed = True
    connection.connection_lost(None)
    app.later[0][0].respond_ok(b"{}")
    app.later[0][0].respond(200, b"{}")
    assert not wire.out and not server.connections


def test_over_a_socket_a_drain_finishes_the_decision_under_way() -> None:
    engine = MemoryEngine()
    with running(parts(engine)) as service:
        engine.holding = True
        body = json.dumps(payment("t-9")).encode()
        with socket.create_connection(("127.0.0.1", service.port), 5) as client:
            client.sendall(
                b"POST /score_transaction HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            for _ in range(200):
                if engine.queue:
                    break
                time.sleep(0.01)
            service.call(service.server.drain)

            def release() -> None:
                engine.holding = False

            service.call(release)
            data = b""
            while part := client.recv(65_536):
                data += part
    [(status, headers, _)] = answers(data)
    assert status == 200 and headers["connection"] == "close"

"""However bytes are cut into pieces, the answers are the same; and no bytes at all make the server fail."""

from __future__ import annotations

import json
from itertools import pairwise

import httptools
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.api.test_http import CHUNKED, GET, answers, opened, post

HEADS = st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"G\0T", b"\xff"])
NAMES = st.sampled_from(
    [
        b"Host",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Connection",
        b"Expect",
        b"X-Request-Id",
        b"A",
        b"Upgrade",
        b"traceparent",
        b"Content-Length ",
    ]
)
VALUES = st.sampled_from([b"x", b"0", b"5", b"chunked", b"close", b"keep-alive", b"100-continue", b"", b"70", b"\xe4", b"1 1", b"id-1"])


@st.composite
def chunked(draw: st.DrawFn) -> bytes:
    parts = draw(st.lists(st.binary(min_size=1, max_size=9), max_size=5))
    return CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@st.composite
def rubbish(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(st.tuples(NAMES, VALUES), max_size=6))
    end = draw(st.sampled_from([b"\r\n", b"\n", b"\r"]))
    head = draw(HEADS) + b" /p HTTP/1." + draw(st.sampled_from([b"0", b"1", b"2"])) + end
    return head + b"".join(name + b": " + value + end for name, value in lines) + end + draw(st.binary(max_size=20))


REQUESTS = st.one_of(st.just(GET), st.binary(max_size=64).map(post), chunked(), st.just(b"\r\n"))


def answered(pieces: list[bytes]) -> list[tuple[int, bytes, str | None]]:
    _, connection, wire = opened()
    for piece in pieces:
        connection.data_received(piece)
    return [(status, body, headers.get("connection")) for status, headers, body in answers(wire.out)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.lists(REQUESTS, min_size=1, max_size=6), st.lists(st.integers(0, 600), max_size=8))
def test_pieces_change_nothing(requests: list[bytes], places: list[int]) -> None:
    data = b"".join(requests)
    whole = answered([data])
    assert answered(cut(data, places)) == whole
    assert answered([data[at : at + 1] for at in range(len(data))]) == whole
    assert len(whole) == sum(request != b"\r\n" for request in requests)


@given(st.lists(st.one_of(rubbish(), REQUESTS, st.binary(max_size=40)), max_size=4), st.lists(st.integers(0, 400), max_size=5))
@example([b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n"], [])
def test_no_bytes_make_the_server_fail_and_pieces_change_nothing(requests: list[bytes], places: list[int]) -> None:
    data = b"".join(requests)
    whole = answered([data])
    assert all(status < 600 for status, _, _ in whole)
    assert [entry for entry in answered(cut(data, places)) if entry[0] != 100] == [entry for entry in whole if entry[0] != 100]


class _Told:
    def __init__(self) -> None:
        self.body = b""
        self.done = 0

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.done += 1


@given(chunked())
def test_chunks_are_read_as_another_parser_reads_them(data: bytes) -> None:
    told = _Told()
    parser = httptools.HttpRequestParser(told)
    parser.feed_data(data)
    [(status, body, _)] = answered([data])
    assert told.done == 1
    assert status == (200 if len(told.body) <= 64 else 413)
    if status == 200:
        assert json.loads(body)[3].encode("latin-1") == told.body

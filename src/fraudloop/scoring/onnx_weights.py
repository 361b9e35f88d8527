"""The weights of a network in an ONNX file, read without a library: of the graph that `training.network_onnx` writes, and of no
other.

ONNX is a protobuf message; the few kinds of fields that such a file has are read here. Every node, name and constant is
compared with what the writer writes, so that a graph of other origin, or one that was edited, is never taken for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.errors import BundleError
from fraudloop.scoring.network_kernel import NEAR

Singles = NDArray[np.float32]

#: Where a message stands in the file: its first byte, and the one after its last.
_Span = tuple[int, int]

#: What the writer says of itself, and the versions that it writes: of the file, and of the operators.
_PRODUCER: Final = b"fraudloop"
_IR: Final = 8
_OPSET: Final = 17

#: Wire types of protobuf, and how many bytes those of fixed length take.
_VARINT, _BYTES = 0, 2
_FIXED: Final[Mapping[int, int]] = {1: 8, 5: 4}

#: Types of a tensor's elements, as ONNX numbers them.
_DTYPES: Final[Mapping[int, str]] = {1: "<f4", 7: "<i8", 9: "|b1"}

_GRAPH: Final = 5  # of the types of an attribute

#: Operator, inputs and output of a node; its name is that of its output.
_Node = tuple[bytes, tuple[bytes, ...], bytes]


@dataclass(frozen=True, slots=True)
class StoredNetwork:
    """weights: [inputs, outputs] by layer, the last with one output; biases by layer. baseline: [columns], against which
    contributions are held; quiet, slopes: of the units of all layers but the last what they sum up to there, and whether that is
    above 0. base: the margin of the baseline."""

    weights: tuple[Singles, ...]
    biases: tuple[Singles, ...]
    baseline: Singles
    quiet: tuple[Singles, ...]
    slopes: tuple[Singles, ...]
    base: float


class _OtherError(Exception):
    """Well formed, as far as was read, but not what the writer writes."""


def read_network(data: bytes, where: str = "model") -> StoredNetwork | None:
    """The network in an ONNX file; None if `training.network_onnx` did not write it so. BundleError for bytes that are no message, or
    weights that are not finite."""
    try:
        return _Reader(data, where).network()
    except _OtherError:
        return None


class _Reader:
    def __init__(self, data: bytes, where: str) -> None:
        self._data, self._where = data, where

    def network(self) -> StoredNetwork:
        # Only what a foreign file has at its top is read before its producer is known.
        model = self._message((0, len(self._data)), one=(1, 2, 7), many=(8,))
        if self._text(model.get(2)) != _PRODUCER:
            raise _OtherError
        versions = [self._message(self._span(span), one=(1, 2)) for span in model.get(8, [])]
        if model.get(1) != [_IR] or len(versions) != 1 or self._text(versions[0].get(1)) or versions[0].get(2) != [_OPSET]:
            raise _OtherError
        graph = self._message(self._one(model.get(7)), one=(2,), many=(1, 5, 11, 12))
        held = dict(self._tensor(self._span(span)) for span in graph.get(5, []))
        if len(held) != len(graph.get(5, [])):
            raise _OtherError
        hidden = sum(name[:1] == b"q" for name in held)
        self._compare_graph(graph, hidden)
        return self._taken(held, hidden)

    def _compare_graph(self, graph: Mapping[int, list[int | _Span]], hidden: int) -> None:
        main, branch = _nodes(hidden)
        found, branches = self._nodes_of(graph)
        names = [[self._name(self._span(span)) for span in graph.get(number, [])] for number in (11, 12)]
        if self._text(graph.get(2)) != b"network" or found != main or names != [[b"x", b"explain"], [b"margin", b"contributions", b"base"]]:
            raise _OtherError
        expected = {b"then_branch": (b"asked", branch, b"explained"), b"else_branch": (b"quick", [_QUICK], b"unasked")}
        if set(branches) != set(expected):
            raise _OtherError
        for key, (name, nodes, output) in expected.items():
            inner = self._message(branches[key], one=(2, 12), many=(1,))
            inner_nodes, inner_branches = self._nodes_of(inner)
            if self._text(inner.get(2)) != name or inner_nodes != nodes or inner_branches or self._name(self._one(inner.get(12))) != output:
                raise _OtherError

    def _nodes_of(self, graph: Mapping[int, list[int | _Span]]) -> tuple[list[_Node], dict[bytes, _Span]]:
        """The nodes of a graph in order, and the graphs that stand in their attributes."""
        nodes, branches = [], {}
        for span in graph.get(1, []):
            node = self._message(self._span(span), one=(2, 3, 4), many=(1, 5))
            output = self._text(node.get(2))
            if self._text(node.get(3)) != output:
                raise _OtherError
            nodes.append((self._text(node.get(4)), tuple(self._text([one]) for one in node.get(1, [])), output))
            for attribute in node.get(5, []):
                fields = self._message(self._span(attribute), one=(1, 6, 20))
                if nodes[-1][0] != b"If" or fields.get(20) != [_GRAPH]:
                    raise _OtherError
                branches[self._text(fields.get(1))] = self._one(fields.get(6))
        return nodes, branches

    def _tensor(self, span: _Span) -> tuple[bytes, NDArray[np.generic]]:
        fields = self._message(span, one=(2, 8, 9), many=(1,))
        name, kind = self._text(fields.get(8)), fields.get(2)
        shape = [self._number(size) for size in fields.get(1, [])]
        if kind is None or self._number(kind[0]) not in _DTYPES:
            raise _OtherError
        dtype = np.dtype(_DTYPES[self._number(kind[0])])
        begin, end = self._one(fields.get(9)) if 9 in fields else (span[1], span[1])
        count = 1
        for size in shape:
            count *= size
        if count * dtype.itemsize != end - begin or len(shape) > 2 or max(shape, default=0) > len(self._data):
            raise BundleError(f"{self._where}: byte {span[0]}: a constant's {end - begin} bytes are not those of its shape {shape}")
        value = np.frombuffer(self._data, dtype, count, begin).reshape(shape)
        if dtype.kind == "f" and not np.isfinite(value).all():
            raise BundleError(f"{self._where}: byte {begin}: the constant {name.decode('utf-8', 'replace')!r} holds what is not finite")
        return name, value

    def _taken(self, held: Mapping[bytes, NDArray[np.generic]], hidden: int) -> StoredNetwork:
        numbers = range(hidden)
        wanted = {f"{letter}{at}" for letter in ("q", "r", "t", "slope", "one") for at in numbers}
        wanted |= {f"{letter}{at}" for letter in ("w", "b") for at in range(hidden + 1)}
        wanted |= {"flat", "near", "back", "baseline", "nothing", "explain", "constant_base"}
        if set(held) != {name.encode() for name in wanted} or not hidden:
            raise _OtherError

        def one(name: str, *shape: int) -> Singles:
            value = held[name.encode()]
            if value.shape != shape or value.dtype != np.float32:
                raise _OtherError
            return np.array(value, np.float32)

        columns = len(held[b"baseline"].ravel())
        sizes = [columns, *(len(held[f"q{at}".encode()].ravel()) for at in numbers), 1]
        weights = tuple(one(f"w{at}", sizes[at], sizes[at + 1]) for at in range(hidden + 1))
        biases = tuple(one(f"b{at}", sizes[at + 1]) for at in range(hidden + 1))
        quiet, slopes = (tuple(one(f"{letter}{at}", sizes[at + 1]) for at in numbers) for letter in ("q", "slope"))
        agreed = [
            *((one(f"t{at}", sizes[at + 1], sizes[at]), weights[at].T) for at in numbers),
            *((one(f"r{at}", sizes[at + 1]), np.maximum(quiet[at], np.float32(0.0))) for at in numbers),
            *((one(f"one{at}", 1), np.array([1.0])) for at in numbers),
            (one("near", 1), np.array([NEAR], np.float32)),
            (one("back", sizes[hidden]), weights[hidden][:, 0]),
            (one("nothing", 0, columns), np.empty((0, columns))),
            (held[b"explain"], np.array([False])),
            (held[b"flat"], np.array([-1])),
        ]
        if not all(np.array_equal(found, expected) for found, expected in agreed) or min(sizes) < 1:
            raise _OtherError
        if held[b"explain"].dtype != np.bool_ or held[b"flat"].dtype != np.int64:
            raise _OtherError
        return StoredNetwork(weights, biases, one("baseline", columns), quiet, slopes, float(one("constant_base", 1)[0]))

    # --- protobuf ------------------------------------------------------------------------------------------------

    def _message(self, span: _Span, *, one: Sequence[int], many: Sequence[int] = ()) -> dict[int, list[int | _Span]]:
        """The fields of a message by number. The writer writes none but these, and those of `one` once."""
        out: dict[int, list[int | _Span]] = {}
        for number, value in self._fields(*span):
            out.setdefault(number, []).append(value)
        if not set(out) <= {*one, *many} or any(len(out.get(number, [])) > 1 for number in one):
            raise _OtherError
        return out

    def _fields(self, at: int, end: int) -> Iterator[tuple[int, int | _Span]]:
        while at < end:
            begin = at
            tag, at = self._varint(at, end)
            number, kind = tag >> 3, tag & 7
            if kind == _VARINT:
                value, at = self._varint(at, end)
                yield number, value
                continue
            if kind == _BYTES:
                size, at = self._varint(at, end)
            elif kind in _FIXED:
                size = _FIXED[kind]
            else:
                raise BundleError(f"{self._where}: byte {begin}: not an ONNX model, a field of kind {kind}")
            if size > end - at:
                raise BundleError(f"{self._where}: byte {begin}: not an ONNX model, or cut short ({size} bytes told, {end - at} left)")
            yield number, (at, at + size)
            at += size

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if at + shift // 7 >= end:
                break
            byte = self._data[at + shift // 7]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at + shift // 7 + 1
        raise BundleError(f"{self._where}: byte {at}: not an ONNX model, or cut short: a number without end")

    def _span(self, value: int | _Span) -> _Span:
        if isinstance(value, int):
            raise _OtherError
        return value

    def _number(self, value: int | _Span) -> int:
        if not isinstance(value, int):
            raise _OtherError
        return value

    def _one(self, values: Sequence[int | _Span] | None) -> _Span:
        if values is None or len(values) != 1:
            raise _OtherError
        return self._span(values[0])

    def _text(self, values: Sequence[int | _Span] | None) -> bytes:
        if values is None:
            return b""
        begin, end = self._one(values)
        return self._data[begin:end]

    def _name(self, span: _Span) -> bytes:
        """Of an input or output; its type follows from the nodes."""
        return self._text(self._message(span, one=(1, 2)).get(1))


_QUICK: Final[_Node] = (b"Identity", (b"nothing",), b"unasked")


def _nodes(hidden: int) -> tuple[list[_Node], list[_Node]]:
    """The nodes of the graph, and of its branch for contributions, of a network with so many hidden layers."""
    main: list[tuple[str, str, str]] = []
    branch: list[tuple[str, str, str]] = []
    active = "x"
    for at in range(hidden):
        main += [("Gemm", f"{active} w{at} b{at}", f"z{at}"), ("Relu", f"z{at}", f"a{at}")]
        active = f"a{at}"
    main += [
        ("Gemm", f"{active} w{hidden} b{hidden}", f"z{hidden}"),
        ("Reshape", f"z{hidden} flat", "margin"),
        ("If", "explain", "contributions"),
        ("Identity", "constant_base", "base"),
    ]
    passed = "back"
    for at in range(hidden - 1, -1, -1):
        branch += [
            ("Sub", f"z{at} q{at}", f"dz{at}"),
            ("Sub", f"a{at} r{at}", f"da{at}"),
            ("Abs", f"dz{at}", f"far{at}"),
            ("Less", f"far{at} near", f"close{at}"),
            ("Where", f"close{at} one{at} dz{at}", f"safe{at}"),
            ("Div", f"da{at} safe{at}", f"quotient{at}"),
            ("Where", f"close{at} slope{at} quotient{at}", f"share{at}"),
            ("Mul", f"share{at} {passed}", f"given{at}"),
            ("MatMul", f"given{at} t{at}", f"passed{at}"),
        ]
        passed = f"passed{at}"
    branch += [("Sub", "x baseline", "dx"), ("Mul", f"{passed} dx", "explained")]
    return _encoded(main), _encoded(branch)


def _encoded(nodes: Sequence[tuple[str, str, str]]) -> list[_Node]:
    return [(kind.encode(), tuple(name.encode() for name in inputs.split()), output.encode()) for kind, inputs, output in nodes]

"""Reading a network's weights from ONNX without a library: what is written comes back, what is other is left to ONNX Runtime,
and what is damaged is refused by name and place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from fraudloop.errors import BundleError
from fraudloop.scoring.network import NetworkScorer, OnnxNetwork
from fraudloop.scoring.onnx_weights import StoredNetwork, read_network
from tests.networks import Plain, rows

PLAIN = Plain.random(3, (4, 2))
DATA = PLAIN.encode()


@pytest.mark.parametrize("hidden", [(1,), (8,), (256, 128, 64), (3, 4, 5, 6)])
def test_what_was_written_comes_back_to_the_bit(hidden: tuple[int, ...]) -> None:
    plain = Plain.random(7, hidden)
    found = read_network(plain.encode())
    assert found is not None
    assert [one.tobytes() for one in found.weights] == [one.tobytes() for one in plain.weights]
    assert [one.tobytes() for one in found.biases] == [one.tobytes() for one in plain.biases]
    assert found.baseline.tobytes() == plain.baseline.tobytes()
    assert [one.shape for one in (*found.quiet, *found.slopes)] == [(units,) for units in hidden] * 2
    assert found.base == pytest.approx(plain.explained(plain.baseline[None].astype(np.float64))[0][0], abs=1e-5)


def edited(change: Callable[[Any], object]) -> bytes:
    model = onnx.load_from_string(DATA)
    change(model)
    return bytes(model.SerializeToString(deterministic=True))


def named(model: Any, name: str) -> Any:
    return next(one for one in model.graph.initializer if one.name == name)


def put(name: str, value: np.ndarray) -> Callable[[Any], object]:
    return lambda model: named(model, name).CopyFrom(numpy_helper.from_array(value, name))


def branch(model: Any) -> Any:
    return next(node for node in model.graph.node if node.op_type == "If").attribute[0].g


def exchange(model: Any) -> None:
    for attribute in next(node for node in model.graph.node if node.op_type == "If").attribute:
        attribute.name = "then_branch" if attribute.name == "else_branch" else "else_branch"


OTHER: dict[str, Callable[[Any], object]] = {
    "another producer": lambda model: setattr(model, "producer_name", "other"),
    "another version of the file": lambda model: setattr(model, "ir_version", 9),
    "another version of the operators": lambda model: setattr(model.opset_import[0], "version", 18),
    "further operators": lambda model: model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1)),
    "a note": lambda model: model.metadata_props.add(key="a", value="b"),
    "another operator": lambda model: setattr(model.graph.node[1], "op_type", "Softplus"),
    "another input": lambda model: model.graph.node[1].input.__setitem__(0, "x"),
    "an operator's setting": lambda model: model.graph.node[0].attribute.append(helper.make_attribute("alpha", 2.0)),
    "another domain": lambda model: setattr(model.graph.node[0], "domain", "own"),
    "a node less": lambda model: model.graph.node.pop(),
    "a node more": lambda model: model.graph.node.append(helper.make_node("Identity", ["x"], ["more"], name="more")),
    "another operator in the branch": lambda model: setattr(branch(model).node[0], "op_type", "Add"),
    "branches exchanged": exchange,
    "outputs in another order": lambda model: model.graph.output.insert(0, model.graph.output.pop()),
    "another nearness": put("near", np.array([0.5], np.float32)),
    "contributions by default": put("explain", np.array([True])),
    "weights that differ on the way back": put("t0", -PLAIN.weights[0].T),
    "last weights that differ on the way back": put("back", -PLAIN.weights[2][:, 0]),
    "another zero": put("r0", np.full(4, 0.25, np.float32)),
    "float64": put("w0", PLAIN.weights[0].astype(np.float64)),
    "a constant more": lambda model: model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "more")),
    "a constant twice": lambda model: model.graph.initializer.append(model.graph.initializer[0]),
    "a constant less": lambda model: model.graph.initializer.pop(),
    "another shape": put("b0", np.zeros((2, 2), np.float32)),
    "no bytes but numbers": lambda model: named(model, "b2").CopyFrom(helper.make_tensor("b2", onnx.TensorProto.FLOAT, [1], [0.5])),
}  # fmt: skip


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_a_graph_that_differs_anywhere_is_not_taken_for_the_writers(change: Callable[[Any], object]) -> None:
    assert read_network(edited(change)) is None


def test_a_graph_of_another_producer_runs_in_onnx_runtime_and_says_the_same() -> None:
    scorer, x = NetworkScorer(edited(OTHER["another producer"]), 3), rows(50, 3)
    assert isinstance(scorer._runner, OnnxNetwork)
    own = NetworkScorer(DATA, 3)
    assert scorer.base == own.base
    for found, expected in zip(scorer.explained(x), own.explained(x), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    assert scorer.explained(x[:1])[1].tobytes() == scorer.contributions(x)[:1].tobytes()
    assert scorer.margins(x[:0]).shape == (0,) and scorer.contributions(x[:0]).shape == (0, 3)


def test_weights_that_are_not_finite_are_refused_by_name() -> None:
    with pytest.raises(BundleError, match=r"models/n\.onnx: byte \d+: the constant 'b1' holds what is not finite"):
        read_network(edited(put("b1", np.array([np.inf, 0.0], np.float32))), "models/n.onnx")


def test_bytes_that_are_not_those_of_the_shape_are_refused() -> None:
    with pytest.raises(BundleError, match=r"byte \d+: a constant's 8 bytes are not those of its shape \[3\]"):
        read_network(edited(lambda model: named(model, "b1").dims.__setitem__(0, 3)))
    with pytest.raises(BundleError, match=r"byte \d+: a constant's 0 bytes"):
        read_network(edited(lambda model: named(model, "nothing").dims.__setitem__(1, 2**62)))


@pytest.mark.parametrize("data", [b"\xff" * 11, b"\x0b", b"\x08", b"\x12\xff\x01fraud", b"\x0d\x00\x00"])
def test_bytes_that_are_no_message_are_refused_with_their_place(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"models/n\.onnx: byte \d+: not an ONNX model"):
        read_network(data, "models/n.onnx")


def taken(data: bytes) -> StoredNetwork | None:
    """Only these three ways out: a network, another graph, a BundleError that names the file."""
    try:
        return read_network(data, "models/n.onnx")
    except BundleError as error:
        told = str(error)
    assert told.startswith("models/n.onnx: byte ")
    return None


def test_a_file_that_is_cut_short_anywhere_is_not_read() -> None:
    assert all(taken(DATA[:at]) is None for at in range(len(DATA)))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@example([(0, 0xFF)])
def test_damaged_bytes_are_refused_or_read_as_they_stand(damage: list[tuple[int, int]]) -> None:
    data = bytearray(DATA)
    for at, value in damage:
        data[at] = value
    found = taken(bytes(data))
    if found is not None:  # damage to a weight that stands once, as a bias, cannot be seen here: the manifest's hash sees it
        assert [one.shape for one in found.weights] == [one.shape for one in PLAIN.weights]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(DATA)), st.integers(0, 200))
def test_bytes_put_in_or_taken_out_are_no_other_error(data: bytes, at: int, less: int) -> None:
    taken(DATA[:at] + data + DATA[at + less :])
    taken(data)

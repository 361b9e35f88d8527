"""A network as an ONNX graph: its margins, and beside them what each column contributed. It trains nothing.

Contributions are those of DeepLIFT's rescale rule (Shrikumar, Greenside & Kundaje, 2017) against one constant row: a
unit passes on `(relu(z) - relu(z0)) / (z - z0)` of what it gets, so that the contributions of a row add up to its
margin less that of the constant row, up to float32. They stand in a branch that is taken only when asked for: the
runtime computes every node on the main path, whatever output it is asked for.

`scoring.onnx_weights` reads these graphs, node by node: what changes here must change there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.scoring.network_kernel import NEAR

Singles = NDArray[np.float32]

_OPSET: Final = 17
_IR: Final = 8


def encode_network(weights: Sequence[Singles], biases: Sequence[Singles], baseline: Singles) -> bytes:
    """The bytes of a graph that reads `x` float32 [n, columns] and gives `margin` [n], `contributions` [n, columns] (no
    rows unless `explain`, which is false by default, is true) and `base` [1], the margin of the baseline. weights:
    [inputs, outputs] by layer, the last with one output."""
    from onnx import TensorProto, checker, helper, numpy_helper

    main: list[Any] = []
    branch: list[Any] = []
    constants: list[Any] = []
    nodes = main

    def constant(name: str, value: NDArray[np.generic]) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(kind: str, inputs: Sequence[str], output: str) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [output], name=output))
        return output

    last = len(weights) - 1
    active, still = "x", baseline.astype(np.float64)
    states: list[tuple[str, str, NDArray[np.float64]]] = []
    for at in range(last):
        matrix = constant(f"w{at}", weights[at])
        z = node("Gemm", [active, matrix, constant(f"b{at}", biases[at])], f"z{at}")
        active = node("Relu", [z], f"a{at}")
        quiet = still @ weights[at].astype(np.float64) + biases[at]
        states.append((z, active, quiet))
        still = np.maximum(quiet, 0.0)
    column = node("Gemm", [active, constant(f"w{last}", weights[last]), constant(f"b{last}", biases[last])], f"z{last}")
    node("Reshape", [column, constant("flat", np.array([-1], np.int64))], "margin")
    base = still @ weights[last].astype(np.float64) + biases[last]

    nodes = branch
    near = constant("near", np.array([NEAR], np.float32))
    passed = constant("back", weights[last][:, 0])
    for at in range(last - 1, -1, -1):
        z, active, quiet = states[at]
        moved = node("Sub", [z, constant(f"q{at}", quiet.astype(np.float32))], f"dz{at}")
        risen = node("Sub", [active, constant(f"r{at}", np.maximum(quiet, 0.0).astype(np.float32))], f"da{at}")
        close = node("Less", [node("Abs", [moved], f"far{at}"), near], f"close{at}")
        safe = node("Where", [close, constant(f"one{at}", np.array([1.0], np.float32)), moved], f"safe{at}")
        slope = constant(f"slope{at}", (quiet > 0).astype(np.float32))
        share = node("Where", [close, slope, node("Div", [risen, safe], f"quotient{at}")], f"share{at}")
        given = node("Mul", [share, passed], f"given{at}")
        passed = node("MatMul", [given, constant(f"t{at}", weights[at].T)], f"passed{at}")
    node("Mul", [passed, node("Sub", ["x", constant("baseline", baseline)], "dx")], "explained")

    nodes = main
    table = [None, len(baseline)]
    nothing = constant("nothing", np.zeros((0, len(baseline)), np.float32))
    asked = helper.make_graph(branch, "asked", [], [helper.make_tensor_value_info("explained", TensorProto.FLOAT, table)])
    quick = helper.make_graph(
        [helper.make_node("Identity", [nothing], ["unasked"], name="unasked")],
        "quick",
        [],
        [helper.make_tensor_value_info("unasked", TensorProto.FLOAT, table)],
    )
    explain = constant("explain", np.array([False]))
    nodes.append(helper.make_node("If", [explain], ["contributions"], name="contributions", then_branch=asked, else_branch=quick))
    node("Identity", [constant("constant_base", base.astype(np.float32))], "base")
    graph = helper.make_graph(
        main,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, table), helper.make_tensor_value_info("explain", TensorProto.BOOL, [1])],
        [
            helper.make_tensor_value_info("margin", TensorProto.FLOAT, [None]),
            helper.make_tensor_value_info("contributions", TensorProto.FLOAT, table),
            helper.make_tensor_value_info("base", TensorProto.FLOAT, [1]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="fraudloop")
    model.ir_version = _IR
    checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def decode_network(data: bytes) -> tuple[list[Singles], list[Singles], Singles]:
    """Weights, biases and baseline of bytes that :func:`encode_network` made."""
    from onnx import load_from_string, numpy_helper

    held = {one.name: numpy_helper.to_array(one) for one in load_from_string(data).graph.initializer}
    layers = sum(name.startswith("b") and name[1:].isdigit() for name in held)
    return [held[f"w{at}"] for at in range(layers)], [held[f"b{at}"] for at in range(layers)], held["baseline"]

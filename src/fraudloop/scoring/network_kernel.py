"""A feed-forward network in one compiled kernel: margins of rows and, where asked for, what each column contributed.

The weights are held once, as panels of 16 units: `[panel][input][16]`. Forwards a panel is read from beginning to end, backwards
by 16 inputs of each panel. Of many rows 16 stand in the lanes of an instruction; of up to eight, the units of a panel do. Either
way a row goes through the same operations in the same order: a sum takes its terms one after another, each by one fused
multiply-add in float32. So its bits depend neither on its batch nor on the machine.

Contributions are those of DeepLIFT's rescale rule (Shrikumar, Greenside & Kundaje, 2017) against one constant row: a unit passes
on `(relu(z) - relu(z0)) / (z - z0)` of what it gets. It knows no bundle and no ONNX. Why: docs/adr, "A network in one kernel".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.compiled import njit, plain
from fraudloop.scoring.lanes import (
    below,
    choose,
    fma,
    load16,
    read4,
    read8,
    read_fma,
    splat16,
    spread8,
    spread16,
    spread_fma,
    store,
    store_tile,
    turn16,
)

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

#: Where z is nearer than this to z0 the quotient is the slope at z0 instead: the difference is below float32's grain.
NEAR: Final = 1e-6

#: Units of a panel, or rows side by side: the lanes of `scoring.lanes`.
_LANES: Final = 16

#: Rows that go through the network together: two vectors of them share what is read of the weights.
_ROWS: Final = 32

#: Up to so many rows are worked on with units in the lanes; each weight that is read serves them all.
_FEW: Final = 8

#: Room for four turned pieces of a panel, 16 × 16 each; tiles may also reach so far beyond the weights.
_PIECES: Final = 4 * _LANES * _LANES

_NOTHING: Final = np.zeros(_LANES, np.float32)
_zero = np.float32(0.0)
_near = np.float32(NEAR)


class NetworkKernel:
    """A network laid out for the kernel: units with ReLU by layer, and one output.

    weights: float32 [inputs, units] by layer, the last with one unit; biases: [units]. baseline: the constant row, float32
    [columns]; quiet, slopes: z0 of the units of each layer but the last and relu's slope there. base: the margin of the baseline.
    """

    def __init__(
        self, weights: Sequence[Singles], biases: Sequence[Singles], baseline: Singles, quiet: Sequence[Singles], slopes: Sequence[Singles], base: float
    ) -> None:  # fmt: skip
        self.columns, self.base = len(baseline), base
        sizes = [self.columns, *(len(one) for one in quiet)]
        padded = [_padded(size, _LANES) for size in sizes]
        unit = np.array([0, *accumulate(padded[1:])], np.int64)
        begin = np.array([0, *accumulate(size * units for size, units in zip(sizes[:-1], padded[1:], strict=True))], np.int64)
        panels = _aligned(int(begin[-1]) + _PIECES)
        bias, z0, a0, slope = (_aligned(int(unit[-1])) for _ in range(4))
        for at, (size, units) in enumerate(pairwise(sizes)):
            table = np.zeros((size, padded[at + 1]), np.float32)
            table[:, :units] = weights[at]
            panels[begin[at] : begin[at + 1]] = table.reshape(size, -1, _LANES).transpose(1, 0, 2).ravel()
            here = slice(unit[at], unit[at] + units)
            bias[here], z0[here], a0[here], slope[here] = biases[at], quiet[at], np.maximum(quiet[at], _zero), slopes[at]
        last = _aligned(padded[-1])
        last[: sizes[-1]] = weights[-1][:, 0]
        # A tile of four pieces may reach beyond the last input: rows of numbers are so far apart.
        width = _padded(max(padded), 4 * _LANES)
        self._given: tuple[Any, ...] = (
            np.array(sizes, np.int64), begin[:-1].copy(), unit, panels, bias, z0, a0, slope, np.array(baseline, np.float32), last, biases[-1][0], width,
        )  # fmt: skip
        self._scratch_size = _ROWS * (int(unit[-1]) + 3 * width) + _PIECES
        #: Working memory that no call uses now: memory from the system at each call would cost more than the network.
        self._free: list[Singles] = []

    def run(self, x: Floats, *, explain: bool) -> tuple[Floats, Floats]:
        """Margins [n] and contributions [n, columns] (no rows unless `explain`) of rows float64 [n, columns]."""
        assert x.ndim == 2 and x.shape[1] == self.columns, "the network reads another number of columns"
        margins, contributions = np.empty(len(x)), np.empty((len(x) if explain else 0, self.columns))
        try:
            scratch = self._free.pop()
        except IndexError:
            scratch = _aligned(self._scratch_size)
        _network(plain(x), margins, contributions, explain, scratch, *self._given)
        self._free.append(scratch)
        return margins, contributions


def _padded(size: int, step: int) -> int:
    return -(-size // step) * step


def _aligned(size: int) -> Singles:
    """Zeros that begin with a line of the cache."""
    room = np.zeros(size + 16, np.float32)
    first = -room.ctypes.data % 64 // 4
    return room[first : first + size]


@njit
def _network(
    x: Floats, margins: Floats, contributions: Floats, explain: bool, scratch: Singles, sizes: Ints, begin: Ints, unit: Ints, weights: Singles,
    biases: Singles, quiet: Singles, rest: Singles, slope: Singles, baseline: Singles, last: Singles, bias: np.float32, width: int,
) -> None:  # fmt: skip
    n = len(x)
    few = n % _LANES if n % _LANES <= _FEW else 0
    if few < n:
        _many(
            x[: n - few], margins[: n - few], contributions, explain, scratch, sizes, begin, unit, weights, biases, quiet, rest, slope, baseline, last, bias, width
        )  # fmt: skip
    if few:
        _few(
            x[n - few :], margins[n - few :], contributions[n - few :] if explain else contributions, explain, scratch, sizes, begin, unit, weights, biases,
            quiet, rest, slope, baseline, last, bias, width,
        )  # fmt: skip


@njit
def _share(z: Any, active: Any, quiet: Any, rest: Any, slope: Any) -> Any:
    """By lane how much a unit passes on of what it gets."""
    moved = z - quiet
    close = below(choose(below(moved, _zero), splat16(_zero) - moved, moved), _near)
    return choose(close, slope, (active - rest) / choose(close, splat16(np.float32(1.0)), moved))


@njit
def _copy(source: NDArray[Any], target: NDArray[Any]) -> None:
    # By itself, so that the compiler sees that no place is negative, and takes several at once.
    for k in range(len(target)):
        target[k] = source[k]


# --- rows in the lanes: the scratch holds up to 32 of them, number after number -----------------------------------


@njit
def _many(
    x: Floats, margins: Floats, contributions: Floats, explain: bool, scratch: Singles, sizes: Ints, begin: Ints, unit: Ints, weights: Singles,
    biases: Singles, quiet: Singles, rest: Singles, slope: Singles, baseline: Singles, last: Singles, bias: np.float32, width: int,
) -> None:  # fmt: skip
    n, columns = x.shape
    layers = len(begin)
    sums = unit[layers] * _ROWS  # after the shares
    side = sums + _LANES
    one = side + width * _ROWS
    two = one + width * _ROWS
    for start in range(0, n, _ROWS):
        rows = min(_ROWS, n - start)
        for half in range(0, rows, _LANES):
            for row in range(_LANES):
                at = start + min(half + row, rows - 1)  # the last row fills what is left over
                _copy(x[at], scratch[one + row * width : one + row * width + columns])
            for k0 in range(0, columns, _LANES):
                turn16(scratch, one + k0, width, scratch, side + half + k0 * _ROWS, _ROWS)
        source, target = side, one
        for layer in range(layers):
            _forward_many(scratch, source, target, rows, weights, begin[layer], biases, unit[layer], sizes[layer], sizes[layer + 1])
            for k in range(sizes[layer + 1]):
                u = unit[layer] + k
                for half in range(0, rows, _LANES):
                    at = target + k * _ROWS + half
                    z = load16(scratch, at)
                    active = choose(below(z, _zero), splat16(_zero), z)
                    store(scratch, at, active)
                    if explain:
                        share = _share(z, active, splat16(quiet[u]), splat16(rest[u]), splat16(slope[u]))
                        store(scratch, u * _ROWS + half, share)
            source, target = target, two if target == one else one
        for half in range(0, rows, _LANES):
            total = splat16(bias)
            for k in range(sizes[layers]):
                total = fma(load16(scratch, source + k * _ROWS + half), splat16(last[k]), total)
            store(scratch, sums, total)
            for row in range(half, min(half + _LANES, rows)):
                margins[start + row] = scratch[sums + row - half]
        if not explain:
            continue
        for k in range(sizes[layers]):
            for half in range(0, rows, _LANES):
                store(scratch, source + k * _ROWS + half, splat16(last[k]))
        for layer in range(layers - 1, -1, -1):
            for k in range(sizes[layer + 1]):
                for half in range(0, rows, _LANES):
                    at = source + k * _ROWS + half
                    store(scratch, at, load16(scratch, (unit[layer] + k) * _ROWS + half) * load16(scratch, at))
            _backward_many(scratch, source, target, rows, weights, begin[layer], sizes[layer], sizes[layer + 1])
            source, target = target, two if target == one else one
        for half in range(0, rows, _LANES):
            for k0 in range(0, columns, _LANES):
                for k in range(k0, min(k0 + _LANES, columns)):
                    at = k * _ROWS + half
                    moved = load16(scratch, side + at) - splat16(baseline[k])
                    store(scratch, source + at, load16(scratch, source + at) * moved)
                turn16(scratch, source + half + k0 * _ROWS, _ROWS, scratch, target + k0, width)
            for row in range(half, min(half + _LANES, rows)):
                at = target + (row - half) * width
                _copy(scratch[at : at + columns], contributions[start + row])


# A tile is 16 units by 16 rows, or 8 units by 32: what 32 registers hold beside what is read.


@njit
def _forward_many(
    scratch: Singles, source: int, target: int, rows: int, weights: Singles, begin: int, biases: Singles, unit: int, inputs: int, outputs: int
) -> None:  # fmt: skip
    for panel in range(0, outputs, _LANES):
        at = begin + panel * inputs
        if rows <= _LANES:
            tile = spread16(biases, unit + panel, 1)
            for k in range(inputs):
                tile = spread_fma(tile, load16(scratch, source + k * _ROWS), weights, at + k * _LANES, 1)
            store_tile(scratch, target + panel * _ROWS, _ROWS, tile)
        else:
            for part in range(0, _LANES, _LANES // 2):
                left = right = spread8(biases, unit + panel + part, 1)
                for k in range(inputs):
                    place = source + k * _ROWS
                    left = spread_fma(left, load16(scratch, place), weights, at + k * _LANES + part, 1)
                    right = spread_fma(right, load16(scratch, place + _LANES), weights, at + k * _LANES + part, 1)
                store_tile(scratch, target + (panel + part) * _ROWS, _ROWS, left)
                store_tile(scratch, target + (panel + part) * _ROWS + _LANES, _ROWS, right)


@njit
def _backward_many(
    scratch: Singles, source: int, target: int, rows: int, weights: Singles, begin: int, inputs: int, outputs: int
) -> None:  # fmt: skip
    # Inputs beyond the last get what nobody reads.
    k0 = 0
    while k0 < inputs:
        if rows <= _LANES and k0 + _LANES // 2 < inputs:
            tile = spread16(_NOTHING, 0, 0)
            for panel in range(0, outputs, _LANES):
                at = begin + panel * inputs + k0 * _LANES
                for j in range(min(_LANES, outputs - panel)):
                    tile = spread_fma(tile, load16(scratch, source + (panel + j) * _ROWS), weights, at + j, _LANES)
            store_tile(scratch, target + k0 * _ROWS, _ROWS, tile)
            k0 += _LANES
        else:
            left = right = spread8(_NOTHING, 0, 0)
            for panel in range(0, outputs, _LANES):
                at = begin + panel * inputs + k0 * _LANES
                for j in range(min(_LANES, outputs - panel)):
                    place = source + (panel + j) * _ROWS
                    left = spread_fma(left, load16(scratch, place), weights, at + j, _LANES)
                    right = spread_fma(right, load16(scratch, place + _LANES), weights, at + j, _LANES)
            store_tile(scratch, target + k0 * _ROWS, _ROWS, left)
            store_tile(scratch, target + k0 * _ROWS + _LANES, _ROWS, right)
            k0 += _LANES // 2


# --- units in the lanes: the scratch holds up to eight rows, each `width` after the one before ---------------------


@njit
def _few(
    x: Floats, margins: Floats, contributions: Floats, explain: bool, scratch: Singles, sizes: Ints, begin: Ints, unit: Ints, weights: Singles,
    biases: Singles, quiet: Singles, rest: Singles, slope: Singles, baseline: Singles, last: Singles, bias: np.float32, width: int,
) -> None:  # fmt: skip
    n, columns = x.shape
    layers = len(begin)
    units = unit[layers]
    pieces = units * _FEW  # after the shares
    side = pieces + _PIECES
    one = side + width * _FEW
    two = one + width * _FEW
    for row in range(n):
        _copy(x[row], scratch[side + row * width : side + row * width + columns])
    source, target = side, one
    for layer in range(layers):
        if n == 1:
            _forward_one(scratch, source, target, weights, begin[layer], biases, unit[layer], sizes[layer], sizes[layer + 1])
        else:
            _forward_few(scratch, source, target, width, weights, begin[layer], biases, unit[layer], sizes[layer], sizes[layer + 1])
        for row in range(n):
            for k in range(0, sizes[layer + 1], _LANES):
                at, u = target + row * width + k, unit[layer] + k
                z = load16(scratch, at)
                active = choose(below(z, _zero), splat16(_zero), z)
                store(scratch, at, active)
                if explain:
                    store(scratch, row * units + u, _share(z, active, load16(quiet, u), load16(rest, u), load16(slope, u)))
        source, target = target, two if target == one else one
    for row in range(n):
        total = bias
        for k in range(sizes[layers]):
            total = fma(scratch[source + row * width + k], last[k], total)
        margins[row] = total
    if not explain:
        return
    for row in range(n):
        for k in range(0, sizes[layers], _LANES):
            store(scratch, source + row * width + k, load16(last, k))
    for layer in range(layers - 1, -1, -1):
        for row in range(n):
            for k in range(0, sizes[layer + 1], _LANES):
                at = source + row * width + k
                store(scratch, at, load16(scratch, row * units + unit[layer] + k) * load16(scratch, at))
        if n == 1:
            _backward_one(scratch, source, target, pieces, weights, begin[layer], sizes[layer], sizes[layer + 1])
        else:
            _backward_few(scratch, source, target, width, pieces, weights, begin[layer], sizes[layer], sizes[layer + 1])
        source, target = target, two if target == one else one
    for row in range(n):
        for k in range(columns):
            moved = scratch[side + row * width + k] - baseline[k]
            contributions[row, k] = scratch[source + row * width + k] * moved


@njit
def _forward_few(
    scratch: Singles, source: int, target: int, width: int, weights: Singles, begin: int, biases: Singles, unit: int, inputs: int, outputs: int
) -> None:  # fmt: skip
    for panel in range(0, outputs, _LANES):
        at = begin + panel * inputs
        tile = read8(biases, unit + panel, 0)
        for k in range(inputs):
            tile = spread_fma(tile, load16(weights, at + k * _LANES), scratch, source + k, width)
        store_tile(scratch, target + panel, width, tile)


@njit
def _backward_few(
    scratch: Singles, source: int, target: int, width: int, piece: int, weights: Singles, begin: int, inputs: int, outputs: int
) -> None:
    for k0 in range(0, inputs, _LANES):
        tile = spread8(_NOTHING, 0, 0)
        for panel in range(0, outputs, _LANES):
            turn16(weights, begin + panel * inputs + k0 * _LANES, _LANES, scratch, piece, _LANES)
            for j in range(min(_LANES, outputs - panel)):
                tile = spread_fma(tile, load16(scratch, piece + j * _LANES), scratch, source + panel + j, width)
        store_tile(scratch, target + k0, width, tile)


# One row has nothing else to do while a sum waits for its last term: four panels, or pieces, go side by side.


@njit
def _forward_one(
    scratch: Singles, source: int, target: int, weights: Singles, begin: int, biases: Singles, unit: int, inputs: int, outputs: int
) -> None:
    panel = 0
    while panel < outputs:
        at = begin + panel * inputs
        if panel + 3 * _LANES < outputs:
            tile = read4(biases, unit + panel, _LANES)
            for k in range(inputs):
                tile = read_fma(tile, splat16(scratch[source + k]), weights, at + k * _LANES, inputs * _LANES)
            store_tile(scratch, target + panel, _LANES, tile)
            panel += 4 * _LANES
        else:
            z = load16(biases, unit + panel)
            for k in range(inputs):
                z = fma(splat16(scratch[source + k]), load16(weights, at + k * _LANES), z)
            store(scratch, target + panel, z)
            panel += _LANES


@njit
def _backward_one(scratch: Singles, source: int, target: int, piece: int, weights: Singles, begin: int, inputs: int, outputs: int) -> None:
    size = _LANES * _LANES
    k0 = 0
    while k0 < inputs:
        if k0 + 2 * _LANES < inputs:
            tile = read4(_NOTHING, 0, 0)
            for panel in range(0, outputs, _LANES):
                at = begin + panel * inputs + k0 * _LANES
                for part in range(4):
                    turn16(weights, at + part * size, _LANES, scratch, piece + part * size, _LANES)
                for j in range(min(_LANES, outputs - panel)):
                    tile = read_fma(tile, splat16(scratch[source + panel + j]), scratch, piece + j * _LANES, size)
            store_tile(scratch, target + k0, _LANES, tile)
            k0 += 4 * _LANES
        else:
            passed = splat16(_zero)
            for panel in range(0, outputs, _LANES):
                turn16(weights, begin + panel * inputs + k0 * _LANES, _LANES, scratch, piece, _LANES)
                for j in range(min(_LANES, outputs - panel)):
                    passed = fma(splat16(scratch[source + panel + j]), load16(scratch, piece + j * _LANES), passed)
            store(scratch, target + k0, passed)
            k0 += _LANES


def warm() -> None:
    """Run the kernel once for each way through it, so that its machine code is ready."""
    nothing = np.zeros(1, np.float32)
    kernel = NetworkKernel([nothing[:, None]] * 2, [nothing] * 2, nothing, [nothing], [nothing], 0.0)
    kernel.run(np.zeros((_LANES + 1, 1)), explain=True)

"""Latency as a caller feels it: a stall delays every request that was due meanwhile, and each of them counts it."""

from __future__ import annotations

import numpy as np
import pytest

from fraudloop.clock import ManualClock
from fraudloop.scoring.inputs import Inputs
from fraudloop.training.latency import batches, open_loop, single_rows
from tests.bundles import linear_bundle


class Server:
    """Takes so many microseconds for request k, on a clock of its own."""

    def __init__(self, took_us: list[int]) -> None:
        self.clock, self.took_us, self.asked = ManualClock(), took_us, 0

    def __call__(self, _: int) -> None:
        # The first ten are the warm-up.
        self.clock.advance(self.took_us[self.asked - 10] if self.asked >= 10 else 1)
        self.asked += 1

    def sleep(self, seconds: float) -> None:
        self.clock.advance(round(seconds * 1e6))


def test_a_server_in_time_has_its_own_latency() -> None:
    server = Server([2_000] * 50)
    found = open_loop(server, 100, 0.5, server.clock, server.sleep)
    np.testing.assert_allclose(found, 2.0)


def test_a_stall_counts_for_every_request_that_was_due_meanwhile() -> None:
    server = Server([1_000, 45_000, *[1_000] * 18])
    found = open_loop(server, 100, 0.2, server.clock, server.sleep)
    assert found[:8].tolist() == pytest.approx([1, 45, 36, 27, 18, 9, 1, 1]), (
        "due every 10 ms; a closed loop would have seen one slow answer"
    )


def test_a_server_that_is_too_slow_falls_further_behind() -> None:
    server = Server([20_000] * 100)
    found = open_loop(server, 100, 1.0, server.clock, server.sleep)
    assert found[-1] == pytest.approx(20 + 99 * 10)
    assert (np.diff(found) > 0).all()


def test_single_rows_and_batches_are_timed_call_by_call() -> None:
    model = linear_bundle().model()
    inputs = Inputs(("amount",), np.arange(7.0)[:, None])
    clock = ManualClock()
    assert single_rows(model, inputs, 20, clock).tolist() == [0.0] * 20
    assert batches(model, inputs, 100, 3, clock).shape == (3,)

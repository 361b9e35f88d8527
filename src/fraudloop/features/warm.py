"""Runs every kernel of the fold once, so that its machine code is made (or loaded) before the first real event."""

from __future__ import annotations

import numpy as np

from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.events import LABEL, MISSING, PROFILE, TRANSACTION, Events
from fraudloop.features import kernel
from fraudloop.features import layout as at
from fraudloop.features.derive import derive
from fraudloop.features.fold import Fold
from fraudloop.features.plan import compile_plan


def warm() -> None:
    """Fold one event of each kind. One plan does for all: a plan is data."""
    plan = compile_plan(FeatureSet.load("handbook"))
    fold = Fold(plan)
    kinds = np.array([PROFILE, LABEL, TRANSACTION], np.uint8)
    times = np.arange(3, dtype=np.int64) + 1
    numbers = np.full((3, len(plan.number_names)), MISSING, np.int64)
    keys = np.ones((3, len(plan.key_names), 2), np.uint64)
    fold.step(Events(kinds, times, times, keys, numbers, np.zeros(3, np.int64), plan.key_names, plan.number_names))
    rows, larger = np.zeros((8, at.T_WORDS), np.int64), np.zeros((16, at.T_WORDS), np.int64)
    kernel.copy_rows(rows, 0, 8, np.zeros(at.C_SPACES, np.int64), larger)
    kernel.copy_listed(rows, np.zeros(1, np.int64), 1, 0, larger)
    derive(fold, plan)
    assert fold.verify(), "the fold's digest does not fit its state"

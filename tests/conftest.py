"""What all tests share: how hard hypothesis tries, which tests need `make prove`, and an environment of their own."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

PROVE = os.environ.get("FRAUDLOOP_PROVE") == "1"

# A failing example is printed as a script that replays it; no deadline, because the first call of a kernel compiles.
_COMMON = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", _COMMON, max_examples=30)
settings.register_profile("ci", _COMMON, max_examples=60, derandomize=True)
settings.register_profile("prove", _COMMON, max_examples=2_000)
settings.load_profile("prove" if PROVE else "ci" if os.environ.get("CI") else "dev")

#: The seed of a failing test, to be run again; it is no setting, so it is taken out of the environment.
SEED = int(os.environ.pop("FRAUDLOOP_SEED", "0")) or None

# The caller's settings do not reach the tests; compiled kernels stay where the caller keeps them.
for _name in [name for name in os.environ if name.startswith("FRAUDLOOP_")]:
    if _name not in ("FRAUDLOOP_PROVE", "FRAUDLOOP_CACHE_DIR", "FRAUDLOOP_HANDBOOK"):
        del os.environ[_name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if PROVE:
        return
    skip = pytest.mark.skip(reason="a promise in full size: needs FRAUDLOOP_PROVE=1 (make prove)")
    for item in items:
        if item.get_closest_marker("prove"):
            item.add_marker(skip)

"""The relations between limits are assertions of the module; here: that they run, and that every limit has its argument."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fraudloop import limits

SOURCE = Path(limits.__file__).read_text("utf-8")


def test_every_limit_is_argued_for_where_it_stands() -> None:
    body = SOURCE.split("# --- the fold")[1].split("INT64_MAX: Final")[0]
    blocks = [block for block in body.split("\n\n") if ": Final" in block]
    assert len(blocks) > 15
    for block in blocks:
        assert block.lstrip().startswith("#:"), block


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SKEW_MAX_US", "LATENESS_MAX_US * 2"),
        ("AMOUNT_MINOR_MAX", "2**54"),
        ("EVENTS_PER_KEY_MAX", "60_000"),
        ("WINDOW_MAX_US", "500 * DAY_US"),
    ],
)
def test_a_limit_that_breaks_a_relation_stops_the_import(name: str, value: str) -> None:
    head, tail = re.split(rf"^{name}: Final = .*$", SOURCE, maxsplit=1, flags=re.MULTILINE)
    changed = f"{head}{name} = {value}{tail}"
    done = subprocess.run([sys.executable, "-c", changed], capture_output=True, text=True, check=False)
    assert "AssertionError" in done.stderr


def test_the_promises_of_the_semantics_stand() -> None:
    assert limits.EVENTS_PER_KEY_MAX == 65_536
    assert limits.LATENESS_MAX_US == 24 * 3_600 * 1_000_000
    assert limits.SKEW_MAX_US == 5 * 60 * 1_000_000
    assert limits.NOVELTY_S == 180 * 86_400
    assert limits.NOVELTY_VALUES_MAX == 256
    assert limits.AMOUNT_MINOR_MAX == 10**15
    assert (limits.HOME_DAYS, limits.HOME_TRANSACTIONS_MIN) == (90, 3)
    assert limits.RETENTION_DAYS == 400

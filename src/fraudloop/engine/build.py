"""What computes: a name for this build, on which the bits of scores depend, and which stands in every decision."""

from __future__ import annotations

import hashlib
import platform
from functools import lru_cache
from importlib import metadata
from typing import Final

from fraudloop.compiled import source_stamp

#: Packages whose version may change the last bits of a score.
_PACKAGES: Final = ("numpy", "numba", "llvmlite", "onnxruntime")


@lru_cache(maxsize=1)
def build_id() -> str:
    """Version, and 12 hex digits of kernels, libraries, Python and processor: equal ids give equal bits.

    >>> build_id().startswith(metadata.version("fraudloop") + "+")
    True
    """
    versions = []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{name} none")
    parts = (source_stamp(), *versions, platform.python_version(), platform.machine(), _processor())
    return f"{metadata.version('fraudloop')}+{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"


def _processor() -> str:
    """The instruction sets: libraries choose their routines by them."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - one line of a pseudo file
            return next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return platform.processor()

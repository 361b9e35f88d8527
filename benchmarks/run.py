"""Runs the benchmark cases, each in a fresh process, and keeps their figures: `python -m benchmarks.run [NAME ...]`.

A case is a file `bench_NAME.py` with `main(quick=False) -> dict[str, object]`, which prints a table and returns its figures. What
it compares it runs itself, in one process and in turns, so that ratios hold on any machine; absolute figures do not.
"""

from __future__ import annotations

import argparse
import os
import platform
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

FOLDER: Final = Path(__file__).resolve().parent
ROOT: Final = FOLDER.parent
PACKAGES: Final = ("numpy", "numba", "polars", "pandas", "duckdb", "xgboost-cpu", "lightgbm", "onnxruntime", "scikit-learn")

#: One case; longer is a job, not a benchmark.
CASE_S_MAX: Final = 1_800


def find(folder: Path, names: Sequence[str]) -> list[Path]:
    """The cases with these names (all if none is given), by name. A name that no case has is a usage error."""
    cases = {path.stem.removeprefix("bench_"): path for path in sorted(folder.glob("bench_*.py"))}
    unknown = [name for name in names if name not in cases]
    if unknown:
        raise SystemExit(f"no benchmark {', '.join(unknown)}; there are: {', '.join(cases) or 'none'}")
    return [cases[name] for name in names] if names else list(cases.values())


def run_case(path: Path, quick: bool = False) -> dict[str, object]:
    """Run one case in a process of its own: `{seconds, figures}`, or `{seconds, error}` if it failed."""
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "figures.json"
        start = time.monotonic()
        command = [sys.executable, "-m", "benchmarks.run", "--case", str(path), "--to", str(to), *(["--quick"] if quick else [])]
        try:
            code = subprocess.run(command, cwd=ROOT, check=False, timeout=CASE_S_MAX).returncode
            error = f"exit code {code}" if code else None
        except subprocess.TimeoutExpired:
            error = f"longer than {CASE_S_MAX} s"
        seconds = round(time.monotonic() - start, 2)
        if error is not None:
            return {"seconds": seconds, "error": error}
        return {"seconds": seconds, "figures": msgspec.json.decode(to.read_bytes())}


def machine() -> dict[str, object]:
    """What the figures depend on: processor, cores, Python, packages, commit. No names of hosts or folders."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        model = next((line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")), model)
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "commit": commit(),
    }


def commit() -> str | None:
    """The commit that was measured, with `+` if files differ from it; None without git."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")


def run(folder: Path, names: Sequence[str], out: Path, quick: bool = False) -> int:
    """Run the cases, write `out` anew after each, and return 1 if any failed. Figures of cases not run now are dropped."""
    report: dict[str, object] = {"machine": machine(), "quick": quick, "cases": {}}
    cases: dict[str, object] = {}
    failed = []
    for path in find(folder, names):
        name = path.stem.removeprefix("bench_")
        print(f"== {name}", flush=True)
        cases[name] = done = run_case(path, quick)
        if "error" in done:
            failed.append(name)
            print(f"{name} failed: {done['error']}", flush=True)
        report["cases"] = cases
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(msgspec.json.format(msgspec.json.encode(report, enc_hook=str), indent=2) + b"\n")
    print(f"{len(cases)} cases, {len(failed)} failed; figures in {out}")
    return 1 if failed else 0


def main(argv: Sequence[str]) -> int:
    """The command line; `--case` and `--to` are how the runner calls itself for one case."""
    parser = argparse.ArgumentParser(prog="benchmarks.run", description="Run benchmark cases, each in a fresh process.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="cases to run; all if none is given")
    parser.add_argument("--out", type=Path, default=Path("out/bench.json"), help="where to write the figures (out/bench.json)")
    parser.add_argument("--quick", action="store_true", help="smaller tables: minutes instead of tens of minutes, coarser figures")
    parser.add_argument("--case", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.case is None:
        return run(FOLDER, args.names, args.out, args.quick)
    case = runpy.run_path(str(args.case))["main"]
    figures = case(quick=True) if args.quick else case()
    args.to.write_bytes(msgspec.json.encode(figures, enc_hook=str))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""What importing a room loads: the serving path stays free of training libraries, the package itself of everything heavy."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

import fraudloop

#: Rooms on the way of a decision, as docs/architecture.md lists them.
SERVING = ("domain", "door", "features", "scoring", "decisions", "ledger", "api", "monitoring", "engine", "control")

TRAINING_LIBRARIES = {
    "pandas",
    "sklearn",
    "pandera",
    "matplotlib",
    "mlflow",
    "onnx",
    "optuna",
    "shap",
    "imblearn",
    "joblib",
    "sqlalchemy",
    "boto3",
}
HEAVY = TRAINING_LIBRARIES | {"numpy", "numba", "polars", "pyarrow", "xgboost", "lightgbm", "onnxruntime", "duckdb", "pydantic"}


def modules_of(room: str) -> list[str]:
    package = f"fraudloop.{room}"
    found = [
        name for _, name, _ in pkgutil.walk_packages(fraudloop.__path__, "fraudloop.") if name == package or name.startswith(package + ".")
    ]
    assert found, room
    return found


def loaded_by(*statements: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after these statements."""
    code = "\n".join([*statements, "import json, sys", "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"])
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_loads_no_library() -> None:
    assert not loaded_by("import fraudloop") & HEAVY


def test_limits_settings_clock_telemetry_and_errors_load_no_library() -> None:
    assert not loaded_by(*(f"import fraudloop.{name}" for name in ("limits", "settings", "clock", "telemetry", "errors"))) & HEAVY


def test_the_meaning_of_words_loads_no_library() -> None:
    assert not loaded_by(*(f"import {name}" for name in modules_of("domain"))) & HEAVY


@pytest.mark.parametrize("room", SERVING)
def test_no_room_of_the_serving_path_loads_a_training_library(room: str) -> None:
    assert not loaded_by(*(f"import {name}" for name in modules_of(room))) & TRAINING_LIBRARIES


def test_what_serve_itself_starts_with_loads_no_training_library() -> None:
    # Besides the rooms: what the command puts together in each process of the family.
    names = ("cli.serve", "api.serve", "api.desk", "pipelines.data", "scoring.store", "door.row")
    assert not loaded_by(*(f"import fraudloop.{name}" for name in names)) & (TRAINING_LIBRARIES | {"xgboost", "lightgbm", "duckdb"})


def test_the_scorers_process_loads_no_web_framework_and_no_renderer() -> None:
    assert not loaded_by("import fraudloop.api.scorer") & {"starlette", "uvicorn", "prometheus_client", "jinja2"}


def test_the_client_loads_no_library() -> None:
    assert not loaded_by("import fraudloop.client") & (HEAVY | {"msgspec"})


def test_help_loads_no_library_of_any_command() -> None:
    assert not loaded_by("from fraudloop.cli.main import run", "assert run(['--help']) == 0") & HEAVY


@pytest.mark.parametrize(
    "module", ["fraudloop.cli.train", "fraudloop.cli.tracking", "fraudloop.pipelines.reproduce", "fraudloop.training.registry"]
)
def test_what_can_track_loads_mlflow_only_when_it_does(module: str) -> None:
    assert not loaded_by(f"import {module}") & {"mlflow", "sqlalchemy", "boto3", "psycopg", "pandas"}

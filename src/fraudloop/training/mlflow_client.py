"""The one door to MLflow: its client and artifact repositories, quiet, without telemetry, its errors as ours.

`import mlflow` costs 6 to 8 seconds of CPU, so it happens at the first call here and nowhere else in the package.
It knows no run, dataset or model.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

from fraudloop.errors import InputError, TrackingError

#: What MLflow is told before its import unless the caller's environment says otherwise. Its own defaults ask a server
#: that does not answer for more than a minute; a user waits for this.
_DEFAULTS: Final = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}

_DATABASES: Final = ("sqlite", "postgresql", "mysql", "mssql")


@lru_cache(maxsize=1)
def load_mlflow() -> Any:
    """The module, loaded once. MLflow reads its switches from the environment, so they are set there: no usage data
    leaves the machine."""
    os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"})
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        with quiet():
            import mlflow
            import mlflow.artifacts
            import mlflow.store.artifact.artifact_repository_registry
            import mlflow.tracking
    except ImportError as error:
        raise InputError("tracking needs MLflow; pip install 'fraudloop[track]'") from error
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return mlflow


@contextmanager
def quiet() -> Iterator[None]:
    """Drop the warnings that MLflow 3 and SQLAlchemy 2.1 give about each other's and their own old ways; ours stay."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # SQLAlchemy's `noload`, google's namespace packages, ...
        warnings.filterwarnings("ignore", category=PendingDeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"mlflow\.")
        warnings.filterwarnings("ignore", category=UserWarning, module=r"(mlflow|pydantic)\.")
        warnings.filterwarnings("ignore", category=ResourceWarning)  # connections that MLflow's own stores leave to the collector
        yield


@contextmanager
def mlflow_errors(doing: str) -> Iterator[None]:
    """TrackingError instead of whatever MLflow, its database, its server or its object store raise; no password in it."""
    mlflow = load_mlflow()
    kinds: tuple[type[Exception], ...] = (mlflow.exceptions.MlflowException, OSError, *_optional_errors())
    try:
        with quiet():
            yield
    except kinds as error:
        raise TrackingError(f"{redacted(doing)}: {redacted(_first_line(error))}") from error


def client(uri: str) -> Any:
    """An `MlflowClient` of a tracking URI that is known to answer; TrackingError otherwise.

    A new database gets MLflow's tables, which takes some seconds.
    """
    mlflow = load_mlflow()
    if uri.partition(":")[0].partition("+")[0] in _DATABASES:
        _knock(uri)
    with mlflow_errors(f"opening the tracking store {uri}"):
        made = mlflow.tracking.MlflowClient(tracking_uri=uri, registry_uri=uri)
        made.search_experiments(max_results=1)
    return made


def artifact_repository(url: str, tracking_uri: str | None = None) -> Any:
    """MLflow's repository of an artifact URL. tracking_uri: of the server that `mlflow-artifacts:` URLs go through."""
    return load_mlflow().store.artifact.artifact_repository_registry.get_artifact_repository(url, tracking_uri=tracking_uri)


def redacted(text: str) -> str:
    """The text without the passwords of URLs in it.

    >>> redacted("postgresql+psycopg://ml:secret@db/runs does not answer")
    'postgresql+psycopg://ml:***@db/runs does not answer'
    """
    return re.sub(r"(://[^:/@\s]*):[^@/\s]*@", r"\1:***@", text)


def _knock(uri: str) -> None:
    """One try to connect to a database: MLflow alone would try for minutes."""
    import sqlalchemy

    if uri.startswith("sqlite"):
        return
    with mlflow_errors(f"opening the tracking store {uri}"):
        engine = sqlalchemy.create_engine(uri)
        try:
            with engine.connect():
                pass
        finally:
            engine.dispose()


def _optional_errors() -> tuple[type[Exception], ...]:
    import requests
    import sqlalchemy.exc

    out: list[type[Exception]] = [sqlalchemy.exc.SQLAlchemyError, requests.RequestException, ModuleNotFoundError]
    try:
        import boto3.exceptions
        import botocore.exceptions
    except ImportError:
        return tuple(out)
    return (*out, boto3.exceptions.Boto3Error, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}" + (f" ({lines[0][:300]})" if lines else "")

"""Real servers for tests: a database in PostgreSQL, a bucket on an S3 server. A test that lacks one says what it lacks."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

#: Where a PostgreSQL is looked for, in order: what the environment says (PGHOST, PGUSER, ...), then as `.ci/services` sets it up.
_PLACES = (
    "",
    "host=/var/run/postgresql",
    "host=/var/run/postgresql user=postgres",
    "host=127.0.0.1 user=postgres",
    "host=127.0.0.1 user=root",
)


@contextmanager
def postgresql_database(name: str) -> Iterator[str]:
    """A new database, dropped afterwards; its SQLAlchemy URL."""
    import psycopg
    from psycopg import sql

    failed: Exception | None = None
    for place in _PLACES:
        try:
            connection = psycopg.connect(f"{place} dbname=postgres connect_timeout=2", autocommit=True)
            break
        except psycopg.Error as error:
            failed = error
    else:
        pytest.skip(f"needs a PostgreSQL to connect to as postgres without a password: {str(failed).splitlines()[0]}")
    with connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        # A server set up in the C locale makes databases in SQL_ASCII, which Python's texts do not go into.
        connection.execute(
            sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0").format(sql.Identifier(name))
        )
        info = connection.info
        host = f"?host={info.host}&port={info.port}" if info.host.startswith("/") else ""
        server = "" if host else f"{info.host}:{info.port}"
        try:
            yield f"postgresql+psycopg://{info.user}@{server}/{name}{host}"
        finally:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def s3_bucket(bucket: str) -> Iterator[dict[str, str]]:
    """An S3 server of one's own on a free port with an empty bucket; the environment that clients find it by."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for every request hides what failed
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    env = {
        "MLFLOW_S3_ENDPOINT_URL": url, "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }  # fmt: skip
    try:
        boto3.client("s3", endpoint_url=url, aws_access_key_id="test", aws_secret_access_key="test", region_name="eu-central-1").create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )  # fmt: skip
        yield env
    finally:
        server.stop()


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """A tracking server of one's own that keeps runs and artifacts in a folder and serves both; its URL. It starts in 20 s."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--backend-store-uri",
        f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "served"), "--serve-artifacts",
    ]  # fmt: skip
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(600):
            assert server.poll() is None, (folder / "server.log").read_text()
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=1):
                    break
            except OSError:
                time.sleep(0.2)
        else:
            pytest.fail("the tracking server did not start: " + (folder / "server.log").read_text())
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)

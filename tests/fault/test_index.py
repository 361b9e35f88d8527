"""A real indexer that is killed while it fills a real store goes on where the store says, and ends with the same index."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.index import Ask, Index, Indexer
from fraudloop.ledger.memory_index import MemoryIndex
from fraudloop.ledger.postgres_index import PostgresIndex
from fraudloop.ledger.sqlite_index import SqliteIndex
from tests.ledgers import records_of, write
from tests.servers import postgresql_database

INDEXER = """
import sys
from pathlib import Path
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.index import Indexer
from fraudloop.ledger.postgres_index import PostgresIndex
from fraudloop.ledger.sqlite_index import SqliteIndex
where = sys.argv[2]
indexer = Indexer(FolderFiles(Path(sys.argv[1])), PostgresIndex(where) if "://" in where else SqliteIndex(Path(where)))
print("begun", flush=True)
while indexer.step(15):
    pass
"""


def everything(index: Index) -> tuple[object, ...]:
    payments = index.page(Ask(), limit=1_000)
    return index.watermark(), index.versions(), payments, index.controls(), [index.labels(p.lsn) for p in payments]


def killed_often(log: Path, where: str, index: Index, kills: int) -> None:
    chance = random.Random(3)
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, "-c", INDEXER, str(log), where], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        time.sleep(chance.random() * 0.15)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    time.sleep(0.2)  # a server may still be ending the transaction of who was killed
    Indexer(FolderFiles(log), index).catch_up()
    whole = MemoryIndex()
    Indexer(FolderFiles(log), whole).catch_up()
    assert everything(index) == everything(whole)


@pytest.mark.parametrize("kills", [4, pytest.param(40, marks=pytest.mark.prove)])
def test_killed_while_it_fills_a_file(tmp_path: Path, kills: int) -> None:
    write(FolderFiles(tmp_path / "log"), records_of(800, seed=9))
    path = tmp_path / "index.sqlite"
    index = SqliteIndex(path)
    killed_often(tmp_path / "log", str(path), index, kills)
    index.close()


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=pytest.mark.prove)])
def test_killed_while_it_fills_a_server(tmp_path: Path, kills: int) -> None:
    write(FolderFiles(tmp_path / "log"), records_of(800, seed=9))
    with postgresql_database("fraudloop_test_index_kill") as url:
        index = PostgresIndex(url)
        killed_often(tmp_path / "log", url, index, kills)
        index.close()

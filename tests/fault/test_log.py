"""A real process that is killed while it writes a real log."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.log import Log, Reader, verify

WRITER = """
import sys
from pathlib import Path
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.log import Log
log = Log.open(FolderFiles(Path(sys.argv[1])), segment_bytes=200_000, ahead_bytes=int(sys.argv[2]))
while True:
    first = log.append(log.epoch, [b"%d" % (log.next_lsn + n) * (1 + n * 7) for n in range(16)])
    sys.stdout.write("%d\\n" % log.flush())
    sys.stdout.flush()
"""


@pytest.mark.parametrize("ahead", [0, 30_000])
@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.prove)])
def test_what_a_killed_writer_had_answered_is_there(tmp_path: Path, kills: int, ahead: int) -> None:
    chance = random.Random(11)
    answered = 0
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(ahead)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(chance.randint(1, 120)):
            answered = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        rest = process.communicate()[0].split("\n")[:-1]
        answered = int(rest[-1]) if rest else answered
        checked = verify(FolderFiles(tmp_path))
        assert checked.next_lsn >= answered
    log = Log.open(FolderFiles(tmp_path))
    found = [record for group in Reader(FolderFiles(tmp_path)).read() for record in group.records]
    assert len(found) == log.next_lsn >= answered
    assert found == [b"%d" % lsn * (1 + lsn % 16 * 7) for lsn in range(len(found))]
    log.close()

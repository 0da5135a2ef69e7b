# SPDX-License-Identifier: Apache-2.0
"""Journal and page grow together: several verifiers at once neither lose a line nor look damaged.

Not tested here: what stands on the page (tests/conformance/test_run.py), changes to it (tamper).
"""

import subprocess
import sys

import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.experiments.run_directory import integrity, journal, layout, status

COUNT = 15
WRITER = f"""
import pathlib, sys
from tiny_agent_trainer import clock
from tiny_agent_trainer.experiments.run_directory import status
sys.stdin.readline()
for count in range({COUNT}):
    status.note(pathlib.Path(sys.argv[1]), clock.SystemClock(), "verified", by=sys.argv[2])
"""


def test_a_run_is_sound_at_every_moment_while_two_write_to_it(small_run):
    before = len(journal.read(small_run / layout.JOURNAL))
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, small_run, name], stdin=subprocess.PIPE)
        for name in "ab"
    ]
    for writer in writers:
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    checks = 0
    while any(writer.poll() is None for writer in writers):
        found = [it for it in integrity.verify_run(small_run) if it.path in layout.GROWING]
        assert found == []
        checks += 1
    assert [writer.returncode for writer in writers] == [0, 0]
    assert checks > COUNT
    assert integrity.verify_run(small_run) == []
    lines = journal.read(small_run / layout.JOURNAL)[before:]
    assert sorted(line.facts["by"] for line in lines) == ["a"] * COUNT + ["b"] * COUNT


def test_a_journal_that_is_not_there_is_named_and_not_made(small_run, fixed_clock):
    (small_run / layout.JOURNAL).unlink()
    with pytest.raises(errors.IntegrityError, match="no such file"):
        status.note(small_run, fixed_clock, "verified")
    with pytest.raises(errors.IntegrityError, match="no such file"):
        status.refresh_status(small_run)
    assert not (small_run / layout.JOURNAL).exists()

# SPDX-License-Identifier: Apache-2.0
"""Whoever reads the output may stop reading: no trace on the screen, and an exit code that is true.

Not tested here: `head` itself, which may or may not be quicker than a short output; the pipe of
these tests is closed from the beginning.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_agent_trainer import canonical, errors

UNREAD = errors.UNREAD_EXIT_CODE
MAIN = "from tiny_agent_trainer.cli.main import main; main()"
VERIFIER = "from tiny_agent_trainer.cli.verifier import main; main()"
VERDICT = f"""
from tiny_agent_trainer.experiments import verify
from tiny_agent_trainer.meta import audit

def answered(path, *, tell, **_):
    tell("checking")
    return audit.AuditReport(verdict={{verdict!r}}, subject="run", reasons=("said",))

verify.verify_experiment = answered
{VERIFIER}
"""
CONFIG = """
[engine]
epochs = 1
[data]
patients = 20
image_size = 16
[model]
name = "mlp"
"""


def call(program: str, *arguments: object, closed: str, unbuffered: str = "") -> tuple[int, str]:
    """Exit code, and what the streams that are still read hold.

    Args:
        program: What Python carries out.
        arguments: The command line.
        closed: Which streams nobody reads: `stdout`, `stderr` or both.
        unbuffered: Whether Python writes every word at once, if not empty.
    """
    reader, writer = os.pipe()
    os.close(reader)
    names = ("stdout", "stderr")
    streams = {name: writer if name in closed else subprocess.PIPE for name in names}
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        **streams,
        text=True,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(writer)
    return done.returncode, (done.stdout or "") + (done.stderr or "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["schema"],
        ["--help"],
        ["show", "{run}"],
        ["list", "--results", "{results}"],
        ["chronicle", "show", "{run}"],
        ["chronicle", "verify", "{run}"],
        ["chronicle", "export", "{run}", "--format", "csv"],
    ],
    ids=" ".join,
)
def test_output_that_nobody_reads_ends_with_141_and_no_words(
    small_run: Path, arguments: list[str]
) -> None:
    filled = [word.format(run=small_run, results=small_run.parent) for word in arguments]
    assert call(MAIN, *filled, closed="stdout") == (UNREAD, "")


def test_nor_are_there_words_when_nothing_is_buffered(small_run: Path) -> None:
    for arguments in (["schema"], ["chronicle", "verify", small_run]):
        assert call(MAIN, *arguments, closed="stdout", unbuffered="1") == (UNREAD, "")


def test_a_fault_keeps_its_code_when_nobody_reads_of_it(small_run: Path) -> None:
    assert call(MAIN, "show", "nothing", closed="stdout stderr") == (2, "")
    ledger = small_run / "chronicle.cmeta"
    ledger.write_bytes(ledger.read_bytes()[:-1])
    damaged = errors.LedgerError.exit_code
    assert call(MAIN, "chronicle", "verify", small_run, closed="stdout") == (damaged, "")


@pytest.mark.parametrize(
    ("verdict", "code"), [("identical", 0), ("different", 1), ("could not be checked", 3)]
)
def test_a_verdict_keeps_its_code_when_nobody_reads_it(verdict: str, code: int) -> None:
    program = VERDICT.format(verdict=verdict)
    assert call(program, "run", "--quiet", closed="stdout") == (code, "")
    found, words = call(program, "run", closed="stderr")
    assert found == code
    assert words.startswith(f"{verdict}\n  said\n")


def test_help_of_the_verifier_that_nobody_reads_is_no_verdict() -> None:
    assert call(VERIFIER, "--help", closed="stdout") == (3, "")


def test_a_training_that_nobody_follows_stops_and_can_be_continued(tmp_path: Path) -> None:
    config = tmp_path / "unread.toml"
    config.write_text(CONFIG)
    arguments = ["--config", config, "--results", tmp_path / "results", "--log-json"]
    assert call(MAIN, *arguments, closed="stdout") == (UNREAD, "")
    (run,) = (tmp_path / "results").iterdir()
    code, words = call(MAIN, "--resume", run, "--quiet", closed="")
    assert code == 0, words
    assert "run_digest" in words


def test_a_comparison_leaves_its_page_when_nobody_reads_the_table(make_run, tmp_path: Path) -> None:
    report = {"loss": 0.5, "metrics": {"auroc": {"value": 0.75}}}
    metrics = canonical.encode_line({"splits": {"val": report, "test": report}})
    run = make_run(tmp_path / "results", more={"metrics.json": metrics})
    assert call(MAIN, "compare", run, run, closed="stdout") == (UNREAD, "")
    (page,) = (tmp_path / "results" / "comparisons").iterdir()
    assert "test auroc" in page.read_text()

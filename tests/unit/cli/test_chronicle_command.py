# SPDX-License-Identifier: Apache-2.0
"""The commands `chronicle show`, `export` and `verify` on a small ledger.

Not tested here: the rest of the command line with its error pages (tests/story).
"""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tiny_agent_trainer import errors
from tiny_agent_trainer.cli import chronicle as command
from tiny_agent_trainer.meta import chronicle, records


@pytest.fixture
def run_dir(tmp_path):
    table = (records.Metric(name="[red]loss", dtype="f64", unit="1"),)
    genesis = records.Genesis(experiment_digest="x", metrics=table)
    with chronicle.ChronicleWriter.create(tmp_path / chronicle.FILE_NAME, genesis) as writer:
        for step in range(5):
            metrics = {"[red]loss": step / 7}
            writer.append(records.CycleRecord(step=step, epoch=0, phase="train", metrics=metrics))
        writer.append(records.StateRecord(step=4, epoch=0, digests={"weights": "ab" * 32}))
        writer.end("completed")
    return tmp_path


def invoke(*arguments, code=0):
    result = CliRunner().invoke(command.app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def test_show_prints_one_line_per_record(run_dir):
    lines = [line for line in invoke("show", run_dir).output.splitlines() if "│" in line]
    assert len(lines) == 6
    assert f"[red]loss={3 / 7!r}" in lines[3]
    assert "weights=abababababab" in lines[5]


@pytest.mark.parametrize(("steps", "count"), [("1:2", 2), (":2", 3), ("4:", 2), ("9:", 0)])
def test_show_takes_a_range(run_dir, steps, count):
    output = invoke("show", run_dir / chronicle.FILE_NAME, "--steps", steps).output
    assert sum("│" in line for line in output.splitlines()) == count


def test_export_writes_to_a_file_or_to_standard_output(run_dir, tmp_path):
    target = tmp_path / "out.jsonl"
    printed = invoke("export", run_dir, "--format", "jsonl").output
    invoke("export", run_dir, "--format", "jsonl", "--output", target)
    assert target.read_text() == printed
    assert json.loads(printed.splitlines()[1])["metrics"] == {"[red]loss": 1 / 7}
    assert (1 / 7).hex() in invoke("export", run_dir, "--format", "csv", "--hex").output


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_an_export_into_a_missing_directory_ends_with_18_and_names_it(run_dir, form):
    output = run_dir / "missing" / "file"
    arguments = ["chronicle", "export", run_dir, "--format", form, "--output", output]
    command = [sys.executable, "-m", "tiny_agent_trainer", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == errors.StorageError.exit_code
    assert f"{output}: expected to write here" in done.stderr
    assert f"no such directory: {output.parent}" in done.stderr
    assert "choose another directory" in done.stderr
    assert "Traceback" not in done.stderr
    assert not output.parent.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "{run}", "--steps", "3"),
        ("show", "{run}", "--steps", "a:b"),
        ("show", "{run}", "--steps", "-1:3"),
        ("show", "{run}/absent"),
        ("verify", "{run}/absent"),
        ("export", "{run}", "--format", "parquet"),
        ("export", "{run}", "--format", "parquet", "--output", "{run}/x", "--hex"),
    ],
)
def test_what_does_not_fit_is_a_usage_error(run_dir, arguments):
    filled = [argument.format(run=run_dir) for argument in arguments]
    result = CliRunner().invoke(command.app, filled)
    assert isinstance(result.exception, errors.UsageError)


def test_verify_tells_sound_torn_and_damaged_apart(run_dir):
    path = run_dir / chronicle.FILE_NAME
    data = path.read_bytes()
    assert invoke("verify", run_dir).output.startswith("sound: ")
    code = errors.LedgerError.exit_code
    path.write_bytes(data[:-1])
    assert invoke("verify", run_dir, code=code).output.startswith("torn tail: ")
    path.write_bytes(data[:300] + bytes((data[300] ^ 1,)) + data[301:])
    output = invoke("verify", path, code=code).output
    assert output.startswith("not sound: ")
    assert "at offset" in output


def test_importing_the_command_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'pyarrow', 'rich.table'}"
    program = f"import sys, tiny_agent_trainer.cli.chronicle; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"set()\n"

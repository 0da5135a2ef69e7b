# SPDX-License-Identifier: Apache-2.0
"""`tiny-agent-trainer chronicle show|export|verify`: a run's ledger for people and other tools."""

import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tiny_agent_trainer import errors

if TYPE_CHECKING:
    from tiny_agent_trainer.meta import records

app = typer.Typer(no_args_is_help=True, help="Show, export or verify the ledger of a run.")

Source = Annotated[
    Path, typer.Argument(metavar="RUN|FILE", help="A run's directory, or a .cmeta file.")
]


_UNLIMITED_WIDTH = 100_000
"""Characters of a line in a pipe or file, where nothing has to fit a screen."""


class Format(StrEnum):
    """What `export` can write."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


@app.command()
def show(
    source: Source,
    steps: Annotated[
        str | None, typer.Option(metavar="A:B", help="Only the steps A to B; either may be empty.")
    ] = None,
) -> None:
    """Show the records of a ledger as a table, one line each."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tiny_agent_trainer.meta import chronicle_reader

    path = _ledger_path(source)
    if steps is None:
        found = list(chronicle_reader.read(path).records)
    else:
        found = list(chronicle_reader.read_range(path, *_parse_steps(steps)))
    table = Table("phase", "epoch", "step", title=Text(str(path)), title_justify="left")
    table.add_column("values", no_wrap=True, overflow="ellipsis")
    for record in found:
        phase, values = _cells(record)
        table.add_row(phase, str(record.epoch), str(record.step), Text(values))
    Console(width=None if sys.stdout.isatty() else _UNLIMITED_WIDTH).print(table)


@app.command()
def export(
    source: Source,
    form: Annotated[Format, typer.Option("--format", help="The format to write.")],
    output: Annotated[
        Path | None, typer.Option(help="Where to write; standard output otherwise.")
    ] = None,
    as_hex: Annotated[
        bool, typer.Option("--hex", help="Floats as hexadecimal, the exact bits to see.")
    ] = False,
) -> None:
    """Export a ledger as CSV, JSON Lines or Parquet."""
    from tiny_agent_trainer.meta import chronicle_export, chronicle_reader

    if form is Format.PARQUET and (output is None or as_hex):
        raise errors.UsageError(
            where="chronicle export --format parquet",
            expected="--output PATH and no --hex (Parquet keeps the bits themselves)",
            found="--hex" if as_hex else "no --output",
            remedy="give a file to write, or choose --format csv",
        )
    chronicle = chronicle_reader.read(_ledger_path(source))
    if form is Format.PARQUET and output is not None:
        from tiny_agent_trainer.experiments import export_parquet

        export_parquet.write_parquet(chronicle, output)
    elif form is Format.CSV:
        lines = chronicle_export.encode_csv(chronicle.genesis, chronicle.records, as_hex=as_hex)
        _write(lines, output)
    else:
        _write(chronicle_export.encode_jsonl(chronicle.records, as_hex=as_hex), output)


@app.command()
def verify(source: Source) -> None:
    """Check a ledger from its first byte to its last; exit 0 if it is sound."""
    from tiny_agent_trainer.meta import chronicle_reader

    path = _ledger_path(source)
    verdict = chronicle_reader.verify(path)
    if verdict.is_sound:
        ending = (
            "closed by END" if verdict.is_ended else "not ended: the run goes on or was stopped"
        )
        print(f"sound: {path}: {verdict.num_records} records, {ending}")
        return
    place = "" if verdict.offset_bytes is None else f" at offset {verdict.offset_bytes}"
    kind = "torn tail" if verdict.is_torn_tail else "not sound"
    print(f"{kind}: {path}: after {verdict.num_records} records{place}: {verdict.problem}")
    raise typer.Exit(errors.LedgerError.exit_code)


def _ledger_path(source: Path) -> Path:
    from tiny_agent_trainer.meta import chronicle

    path = source / chronicle.FILE_NAME if source.is_dir() else source
    if not path.is_file():
        raise errors.UsageError(
            where=str(source),
            expected=f"a run's directory with {chronicle.FILE_NAME}, or a .cmeta file",
            found="no such file",
            remedy="give the path that the run printed at its end",
        )
    return path


def _parse_steps(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    if not colon or not all(part == "" or part.isdecimal() for part in (first, last)):
        raise errors.UsageError(
            where="--steps",
            expected="A:B with whole numbers, such as 100:200, 100: or :200",
            found=repr(text),
            remedy="write the first and the last step with a colon between them",
        )
    return int(first or 0), int(last or 2**63)


def _cells(record: "records.Record") -> tuple[str, str]:
    from tiny_agent_trainer.meta import chronicle_export, records

    if isinstance(record, records.CycleRecord):
        values = (f"{name}={chronicle_export.text_of(it)}" for name, it in record.metrics.items())
        return record.phase, "  ".join(values)
    digests = (f"{name}={digest[:12]}" for name, digest in record.digests.items())
    return chronicle_export.STATE_PHASE, "  ".join(digests)


def _write(lines: Iterable[bytes], output: Path | None) -> None:
    from tiny_agent_trainer import durable

    if output is not None:
        durable.write_atomic(output, lines)
        return
    for line in lines:
        sys.stdout.buffer.write(line)
    sys.stdout.flush()

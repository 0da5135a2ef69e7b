# SPDX-License-Identifier: Apache-2.0
"""Tables of labels: CSV and TSV in UTF-8, strict, with all faults at once."""

import csv
import dataclasses
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tiny_agent_trainer import digests, errors
from tiny_agent_trainer.tokenizer.samples import SourceFile

SIZE_LIMIT_BYTES: Final = 1 << 28
"""A larger table is refused before it is read; ChestX-ray14's 112,120 rows take 8 MB."""
_COLUMNS_LIMIT: Final = 10_000
_FAULTS_SHOWN: Final = 20
_DELIMITERS: Final = {".csv": ",", ".tsv": "\t", ".tab": "\t"}


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One row: the line it begins on, from 1, and its cells as they stand."""

    line: int
    cells: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table whose rows are all as long as its header."""

    path: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    file: SourceFile

    def cells(self, column: str) -> list[str]:
        """A whole column, row by row.

        Raises:
            DatasetError: There is no such column.
        """
        place = self.place(column)
        return [row.cells[place] for row in self.rows]

    def place(self, column: str) -> int:
        """The index of a column.

        Raises:
            DatasetError: There is none of that name.
        """
        require_columns(self, [column])
        return self.columns.index(column)


def read_table(root: Path, relative: str) -> Table:
    """Read a table below the data root; `.csv` has commas, `.tsv` and `.tab` have tabs.

    Raises:
        DatasetMissingError: There is no such file.
        DatasetError: It leads out of the root, is too large, not UTF-8, has no sound header or no
            row, or rows of another length than the header; all faults are told at once.
    """
    path = _inside(root, relative)
    delimiter = _DELIMITERS.get(path.suffix.lower())
    if delimiter is None:
        raise fault(relative, "a name that ends in .csv, .tsv or .tab", path.name)
    if not path.is_file():
        raise errors.DatasetMissingError(
            where="[data.labels] file",
            expected=f"a table {relative} below the data root",
            found="no such file",
            remedy="correct `file`, seen from `root`",
        )
    size = path.stat().st_size
    if size > SIZE_LIMIT_BYTES:
        raise fault(relative, f"at most {SIZE_LIMIT_BYTES} bytes", f"{size} bytes")
    content = path.read_bytes()
    sha256 = digests.sha256_hex(content)
    file = SourceFile(path=relative, size_bytes=len(content), sha256=sha256)
    return decode_table(content, delimiter, file)


def decode_table(content: bytes, delimiter: str, file: SourceFile) -> Table:
    """Turn the bytes of a table into rows; blank lines are left out.

    Raises:
        DatasetError: As in `read_table`.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise fault(file.path, "text in UTF-8", f"byte {error.start}, which is not") from error
    faults: list[str] = []
    rows = list(_rows(text, delimiter, faults))
    if not rows and not faults:
        raise fault(file.path, "a header and rows", "nothing")
    header = rows[0].cells if rows else ()
    faults = [*_faults_of_header(header), *_faults_of_rows(rows[1:], len(header)), *faults]
    require_sound(file.path, faults)
    if len(rows) == 1:
        raise fault(file.path, "rows below the header", "none")
    return Table(path=file.path, columns=header, rows=tuple(rows[1:]), file=file)


def require_columns(table: Table, columns: Sequence[str]) -> None:
    """Refuse a table without these columns.

    Raises:
        DatasetError: Names those that are missing and those that there are.
    """
    missing = [column for column in columns if column not in table.columns]
    if missing:
        there = ", ".join(table.columns[:50])
        raise fault(table.path, f"columns {', '.join(missing)}", f"only the columns {there}")


def require_sound(path: str, faults: Sequence[str]) -> None:
    """Refuse a table with faults.

    Raises:
        DatasetError: Shows the first twenty and how many more there are.
    """
    if faults:
        more = len(faults) - _FAULTS_SHOWN
        behind = f"\n  and {more} more" if more > 0 else ""
        shown = "".join(f"\n  {one}" for one in faults[:_FAULTS_SHOWN])
        noun = "fault" if len(faults) == 1 else "faults"
        raise fault(path, "a sound table", f"{len(faults)} {noun}:{shown}{behind}\n")


def fault(path: str, expected: str, found: str) -> errors.DatasetError:
    """The error that a table is refused with."""
    return errors.DatasetError(
        where=f"the table {path}",
        expected=expected,
        found=found,
        remedy="mend the table, or what [data.labels] says of it",
    )


def _rows(text: str, delimiter: str, faults: list[str]) -> Iterator[Row]:
    """Rows in order; what the reader of CSV does not understand ends them and is a fault."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield Row(line, tuple(cells))
            line = reader.line_num + 1
    except csv.Error as error:
        faults.append(f"line {max(line, reader.line_num)}: {error}")


def _faults_of_header(header: Sequence[str]) -> Iterator[str]:
    if len(header) > _COLUMNS_LIMIT:
        yield f"line 1: {len(header)} columns, more than {_COLUMNS_LIMIT}"
        return
    if any(not name.strip() for name in header):
        yield "line 1: a column without a name"
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        yield f"line 1: more than once: {', '.join(twice)}"


def _faults_of_rows(rows: Sequence[Row], width: int) -> Iterator[str]:
    for row in rows:
        if len(row.cells) != width:
            yield f"line {row.line}: {len(row.cells)} cells, where the header has {width}"
        elif any("\0" in cell for cell in row.cells):
            yield f"line {row.line}: a NUL character"


def _inside(root: Path, relative: str) -> Path:
    path = root / relative
    try:
        is_inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):
        is_inside = False
    if not is_inside:
        raise fault(relative, "a path inside the data root", "one that leads out of it")
    return path

# SPDX-License-Identifier: Apache-2.0
"""Which column of a table names images, which patients, which the label; and by which scheme.

Only names of columns and numbers are told, never a cell.
"""

import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.labels import RegressionOptions
from tiny_agent_trainer.tokenizer.images.image import Item
from tiny_agent_trainer.tokenizer.labels import join, one_hot, regression, tables
from tiny_agent_trainer.tokenizer.samples import SPLITS

_SPECIFIC: Final = ("file", "stem", "sop_uid", "series_uid", "study_uid", "patient_id")
"""Kinds of names from that of one image to that of all images of a patient."""

_PATIENT_NAMES: Final = frozenset(
    {"patient", "patientid", "subject", "subjectid", "person", "personid", "pid", "mrn"}
)
_LABEL_NAMES: Final = frozenset(
    {"label", "labels", "class", "target", "diagnosis", "finding", "findings", "findinglabels",
     "category", "outcome"}
)  # fmt: skip
_SPLIT_NAMES: Final = frozenset({"split", "fold", "subset"})

_MOST_CLASSES: Final = 50
"""Different words of a column; more of them are names rather than classes."""
_MOST_WHOLE_NUMBERS: Final = 10
"""Different whole numbers that are still taken for codes of classes."""
_FEWEST_GRADES: Final = 2
_SCHEMES: Final = {"classes": "class", "ordinal": "ordinal", "regression": "regression"}
_FINDING_CELLS: Final = frozenset({*one_hot.SPELLINGS, "-1", "-1.0", ""})
_SHOWN: Final = 12


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user named; empty where the table is to be read.

    Attributes:
        labels, id, patient: Columns.
        labels_as: `classes`, `ordinal` or `regression`: what the values of one label column are.
    """

    labels: tuple[str, ...] = ()
    labels_as: str = ""
    id: str = ""
    patient: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """How a table is to be read.

    Attributes:
        values: Keys of `[data.labels]`, without `on_unmatched`.
        split_column: Column with train, val and test; "" where there is none.
        reasons: What was chosen and why, one sentence each.
    """

    values: Mapping[str, Any]
    split_column: str
    reasons: tuple[str, ...]


def recognise(table: tables.Table, items: Sequence[Item], wishes: Wishes) -> Recognised:
    """Choose columns and scheme.

    Raises:
        UsageError: There are several candidates; they are listed.
        DatasetError: There is none, or a named column is not there or cannot be read.
    """
    tables.require_columns(table, [c for c in (*wishes.labels, wishes.id, wishes.patient) if c])
    reasons: list[str] = []
    id_column, id_name = _choose_id(table, items, wishes.id, reasons)
    patient = _choose_patient(table, items, wishes.patient, id_column, reasons)
    known = {item.names.get(id_name, "") for item in items}
    ids = table.cells(id_column)
    rows = [row for row, name in zip(table.rows, ids, strict=True) if name in known]
    columns = _Columns(table, rows)
    split_column = _split_column(columns, reasons)
    taken = {id_column, patient.get("patient_column", ""), split_column}
    called = [{item.names.get(kind, "") for item in items} for kind in _SPECIFIC]
    taken |= {name for name in table.columns if _is_a_name(name, table.cells(name), called)}
    labels = _choose_labels(columns, wishes, taken, reasons)
    values = {"file": table.path, "id_column": id_column, "id_name": id_name, **patient, **labels}
    return Recognised(values=values, split_column=split_column, reasons=tuple(reasons))


def _is_a_name(column: str, cells: Sequence[str], called: Sequence[set[str]]) -> bool:
    """Whether a column names patients, or images in any way, so that it is no label."""
    if _plain(column) in _PATIENT_NAMES:
        return True
    values = set(cells)
    return any(values <= names and 2 * len(values) > len(names) for names in called)


class _Columns:
    """Cells of the rows that speak of images."""

    def __init__(self, table: tables.Table, rows: Sequence[tables.Row]) -> None:
        self.table, self._rows = table, rows

    def cells(self, column: str) -> list[str]:
        place = self.table.place(column)
        return [row.cells[place] for row in self._rows]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _choose_id(
    table: tables.Table, items: Sequence[Item], wished: str, reasons: list[str]
) -> tuple[str, str]:
    """The column whose cells name the most images, by the most specific kind of name."""
    found: dict[tuple[int, int], list[tuple[str, str]]] = collections.defaultdict(list)
    for rank, kind in enumerate(_SPECIFIC):
        counts = collections.Counter(i.names[kind] for i in items if i.names.get(kind))
        if not counts:
            continue
        for column in [wished] if wished else table.columns:
            images = _images_named(table.cells(column), counts, kind)
            if images:
                found[-images, rank].append((column, kind))
    if not found:
        raise _no_id(table, wished)
    images, _ = best = min(found)
    candidates = found[best]
    cells = {tuple(table.cells(column)) for column, _ in candidates}
    if len(cells) > 1:
        raise _ambiguous("the column that names images", [c for c, _ in candidates], "--id-column")
    column, kind = candidates[0]
    reasons.append(
        f"id column {column!r}: it holds the {kind} of {-images} of {len(items)} images"
        + (" (as named)" if wished else "")
    )
    return column, kind


def _images_named(cells: Sequence[str], counts: Mapping[str, int], kind: str) -> int:
    """How many images a column names; 0 where it names one of several by one name, or is blank."""
    names = set(cells)
    if "" in names:
        return 0
    named = [counts[name] for name in names if name in counts]
    return 0 if kind in join.OF_ONE_IMAGE and max(named, default=0) > 1 else sum(named)


def _no_id(table: tables.Table, wished: str) -> errors.DatasetError:
    what = f"column {wished!r}" if wished else "a column"
    return tables.fault(
        table.path,
        f"{what} with the path, the file name, or a DICOM identifier of every image",
        f"none among {', '.join(table.columns[:_SHOWN])}",
    )


def _choose_patient(
    table: tables.Table, items: Sequence[Item], wished: str, id_column: str, reasons: list[str]
) -> dict[str, Any]:
    if wished:
        reasons.append(f"patient column {wished!r} (as named)")
        return {"patient_column": wished}
    named = [item.names.get("patient_id", "") for item in items]
    if all(named) and len(set(named)) > 1:
        reasons.append(f"patients: as the files say, {len(set(named))} of them")
        return {}
    candidates = [column for column in table.columns if _plain(column) in _PATIENT_NAMES]
    if len(candidates) > 1:
        raise _ambiguous("the column that names patients", candidates, "--patient-column")
    if not candidates or candidates[0] == id_column:
        reasons.append(
            "patients: neither the files nor a column name them, so that each image is taken for "
            "another patient; if that is wrong, name the column with --patient-column"
        )
        return {"each_image_is_a_patient": True}
    reasons.append(f"patient column {candidates[0]!r}: by its name")
    return {"patient_column": candidates[0]}


def _split_column(columns: _Columns, reasons: list[str]) -> str:
    for column in columns.table.columns:
        if _plain(column) in _SPLIT_NAMES and set(columns.cells(column)) == set(SPLITS):
            reasons.append(f"splits: as column {column!r} says")
            return column
    return ""


def _choose_labels(
    columns: _Columns, wishes: Wishes, taken: set[str], reasons: list[str]
) -> dict[str, Any]:
    if len(wishes.labels) > 1:
        if wishes.labels_as:
            raise _several_as(wishes.labels_as)
        return _findings(columns, wishes.labels, reasons)
    if wishes.labels:
        return _single(columns, wishes.labels[0], wishes.labels_as, reasons, "as named")
    free = [column for column in columns.table.columns if column not in taken]
    usable = {column: scheme for column in free if (scheme := _usual_scheme(columns, column))}
    by_name = [column for column in usable if _plain(column) in _LABEL_NAMES]
    findings = [column for column in free if _is_finding(columns.cells(column))]
    if len(by_name) == 1:
        return _single(columns, by_name[0], wishes.labels_as, reasons, "by its name")
    if not by_name and len(findings) > 1 and not wishes.labels_as:
        return _findings(columns, findings, reasons)
    if not by_name and len(usable) == 1:
        why = "the only one that can be learned"
        return _single(columns, next(iter(usable)), wishes.labels_as, reasons, why)
    listed = [f"{column} ({usable[column]})" for column in by_name or usable]
    if not listed:
        raise tables.fault(
            columns.table.path,
            "a column with a class, a number or findings for every image",
            f"none among {', '.join(free[:_SHOWN])}",
        )
    raise _ambiguous("the label column", listed, "--label-column")


def _usual_scheme(columns: _Columns, column: str) -> str:
    """The scheme of a column that nobody named: blanks are overlooked where its name tells."""
    cells = columns.cells(column)
    return _scheme_of(_written(cells) if _plain(column) in _LABEL_NAMES else cells)


def _written(cells: Sequence[str]) -> list[str]:
    return [cell for cell in cells if cell.strip()]


def _single(
    columns: _Columns, column: str, labels_as: str, reasons: list[str], why: str
) -> dict[str, Any]:
    cells = columns.cells(column)
    written = _written(cells)
    scheme = _SCHEMES.get(labels_as) or _scheme_of(written)
    blank = len(cells) - len(written)
    _require_readable(columns, column, scheme, written, blank)
    reasons.append(
        f"label column {column!r} ({why}): scheme {scheme}"
        + (f", as --labels-as {labels_as} says" if labels_as else _alternative(scheme, written))
    )
    if blank:
        reasons.append(f"{blank} of {len(cells)} rows are blank in it and left out (on_blank)")
    grades = {"classes": _grades(written)} if scheme == "ordinal" else {}
    return {"scheme": scheme, "column": column, **grades, **({"on_blank": "list"} if blank else {})}


def _require_readable(
    columns: _Columns, column: str, scheme: str, written: Sequence[str], blank: int
) -> None:
    if not scheme:
        raise tables.fault(
            columns.table.path,
            f"two or more values that repeat, or numbers, in column {column!r}",
            f"{len(set(written))} different values in {len(written)} rows, {blank} more are blank",
        )
    values = set(written)
    if scheme == "regression" and len(list(_numbers(values))) < len(values):
        raise tables.fault(
            columns.table.path, f"numbers alone in column {column!r}", "other words too"
        )
    if scheme == "ordinal" and len(_grades(written)) < _FEWEST_GRADES:
        raise tables.fault(
            columns.table.path,
            f"two or more different whole numbers in column {column!r}, so that their order is "
            "known (write grades that are words into the configuration, lowest first)",
            f"{len(values)} different values, some of them equal or no whole numbers",
        )


def _alternative(scheme: str, written: Sequence[str]) -> str:
    """What else the values of a column may mean, told so that nobody takes a guess for a fact."""
    grades = _grades(written)
    numbers = [int(float(grade)) for grade in grades]
    is_row = bool(numbers) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    if scheme != "class" or not is_row or len(numbers) <= _FEWEST_GRADES:
        return ""
    return (
        f", as if {numbers[0]} to {numbers[-1]} were names without an order; if they are grades, "
        "call init with --labels-as ordinal, if they are counts, with --labels-as regression"
    )


def _grades(written: Sequence[str]) -> list[str]:
    """Different whole numbers, ascending, as they are written; [] where some are none, or equal."""
    values = set(written)
    numbers = {value: number for value in values for number in _numbers({value})}
    is_whole = len(numbers) == len(values) == len(set(numbers.values()))
    if not is_whole or not all(number.is_integer() for number in numbers.values()):
        return []
    return sorted(values, key=lambda value: numbers[value])


def _several_as(labels_as: str) -> errors.UsageError:
    return errors.UsageError(
        where="init",
        expected=f"one label column with --labels-as {labels_as}",
        found="several",
        remedy="name one with --label-column, or leave --labels-as out",
    )


def _findings(columns: _Columns, chosen: Sequence[str], reasons: list[str]) -> dict[str, Any]:
    wrong = [column for column in chosen if not _is_finding(columns.cells(column))]
    if wrong:
        raise tables.fault(
            columns.table.path, "columns of 1, 0, -1 and blank", f"others in {', '.join(wrong)}"
        )
    is_plain = all(set(columns.cells(column)) <= one_hot.SPELLINGS.keys() for column in chosen)
    scheme = "one_hot" if is_plain else "chexpert"
    told = "" if is_plain else "; uncertain and blank are left out of loss and metrics"
    reasons.append(f"label columns {', '.join(chosen[:_SHOWN])}: scheme {scheme}{told}")
    policy = {} if is_plain else {"uncertain": "mask", "missing": "mask"}
    return {"scheme": scheme, "columns": list(chosen), **policy}


def _is_finding(cells: Sequence[str]) -> bool:
    values = set(cells)
    return values <= _FINDING_CELLS and bool(values & one_hot.SPELLINGS.keys())


def _scheme_of(cells: Sequence[str]) -> str:
    """The scheme that reads a column; "" where none does."""
    values = set(cells)
    if "" in values or len(values) < 2:
        return ""
    if any("|" in value for value in values):
        return "pipe"
    numbers = list(_numbers(values))
    if len(numbers) == len(values):
        is_code = len(values) <= _MOST_WHOLE_NUMBERS and all(n.is_integer() for n in numbers)
        return "class" if is_code else "regression"
    repeats = len(values) <= _MOST_CLASSES and 2 * len(values) <= len(cells)
    return "class" if repeats else ""


def _numbers(values: set[str]) -> Iterator[float]:
    options = RegressionOptions(file="-", id_column="-", scheme="regression", column="-")
    scheme = regression.RegressionScheme(options)
    for value in values:
        try:
            yield scheme.parse([value])
        except ValueError:
            return


def _ambiguous(what: str, candidates: Sequence[str], option: str) -> errors.UsageError:
    more = f" and {len(candidates) - _SHOWN} more" if len(candidates) > _SHOWN else ""
    return errors.UsageError(
        where="init",
        expected=f"one candidate for {what}",
        found=f"{len(candidates)}: {', '.join(candidates[:_SHOWN])}{more}",
        remedy=f"name it with {option}",
    )

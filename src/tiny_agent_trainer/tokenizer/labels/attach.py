# SPDX-License-Identifier: Apache-2.0
"""Labels, patients and known facts of every image that the table speaks of."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.labels import LabelOptions, OneColumnOptions
from tiny_agent_trainer.tokenizer.images.image import Item
from tiny_agent_trainer.tokenizer.labels import join, scheme, tables
from tiny_agent_trainer.tokenizer.samples import Label, Task


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One image with what the table says of it; `split` is "" where no column is asked."""

    item: Item
    label: Label
    patient: str
    attributes: Mapping[str, str]
    split: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A whole folder with its labels.

    Attributes:
        task, classes: How labels are to be read.
        images: Those with a label, in the order of the folder.
        without_row: Keys of images that the table does not name.
        without_image: Lines and ids of rows that name no image.
        without_label: Lines of rows whose label is blank, and their ids; their images are left out.
    """

    task: Task
    classes: tuple[str, ...]
    images: tuple[Labelled, ...]
    without_row: tuple[str, ...]
    without_image: tuple[str, ...]
    without_label: tuple[tuple[int, str], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """An image with what its rows say, before classes have numbers."""

    item: Item
    value: Any
    patient: str
    attributes: dict[str, str]
    split: str


def attach(
    items: Sequence[Item], table: tables.Table, options: LabelOptions, split_column: str = ""
) -> Attached:
    """Join the table to the images and read what it says of them.

    Args:
        items: The images of the folder.
        table: The table of labels.
        options: The section of the configuration.
        split_column: Column with the split, if there is one.

    Raises:
        DatasetError: Columns, ids, labels or patients are not as they should be; all faults of
            one kind are told at once.
    """
    read = scheme.build_scheme(options)
    named = [options.id_column, *read.columns, options.patient_column, *options.attributes]
    tables.require_columns(table, [column for column in [*named, split_column] if column])
    joined = join.join(items, table, options.id_column, options.id_name)
    blank = _Blank(table, read, options)
    joint = [(item, rows) for item, rows in zip(items, joined.rows, strict=True) if rows]
    pairs = [(item, rows) for item, rows in joint if not blank.are_blank(rows)]
    faults: list[str] = []
    reader = _RowReader(table, read, options, split_column, faults)
    found = [one for one in (reader.read(item, rows) for item, rows in pairs) if one is not None]
    tables.require_sound(table.path, list(dict.fromkeys(faults)))
    if not found:
        raise tables.fault(table.path, "rows that speak of images", joined.describe())
    _require_patients(found, options)
    classes = read.name_classes(one.value for one in found)
    id_place = table.place(options.id_column)
    return Attached(
        task=read.task,
        classes=classes,
        images=tuple(_label(one, read, classes) for one in found),
        without_row=tuple(i.key for i, rows in zip(items, joined.rows, strict=True) if not rows),
        without_image=tuple(
            f"line {row.line}: {row.cells[id_place]}" for row in joined.without_image
        ),
        without_label=tuple(
            sorted(
                {
                    (r.line, r.cells[id_place])
                    for _, rows in joint
                    if blank.are_blank(rows)
                    for r in rows
                }
            )
        ),
    )


class _Blank:
    """Which rows are left out because their label is blank, where the configuration says so."""

    def __init__(
        self, table: tables.Table, read: scheme.AbstractScheme[Any], options: LabelOptions
    ) -> None:
        self._is_wanted = isinstance(options, OneColumnOptions) and options.on_blank == "list"
        self._places = [table.place(column) for column in read.columns]

    def are_blank(self, rows: Sequence[tables.Row]) -> bool:
        """Whether no row of an image has a label; it is a fault of the table if some have."""
        cells = (row.cells[place] for row in rows for place in self._places)
        return self._is_wanted and not any(cell.strip() for cell in cells)


class _RowReader:
    """Reads the rows of one image after the other and collects their faults."""

    def __init__(
        self,
        table: tables.Table,
        read: scheme.AbstractScheme[Any],
        options: LabelOptions,
        split_column: str,
        faults: list[str],
    ) -> None:
        self._table, self._scheme, self._options = table, read, options
        self._split_column, self._faults = split_column, faults
        self._places = [table.place(column) for column in read.columns]

    def read(self, item: Item, rows: Sequence[tables.Row]) -> _Read | None:
        """What the rows of an image say; None after a fault."""
        before = len(self._faults)
        value = self._value(rows)
        facts = {name: self._agreed(rows, name) for name in self._options.attributes}
        patient = self._patient(item, rows)
        split = self._agreed(rows, self._split_column) if self._split_column else ""
        if len(self._faults) > before:
            return None
        return _Read(item=item, value=value, patient=patient, attributes=facts, split=split)

    def _value(self, rows: Sequence[tables.Row]) -> object:
        values = []
        for row in rows:
            try:
                values.append(self._scheme.parse([row.cells[place] for place in self._places]))
            except ValueError as error:
                self._faults.append(f"line {row.line}: {error}")
        try:
            return self._scheme.merge(values) if values else None
        except ValueError as error:
            self._faults.append(f"lines {_lines(rows)}: {error}")
        return None

    def _patient(self, item: Item, rows: Sequence[tables.Row]) -> str:
        if self._options.each_image_is_a_patient:
            return item.key
        column = self._options.patient_column
        if not column:
            return item.names.get("patient_id", "")
        patient = self._agreed(rows, column)
        if not patient:
            self._faults.append(f"line {rows[0].line}: no patient in column {column!r}")
        return patient

    def _agreed(self, rows: Sequence[tables.Row], column: str) -> str:
        place = self._table.place(column)
        found = list(dict.fromkeys(row.cells[place] for row in rows))
        if len(found) > 1:
            self._faults.append(f"lines {_lines(rows)}: one image with several {column!r}")
        return found[0]


def _lines(rows: Sequence[tables.Row]) -> str:
    return ", ".join(str(row.line) for row in rows[:10])


def _label(one: _Read, read: scheme.AbstractScheme[Any], classes: Sequence[str]) -> Labelled:
    return Labelled(
        item=one.item,
        label=read.encode(one.value, classes),
        patient=one.patient,
        attributes=one.attributes,
        split=one.split,
    )


def _require_patients(found: Sequence[_Read], options: LabelOptions) -> None:
    """Refuse images whose patient nobody names: they might be divided between splits."""
    unnamed = [one.item.key for one in found if not one.patient]
    if unnamed:
        raise errors.DatasetError(
            where="[data.labels]",
            expected="a patient for every image, so that no patient stands in two splits",
            found=f"{len(unnamed)} of {len(found)} images without, such as {unnamed[0]}",
            remedy="name the column in `patient_column`, or, where each image is of another "
            "person, write `each_image_is_a_patient = true`",
        )

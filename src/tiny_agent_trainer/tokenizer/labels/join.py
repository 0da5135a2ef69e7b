# SPDX-License-Identifier: Apache-2.0
"""Which rows of a table speak of which images."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final, get_args

from tiny_agent_trainer.config import labels
from tiny_agent_trainer.tokenizer.images.image import Item
from tiny_agent_trainer.tokenizer.labels import tables

KINDS: Final[tuple[str, ...]] = get_args(labels.IdName)[1:]
"""Kinds of names, in the order in which they are tried."""

OF_ONE_IMAGE: Final = frozenset({"file", "stem", "sop_uid"})
"""Kinds of names that must lead to one image; those of a patient or a study may lead to many."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Rows and images that found each other, and those that did not.

    Attributes:
        id_name: Kind of name that they were joined by.
        rows: For every image its rows, in the order of the table; () for an image without.
        without_image: Rows that speak of no image.
    """

    id_name: str
    rows: tuple[tuple[tables.Row, ...], ...]
    without_image: tuple[tables.Row, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every row and every image has a partner."""
        return not self.without_image and all(self.rows)

    def describe(self) -> str:
        """How many found a partner."""
        partners = sum(bool(own) for own in self.rows)
        distinct = len({row.line for own in self.rows for row in own})
        rows = distinct + len(self.without_image)
        return f"{self.id_name}: {distinct} of {rows} rows, {partners} of {len(self.rows)} images"


def join(items: Sequence[Item], table: tables.Table, column: str, id_name: str) -> Joined:
    """Join rows to images by a kind of name, or by the one that fits all.

    Args:
        items: The images.
        table: The table.
        column: Its column with the names.
        id_name: One of `KINDS`, or `auto`.

    Raises:
        DatasetError: There is no such column, a name is empty or leads to several images, or
            `auto` finds no kind of name, or several that differ.
    """
    ids = table.cells(column)
    empty = [f"line {r.line}: no {column}" for r, i in zip(table.rows, ids, strict=True) if not i]
    tables.require_sound(table.path, empty)
    if id_name != "auto":
        _require_unambiguous(items, ids, id_name, table)
        return _join_by(items, table, ids, id_name)
    return _choose([_join_by(items, table, ids, kind) for kind in KINDS], items, ids, table, column)


def _choose(
    tried: Sequence[Joined],
    items: Sequence[Item],
    ids: Sequence[str],
    table: tables.Table,
    column: str,
) -> Joined:
    fitting = [one for one in tried if one.is_complete and not _ambiguous(items, ids, one.id_name)]
    if len({one.rows for one in fitting}) == 1:
        return fitting[0]
    told = "; ".join(one.describe() for one in fitting or tried)
    what = "several kinds of names fit, and differ" if fitting else "no kind of name fits all"
    raise tables.fault(
        table.path,
        f"ids in column {column!r} of one kind that every row and every image has "
        "(or `id_name` under [data.labels], with `on_unmatched`)",
        f"that {what}: {told}",
    )


def _join_by(items: Sequence[Item], table: tables.Table, ids: Sequence[str], kind: str) -> Joined:
    by_id: dict[str, list[tables.Row]] = collections.defaultdict(list)
    for row, name in zip(table.rows, ids, strict=True):
        by_id[name].append(row)
    rows = tuple(tuple(by_id.get(item.names.get(kind, ""), ())) for item in items)
    known = {item.names.get(kind, "") for item in items}
    pairs = zip(table.rows, ids, strict=True)
    return Joined(
        id_name=kind,
        rows=rows,
        without_image=tuple(row for row, name in pairs if name not in known),
    )


def _require_unambiguous(
    items: Sequence[Item], ids: Sequence[str], kind: str, table: tables.Table
) -> None:
    faults = [
        f"{name!r} is the {kind} of {len(keys)} images: {', '.join(keys[:3])}"
        for name, keys in _ambiguous(items, ids, kind).items()
    ]
    tables.require_sound(table.path, faults)


def _ambiguous(items: Sequence[Item], ids: Sequence[str], kind: str) -> Mapping[str, list[str]]:
    """Names in the table that must lead to one image and lead to several."""
    if kind not in OF_ONE_IMAGE:
        return {}
    keys: dict[str, list[str]] = collections.defaultdict(list)
    for item in items:
        keys[item.names.get(kind, "")].append(item.key)
    return {name: keys[name] for name in dict.fromkeys(ids) if len(keys.get(name, ())) > 1}

# SPDX-License-Identifier: Apache-2.0
"""Any number of findings in one cell, joined as in NIH ChestX-ray14's `Finding Labels`."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, final

from tiny_agent_trainer.config.labels import PipeOptions
from tiny_agent_trainer.tokenizer.labels import scheme
from tiny_agent_trainer.tokenizer.samples import Label, Task


@final
class PipeScheme(scheme.AbstractScheme[frozenset[str]]):
    """Findings joined by a separator; one name says that there is none.

    Source:
        Wang et al., ChestX-ray8, CVPR 2017; `Data_Entry_2017.csv`.
    """

    task: ClassVar[Task] = "multilabel"

    def __init__(self, options: PipeOptions) -> None:
        self._options = options

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self._options.column,)

    def parse(self, cells: Sequence[str]) -> frozenset[str]:
        """The findings of a cell; blanks around a name do not count."""
        (cell,) = cells
        names = [name.strip() for name in cell.split(self._options.separator)]
        nothing = self._options.nothing
        if "" in names:
            raise ValueError(f"an empty finding in {cell!r}; write {nothing!r} where there is none")
        if len(set(names)) != len(names):
            raise ValueError(f"a finding stands twice in {cell!r}")
        if names == [nothing]:
            return frozenset()
        if nothing in names:
            raise ValueError(f"{nothing!r} beside a finding in {cell!r}")
        scheme.require_known(names, self._options.classes)
        return frozenset(names)

    def merge(self, values: Sequence[frozenset[str]]) -> frozenset[str]:
        """All findings of all rows."""
        return frozenset().union(*values)

    def name_classes(self, values: Iterable[frozenset[str]]) -> tuple[str, ...]:
        """Those that are configured, else all that occur, by bytes."""
        return self._options.classes or scheme.sort_by_bytes(n for found in values for n in found)

    def encode(self, value: frozenset[str], classes: Sequence[str]) -> Label:
        """1 for every finding that is there."""
        return tuple(int(name in value) for name in classes)

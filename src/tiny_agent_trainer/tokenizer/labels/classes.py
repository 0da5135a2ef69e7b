# SPDX-License-Identifier: Apache-2.0
"""One class, or one grade of several, per row."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, final

from tiny_agent_trainer.config.labels import ClassOptions, OrdinalOptions
from tiny_agent_trainer.tokenizer.labels import scheme
from tiny_agent_trainer.tokenizer.samples import Label, Task


class _OneOfSeveral(scheme.AbstractScheme[str]):
    def __init__(self, options: ClassOptions | OrdinalOptions) -> None:
        self._options = options

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self._options.column,)

    def parse(self, cells: Sequence[str]) -> str:
        """The class as it stands in the cell."""
        (name,) = cells
        if not name:
            raise ValueError("no class")
        scheme.require_known([name], self._options.classes)
        return name

    def merge(self, values: Sequence[str]) -> str:
        """The class that all rows agree on."""
        return scheme.merge_equal(values)

    def name_classes(self, values: Iterable[str]) -> tuple[str, ...]:
        """Those that are configured, else all that occur, by bytes."""
        return self._options.classes or scheme.sort_by_bytes(values)

    def encode(self, value: str, classes: Sequence[str]) -> Label:
        """The index of the class, alone."""
        return (classes.index(value),)


@final
class ClassScheme(_OneOfSeveral):
    """Classes without an order."""

    task: ClassVar[Task] = "multiclass"


@final
class OrdinalScheme(_OneOfSeveral):
    """Grades, from the lowest to the highest."""

    task: ClassVar[Task] = "ordinal"

# SPDX-License-Identifier: Apache-2.0
"""Columns of 0 and 1, one per finding."""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Final, final

from tiny_agent_trainer.config.labels import OneHotOptions
from tiny_agent_trainer.tokenizer.labels import scheme
from tiny_agent_trainer.tokenizer.samples import Label, Task

SPELLINGS: Final[Mapping[str, int]] = {"0": 0, "0.0": 0, "1": 1, "1.0": 1}
"""How a cell says no and yes; spreadsheets and pandas turn 1 into 1.0."""


@final
class OneHotScheme(scheme.AbstractScheme[tuple[int, ...]]):
    """Findings that are there (1) or not (0)."""

    task: ClassVar[Task] = "multilabel"

    def __init__(self, options: OneHotOptions) -> None:
        self._options = options

    @property
    def columns(self) -> tuple[str, ...]:
        """One column per finding."""
        return self._options.columns

    def parse(self, cells: Sequence[str]) -> tuple[int, ...]:
        """0 or 1 of every cell."""
        pairs = zip(self.columns, cells, strict=True)
        wrong = [f"{column} {cell!r}" for column, cell in pairs if cell not in SPELLINGS]
        if wrong:
            raise ValueError(f"neither 0 nor 1: {', '.join(wrong)}")
        return tuple(SPELLINGS[cell] for cell in cells)

    def merge(self, values: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """1 where any row has 1."""
        return tuple(max(place) for place in zip(*values, strict=True))

    def name_classes(self, values: Iterable[tuple[int, ...]]) -> tuple[str, ...]:
        """The names of the columns."""
        del values
        return self.columns

    def encode(self, value: tuple[int, ...], classes: Sequence[str]) -> Label:
        """The value itself."""
        del classes
        return value

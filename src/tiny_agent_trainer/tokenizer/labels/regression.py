# SPDX-License-Identifier: Apache-2.0
"""A continuous target: one finite decimal number per row."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, final

import numpy as np

from tiny_agent_trainer.config.labels import RegressionOptions
from tiny_agent_trainer.tokenizer.labels import scheme
from tiny_agent_trainer.tokenizer.samples import Label, Task

_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
"""Decimals alone: Python's own `float` also takes `nan`, `inf`, `1_000` and foreign digits."""

_LENGTH_LIMIT: Final = 64
"""Characters of a number; no measurement needs more."""


@final
class RegressionScheme(scheme.AbstractScheme[float]):
    """A number, read to the nearest float64 and kept as the nearest float32."""

    task: ClassVar[Task] = "regression"

    def __init__(self, options: RegressionOptions) -> None:
        self._options = options

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self._options.column,)

    def parse(self, cells: Sequence[str]) -> float:
        """The value of float32 nearest to the number."""
        (cell,) = cells
        if len(cell) > _LENGTH_LIMIT or not _NUMBER.fullmatch(cell):
            raise ValueError(f"{cell[:_LENGTH_LIMIT]!r} is no decimal number")
        with np.errstate(over="ignore"):
            value = float(np.float32(float(cell)))
        if not math.isfinite(value):
            raise ValueError(f"{cell!r} is beyond float32")
        return value

    def merge(self, values: Sequence[float]) -> float:
        """The number that all rows agree on."""
        return scheme.merge_equal(values)

    def name_classes(self, values: Iterable[float]) -> tuple[str, ...]:
        """The name of the target, alone."""
        del values
        return self.columns

    def encode(self, value: float, classes: Sequence[str]) -> Label:
        """The number, alone."""
        del classes
        return (value,)

# SPDX-License-Identifier: Apache-2.0
"""Columns of 1, 0, -1 (uncertain) and blank (not mentioned), as in CheXpert and MIMIC-CXR."""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Final, final

from tiny_agent_trainer.config.labels import ChexpertOptions
from tiny_agent_trainer.tokenizer.labels import one_hot, scheme
from tiny_agent_trainer.tokenizer.samples import MASKED, Label, Task

_MEANINGS: Final[Mapping[str, int]] = {"mask": MASKED, "negative": 0, "positive": 1}
_UNCERTAIN: Final = frozenset({"-1", "-1.0"})


@final
class ChexpertScheme(scheme.AbstractScheme[tuple[int, ...]]):
    """Findings that are there, not there, uncertain or not mentioned; the options say what counts.

    Source:
        Irvin et al., CheXpert, AAAI 2019, section "Uncertainty approaches": U-Ignore is `mask`,
        U-Ones `positive`, U-Zeros `negative`.
    """

    task: ClassVar[Task] = "multilabel"

    def __init__(self, options: ChexpertOptions) -> None:
        self._options = options
        self._known: dict[str, int] = dict(one_hot.SPELLINGS)
        if options.uncertain != "refuse":
            self._known |= dict.fromkeys(_UNCERTAIN, _MEANINGS[options.uncertain])
        if options.missing != "refuse":
            self._known[""] = _MEANINGS[options.missing]

    @property
    def columns(self) -> tuple[str, ...]:
        """One column per finding."""
        return self._options.columns

    def parse(self, cells: Sequence[str]) -> tuple[int, ...]:
        """1, 0 or `MASKED` of every cell."""
        pairs = zip(self.columns, cells, strict=True)
        wrong = [self._complaint(column, cell) for column, cell in pairs if cell not in self._known]
        if wrong:
            raise ValueError(", ".join(wrong))
        return tuple(self._known[cell] for cell in cells)

    def merge(self, values: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """What all rows agree on: CheXpert has one row per image."""
        return scheme.merge_equal(values)

    def name_classes(self, values: Iterable[tuple[int, ...]]) -> tuple[str, ...]:
        """The names of the columns."""
        del values
        return self.columns

    def encode(self, value: tuple[int, ...], classes: Sequence[str]) -> Label:
        """The value itself."""
        del classes
        return value

    def _complaint(self, column: str, cell: str) -> str:
        if cell in _UNCERTAIN:
            return f'{column} is uncertain, which `uncertain = "refuse"` forbids'
        if not cell:
            return f'{column} is blank, which `missing = "refuse"` forbids'
        return f"{column} is {cell!r}, neither 1, 0, -1 nor blank"

# SPDX-License-Identifier: Apache-2.0
"""What a leak is, and the error that refuses leaks."""

import dataclasses
from collections.abc import Sequence
from typing import Final, Literal

from tiny_agent_trainer import errors
from tiny_agent_trainer.tokenizer.samples import Label, Sample, Split

_SHOWN: Final = 6
"""Members of a leak that a sentence names."""
_LEAKS_SHOWN: Final = 20
"""Leaks that an error names."""

Kind = Literal[
    "equal pixels", "equal pixels with different labels", "one patient", "near duplicates"
]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Samples that should stand in one split and do not, or that contradict each other.

    Attributes:
        what: What they have in common.
        members: Ordinal, split and label of each of them, ascending.
    """

    what: Kind
    members: tuple[tuple[int, Split, Label], ...]

    def __str__(self) -> str:
        shown = [f"sample {ordinal} ({split}, label {'/'.join(map(str, label))})"
                 for ordinal, split, label in self.members[:_SHOWN]]  # fmt: skip
        more = f" and {len(self.members) - _SHOWN} more" if len(self.members) > _SHOWN else ""
        where = "" if self.what == "equal pixels with different labels" else " in two splits"
        return f"{self.what}{where}: {', '.join(shown)}{more}"


def refusal(leaks: Sequence[Leak], listed: Sequence[Sample]) -> errors.LeakError:
    """The error that names leaks, for the user's eyes with the keys of their samples."""
    shown = "".join(f"\n  {leak}: {_keys(leak, listed)}" for leak in leaks[:_LEAKS_SHOWN])
    rest = len(leaks) - _LEAKS_SHOWN
    more = f"\n  and {rest} more" if rest > 0 else ""
    return errors.LeakError(
        where="the splits",
        expected="every patient and every image in one split only, and with one label",
        found=f"{len(leaks)} leaks:{shown}{more}\n",
        remedy="mend the splits, or write `allow_leaks = true` under [data]; "
        "every report will then say so",
    )


def _keys(leak: Leak, listed: Sequence[Sample]) -> str:
    """Where the samples come from: for the user's eyes only, never for a result."""
    return " = ".join(listed[ordinal].key for ordinal, _, _ in leak.members[:_SHOWN])

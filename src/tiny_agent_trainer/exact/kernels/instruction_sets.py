# SPDX-License-Identifier: Apache-2.0
"""Which multiply-and-add instruction the blocks of contractions are compiled for.

Every choice gives the same integers. `NUMBA_CPU_NAME` and `NUMBA_CPU_FEATURES` limit it, together.
"""

import functools
from dataclasses import dataclass
from typing import Final

import llvmlite.binding
from numba.core import config


@dataclass(frozen=True, slots=True)
class InstructionSet:
    """A way to multiply pairs of int16 and add the two products to int32.

    Attributes:
        name: As `doctor` prints it.
        features: LLVM's names of what the CPU must have.
        lanes: int32 in one register.
        rows: Rows of a block; rows * registers accumulators fit the register file.
        registers: Registers side by side in a block; its columns are lanes * registers.
        multiply_add: LLVM's intrinsic; empty where the pattern is spelled out.
        accumulates: Whether the intrinsic adds to an accumulator itself.
    """

    name: str
    features: tuple[str, ...]
    lanes: int
    rows: int
    registers: int
    multiply_add: str
    accumulates: bool = False

    @property
    def columns(self) -> int:
        """Columns of a block."""
        return self.lanes * self.registers


KNOWN: Final = (
    InstructionSet(
        "avx512-vnni", ("avx512bw", "avx512vnni"), 16, 14, 2, "llvm.x86.avx512.vpdpwssd.512", True
    ),
    InstructionSet("avx512", ("avx512bw",), 16, 12, 2, "llvm.x86.avx512.pmaddw.d.512"),
    InstructionSet("avx2", ("avx2",), 8, 4, 2, "llvm.x86.avx2.pmadd.wd"),
    InstructionSet("sse2", ("sse2",), 4, 4, 2, "llvm.x86.sse2.pmadd.wd"),
    InstructionSet("portable", (), 4, 4, 2, ""),
)
"""Best first."""


@functools.cache
def current() -> InstructionSet:
    """The best that this process may use."""
    present = _features()
    return next(known for known in KNOWN if present.issuperset(known.features))


def _left_panel(chosen: InstructionSet) -> int:
    """Rows that lie side by side: those of a block, where blocks do not cross panels."""
    return chosen.rows if chosen.columns % chosen.rows == 0 else chosen.columns


def _features() -> frozenset[str]:
    if config.CPU_NAME == "generic" and not config.CPU_FEATURES:
        is_x86 = llvmlite.binding.get_default_triple().startswith("x86_64")
        return frozenset({"sse2"} if is_x86 else ())
    if config.CPU_FEATURES is not None:
        chosen = config.CPU_FEATURES.split(",")
        return frozenset(feature[1:] for feature in chosen if feature.startswith("+"))
    host = llvmlite.binding.get_host_cpu_features()
    return frozenset(feature for feature, has in host.items() if has)


LEFT_PANEL: Final = _left_panel(current())
"""Channels of a panel of an operand on the left, whose pairs are read row by row."""

# SPDX-License-Identifier: Apache-2.0
"""What exact arithmetic needs of a machine and of a process, checked before it computes.

How a thread rounds is a register of its own. Libraries change it: `torch.set_flush_denormal`,
`fesetround`, and shared libraries built with -ffast-math, in the thread that loads them. So numpy,
torch and our own kernels are asked in every thread of theirs, whenever exact arithmetic begins.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from tiny_agent_trainer import errors
from tiny_agent_trainer.exact import grids, self_test, sums, threads
from tiny_agent_trainer.exact.contractions import current
from tiny_agent_trainer.exact.kernels import pack, probe

_Floats: TypeAlias = npt.NDArray[np.floating[Any]]
_Results: TypeAlias = dict[str, npt.NDArray[np.unsignedinteger[Any]]]
"""Bits by who computed them, shape (times, operations)."""


class _Operation(NamedTuple):
    """Operands and result as bits: a thread that rounds otherwise could not even write them."""

    left: int
    right: int
    result: int
    words: str


_Operations: TypeAlias = dict[type[np.floating[Any]], tuple[_Operation, ...]]

_SUMS: Final[_Operations] = {
    np.float32: (
        _Operation(0x3F800000, 0x33800000, 0x3F800000, "1 + 2^-24"),
        _Operation(0x3F800001, 0x33800000, 0x3F800002, "(1 + 2^-23) + 2^-24"),
        _Operation(0xBF800000, 0xB3800000, 0xBF800000, "-1 - 2^-24"),
    ),
    np.float64: (
        _Operation(0x3FF0 << 48, 0x3CA0 << 48, 0x3FF0 << 48, "1 + 2^-53"),
        _Operation((0x3FF0 << 48) + 1, 0x3CA0 << 48, (0x3FF0 << 48) + 2, "(1 + 2^-52) + 2^-53"),
        _Operation(0xBFF0 << 48, 0xBCA0 << 48, 0xBFF0 << 48, "-1 - 2^-53"),
    ),
}
"""Upward fails the first, toward zero the second, downward the third."""

_PRODUCTS: Final[_Operations] = {
    np.float32: (
        _Operation(0x00800000, 0x3F000000, 0x00400000, "2^-126 * 2^-1"),
        _Operation(0x00400000, 0x40800000, 0x01000000, "2^-127 * 2^2"),
        _Operation(0x80000001, 0x3F800000, 0x80000001, "-2^-149 * 1"),
    ),
    np.float64: (
        _Operation(0x0010 << 48, 0x3FE0 << 48, 0x0008 << 48, "2^-1022 * 2^-1"),
        _Operation(0x0008 << 48, 0x4010 << 48, 0x0020 << 48, "2^-1023 * 2^2"),
        _Operation((0x8000 << 48) + 1, 0x3FF0 << 48, (0x8000 << 48) + 1, "-2^-1074 * 1"),
    ),
}
"""Flushing results to zero (FTZ) fails the first, reading operands as zero (DAZ) the second."""

_TORCH_GRAIN: Final = 1 << 15
"""Elements that a thread of torch's takes at once (`at::internal::GRAIN_SIZE`)."""


def require_nearest_even() -> None:
    """Every thread rounds to the nearest number, ties to even.

    Raises:
        PlatformError: One rounds in another way.
    """
    for kind, operations in _SUMS.items():
        _require(
            operations,
            _evaluate(kind, operations, are_products=False),
            where="the rounding mode",
            expected="to nearest, ties to even",
            remedy="find what calls fesetround() in this process, and have it set the mode back",
        )


def require_subnormals() -> None:
    """No thread takes numbers below the normal ones for zero, read or computed.

    Raises:
        PlatformError: One does.
    """
    for kind, operations in _PRODUCTS.items():
        _require(
            operations,
            _evaluate(kind, operations, are_products=True),
            where="subnormal numbers",
            expected="kept, not flushed to zero",
            remedy="leave torch.set_flush_denormal(True) away; otherwise find the library, built "
            "with -ffast-math, whose import flushes them (FTZ, DAZ)",
        )


def require_rounding_to_grids() -> None:
    """Kernels round to integers by adding a large number, which an optimiser could take away.

    Raises:
        PlatformError: It did.
    """
    unit = 2.0**-39  # of the grid of a sum whose largest term is 1
    grid = np.array([1 / unit, -1 / unit, 0.5, 1.5, 2.5, 3.5, -0.5, -1.5])
    terms = (grid * unit).astype(np.float32)
    halves = np.array([[0.5, 1.5, 2.5, -0.5, -3.5, 8191.5]], np.float32)
    packed = np.zeros(halves.shape, np.int16)
    power, fault = np.empty(1), np.zeros(1, np.bool_)
    pack.pack_rows(
        0, 1, halves, grids.CONTRACTION_BITS, grids.CONTRACTION_FLOOR, power, fault, packed
    )
    found = [float(sums.total(terms) / np.float32(unit)), *packed[0].tolist()]
    expected = [6.0, 0, 2, 2, 0, -4, 8192]
    if found != expected:
        raise errors.PlatformError(
            where="rounding to grids",
            expected=f"halves rounded to even, {expected}",
            found=str(found),
            remedy="remove the compiled kernels that `tiny-agent-trainer doctor` names; if it "
            "stays, report it with what `doctor` prints",
        )


CHECKS: Final[Mapping[str, Callable[[], None]]] = {
    "rounding mode": require_nearest_even,
    "subnormal numbers": require_subnormals,
    "rounding to grids": require_rounding_to_grids,
}
"""By the name that `doctor` prints; each raises what is wrong."""


def require_environment() -> None:
    """All of them, for this thread, torch's, and those of the team.

    Raises:
        PlatformError: One fails; it names itself.
    """
    for check in CHECKS.values():
        check()


@functools.cache
def switch_off_faulty_engines() -> tuple[str, ...]:
    """Let every engine of contractions prove itself, once per process; one that fails is not used.

    Returns:
        What to tell the user, an engine a line.
    """
    faults = {name: self_test.find_fault(engine) for name, engine in current.ENGINES.items()}
    for name, fault in faults.items():
        if fault is not None:
            current.switch_off(name, fault)
    return tuple(
        f"the engine {name} failed its self-test and is not used: {fault}"
        for name, fault in faults.items()
        if fault is not None
    )


def _evaluate(
    kind: type[np.floating[Any]], operations: tuple[_Operation, ...], *, are_products: bool
) -> _Results:
    unsigned = np.uint32 if kind is np.float32 else np.uint64
    left = np.array([operation.left for operation in operations], unsigned).view(kind)
    right = np.array([operation.right for operation in operations], unsigned).view(kind)
    makers = {"numpy": _by_numpy, "torch": _by_torch, "compiled kernels": _by_team}
    return {
        name: compute(left, right)[are_products].view(unsigned) for name, compute in makers.items()
    }


def _by_numpy(left: _Floats, right: _Floats) -> tuple[_Floats, _Floats]:
    """Sums and products, each of shape (times, operations)."""
    return (left + right)[None], (left * right)[None]


def _by_torch(left: _Floats, right: _Floats) -> tuple[_Floats, _Floats]:
    """Often enough that every thread of torch's has its share."""
    times = -(-_TORCH_GRAIN * torch.get_num_threads() // len(left))
    a, b = (torch.from_numpy(x).repeat(times) for x in (left, right))
    return (a + b).numpy().reshape(times, -1), (a * b).numpy().reshape(times, -1)


def _by_team(left: _Floats, right: _Floats) -> tuple[_Floats, _Floats]:
    """Once in every thread of the team."""
    added, multiplied = (np.empty((threads.get_threads(), len(left)), left.dtype) for _ in range(2))

    def compute(number: int) -> None:
        probe.add_and_multiply(0, len(left), left, right, added[number], multiplied[number])

    threads.visit(compute)
    return added, multiplied


def _require(
    operations: tuple[_Operation, ...],
    results: _Results,
    *,
    where: str,
    expected: str,
    remedy: str,
) -> None:
    true = [operation.result for operation in operations]
    for name, found in results.items():
        wrong = np.argwhere(found != np.array(true, found.dtype))
        if len(wrong):
            time, place = wrong[0]
            digits = 2 + 2 * found.itemsize
            raise errors.PlatformError(
                where=where,
                expected=f"{expected}: {operations[place].words} = {true[place]:#0{digits}x}",
                found=f"{int(found[time, place]):#0{digits}x} by {name}",
                remedy=remedy,
            )

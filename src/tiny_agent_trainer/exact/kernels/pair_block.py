# SPDX-License-Identifier: Apache-2.0
"""COLUMNS values of two rows, each rounded to its grid, side by side as pairs of int16.

Written in LLVM's intermediate language: a loop over so few values would spend its time on finding
out that its arrays do not overlap.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tiny_agent_trainer.exact.kernels import instruction_sets

_I32, _FLOAT = ir.IntType(32), ir.FloatType()
_SET = instruction_sets.current()
_FLOATS, _INTEGERS = ir.VectorType(_FLOAT, _SET.lanes), ir.VectorType(_I32, _SET.lanes)

_ROUNDER = 12582912.0
_ROUNDER_BITS = 0x4B400000
"""1.5 * 2^23 and its bits: adding it rounds a float32 below 2^22 to the nearest even integer."""


@intrinsic
def pair_block(
    _context: Any, first: Any, second: Any, scales: Any, kept: Any, packed: Any, apart: Any
) -> Any:
    """Round and interleave.

    Args:
        first, second, scales: Addresses of float32 (COLUMNS,).
        kept: -1; or 0, which turns the second row into zeros.
        packed: Address of int32, a pair in each: LEFT_PANEL of them, and so many `apart` the next.
        apart: Pairs from one part to the next; LEFT_PANEL where all lie side by side.
    """
    signature = types.void(first, second, scales, types.int32, packed, types.int64)
    del kept, apart

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        first, second, scales, kept, packed, apart = arguments
        width = instruction_sets.LEFT_PANEL
        for register in range(_SET.registers):
            scale = _load(builder, scales, register)
            low, high = (
                _rounded(builder, _load(builder, row, register), scale) for row in (first, second)
            )
            high = builder.and_(high, _spread(builder, kept))
            both = builder.or_(
                builder.and_(low, _constant(0xFFFF)), builder.shl(high, _constant(16))
            )
            for begin in range(0, _SET.lanes, min(width, _SET.lanes)):
                column = register * _SET.lanes + begin
                place = builder.mul(apart, ir.IntType(64)(column // width))
                place = builder.add(place, ir.IntType(64)(column % width))
                _store(builder, both, begin, min(width, _SET.lanes), packed, place)
        return context.get_dummy_value()

    return signature, generate


def _load(builder: Any, address: Any, register: int) -> Any:
    vectors = builder.bitcast(address, _FLOATS.as_pointer())
    return builder.load(builder.gep(vectors, [_I32(register)]), align=4)


def _rounded(builder: Any, values: Any, scale: Any) -> Any:
    rounder = ir.Constant(_FLOATS, [_ROUNDER] * _SET.lanes)
    moved = builder.fadd(builder.fmul(values, scale), rounder)
    return builder.sub(builder.bitcast(moved, _INTEGERS), _constant(_ROUNDER_BITS))


def _store(builder: Any, values: Any, begin: int, count: int, packed: Any, place: Any) -> None:
    chosen = ir.Constant(ir.VectorType(_I32, count), list(range(begin, begin + count)))
    part = builder.shuffle_vector(values, values, chosen)
    integers = builder.bitcast(packed, _I32.as_pointer())
    target = builder.bitcast(builder.gep(integers, [place]), part.type.as_pointer())
    builder.store(part, target, align=4)


def _spread(builder: Any, value: Any) -> Any:
    undefined = ir.Constant(_INTEGERS, ir.Undefined)
    return builder.shuffle_vector(
        builder.insert_element(undefined, value, _I32(0)), undefined, _constant(0)
    )


def _constant(value: int) -> Any:
    return ir.Constant(_INTEGERS, [value] * _SET.lanes)

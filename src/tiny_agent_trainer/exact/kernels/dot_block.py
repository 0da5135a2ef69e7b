# SPDX-License-Identifier: Apache-2.0
"""The innermost loop of every contraction: a block of dot products of int16, exact in int32.

Numba cannot name the instruction that multiplies pairs of int16, so this loop is written in LLVM's
intermediate language. A block has `rows` x `columns` accumulators of 32 bits, in registers. Before
they could overflow, their upper 16 bits are moved to a second array: equations (5) and (6) of
`exact/README.md`. The result of an accumulator is high * 2^16 + low.
"""

from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tiny_agent_trainer.exact.kernels import instruction_sets

PAIRS_BEFORE_SPILL: Final = 15
"""(2^16 - 1) + 15 * 2 * (2^13)^2 < 2^31; a sixteenth pair could overflow. Equation (5)."""

MOST_PAIRS: Final = 2**19
"""Of one call: 2^19 / 15 spills of at most 2^15 stay below 2^31. Equation (6)."""

_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_SET = instruction_sets.current()
_VECTOR = ir.VectorType(_I32, _SET.lanes)
_PAIRS = ir.VectorType(_I16, 2 * _SET.lanes)

ROWS: Final = _SET.rows
COLUMNS: Final = _SET.columns


@intrinsic
def dot_block(
    _context: Any,
    left: Any,
    left_rows: Any,
    left_segments: Any,
    left_step: Any,
    right: Any,
    right_segments: Any,
    right_step: Any,
    segments: Any,
    pairs: Any,
    high: Any,
    low: Any,
) -> Any:
    """Dot products of ROWS rows with COLUMNS columns.

    Args:
        left: Address of int16; the pair of row r, segment s, step p lies at
            left_rows[r] + left_segments[s] + p * left_step.
        left_rows, left_segments, right_segments: Addresses of int64, in units of int16.
        right: Address of int16; the pairs of the columns at segment s, step p begin at
            right_segments[s] + p * right_step and follow one another.
        segments, pairs: Counts; segments * pairs <= MOST_PAIRS.
        high, low: Addresses of int32 (ROWS, COLUMNS), overwritten.
    """
    del left_step, right_step, segments, pairs
    number = types.int64
    signature = types.void(
        left, left_rows, left_segments, number, right, right_segments, number,
        number, number, high, low,
    )  # fmt: skip

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        _Generator(builder, arguments).write()
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def address(_context: Any, array: Any, offset: Any) -> Any:
    """The address of an element of a contiguous array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.gep(data, [arguments[1]])
        return builder.bitcast(place, context.get_value_type(types.voidptr))

    return types.voidptr(array, offset), generate


class _Generator:
    """Writes the loop into the function that is being compiled."""

    def __init__(self, builder: Any, arguments: Any) -> None:
        self._builder = builder
        (left, rows, self._left_segments, self._left_step, self._right, self._right_segments,
         self._right_step, self._segments, self._pairs, high, low) = arguments  # fmt: skip
        self._left_segments = self._pointer(self._left_segments, _I64)
        self._right_segments = self._pointer(self._right_segments, _I64)
        self._right = self._pointer(self._right, _I16)
        self._high, self._low = self._pointer(high, _VECTOR), self._pointer(low, _VECTOR)
        starts, base = self._pointer(rows, _I64), self._pointer(left, _I16)
        self._rows = [
            builder.gep(base, [builder.load(builder.gep(starts, [_int(row)]))])
            for row in range(ROWS)
        ]
        self._sums = [self._variable(_VECTOR) for _ in range(ROWS * _SET.registers)]
        self._left_to_spill = self._variable(_I64)

    def write(self) -> None:
        """The whole block."""
        builder = self._builder
        zero = _splat(0)
        for number, total in enumerate(self._sums):
            builder.store(zero, total)
            self._store(zero, self._high, number)
        builder.store(_int(PAIRS_BEFORE_SPILL), self._left_to_spill)
        self._count(self._segments, self._write_segment)
        for number, total in enumerate(self._sums):
            self._store(builder.load(total), self._low, number)

    def _write_segment(self, segment: Any) -> None:
        """Cut the segment where accumulators have to be spilled."""
        builder = self._builder
        begin = builder.load(builder.gep(self._left_segments, [segment]))
        rows = [builder.gep(row, [begin]) for row in self._rows]
        right = builder.gep(
            self._right, [builder.load(builder.gep(self._right_segments, [segment]))]
        )
        done = self._variable(_I64)
        builder.store(_int(0), done)

        def is_unfinished() -> Any:
            return builder.icmp_signed("<", builder.load(done), self._pairs)

        def write_piece() -> None:
            start, room = builder.load(done), builder.load(self._left_to_spill)
            rest = builder.sub(self._pairs, start)
            count = builder.select(builder.icmp_signed("<", rest, room), rest, room)
            self._count(count, lambda p: self._write_pair(rows, right, builder.add(start, p)))
            builder.store(builder.add(start, count), done)
            room = builder.sub(room, count)
            builder.store(room, self._left_to_spill)
            with builder.if_then(builder.icmp_signed("==", room, _int(0))):
                self._write_spill()

        self._while(is_unfinished, write_piece)

    def _write_pair(self, rows: list[Any], right: Any, pair: Any) -> None:
        builder = self._builder
        place = builder.gep(right, [builder.mul(pair, self._right_step)])
        place = self._pointer(place, _PAIRS)
        columns = [
            builder.load(builder.gep(place, [_int(register)]), align=2)
            for register in range(_SET.registers)
        ]
        offset = builder.mul(pair, self._left_step)
        for number, row in enumerate(rows):
            value = builder.load(self._pointer(builder.gep(row, [offset]), _I32), align=2)
            spread = builder.bitcast(self._spread(value), _PAIRS)
            for register, column in enumerate(columns):
                total = self._sums[number * _SET.registers + register]
                builder.store(self._multiply_add(builder.load(total), spread, column), total)

    def _write_spill(self) -> None:
        """Move the upper 16 bits of every accumulator to `high`; what stays is in [0, 2^16)."""
        builder = self._builder
        for number, total in enumerate(self._sums):
            value = builder.load(total)
            place = builder.gep(self._high, [_int(number)])
            upper = builder.ashr(value, _splat(16))
            moved = builder.add(builder.load(place, align=4), upper)
            self._store(moved, self._high, number)
            builder.store(builder.and_(value, _splat(0xFFFF)), total)
        builder.store(_int(PAIRS_BEFORE_SPILL), self._left_to_spill)

    def _multiply_add(self, total: Any, left: Any, right: Any) -> Any:
        builder = self._builder
        if not _SET.multiply_add:
            return self._spelled_out(total, left, right)
        if _SET.accumulates:
            function = self._function([_VECTOR, _PAIRS, _PAIRS])
            return builder.call(function, [total, left, right])
        function = self._function([_PAIRS, _PAIRS])
        return builder.add(total, builder.call(function, [left, right]))

    def _spelled_out(self, total: Any, left: Any, right: Any) -> Any:
        builder, wide = self._builder, ir.VectorType(_I32, 2 * _SET.lanes)
        product = builder.mul(builder.sext(left, wide), builder.sext(right, wide))
        for first in (0, 1):
            chosen = [_I32(2 * lane + first) for lane in range(_SET.lanes)]
            mask = ir.Constant(_VECTOR, chosen)
            total = builder.add(total, builder.shuffle_vector(product, product, mask))
        return total

    def _function(self, operands: list[Any]) -> Any:
        known = self._builder.module.globals.get(_SET.multiply_add)
        kind = ir.FunctionType(_VECTOR, operands)
        return known or ir.Function(self._builder.module, kind, _SET.multiply_add)

    def _spread(self, value: Any) -> Any:
        builder, undefined = self._builder, ir.Constant(_VECTOR, ir.Undefined)
        first = builder.insert_element(undefined, value, _I32(0))
        return builder.shuffle_vector(first, undefined, _splat(0))

    def _count(self, count: Any, write_body: Callable[[Any], None]) -> None:
        """A loop over range(count)."""
        builder = self._builder
        index = self._variable(_I64)
        builder.store(_int(0), index)

        def body() -> None:
            value = builder.load(index)
            write_body(value)
            builder.store(builder.add(value, _int(1)), index)

        self._while(lambda: builder.icmp_signed("<", builder.load(index), count), body)

    def _while(self, condition: Callable[[], Any], write_body: Callable[[], None]) -> None:
        builder = self._builder
        names = ("test", "body", "end")
        test, body, end = (builder.append_basic_block(name) for name in names)
        builder.branch(test)
        builder.position_at_end(test)
        builder.cbranch(condition(), body, end)
        builder.position_at_end(body)
        write_body()
        builder.branch(test)
        builder.position_at_end(end)

    def _variable(self, kind: Any) -> Any:
        """A variable that LLVM keeps in registers; made once, at the start of the function."""
        with self._builder.goto_entry_block():
            return self._builder.alloca(kind)

    def _store(self, value: Any, vectors: Any, number: int) -> None:
        self._builder.store(value, self._builder.gep(vectors, [_int(number)]), align=4)

    def _pointer(self, value: Any, kind: Any) -> Any:
        return self._builder.bitcast(value, kind.as_pointer())


def _int(value: int) -> Any:
    return ir.Constant(_I64, value)


def _splat(value: int) -> Any:
    return ir.Constant(_VECTOR, [value] * _SET.lanes)

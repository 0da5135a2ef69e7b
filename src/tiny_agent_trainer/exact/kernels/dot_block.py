# SPDX-License-Identifier: Apache-2.0
"""The innermost loop of every contraction: a block of dot products of int16, exact in int32.

Numba cannot name the instruction that multiplies pairs of int16, so this loop is written in LLVM's
intermediate language. A block has `rows` x `columns` accumulators of 32 bits, in registers. Before
they could overflow, their upper 16 bits are moved to a second array: equations (5) and (6) of
`exact/README.md`. The result of an accumulator is high * 2^16 + low, exact in float64: (7) there.
It is rounded to float32 at once, or added to a float64 where its terms come in pieces.
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

_UNROLLED: Final = 3
"""Pairs that are written out one after another; a divisor of `PAIRS_BEFORE_SPILL`."""

_I1, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 16, 32, 64))
_SET = instruction_sets.current()
_VECTOR = ir.VectorType(_I32, _SET.lanes)
_PAIRS = ir.VectorType(_I16, 2 * _SET.lanes)
_DOUBLES = ir.VectorType(ir.DoubleType(), _SET.lanes)
_FLOATS = ir.VectorType(ir.FloatType(), _SET.lanes)

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
    row_powers: Any,
    column_powers: Any,
    bias: Any,
    width: Any,
    out: Any,
    out_rows: Any,
    sums: Any,
    sums_step: Any,
    is_first: Any,
) -> Any:
    """Dot products of ROWS rows with COLUMNS columns.

    Args:
        left: Address of int16; the pair of row r, segment s, step p lies at
            left_rows[r] + left_segments[s] + p * left_step.
        left_rows, left_segments, right_segments: Addresses of int64, in units of int16.
        right: Address of int16; the pairs of the columns at segment s, step p begin at
            right_segments[s] + p * right_step and follow one another.
        segments, pairs: Counts; segments * pairs <= MOST_PAIRS.
        high: Address of int32 (ROWS, COLUMNS), overwritten.
        row_powers, column_powers: Addresses of float64 (ROWS,) and (COLUMNS,).
        bias: Address of float32 (COLUMNS,), added with a rounding of its own; -0 changes nothing.
        width: Columns that are written.
        out, out_rows: Addresses of float32, and of int64 (ROWS,): where each row is written, as
            the dot product times both powers, rounded once, plus the bias.
        sums, sums_step: Address of float64, and from row to row of it: where dot products are
            added, and nothing is written to `out`; an `out` at once where sums_step is 0.
        is_first: Whether `sums` are overwritten rather than added to.
    """
    number = types.int64
    del left_step, right_step, segments, pairs, width, sums_step, is_first
    signature = types.void(
        left, left_rows, left_segments, number, right, right_segments, number, number, number,
        high, row_powers, column_powers, bias, number, out, out_rows, sums, number, types.boolean,
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
        (left, rows, left_segments, self._left_step, right, right_segments, self._right_step,
         self._segments, self._pairs, high, row_powers, column_powers, bias, self._width, out,
         out_rows, sums, self._sums_step, self._is_first) = arguments  # fmt: skip
        self._left_segments = self._pointer(left_segments, _I64)
        self._right_segments = self._pointer(right_segments, _I64)
        self._right = self._pointer(right, _I16)
        self._high = self._pointer(high, _VECTOR)
        self._row_powers = self._pointer(row_powers, ir.DoubleType())
        self._column_powers = self._pointer(column_powers, _DOUBLES)
        self._bias = self._pointer(bias, _FLOATS)
        self._out, self._out_rows = (
            self._pointer(out, ir.FloatType()),
            self._pointer(out_rows, _I64),
        )
        self._sums = self._pointer(sums, ir.DoubleType())
        starts, base = self._pointer(rows, _I64), self._pointer(left, _I16)
        self._rows = [
            builder.gep(base, [builder.load(builder.gep(starts, [_int(row)]))])
            for row in range(ROWS)
        ]
        self._totals = [self._variable(_VECTOR) for _ in range(ROWS * _SET.registers)]

    def write(self) -> None:
        """The whole block."""
        builder = self._builder
        zero = _splat(0)
        for number, total in enumerate(self._totals):
            builder.store(zero, total)
            self._store(zero, self._high, number)
        is_dense = builder.icmp_signed("==", self._left_step, _int(2))
        with builder.if_else(is_dense) as (dense, sparse):
            with dense:
                self._write_segments(_int(2))
            with sparse:
                self._write_segments(self._left_step)
        is_whole = builder.icmp_signed("==", self._sums_step, _int(0))
        with builder.if_else(is_whole) as (whole, part):
            with whole:
                self._write_out()
            with part:
                self._add_to_sums()

    def _write_segments(self, left_step: Any) -> None:
        """Short segments, several between two spills, or long ones, each in equal pieces."""
        builder, most = self._builder, _int(PAIRS_BEFORE_SPILL)
        one = _int(1)
        in_piece = builder.udiv(most, self._maximum(self._pairs, one))
        pieces = builder.udiv(builder.add(self._pairs, _int(PAIRS_BEFORE_SPILL - 1)), most)
        length = builder.udiv(
            builder.sub(builder.add(self._pairs, pieces), one), self._maximum(pieces, one)
        )
        room = self._variable(_I64)
        builder.store(in_piece, room)

        def write_segment(segment: Any) -> None:
            left, right = self._begin(segment)
            rest = self._variable(_I64)
            builder.store(self._pairs, rest)

            def write_piece() -> None:
                left_over = builder.load(rest)
                count = self._minimum(left_over, length)
                several = builder.udiv(count, _int(_UNROLLED))
                single = builder.urem(count, _int(_UNROLLED))
                self._count(several, lambda _: self._write_pairs(left, right, left_step, _UNROLLED))
                self._count(single, lambda _: self._write_pairs(left, right, left_step, 1))
                builder.store(builder.sub(left_over, count), rest)
                fewer = builder.sub(builder.load(room), one)
                builder.store(fewer, room)
                with builder.if_then(builder.icmp_signed("<=", fewer, _int(0))):
                    self._write_spill()
                    builder.store(in_piece, room)

            self._while(lambda: builder.icmp_signed(">", builder.load(rest), _int(0)), write_piece)

        self._count(self._segments, write_segment)

    def _begin(self, segment: Any) -> tuple[Any, Any]:
        """Variables with the places where a segment begins, left and right."""
        builder = self._builder
        left, right = self._variable(_I64), self._variable(_I16.as_pointer())
        builder.store(builder.load(builder.gep(self._left_segments, [segment])), left)
        begin = builder.load(builder.gep(self._right_segments, [segment]))
        builder.store(builder.gep(self._right, [begin]), right)
        return left, right

    def _write_pairs(self, left: Any, right: Any, left_step: Any, number: int) -> None:
        """So many steps along the contracted axis; both places are moved on."""
        builder = self._builder
        offset, place = builder.load(left), builder.load(right)
        for _ in range(number):
            self._write_pair(offset, place)
            offset = builder.add(offset, left_step)
            place = builder.gep(place, [self._right_step])
        builder.store(offset, left)
        builder.store(place, right)

    def _write_pair(self, offset: Any, place: Any) -> None:
        builder = self._builder
        vectors = self._pointer(place, _PAIRS)
        columns = [
            builder.load(builder.gep(vectors, [_int(register)]), align=2)
            for register in range(_SET.registers)
        ]
        for number, row in enumerate(self._rows):
            value = builder.load(self._pointer(builder.gep(row, [offset]), _I32), align=2)
            spread = builder.bitcast(self._spread(value, _VECTOR), _PAIRS)
            for register, column in enumerate(columns):
                total = self._totals[number * _SET.registers + register]
                builder.store(self._multiply_add(builder.load(total), spread, column), total)

    def _write_spill(self) -> None:
        """Move the upper 16 bits of every accumulator to `high`; what stays is in [0, 2^16)."""
        builder = self._builder
        for number, total in enumerate(self._totals):
            value = builder.load(total)
            place = builder.gep(self._high, [_int(number)])
            upper = builder.ashr(value, _splat(16))
            moved = builder.add(builder.load(place, align=4), upper)
            self._store(moved, self._high, number)
            builder.store(builder.and_(value, _splat(0xFFFF)), total)

    def _result(self, row: int, register: int) -> Any:
        """The exact dot products of some columns, as float64."""
        builder, number = self._builder, row * _SET.registers + register
        high = builder.load(builder.gep(self._high, [_int(number)]), align=4)
        low = builder.load(self._totals[number])
        high, low = (builder.sitofp(part, _DOUBLES) for part in (high, low))
        return builder.fadd(builder.fmul(high, _doubles(65536.0)), low)

    def _write_out(self) -> None:
        """Round, and write the columns that there are."""
        builder = self._builder
        is_full = builder.icmp_signed(">=", self._width, _int(COLUMNS))
        with builder.if_else(is_full) as (full, narrow):
            with full:
                self._write_rows(lambda value, place, _: builder.store(value, place, align=4))
            with narrow:
                self._write_rows(self._store_some)

    def _write_rows(self, store: Callable[[Any, Any, int], object]) -> None:
        builder = self._builder
        for row in range(ROWS):
            start = builder.load(builder.gep(self._out_rows, [_int(row)]))
            power = builder.load(builder.gep(self._row_powers, [_int(row)]))
            power = self._spread(power, _DOUBLES)
            for register in range(_SET.registers):
                powers = builder.gep(self._column_powers, [_int(register)])
                both = builder.fmul(power, builder.load(powers, align=8))
                value = builder.fptrunc(builder.fmul(self._result(row, register), both), _FLOATS)
                bias = builder.load(builder.gep(self._bias, [_int(register)]), align=4)
                value = builder.fadd(value, bias)
                first = builder.add(start, _int(register * _SET.lanes))
                store(value, self._pointer(builder.gep(self._out, [first]), _FLOATS), register)

    def _store_some(self, value: Any, place: Any, register: int) -> None:
        """Store the lanes below `width`."""
        builder = self._builder
        width = self._spread(builder.trunc(self._width, _I32), _VECTOR)
        lanes = ir.Constant(_VECTOR, [register * _SET.lanes + lane for lane in range(_SET.lanes)])
        mask = builder.icmp_signed("<", lanes, width)
        kinds = [_FLOATS, _FLOATS.as_pointer(), _I32, ir.VectorType(_I1, _SET.lanes)]
        name = f"llvm.masked.store.v{_SET.lanes}f32.p0"
        function = self._function(name, ir.VoidType(), kinds)
        builder.call(function, [value, place, _I32(4), mask])

    def _add_to_sums(self) -> None:
        builder = self._builder
        for row in range(ROWS):
            for register in range(_SET.registers):
                first = builder.mul(self._sums_step, _int(row))
                first = builder.add(first, _int(register * _SET.lanes))
                place = self._pointer(builder.gep(self._sums, [first]), _DOUBLES)
                before = builder.select(self._is_first, _doubles(0.0), builder.load(place, align=8))
                builder.store(builder.fadd(before, self._result(row, register)), place, align=8)

    def _multiply_add(self, total: Any, left: Any, right: Any) -> Any:
        builder, name = self._builder, _SET.multiply_add
        if not name:
            return self._spelled_out(total, left, right)
        if _SET.accumulates:
            function = self._function(name, _VECTOR, [_VECTOR, _PAIRS, _PAIRS])
            return builder.call(function, [total, left, right])
        function = self._function(name, _VECTOR, [_PAIRS, _PAIRS])
        return builder.add(total, builder.call(function, [left, right]))

    def _spelled_out(self, total: Any, left: Any, right: Any) -> Any:
        builder, wide = self._builder, ir.VectorType(_I32, 2 * _SET.lanes)
        product = builder.mul(builder.sext(left, wide), builder.sext(right, wide))
        for first in (0, 1):
            chosen = [_I32(2 * lane + first) for lane in range(_SET.lanes)]
            mask = ir.Constant(_VECTOR, chosen)
            total = builder.add(total, builder.shuffle_vector(product, product, mask))
        return total

    def _function(self, name: str, result: Any, operands: list[Any]) -> Any:
        known = self._builder.module.globals.get(name)
        return known or ir.Function(self._builder.module, ir.FunctionType(result, operands), name)

    def _spread(self, value: Any, kind: Any) -> Any:
        builder, undefined = self._builder, ir.Constant(kind, ir.Undefined)
        first = builder.insert_element(undefined, value, _I32(0))
        return builder.shuffle_vector(first, undefined, _splat(0))

    def _minimum(self, a: Any, b: Any) -> Any:
        return self._builder.select(self._builder.icmp_signed("<", a, b), a, b)

    def _maximum(self, a: Any, b: Any) -> Any:
        return self._builder.select(self._builder.icmp_signed("<", a, b), b, a)

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


def _doubles(value: float) -> Any:
    return ir.Constant(_DOUBLES, [value] * _SET.lanes)

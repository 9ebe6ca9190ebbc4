"""The voxels around a packet's samples, fetched as a box: rows of eight neighbours instead of four pairs a lane.

The sixteen samples of a packet lie close together, so they share most of the voxels that they are interpolated
between: where each lane on its own needs 64 loads, all of them need a box of some twenty rows. Those go into registers,
which AVX-512 looks up by lane in an instruction (``vpermi2w``), and each lane gets the very pairs that it would have
loaded. A sample whose packet does not fit into the box is gathered.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import overload

from render.backends.cpu.gathers import MULTIPLY_ADD, dot_pairs, join, lane_pointers, pack_weight, row
from render.backends.cpu.lanes import I32, LLVM, WIDTH, call_llvm, constant, primitive, to_f32

BOXED = MULTIPLY_ADD is not None and MULTIPLY_ADD[1] >= 16
"""Whether there is AVX-512 with operations on words."""
BOX_LENGTH = 8
BOX_ROWS = 24 if BOXED else 0
"""Voxels along i, and rows of them at most; 0 where there are no boxes."""
TURNS = 4
"""A sample asks for one in so many rows of a box ahead: several samples go by before the box has left its rows."""
FEW_ROWS = 16
"""So many take two thirds of the instructions."""
_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_TABLE = ir.VectorType(_I16, 32)


@primitive
def _cell_pairs(
    typingctx: Any, codes: Any, strides: Any, cell: Any, corner: Any, shape: Any, rows: Any, ahead: Any
) -> Any:
    """Return the pairs of the four rows of a cell, as `gathers` has them."""
    result = types.UniTuple(I32, 4)  # type: ignore[no-untyped-call]

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        strides, index, corners, counts, ahead = (
            [builder.extract_value(args[n], each) for each in range(size)]
            for n, size in ((1, 2), (2, 3), (3, 3), (4, 3), (6, 2))
        )
        data, offsets = (context.make_array(signature.args[n])(context, builder, args[n]).data for n in (0, 5))
        one = ir.Constant(_I64, 1)
        limits = ir.Constant(_I64, BOX_LENGTH - 1), builder.sub(counts[1], one), builder.sub(counts[2], one)
        near = [builder.sub(v, _splat(builder, c)) for v, c in zip(index, corners, strict=True)]
        inside = [builder.icmp_unsigned("<", v, _splat(builder, limit)) for v, limit in zip(near, limits, strict=True)]
        bits = builder.bitcast(builder.and_(builder.and_(inside[0], inside[1]), inside[2]), ir.IntType(WIDTH))
        fits = builder.icmp_unsigned("==", bits, ir.Constant(ir.IntType(WIDTH), -1))
        few = builder.icmp_signed("<=", counts[0], ir.Constant(_I64, FEW_ROWS))
        ways = []
        with builder.if_else(fits, likely=True) as (then, otherwise):
            with then:
                at = builder.add(corners[0], builder.mul(corners[1], strides[0]))
                start = builder.gep(data, [builder.add(at, builder.mul(corners[2], strides[1]))])
                turn = builder.and_(ahead[1], ir.Constant(_I64, TURNS - 1))
                _ask_ahead(builder, builder.gep(start, [ahead[0]]), offsets, turn)
                with builder.if_else(few) as (then_few, then_many):
                    with then_few:
                        ways.append((_from_box(builder, start, offsets, FEW_ROWS, near, counts[1]), builder.block))
                    with then_many:
                        ways.append((_from_box(builder, start, offsets, BOX_ROWS, near, counts[1]), builder.block))
                either = _merge(builder, ways)
                ways = [(either, builder.block)]
            with otherwise:
                ways.append((_gathered(context, builder, signature.args[0], args[0], strides, index), builder.block))
        return context.make_tuple(builder, signature.return_type, _merge(builder, ways))

    return result(codes, strides, cell, corner, shape, rows, ahead), codegen


def _merge(builder: Any, ways: list[tuple[list[Any], Any]]) -> list[Any]:
    """Join what blocks have computed, each the same number of lanes."""
    merged = []
    for values in zip(*(each for each, _ in ways), strict=True):
        phi = builder.phi(LLVM[I32])
        for value, (_, block) in zip(values, ways, strict=True):
            phi.add_incoming(value, block)
        merged.append(phi)
    return merged


def _splat(builder: Any, scalar: Any) -> Any:
    narrow = builder.trunc(scalar, _I32)
    first = builder.insert_element(ir.Constant(LLVM[I32], ir.Undefined), narrow, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, ir.Constant(LLVM[I32], ir.Undefined), constant(I32, 0))


def _ask_ahead(builder: Any, start: Any, offsets: Any, turn: Any) -> None:
    """Ask for the cache lines of every fourth row of the box at `start`, which need not exist, from row `turn` on."""
    kind = [ir.Constant(_I32, value) for value in (0, 3, 1)]  # for reading, to stay, data
    for n in range(0, BOX_ROWS, TURNS):
        offset = builder.load(builder.gep(offsets, [builder.add(turn, ir.Constant(_I64, n))]))
        byte = builder.bitcast(builder.gep(start, [offset]), ir.IntType(8).as_pointer())
        call_llvm(builder, "llvm.prefetch.p0i8", ir.VoidType(), byte, *kind)


def _from_box(builder: Any, start: Any, offsets: Any, rows: int, near: list[Any], height: Any) -> list[Any]:
    """Return the four pairs at `near`, voxels from the corner `start` of a box `height` rows high."""
    eight = ir.VectorType(_I16, BOX_LENGTH).as_pointer()
    loads = []
    for n in range(rows):
        offset = builder.load(builder.gep(offsets, [ir.Constant(_I64, n)]))
        loads.append(builder.load(builder.bitcast(builder.gep(start, [offset]), eight), align=2))
    registers = [join(builder, loads[n : n + 4]) for n in range(0, rows, 4)]
    twice = 0x10001  # an index for each half of a pair
    upwards, across = ir.Constant(_I64, BOX_LENGTH * twice), builder.mul(height, ir.Constant(_I64, BOX_LENGTH * twice))
    words = builder.add(near[0], builder.shl(near[1], constant(I32, 3)))
    words = builder.add(
        words, builder.mul(near[2], _splat(builder, builder.mul(height, ir.Constant(_I64, BOX_LENGTH))))
    )
    words = builder.add(builder.or_(words, builder.shl(words, constant(I32, 16))), constant(I32, 1 << 16))
    pairs = []
    for offset in (ir.Constant(_I64, 0), upwards, across, builder.add(upwards, across)):
        index = builder.add(words, _splat(builder, offset))
        pairs.append(_look_up(builder, registers, index))
    return pairs


def _look_up(builder: Any, registers: list[Any], index: Any) -> Any:
    words = builder.bitcast(index, _TABLE)
    found = None
    for n in range(0, len(registers), 2):
        name = "llvm.x86.avx512.vpermi2var.hi.512"
        picked = builder.bitcast(call_llvm(builder, name, _TABLE, registers[n], words, registers[n + 1]), LLVM[I32])
        if found is None:
            found = picked
        else:  # bit 6 tells the second two registers, bit 7 the third
            bit = builder.and_(index, constant(I32, 32 * n))
            found = builder.select(builder.icmp_unsigned("!=", bit, constant(I32, 0)), picked, found)
    return found


def _gathered(context: Any, builder: Any, array_type: Any, array: Any, strides: list[Any], index: list[Any]) -> Any:
    row_stride, slab_stride = strides
    narrow = [_splat(builder, stride) for stride in strides]
    at = builder.add(index[0], builder.mul(index[1], narrow[0]))
    at = builder.add(at, builder.mul(index[2], narrow[1]))
    pairs = []
    for offset in (ir.Constant(_I64, 0), row_stride, slab_stride, builder.add(row_stride, slab_stride)):
        lanes = ir.Constant(LLVM[I32], ir.Undefined)
        for lane, pointer in enumerate(lane_pointers(context, builder, array_type, array, offset, at)):
            value = builder.load(builder.bitcast(pointer, _I32.as_pointer()), align=2)
            lanes = builder.insert_element(lanes, value, ir.Constant(_I32, lane))
        pairs.append(lanes)
    return pairs


def cell_rows(codes: Any, strides: Any, cell: Any, across: Any, box: Any) -> Any:
    """Return `gathers.row` of the four rows of a cell.

    Parameters
    ----------
    strides
        int64, from a row and from a slice to the next.
    cell
        ``(i, j, k)`` of its low corner.
    across
        As of `gathers.row`.
    box
        ``(corner, shape, rows, ahead)``: ``(i, j, k)`` of a box in which the cells are likely to be, which lies in the
        volume; its rows, and its voxels along j and k; the offset of each row from the corner, and as many more as make
        `BOX_ROWS`, which are read as well; how many voxels on there is a box that is wanted soon, and the sample's
        number, by which it asks for one in `TURNS` of that box's rows meanwhile.
    """
    raise NotImplementedError("compiled code only")


@overload(cell_rows, strict=False)
def _cell_rows(codes: Any, strides: Any, cell: Any, across: Any, box: Any) -> Any:
    def boxed(codes: Any, strides: Any, cell: Any, across: Any, box: Any) -> Any:
        pairs = _cell_pairs(codes, strides, cell, box[0], box[1], box[2], box[3])
        weights = pack_weight(across)
        return (
            to_f32(dot_pairs(pairs[0], weights)),
            to_f32(dot_pairs(pairs[1], weights)),
            to_f32(dot_pairs(pairs[2], weights)),
            to_f32(dot_pairs(pairs[3], weights)),
        )

    def apart(codes: Any, strides: Any, cell: Any, across: Any, box: Any) -> Any:
        at = cell[0] + cell[1] * strides[0] + cell[2] * strides[1]
        return (
            row(codes, 0, at, across),
            row(codes, strides[0], at, across),
            row(codes, strides[1], at, across),
            row(codes, strides[0] + strides[1], at, across),
        )

    return boxed if BOXED and codes.dtype == types.int16 else apart

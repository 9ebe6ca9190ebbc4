"""Reading voxels and tables into lanes: each lane its own address.

The texts of the kernels are the same for int16 and float32 codes; what differs is in here. Along x an int16 volume is
interpolated in integers (see `weights`): a neighbouring pair comes in one 32-bit load, and one multiply-add
(``pmaddwd`` on x86) makes the sum, which is much cheaper than float32.

Indices are int32 and count elements, so a volume may have 2**31 voxels; addresses are computed in 64 bits.
"""

from __future__ import annotations

import math
import os
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import overload

from render.backends.cpu.lanes import (
    F32,
    I32,
    LLVM,
    MASK,
    PACKET_WIDTH,
    WIDTH,
    call_llvm,
    constant,
    fma,
    host_features,
    primitive,
    splat,
    to_f32,
    to_i32,
)
from render.backends.cpu.weights import WEIGHT_ONE

_I8, _I16, _I32, _I64, _FLOAT = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
_ELEMENTS = {types.uint8: _I8, types.int16: _I16, types.int32: _I32, types.float32: _FLOAT}


def lane_pointers(context: Any, builder: Any, array_type: Any, array: Any, offset: Any, index: Any) -> list[Any]:
    """One pointer a lane to ``array[offset + index]``; `offset` is 64 bits wide and shared by the lanes."""
    data = context.make_array(array_type)(context, builder, array).data
    base = builder.gep(data, [offset])
    lanes = (builder.extract_element(index, ir.Constant(_I32, lane)) for lane in range(WIDTH))
    return [builder.gep(base, [builder.sext(lane, _I64)]) for lane in lanes]


def _permutation() -> str | None:
    """Return x86's instruction for `permute` as an LLVM intrinsic, if it is sure to be there for this many lanes."""
    if MULTIPLY_ADD is None:
        return None
    features = host_features()
    if WIDTH == 16 and features.get("avx512f"):
        return "llvm.x86.avx512.permvar.sf.512"
    return "llvm.x86.avx2.permps" if WIDTH == 8 and features.get("avx2") else None


@primitive
def permute(typingctx: Any, values: Any, index: Any) -> Any:
    """Return in each lane the value of lane `index`, float32."""
    if values != F32 or index != I32:
        return None
    name = _permutation()

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if name is not None:
            return call_llvm(builder, name, LLVM[F32], *args)
        lanes = ir.Constant(LLVM[F32], ir.Undefined)
        for lane in (ir.Constant(_I32, number) for number in range(WIDTH)):
            value = builder.extract_element(args[0], builder.extract_element(args[1], lane))
            lanes = builder.insert_element(lanes, value, lane)
        return lanes

    return F32(values, index), codegen


def _front_first(builder: Any, mask: Any) -> Any:
    """Return the lanes in which a mask of eight holds, by number, then any: from a table of all such masks."""
    rows = [[lane for lane in range(WIDTH) if bits >> lane & 1] for bits in range(1 << WIDTH)]
    lanes = [[*row, *[0] * (WIDTH - len(row))] for row in rows]
    entries = [ir.Constant(LLVM[I32], each) for each in lanes]
    whole = ir.Constant(ir.ArrayType(LLVM[I32], len(entries)), entries)
    table = cgutils.global_constant(builder, "compress", whole)  # type: ignore[no-untyped-call] # numba is typed in part
    row = builder.zext(builder.bitcast(mask, ir.IntType(WIDTH)), _I64)
    return builder.load(builder.gep(table, [ir.Constant(_I64, 0), row]))


@primitive
def compress(typingctx: Any, values: Any, mask: Any) -> Any:
    """Bring the lanes in which a mask holds to the front, in their order; what is behind them is any."""
    name = _permutation()

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector, chosen = args
        if name is not None and WIDTH == 16:
            suffix = f"v16{'f32' if values == F32 else 'i32'}"
            return call_llvm(builder, f"llvm.x86.avx512.mask.compress.{suffix}", LLVM[values], vector, vector, chosen)
        if name is not None and WIDTH == 8:
            as_float = builder.bitcast(vector, LLVM[F32])
            moved = call_llvm(builder, name, LLVM[F32], as_float, _front_first(builder, chosen))
            return builder.bitcast(moved, LLVM[values])
        room = cgutils.alloca_once(builder, LLVM[values])  # type: ignore[no-untyped-call] # numba is typed in part
        first = builder.bitcast(room, LLVM[values].element.as_pointer())
        count = ir.Constant(_I64, 0)
        for lane in (ir.Constant(_I32, number) for number in range(WIDTH)):
            builder.store(builder.extract_element(vector, lane), builder.gep(first, [count]))
            count = builder.add(count, builder.zext(builder.extract_element(chosen, lane), _I64))
        return builder.load(room)

    return values(values, mask), codegen


def _is_codes(array: Any) -> bool:
    return isinstance(array, types.Array) and array.ndim == 1 and array.dtype in _ELEMENTS


@primitive
def gather(typingctx: Any, array: Any, index: Any) -> Any:
    """``array[index]`` in each lane: int32 lanes from uint8, int16 and int32, float32 lanes from float32."""
    if not _is_codes(array) or index != I32:
        return None
    result = F32 if array.dtype == types.float32 else I32

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointers = lane_pointers(context, builder, array, args[0], ir.Constant(_I64, 0), args[1])
        lanes = ir.Constant(LLVM[result], ir.Undefined)
        for lane, pointer in enumerate(pointers):
            value = builder.load(pointer)
            if array.dtype == types.int16:
                value = builder.sext(value, _I32)
            elif array.dtype == types.uint8:
                value = builder.zext(value, _I32)
            lanes = builder.insert_element(lanes, value, ir.Constant(_I32, lane))
        return lanes

    return result(array, index), codegen


@primitive
def prefetch(typingctx: Any, codes: Any, offset: Any, index: Any) -> Any:
    """Ask for the cache lines of ``codes[offset + index]``, which need not exist.

    Of every other row and column of a packet alone: what lies between them is mostly in the same lines.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        shared = context.cast(builder, args[1], offset, types.int64)
        kind = [ir.Constant(_I32, value) for value in (0, 3, 1)]  # for reading, to stay, data
        for lane, pointer in enumerate(lane_pointers(context, builder, codes, args[0], shared, args[2])):
            if lane % PACKET_WIDTH % 2 == 0 or lane // PACKET_WIDTH % 2 == 0:
                continue
            byte = builder.bitcast(pointer, ir.IntType(8).as_pointer())
            call_llvm(builder, "llvm.prefetch.p0i8", ir.VoidType(), byte, *kind)
        return context.get_dummy_value()

    return types.none(codes, offset, index), codegen


@primitive
def _pairs_int16(typingctx: Any, codes: Any, offset: Any, index: Any) -> Any:
    """32 bits at each lane's address: the voxel in the low half, its right neighbour in the high half."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        shared = context.cast(builder, args[1], offset, types.int64)
        lanes = ir.Constant(LLVM[I32], ir.Undefined)
        for lane, pointer in enumerate(lane_pointers(context, builder, codes, args[0], shared, args[2])):
            value = builder.load(builder.bitcast(pointer, _I32.as_pointer()), align=2)
            lanes = builder.insert_element(lanes, value, ir.Constant(_I32, lane))
        return lanes

    return I32(codes, offset, index), codegen


def _multiply_add() -> tuple[str, int] | None:
    """Return x86's ``pmaddwd`` as (LLVM intrinsic, its int32 lanes), the widest that is sure to be there, or None.

    LLVM has a pattern for it, but rearranges the sum before it looks. With ``VOXELCAST_PORTABLE=1`` kernels use no
    processor's own instructions, as on ARM.
    """
    is_portable = os.environ.get("VOXELCAST_PORTABLE") == "1"
    if is_portable or not llvmlite.binding.get_process_triple().startswith("x86_64"):
        return None
    features = host_features()
    if WIDTH >= 16 and features.get("avx512bw"):
        return "llvm.x86.avx512.pmaddw.d.512", 16
    if WIDTH >= 8 and features.get("avx2"):
        return "llvm.x86.avx2.pmadd.wd", 8
    return ("llvm.x86.sse2.pmadd.wd", 4) if WIDTH >= 4 else None


MULTIPLY_ADD = _multiply_add()


def _pick(builder: Any, vector: Any, lanes: list[int]) -> Any:
    order = ir.Constant(ir.VectorType(_I32, len(lanes)), lanes)
    return builder.shuffle_vector(vector, vector, order)


def _dot_by_instruction(builder: Any, pairs: Any, weights: Any, name: str, size: int) -> Any:
    parts = []
    for start in range(0, WIDTH, size):
        halves = [
            builder.bitcast(_pick(builder, v, list(range(start, start + size))), ir.VectorType(_I16, 2 * size))
            for v in (pairs, weights)
        ]
        parts.append(call_llvm(builder, name, ir.VectorType(_I32, size), *halves))
    return join(builder, parts)


def join(builder: Any, parts: list[Any]) -> Any:
    """Concatenate vectors of one size, two by two."""
    while len(parts) > 1:
        order = ir.Constant(ir.VectorType(_I32, 2 * parts[0].type.count), list(range(2 * parts[0].type.count)))
        parts = [builder.shuffle_vector(a, b, order) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


@primitive
def dot_pairs(typingctx: Any, pairs: Any, weights: Any) -> Any:
    """Dot product of the two int16 halves of each lane, int32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if MULTIPLY_ADD is not None:
            return _dot_by_instruction(builder, args[0], args[1], *MULTIPLY_ADD)
        sixteen = constant(I32, 16)
        low = [builder.ashr(builder.shl(v, sixteen), sixteen) for v in args]
        high = [builder.ashr(v, sixteen) for v in args]
        return builder.add(builder.mul(*low), builder.mul(*high))

    return I32(pairs, weights), codegen


@primitive
def _pairs_float32(typingctx: Any, codes: Any, offset: Any, index: Any) -> Any:
    """Two lanes, ``(voxel, right neighbour)``, by one 64-bit load a ray."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        shared = context.cast(builder, args[1], offset, types.int64)
        pair = ir.VectorType(_FLOAT, 2)
        loads = [
            builder.load(builder.bitcast(pointer, pair.as_pointer()), align=4)
            for pointer in lane_pointers(context, builder, codes, args[0], shared, args[2])
        ]
        joined = join(builder, loads)
        both = [_pick(builder, joined, [2 * lane + half for lane in range(WIDTH)]) for half in (0, 1)]
        return context.make_tuple(builder, signature.return_type, both)

    return types.Tuple((F32, F32))(codes, offset, index), codegen  # type: ignore[no-untyped-call]


@primitive
def pack_weight(typingctx: Any, weight: Any) -> Any:
    """Pack the weights of a pair: ``1 - w`` in the low half, ``w`` in the high half."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        high = builder.shl(args[0], constant(I32, 16))
        return builder.add(builder.sub(high, args[0]), constant(I32, WEIGHT_ONE))

    return I32(weight), codegen


def weight(codes: Any, fraction: Any) -> Any:
    """Turn a fraction from 0 to 1 into the weight of the right neighbour, as `mix` takes it for these codes."""
    raise NotImplementedError("compiled code only")


def mix(left: Any, right: Any, weight: Any) -> Any:
    """Interpolate gathered codes along x, float32 lanes, times `weights.weight_unit`."""
    raise NotImplementedError("compiled code only")


def row(codes: Any, offset: int, index: Any, weight: Any) -> Any:
    """`mix` of ``codes[offset + index]`` and its right neighbour; reads both, whatever the weight."""
    raise NotImplementedError("compiled code only")


def is_invalid(gathered: Any, invalid: Any) -> Any:
    """Whether gathered codes mark voxels without a value: equal `invalid` (int16), or not finite (float32)."""
    raise NotImplementedError("compiled code only")


@overload(weight, strict=False)
def _weight(codes: Any, fraction: Any) -> Any:
    one, half = np.float32(WEIGHT_ONE), np.float32(0.5)
    if codes.dtype == types.int16:
        return lambda codes, fraction: to_i32(fma(fraction, one, splat(half)))
    return lambda codes, fraction: fraction


@primitive
def _mix_int(typingctx: Any, left: Any, right: Any, weight: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        low, high, part = args
        rest = builder.sub(constant(I32, WEIGHT_ONE), part)
        total = builder.add(builder.mul(low, rest), builder.mul(high, part))
        return builder.sitofp(total, LLVM[F32])

    return F32(left, right, weight), codegen


@primitive
def lerp(typingctx: Any, a: Any, b: Any, t: Any) -> Any:
    """Return ``a + t * (b - a)``, float32 lanes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        low, high, part = args
        name = f"llvm.fmuladd.v{WIDTH}f32"
        return call_llvm(builder, name, LLVM[F32], part, builder.fsub(high, low), low)

    return F32(a, b, t), codegen


@overload(mix, strict=False)
def _mix(left: Any, right: Any, weight: Any) -> Any:
    if left == I32:
        return lambda left, right, weight: _mix_int(left, right, weight)
    return lambda left, right, weight: lerp(left, right, weight)


@overload(row, strict=False)
def _row(codes: Any, offset: Any, index: Any, weight: Any) -> Any:
    if codes.dtype == types.int16:
        return lambda codes, offset, index, weight: to_f32(
            dot_pairs(_pairs_int16(codes, offset, index), pack_weight(weight))
        )

    def on_float(codes: Any, offset: Any, index: Any, weight: Any) -> Any:
        pair = _pairs_float32(codes, offset, index)
        return lerp(pair[0], pair[1], weight)

    return on_float


@primitive
def _is_not_finite(typingctx: Any, x: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        size = call_llvm(builder, f"llvm.fabs.v{WIDTH}f32", LLVM[F32], args[0])
        return builder.fcmp_unordered(">=", size, ir.Constant(LLVM[F32], [math.inf] * WIDTH))

    return MASK(x), codegen


@overload(is_invalid, strict=False)
def _is_invalid(gathered: Any, invalid: Any) -> Any:
    if gathered == I32:
        return lambda gathered, invalid: gathered == invalid
    return lambda gathered, invalid: _is_not_finite(gathered)

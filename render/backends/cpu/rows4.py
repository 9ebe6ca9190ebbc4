"""Weighted sums of four neighbouring voxels in each lane: what gradients are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import overload

from render.backends.cpu.gathers import MULTIPLY_ADD, gather, join, lane_pointers
from render.backends.cpu.lanes import (
    F32,
    I32,
    LLVM,
    WIDTH,
    WORDS,
    call_llvm,
    fma,
    primitive,
    splat,
    to_f32,
    to_i32,
)
from render.backends.cpu.weights import WEIGHT_ONE

F = np.float32
_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_PACKED = MULTIPLY_ADD is not None and MULTIPLY_ADD[1] >= 8
"""Whether four int16 voxels are loaded as one 64-bit word and summed by multiply-add."""
_EIGHT = (0, 1, 4, 5, 2, 3, 6, 7)
_LOAD_ORDER = [8 * group + lane for group in range(WIDTH // 8) for lane in _EIGHT]
"""So loaded, the sums come out in the lanes' own order without crossing the halves of a register."""


@primitive
def _pack4(typingctx: Any, first: Any, second: Any, third: Any, fourth: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        low_half = ir.Constant(LLVM[I32], [0xFFFF] * WIDTH)
        sixteen = ir.Constant(LLVM[I32], [16] * WIDTH)
        low, high = (builder.or_(builder.and_(args[n], low_half), builder.shl(args[n + 1], sixteen)) for n in (0, 2))
        order = [index for lane in _LOAD_ORDER for index in (lane, WIDTH + lane)]
        both = builder.shuffle_vector(low, high, ir.Constant(ir.VectorType(_I32, 2 * WIDTH), order))
        return builder.bitcast(both, LLVM[WORDS])

    return WORDS(first, second, third, fourth), codegen


@primitive
def _row4_packed(typingctx: Any, codes: Any, offset: Any, index: Any, weights: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        shared = context.cast(builder, args[1], offset, types.int64)
        pointers = lane_pointers(context, builder, codes, args[0], shared, args[2])
        sums = []
        for group in range(0, WIDTH, 4):
            voxels = ir.Constant(ir.VectorType(_I64, 4), ir.Undefined)
            for lane in range(4):
                pointer = builder.bitcast(pointers[_LOAD_ORDER[group + lane]], _I64.as_pointer())
                voxels = builder.insert_element(voxels, builder.load(pointer, align=2), ir.Constant(_I32, lane))
            picks = ir.Constant(ir.VectorType(_I32, 4), list(range(group, group + 4)))
            part = builder.shuffle_vector(args[3], args[3], picks)
            halves = [builder.bitcast(v, ir.VectorType(_I16, 16)) for v in (voxels, part)]
            sums.append(call_llvm(builder, "llvm.x86.avx2.pmadd.wd", ir.VectorType(_I32, 8), *halves))
        parts = []
        for a, b in zip(sums[::2], sums[1::2], strict=True):
            even = ir.Constant(ir.VectorType(_I32, 8), [0, 2, 8, 10, 4, 6, 12, 14])
            odd = ir.Constant(ir.VectorType(_I32, 8), [1, 3, 9, 11, 5, 7, 13, 15])
            parts.append(builder.add(builder.shuffle_vector(a, b, even), builder.shuffle_vector(a, b, odd)))
        return builder.sitofp(join(builder, parts), LLVM[F32])

    return F32(codes, offset, index, weights), codegen


def weights4(codes: Any, weights: Any, total: float) -> Any:
    """Weights of four neighbouring voxels, as `row4` takes them for these codes.

    `weights` are the first, third and fourth; the second makes the sum `total`, 0 or 1.
    """
    raise NotImplementedError("compiled code only")


def row4(codes: Any, offset: int, index: Any, weights: Any) -> Any:
    """Weighted sum of the voxels at ``offset + index`` and the next three, times `gathers.weight_unit`."""
    raise NotImplementedError("compiled code only")


@overload(weights4, strict=False)
def _weights4(codes: Any, weights: Any, total: Any) -> Any:
    one, half = np.float32(WEIGHT_ONE), np.float32(0.5)

    def in_int(codes: Any, weights: Any, total: Any) -> Any:
        a = to_i32(fma(weights[0], one, splat(half)))
        c = to_i32(fma(weights[1], one, splat(half)))
        d = to_i32(fma(weights[2], one, splat(half)))
        return a, splat(np.int32(total * WEIGHT_ONE)) - a - c - d, c, d

    def packed(codes: Any, weights: Any, total: Any) -> Any:
        a = to_i32(fma(weights[0], one, splat(half)))
        c = to_i32(fma(weights[1], one, splat(half)))
        d = to_i32(fma(weights[2], one, splat(half)))
        return _pack4(a, splat(np.int32(total * WEIGHT_ONE)) - a - c - d, c, d)

    def in_float(codes: Any, weights: Any, total: Any) -> Any:
        a, c, d = weights
        return a, splat(F(total)) - a - c - d, c, d

    if codes.dtype != types.int16:
        return in_float
    return packed if _PACKED else in_int


@overload(row4, strict=False)
def _row4(codes: Any, offset: Any, index: Any, weights: Any) -> Any:
    def in_int(codes: Any, offset: Any, index: Any, weights: Any) -> Any:
        at = index + offset
        total = gather(codes, at) * weights[0] + gather(codes, at + np.int32(1)) * weights[1]
        total = total + gather(codes, at + np.int32(2)) * weights[2]
        return to_f32(total + gather(codes, at + np.int32(3)) * weights[3])

    def in_float(codes: Any, offset: Any, index: Any, weights: Any) -> Any:
        at = index + offset
        total = fma(gather(codes, at + np.int32(1)), weights[1], gather(codes, at) * weights[0])
        total = fma(gather(codes, at + np.int32(2)), weights[2], total)
        return fma(gather(codes, at + np.int32(3)), weights[3], total)

    if codes.dtype != types.int16:
        return in_float
    if _PACKED:
        return lambda codes, offset, index, weights: _row4_packed(codes, offset, index, weights)
    return in_int

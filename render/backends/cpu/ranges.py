"""The least and the greatest of a box of voxels, by contiguous loads and no arithmetic but comparisons."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from render.backends.cpu.lanes import call_llvm, primitive

RANGE_LENGTH = 8
"""Voxels of a box along i: of int16 an SSE register, of float32 one of AVX."""
RANGE_ROWS = 4
"""Rows that are read at a time, so a box has as many along j at least."""
_LIMITS = {types.int16: (-32768, 32767), types.float32: (float("-inf"), float("inf"))}
_I64 = ir.IntType(64)


@primitive
def box_range(typingctx: Any, codes: Any, at: Any, strides: Any, shape: Any, from_below: Any) -> Any:
    """Return the least and the greatest code of a box, float32; NaN counts for nothing.

    `at` is its first voxel; `strides`, int64, lead from a row and from a slice to the next, and `shape`, int64, are its
    voxels along j and k. All of it must lie in the volume. Without `from_below` the greatest is all that is looked
    for, in half the time, and stands for the least too.
    """
    is_int = codes.dtype == types.int16
    element = ir.IntType(16) if is_int else ir.FloatType()
    vector = ir.VectorType(element, RANGE_LENGTH)

    def widen(builder: Any, kept: Any, sign: str, rows: list[Any]) -> None:
        best = builder.load(kept)
        for voxels in rows:
            compare = builder.icmp_signed if is_int else builder.fcmp_ordered
            best = builder.select(compare(sign, voxels, best), voxels, best)
        builder.store(best, kept)

    def walk(builder: Any, start: Any, strides: list[Any], shape: list[Any], kept: list[tuple[Any, str]]) -> None:
        """Widen what is `kept` by all rows; the last four overlap those before where they are not whole."""
        rows, slabs = shape
        whole = ir.Constant(_I64, RANGE_ROWS)
        blocks = builder.sdiv(builder.add(rows, ir.Constant(_I64, RANGE_ROWS - 1)), whole)
        final = builder.sub(rows, whole)
        with cgutils.for_range(builder, slabs) as across:
            slab = builder.gep(start, [builder.mul(across.index, strides[1])])
            with cgutils.for_range(builder, blocks) as along:
                first = builder.mul(along.index, whole)
                first = builder.select(builder.icmp_signed("<", first, final), first, final)
                loads, place = [], builder.gep(slab, [builder.mul(first, strides[0])])
                for _ in range(RANGE_ROWS):
                    loads.append(builder.load(builder.bitcast(place, vector.as_pointer()), align=2 if is_int else 4))
                    place = builder.gep(place, [strides[0]])
                for each, sign in kept:
                    widen(builder, each, sign, loads)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(codes)(context, builder, args[0]).data
        strides, shape = ([builder.extract_value(args[n], each) for each in (0, 1)] for n in (2, 3))
        low, high = _LIMITS[codes.dtype]
        least, most = (
            cgutils.alloca_once(builder, vector)  # type: ignore[no-untyped-call] # numba is typed in part
            for _ in range(2)
        )
        builder.store(ir.Constant(vector, [high] * RANGE_LENGTH), least)
        builder.store(ir.Constant(vector, [low] * RANGE_LENGTH), most)
        start = builder.gep(data, [args[1]])
        with builder.if_else(builder.icmp_unsigned("!=", args[4], ir.Constant(args[4].type, 0))) as (both, one):
            with both:
                walk(builder, start, strides, shape, [(least, "<"), (most, ">")])
            with one:
                walk(builder, start, strides, shape, [(most, ">")])
                builder.store(builder.load(most), least)
        ends = []
        for kept, name in ((least, "min"), (most, "max")):
            kind, flags = (f"s{name}", ()) if is_int else (f"f{name}", ("nnan",))
            suffix = f"v{RANGE_LENGTH}{'i16' if is_int else 'f32'}"
            end = call_llvm(builder, f"llvm.vector.reduce.{kind}.{suffix}", element, builder.load(kept), flags=flags)
            ends.append(builder.sitofp(end, ir.FloatType()) if is_int else end)
        return context.make_tuple(builder, signature.return_type, ends)

    result = types.UniTuple(types.float32, 2)  # type: ignore[no-untyped-call]
    return result(codes, at, strides, shape, from_below), codegen

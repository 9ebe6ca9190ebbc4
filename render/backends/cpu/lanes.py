"""SIMD lanes for numba: `WIDTH` rays advance together in one LLVM vector.

A `Lanes` value is ``<WIDTH x T>``. LLVM lowers it to what the host has: one register of AVX-512 or AVX2,
several of SSE or NEON. The operations are those that the kernels need and no more: arithmetic and comparisons on
lanes, or on lanes and a scalar; `select`, `minimum`, `fma`, conversions, reductions, and the gathers of `gathers` and
`rows4`. Kernels import them from `operations`, which has the same for scalars.

There are no fast-math flags: NaN marks invalid voxels, and a result may not depend on how the compiler arranged the
code around it. Sums of products that should fuse say so with `fma`.

Everything in here exists in compiled code only.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Mapping
from typing import Any

import llvmlite.binding
import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, overload, register_model

settings: Any = numba.config
"""numba fills its attributes in at run time."""

WIDTHS = (4, 8, 16)


def host_width() -> tuple[int, str]:
    """Lanes that suit the CPU that numba compiles for, and why: 16 with AVX-512, else 8; or ``VOXELCAST_LANES``."""
    wanted = os.environ.get("VOXELCAST_LANES", "")
    if wanted.isdigit() and int(wanted) in WIDTHS:
        return int(wanted), f"VOXELCAST_LANES={wanted}"
    cpu = f"NUMBA_CPU_NAME={settings.CPU_NAME}" if settings.CPU_NAME else "the CPU"
    if host_features().get("avx512vl"):
        return 16, f"{cpu} has AVX-512"
    return 8, f"{cpu} has no AVX-512"


def host_features() -> Mapping[str, bool]:
    """Return what the CPU that numba compiles for is sure to have: the host's, or ``NUMBA_CPU_FEATURES``.

    numba takes the host's features for a CPU that is only named, but none for ``generic``.
    """
    if settings.CPU_FEATURES is None:
        return dict(llvmlite.binding.get_host_cpu_features())
    return {each[1:]: each[0] == "+" for each in settings.CPU_FEATURES.split(",") if each}


WIDTH, REASON = host_width()
PACKET_WIDTH = {4: 2, 8: 4, 16: 4}[WIDTH]
"""Lanes form a packet of pixels, this many wide and `PACKET_HEIGHT` high: neighbours read neighbouring voxels."""
PACKET_HEIGHT = WIDTH // PACKET_WIDTH
_COLUMN_BITS = PACKET_WIDTH.bit_length() - 1

Emit = Callable[..., Any]


def primitive(function: Emit) -> Any:
    """`numba.extending.intrinsic`, for callers whose arguments are not those of the typing function."""
    return intrinsic(function)


class Lanes(types.Type):
    """`WIDTH` values of one scalar type."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes{WIDTH}({dtype})")


F32, I32, MASK = Lanes(types.float32), Lanes(types.int32), Lanes(types.boolean)
WORDS = Lanes(types.int64)
"""Four int16 in each lane; not for arithmetic."""
_I1, _I32, _FLOAT = ir.IntType(1), ir.IntType(32), ir.FloatType()
LLVM = {
    F32: ir.VectorType(_FLOAT, WIDTH),
    I32: ir.VectorType(_I32, WIDTH),
    MASK: ir.VectorType(_I1, WIDTH),
    WORDS: ir.VectorType(ir.IntType(64), WIDTH),
}


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    """A value of `Lanes` is an LLVM vector."""

    def __init__(self, dmm: Any, fe_type: Lanes) -> None:
        super().__init__(dmm, fe_type, LLVM[fe_type])  # type: ignore[no-untyped-call] # numba is typed in part


def constant(lanes: Lanes, values: int | list[int]) -> ir.Constant:
    """Return an LLVM constant: one value for all lanes, or one each."""
    return ir.Constant(LLVM[lanes], values if isinstance(values, list) else [values] * WIDTH)


def call_llvm(builder: Any, name: str, result: ir.Type, *args: Any, flags: tuple[str, ...] = ()) -> Any:
    """Call an LLVM intrinsic by its mangled name."""
    function_type = ir.FunctionType(result, [arg.type for arg in args])
    function = cgutils.get_or_insert_function(builder.module, function_type, name)  # type: ignore[no-untyped-call]
    return builder.call(function, args, fastmath=flags)


def _splat_of(lanes: Lanes) -> Any:
    @primitive
    def splat_one(typingctx: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            scalar = context.cast(builder, args[0], value, lanes.dtype)
            first = builder.insert_element(ir.Constant(LLVM[lanes], ir.Undefined), scalar, ir.Constant(_I32, 0))
            return builder.shuffle_vector(first, ir.Constant(LLVM[lanes], ir.Undefined), constant(I32, 0))

        return lanes(value), codegen

    return splat_one


_splat_f32, _splat_i32 = _splat_of(F32), _splat_of(I32)


def splat(value: Any) -> Any:
    """One scalar in every lane: float32 lanes of a float, int32 lanes of an integer."""
    raise NotImplementedError("compiled code only")


@overload(splat, strict=False)
def _splat(value: Any) -> Any:
    if isinstance(value, types.Float):
        return lambda value: _splat_f32(value)
    if isinstance(value, types.Integer):
        return lambda value: _splat_i32(value)
    return None


def _binary(
    function: Any,
    on_float: Emit | None = None,
    on_int: Emit | None = None,
    on_mask: Emit | None = None,
    result: Lanes | None = None,
) -> None:
    """Teach numba one elementwise operation of two arguments, either of which may be a scalar."""
    emits = {F32: on_float, I32: on_int, MASK: on_mask}

    @primitive
    def operation(typingctx: Any, x: Any, y: Any) -> Any:
        emit = emits.get(x)
        if x != y or emit is None:
            return None
        return (result or x)(x, y), lambda context, builder, signature, args: emit(builder, *args)

    @overload(function, strict=False)
    def on_lanes(x: Any, y: Any) -> Any:
        if isinstance(x, Lanes) and x == y:
            return lambda x, y: operation(x, y)
        if x == F32 and isinstance(y, types.Number):
            return lambda x, y: operation(x, _splat_f32(y))
        if y == F32 and isinstance(x, types.Number):
            return lambda x, y: operation(_splat_f32(x), y)
        if x == I32 and isinstance(y, types.Integer):
            return lambda x, y: operation(x, _splat_i32(y))
        if y == I32 and isinstance(x, types.Integer):
            return lambda x, y: operation(_splat_i32(x), y)
        return None


def minimum(x: Any, y: Any) -> Any:
    """Return ``x if x < y else y`` in each lane; so a NaN in `x` yields `y`."""
    raise NotImplementedError("compiled code only")


def maximum(x: Any, y: Any) -> Any:
    """Return ``x if x > y else y`` in each lane; so a NaN in `x` yields `y`."""
    raise NotImplementedError("compiled code only")


_binary(operator.add, lambda b, x, y: b.fadd(x, y), lambda b, x, y: b.add(x, y))
_binary(operator.sub, lambda b, x, y: b.fsub(x, y), lambda b, x, y: b.sub(x, y))
_binary(operator.mul, lambda b, x, y: b.fmul(x, y), lambda b, x, y: b.mul(x, y))
_binary(operator.truediv, lambda b, x, y: b.fdiv(x, y))
_binary(operator.and_, None, lambda b, x, y: b.and_(x, y), lambda b, x, y: b.and_(x, y))
_binary(operator.or_, None, lambda b, x, y: b.or_(x, y), lambda b, x, y: b.or_(x, y))
_binary(operator.lshift, None, lambda b, x, y: b.shl(x, y))
_binary(operator.rshift, None, lambda b, x, y: b.lshr(x, y))  # zeros come in from the left
for _operator, _sign in (
    (operator.lt, "<"),
    (operator.gt, ">"),
    (operator.le, "<="),
    (operator.ge, ">="),
    (operator.eq, "=="),
):
    _binary(
        _operator,
        lambda b, x, y, sign=_sign: b.fcmp_ordered(sign, x, y),
        lambda b, x, y, sign=_sign: b.icmp_signed(sign, x, y),
        result=MASK,
    )
_binary(
    maximum,
    lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y),
    lambda b, x, y: b.select(b.icmp_signed(">", x, y), x, y),
)
_binary(
    minimum,
    lambda b, x, y: b.select(b.fcmp_ordered("<", x, y), x, y),
    lambda b, x, y: b.select(b.icmp_signed("<", x, y), x, y),
)


def _unary(source: Any, target: Any, emit: Emit) -> Any:
    @primitive
    def convert(typingctx: Any, value: Any) -> Any:
        if value != source:
            return None
        return target(source), lambda context, builder, signature, args: emit(builder, args[0])

    return convert


def _f32_call(name: str) -> Emit:
    return lambda b, v: call_llvm(b, f"llvm.{name}.v{WIDTH}f32", LLVM[F32], v)


to_i32 = _unary(F32, I32, lambda b, v: b.fptosi(v, LLVM[I32]))
"""Truncates towards zero; the argument must fit."""
to_f32 = _unary(I32, F32, lambda b, v: b.sitofp(v, LLVM[F32]))
sqrt = _unary(F32, F32, _f32_call("sqrt"))
absolute = _unary(F32, F32, _f32_call("fabs"))
floor = _unary(F32, F32, _f32_call("floor"))
ceil = _unary(F32, F32, _f32_call("ceil"))
# The reductions' callers never pass NaN; without the flag LLVM spends a dozen instructions on it.
reduce_min = _unary(
    F32,
    types.float32,
    lambda b, v: call_llvm(b, f"llvm.vector.reduce.fmin.v{WIDTH}f32", _FLOAT, v, flags=("nnan",)),
)
reduce_max = _unary(
    F32,
    types.float32,
    lambda b, v: call_llvm(b, f"llvm.vector.reduce.fmax.v{WIDTH}f32", _FLOAT, v, flags=("nnan",)),
)
any_lane = _unary(
    MASK,
    types.boolean,
    lambda b, m: b.icmp_unsigned("!=", b.bitcast(m, ir.IntType(WIDTH)), ir.Constant(ir.IntType(WIDTH), 0)),
)


@primitive
def _fma_lanes(typingctx: Any, x: Any, y: Any, z: Any) -> Any:
    if not x == y == z == F32:
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return call_llvm(builder, f"llvm.fmuladd.v{WIDTH}f32", LLVM[F32], *args)

    return F32(x, y, z), codegen


def fma(x: Any, y: Any, z: Any) -> Any:
    """Return ``x * y + z``, rounded once where the host can: the same everywhere on one host. `y` may be a scalar."""
    raise NotImplementedError("compiled code only")


@overload(fma, strict=False)
def _fma(x: Any, y: Any, z: Any) -> Any:
    if y == F32:
        return lambda x, y, z: _fma_lanes(x, y, z)
    if isinstance(y, types.Float):
        return lambda x, y, z: _fma_lanes(x, _splat_f32(y), z)
    return None


@primitive
def select(typingctx: Any, mask: Any, x: Any, y: Any) -> Any:
    """Return `x` in the lanes where `mask` holds, else `y`."""
    if mask != MASK or x != y:
        return None
    return x(mask, x, y), lambda context, builder, signature, args: builder.select(*args)


@primitive
def lane_column(typingctx: Any) -> Any:
    """Each lane's column in the packet, float32."""
    columns = [float(lane & (PACKET_WIDTH - 1)) for lane in range(WIDTH)]
    return F32(), lambda context, builder, signature, args: ir.Constant(LLVM[F32], columns)


@primitive
def lane_row(typingctx: Any) -> Any:
    """Each lane's row in the packet, float32."""
    rows = [float(lane >> _COLUMN_BITS) for lane in range(WIDTH)]
    return F32(), lambda context, builder, signature, args: ir.Constant(LLVM[F32], rows)


@primitive
def extract(typingctx: Any, lanes: Any, index: Any) -> Any:
    """One lane as a scalar."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.extract_element(args[0], context.cast(builder, args[1], index, types.int32))

    return lanes.dtype(lanes, index), codegen


@primitive
def bits(typingctx: Any, mask: Any) -> Any:
    """Return a mask as an integer: lane n is bit n."""
    if mask != MASK:
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.bitcast(args[0], ir.IntType(WIDTH)), ir.IntType(64))

    return types.int64(mask), codegen


@primitive
def count_lanes(typingctx: Any, mask: Any) -> Any:
    """Return in how many lanes a mask holds."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = builder.zext(builder.bitcast(args[0], ir.IntType(WIDTH)), ir.IntType(64))
        return builder.ctpop(lanes)

    return types.int64(mask), codegen


def _address(context: Any, builder: Any, array_type: Any, array: Any, index_type: Any, index: Any, lanes: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    start = builder.gep(data, [context.cast(builder, index, index_type, types.int64)])
    return builder.bitcast(start, lanes.as_pointer())


@primitive
def load(typingctx: Any, array: Any, at: Any) -> Any:
    """Return ``array[at : at + WIDTH]``, flat, of float32 or int32."""
    result = F32 if array.dtype == types.float32 else I32

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, array, args[0], at, args[1], LLVM[result]), align=4)

    return result(array, at), codegen


@primitive
def store(typingctx: Any, array: Any, at: Any, value: Any) -> Any:
    """Write `value` to ``array[at : at + WIDTH]``, flat, of float32 or int32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _address(context, builder, array, args[0], at, args[1], LLVM[value]), align=4)
        return context.get_dummy_value()

    return types.none(array, at, value), codegen


@primitive
def store_rows(typingctx: Any, picture: Any, row: Any, column: Any, value: Any) -> Any:
    """Write a packet into a C-contiguous picture ``(H, W)`` of 32-bit pixels, in which all of it must lie."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(picture)(context, builder, args[0])
        top, left = (context.cast(builder, args[n], (row, column)[n - 1], types.int64) for n in (1, 2))
        width = builder.extract_value(array.shape, 1)
        line = builder.gep(array.data, [builder.add(builder.mul(top, width), left)])
        element = LLVM[value].element
        for first in range(0, WIDTH, PACKET_WIDTH):
            order = ir.Constant(ir.VectorType(_I32, PACKET_WIDTH), list(range(first, first + PACKET_WIDTH)))
            part = builder.shuffle_vector(args[3], args[3], order)
            builder.store(part, builder.bitcast(line, ir.VectorType(element, PACKET_WIDTH).as_pointer()), align=4)
            line = builder.gep(line, [width])
        return context.get_dummy_value()

    return types.none(picture, row, column, value), codegen


COUNTS_TOGETHER = True
"""Whether `fetch_add` is one step to other threads."""


@primitive
def fetch_add(typingctx: Any, counters: Any, at: Any, amount: Any) -> Any:
    """Add to ``counters[at]``, int64, in one step whatever other threads do, and return what it was."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(counters)(context, builder, args[0]).data
        index, more = (context.cast(builder, args[n], (at, amount)[n - 1], types.int64) for n in (1, 2))
        return builder.atomic_rmw("add", builder.gep(data, [index]), more, "seq_cst")

    return types.int64(counters, at, amount), codegen

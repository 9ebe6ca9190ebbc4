"""The operations that kernels are written over: taken from the SIMD lanes, or from plain scalars.

A kernel's text imports these names and no other, so that it compiles for either. The choice is made once, when this
module is imported: the lanes, unless ``VOXELCAST_LANES=1`` asks for scalars or the lanes can't be had.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from render.backends.cpu import scalars
from render.backends.cpu.scalars import inline


@dataclass(frozen=True)
class KernelSet:
    """What the kernels of this process are built on.

    Attributes
    ----------
    name
        ``lanes`` or ``scalars``.
    reason
        Why, in one line.
    is_fallback
        Whether the lanes were wanted and could not be had.
    modules
        Where the operations are found.
    """

    name: str
    reason: str
    is_fallback: bool
    modules: tuple[Any, ...]

    def __getitem__(self, operation: str) -> Any:
        return next(getattr(module, operation) for module in self.modules if hasattr(module, operation))


def choose() -> KernelSet:
    """Return the set that this process can have."""
    if os.environ.get("VOXELCAST_LANES") == "1":
        return KernelSet("scalars", "VOXELCAST_LANES=1", False, (scalars,))
    try:
        from render.backends.cpu import gathers, lanes, rows3
    except Exception as error:  # numba's extension API is not as it was
        first_line = str(error).partition("\n")[0]
        return KernelSet("scalars", f"no SIMD lanes: {type(error).__name__}: {first_line}", True, (scalars,))
    return KernelSet("lanes", "the host's vectors", False, (lanes, gathers, rows3))


KERNEL_SET = choose()

WIDTH: int = KERNEL_SET["WIDTH"]
"""Rays that advance together."""
PACKET_WIDTH: int = KERNEL_SET["PACKET_WIDTH"]
PACKET_HEIGHT: int = KERNEL_SET["PACKET_HEIGHT"]
"""They form a packet of pixels, this many wide and high: neighbours read neighbouring voxels."""

splat = KERNEL_SET["splat"]
fma = KERNEL_SET["fma"]
select = KERNEL_SET["select"]
minimum = KERNEL_SET["minimum"]
maximum = KERNEL_SET["maximum"]
floor = KERNEL_SET["floor"]
ceil = KERNEL_SET["ceil"]
sqrt = KERNEL_SET["sqrt"]
absolute = KERNEL_SET["absolute"]
to_i32 = KERNEL_SET["to_i32"]
to_f32 = KERNEL_SET["to_f32"]
is_number = KERNEL_SET["is_number"]
reduce_min = KERNEL_SET["reduce_min"]
reduce_max = KERNEL_SET["reduce_max"]
any_lane = KERNEL_SET["any_lane"]
extract = KERNEL_SET["extract"]
lane_row = KERNEL_SET["lane_row"]
lane_column = KERNEL_SET["lane_column"]

gather = KERNEL_SET["gather"]
weight = KERNEL_SET["weight"]
mix = KERNEL_SET["mix"]
row = KERNEL_SET["row"]
lerp = KERNEL_SET["lerp"]
is_invalid = KERNEL_SET["is_invalid"]
weights3 = KERNEL_SET["weights3"]
row3 = KERNEL_SET["row3"]

__all__ = [
    "KERNEL_SET",
    "PACKET_HEIGHT",
    "PACKET_WIDTH",
    "WIDTH",
    "KernelSet",
    "absolute",
    "any_lane",
    "ceil",
    "extract",
    "floor",
    "fma",
    "gather",
    "inline",
    "is_invalid",
    "is_number",
    "lane_column",
    "lane_row",
    "lerp",
    "maximum",
    "minimum",
    "mix",
    "reduce_max",
    "reduce_min",
    "row",
    "row3",
    "select",
    "splat",
    "sqrt",
    "to_f32",
    "to_i32",
    "weight",
    "weights3",
]

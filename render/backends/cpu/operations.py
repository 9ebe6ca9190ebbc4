"""The operations that kernels are written over: taken from the SIMD lanes, or from plain scalars.

A kernel's text imports these names and no other, so that it compiles for either. The choice is made once, when this
module is imported: the lanes, unless ``VOXELCAST_LANES=1`` asks for scalars or the lanes can't be had.
"""

from __future__ import annotations

import functools
import logging
import os
import re
from dataclasses import dataclass
from typing import Any

from render.backends.cpu import scalars
from render.backends.cpu.scalars import inline

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KernelSet:
    """What the kernels of this process are built on.

    Attributes
    ----------
    name
        ``lanes`` or ``scalars``.
    reason
        Why these, or why this many lanes; one line.
    is_fallback
        Whether the lanes were wanted and can't be had.
    modules
        Where the operations are found.
    """

    name: str
    reason: str
    is_fallback: bool
    modules: tuple[Any, ...]

    def __getitem__(self, operation: str) -> Any:
        for module in self.modules:
            if hasattr(module, operation):
                return getattr(module, operation)
        raise KeyError(operation)


def choose() -> KernelSet:
    """Return the set that this process can have. Compiles a small kernel on lanes, or loads it from the cache."""
    if os.environ.get("VOXELCAST_LANES") == "1":
        return KernelSet("scalars", "VOXELCAST_LANES=1", False, (scalars,))
    try:
        from render.backends.cpu import boxes, gathers, lanes, probe, ranges, rows4

        if probe.lanes_work():
            return KernelSet("lanes", lanes.REASON, False, (lanes, gathers, rows4, boxes, ranges))
        reason = "SIMD lanes compute wrong numbers"
    except Exception as error:  # whatever numba and LLVM raise
        reason = f"SIMD lanes do not compile: {type(error).__name__}: {summary(error)}"
    return KernelSet("scalars", reason, True, (scalars,))


def summary(error: Exception) -> str:
    """Return the first line of an error that says something, without the path that Python adds to an ImportError."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = next((line for line in lines if line and not line.startswith("Failed in nopython")), "")
    return re.sub(r" \([^()]*[/\\][^()]*\)$", "", said)[:200]


KERNEL_SET = choose()


@functools.cache
def tell() -> None:
    """Log which set it is, once in a process: a warning if it is not the one that was wanted."""
    if KERNEL_SET.is_fallback:
        logger.warning("kernels draw one ray at a time, several times slower: %s", KERNEL_SET.reason)
    else:
        logger.info("kernels draw %d rays at a time: %s", WIDTH, KERNEL_SET.reason)


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
reduce_min = KERNEL_SET["reduce_min"]
reduce_max = KERNEL_SET["reduce_max"]
any_lane = KERNEL_SET["any_lane"]
extract = KERNEL_SET["extract"]
lane_row = KERNEL_SET["lane_row"]
lane_column = KERNEL_SET["lane_column"]

gather = KERNEL_SET["gather"]
permute = KERNEL_SET["permute"]
weight = KERNEL_SET["weight"]
mix = KERNEL_SET["mix"]
row = KERNEL_SET["row"]
prefetch = KERNEL_SET["prefetch"]
lerp = KERNEL_SET["lerp"]
is_invalid = KERNEL_SET["is_invalid"]
weights4 = KERNEL_SET["weights4"]
row4 = KERNEL_SET["row4"]
cell_rows = KERNEL_SET["cell_rows"]
BOX_LENGTH: int = KERNEL_SET["BOX_LENGTH"]
BOX_ROWS: int = KERNEL_SET["BOX_ROWS"]
"""Voxels along i, and at most so many rows of them, of the box in which `cell_rows` is quick; 0 where there is none."""

box_range = KERNEL_SET["box_range"]
RANGE_LENGTH: int = KERNEL_SET["RANGE_LENGTH"]
RANGE_ROWS: int = KERNEL_SET["RANGE_ROWS"]
"""Voxels along i, and along j at least, of the box whose least and greatest `box_range` tells."""

bits = KERNEL_SET["bits"]
count_lanes = KERNEL_SET["count_lanes"]
compress = KERNEL_SET["compress"]
load = KERNEL_SET["load"]
store = KERNEL_SET["store"]
store_rows = KERNEL_SET["store_rows"]
fetch_add = KERNEL_SET["fetch_add"]
COUNTS_TOGETHER: bool = KERNEL_SET["COUNTS_TOGETHER"]
"""Whether several threads may share the counters of `fetch_add`."""

__all__ = [
    "BOX_LENGTH",
    "BOX_ROWS",
    "COUNTS_TOGETHER",
    "KERNEL_SET",
    "PACKET_HEIGHT",
    "PACKET_WIDTH",
    "RANGE_LENGTH",
    "RANGE_ROWS",
    "WIDTH",
    "KernelSet",
    "absolute",
    "any_lane",
    "bits",
    "box_range",
    "ceil",
    "cell_rows",
    "compress",
    "count_lanes",
    "extract",
    "fetch_add",
    "floor",
    "fma",
    "gather",
    "inline",
    "is_invalid",
    "lane_column",
    "lane_row",
    "lerp",
    "load",
    "maximum",
    "minimum",
    "mix",
    "permute",
    "prefetch",
    "reduce_max",
    "reduce_min",
    "row",
    "row4",
    "select",
    "splat",
    "sqrt",
    "tell",
    "to_f32",
    "to_i32",
    "weight",
    "weights4",
]

"""A renderer that runs the CUDA kernels on the host: what they draw, without a card.

It launches them by the contract that `render.backends.cuda.kernels` states, with host memory in the place of the
device's. It is slow, and single-threaded.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from render.backends import histogram
from render.backends.base import ResidentVolume, Statistics, applied_view, frame_of
from render.backends.cuda import grid
from render.backends.cuda.kernels import COUNT_PLACES, launch_blocks, launch_grid
from render.backends.cuda.parameters import NO_CODE, FramePlan, plan_frame, table_entries, table_range
from render.backends.rays import lattice_of
from render.backends.tables import transfer_tables
from render.errors import RenderCancelledError
from render.frame import FINAL, Frame, Quality
from render.view import View
from render.volume import Volume
from tests.backends.cuda.host_shim import HostArray, Kernels

INVALID, EMPTY = 2, 4


@dataclass(frozen=True)
class Bounds:
    """One level of the brick grid: flat arrays."""

    low: np.ndarray
    high: np.ndarray
    flags: np.ndarray


@dataclass
class ShimVolume:
    """Implements `ResidentVolume`."""

    volume: Volume
    codes: np.ndarray
    levels: list[Bounds]
    code_range: tuple[float, float]
    has_invalid: bool
    statistics: Statistics
    nbytes: int
    texels: np.ndarray | None
    array: HostArray | None
    is_released: bool = False

    @property
    def texture(self) -> np.uint64:
        return np.uint64(0 if self.array is None else ctypes.addressof(self.array))


@dataclass
class ShimRenderer:
    """Implements `render.backends.base.Renderer`.

    Parameters
    ----------
    kernels
        ``(dtype, texture) -> Kernels``.
    texture
        Sample by the texture unit's stand-in.
    band_rows
        Rows to a launch.
    """

    kernels: Callable[[str, bool], Kernels]
    texture: bool = False
    band_rows: int = 8
    launches: list[str] = field(default_factory=list)
    counts: np.ndarray = field(default_factory=lambda: np.zeros((COUNT_PLACES, 2), np.uint64))

    @property
    def device(self) -> str:
        return "shim"

    def estimate_bytes(self, volume_nbytes: int, dtype_bytes: int) -> int:
        return 3 * volume_nbytes

    def upload(self, volume: Volume) -> ShimVolume:
        run = self.kernels(str(volume.codes.dtype), self.texture)
        codes = volume.codes.reshape(-1)
        levels = build_levels(run, volume)
        low, high, flags = (part.item() for part in (levels[-1].low, levels[-1].high, levels[-1].flags))
        code_range = (1.0, -1.0) if flags & EMPTY else (float(low), float(high))
        resident = ShimVolume(
            volume,
            codes,
            levels,
            code_range,
            bool(flags & INVALID),
            histogram.statistics_of(count_codes(run, volume, code_range), code_range, volume),
            volume.nbytes + grid.grid_nbytes(volume.geometry.shape, volume.codes.itemsize),
            None,
            None,
        )
        if self.texture:
            make_texture(run, resident)
        return resident

    def release(self, resident: ResidentVolume) -> None:
        assert isinstance(resident, ShimVolume)
        resident.is_released = True

    def render(
        self,
        view: View,
        volumes: Mapping[str, ResidentVolume],
        *,
        quality: Quality = FINAL,
        view_revision: int = 0,
        cancelled: Callable[[], bool] | None = None,
    ) -> Frame:
        began = time.perf_counter()
        applied, resident = applied_view(view, volumes)
        assert isinstance(resident, ShimVolume)
        assert not resident.is_released
        volume, function = resident.volume, applied.layers[0].transfer_function
        tables = None
        if view.is_color:
            assert function is not None
            step_mm = lattice_of(volume.geometry, view.slab_mm, quality.step_factor).step_mm
            tables = transfer_tables(function, step_mm, volume.slope, volume.intercept, resident.code_range)
        plan = plan_frame(applied, volume, has_invalid=resident.has_invalid, quality=quality, tables=tables)
        run = self.kernels(str(volume.codes.dtype), self.texture)
        inputs = kernel_inputs(run, plan, resident, tables)
        picture = self._draw(run, plan, resident, inputs, cancelled)
        if quality.ray_stride > 1:
            picture = enlarge(run, picture, quality.ray_stride, (view.viewport.height_px, view.viewport.width_px))
        return frame_of(
            applied,
            volume,
            picture,
            plane=view.plane,
            step_mm=plan.lattice.step_mm,
            quality=quality,
            view_revision=view_revision,
            render_ms=(time.perf_counter() - began) * 1e3,
            samples=(int(self.counts[:, 0].sum()), int(self.counts[:, 1].sum())),
        )

    def _draw(
        self,
        run: Kernels,
        plan: FramePlan,
        resident: ShimVolume,
        inputs: list[Any],
        cancelled: Callable[[], bool] | None,
    ) -> np.ndarray:
        height, width = plan.shape_px
        self.counts = np.zeros((COUNT_PLACES, 2), np.uint64)
        out = np.empty((height, width, 4), np.uint8) if "composite" in plan.kernel else np.empty((height, width), "f4")
        for top in range(0, height, self.band_rows):
            if cancelled is not None and cancelled():
                raise RenderCancelledError(f"given up with {height - top} rows left to draw")
            rows = min(self.band_rows, height - top)
            self.launches.append(plan.kernel)
            run.launch(
                plan.kernel,
                launch_grid(width, rows),
                plan.parameters,
                resident.codes,
                resident.texture,
                *inputs,
                out,
                self.counts,
                np.int32(top),
                np.int32(top + rows),
            )
        return out


def build_levels(run: Kernels, volume: Volume) -> list[Bounds]:
    """Make all levels of the grid, each widened by its neighbours; bricks in two launches, as if slices arrived."""
    levels = grid.levels(volume.geometry.shape)
    codes, size = volume.codes.reshape(-1), [np.int32(n) for n in volume.geometry.shape[::-1]]
    plain = empty_bounds(levels[0].bricks, codes.dtype)
    layers, per_layer = levels[0].shape[0], levels[0].bricks // levels[0].shape[0]
    invalid_code = np.int32(NO_CODE if volume.invalid_code is None else volume.invalid_code)
    for first, last in ((0, layers // 2), (layers // 2, layers)):
        if last > first:
            run.launch(
                "bricks",
                launch_blocks((last - first) * per_layer),
                codes,
                *size,
                invalid_code,
                plain.low,
                plain.high,
                plain.flags,
                np.int32(first),
                np.int32(last),
            )
    result = []
    for n, level in enumerate(levels):
        result.append(joined(run, "widen", plain, level, level.bricks))
        if n + 1 < len(levels):
            plain = joined(run, "halve", plain, level, levels[n + 1].bricks)
    return result


def joined(run: Kernels, kernel: str, plain: Bounds, level: grid.Level, bricks: int) -> Bounds:
    """Run `widen` or `halve` on a level."""
    result = empty_bounds(bricks, plain.low.dtype)
    size = [np.int32(n) for n in level.shape[::-1]]
    arrays = [getattr(b, name) for b in (plain, result) for name in ("low", "high", "flags")]
    run.launch(kernel, launch_blocks(bricks), *arrays[:3], *size, *arrays[3:])
    return result


def empty_bounds(bricks: int, dtype: Any) -> Bounds:
    return Bounds(np.empty(bricks, dtype), np.empty(bricks, dtype), np.full(bricks, 255, np.uint8))


def count_codes(run: Kernels, volume: Volume, code_range: tuple[float, float]) -> np.ndarray:
    """Return the histogram of a volume."""
    counts = np.zeros(histogram.HISTOGRAM_BINS, np.uint32)
    row_voxels = volume.codes.shape[2]
    rows, stride = volume.codes.size // row_voxels, histogram.histogram_stride(volume.codes.size)
    run.launch(
        "histogram",
        launch_blocks(-(-rows // stride) * row_voxels),
        volume.codes.reshape(-1),
        np.int32(row_voxels),
        np.int64(rows),
        np.int32(stride),
        np.float64(code_range[0]),
        np.float64(histogram.histogram_per_bin(code_range)),
        np.int32(counts.size),
        counts,
    )
    return counts


def make_texture(run: Kernels, resident: ShimVolume) -> None:
    """Fill the stand-in of a CUDA array."""
    volume = resident.volume
    is_int = volume.codes.dtype == np.int16
    slices, rows, columns = volume.geometry.shape
    resident.texels = np.zeros(volume.geometry.shape, np.uint16 if is_int else np.float32)
    address = ctypes.c_void_p(resident.texels.ctypes.data)
    resident.array = HostArray(address, (ctypes.c_int32 * 3)(columns, rows, slices), int(is_int))
    run.launch(
        "texels",
        launch_blocks(slices * rows * columns),
        resident.codes,
        np.int32(columns),
        np.int32(rows),
        np.int32(0),
        np.int32(slices),
        resident.texture,
    )


def kernel_inputs(run: Kernels, plan: FramePlan, resident: ShimVolume, tables: Any) -> list[Any]:
    """Return what a kernel takes between the texture and its output."""
    levels = [resident.levels[n] for n in (plan.segments.fine, plan.segments.coarse)]
    if plan.kernel == "thin":
        return [levels[0].flags]
    if plan.kernel == "mean":
        return [part for level in levels for part in (level.low, level.high, level.flags)]
    if plan.kernel == "extreme":
        return [part for level in levels for part in (level.high if plan.takes_greatest else level.low, level.flags)]
    cumulated = tables.cumulated.astype(np.int32)
    flags = [visible_flags(run, level, cumulated, table_range(tables)) for level in levels]
    return [*flags, table_entries(tables)]


def visible_flags(run: Kernels, level: Bounds, cumulated: np.ndarray, table: tuple[Any, ...]) -> np.ndarray:
    """Return a level's flags under a transfer function."""
    flags = np.empty_like(level.flags)
    count = np.int32(level.flags.size)
    run.launch("visible", launch_blocks(count), level.low, level.high, level.flags, count, cumulated, *table, flags)
    return flags


def enlarge(run: Kernels, picture: np.ndarray, stride: int, shape_px: tuple[int, int]) -> np.ndarray:
    """Bring a picture of fewer rays to the viewport."""
    out = np.empty((*shape_px, *picture.shape[2:]), picture.dtype)
    rays_height, rays_width = (np.int32(n) for n in picture.shape[:2])
    run.launch(
        "enlarge_values" if picture.ndim == 2 else "enlarge_color",
        launch_blocks(shape_px[0] * shape_px[1]),
        picture,
        rays_width,
        rays_height,
        np.int32(stride),
        out,
        np.int32(shape_px[1]),
        np.int32(shape_px[0]),
    )
    return out

"""The renderer on the host's own cores: Views to Frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from render.backends import rays
from render.backends.base import ResidentVolume, applied_view, frame_of
from render.backends.channels import (
    COLOR_BYTES,
    ColorVolume,
    color_of,
    estimate_color_bytes,
    release_channels,
    render_channels,
    upload_channels,
)
from render.backends.cpu.bricks import BrickGrid, Level
from render.backends.cpu.compiling import KERNELS, kernel
from render.backends.cpu.kernels_upload import BRICK, CELL
from render.backends.cpu.looks import Looks, visible_flags
from render.backends.cpu.operations import KERNEL_SET, PACKET_HEIGHT, PACKET_WIDTH, WIDTH, tell
from render.backends.cpu.resident import CpuVolume
from render.backends.cpu.shared_rows import SharedRows
from render.backends.cpu.survey import NO_CODE, Bricks, measure, survey
from render.backends.cpu.tiles import Tile, TilePool, cut
from render.backends.cpu.weights import MAX_VOXELS, weight_unit
from render.backends.held import KEPT_TABLES
from render.backends.tables import LIGHT_ENTRIES
from render.errors import UnsupportedError
from render.frame import FINAL, Frame, Quality
from render.geometry import VolumeGeometry
from render.memory import available_cores
from render.view import ImagePlane, Layer, Orientation, RenderingMethod, View, Viewport, oriented_camera
from render.volume import Volume

TILE = (32, 64)
"""Rows and columns of a tile; threads share the rows of a thin view instead. A few milliseconds at most, even where
nothing can be skipped: what another session's frame waits for."""
EXTREMES = RenderingMethod.MAXIMUM_IP, RenderingMethod.MINIMUM_IP
WARM = Viewport(512, 512)
"""Drawn at upload, within a millisecond or two: a usual size, and tiles for all threads."""
MOST_OUTSIDE = 1 << 20
"""Bytes, of a volume's estimate, for bricks of an image."""
ENLARGED_ROWS = 128
"""Rows of a tile where fewer rays are brought to the viewport's size: half a millisecond at 512 pixels a row."""


@dataclass
class _Work:
    """What one frame's tiles need."""

    view: View
    codes: npt.NDArray[Any]
    level: Level
    p: npt.NDArray[np.float64]
    shape_px: tuple[int, int]


class CpuRenderer:
    """Implements `render.backends.base.Renderer` on numba's SIMD lanes.

    Every method may be called from any thread. Frames that are drawn at the same time share the threads tile by
    tile, in turn.

    Parameters
    ----------
    threads
        Worker threads; None for the cores that this process may use.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._pool = TilePool(threads or available_cores())
        self._looks = Looks()
        tell()

    @property
    def device(self) -> str:
        """Always ``cpu``."""
        return "cpu"

    @property
    def threads(self) -> int:
        """Worker threads."""
        return self._pool.threads

    @property
    def simd_lanes(self) -> int:
        """Rays that advance together in one vector; 1 for scalar kernels."""
        return WIDTH

    @property
    def kernel_set(self) -> str:
        """What the kernels are built on: ``lanes``, or ``scalars`` where there are none."""
        return KERNEL_SET.name

    @property
    def looks_nbytes(self) -> int:
        """Bytes of the transfer functions' tables that are remembered, for all volumes together."""
        return self._looks.nbytes

    def close(self) -> None:
        """End the worker threads once the frames in hand are drawn."""
        self._pool.close()

    def estimate_bytes(self, volume_nbytes: int, dtype_bytes: int) -> int:
        """Bytes that `upload` will take at most; of fewer than 4 slices and over 8 MiB up to a tenth of them more.

        The coarser bricks add a seventh, those that stick out of a volume up to as much again; fine cells up to half.
        Small volumes are allowed for as if they were images, most of whose bricks are outside. What transfer functions
        take beside a volume's own flags, all volumes share: see `looks_nbytes`.
        """
        if dtype_bytes == COLOR_BYTES:
            return volume_nbytes + estimate_color_bytes(self, volume_nbytes)
        bricks = volume_nbytes / dtype_bytes / BRICK**3
        grid = bricks * 8 / 7 * (2 * dtype_bytes + 4)
        cells = volume_nbytes / dtype_bytes / CELL**3 * 2
        kept = KEPT_TABLES * bricks
        outside = min(volume_nbytes // 8, MOST_OUTSIDE)
        return volume_nbytes + int(2 * (grid + kept) + 1.5 * cells) + outside + 4096

    def upload(self, volume: Volume) -> CpuVolume | ColorVolume:
        """Make a volume resident: bricks, statistics. The voxels are shared. Blocks.

        Raises
        ------
        UnsupportedError
            If it has more voxels than an int32 index reaches.
        """
        if volume.is_color:
            return upload_channels(self, volume, own_bytes=volume.nbytes)
        _check_size(volume)
        codes = np.require(volume.codes, requirements=["A", "C"]).reshape(-1)
        resident = CpuVolume(volume, codes, *survey(volume, codes, self._pool))
        if kernel("thin", codes.dtype).is_ready:
            # What is done once, of the geometry, by the interpreter and by the threads, is no part of the first frame;
            # nor are page faults: the allocator keeps the memory of a second picture of this size for a third.
            camera = oriented_camera(Orientation.FEET, volume.geometry, WARM)
            for _ in range(2):
                self.render(View(camera, WARM, (Layer(volume.id),)), {volume.id: resident})
        return resident

    def grow(
        self, before: ResidentVolume | None, volume: Volume, slices: Sequence[tuple[int, int]]
    ) -> CpuVolume | ColorVolume:
        """Make the next state of a volume resident that grows; see `render.backends.base.GrowingRenderer.grow`."""
        if before is None and not volume.missing_slices:
            return self.upload(volume)
        _check_size(volume)
        codes = np.require(volume.codes, requirements=["A", "C"]).reshape(-1)
        bricks = before.bricks if isinstance(before, CpuVolume) else None
        if bricks is None:
            bricks = Bricks.without_voxels(volume)
        marked = volume if before is None else replace(volume, invalid_code=before.volume.invalid_code)
        bricks.fill(marked, codes, self._pool, slices)
        if marked.invalid_code != volume.invalid_code and bricks.invalid.any():
            return self.upload(volume)  # what was taken for missing is a value
        if not volume.missing_slices:
            return CpuVolume(volume, codes, *survey(volume, codes, self._pool, bricks))
        grid = bricks.grid()
        return CpuVolume(volume, codes, grid, measure(volume, codes, grid, self._pool), bricks)

    def release(self, resident: ResidentVolume) -> None:
        """Give a volume's memory back, once the frames of it that are being drawn are done."""
        if isinstance(resident, ColorVolume):
            return release_channels(self, resident)
        assert isinstance(resident, CpuVolume)
        resident.close()

    def render(
        self,
        view: View,
        volumes: Mapping[str, ResidentVolume],
        *,
        quality: Quality = FINAL,
        view_revision: int = 0,
        cancelled: Callable[[], bool] | None = None,
    ) -> Frame:
        """Draw one View; see `render.backends.base.Renderer.render`."""
        if (color := color_of(view, volumes)) is not None:
            return render_channels(self, view, color, quality=quality, view_revision=view_revision, cancelled=cancelled)
        began = time.perf_counter()
        applied, resident = applied_view(view, volumes)
        assert isinstance(resident, CpuVolume)
        volume = resident.volume
        lattice = rays.lattice_of(volume.geometry, view.slab_mm, quality.step_factor)
        with resident.in_use() as (codes, grid):
            picture, samples = self._draw(
                applied, view.plane, resident, codes, grid, lattice, quality.ray_stride, cancelled
            )
        return frame_of(
            applied,
            volume,
            picture,
            plane=view.plane,
            step_mm=lattice.step_mm,
            quality=quality,
            view_revision=view_revision,
            render_ms=(time.perf_counter() - began) * 1e3,
            samples=samples,
        )

    def _draw(
        self,
        view: View,
        plane: ImagePlane,
        resident: CpuVolume,
        codes: npt.NDArray[Any],
        grid: BrickGrid,
        lattice: rays.Lattice,
        stride: int,
        cancelled: Callable[[], bool] | None,
    ) -> tuple[npt.NDArray[Any], tuple[int, int]]:
        height, width = view.viewport.height_px, view.viewport.width_px
        shape_px = -(-height // stride), -(-width // stride)
        geometry = resident.volume.geometry
        p = rays.ray_parameters(geometry, view.camera, rays.coarser(plane, stride), shape_px, lattice)
        if lattice.step_mm:
            rays.bound_steps(p)
        set_values(p, resident.volume, grid)
        if view.is_color:
            set_shading(p, resident.volume, view)
        work = _Work(view, codes, chosen_level(p, geometry, view, grid), p, shape_px)
        picture, samples = self._picture(work, resident, grid, lattice.step_mm, cancelled)
        if stride == 1:
            return picture, samples
        enlarged = np.empty((height, width, *picture.shape[2:]), picture.dtype)
        enlarge = KERNELS["enlarge_color" if view.is_color else "enlarge_values"]
        rows = cut(height, width, ENLARGED_ROWS, width)
        self._pool.run(lambda tile: enlarge(picture, stride, enlarged, tile[0], tile[1]), rows, cancelled)
        return enlarged, samples

    def _picture(
        self, work: _Work, resident: CpuVolume, grid: BrickGrid, step_mm: float, cancelled: Callable[[], bool] | None
    ) -> tuple[npt.NDArray[Any], tuple[int, int]]:
        draw: Callable[[Tile], tuple[int, int]]
        picture: npt.NDArray[Any]
        if work.view.slab_mm == 0:
            return self._plane(work, cancelled)
        if work.view.is_color:
            draw, picture = self._composite(work, resident, grid, step_mm)
        else:
            draw, picture = reduce_values(work, resident.volume.slope, grid)
        counts: list[tuple[int, int]] = []
        self._pool.run(lambda tile: counts.append(draw(tile)), cut(*work.shape_px, *TILE), cancelled)
        return picture, (sum(taken for taken, _ in counts), sum(possible for _, possible in counts))

    def _plane(
        self, work: _Work, cancelled: Callable[[], bool] | None
    ) -> tuple[npt.NDArray[np.float32], tuple[int, int]]:
        out = np.empty(work.shape_px, np.float32)
        thin = kernel("thin", work.codes.dtype)
        thin.compile()
        codes, p, invalid = work.codes, work.p, work.level.invalid.reshape(-1)
        rows = SharedRows(work.shape_px, self._pool.threads)

        def draw(tile: Tile) -> bool:
            is_drawn = thin(codes, p, invalid, out, rows.starts, rows.counts[tile[0]], rows.rows_a_call, tile[1] > 0)
            return is_drawn and len(rows.counts) == 1

        self._pool.run(draw, rows.calls, cancelled)
        return out, (rows.samples_taken, out.size)

    def _composite(
        self, work: _Work, resident: CpuVolume, grid: BrickGrid, step_mm: float
    ) -> tuple[Callable[[Tile], tuple[int, int]], npt.NDArray[np.uint8]]:
        function = work.view.layers[0].transfer_function
        assert function is not None
        volume, level, codes, p = resident.volume, work.level, work.codes, work.p
        code_range = grid.minimum, grid.maximum
        shading = function.shading
        # Apart, since each takes up to a millisecond: a new light leaves colours and bricks as they were.
        tables = self._looks.tables(function, step_mm, volume, code_range)
        light = self._looks.light(shading)
        looks_around = shading is not None and grid.has_invalid
        flags = resident.flags(
            (function.opacity_points, function.color_points, step_mm, level.size, looks_around),
            lambda: visible_flags(tables, level, looks_around),
        )
        unit = p[rays.UNIT]
        p[rays.TABLE_SCALE], p[rays.TABLE_OFFSET] = tables.scale / unit, tables.offset + 0.5
        p[rays.TABLE_LAST] = tables.opacity.size - 1
        p[rays.SHOWN_FROM], p[rays.SHOWN_BELOW] = tables.shown
        pixels = np.empty(work.shape_px, np.int32)
        composite = kernel("composite" if shading is None else "composite_shaded", codes.dtype)
        composite.compile()
        return (
            lambda tile: composite(codes, p, flags, tables.opacity, tables.color, light, pixels, *tile),
            pixels.view(np.uint8).reshape(*work.shape_px, 4),
        )


def set_values(p: npt.NDArray[np.float64], volume: Volume, grid: BrickGrid) -> None:
    """Set what a kernel has to know of the codes."""
    unit = weight_unit(volume.codes.dtype)
    invalid = NO_CODE if volume.invalid_code is None else volume.invalid_code
    p[rays.SCALE : rays.INVALID + 1] = volume.slope / unit, volume.intercept, 1, unit, invalid
    p[rays.CHECK_INVALID] = grid.has_invalid


def chosen_level(p: npt.NDArray[np.float64], geometry: VolumeGeometry, view: View, grid: BrickGrid) -> Level:
    """Choose the bricks that a packet is looked up in, and set what a kernel has to know of them."""
    if view.slab_mm == 0 and not grid.has_invalid:
        return grid.levels[-1]  # a plane asks them for invalid voxels alone
    across, along = rays.packet_extent(p, geometry, view.camera, (PACKET_HEIGHT, PACKET_WIDTH))
    if view.slab_mm == 0:
        along = np.zeros(3)  # one sample: the packet's own size decides
    if view.slab_mm is None and view.rendering_method in EXTREMES:
        level, segment, p[rays.CELL_SEGMENT] = grid.levels_for_extremes(across, along)
    else:
        level, segment = grid.level_for(across, along)
    p[rays.GRID : rays.GRID + 3] = level.low.shape[::-1]
    p[rays.BRICKS_PER_VOXEL], p[rays.SEGMENT] = 1 / level.size, segment
    return level


def set_shading(p: npt.NDArray[np.float64], volume: Volume, view: View) -> None:
    """Set the light and the gradient's neighbours, which lie half the smallest spacing along each voxel axis."""
    layer = view.layers[0]
    p[rays.LAYER_OPACITY] = layer.opacity
    function = layer.transfer_function
    assert function is not None
    if function.shading is None:
        return
    geometry = volume.geometry
    axes = geometry.patient_from_voxel[:3, :3]
    probe = geometry.smallest_spacing_mm / 2 / geometry.axis_lengths_mm
    p[rays.PROBE : rays.PROBE + 3] = probe
    per_index = volume.slope / p[rays.UNIT] / (2 * probe)
    p[rays.GRADIENT : rays.GRADIENT + 9] = (np.linalg.inv(axes).T * per_index).ravel()
    p[rays.AMBIENT], p[rays.DIFFUSE] = function.shading.ambient, function.shading.diffuse
    p[rays.LIGHT_LAST] = LIGHT_ENTRIES - 1
    p[rays.FLOOR2] = function.gradient_floor**2


def _check_size(volume: Volume) -> None:
    if volume.codes.size > MAX_VOXELS:
        raise UnsupportedError(
            f"volume of {volume.codes.size} voxels: the CPU renderer takes {MAX_VOXELS} at most", field="codes"
        )


def reduce_values(
    work: _Work, slope: float, grid: BrickGrid
) -> tuple[Callable[[Tile], tuple[int, int]], npt.NDArray[np.float32]]:
    """Return what draws a tile of values along rays, and the picture that it draws into."""
    codes, p, level = work.codes, work.p, work.level
    out = np.empty(work.shape_px, np.float32)
    invalid = level.invalid.reshape(-1)
    low, high = level.low.reshape(-1), level.high.reshape(-1)
    if work.view.rendering_method is RenderingMethod.AVERAGE_IP:
        mean = kernel("mean", codes.dtype)
        mean.compile()
        return (lambda tile: mean(codes, p, low, high, invalid, out, *tile)), out
    # A negative slope turns the greatest code into the least value.
    greatest = (work.view.rendering_method is RenderingMethod.MAXIMUM_IP) == (slope > 0)
    p[rays.SIGN] = 1 if greatest else -1
    bounds = (level.most if greatest else level.least).reshape(-1)
    p[rays.BOUND_BASE] = (grid.minimum if greatest else -grid.maximum) * p[rays.UNIT]
    p[rays.BOUND_STEP] = grid.step * p[rays.UNIT]
    fine = bounds
    if grid.cells is not None:
        p[rays.CELLS : rays.CELLS + 3] = grid.cells.most.shape[::-1]
        fine = (grid.cells.most if greatest else grid.cells.least).reshape(-1)
    extreme = kernel("extreme", codes.dtype)
    extreme.compile()
    return (lambda tile: extreme(codes, p, bounds, invalid, fine, out, *tile)), out

"""The kernels' parameter block, filled from a View: which kernel, which rays, which levels of the grid.

`PARAMETERS` is the layout of ``struct Parameters`` in ``kernels/parameters.cuh``, which says what each field means.
Where samples lie is decided in one place for both renderers, `render.backends.rays`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from render.backends import rays
from render.backends.cuda.grid import Segments, levels, segments_of
from render.backends.tables import TransferTables
from render.frame import Quality
from render.view import RenderingMethod, View
from render.volume import Volume

PARAMETERS = np.dtype(
    [
        ("origin", np.float64, 3),
        ("column", np.float64, 3),
        ("row", np.float64, 3),
        ("step", np.float64, 3),
        ("eye", np.float64, 3),
        ("eye_right_mm", np.float64),
        ("eye_down_mm", np.float64),
        ("spacing_right_mm", np.float64),
        ("spacing_down_mm", np.float64),
        ("eye_distance2_mm2", np.float64),
        ("step_mm", np.float64),
        ("lattice", np.float64),
        ("first", np.float64),
        ("last", np.float64),
        ("scale", np.float32),
        ("offset", np.float32),
        ("sign", np.float32),
        ("table_low", np.float32),
        ("table_scale", np.float32),
        ("table_last", np.float32),
        ("layer_opacity", np.float32),
        ("ambient", np.float32),
        ("diffuse", np.float32),
        ("specular", np.float32),
        ("shininess", np.float32),
        ("floor2", np.float32),
        ("probe", np.float32, 3),
        ("gradient", np.float32, 9),
        ("ahead", np.float32, 9),
        ("margin", np.float32),
        ("reach", np.float32),
        ("fine_per_voxel", np.float32),
        ("coarse_per_voxel", np.float32),
        ("perspective", np.int32),
        ("width", np.int32),
        ("height", np.int32),
        ("size", np.int32, 3),
        ("invalid_code", np.int32),
        ("has_invalid", np.int32),
        ("fine_grid", np.int32, 3),
        ("coarse_grid", np.int32, 3),
        ("segment", np.int32),
        ("coarse_segments", np.int32),
    ],
    align=True,
)

_RAYS = {
    "origin": rays.ORIGIN,
    "column": rays.COLUMN,
    "row": rays.ROW,
    "step": rays.STEP,
    "eye": rays.EYE,
    "eye_right_mm": rays.EYE_RIGHT,
    "eye_down_mm": rays.EYE_DOWN,
    "spacing_right_mm": rays.SPACING_RIGHT,
    "spacing_down_mm": rays.SPACING_DOWN,
    "eye_distance2_mm2": rays.EYE_DISTANCE2,
    "step_mm": rays.STEP_MM,
    "lattice": rays.LATTICE,
    "first": rays.FIRST,
    "last": rays.LAST,
}
"""The float64 fields, which come first, all of them from `rays.ray_parameters`."""
_DOUBLES = np.concatenate([first + np.arange(PARAMETERS[name].itemsize // 8) for name, first in _RAYS.items()])
_SINGLES_AT, _INTS_AT = (PARAMETERS.fields[name][1] for name in ("scale", "perspective"))  # type: ignore[index]
_INTS_END = PARAMETERS.fields["coarse_segments"][1] + 4  # type: ignore[index]
"""Bytes where the float32 and the int32 fields begin, and where these end."""
_NO_SHADING = (0.0,) * 17

TABLE_ENTRY = np.dtype([("opacity", np.float32), ("color", np.uint32)], align=True)
"""``struct Entry`` of ``kernels/color.cu``."""

NO_CODE = 1 << 16
"""Stands for "no voxel is invalid" where an int16 code is expected."""
MARGIN = 0.01
"""Voxels. Many times what float32 loses in a ray's coordinates, so that plain sampling never reads out of bounds."""
SHADED_MARGIN = 0.5 + MARGIN
"""Voxels: a gradient reads half a voxel further."""
SHADED_REACH = 1.5
"""Voxels around a sample whose codes take part in its gradient, if only with a weight of zero."""


@dataclass(frozen=True, eq=False)
class FramePlan:
    """How a frame is drawn.

    Attributes
    ----------
    kernel
        Its name; see `render.backends.cuda.kernels`.
    parameters
        0-d array of dtype `PARAMETERS`: the kernel's first argument.
    shape_px
        Rows and columns of rays: the shape of the kernel's output.
    lattice
        Where samples lie.
    segments
        Which levels of the grid to give to the kernel.
    """

    kernel: str
    parameters: npt.NDArray[Any]
    shape_px: tuple[int, int]
    lattice: rays.Lattice
    segments: Segments

    @property
    def takes_greatest(self) -> bool:
        """For `extreme`: whether the grid's upper bounds count, not the lower ones."""
        return bool(self.parameters["sign"] > 0)


def plan_frame(
    view: View, volume: Volume, *, has_invalid: bool, quality: Quality, tables: TransferTables | None = None
) -> FramePlan:
    """Turn a View of one volume into a plan.

    Parameters
    ----------
    view
        As it applies: a volume rendered layer has its transfer function.
    volume
        What is drawn. Only its geometry and what its codes mean are looked at.
    has_invalid
        Whether any of its voxels is.
    quality
        Of rays and steps.
    tables
        Of the layer's transfer function, for the step of `rays.lattice_of`; for volume rendering only.
    """
    geometry, stride = volume.geometry, quality.ray_stride
    shape_px = -(-view.viewport.height_px // stride), -(-view.viewport.width_px // stride)
    lattice = rays.lattice_of(geometry, view.slab_mm, quality.step_factor)
    p = rays.ray_parameters(geometry, view.camera, rays.coarser(view.plane, stride), shape_px, lattice)
    kernel, sign = _kernel_of(view), 1
    if kernel == "extreme":
        # A negative slope turns the greatest code into the least value.
        greatest = (view.rendering_method is RenderingMethod.MAXIMUM_IP) == (volume.slope > 0)
        sign = 1 if greatest else -1
    shaded = kernel == "composite_shaded"
    reach = SHADED_REACH if shaded and has_invalid else 0.0
    along = rays.packet_extent(p, geometry, view.camera, (1, 1))[1] if lattice.step_mm else np.zeros(3)
    grid = levels(geometry.shape)
    segments = segments_of(grid, along, reach)
    fine, coarse = grid[segments.fine], grid[segments.coarse]
    block = np.zeros(PARAMETERS.itemsize, np.uint8)
    np.take(p, _DOUBLES, out=block[:_SINGLES_AT].view(np.float64))
    block[_SINGLES_AT:_INTS_AT].view(np.float32)[:] = [
        *(volume.slope, volume.intercept, sign),
        *_table(view, tables),
        *(_shading(volume, view) if shaded else _NO_SHADING),
        *p[rays.AHEAD : rays.AHEAD + 9].tolist(),
        *(SHADED_MARGIN if shaded else MARGIN, reach, 1 / fine.size, 1 / coarse.size),
    ]
    block[_INTS_AT:_INTS_END].view(np.int32)[:] = [
        *(view.camera.fov_deg is not None, shape_px[1], shape_px[0], *geometry.shape[::-1]),
        *(NO_CODE if volume.invalid_code is None else volume.invalid_code, has_invalid),
        *(*fine.shape[::-1], *coarse.shape[::-1], segments.samples, segments.coarse_segments),
    ]
    return FramePlan(kernel, block.view(PARAMETERS).reshape(()), shape_px, lattice, segments)


def table_entries(tables: TransferTables) -> npt.NDArray[Any]:
    """Return a transfer function's table as `composite` takes it, dtype `TABLE_ENTRY`."""
    entries = np.empty(tables.opacity.size, TABLE_ENTRY)
    entries["opacity"], entries["color"] = tables.opacity, tables.color.view(np.uint32)
    return entries


def table_range(tables: TransferTables) -> tuple[np.float32, np.float32, np.float32]:
    """Return ``table_low``, ``table_scale`` and ``table_last`` as `visible` and the block have them."""
    return np.float32(-tables.offset / tables.scale), np.float32(tables.scale), np.float32(tables.opacity.size - 1)


def _kernel_of(view: View) -> str:
    if view.is_color:
        function = view.layers[0].transfer_function
        assert function is not None, "a view as it applies has its transfer function"
        return "composite" if function.shading is None else "composite_shaded"
    if view.slab_mm == 0:
        return "thin"
    return "mean" if view.rendering_method is RenderingMethod.AVERAGE_IP else "extreme"


def _table(view: View, tables: TransferTables | None) -> tuple[float | np.float32, ...]:
    """Return ``table_low`` to ``layer_opacity``."""
    if not view.is_color:
        return 0.0, 0.0, 0.0, 0.0
    assert tables is not None
    return *table_range(tables), view.layers[0].opacity


def _shading(volume: Volume, view: View) -> tuple[float, ...]:
    """Return ``ambient`` to ``gradient``: its neighbours lie half the smallest spacing along each voxel axis."""
    function = view.layers[0].transfer_function
    assert function is not None
    assert function.shading is not None
    light, geometry = function.shading, volume.geometry
    probe = geometry.smallest_spacing_mm / 2 / geometry.axis_lengths_mm
    gradient = geometry.voxel_from_patient[:3, :3].T * (volume.slope / (2 * probe))
    return (
        *(light.ambient, light.diffuse, light.specular, light.shininess, function.gradient_floor**2),
        *(*probe.tolist(), *gradient.ravel().tolist()),
    )

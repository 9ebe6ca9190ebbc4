"""How far a picture sampled by the texture unit may be from the exact one: derived, sample by sample, in float64.

One sample. The eight texels' weights are multiples of 2^-8 (CUDA programming guide, "Linear Filtering"), and on an H100
they are shared out axis by axis, each share rounded: k between two slices, each slice's between two rows, each row's
between two texels. A share that is off by 2^-9 moves the value by that much of the difference of the two neighbours it
is shared between: one share along k, and along j and i that of the fraction itself and one for each slice or row:
``2^-9 * (5 Di + 3 Dj + Dk)``, the greatest differences along each axis in the sample's cell. (Measured there with the
other two fractions at a half: off by 3, 3 and 1 times 2^-9 at most.) Of a 16-bit format the unit returns 16 bits: half
a code more. To an extreme, a brick counts that exceeds it by a 64th of a code (``exceeds`` in ``values.cu``): as much.

Values. Maximum, minimum and mean move by no more than the sample that moves most.

Colour. ``C = sum a_m T_m c_m``, ``T_m`` the transparency before sample m. Colours first: they move C by at most
``sum a_m T_m dc_m``. C is linear in each opacity alone, with the derivative ``T_m (c_m - what is behind)``, at most
``T_m`` in magnitude; moved from back to front, each meets its own ``T_m`` unchanged: ``sum T_m da_m``. Transfer
functions are piecewise linear, so da and dc over an interval of values are taken at its ends and at knots within.

Shading. The gradient's error along a voxel axis is that of two samples over their distance. With ``G = (g, floor)`` in
four dimensions the cosine is that of ``G / |G|`` with a fixed unit vector, and
``|x/|x| - y/|y|| <= 2 |x - y| / (|x| + |y|)`` (Dunkl and Williams, 1964).
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from render.frame import Frame
from render.transfer import TransferFunction, corrected_opacity
from render.view import View
from render.volume import Volume
from tests import comparison
from tests.comparison import COLOR_FRACTION, COLOR_TOLERANCE, VALUE_FRACTION, Verdict
from tests.reference import (
    POINTS_AT_ONCE,
    Float64Array,
    Reference,
    final_step_mm,
    gradient,
    rays,
    sample,
    sample_range,
)

WEIGHT_ERRORS = 2.0**-9, 3 * 2.0**-9, 5 * 2.0**-9
"""Of the differences of neighbours along k, j and i."""
INT16_ERROR = 1 / 2 + 1 / 64
"""Codes."""


def value_tolerance(volume: Volume) -> float:
    """`tests.comparison.value_tolerance`, and the texture unit's error anywhere in a volume."""
    return comparison.value_tolerance(volume) + float(cell_bounds(volume).max(initial=0.0))


def compare(reference: Reference, frame: Frame, volume: Volume) -> Verdict:
    """`tests.comparison.compare`, each pixel's tolerance widened by its own bound."""
    plain = comparison.compare(reference, frame, volume)
    if plain.fraction == 1:
        return plain  # a wider tolerance would change nothing, and costs more than the picture
    bound = pixel_bounds(frame.view, volume, frame.quality.step_factor)
    if reference.color is not None:
        return comparison.judge(reference, frame.pixels, COLOR_TOLERANCE + bound, COLOR_FRACTION)
    return comparison.judge(reference, frame.pixels, comparison.value_tolerance(volume) + bound, VALUE_FRACTION)


def cell_bounds(volume: Volume) -> Float64Array:
    """Error of a sample within each cell, modality units; shape (K, J, I), the cell's low corner as the index.

    Next to invalid voxels samples are exact; so are there the differences, for they count as 0.
    """
    codes = volume.codes.astype(np.float64)
    if volume.invalid_code is not None:
        codes[volume.codes == volume.invalid_code] = np.nan
    padded = np.pad(codes, ((0, 1),) * 3, mode="edge")
    total = np.zeros(codes.shape)
    for axis in range(3):
        steps = np.nan_to_num(np.abs(np.diff(padded, axis=axis)))
        # The greatest of the four edges along this axis: over both neighbours on the other two.
        for other in {0, 1, 2} - {axis}:
            here, there = ([slice(None)] * 3 for _ in range(2))
            here[other], there[other] = slice(None, -1), slice(1, None)
            steps = np.maximum(steps[tuple(here)], steps[tuple(there)])
        total += WEIGHT_ERRORS[axis] * steps
    in_codes = total + (INT16_ERROR if volume.codes.dtype == np.int16 else 0.0)
    return in_codes * abs(volume.slope)


def bounds_at(volume: Volume, cells: Float64Array, index: Float64Array) -> Float64Array:
    """Look `cells` up at voxel indices (..., 3) in order (i, j, k)."""
    sizes = np.array(volume.geometry.shape[::-1])
    i, j, k = np.moveaxis(np.floor(np.clip(index, 0, sizes - 1)).astype(np.int64), -1, 0)
    return cells[k, j, i]


def pixel_bounds(view: View, volume: Volume, step_factor: float) -> Float64Array:
    """Bound of each pixel, shape (H, W): modality units, or of 1 for colours."""
    shape = view.viewport.height_px, view.viewport.width_px
    bases, directions, nearest_t = rays(view, np.indices(shape).reshape(2, -1).T)
    step = final_step_mm(volume) * step_factor
    first, count = sample_range(view, volume, bases, directions, step)
    cells = cell_bounds(volume)
    result = np.zeros(len(bases))
    at_once = max(1, POINTS_AT_ONCE // max(1, count))
    for start in range(0, len(bases), at_once):
        part = slice(start, start + at_once)
        if view.slab_mm == 0:
            t = np.zeros((len(bases[part]), 1))
        else:
            t = (first[part, None] + np.arange(count) + 0.5) * step
        points = bases[part, None] + t[..., None] * directions[part, None]
        values, _, possible = sample(volume, points)
        possible &= t > nearest_t[part, None]
        error = np.where(possible, bounds_at(volume, cells, volume.geometry.to_voxel(points)), 0)
        if view.is_color:
            result[part] = _color_bounds(view, volume, points, directions[part], values, possible, error, cells, step)
        else:
            result[part] = error.max(axis=1, initial=0)
    return result.reshape(shape)


def _color_bounds(
    view: View,
    volume: Volume,
    points: Float64Array,
    directions: Float64Array,
    values: Float64Array,
    possible: npt.NDArray[np.bool_],
    error: Float64Array,
    cells: Float64Array,
    step: float,
) -> Float64Array:
    function = view.layers[0].transfer_function
    assert function is not None
    opacity = np.where(possible, corrected_opacity(function.opacity(values), step), 0)
    off_opacity = _swing(lambda v: corrected_opacity(function.opacity(v), step), function.opacity_points, values, error)
    off_color = _swing(function.color, function.color_points, values, error).max(axis=-1)
    if function.shading is not None:
        off_color = _lit_swing(volume, function, points, directions, values, (opacity > 0) & possible, off_color, cells)
    before = np.cumprod(np.concatenate([np.ones((len(opacity), 1)), 1 - opacity[:, :-1]], axis=1), axis=1)
    moved = np.where(possible, before * off_opacity + opacity * before * off_color, 0)
    return view.layers[0].opacity * moved.sum(axis=1)


def _swing(function, points: tuple, values: Float64Array, error: Float64Array) -> Float64Array:
    """Greatest change of a piecewise linear function over ``values +- error``; shape of its result."""
    middle = function(values)
    swing = np.maximum(np.abs(function(values - error) - middle), np.abs(function(values + error) - middle))
    for knot in sorted({point[0] for point in points}):
        swing = np.maximum(swing, np.abs(function(np.clip(knot, values - error, values + error)) - middle))
    return swing


def _lit_swing(
    volume: Volume,
    function: TransferFunction,
    points: Float64Array,
    directions: Float64Array,
    values: Float64Array,
    visible: npt.NDArray[np.bool_],
    off_color: Float64Array,
    cells: Float64Array,
) -> Float64Array:
    """Change of lit colours: of the colour itself, of the cosine, of the highlight."""
    light = function.shading
    assert light is not None
    at = points[visible]
    slope = gradient(volume, at, values[visible])
    off = np.linalg.norm(np.linalg.inv(volume.geometry.patient_from_voxel[:3, :3]), axis=1) @ _rise_errors(
        volume, at, cells
    )
    along = np.broadcast_to(directions[:, None], points.shape)[visible]
    steep = np.sqrt((slope**2).sum(axis=-1) + function.gradient_floor**2)
    facing = np.abs((slope * along).sum(axis=-1)) / steep
    off_facing = np.minimum(2 * off / (steep + np.maximum(steep - off, function.gradient_floor)), 1)
    low, high = np.maximum(facing - off_facing, 0), np.minimum(facing + off_facing, 1)

    def highlight(cosine: Float64Array) -> Float64Array:
        return light.specular * np.maximum(0, 2 * cosine**2 - 1) ** light.shininess

    shine = highlight(facing)
    lit = off_color[visible] * (light.ambient + light.diffuse * high)
    lit += function.color(values[visible]).max(axis=-1) * light.diffuse * np.maximum(high - facing, facing - low)
    lit += np.maximum(highlight(high) - shine, shine - highlight(low))
    result = np.zeros_like(off_color)
    result[visible] = np.minimum(lit, 1)
    return result


def _rise_errors(volume: Volume, points: Float64Array, cells: Float64Array) -> Float64Array:
    """Error of the gradient along each voxel axis, modality units per voxel, shape (3, N)."""
    geometry = volume.geometry
    reach = geometry.smallest_spacing_mm / 2 / np.linalg.norm(geometry.patient_from_voxel[:3, :3], axis=0)
    index = geometry.to_voxel(points)
    errors = np.zeros((3, len(points)))
    for axis, sign in itertools.product(range(3), (-1, 1)):
        displaced = index.copy()
        displaced[:, axis] += sign * reach[axis]
        errors[axis] += bounds_at(volume, cells, displaced) / (2 * reach[axis])
    return errors

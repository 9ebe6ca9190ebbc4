"""The judge: a slow, readable float64 renderer, written from the rules alone.

It shares the contracts (View, Volume, TransferFunction) with the renderers, and no code beyond them. What
it answers is not one number a pixel but a range: where a sample lies within float32 rounding of a decision
(a voxel face, the edge of an invalid voxel), a renderer may count it or not, and `Reference.low` and
`Reference.high` span both. Everywhere else the two are equal.

The rules
---------
A pixel's ray starts at its centre on ``view.plane`` (the *base*); the distance along it is ``t`` in mm. A
thin view takes one sample at ``t = 0``; others take samples at ``t = (n + 1/2) * step``. A sample counts if
its voxel index is in ``[-0.5, n - 0.5]`` on each axis and none of the corners that it interpolates between is
invalid. A corner whose weight is exactly zero does not matter.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from render.transfer import TransferFunction, corrected_opacity
from render.view import RenderingMethod, View
from render.volume import Volume

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

SLAB_TOLERANCE = 1e-6
"""Relative: a sample on a slab's face belongs to it, whatever the division's last bit."""

INDEX_ROUNDINGS = 16
"""Float32 roundings that a voxel index may have gone through: origin, direction, distance, product, sum, each
a few times. `index_tolerance` makes voxels of it."""

POINTS_AT_ONCE = 1_000_000
"""Samples in memory at a time: about 200 MB with their eight corners."""


@dataclass(frozen=True, eq=False)
class Reference:
    """What a picture has to be.

    Attributes
    ----------
    values
        float64, modality units, NaN outside; None for volume rendering. Shape (H, W), or (N,) for N chosen
        pixels.
    color
        float64, shape (..., 4), RGBA premultiplied by alpha, 0 to 1; None for the other methods.
    low, high
        The range of `values` or `color` over the samples that float32 rounding may count or not.
        NaN where no sample counts for certain and none may.
    may_be_outside
        Whether a renderer may say that nothing is there.
    must_be_outside
        Whether it must.
    step_mm
        Distance of samples; 0 for a thin view.
    """

    values: Float64Array | None
    color: Float64Array | None
    low: Float64Array
    high: Float64Array
    may_be_outside: BoolArray
    must_be_outside: BoolArray
    step_mm: float


def index_tolerance(volume: Volume) -> float:
    """Voxels by which a float32 renderer's sample may be displaced, for indices as large as the volume."""
    return INDEX_ROUNDINGS * float(np.finfo(np.float32).eps) * max(64, *volume.geometry.shape)


def final_step_mm(volume: Volume) -> float:
    """Distance of samples along a ray in final quality: half the smallest spacing."""
    return volume.geometry.smallest_spacing_mm / 2


def render_reference(
    view: View,
    volume: Volume,
    *,
    pixels: npt.ArrayLike | None = None,
    step_factor: float = 1.0,
) -> Reference:
    """Draw a View, or some of its pixels.

    Parameters
    ----------
    view
        Its layer must name a transfer function if it is to be volume rendered.
    volume
        What the layer shows.
    pixels
        Integer (row, column) pairs, shape (N, 2); all of the viewport if None.
    step_factor
        Steps along a ray are this many times the final one.

    Returns
    -------
    Reference
        Arrays of shape (N, ...), or (H, W, ...) if `pixels` is None.
    """
    shape: tuple[int, ...] = (view.viewport.height_px, view.viewport.width_px)
    if pixels is None:
        chosen = np.indices(shape).reshape(2, -1).T
    else:
        chosen = np.asarray(pixels, np.int64)
        shape = (len(chosen),)
    bases, directions, nearest_t = rays(view, chosen)
    step = final_step_mm(volume) * step_factor
    first, count = sample_range(view, volume, bases, directions, step)

    parts = []
    rays_at_once = max(1, POINTS_AT_ONCE // max(1, count))
    for start in range(0, len(chosen), rays_at_once):
        part = slice(start, start + rays_at_once)
        if view.slab_mm == 0:
            t = np.zeros((len(bases[part]), 1))
        else:
            t = (first[part, None] + np.arange(count) + 0.5) * step
        points = bases[part, None] + t[..., None] * directions[part, None]
        sampled, certain, possible = sample(volume, points)
        in_front = t > nearest_t[part, None]
        certain, possible = certain & in_front, possible & in_front
        if view.is_color:
            function = view.layers[0].transfer_function
            assert function is not None, "the reference needs an explicit transfer function"
            shaded = shaded_color(volume, function, points, directions[part], sampled, possible)
            parts.append(_composite(function, sampled, shaded, certain, possible, step, view.layers[0].opacity))
        else:
            parts.append(_reduce(view.rendering_method, sampled, certain, possible))
    answer, low, high = (np.concatenate([part[i] for part in parts]) for i in range(3))
    may, must = (np.concatenate([part[i] for part in parts]) for i in (3, 4))

    def shaped(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return array.reshape(shape + array.shape[1:])

    return Reference(
        values=None if view.is_color else shaped(answer),
        color=shaped(answer) if view.is_color else None,
        low=shaped(low),
        high=shaped(high),
        may_be_outside=shaped(may),
        must_be_outside=shaped(must),
        step_mm=0.0 if view.slab_mm == 0 else step,
    )


def rays(view: View, pixels: npt.NDArray[np.int64]) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Bases and unit directions of rays, LPS mm, (N, 3) each; and the t (N,) that samples must exceed."""
    plane = view.plane
    row, column = pixels[:, 0, None], pixels[:, 1, None]
    down_mm, right_mm = plane.pixel_spacing_mm
    bases = (
        np.array(plane.top_left_mm)
        + column * right_mm * np.array(plane.row_direction)
        + row * down_mm * np.array(plane.column_direction)
    )
    if view.camera.fov_deg is None:
        forward = np.subtract(view.camera.look_at, view.camera.position)
        directions = np.broadcast_to(forward / np.linalg.norm(forward), bases.shape)
        return bases, directions, np.full(len(bases), -np.inf)
    from_eye = bases - np.array(view.camera.position)
    distance = np.linalg.norm(from_eye, axis=1)
    return bases, from_eye / distance[:, None], -distance


def sample_range(
    view: View, volume: Volume, bases: Float64Array, directions: Float64Array, step: float
) -> tuple[npt.NDArray[np.int64], int]:
    """First n of each ray, shape (N,), and how many samples to take: all that can count, and a few more."""
    if view.slab_mm == 0:
        return np.zeros(len(bases), np.int64), 1
    if view.slab_mm is not None:
        half = max(1, int(np.floor(view.slab_mm / (2 * step) * (1 + SLAB_TOLERANCE) + 0.5)))
        return np.full(len(bases), -half), 2 * half
    middle = (directions * (volume.geometry.center_mm - bases)).sum(axis=1)
    miss = np.linalg.norm(bases + middle[:, None] * directions - volume.geometry.center_mm, axis=1)
    radius = volume.geometry.diagonal_mm / 2 + step
    half_chord = np.sqrt(np.maximum(0, radius**2 - miss**2))
    first = np.floor((middle - half_chord) / step).astype(np.int64)
    last = np.ceil((middle + half_chord) / step).astype(np.int64)
    return first, int((last - first).max()) + 1


def sample(volume: Volume, points_mm: Float64Array) -> tuple[Float64Array, BoolArray, BoolArray]:
    """Trilinear modality values at LPS points ``(..., 3)``; whether each counts for certain, and possibly.

    Values of samples that can't count are 0.
    """
    index = volume.geometry.to_voxel(points_mm)
    sizes = np.array(volume.geometry.shape[::-1])
    tolerance = index_tolerance(volume)
    beyond = np.maximum(-0.5 - index, index - (sizes - 0.5)).max(axis=-1)
    certain, possible = beyond < -tolerance, beyond < tolerance
    # Only what can count is sampled: rays that miss the volume cost nothing.
    at = index[possible]
    values, valid = interpolate(volume, at)
    if holds_invalid(volume):
        # A different floor() of a nearly whole index brings other corners: try all of them.
        valid_everywhere, valid_somewhere = valid.copy(), valid.copy()
        near = np.nonzero((np.abs(at - np.round(at)) < tolerance).any(axis=-1))[0]
        for sign in itertools.product((-1, 0, 1), repeat=3):
            moved_values, moved_valid = interpolate(volume, at[near] + np.multiply(sign, tolerance))
            newly = near[moved_valid & ~valid_somewhere[near]]
            values[newly] = moved_values[moved_valid & ~valid_somewhere[near]]
            valid_everywhere[near] &= moved_valid
            valid_somewhere[near] |= moved_valid
        certain[possible] &= valid_everywhere
        possible[possible] = valid_somewhere
        values = values[valid_somewhere]
    result = np.zeros(index.shape[:-1])
    result[possible] = values
    return result, certain, possible


def holds_invalid(volume: Volume) -> bool:
    """Whether any voxel may be without a value."""
    return volume.invalid_code is not None or volume.codes.dtype == np.float32


def interpolate(volume: Volume, index: Float64Array) -> tuple[Float64Array, BoolArray]:
    """Trilinear modality values at indices ``(N, 3)`` in order (i, j, k), edges held; and whether valid."""
    sizes = np.array(volume.geometry.shape[::-1])
    held = np.clip(index, 0, sizes - 1)
    low = np.floor(held).astype(np.int64)
    fraction = held - low
    codes = np.zeros(len(index))
    valid = np.ones(len(index), np.bool_)
    for corner in itertools.product((0, 1), repeat=3):
        i, j, k = np.minimum(low + corner, sizes - 1).T
        weight = np.where(corner, fraction, 1 - fraction).prod(axis=-1)
        code = volume.codes[k, j, i].astype(np.float64)
        is_invalid = ~np.isfinite(code)
        if volume.invalid_code is not None:
            is_invalid |= code == volume.invalid_code
        valid &= ~(is_invalid & (weight > 0))
        codes += np.where(is_invalid, 0, code) * weight
    return codes * volume.slope + volume.intercept, valid


def shaded_color(
    volume: Volume,
    function: TransferFunction,
    points_mm: Float64Array,
    directions: Float64Array,
    values: Float64Array,
    possible: BoolArray,
) -> Float64Array:
    """Colour of each sample, shape (R, N, 3), lit from the eye where the transfer function has shading."""
    color = function.color(values)
    if function.shading is None:
        return color
    visible = possible & (function.opacity(values) > 0)
    slope = gradient(volume, points_mm[visible], values[visible])
    along = np.broadcast_to(directions[:, None], points_mm.shape)[visible]
    steepness = np.sqrt((slope**2).sum(axis=-1) + function.gradient_floor**2)
    facing = np.abs((slope * along).sum(axis=-1)) / steepness
    light = function.shading
    lit = color[visible] * (light.ambient + light.diffuse * facing)[:, None]
    lit += (light.specular * np.maximum(0, 2 * facing**2 - 1) ** light.shininess)[:, None]
    color[visible] = np.clip(lit, 0, 1)
    return color


def gradient(volume: Volume, points_mm: Float64Array, values: Float64Array) -> Float64Array:
    """Gradient in modality units per mm, patient space, shape (N, 3), at points with known values (N,).

    Central differences of half the smallest spacing along each voxel axis, brought to patient space by the
    inverse transpose of the affine. A displaced sample without a value takes the middle's.
    """
    index = volume.geometry.to_voxel(points_mm)
    axes = volume.geometry.patient_from_voxel[:3, :3]
    reach = volume.geometry.smallest_spacing_mm / 2 / np.linalg.norm(axes, axis=0)
    per_index = np.empty_like(index)
    for axis in range(3):
        either = []
        for sign in (-1, 1):
            displaced = index.copy()
            displaced[:, axis] += sign * reach[axis]
            value, valid = interpolate(volume, displaced)
            either.append(np.where(valid, value, values))
        per_index[:, axis] = (either[1] - either[0]) / (2 * reach[axis])
    result: Float64Array = per_index @ np.linalg.inv(axes)
    return result


_Answer = tuple[Float64Array, Float64Array, Float64Array, BoolArray, BoolArray]


def _reduce(method: RenderingMethod, values: Float64Array, certain: BoolArray, possible: BoolArray) -> _Answer:
    some, any_at_all = certain.any(axis=1), possible.any(axis=1)
    if method is RenderingMethod.AVERAGE_IP:
        low, high = _mean_range(values, certain, possible)
        with np.errstate(invalid="ignore"):
            answer = np.where(possible, values, 0).sum(axis=1) / possible.sum(axis=1)
    else:
        sign = 1 if method is RenderingMethod.MAXIMUM_IP else -1
        inner, outer = (np.where(m, sign * values, -np.inf).max(axis=1) for m in (certain, possible))
        # Where nothing counts for certain, any one of the possible samples may be the only one.
        alone = np.where(possible, sign * values, np.inf).min(axis=1)
        inner = np.where(some, inner, alone)
        answer = sign * outer
        low, high = np.minimum(sign * inner, answer), np.maximum(sign * inner, answer)
    answer, low, high = (np.where(any_at_all, x, np.nan) for x in (answer, low, high))
    return answer, low, high, ~some, ~any_at_all


def _mean_range(values: Float64Array, certain: BoolArray, possible: BoolArray) -> tuple[Float64Array, Float64Array]:
    """Lowest and highest mean over the certain samples and any choice of the possible ones."""
    bounds = []
    total = np.where(certain, values, 0).sum(axis=1, keepdims=True)
    number = certain.sum(axis=1, keepdims=True)
    for sign in (1, -1):
        # Taking the doubtful ones in ascending order lowers the mean for as long as it can be lowered.
        doubtful = np.sort(np.where(possible & ~certain, sign * values, np.inf), axis=1)
        is_one = np.isfinite(doubtful)
        sums = sign * total + np.cumsum(np.where(is_one, doubtful, 0), axis=1)
        numbers = number + np.cumsum(is_one, axis=1)
        with np.errstate(invalid="ignore"):
            means = np.concatenate([sign * total / number, sums / numbers], axis=1)
        bounds.append(sign * np.where(np.isnan(means), np.inf, means).min(axis=1))
    return bounds[0], bounds[1]


def _composite(
    function: TransferFunction,
    values: Float64Array,
    color: Float64Array,
    certain: BoolArray,
    possible: BoolArray,
    step_mm: float,
    layer_opacity: float,
) -> _Answer:
    opacity = corrected_opacity(function.opacity(values), step_mm)
    pictures = []
    for counted in (possible, certain):
        alpha = np.where(counted, opacity, 0)
        behind = np.cumprod(1 - alpha, axis=1)
        before = np.concatenate([np.ones((len(alpha), 1)), behind[:, :-1]], axis=1)
        weight = alpha * before
        rgb = (weight[..., None] * color).sum(axis=1)
        pictures.append(layer_opacity * np.concatenate([rgb, 1 - behind[:, -1:]], axis=1))
    low, high = np.minimum(*pictures), np.maximum(*pictures)
    return pictures[0], low, high, ~certain.any(axis=1), ~possible.any(axis=1)

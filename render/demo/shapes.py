"""The shapes that the demonstration volume is painted from: signed distances in mm, negative inside.

Large organs are smooth fields on a coarse grid, brought to the voxels by cubic B-splines (`CoarseField`). Bones,
vessels and airways are unions of small shapes, each evaluated only in its own box (`Structure`). Both paint
layers of HU with edges as soft as a scanner's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float32]
Point: TypeAlias = tuple[float, float, float]
Layers: TypeAlias = Sequence[tuple[float, float | FloatArray]]
"""(depth below the surface in mm, HU from there inwards), outermost first."""

EDGE_MM = 1.6
"""Width of an edge: what a CT's point spread and slice thickness leave of a step."""

FAR_MM = np.float32(100.0)


@dataclass(frozen=True)
class Axes:
    """Voxel centres of a box along each patient axis, LPS mm, ascending, evenly spaced."""

    x: FloatArray
    y: FloatArray
    z: FloatArray

    def windows(self, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """First and past-last index (k, j, i) of the voxels between corners (N, 3): shape (N, 3, 2)."""
        ends = [
            [np.searchsorted(axis, corner[:, n]) for corner in (low, high)]
            for n, axis in ((2, self.z), (1, self.y), (0, self.x))
        ]
        return np.transpose(np.array(ends, np.int64), (2, 0, 1))

    def open_grid(self, window: tuple[slice, slice, slice]) -> tuple[FloatArray, FloatArray, FloatArray]:
        """x, y and z of a window, shaped to broadcast to (K, J, I)."""
        k, j, i = window
        return self.x[None, None, i], self.y[None, j, None], self.z[k, None, None]


class Shape(Protocol):
    """Something solid with a box around it."""

    @property
    def box(self) -> tuple[Point, Point]:
        """Lowest and highest corner, LPS mm."""

    def distance(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Signed distance, mm, of points that broadcast to (K, J, I)."""


@dataclass(frozen=True)
class Capsule:
    """A round rod between two points, its radius changing evenly.

    `squeeze` divides distances along the patient's axes: (1, 1, 2) makes a section twice as high as wide.
    """

    start: Point
    end: Point
    start_radius_mm: float
    end_radius_mm: float
    squeeze: Point = (1.0, 1.0, 1.0)

    @property
    def box(self) -> tuple[Point, Point]:
        """Lowest and highest corner, LPS mm."""
        reach = np.array(self.squeeze) * (max(self.start_radius_mm, self.end_radius_mm) + EDGE_MM)
        low, high = np.minimum(self.start, self.end) - reach, np.maximum(self.start, self.end) + reach
        return _point(low), _point(high)

    def distance(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Signed distance, mm."""
        (ax, ay, az), (bx, by, bz) = self.start, self.end
        sx, sy, sz = (np.float32(1 / s) for s in self.squeeze)
        px, py, pz = (x - np.float32(ax)) * sx, (y - np.float32(ay)) * sy, (z - np.float32(az)) * sz
        dx, dy, dz = (np.float32(d) for d in ((bx - ax) * sx, (by - ay) * sy, (bz - az) * sz))
        length2 = np.float32(max(float(dx * dx + dy * dy + dz * dz), 1e-6))
        along = (px * dx + py * dy) + pz * dz
        share = np.clip(along / length2, 0, 1)
        squared = (px * px + py * py) + pz * pz - share * (2 * along - share * length2)
        radius = np.float32(self.start_radius_mm) + share * np.float32(self.end_radius_mm - self.start_radius_mm)
        result: FloatArray = np.sqrt(np.maximum(squared, 0)) - radius
        return result


@dataclass(frozen=True)
class Drum:
    """An elliptic cylinder upright along z with a waist: the body of a vertebra, or a disc."""

    center: Point
    half_width_mm: float
    half_depth_mm: float
    half_height_mm: float
    waist: float = 0.0

    @property
    def box(self) -> tuple[Point, Point]:
        """Lowest and highest corner, LPS mm."""
        reach = np.array([self.half_width_mm, self.half_depth_mm, self.half_height_mm]) + EDGE_MM
        return _point(np.array(self.center) - reach), _point(np.array(self.center) + reach)

    def distance(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Signed distance, mm."""
        cx, cy, cz = (np.float32(c) for c in self.center)
        height = (z - cz) / np.float32(self.half_height_mm)
        narrowed = np.float32(1) - np.float32(self.waist) * np.maximum(0, 1 - height * height)
        width, depth = np.float32(self.half_width_mm), np.float32(self.half_depth_mm)
        radial = np.sqrt(((x - cx) / width) ** 2 + ((y - cy) / depth) ** 2)
        across = (radial - narrowed) * np.float32(min(self.half_width_mm, self.half_depth_mm))
        ends = (np.abs(height) - 1) * np.float32(self.half_height_mm)
        return smooth_max(across, ends, 2.0)


@dataclass(frozen=True)
class Plate:
    """A triangle given a thickness and a bulge towards the back: the blade of a shoulder."""

    corners: tuple[Point, Point, Point]
    half_thickness_mm: float
    bow_radius_mm: float

    @property
    def box(self) -> tuple[Point, Point]:
        """Lowest and highest corner, LPS mm."""
        reach = self.half_thickness_mm + EDGE_MM + self._rise_mm
        points = np.array(self.corners)
        return _point(points.min(axis=0) - reach), _point(points.max(axis=0) + reach)

    def distance(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Signed distance, mm."""
        points = np.array(self.corners)
        edges = np.roll(points, -1, axis=0) - points
        normal = np.cross(edges[0], edges[1])
        normal /= np.linalg.norm(normal) * (1 if normal[1] > 0 else -1)
        # The plane is bent to a paraboloid that meets it, on average, at the corners.
        middle = points.mean(axis=0)
        height = _plane(middle, normal, x, y, z)
        px, py, pz = (a - np.float32(m) for a, m in zip((x, y, z), middle, strict=True))
        aside = ((px * px + py * py) + pz * pz) - height * height
        bent = height + aside * np.float32(0.5 / self.bow_radius_mm) - np.float32(self._rise_mm)
        result: FloatArray = np.abs(bent) - np.float32(self.half_thickness_mm)
        for corner, edge in zip(points, edges, strict=True):
            outward = np.cross(edge, normal)
            outward /= np.linalg.norm(outward) * (1 if outward @ (corner - middle) > 0 else -1)
            result = smooth_max(result, _plane(corner, outward, x, y, z), 3.0)
        return result

    @property
    def _rise_mm(self) -> float:
        points = np.array(self.corners)
        return float(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean() / (2 * self.bow_radius_mm))


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid; `axes` has the directions of its radii in the columns, the patient's own if None."""

    center: Point
    radii_mm: Point
    axes: npt.NDArray[np.float64] | None = None

    @property
    def box(self) -> tuple[Point, Point]:
        """Lowest and highest corner, LPS mm."""
        directions = np.eye(3) if self.axes is None else self.axes
        reach = np.sqrt(((directions * np.array(self.radii_mm)) ** 2).sum(axis=1)) + EDGE_MM
        return _point(np.array(self.center) - reach), _point(np.array(self.center) + reach)

    def distance(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Signed distance, mm."""
        # First order: f / |grad f| for f = |p / r| - 1, scaled.
        px, py, pz = (a - np.float32(c) for a, c in zip((x, y, z), self.center, strict=True))
        directions = np.eye(3) if self.axes is None else self.axes
        inner = np.float32(0)
        outer = np.float32(1e-12)
        for direction, radius in zip(directions.T, self.radii_mm, strict=True):
            u, v, w = (np.float32(d / radius) for d in direction)
            part = (px * u + py * v) + pz * w
            inner = inner + part * part
            outer = outer + (part / np.float32(radius)) ** 2
        norm = np.sqrt(inner)
        # Exactly at the centre both vanish; the depth there is the smallest radius.
        depth = np.where(inner < 1e-6, -np.float32(min(self.radii_mm)), norm * (norm - 1) / np.sqrt(outer))
        return depth.astype(np.float32)


@dataclass(frozen=True)
class Structure:
    """Many small shapes of one tissue, painted as their union."""

    shapes: tuple[Shape, ...]
    layers: Layers

    def paint(self, hu: FloatArray, axes: Axes) -> None:
        """Paint into voxels (K, J, I) of the box that `axes` spans."""
        windows = axes.windows(*self._boxes)
        touched = np.nonzero((windows[..., 0] < windows[..., 1]).all(axis=1))[0]
        if not len(touched):
            return
        starts, stops = windows[touched, :, 0].min(axis=0), windows[touched, :, 1].max(axis=0)
        nearest = np.full(stops - starts, FAR_MM)
        for number in touched:
            (k, k_end), (j, j_end), (i, i_end) = windows[number].tolist()
            x, y, z = axes.open_grid((slice(k, k_end), slice(j, j_end), slice(i, i_end)))
            k0, j0, i0 = starts.tolist()
            view = nearest[k - k0 : k_end - k0, j - j0 : j_end - j0, i - i0 : i_end - i0]
            np.minimum(view, self.shapes[number].distance(x, y, z), out=view)
        blend(hu[tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))], nearest, self.layers)

    @functools.cached_property
    def _boxes(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        boxes = np.array([shape.box for shape in self.shapes])
        return boxes[:, 0], boxes[:, 1]


class CoarseField:
    """A smooth signed distance on a coarse grid, for any voxel by cubic B-splines.

    A B-spline without prefiltering blurs a little and has continuous curvature: no facets in the shading.

    Parameters
    ----------
    nodes
        Signed distance, mm, shape (K, J, I).
    axes
        Of the nodes.
    """

    def __init__(self, nodes: FloatArray, axes: Axes) -> None:
        self._nodes = nodes
        self._axes = axes
        self.min_per_plane = nodes.min(axis=(1, 2))

    def at(self, points_mm: npt.NDArray[np.float64]) -> FloatArray:
        """Value of the node nearest to each LPS point (N, 3), shape (N,)."""
        i, j, k = (
            np.clip(np.rint((points_mm[:, n] - axis[0]) / (axis[1] - axis[0])), 0, len(axis) - 1).astype(np.int64)
            for n, axis in enumerate((self._axes.x, self._axes.y, self._axes.z))
        )
        result: FloatArray = self._nodes[k, j, i]
        return result

    def slice(self, z_mm: float, to_x: Taps, to_y: Taps) -> tuple[tuple[slice, slice], FloatArray] | None:
        """Distances in one slice around where the surface or the inside is.

        Parameters
        ----------
        z_mm
            Of the slice.
        to_x, to_y
            From this grid's nodes to the voxels' columns and rows.

        Returns
        -------
        Rows and columns, and the distances there, or None where the slice has nothing of it.
        """
        to_z = Taps.between(np.array([z_mm], np.float32), self._axes.z)
        if self.min_per_plane[to_z.nodes].min() > EDGE_MM:
            return None
        plane = to_z.apply(self._nodes, slice(None))[0]
        near = plane < EDGE_MM
        if not near.any():
            return None
        j, i = (taps.reached(np.asarray(near.any(axis=axis))) for axis, taps in ((1, to_y), (0, to_x)))
        across = np.ascontiguousarray(to_x.apply(plane.T, i).T)
        return (j, i), to_y.apply(across, j)


@dataclass(frozen=True)
class Taps:
    """A uniform cubic B-spline from evenly spaced nodes to points: four nodes and weights for each point.

    Plain sums over rows, no matrix product: a BLAS starts its own threads beneath each of the painting ones.
    """

    nodes: npt.NDArray[np.int64]
    weights: FloatArray

    @classmethod
    def between(cls, at: FloatArray, nodes: FloatArray) -> Taps:
        """Taps from `nodes` to the points `at`, which lie within them; ends are held."""
        place = np.clip((at - nodes[0]) / (nodes[1] - nodes[0]), 0, len(nodes) - 1)
        index = np.floor(place).astype(np.int64)[:, None] + np.arange(-1, 3)
        distance = np.abs(place[:, None] - index)
        inner = 2 / 3 - distance**2 + distance**3 / 2
        outer = np.maximum(0, 2 - distance) ** 3 / 6
        weights = np.where(distance < 1, inner, outer).astype(np.float32)
        return cls(np.clip(index, 0, len(nodes) - 1), weights)

    def apply(self, values: FloatArray, points: slice) -> FloatArray:
        """Interpolate along the first axis, at some of the points."""
        tail = (slice(None), *[None] * (values.ndim - 1))
        index, weight = self.nodes[points], self.weights[points]
        result: FloatArray = values[index[:, 0]] * weight[:, 0][tail]
        for tap in range(1, 4):
            result += values[index[:, tap]] * weight[:, tap][tail]
        return result

    def reached(self, near: npt.NDArray[np.bool_]) -> slice:
        """Points that depend on any of the nodes marked `near`."""
        index = np.nonzero(near[self.nodes].any(axis=1))[0]
        return slice(int(index[0]), int(index[-1]) + 1) if len(index) else slice(0, 0)


def blend(hu: FloatArray, distance: FloatArray, layers: Layers) -> None:
    """Paint layers into `hu` where `distance` is inside, edges softened over `EDGE_MM`."""
    for depth, value in layers:
        cover = np.clip(np.float32(0.5 - depth / EDGE_MM) - distance * np.float32(1 / EDGE_MM), 0, 1)
        hu += cover * (value - hu)


def tube(
    points: npt.ArrayLike, radii_mm: float | Sequence[float], squeeze: Point = (1.0, 1.0, 1.0), *, steps: int = 6
) -> list[Shape]:
    """Rods along a smooth (Catmull-Rom) curve through points (N, 3), `steps` to each pair of points."""
    knots = np.asarray(points, np.float64)
    radii = np.broadcast_to(np.asarray(radii_mm, np.float64), len(knots))
    padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    curve = np.concatenate(
        [
            0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
            for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
        ]
        + [knots[-1:]]
    )
    widths = np.interp(np.linspace(0, len(knots) - 1, len(curve)), np.arange(len(knots)), radii)
    return [
        Capsule(_point(a), _point(b), float(ra), float(rb), squeeze)
        for a, b, ra, rb in zip(curve, curve[1:], widths, widths[1:], strict=False)
    ]


def smooth_max(a: FloatArray, b: FloatArray, width_mm: float) -> FloatArray:
    """Maximum with a rounded edge: the intersection of two solids."""
    return -smooth_min(-a, -b, width_mm)


def smooth_min(a: FloatArray, b: FloatArray, width_mm: float) -> FloatArray:
    """Minimum with a filled groove (quadratic): the union of two solids."""
    overlap = np.maximum(np.float32(width_mm) - np.abs(a - b), 0)
    result: FloatArray = np.minimum(a, b) - overlap * overlap * np.float32(0.25 / width_mm)
    return result


def profile(points: Sequence[tuple[float, float]], smoothing_mm: float = 10.0) -> Callable[[FloatArray], FloatArray]:
    """Return a smooth function of z through about these ``(z_mm, value)``, held at the ends."""
    z, value = np.array(sorted(points)).T
    table_z = np.arange(z[0] - 4 * smoothing_mm, z[-1] + 4 * smoothing_mm, 1.0)
    kernel = np.exp(-0.5 * (np.arange(-30, 31) * 1.0 / smoothing_mm) ** 2)
    raw = np.interp(table_z, z, value)
    table = np.convolve(np.pad(raw, 30, mode="edge"), kernel / kernel.sum(), mode="valid")

    def function(at: FloatArray) -> FloatArray:
        return np.interp(at, table_z, table).astype(np.float32)

    return function


def _plane(
    point: npt.NDArray[np.float64], normal: npt.NDArray[np.float64], x: FloatArray, y: FloatArray, z: FloatArray
) -> FloatArray:
    nx, ny, nz = (np.float32(n) for n in normal)
    px, py, pz = (np.float32(p) for p in point)
    result: FloatArray = ((x - px) * nx + (y - py) * ny) + (z - pz) * nz
    return result


def _point(array: npt.NDArray[np.float64]) -> Point:
    x, y, z = (float(component) for component in array)
    return x, y, z

"""Volumes whose pictures are known in closed form.

Each phantom is a `Volume` and a function of patient space that says what a renderer must see there. All
come on any grid (rotated, mirrored, anisotropic, sheared, one slice, one voxel wide), as int16 with a rescale
or as float32.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from render.geometry import Float64Array, VolumeGeometry
from render.volume import Volume, VolumeInfo

Field = Callable[[npt.ArrayLike], Float64Array]
"""Modality values at LPS points (..., 3)."""


@dataclass(frozen=True)
class Storage:
    """How a phantom's values are stored. `invalid_code` marks voxels without a value (int16)."""

    dtype: type[np.int16] | type[np.float32]
    slope: float = 1.0
    intercept: float = 0.0
    invalid_code: int | None = None

    @property
    def rounding(self) -> float:
        """The largest error of a stored value, modality units."""
        return abs(self.slope) / 2 if self.dtype is np.int16 else 1e-3


INT16 = Storage(np.int16)
INT16_RESCALED = Storage(np.int16, slope=0.5, intercept=-1024.0)
INT16_PADDED = Storage(np.int16, invalid_code=-2000)
FLOAT32 = Storage(np.float32)
STORAGES = {
    "int16": INT16,
    "int16_rescaled": INT16_RESCALED,
    "int16_padded": INT16_PADDED,
    "float32": FLOAT32,
}


def grid_orientations() -> list[Float64Array]:
    """All 48 ways to lay i, j, k (the columns) along the patient's axes, mirrored ones included; (3, 3)."""
    return [
        np.eye(3)[:, list(order)] * np.array(signs)
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1.0, -1.0), repeat=3)
    ]


def rotation(axis: npt.ArrayLike, degrees: float) -> Float64Array:
    """Rotate about an axis by Rodrigues' formula, shape (3, 3)."""
    x, y, z = np.asarray(axis, np.float64) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    result: Float64Array = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return result


def grid(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    axes: Float64Array | None = None,
    *,
    center_mm: npt.ArrayLike = (0.0, 0.0, 0.0),
    shear: tuple[float, float] = (0.0, 0.0),
) -> VolumeGeometry:
    """Lay a grid around a centre.

    Parameters
    ----------
    shape
        ``(K, J, I)``.
    spacing_mm
        Of columns, rows and slices.
    axes
        Directions of i, j and k in the columns; the patient's own if None.
    center_mm
        LPS.
    shear
        Mm along i and along j that each slice is displaced by, as by a gantry tilt.
    """
    directions = np.eye(3) if axes is None else axes
    steps = directions * np.array(spacing_mm)
    steps[:, 2] += directions[:, :2] @ np.array(shear)
    middle = (np.array(shape[::-1]) - 1) / 2
    return VolumeGeometry.from_axes(shape, np.asarray(center_mm) - steps @ middle, *steps.T)


OBLIQUE = rotation((1.0, 2.0, -0.5), 33.0)
GRIDS: dict[str, VolumeGeometry] = {
    "axis_aligned": grid((20, 24, 28), (1.0, 1.0, 1.0), center_mm=(12.0, -30.0, 55.0)),
    "oblique": grid((20, 24, 28), (0.9, 0.9, 1.3), OBLIQUE, center_mm=(-15.0, 20.0, 5.0)),
    "sheared": grid((20, 24, 28), (0.8, 0.8, 1.5), shear=(0.0, 0.5), center_mm=(5.0, 5.0, -80.0)),
    "anisotropic": grid((8, 60, 50), (0.4, 0.4, 5.0), center_mm=(0.0, 10.0, 20.0)),
}
"""Grids that every method is tried on."""


def store(
    name: str, geometry: VolumeGeometry, values: npt.ArrayLike, storage: Storage, *, modality: str = "CT"
) -> Volume:
    """Store modality values (K, J, I) as a Volume; NaN becomes what marks an invalid voxel."""
    wanted = np.asarray(values, np.float64)
    if storage.dtype is np.float32:
        return Volume(name, geometry, wanted.astype(np.float32), info=VolumeInfo(modality=modality))
    codes = np.round((wanted - storage.intercept) / storage.slope)
    if storage.invalid_code is None:
        assert not np.isnan(codes).any(), "this storage has no code for an invalid voxel"
    else:
        assert not (codes == storage.invalid_code).any(), "a value that would read as invalid"
        codes = np.nan_to_num(codes, nan=storage.invalid_code)
    assert np.array_equal(codes, np.clip(codes, -32768, 32767)), "values that int16 can't hold"
    return Volume(
        name,
        geometry,
        codes.astype(np.int16),
        storage.slope,
        storage.intercept,
        storage.invalid_code,
        VolumeInfo(modality=modality),
    )


def voxel_centers(geometry: VolumeGeometry) -> Float64Array:
    """LPS mm of every voxel's centre, shape (K, J, I, 3)."""
    k, j, i = np.indices(geometry.shape)
    return geometry.to_patient(np.stack([i, j, k], axis=-1))


def constant(geometry: VolumeGeometry, storage: Storage, value: float = 300.0) -> tuple[Volume, Field]:
    """Everything the same: so is every sample, mean and maximum."""

    def field(points_mm: npt.ArrayLike) -> Float64Array:
        return np.full(np.shape(points_mm)[:-1], value)

    return store("constant", geometry, np.full(geometry.shape, value), storage), field


def ramp(
    geometry: VolumeGeometry, storage: Storage, per_index: tuple[int, int, int] = (7, -5, 11)
) -> tuple[Volume, Field]:
    """Linear in the voxel index with whole codes: trilinear interpolation is exact on any affine.

    Between the outermost voxel centres and the faces the edge is held.
    """
    sizes = np.array(geometry.shape[::-1])

    def field(points_mm: npt.ArrayLike) -> Float64Array:
        index = np.clip(geometry.to_voxel(points_mm), 0, sizes - 1)
        result: Float64Array = index @ np.array(per_index, np.float64) * storage.slope + storage.intercept
        return result

    return store("ramp", geometry, field(voxel_centers(geometry)), storage), field


@dataclass(frozen=True)
class Sphere:
    """A round blob, ``peak * max(0, 1 - (r / radius) ** 2)``: its line integrals are polynomials."""

    center_mm: tuple[float, float, float]
    radius_mm: float
    peak: float = 2000.0

    def field(self, points_mm: npt.ArrayLike) -> Float64Array:
        """Modality value at LPS points (..., 3)."""
        squared = ((np.asarray(points_mm) - self.center_mm) ** 2).sum(axis=-1)
        result: Float64Array = self.peak * np.maximum(0, 1 - squared / self.radius_mm**2)
        return result

    def volume(self, geometry: VolumeGeometry, storage: Storage) -> Volume:
        """Sample at voxel centres."""
        return store("sphere", geometry, self.field(voxel_centers(geometry)), storage)

    def sampling_error(self, geometry: VolumeGeometry, storage: Storage) -> float:
        """Bound of trilinear interpolation's error, modality units.

        Linear interpolation errs by at most h^2/8 of the second derivative, here 2 peak/R^2 along any line,
        once for each axis.
        """
        lengths = np.linalg.norm(geometry.patient_from_voxel[:3, :3], axis=0)
        bend = 2 * self.peak / self.radius_mm**2
        return float((lengths**2).sum() / 8 * bend + storage.rounding)

    def rim_error(self, geometry: VolumeGeometry, storage: Storage) -> float:
        """Bound where interpolation may cross the rim: the slope's jump, 2 peak/R, adds up to h/4 of it."""
        lengths = np.linalg.norm(geometry.patient_from_voxel[:3, :3], axis=0)
        kink = 2 * self.peak / self.radius_mm
        return self.sampling_error(geometry, storage) + float(lengths.sum() / 4 * kink)

    def maximum(self, bases_mm: Float64Array, directions: Float64Array, slab_mm: float | None) -> Float64Array:
        """Exact maximum along rays within a slab symmetric about their bases, modality units."""
        middle = ((np.array(self.center_mm) - bases_mm) * directions).sum(axis=-1)
        if slab_mm is not None:
            middle = np.clip(middle, -slab_mm / 2, slab_mm / 2)
        return self.field(bases_mm + middle[..., None] * directions)

    def mean(self, bases_mm: Float64Array, directions: Float64Array, slab_mm: float) -> Float64Array:
        """Exact mean along rays within a slab, modality units: the integral of a parabola over its chord."""
        middle = ((np.array(self.center_mm) - bases_mm) * directions).sum(axis=-1)
        squared_miss = ((bases_mm + middle[..., None] * directions - self.center_mm) ** 2).sum(axis=-1)
        half_chord = np.sqrt(np.maximum(0, self.radius_mm**2 - squared_miss))
        low = np.clip(-slab_mm / 2 - middle, -half_chord, half_chord)
        high = np.clip(slab_mm / 2 - middle, -half_chord, half_chord)
        height = 1 - squared_miss / self.radius_mm**2
        integral = height * (high - low) - (high**3 - low**3) / (3 * self.radius_mm**2)
        result: Float64Array = self.peak * integral / slab_mm
        return result


def centered_sphere(geometry: VolumeGeometry) -> Sphere:
    """Return the sphere that fits a grid, a little off its centre."""
    radius = 0.4 * min(n * s for n, s in zip(geometry.shape[::-1], geometry.spacing_mm, strict=True))
    x, y, z = geometry.center_mm + 0.1 * radius
    return Sphere((float(x), float(y), float(z)), radius)


ELL_ARMS: tuple[tuple[npt.NDArray[np.float64], float], ...] = (
    (np.array([[1.0, 3.0, -4.0], [9.0, 4.0, -3.0]]), 1000.0),  # to the patient's left
    (np.array([[1.0, 3.0, -4.0], [2.0, 8.0, -3.0]]), 700.0),  # to the back
    (np.array([[1.0, 3.0, -4.0], [2.0, 4.0, 0.0]]), 400.0),  # to the head
)
"""Boxes (lowest and highest voxel centre, LPS mm) and their values; the first that holds a point wins."""


def ell_field(points_mm: npt.ArrayLike) -> Float64Array:
    """Modality values of an L with a third arm at LPS points (..., 3).

    Three unlike lengths and values, off centre, so that no flip or swap of axes maps it to itself.
    """
    points = np.asarray(points_mm, np.float64)
    result = np.zeros(points.shape[:-1])
    for box, value in reversed(ELL_ARMS):
        inside = ((points >= box[0] - 1e-6) & (points <= box[1] + 1e-6)).all(axis=-1)
        result[inside] = value
    return result


def ell(axes: Float64Array, storage: Storage) -> Volume:
    """Sample the L on a 1 mm grid about 0 with voxel centres at whole mm, its axes laid as given."""
    geometry = grid((25, 25, 25), (1.0, 1.0, 1.0), axes)
    return store("ell", geometry, ell_field(voxel_centers(geometry)), storage)


def impulse(
    geometry: VolumeGeometry, storage: Storage, voxel: tuple[int, int, int], peak: float = 1000.0
) -> tuple[Volume, Field]:
    """One voxel (i, j, k) that is not zero: what is seen is the interpolation, a product of three tents."""
    values = np.zeros(geometry.shape)
    values[voxel[::-1]] = peak

    def field(points_mm: npt.ArrayLike) -> Float64Array:
        index = np.clip(geometry.to_voxel(points_mm), 0, np.array(geometry.shape[::-1]) - 1)
        result: Float64Array = peak * np.maximum(0, 1 - np.abs(index - voxel)).prod(axis=-1)
        return result

    return store("impulse", geometry, values, storage), field


def noise(geometry: VolumeGeometry, storage: Storage, *, seed: int = 1, holes: float = 0.0) -> Volume:
    """Uniform noise, -1000 to 1500: the hardest to interpolate. A fraction `holes` of voxels has no value."""
    generator = np.random.default_rng(seed)
    values = generator.uniform(-1000, 1500, geometry.shape).round()
    if holes:
        values[generator.random(geometry.shape) < holes] = np.nan
    return store("noise", geometry, values, storage)


def blobs(geometry: VolumeGeometry, storage: Storage, *, seed: int = 1, holes: float = 0.0) -> Volume:
    """Smooth noise, -1000 to 1500: has structure and gradients as anatomy has. Optionally a padded corner.

    With `holes` over 0, that fraction of the slices, rows and columns at the far corner has no value.
    """
    generator = np.random.default_rng(seed)
    index = np.stack(np.indices(geometry.shape)[::-1], axis=-1).astype(np.float64)
    total = np.zeros(geometry.shape)
    for _ in range(6):
        wave = generator.normal(0, 0.35, 3)
        total += np.cos(index @ wave + generator.uniform(0, 2 * np.pi))
    values = 250 + 1250 * np.tanh(total / 2)
    if holes:
        k, j, i = (int(np.ceil(n * (1 - holes))) for n in geometry.shape)
        values[k:, j:, i:] = np.nan
    return store("blobs", geometry, values, storage)

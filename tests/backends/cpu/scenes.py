"""Small volumes and views that the CPU renderer's own tests share."""

from __future__ import annotations

import numpy as np

from render.geometry import VolumeGeometry
from render.transfer import Shading, TransferFunction
from render.view import Camera, Layer, RenderingMethod, View, Viewport
from render.volume import Volume

SHADED = TransferFunction(
    ((-200, 0.0), (0, 0.05), (600, 0.4)), ((-200, 0.2, 0.1, 0.1), (600, 1.0, 0.9, 0.7)), Shading()
)
UNSHADED = TransferFunction(SHADED.opacity_points, SHADED.color_points)

WORKS: dict[str, tuple[RenderingMethod, float | None, TransferFunction | None]] = {
    "thin": (RenderingMethod.AVERAGE_IP, 0.0, None),
    "slab_max": (RenderingMethod.MAXIMUM_IP, 12.0, None),
    "max": (RenderingMethod.MAXIMUM_IP, None, None),
    "min": (RenderingMethod.MINIMUM_IP, None, None),
    "mean": (RenderingMethod.AVERAGE_IP, None, None),
    "color": (RenderingMethod.VOLUME_RENDERED, None, UNSHADED),
    "color_shaded": (RenderingMethod.VOLUME_RENDERED, None, SHADED),
}


def body(dtype: type = np.int16, *, holes: bool = False, shape: tuple[int, int, int] = (48, 56, 64)) -> Volume:
    """Make a noisy ellipsoid in empty space, most of which can be skipped, on an anisotropic grid."""
    rng = np.random.default_rng(7)
    k, j, i = np.indices(shape, dtype=np.float64)
    r = np.sqrt(sum(((x - (n - 1) / 2) / (n * 0.38)) ** 2 for x, n in zip((k, j, i), shape, strict=True)))
    values = np.where(r < 1, 200 + 300 * np.cos(5 * r) + rng.normal(0, 20, shape), -1000.0).round()
    codes = values.astype(dtype)
    if holes:
        codes[20:23, 10:30, 5:40] = np.nan if dtype is np.float32 else -2000
    affine = np.diag([0.8, 0.9, 1.1, 1.0])
    affine[:3, 3] = (-20.0, 15.0, 100.0)
    invalid = -2000 if holes and dtype is np.int16 else None
    return Volume("body", VolumeGeometry(shape, affine), codes, invalid_code=invalid)


def camera_of(volume: Volume, *, perspective: bool = False, turn: float = 0.6) -> Camera:
    """Look aslant at a volume's middle."""
    geometry = volume.geometry
    away = np.array([np.sin(turn), -np.cos(turn), 0.3]) * geometry.diagonal_mm
    lens = {"fov_deg": 50.0} if perspective else {"parallel_scale_mm": geometry.diagonal_mm * 0.45}
    target = np.add(geometry.center_mm, [0.3, -0.2, 0.7])
    return Camera(tuple(target + away), tuple(target), (0, 0, 1), **lens)


def view_of(
    volume: Volume, work: str, size: tuple[int, int] = (70, 45), *, perspective: bool = False, **viewport: bool
) -> View:
    method, slab_mm, function = WORKS[work]
    layer = Layer(volume.id, transfer_function=function)
    return View(camera_of(volume, perspective=perspective), Viewport(*size, **viewport), (layer,), method, slab_mm)


def turning_view(volume: Volume, work: str, *, fov_deg: float = 90.0, distance_mm: float = 80.0) -> View:
    """Few rays at a wide angle along k: if its voxels are flat, packets reach farther along it than across."""
    target = np.add(volume.geometry.center_mm, [3.0, 2.0, 0.0])
    camera = Camera(tuple(target - [0.0, 0.0, distance_mm]), tuple(target), (0, -1, 0), fov_deg=fov_deg)
    method, slab_mm, function = WORKS[work]
    return View(camera, Viewport(40, 40), (Layer(volume.id, transfer_function=function),), method, slab_mm)

"""Cameras, works and small volumes that renderers are tried on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import hypothesis
import numpy as np
from hypothesis import strategies as st

from render.backends.base import Renderer
from render.frame import Frame, Quality
from render.geometry import VolumeGeometry
from render.transfer import Shading, TransferFunction
from render.view import Camera, Layer, RenderingMethod, View, Viewport
from render.volume import Volume
from tests import phantoms
from tests.comparison import Verdict, compare
from tests.phantoms import FLOAT32, INT16, INT16_PADDED, INT16_RESCALED, Storage, grid
from tests.reference import render_reference

COLOR, MAXIMUM = RenderingMethod.VOLUME_RENDERED, RenderingMethod.MAXIMUM_IP
MINIMUM, MEAN = RenderingMethod.MINIMUM_IP, RenderingMethod.AVERAGE_IP

SOFT = TransferFunction(
    ((-400, 0.0), (200, 0.05), (900, 0.35)), ((-1000, 0.1, 0.2, 0.6), (0, 0.9, 0.4, 0.2), (1500, 1.0, 1.0, 0.8))
)
SOFT_SHADED = dataclasses.replace(SOFT, shading=Shading(0.2, 0.7, 0.3, 8.0))

WORKS: dict[str, tuple[RenderingMethod, float | None, TransferFunction | None]] = {
    "thin": (MAXIMUM, 0.0, None),
    "slab_max": (MAXIMUM, 6.0, None),
    "slab_min": (MINIMUM, 6.0, None),
    "slab_mean": (MEAN, 6.0, None),
    "max": (MAXIMUM, None, None),
    "min": (MINIMUM, None, None),
    "mean": (MEAN, None, None),
    "color": (COLOR, None, SOFT),
    "color_shaded": (COLOR, None, SOFT_SHADED),
}

Fill = Callable[..., Volume]
"""A phantom: geometry and storage, ``seed`` and ``holes``."""


def holes_of(storage: Storage) -> float:
    """How much of a phantom has no value: nothing where the storage can't say so."""
    return 0.3 if storage.invalid_code is not None or storage.dtype is np.float32 else 0.0


def make_view(volume: Volume, work: str, camera: Camera, size: tuple[int, int] = (37, 29), **viewport: bool) -> View:
    """One of `WORKS` of a volume."""
    method, slab_mm, function = WORKS[work]
    return View(camera, Viewport(*size, **viewport), (Layer(volume.id, transfer_function=function),), method, slab_mm)


def slanted_camera(geometry: VolumeGeometry, projection: str = "orthographic") -> Camera:
    """Look at a little beside the centre from a direction that no grid has, nearly filling the picture."""
    center = geometry.center_mm + 0.05 * geometry.diagonal_mm * np.array([1.0, -0.5, 0.7])
    away = np.array([0.55, -0.7, 0.4])
    position = center + away / np.linalg.norm(away) * 1.5 * geometry.diagonal_mm
    half_height = 0.4 * geometry.diagonal_mm
    if projection == "orthographic":
        return camera_at(position, center, parallel_scale_mm=half_height)
    return camera_at(position, center, fov_deg=float(np.degrees(2 * np.arctan(0.4 / 1.5))))


def camera_at(position: np.ndarray, look_at: np.ndarray, up: np.ndarray | None = None, **lens: float) -> Camera:
    """Return a camera from arrays."""
    upward = np.array([0.1, 0.2, 1.0]) if up is None else up
    return Camera(*(tuple(float(x) for x in v) for v in (position, look_at, upward)), **lens)


def draw(renderer: Renderer, volume: Volume, view: View, *, quality: Quality | None = None) -> Frame:
    """Upload, render, release."""
    resident = renderer.upload(volume)
    try:
        return renderer.render(view, {volume.id: resident}, quality=quality or Quality())
    finally:
        renderer.release(resident)


def verdict(renderer: Renderer, volume: Volume, view: View) -> Verdict:
    """Render and compare."""
    return compare(render_reference(view, volume), draw(renderer, volume, view), volume)


@st.composite
def scenes(
    pick: st.DrawFn,
    longest: int = 9,
    works: Sequence[str] = tuple(sorted(WORKS)),
    fills: Sequence[Fill] = (phantoms.blobs,),
) -> tuple[Volume, View]:
    """Return a small volume on any grid, and any camera that might see it, or be within.

    Parameters
    ----------
    pick
        Hypothesis's.
    longest
        Voxels along a side, at most.
    works
        Which of `WORKS`.
    fills
        Which phantoms.
    """

    def number(low: float, high: float) -> float:
        return pick(st.floats(low, high))

    shape = (pick(st.integers(1, longest)), pick(st.integers(1, longest)), pick(st.integers(1, longest)))
    axis = np.array([number(-1, 1), number(-1, 1), number(0.25, 1)])
    axes = phantoms.rotation(axis, number(0, 180)) * pick(st.sampled_from([1.0, -1.0]))
    spacing = (number(0.25, 4), number(0.25, 4), number(0.25, 4))
    shear = (number(-0.5, 0.5) * spacing[2], number(-0.5, 0.5) * spacing[2])
    center = [number(-200, 200) for _ in range(3)]
    geometry = grid(shape, spacing, axes, center_mm=center, shear=shear)
    storage = pick(st.sampled_from([INT16, INT16_RESCALED, INT16_PADDED, FLOAT32]))
    holes = pick(st.sampled_from([0.0, 0.1])) if holes_of(storage) else 0.0
    volume = pick(st.sampled_from(fills))(geometry, storage, seed=pick(st.integers(0, 99)), holes=holes)

    size = geometry.diagonal_mm
    towards = phantoms.rotation([number(-1, 1), number(-1, 1), 0.5], number(0, 180)) @ [1.0, 0.0, 0.0]
    look_at = geometry.center_mm + size * np.array([number(-0.4, 0.4) for _ in range(3)])
    position = look_at - towards * size * number(0.25, 3)
    up = np.cross(towards, [0.36, 0.48, 0.8]) + 0.5 * towards
    hypothesis.assume(np.linalg.norm(np.cross(towards, up)) > 0.05)
    lens = {"fov_deg": number(5, 120)} if pick(st.booleans()) else {"parallel_scale_mm": size * number(0.05, 0.7)}
    work = pick(st.sampled_from(works))
    flips = {"flip_horizontal": pick(st.booleans()), "flip_vertical": pick(st.booleans())}
    view = make_view(volume, work, camera_at(position, look_at, up, **lens), (9, 7), **flips)
    if WORKS[work][1]:
        view = dataclasses.replace(view, slab_mm=number(0.01, 1.5) * size)
    return volume, view

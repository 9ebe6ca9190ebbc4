"""Whether a card draws what the CPU draws, within what both may be off: before it is trusted with a frame."""

from __future__ import annotations

import dataclasses

import numpy as np

from render.backends.base import Renderer
from render.frame import FINAL, Frame, Quality
from render.geometry import VolumeGeometry
from render.transfer import Shading, TransferFunction
from render.view import Camera, Layer, RenderingMethod, View, Viewport
from render.volume import Volume

VALUE_TOLERANCE = 2.0
"""HU. A renderer may be off by one code, which is 1 HU here: so may two be, in opposite directions."""
COLOR_TOLERANCE = 5
"""Levels. Twice the two and a half that a renderer may be off."""
FRACTION = 0.99
"""Of the pixels that have to agree: beside a steep transfer function or a face a rounding decides."""
TEXTURE_FRACTIONS = 2.0**-9, 3 * 2.0**-9, 5 * 2.0**-9
"""Of the difference of neighbours along k, j and i, what texture sampling may be off besides, and half a code."""
FEWER_STEPS = Quality(step_factor=2.0)
"""Not final, so that a card samples by texture."""

_FUNCTION = TransferFunction(
    ((-600.0, 0.0), (0.0, 0.05), (900.0, 0.3)),
    ((-900.0, 0.1, 0.2, 0.6), (900.0, 1.0, 0.8, 0.5)),
    Shading(0.2, 0.7, 0.3, 8.0),
)
_SIZE = Viewport(64, 48)


def disagreement(renderer: Renderer, judge: Renderer) -> str:
    """Draw a few small pictures on both and compare.

    Parameters
    ----------
    renderer
        The card's.
    judge
        The CPU's.

    Returns
    -------
    str
        Which picture is off and by how much, in one line; empty if none is.
    """
    volume = _volume()
    residents = [each.upload(volume) for each in (renderer, judge)]
    try:
        for name, view, quality in _pictures(volume):
            ours, theirs = (
                each.render(view, {volume.id: resident}, quality=quality)
                for each, resident in zip((renderer, judge), residents, strict=True)
            )
            tolerance = float(COLOR_TOLERANCE) if view.is_color else VALUE_TOLERANCE
            if not quality.is_final:
                tolerance += _texture_error(volume)
            share = _agreeing(ours, theirs, tolerance)
            if share < FRACTION:
                return f"{name} equals the CPU's at {share:.1%} of its pixels, {FRACTION:.0%} needed"
    finally:
        for each, resident in zip((renderer, judge), residents, strict=True):
            each.release(resident)
    return ""


def _volume() -> Volume:
    """Waves of 1,000 HU on a slanted grid of uneven spacing."""
    k, j, i = np.indices((20, 26, 32))
    codes = 1000 * np.sin(i / 5.0 + 0.3) * np.cos(j / 4.0) * np.sin(k / 3.0 + 1.0)
    affine = np.eye(4)
    affine[:3, :3] = [[0.9, 0.1, -0.2], [-0.1, 1.1, 0.3], [0.2, -0.2, 1.6]]
    affine[:3, 3] = [-12.0, -15.0, -18.0]
    return Volume("self-test", VolumeGeometry(codes.shape, affine), np.rint(codes).astype(np.int16))


def _pictures(volume: Volume) -> list[tuple[str, View, Quality]]:
    center = volume.geometry.center_mm
    x, y, z = (float(n) for n in np.add(center, [28.0, -43.0, 31.0]))
    u, v, w = (float(n) for n in center)
    camera = Camera((x, y, z), (u, v, w), (0.1, 0.2, 1.0), parallel_scale_mm=18.0)
    layer = Layer(volume.id)
    maximum, mean = RenderingMethod.MAXIMUM_IP, RenderingMethod.AVERAGE_IP
    color = dataclasses.replace(layer, transfer_function=_FUNCTION)
    return [
        ("a plane", View(camera, _SIZE, (layer,), maximum, 0.0), FINAL),
        ("a maximum", View(camera, _SIZE, (layer,), maximum, None), FINAL),
        ("a mean", View(camera, _SIZE, (layer,), mean, None), FINAL),
        ("a shaded volume", View(camera, _SIZE, (color,), RenderingMethod.VOLUME_RENDERED, None), FINAL),
        ("a plane by texture", View(camera, _SIZE, (layer,), maximum, 0.0), FEWER_STEPS),
    ]


def _texture_error(volume: Volume) -> float:
    codes = volume.codes.astype(np.float64)
    return sum(part * float(np.abs(np.diff(codes, axis=n)).max()) for n, part in enumerate(TEXTURE_FRACTIONS)) + 0.5


def _agreeing(ours: Frame, theirs: Frame, tolerance: float) -> float:
    """Return the share of the pixels that agree; those outside for both do not count, so that nothing is not enough."""
    a, b = (frame.pixels.astype(np.float64) for frame in (ours, theirs))
    if ours.color is not None:
        a, b = a.reshape(-1, 4), b.reshape(-1, 4)
        seen = np.any(a, axis=1) | np.any(b, axis=1)
        near = np.abs(a - b).max(axis=1) <= tolerance
    else:
        seen = ~(np.isnan(a) & np.isnan(b))
        near = np.less_equal(np.abs(a - b), tolerance)
    return float(near[seen].mean()) if seen.any() else 0.0

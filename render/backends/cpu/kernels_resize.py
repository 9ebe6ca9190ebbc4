"""Scalar kernels that bring a picture of fewer rays to the viewport's size, bilinearly.

Ray R of a picture with stride s stands for pixels ``R * s`` to ``R * s + s - 1`` and was cast through their middle, so
pixel r lies at ``(r - (s - 1) / 2) / s`` among the rays; beyond the outermost rays their values are held.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from render.backends.cpu.operations import inline


@inline
def between(pixel: int, stride: int, count: int) -> Any:
    """Return the two rays around a pixel and the weight of the second."""
    at: Any = min(max((pixel - (stride - 1) / 2) / stride, 0.0), count - 1.0)
    before: Any = min(np.int64(at), max(count - 2, 0))
    return before, min(before + 1, count - 1), at - before


def enlarge_values(rays: Any, stride: int, out: Any) -> None:
    """float32; NaN takes no part, but a pixel whose nearest ray is NaN is NaN, so that edges stay where they are."""
    for row in range(out.shape[0]):
        top, bottom, down = between(row, stride, rays.shape[0])
        for column in range(out.shape[1]):
            left, right, across = between(column, stride, rays.shape[1])
            nearest = rays[bottom if down > 0.5 else top, right if across > 0.5 else left]
            if np.isnan(nearest):
                out[row, column] = np.nan
                continue
            total, weights = 0.0, 0.0
            for y, wy in ((top, 1 - down), (bottom, down)):
                for x, wx in ((left, 1 - across), (right, across)):
                    value = rays[y, x]
                    if not np.isnan(value):
                        total += wy * wx * value
                        weights += wy * wx
            out[row, column] = total / weights


def enlarge_color(rays: Any, stride: int, out: Any) -> None:
    """uint8, premultiplied RGBA."""
    for row in range(out.shape[0]):
        top, bottom, down = between(row, stride, rays.shape[0])
        for column in range(out.shape[1]):
            left, right, across = between(column, stride, rays.shape[1])
            for channel in range(4):
                upper = rays[top, left, channel] * (1 - across) + rays[top, right, channel] * across
                lower = rays[bottom, left, channel] * (1 - across) + rays[bottom, right, channel] * across
                out[row, column, channel] = np.uint8(upper * (1 - down) + lower * down + 0.5)

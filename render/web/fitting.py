"""A region of a picture, fitted into a viewport as PS3.18 8.3.5.1.3 has it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from render.errors import InvalidArgumentError
from render.view import Viewport


@dataclass(frozen=True)
class Region:
    """Which part of a source image is shown, and how large it may become.

    Attributes
    ----------
    width_px, height_px
        Of the viewport.
    left, top
        Of the region, in pixels of the source from its first one.
    width, height
        Of the region; negative to mirror it, None for as far as the source goes.
    """

    width_px: int
    height_px: int
    left: float = 0.0
    top: float = 0.0
    width: float | None = None
    height: float | None = None


def parse_region(text: str) -> Region:
    """Read ``vw,vh[,[sx],[sy],[sw],[sh]]``.

    Raises
    ------
    InvalidArgumentError
        If it is anything else.
    InvalidViewError
        If the viewport is out of range.
    """
    parts = [part.strip() for part in text.split(",")]
    try:
        if len(parts) not in (2, 6):
            raise ValueError
        viewport = Viewport(int(parts[0]), int(parts[1]))
        left, top, width, height = (float(part) if part else None for part in (*parts[2:], *[""] * (6 - len(parts))))
        if not all(np.isfinite(number) for number in (left, top, width, height) if number is not None):
            raise ValueError
    except ValueError:
        raise InvalidArgumentError(f"{text[:80]!r}: width,height or width,height,x,y,w,h needed") from None
    return Region(viewport.width_px, viewport.height_px, left or 0.0, top or 0.0, width, height)


def fitted(picture: npt.NDArray[np.uint8], region: Region, aspect: float) -> npt.NDArray[np.uint8]:
    """Return a region of a picture, as large as its viewport holds with square pixels.

    Parameters
    ----------
    picture
        Gray ``(H, W)`` or RGB ``(H, W, 3)``.
    region
        Cut off where it leaves the picture.
    aspect
        Height over width of one of the picture's pixels.

    Raises
    ------
    InvalidArgumentError
        If nothing of the region lies within the picture.
    """
    rows, columns = picture.shape[:2]
    across, is_mirrored = _within(region.left, region.width, columns)
    down, is_flipped = _within(region.top, region.height, rows)
    cut = picture[down, across][:: -1 if is_flipped else 1, :: -1 if is_mirrored else 1]
    height, width = cut.shape[0] * aspect, float(cut.shape[1])
    scale = min(region.height_px / height, region.width_px / width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    resampled = _resampled(_resampled(cut.astype(np.float32), size[0]).swapaxes(0, 1), size[1]).swapaxes(0, 1)
    rounded: npt.NDArray[np.uint8] = np.floor(np.clip(resampled, 0, 255) + 0.5).astype(np.uint8)
    return rounded


def _within(start: float, length: float | None, count: int) -> tuple[slice, bool]:
    """Return the whole pixels of an interval, and whether it is mirrored."""
    length = count - start if length is None else length
    first, last = max(0, round(start)), min(count, round(start + abs(length)))
    if first >= last:
        raise InvalidArgumentError(f"viewport: no pixel of {count} from {start:g} on for {length:g}", field="viewport")
    return slice(first, last), length < 0


def _resampled(pixels: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    """Resample the first axis to `count` points: linearly, over as many pixels as one point stands for."""
    step = len(pixels) / count
    reach = max(step, 1.0)
    centers = (np.arange(count) + 0.5) * step - 0.5
    first = np.ceil(centers - reach).astype(int)
    total = np.zeros((count, *pixels.shape[1:]), np.float32)
    weights = np.zeros(count, np.float32)
    shape = (count, *[1] * (pixels.ndim - 1))
    for tap in range(int(2 * reach) + 1):
        at = first + tap
        weight = np.clip(1 - np.abs(at - centers) / reach, 0, None).astype(np.float32)
        weight[(at < 0) | (at >= len(pixels))] = 0
        total += weight.reshape(shape) * pixels[np.clip(at, 0, len(pixels) - 1)]
        weights += weight
    total /= weights.reshape(shape)
    return total

"""Pictures that came from the server, and what was actually rendered."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from voxelcast.appearance import Window
from voxelcast.errors import InvalidArgumentError
from voxelcast.geometry import ImagePlane
from voxelcast.views import RenderingMethod

Encoding: TypeAlias = Literal["values", "uint16", "deflate", "png", "jpeg"]
"""How a picture travels.

``values``
    Exact: float32 modality values; RGBA for a volume rendering.
``uint16``
    Modality values in 16 bits, at half the size; not for a volume rendering.
``deflate``
    Those 16 bits, or RGBA, compressed without loss: the least of the lossless ones.
``png``
    8-bit gray through the window, or RGB over black.
``jpeg``
    The same, with loss.
"""

Content: TypeAlias = Literal["values", "rgba", "picture"]
"""What an array holds: modality values, RGBA premultiplied by alpha, or 8-bit gray or RGB as seen."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture and what was actually rendered. It shows itself in a notebook.

    Attributes
    ----------
    array
        For `content` ``values``: float32, shape (H, W), modality units, NaN outside the volume.
        ``rgba``: uint8, (H, W, 4), premultiplied by alpha. ``picture``: uint8, (H, W) gray or (H, W, 3) RGB as seen.
        An interactive frame of a stream may be smaller than the viewport.
    content
        What `array` holds.
    plane
        Where the pixels lie.
    window
        The window that applies.
    units
        Of the values.
    inverted
        Whether gray is shown inverted.
    rendering_method, slab_mm, step_mm
        As rendered; `slab_mm` is None for the whole volume, `step_mm` 0 for a thin view.
    is_final
        Every ray, the final step.
    lossless
        The pixels are the renderer's own, to the rounding of the encoding.
    jpeg_quality
        1 to 100 where it travelled as JPEG, else 0.
    lossy_source
        The voxels were compressed lossily before they came to the server.
    view_id, view_revision, volume_revision, sequence
        Of a stream: which view this answers, and its number; else empty and 0.
    missing_slices
        Of the volume, not loaded yet when this was drawn.
    value_step
        Modality units from one 16-bit code to the next; 0 where the values are float32.
    timings_ms
        Stage to duration: ``queue``, ``render``, ``encode``.
    """

    array: npt.NDArray[Any]
    content: Content
    plane: ImagePlane
    window: Window
    units: str = ""
    inverted: bool = False
    rendering_method: RenderingMethod = "maximum_ip"
    slab_mm: float | None = None
    step_mm: float = 0.0
    is_final: bool = True
    lossless: bool = True
    jpeg_quality: int = 0
    lossy_source: bool = False
    view_id: str = ""
    view_revision: int = 0
    volume_revision: int = 0
    sequence: int = 0
    missing_slices: int = 0
    value_step: float = 0.0
    timings_ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of `array`."""
        return self.array.shape

    @property
    def is_exact(self) -> bool:
        """Whether it is as good as it gets: final, lossless, of a volume that is all there."""
        return self.is_final and self.lossless and self.missing_slices == 0

    def gray8(self, window: Window | None = None) -> npt.NDArray[np.uint8]:
        """Return the values through a window (None: the frame's own), uint8, shape (H, W).

        Raises
        ------
        InvalidArgumentError
            If the frame holds no values.
        """
        if self.content != "values":
            raise InvalidArgumentError(f"a frame of {self.content} has no values to window")
        return (window or self.window).to_gray8(self.array, invert=self.inverted)

    def picture(self) -> npt.NDArray[np.uint8]:
        """Return what is seen: gray uint8 (H, W), or RGB over black uint8 (H, W, 3)."""
        if self.content == "values":
            return self.gray8()
        return self.array[..., :3] if self.content == "rgba" else self.array

    def to_png(self) -> bytes:
        """Return `picture` as a PNG file."""
        return _png(self.picture())

    def save_png(self, path: str | Path) -> None:
        """Write `picture` to a PNG file."""
        Path(path).write_bytes(self.to_png())

    def _repr_png_(self) -> bytes:
        return self.to_png()

    def __repr__(self) -> str:
        state = "final" if self.is_final else "interactive"
        return f"<Frame {self.array.dtype} {self.shape} {self.content}, {self.rendering_method}, {state}>"


def _png(picture: npt.NDArray[np.uint8]) -> bytes:
    """Write gray (H, W) or RGB (H, W, 3) as PNG (RFC 2083), each row filtered by its difference to the left."""
    height, width = picture.shape[:2]
    channels = 1 if picture.ndim == 2 else picture.shape[2]
    pixels = picture.reshape(height, width, channels)
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = 1  # filter type Sub
    rows[:, 1:] = np.diff(pixels, axis=1, prepend=np.uint8(0)).reshape(height, -1)
    color_type = {1: 0, 3: 2}[channels]
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows.tobytes(), 1)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )

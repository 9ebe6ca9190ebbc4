"""Pictures: 8-bit gray, RGB over black, and RGBA."""

from __future__ import annotations

import imagecodecs
import numpy as np
import numpy.typing as npt

from render.encoding.values import DEFLATE_LEVEL, inflate
from render.errors import InvalidArgumentError

PNG_LEVEL = 1
"""Higher levels take three times as long for a tenth of the bytes."""
CHROMA_QUALITY = 90
"""JPEG keeps full colour resolution from this quality on; below it halves it, as the eye does."""


def jpeg(picture: npt.NDArray[np.uint8], quality: int) -> bytes:
    """Encode gray ``(H, W)`` or RGB ``(H, W, 3)`` as baseline JPEG, quality 1 to 100."""
    pixels = np.ascontiguousarray(picture)
    if pixels.ndim == 2:
        return bytes(imagecodecs.jpeg8_encode(pixels, quality))
    return bytes(imagecodecs.jpeg8_encode(pixels, quality, subsampling="444" if quality >= CHROMA_QUALITY else "420"))


def png(picture: npt.NDArray[np.uint8]) -> bytes:
    """Encode gray ``(H, W)`` or RGB ``(H, W, 3)`` as PNG."""
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(picture), PNG_LEVEL))


def shrink(picture: npt.NDArray[np.uint8], divisor: int) -> npt.NDArray[np.uint8]:
    """Average blocks of `divisor` by `divisor` pixels; the last block of a row or column may be smaller.

    Averages, so that thin structures fade rather than vanish.
    """
    if divisor == 1:
        return picture
    height, width = picture.shape[:2]
    pad = ((0, -height % divisor), (0, -width % divisor)) + ((0, 0),) * (picture.ndim - 2)
    padded = np.pad(picture, pad, mode="edge").astype(np.uint16)
    # Summed slice by slice: much faster than a mean over two short axes.
    total = np.zeros((padded.shape[0] // divisor, padded.shape[1] // divisor, *padded.shape[2:]), np.uint32)
    for row in range(divisor):
        for column in range(divisor):
            total += padded[row::divisor, column::divisor]
    count = divisor * divisor
    return ((total + count // 2) // count).astype(np.uint8)


def pack_rgba_deflate(color: npt.NDArray[np.uint8]) -> bytes:
    """Compress RGBA ``(H, W, 4)``: horizontal delta a channel, planes R, G, B, A, raw deflate."""
    planes = np.ascontiguousarray(np.moveaxis(color, 2, 0))
    delta = planes.copy()
    np.subtract(planes[:, :, 1:], planes[:, :, :-1], out=delta[:, :, 1:])
    return bytes(imagecodecs.deflate_encode(delta.tobytes(), DEFLATE_LEVEL, raw=True))


def decode_rgba(payload: bytes, width_px: int, height_px: int, *, deflated: bool) -> npt.NDArray[np.uint8]:
    """Undo RGBA8 or RGBA_DEFLATE.

    Returns
    -------
    uint8, shape (height_px, width_px, 4)
        Premultiplied by alpha.

    Raises
    ------
    InvalidArgumentError
        If the payload is damaged or of another size.
    """
    size = 4 * width_px * height_px
    if deflated:
        delta = inflate(payload, size).reshape(4, height_px, width_px)
        return np.ascontiguousarray(np.moveaxis(np.cumsum(delta, axis=2, dtype=np.uint8), 0, 2))
    if len(payload) != size:
        raise InvalidArgumentError(f"payload of {len(payload)} bytes, {size} needed", field="payload")
    return np.frombuffer(payload, np.uint8).reshape(height_px, width_px, 4)

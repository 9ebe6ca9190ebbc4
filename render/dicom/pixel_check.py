"""That pixel data are all there, and can be what the header says of them, before anybody makes room for them."""

from __future__ import annotations

from typing import BinaryIO

from pydicom.uid import UID, RLELossless

from render.dicom.attributes import ENCAPSULATED_SYNTAXES, NATIVE_SYNTAXES
from render.dicom.codestream import first_codestream_size
from render.dicom.extent import PixelExtent
from render.dicom.frames import PixelFormat
from render.errors import UnreadableFileError

LARGEST_RLE_RATIO = 64
"""A run of RLE is two bytes and gives 128 at most (PS3.5 G.3)."""

LARGEST_RATIO = 256
LARGEST_UNSTATED_BYTES = 32 << 20
"""A codestream that does not state its size, for a box around it or damage, is believed to be within these."""


def check_pixels(
    pixels: PixelFormat, frames: int, extent: PixelExtent, syntax: UID, stream: BinaryIO, size: int
) -> None:
    """Refuse pixel data that can't be decoded, or hold less than the header says.

    Parameters
    ----------
    pixels, frames, syntax
        As the header has them.
    extent, stream, size
        Where the data lie, in what, and the bytes of that.

    Raises
    ------
    UnreadableFileError
        The message has the figures.
    """
    if syntax not in NATIVE_SYNTAXES and syntax not in ENCAPSULATED_SYNTAXES:
        raise UnreadableFileError(f"no decoder for transfer syntax {syntax.name}")
    needed = pixels.bytes_of(frames)
    if extent.length is None:
        if syntax in NATIVE_SYNTAXES:
            raise UnreadableFileError(f"{syntax.name} pixel data of undefined length")
        if extent.fragments < frames:
            raise UnreadableFileError(f"truncated: {extent.fragments} fragments of pixel data for {frames} frames")
        _check_codestream(pixels, frames, extent, syntax, stream, size)
    elif syntax not in NATIVE_SYNTAXES:
        raise UnreadableFileError(f"{syntax.name} pixel data are not encapsulated")
    elif extent.length < needed:
        raise UnreadableFileError(f"pixel data of {extent.length:,} bytes, {needed:,} needed")


def _check_codestream(
    pixels: PixelFormat, frames: int, extent: PixelExtent, syntax: UID, stream: BinaryIO, size: int
) -> None:
    rows, columns = pixels.rows, pixels.columns
    announced = first_codestream_size(stream, extent)
    if announced is not None and announced != (rows, columns):
        raise UnreadableFileError(
            f"codestream of {announced[0]} x {announced[1]} pixels, {rows} x {columns} by the header"
        )
    needed = rows * columns * pixels.samples * pixels.bits_allocated // 8
    if announced is None and syntax != RLELossless and needed > max(LARGEST_UNSTATED_BYTES, size * LARGEST_RATIO):
        raise UnreadableFileError(
            f"codestream that states no size, of {size:,} bytes at most, {needed:,} by the header"
        )
    needed = pixels.bytes_of(frames)
    if syntax == RLELossless and needed > size * LARGEST_RLE_RATIO:
        raise UnreadableFileError(f"RLE of at most {size * LARGEST_RLE_RATIO:,} bytes, {needed:,} by the header")

"""Where the pixel data of a file lie, and that they are all there, without reading them."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from render.errors import UnreadableFileError

_ITEM, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
PIXEL_ELEMENTS = {
    (0x7FE0, 0x0008): "FloatPixelData",
    (0x7FE0, 0x0009): "DoubleFloatPixelData",
    (0x7FE0, 0x0010): "PixelData",
}
_LONG_FORM_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"UN"}

_UNDEFINED_LENGTH = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class PixelExtent:
    """Where the pixel data of a file lie.

    Attributes
    ----------
    offset
        Of the value, in bytes from the file's start; for a deflated file, from its inflated data set's start.
    length
        In bytes; None for encapsulated data, whose items follow.
    fragments
        The number of those items, without the offset table.
    """

    offset: int
    length: int | None
    fragments: int = 0


def find_pixels(stream: BinaryIO, encoding: tuple[bool | None, bool | None]) -> tuple[str, int] | None:
    """Read the pixel element's tag and length where the stream stands; None if there is another element or none.

    Where the data set is not in the encoding that its file meta information states, its element tells: a length that
    spells a VR of pixel data would be an odd one, which is never written.
    """
    implicit, little = encoding
    order = "<" if little else ">"
    head = stream.read(8)
    if len(head) < 8:
        return None
    name = PIXEL_ELEMENTS.get(struct.unpack(order + "HH", head[:4]))
    if name is None:
        return None
    if head[4:6] in _LONG_FORM_VRS and (not implicit or head[6:] == b"\0\0"):
        extended = stream.read(4)
        if len(extended) < 4:
            raise UnreadableFileError("truncated: pixel data element without its length")
        length = struct.unpack(order + "L", extended)[0]
    elif implicit or not (head[4:6].isalpha() and head[4:6].isupper()):
        length = struct.unpack(order + "L", head[4:])[0]
    else:
        length = struct.unpack(order + "H", head[6:])[0]
    return name, int(length)


def measure(stream: BinaryIO, size: int, length: int) -> PixelExtent:
    """Check that the pixel data are all there, without reading them. At the file's end, the byte that pads may lack."""
    offset = stream.tell()
    if length == _UNDEFINED_LENGTH:
        return PixelExtent(offset, None, _count_fragments(stream, size))
    if offset + length == size + 1:
        return PixelExtent(offset, length - 1)
    if offset + length > size:
        raise UnreadableFileError(
            f"truncated: pixel data of {length:,} bytes, {max(size - offset, 0):,} left",
            needed_bytes=length,
            left_bytes=max(size - offset, 0),
        )
    return PixelExtent(offset, length)


def _count_fragments(stream: BinaryIO, size: int) -> int:
    count = -1  # the first item is the offset table
    while True:
        at = stream.tell()
        head = stream.read(8)
        if len(head) < 8 and count > 0 and at == size:
            return count  # a missing delimiter after the last whole fragment loses nothing
        if len(head) < 8:
            raise UnreadableFileError(
                f"truncated: encapsulated pixel data end at byte {at:,} within fragment {count + 1}"
            )
        group, element, length = struct.unpack("<HHL", head)
        if (group, element) == _SEQUENCE_END:
            return max(count, 0)
        if (group, element) != _ITEM:
            raise UnreadableFileError(f"encapsulated pixel data hold no item at byte {at:,}")
        if at + 8 + length > size:
            raise UnreadableFileError(
                f"truncated: a fragment of pixel data of {length:,} bytes, {max(size - at - 8, 0):,} left"
            )
        count += 1
        stream.seek(length, os.SEEK_CUR)

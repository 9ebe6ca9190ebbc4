"""What a codestream says of its size, without a codec: the header's Rows and Columns are not believed alone."""

from __future__ import annotations

import struct
from typing import BinaryIO

from render.dicom.extent import PixelExtent

LARGEST_LEAD_BYTES = 64 << 10
"""Bytes of a codestream that are searched for its frame header: colour profiles may come first."""

FIRST_LEAD_BYTES = 4 << 10
"""Read first; most codestreams say their size within these."""

_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
"""SOF0 to SOF15, and JPEG-LS's SOF55; the three left out are tables."""


def codestream_size(source: bytes) -> tuple[int, int] | None:
    """Return the rows and columns that a JPEG, JPEG-LS or JPEG 2000 codestream announces; None if it does not."""
    if source[:4] == b"\xff\x4f\xff\x51":  # SOC, SIZ: length, capabilities, then the extent and offset of the grid
        if len(source) < 24:
            return None
        right, bottom, left, top = struct.unpack_from(">4L", source, 8)
        return bottom - top, right - left
    at = source.find(b"\xff\xd8") + 2
    while at >= 2 and at + 9 <= len(source) and source[at] == 0xFF:
        marker = source[at + 1]
        if marker in _START_OF_FRAME:
            rows, columns = struct.unpack_from(">2H", source, at + 5)
            return rows, columns
        # A fill byte is one byte long; all other markers ahead of the frame header have a length.
        at += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", source, at + 2)[0]
    return None


def first_codestream_size(file: BinaryIO, extent: PixelExtent) -> tuple[int, int] | None:
    """Return the rows and columns that the first frame announces; None where it does not, as RLE and JP2 boxes."""
    file.seek(extent.offset)
    table = file.read(8)
    if len(table) < 8:
        return None
    file.seek(extent.offset + 8 + struct.unpack_from("<L", table, 4)[0])
    item = file.read(8)
    if len(item) < 8:
        return None
    length = min(struct.unpack_from("<L", item, 4)[0], LARGEST_LEAD_BYTES)
    source = file.read(min(length, FIRST_LEAD_BYTES))
    size = _size(source)
    return size if size is not None or length <= len(source) else _size(source + file.read(length - len(source)))


def _size(source: bytes) -> tuple[int, int] | None:
    try:
        return codestream_size(source)
    except struct.error:
        return None

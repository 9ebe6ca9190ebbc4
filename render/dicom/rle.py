"""RLE Lossless (PS3.5 annex G): each byte of a sample is a plane of its own, packed as PackBits does.

imagecodecs' ``packbits`` writes no further than the room that it is given; its ``dicomrle`` crashes on some streams.
"""

from __future__ import annotations

import struct
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from render.dicom.frames import PixelFormat

_HEADER = struct.Struct("<16L")


def decode_rle(source: bytes, pixels: PixelFormat) -> npt.NDArray[Any] | None:
    """Decode a frame to stored values, shape (rows, columns) or (rows, columns, samples), in native byte order.

    Returns
    -------
    array or None
        None where the stream is not as the standard has it: a slower decoder may still make sense of it.
    """
    width = pixels.bits_allocated // 8
    planes = pixels.samples * width
    if pixels.bits_allocated not in (8, 16, 32) or len(source) < _HEADER.size:
        return None
    count, *offsets = _HEADER.unpack_from(source)
    ends = [*offsets[1:planes], len(source)]
    if count != planes or any(start >= end for start, end in zip(offsets, ends, strict=False)):
        return None
    size = pixels.rows * pixels.columns
    octets = np.empty((planes, size), np.uint8)
    for plane, start, end in zip(octets, offsets, ends, strict=False):
        if not _unpack(source[start : min(end, len(source))], plane):
            return None
    # The most significant byte of a sample comes first.
    words = octets.reshape(pixels.samples, width, size).transpose(2, 0, 1)
    stored = np.ascontiguousarray(words).view(f">{'i' if pixels.signed else 'u'}{width}")
    shape = (pixels.rows, pixels.columns) + (pixels.samples,) * (pixels.samples > 1)
    return stored.astype(stored.dtype.newbyteorder("=")).reshape(shape)


def _unpack(segment: bytes, plane: npt.NDArray[np.uint8]) -> bool:
    # A segment is padded to an even length by a zero, which would begin one more run.
    for packed in (segment, segment[:-1]) if segment.endswith(b"\0") else (segment,):
        try:
            unpacked = imagecodecs.packbits_decode(packed, out=plane.data)
        except (imagecodecs.PackbitsError, ValueError):
            continue
        return len(unpacked) == plane.size
    return False

"""From a frame's header and payload to an array."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from render.v1.frame_pb2 import (
    FRAME_ENCODING_JPEG,
    FRAME_ENCODING_PNG,
    FRAME_ENCODING_RGBA8,
    FRAME_ENCODING_RGBA_DEFLATE,
    FRAME_ENCODING_VALUES_DEFLATE,
    FRAME_ENCODING_VALUES_FLOAT32,
    FRAME_ENCODING_VALUES_UINT16,
    FrameHeader,
)
from voxelcast import convert
from voxelcast.errors import ProtocolError
from voxelcast.frames import Content, Frame

OUTSIDE_CODE = 65535
"""The 16-bit code of a pixel outside the volume."""


def checked(header: FrameHeader, payload: bytes) -> bytes:
    """Return the payload once its length and CRC-32 are those of the header.

    Raises
    ------
    ProtocolError
        If they are not.
    """
    if len(payload) != header.payload_bytes:
        raise ProtocolError(f"frame of {len(payload)} bytes, its header says {header.payload_bytes}")
    if (crc := zlib.crc32(payload)) != header.payload_crc32:
        raise ProtocolError(f"frame with CRC {crc:08x}, its header says {header.payload_crc32:08x}")
    return payload


def decode_frame(header: FrameHeader, payload: bytes) -> Frame:
    """Check and decode a whole frame.

    Raises
    ------
    ProtocolError
        If length, checksum, size or encoding contradict the header.
    """
    checked(header, payload)
    try:
        content, decode = _DECODERS[header.encoding]
    except KeyError:
        raise ProtocolError(f"frame encoding {header.encoding}: not known to this client") from None
    return convert.frame_from_proto(header, decode(payload, header), content)


def _pixels(data: bytes, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    if len(data) != math.prod(shape) * np.dtype(dtype).itemsize:
        raise ProtocolError(f"frame of {len(data)} bytes for {' x '.join(map(str, shape))} numbers {dtype}")
    return np.frombuffer(data, dtype).reshape(shape)


def _inflate(payload: bytes, size: int) -> bytes:
    """Undo raw deflate, to no more than the size there must be: a few bytes can't fill the memory."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(payload, size + 1)
    except zlib.error as error:
        raise ProtocolError(f"frame that does not inflate: {error}") from None
    if len(data) != size or not inflater.eof:
        raise ProtocolError(f"frame inflates to {len(data)} bytes or more, not to {size}")
    return data


def _values(codes: npt.NDArray[np.uint16], header: FrameHeader) -> npt.NDArray[np.float32]:
    values = codes.astype(np.float64) * header.value_slope + header.value_intercept
    values[codes == OUTSIDE_CODE] = np.nan
    return values.astype(np.float32)


def _float32(payload: bytes, header: FrameHeader) -> npt.NDArray[Any]:
    return _pixels(payload, "<f4", (header.height_px, header.width_px)).astype(np.float32)


def _uint16(payload: bytes, header: FrameHeader) -> npt.NDArray[Any]:
    return _values(_pixels(payload, "<u2", (header.height_px, header.width_px)), header)


def _deflated_uint16(payload: bytes, header: FrameHeader) -> npt.NDArray[Any]:
    """Undo deflate, byte planes, zigzag and the horizontal delta modulo 65536."""
    height, width = header.height_px, header.width_px
    low, high = _pixels(_inflate(payload, 2 * height * width), "u1", (2, height, width)).astype(np.uint16)
    zigzag = low | high << 8
    delta = zigzag >> 1 ^ -(zigzag & 1)
    return _values(np.cumsum(delta, axis=1, dtype=np.uint16), header)


def _rgba(payload: bytes, header: FrameHeader) -> npt.NDArray[Any]:
    return _pixels(payload, "u1", (header.height_px, header.width_px, 4)).copy()


def _deflated_rgba(payload: bytes, header: FrameHeader) -> npt.NDArray[Any]:
    """Undo deflate, the planes and the horizontal delta modulo 256."""
    height, width = header.height_px, header.width_px
    planes = _pixels(_inflate(payload, 4 * height * width), "u1", (4, height, width))
    return np.ascontiguousarray(np.moveaxis(np.cumsum(planes, axis=2, dtype=np.uint8), 0, -1))


def _file(payload: bytes, header: FrameHeader) -> npt.NDArray[Any]:
    import imagecodecs  # takes a while to import; only these two encodings need it

    decode = imagecodecs.jpeg_decode if header.encoding == FRAME_ENCODING_JPEG else imagecodecs.png_decode
    try:
        array: npt.NDArray[Any] = decode(payload)
    except (imagecodecs.JpegError, imagecodecs.PngError, ValueError) as error:
        raise ProtocolError(f"frame whose file does not decode: {error}") from None
    if array.shape[:2] != (header.height_px, header.width_px):
        raise ProtocolError(f"frame of {array.shape[1]} x {array.shape[0]}, not what its header says")
    return array


_Decoder: TypeAlias = Callable[[bytes, FrameHeader], npt.NDArray[Any]]
_DECODERS: dict[int, tuple[Content, _Decoder]] = {
    FRAME_ENCODING_VALUES_FLOAT32: ("values", _float32),
    FRAME_ENCODING_VALUES_UINT16: ("values", _uint16),
    FRAME_ENCODING_VALUES_DEFLATE: ("values", _deflated_uint16),
    FRAME_ENCODING_RGBA8: ("rgba", _rgba),
    FRAME_ENCODING_RGBA_DEFLATE: ("rgba", _deflated_rgba),
    FRAME_ENCODING_JPEG: ("picture", _file),
    FRAME_ENCODING_PNG: ("picture", _file),
}

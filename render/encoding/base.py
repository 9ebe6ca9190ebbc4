"""One interface to all encodings."""

from __future__ import annotations

import enum
import time
import zlib
from dataclasses import dataclass

from render.encoding import pictures, values
from render.errors import InvalidArgumentError
from render.frame import Frame, ShownPicture

MAX_DIVISOR = 4


class Encoding(enum.Enum):
    """How a payload is written. The names are those of the wire's FrameEncoding, without its prefix."""

    JPEG = "jpeg"
    PNG = "png"
    VALUES_FLOAT32 = "values_float32"
    VALUES_UINT16 = "values_uint16"
    VALUES_DEFLATE = "values_deflate"
    RGBA8 = "rgba8"
    RGBA_DEFLATE = "rgba_deflate"

    @property
    def needs_values(self) -> bool:
        """Whether it writes modality values, which a volume-rendered frame does not have."""
        return self in (Encoding.VALUES_FLOAT32, Encoding.VALUES_UINT16, Encoding.VALUES_DEFLATE)

    @property
    def needs_color(self) -> bool:
        """Whether it writes RGBA, which only a volume-rendered frame has."""
        return self in (Encoding.RGBA8, Encoding.RGBA_DEFLATE)


_COLOR_ENCODINGS = {
    Encoding.VALUES_FLOAT32: Encoding.RGBA8,
    Encoding.VALUES_UINT16: Encoding.RGBA8,
    Encoding.VALUES_DEFLATE: Encoding.RGBA_DEFLATE,
}


@dataclass(frozen=True)
class EncodedFrame:
    """A frame's payload, and what its header must say of it.

    Attributes
    ----------
    width_px, height_px
        Of the payload when undone; smaller than the viewport's if it was shrunk.
    value_slope, value_intercept
        ``value = code * value_slope + value_intercept``; 1 and 0 but for 16-bit values.
    lossless
        The pixels are the renderer's own, to the rounding of the encoding.
    jpeg_quality
        1 to 100; 0 for other encodings.
    crc32
        Of the payload, as in zlib.
    encode_ms
        What it took.
    """

    payload: bytes
    encoding: Encoding
    width_px: int
    height_px: int
    value_slope: float = 1.0
    value_intercept: float = 0.0
    lossless: bool = True
    jpeg_quality: int = 0
    crc32: int = 0
    encode_ms: float = 0.0


def encode(frame: Frame, encoding: Encoding, *, jpeg_quality: int = 90, divisor: int = 1) -> EncodedFrame:
    """Write a frame's pixels.

    A colour image has no values, which whoever asks can't know before it is drawn: asked for values, it gives RGBA.

    Parameters
    ----------
    frame
        What was rendered.
    encoding
        How to write it.
    jpeg_quality
        1 to 100; for JPEG.
    divisor
        JPEG only: one pixel for this many in each direction, 1 to 4.

    Raises
    ------
    InvalidArgumentError
        If values are asked of a colour frame or colour of a value frame, or a number is out of range.
    """
    if encoding.needs_values and frame.view.is_color:
        raise InvalidArgumentError(f"encoding {encoding.name}: volume_rendered has no values", field="encoding")
    if encoding.needs_color and not frame.view.is_color:
        raise InvalidArgumentError(f"encoding {encoding.name}: only volume_rendered has colour", field="encoding")
    if not 1 <= jpeg_quality <= 100:
        raise InvalidArgumentError(f"jpeg_quality {jpeg_quality}: 1 to 100 needed", field="jpeg_quality")
    if not 1 <= divisor <= (MAX_DIVISOR if encoding is Encoding.JPEG else 1):
        raise InvalidArgumentError(f"divisor {divisor} for {encoding.name}", field="divisor")

    if encoding is Encoding.JPEG and _answers(frame.shown, jpeg_quality, divisor):
        assert frame.shown is not None
        return _encode_shown(frame.shown, jpeg_quality)
    if frame.color is not None:
        encoding = _COLOR_ENCODINGS.get(encoding, encoding)
    started = time.perf_counter()
    slope, intercept = 1.0, 0.0
    height_px, width_px = frame.pixels.shape[:2]
    match encoding:
        case Encoding.JPEG:
            picture = pictures.shrink(frame.picture(), divisor)
            height_px, width_px = picture.shape[:2]
            payload = pictures.jpeg(picture, jpeg_quality)
        case Encoding.PNG:
            payload = pictures.png(frame.picture())
        case Encoding.VALUES_FLOAT32:
            assert frame.values is not None
            payload = frame.values.astype("<f4", copy=False).tobytes()
        case Encoding.VALUES_UINT16 | Encoding.VALUES_DEFLATE:
            assert frame.values is not None
            codes, slope, intercept = values.quantise(frame.values, frame.units)
            packed = encoding is Encoding.VALUES_DEFLATE
            payload = values.pack_deflate(codes) if packed else values.pack_raw(codes)
        case Encoding.RGBA8:
            assert frame.color is not None
            payload = frame.color.tobytes()
        case Encoding.RGBA_DEFLATE:
            assert frame.color is not None
            payload = pictures.pack_rgba_deflate(frame.color)
    return EncodedFrame(
        payload=payload,
        encoding=encoding,
        width_px=width_px,
        height_px=height_px,
        value_slope=slope,
        value_intercept=intercept,
        lossless=encoding is not Encoding.JPEG,
        jpeg_quality=jpeg_quality if encoding is Encoding.JPEG else 0,
        crc32=zlib.crc32(payload),
        encode_ms=(time.perf_counter() - started) * 1e3,
    )


def _answers(shown: ShownPicture | None, jpeg_quality: int, divisor: int) -> bool:
    if shown is None or shown.request.divisor != divisor:
        return False
    return shown.jpeg is None or shown.request.jpeg_quality == jpeg_quality


def _encode_shown(shown: ShownPicture, jpeg_quality: int) -> EncodedFrame:
    """Take the JPEG that the renderer has made, or make it of the pixels that it has prepared."""
    started = time.perf_counter()
    payload = shown.jpeg
    if payload is None:
        assert shown.pixels is not None
        payload = pictures.jpeg(shown.pixels, jpeg_quality)
    return EncodedFrame(
        payload=payload,
        encoding=Encoding.JPEG,
        width_px=shown.width_px,
        height_px=shown.height_px,
        lossless=False,
        jpeg_quality=jpeg_quality,
        crc32=zlib.crc32(payload),
        encode_ms=(time.perf_counter() - started) * 1e3,
    )

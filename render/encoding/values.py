"""Value frames: modality values as 16-bit codes, and their lossless compression."""

from __future__ import annotations

import math
import zlib
from typing import TypeAlias

import imagecodecs
import numpy as np
import numpy.typing as npt

from render.errors import InvalidArgumentError

OUTSIDE_CODE = 65535
"""The code of a pixel outside the volume."""
MAX_CODE = OUTSIDE_CODE - 1
FINEST_HU_SLOPE = 1 / 8
"""CT that is not integer (interpolated) is coded to this: far below the noise of any scanner."""
RELATIVE_STEPS = 2**14
"""Other units have no natural step: the frame's range is divided into at least this many."""
DEFLATE_LEVEL = 1

Codes: TypeAlias = npt.NDArray[np.uint16]


def quantise(values: npt.NDArray[np.float32], units: str) -> tuple[Codes, float, float]:
    """Code modality values in 16 bits.

    Parameters
    ----------
    values
        Shape ``(H, W)``, modality units; what is not finite is outside.
    units
        ``HU`` is coded to 1/8 at least, where the range allows it; others relative to the range.

    Returns
    -------
    codes
        uint16, shape ``(H, W)``; 65535 outside.
    slope, intercept
        ``value = code * slope + intercept``, off by at most ``slope / 2``. The slope is a power of two and the
        intercept a multiple of it; both 1 and exact where all values are integers that span at most 65534.
    """
    inside = np.isfinite(values)
    all_inside = bool(inside.all())
    if all_inside:
        minimum, maximum = float(values.min()), float(values.max())
    elif inside.any():
        minimum = float(np.min(values, where=inside, initial=np.inf))
        maximum = float(np.max(values, where=inside, initial=-np.inf))
    else:
        return np.full(values.shape, OUTSIDE_CODE, np.uint16), 1.0, 0.0
    # The difference to the intercept is taken in float64: float32 would round large values once more.
    exact = values.astype(np.float64) if all_inside else np.where(inside, values, minimum).astype(np.float64)
    slope = _slope(minimum, maximum, units, integers=bool((exact == np.rint(exact)).all()))
    intercept = math.floor(minimum / slope) * slope
    exact -= intercept
    exact *= 1 / slope
    codes = np.rint(exact, out=exact).astype(np.uint16)
    if not all_inside:
        codes[~inside] = OUTSIDE_CODE
    return codes, slope, intercept


def _slope(minimum: float, maximum: float, units: str, *, integers: bool) -> float:
    span = maximum - minimum
    if integers and span <= MAX_CODE:
        return 1.0
    if units == "HU":
        slope = FINEST_HU_SLOPE
    else:
        # A constant frame has no range: then relative to the value, which float32 knows to 24 bits only.
        finest = span / RELATIVE_STEPS or max(abs(minimum) * 2.0**-23, 2.0**-149)
        slope = 2.0 ** math.floor(math.log2(finest))
    while maximum / slope - math.floor(minimum / slope) > MAX_CODE:
        slope *= 2
    return slope


def pack_raw(codes: Codes) -> bytes:
    """Write codes row by row, little-endian."""
    return codes.astype("<u2", copy=False).tobytes()


def pack_deflate(codes: Codes) -> bytes:
    """Compress codes: horizontal delta, zigzag, low then high bytes, raw deflate.

    Neighbouring pixels differ little, so the delta is small; zigzag brings small negative ones to small codes; the
    plane of high bytes is then nearly all zero.
    """
    delta = codes.copy()
    np.subtract(codes[:, 1:], codes[:, :-1], out=delta[:, 1:])
    signed = delta.view(np.int16)
    zigzag = ((signed << 1) ^ (signed >> 15)).view(np.uint16)
    planes = np.empty((2, codes.size), np.uint8)
    planes[0] = (zigzag & 0xFF).reshape(-1)
    planes[1] = (zigzag >> 8).reshape(-1)
    return bytes(imagecodecs.deflate_encode(planes.tobytes(), DEFLATE_LEVEL, raw=True))


def unpack_deflate(payload: bytes, width_px: int, height_px: int) -> Codes:
    """Undo `pack_deflate`.

    Raises
    ------
    InvalidArgumentError
        If the payload is not raw deflate of exactly this many pixels.
    """
    low, high = inflate(payload, 2 * width_px * height_px).reshape(2, height_px, width_px).astype(np.uint16)
    zigzag = low | (high << 8)
    delta = (zigzag >> 1) ^ (0 - (zigzag & 1)).astype(np.uint16)
    return np.cumsum(delta, axis=1, dtype=np.uint16)


def inflate(payload: bytes, size: int) -> npt.NDArray[np.uint8]:
    """Undo raw deflate that must give `size` bytes.

    Raises
    ------
    InvalidArgumentError
        If it does not, or is damaged. No more than `size` bytes are ever unpacked.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = stream.decompress(payload, size + 1)
    except zlib.error as error:
        raise InvalidArgumentError(f"payload is not raw deflate: {error}", field="payload") from error
    if len(data) != size or not stream.eof:
        raise InvalidArgumentError(f"payload unpacks to {len(data)} bytes, {size} needed", field="payload")
    return np.frombuffer(data, np.uint8)


def decode_values(
    payload: bytes, width_px: int, height_px: int, slope: float, intercept: float, *, deflated: bool
) -> npt.NDArray[np.float64]:
    """Undo VALUES_UINT16 or VALUES_DEFLATE.

    Returns
    -------
    float64, shape (height_px, width_px)
        Modality units; NaN outside.

    Raises
    ------
    InvalidArgumentError
        If the payload is damaged or of another size.
    """
    if deflated:
        codes = unpack_deflate(payload, width_px, height_px)
    elif len(payload) == 2 * width_px * height_px:
        codes = np.frombuffer(payload, "<u2").astype(np.uint16).reshape(height_px, width_px)
    else:
        raise InvalidArgumentError(
            f"payload of {len(payload)} bytes, {2 * width_px * height_px} needed", field="payload"
        )
    return np.where(codes == OUTSIDE_CODE, np.nan, codes * slope + intercept)

"""Colour images: stored samples of any photometric interpretation to 8-bit red, green and blue."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
)

from render.dicom.attributes import JPEG_RETIRED_EXTENDED, JPEG_RETIRED_PROGRESSIVE
from render.dicom.frames import PixelFormat
from render.errors import CodecError

Rgb: TypeAlias = npt.NDArray[np.uint8]

_LOSSY_JPEG = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEG_RETIRED_EXTENDED, JPEG_RETIRED_PROGRESSIVE})
_JPEG_2000 = frozenset({JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K})

PALETTE = frozenset({"PALETTE COLOR"})
RGB_AND_YBR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_RCT", "YBR_ICT"})
"""Photometric interpretations that `to_rgb8` knows, of one sample a pixel and of three."""

PALETTE_KEYWORDS = tuple(
    f"{start}{colour}PaletteColorLookupTable{end}"
    for colour in ("Red", "Green", "Blue")
    for start, end in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
)
"""What a palette is read from."""

# PS3.3 C.7.6.3.1.2, from luminance and chrominance about their zero; ITU-R BT.601.
_RGB_FROM_YBR = np.array([[1, 0, 1.402], [1, -0.114 * 1.772 / 0.587, -0.299 * 1.402 / 0.587], [1, 1.772, 0]])


def to_rgb8(
    stored: npt.NDArray[Any], pixels: PixelFormat, transfer_syntax: str, palette: FileDataset | None = None
) -> Rgb:
    """Convert decoded samples to 8-bit RGB, shape (rows, columns, 3).

    More than 8 bits are cut to the most significant 8.

    Parameters
    ----------
    stored
        As `render.dicom.codecs.decode` gives them: (rows, columns) for palettes, else (rows, columns, 3).
    transfer_syntax
        JPEG and JPEG 2000 decoders undo the colour transform that belongs to their codestreams.
    palette
        A data set with `PALETTE_KEYWORDS`; needed for ``PALETTE COLOR``.

    Raises
    ------
    CodecError
        If the photometric interpretation is not known, or a palette is missing or malformed.
    """
    photometric = pixels.photometric
    if photometric == "PALETTE COLOR" and stored.ndim == 2:
        return _from_palette(stored, palette)
    if stored.ndim != 3 or stored.shape[2] not in (3, 4):
        raise CodecError(f"{photometric}, {pixels.samples} samples a pixel: no colour that is known")
    if stored.dtype.kind == "f":
        raise CodecError(f"{photometric} of floating point samples")
    samples = _to_8_bits(stored[..., :3], pixels)
    is_rgb = (
        photometric in ("RGB", "ARGB", "YBR_RCT", "YBR_ICT")
        or transfer_syntax in _LOSSY_JPEG
        or (transfer_syntax in _JPEG_2000 and photometric in ("YBR_FULL_422", "YBR_PARTIAL_420"))
    )
    if is_rgb:
        return samples
    if photometric in ("YBR_FULL", "YBR_FULL_422"):
        return _rgb_from_ybr(samples.astype(np.float64) - (0, 128, 128))
    if photometric in ("YBR_PARTIAL_422", "YBR_PARTIAL_420"):
        # Luminance from 16 to 235, chrominance from 16 to 240.
        return _rgb_from_ybr((samples.astype(np.float64) - (16, 128, 128)) * (255 / 219, 255 / 224, 255 / 224))
    raise CodecError(f"photometric interpretation {photometric[:32]}: no colour that is known")


def _to_8_bits(samples: npt.NDArray[Any], pixels: PixelFormat) -> Rgb:
    if pixels.signed:
        samples = samples.astype(np.int64) + (1 << (pixels.bits_stored - 1))
    if pixels.bits_stored > 8:
        samples = samples >> (pixels.bits_stored - 8)
    return np.asarray(np.clip(samples, 0, 255).astype(np.uint8))


def _rgb_from_ybr(centred: npt.NDArray[np.float64]) -> Rgb:
    return np.asarray(np.clip(np.rint(centred @ _RGB_FROM_YBR.T), 0, 255).astype(np.uint8))


def _from_palette(stored: npt.NDArray[Any], palette: FileDataset | None) -> Rgb:
    if palette is None:
        raise CodecError("PALETTE COLOR without a palette")
    try:
        colours = np.asarray(apply_color_lut(stored, palette))[..., :3]
        bits = int(palette.RedPaletteColorLookupTableDescriptor[2])
    except Exception as error:  # pydicom raises many kinds for a malformed palette
        raise CodecError(f"palette can't be applied: {type(error).__name__}") from error
    # Some writers announce 16 bits and fill 8.
    if bits > 8 and int(colours.max(initial=0)) > 255:
        colours = colours >> (bits - 8)
    return np.asarray(np.clip(colours, 0, 255).astype(np.uint8))

"""Decoders for compressed pixel data: imagecodecs behind pydicom's decoder plugins.

imagecodecs releases the GIL while it decodes, so a thread pool scales. Native and deflated data are pydicom's own. RLE
is put together from planes here (`render.dicom.rle`), and by pydicom where a stream is not as it should be. The two
retired JPEG syntaxes, which pydicom has no decoder for, go to libjpeg directly.

Where imagecodecs has several decoders, the one that survives malformed input is used: libjpeg-turbo for lossless JPEG,
since ``ljpeg`` and ``jpegsof3`` crash on some corrupt streams, and ``packbits`` for RLE, since ``dicomrle`` crashes.
The size that a codestream announces is compared with the header's before a decoder may allocate it.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders import base as decoders
from pydicom.pixels.decoders.base import Decoder, DecodeRunner
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from render.dicom import card_codecs
from render.dicom.attributes import JPEG_RETIRED_EXTENDED, JPEG_RETIRED_PROGRESSIVE, NATIVE_SYNTAXES
from render.dicom.codestream import codestream_size
from render.dicom.encapsulated import read_frame
from render.dicom.extent import PixelExtent
from render.dicom.frames import PixelFormat
from render.dicom.rle import decode_rle
from render.errors import CodecError


def _decode_jpeg_ls(source: bytes) -> npt.NDArray[Any]:
    """Decode a JPEG-LS codestream that has its end.

    CharLS never returns from some that do not, nor from a corrupt SPIFF header: application segments are left out.
    """
    if not source.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise ValueError("truncated codestream: no end of image")
    at = source.find(b"\xff\xd8") + 2
    while source[at : at + 1] == b"\xff" and at + 4 <= len(source) and 0xE0 <= source[at + 1] <= 0xEF:
        at += 2 + struct.unpack_from(">H", source, at + 2)[0]
    return np.asarray(imagecodecs.jpegls_decode(b"\xff\xd8" + source[at:]))


def _decode_jpeg_rgb(source: bytes) -> npt.NDArray[Any]:
    """Decode a JPEG whose components are red, green and blue, unless its Adobe segment says that they are not.

    Without that segment, libjpeg takes three components for luminance and chrominance.
    """
    at = source.find(b"Adobe", 0, source.find(b"\xff\xda"))
    is_transformed = at >= 0 and source[at + 11 : at + 12] == b"\x01"
    return np.asarray(imagecodecs.jpeg8_decode(source, colorspace=None if is_transformed else "RGB"))


_CODECS: Mapping[str, Callable[[bytes], npt.NDArray[Any]]] = {
    JPEGBaseline8Bit: imagecodecs.jpeg8_decode,
    JPEGExtended12Bit: imagecodecs.jpeg8_decode,
    JPEGLossless: imagecodecs.jpeg8_decode,
    JPEGLosslessSV1: imagecodecs.jpeg8_decode,
    JPEGLSLossless: _decode_jpeg_ls,
    JPEGLSNearLossless: _decode_jpeg_ls,
    JPEG2000Lossless: imagecodecs.jpeg2k_decode,
    JPEG2000: imagecodecs.jpeg2k_decode,
    HTJ2KLossless: imagecodecs.jpeg2k_decode,
    HTJ2KLosslessRPCL: imagecodecs.jpeg2k_decode,
    HTJ2K: imagecodecs.jpeg2k_decode,
}

_LIBRARIES: Mapping[str, str] = {
    **dict.fromkeys(_CODECS, "JPEG8"),
    **dict.fromkeys((JPEG_RETIRED_EXTENDED, JPEG_RETIRED_PROGRESSIVE), "JPEG8"),
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), "JPEGLS"),
    **dict.fromkeys((JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), "JPEG2K"),
}
"""The parts of imagecodecs, by the names of its classes that say whether they are there."""

DECODER_DEPENDENCIES = {uid: ("imagecodecs",) for uid in _CODECS}
"""Part of pydicom's plugin contract, as are `is_available` and `decode_frame`."""


def is_available(uid: str) -> bool:
    """Say whether this module decodes the transfer syntax `uid`."""
    return uid in _CODECS


def decode_frame(source: bytes, runner: DecodeRunner) -> bytearray:
    """Decode one frame for pydicom."""
    codec = _CODECS[runner.transfer_syntax]
    if runner.photometric_interpretation == "RGB" and runner.transfer_syntax in (JPEGBaseline8Bit, JPEGExtended12Bit):
        codec = _decode_jpeg_rgb
    pixels = _decode_checked(codec, source, runner.rows, runner.columns, runner.transfer_syntax)
    runner.set_option("bits_allocated", pixels.itemsize * 8)
    if pixels.ndim == 3:
        runner.set_option("planar_configuration", 0)
    return bytearray(np.ascontiguousarray(pixels).data.cast("B"))


def require_codec(transfer_syntax: str) -> None:
    """Check that the installed imagecodecs has what decodes a transfer syntax.

    Raises
    ------
    CodecError
        If it has been built without that library; the message says what to install.
    """
    library = _LIBRARIES.get(transfer_syntax)
    if library is not None and not getattr(imagecodecs, library).available:
        raise CodecError(
            f"{UID(transfer_syntax).name}: the installed imagecodecs is built without {library}: "
            "pip install 'imagecodecs[all]'",
            transfer_syntax=transfer_syntax,
        )


def _decode_checked(
    codec: Callable[[bytes], npt.NDArray[Any]], source: bytes, rows: int, columns: int, transfer_syntax: str
) -> npt.NDArray[Any]:
    announced = codestream_size(source)
    if announced is None and codec is not imagecodecs.jpeg2k_decode:  # that may be wrapped in JP2 boxes
        raise ValueError("codestream without a frame header")
    if announced is not None and announced != (rows, columns):
        raise ValueError(f"codestream of {announced[0]} x {announced[1]} pixels, {rows} x {columns} expected")
    pixels = card_codecs.decode(transfer_syntax, source, codec)
    if pixels.shape[:2] != (rows, columns):
        raise ValueError(f"codestream of {pixels.shape[0]} x {pixels.shape[1]} pixels, {rows} x {columns} expected")
    return np.asarray(pixels)


@functools.cache
def decoder_of(transfer_syntax: str) -> Decoder:
    """Return pydicom's decoder for a transfer syntax, with imagecodecs plugged in.

    Raises
    ------
    CodecError
        If there is none, or the installed imagecodecs has been built without it.
    """
    uid = UID(transfer_syntax)
    require_codec(uid)
    try:
        decoder = decoders.get_decoder(uid)
    except NotImplementedError:
        raise CodecError(f"no decoder for transfer syntax {uid.name}", transfer_syntax=transfer_syntax) from None
    if uid in _CODECS and "imagecodecs" not in decoder.available_plugins:
        decoder.add_plugin("imagecodecs", (__name__, "decode_frame"))
    return decoder


def decode(
    file: BinaryIO, transfer_syntax: str, pixels: PixelFormat, extent: PixelExtent, frames: int, index: int
) -> npt.NDArray[Any]:
    """Decode one frame to stored values, shape (rows, columns) or (rows, columns, samples).

    Parameters
    ----------
    file
        As `render.dicom.access.open_pixels` gives it.
    frames, index
        How many frames the file has, and which to decode, from 0.

    Raises
    ------
    CodecError
        If the codestream can't be decoded, or its size is another than the header says.
    """
    number = index + 1
    try:
        is_encapsulated = transfer_syntax not in NATIVE_SYNTAXES
        source: BinaryIO | bytes = file
        if is_encapsulated:
            codestream = read_frame(file, extent, frames, index)
            if transfer_syntax in (JPEG_RETIRED_EXTENDED, JPEG_RETIRED_PROGRESSIVE):
                require_codec(transfer_syntax)
                return _decode_checked(
                    imagecodecs.jpeg8_decode, codestream, pixels.rows, pixels.columns, transfer_syntax
                )
            if transfer_syntax == RLELossless and (stored := decode_rle(codestream, pixels)) is not None:
                return stored
            source, frames, index = encapsulate([codestream], has_bot=False), 1, 0
        elif pixels.bits_allocated == 1 and pixels.samples == 1:
            is_swapped = transfer_syntax == ExplicitVRBigEndian and _pixel_vr(file, transfer_syntax, extent) == "OW"
            return _decode_bits(file, pixels, extent, index, is_swapped)
        else:
            file.seek(extent.offset)
        decoder = decoder_of(transfer_syntax)
        # Bits above High Bit are not the sample's (PS3.5 8.1.1). pydicom clears them where the sample starts at bit 0.
        shifted = pixels.high_bit != pixels.bits_stored - 1 and not is_encapsulated
        options: dict[str, Any] = {
            "rows": pixels.rows,
            "columns": pixels.columns,
            "samples_per_pixel": pixels.samples,
            "photometric_interpretation": pixels.photometric,
            "bits_allocated": pixels.bits_allocated,
            "bits_stored": pixels.bits_stored,
            "pixel_representation": int(pixels.signed),
            "planar_configuration": pixels.planar,
            "number_of_frames": frames,
            "pixel_keyword": pixels.element,
        }
        if not is_encapsulated:
            options |= {"correct_unused_bits": not shifted, "pixel_vr": _pixel_vr(file, transfer_syntax, extent)}
        result, _ = decoder.as_array(
            source,
            index=index,
            raw=True,
            # Named, so that what else is installed beside pydicom changes nothing.
            decoding_plugin=_plugin(transfer_syntax),
            **options,
        )
    except CodecError:
        raise
    except Exception as error:  # codecs raise their own kinds; what counts is that this frame can't be decoded
        name = UID(transfer_syntax).name
        reason = " ".join(str(error).split()).rpartition("available plugins: ")[2]
        raise CodecError(
            f"{name}: frame {number} can't be decoded: {reason[-160:]}", transfer_syntax=transfer_syntax
        ) from error
    if shifted:
        result = (result << (pixels.bits_allocated - 1 - pixels.high_bit)) >> (
            pixels.bits_allocated - pixels.bits_stored
        )
    return np.asarray(result)


def _plugin(transfer_syntax: str) -> str:
    if transfer_syntax in _CODECS:
        return "imagecodecs"
    return "pydicom" if transfer_syntax == RLELossless else ""


def _decode_bits(
    file: BinaryIO, pixels: PixelFormat, extent: PixelExtent, index: int, is_swapped: bool
) -> npt.NDArray[np.uint8]:
    """Return a frame of single bits. Frames follow each other without a gap, in the middle of a byte too."""
    count = pixels.rows * pixels.columns
    first, last = index * count // 16 * 2, -((index + 1) * count // -16) * 2  # whole words
    file.seek(extent.offset + first)
    octets = np.frombuffer(file.read(last - first), np.uint8)
    if is_swapped:
        octets = octets[: len(octets) // 2 * 2].reshape(-1, 2)[:, ::-1].ravel()
    start = index * count - 8 * first
    bits = np.unpackbits(octets, bitorder="little")[start : start + count]
    return bits.reshape(pixels.rows, pixels.columns)


def _pixel_vr(file: BinaryIO, transfer_syntax: str, extent: PixelExtent) -> str:
    """Return how native pixels are stored: 8-bit samples in big endian words are swapped, those in bytes are not."""
    if transfer_syntax != ExplicitVRBigEndian:
        return "OW"
    file.seek(extent.offset - 8)  # VR, two bytes reserved, length
    vr = "OB" if file.read(2) == b"OB" else "OW"
    file.seek(extent.offset)
    return vr

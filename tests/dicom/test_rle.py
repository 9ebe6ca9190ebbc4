"""RLE from planes of bytes: the pixels that were written, and within its room whatever the stream says."""

from __future__ import annotations

import random
import struct

import imagecodecs
import numpy as np
import pytest

from render.dicom.frames import PixelFormat
from render.dicom.rle import decode_rle


def pixels_of(array: np.ndarray) -> PixelFormat:
    samples = array.shape[2] if array.ndim == 3 else 1
    bits = array.itemsize * 8
    photometric = "RGB" if samples == 3 else "MONOCHROME2"
    signed = array.dtype.kind == "i"
    return PixelFormat("PixelData", *array.shape[:2], samples, photometric, bits, bits, bits - 1, signed, 0)


def encoded(array: np.ndarray, *, padded: bool = True) -> bytes:
    """Return an RLE frame: planes of all samples' bytes, the most significant first (PS3.5 G.2)."""
    octets = array.astype(array.dtype.newbyteorder(">")).tobytes()
    channels = array.shape[2] if array.ndim == 3 else 1
    planes = np.frombuffer(octets, np.uint8).reshape(-1, channels * array.itemsize).T
    segments = [bytes(imagecodecs.packbits_encode(plane.tobytes())) for plane in planes]
    segments = [segment + b"\0" * (len(segment) % 2 if padded else 0) for segment in segments]
    starts = np.cumsum([64, *map(len, segments)])[:-1].tolist()
    return struct.pack("<16L", len(segments), *starts, *[0] * (15 - len(starts))) + b"".join(segments)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
@pytest.mark.parametrize("shape", [(7, 9), (16, 16), (5, 3, 3)])
@pytest.mark.parametrize("padded", [True, False])
def test_what_was_written_comes_back(dtype: str, shape: tuple[int, ...], padded: bool) -> None:
    info = np.iinfo(dtype)
    array = np.random.default_rng(1).integers(info.min, info.max, shape, dtype, endpoint=True)
    array[2] = array[1]  # runs as well
    decoded = decode_rle(encoded(array, padded=padded), pixels_of(array))
    assert decoded is not None
    assert decoded.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(decoded, array)


def test_streams_that_are_not_as_they_should_be_are_left_to_others() -> None:
    array = np.arange(64, dtype=np.uint16).reshape(8, 8)
    good = encoded(array)
    assert decode_rle(good, pixels_of(array)) is not None
    assert decode_rle(good[:40], pixels_of(array)) is None
    assert decode_rle(good[:-20], pixels_of(array)) is None
    assert decode_rle(struct.pack("<L", 1) + good[4:], pixels_of(array)) is None  # one plane for two bytes
    assert decode_rle(good, pixels_of(np.zeros((8, 9), np.uint16))) is None
    assert decode_rle(good, pixels_of(np.zeros((4, 8), np.uint16))) is None
    swapped = good[:4] + good[8:12] + good[4:8] + good[12:]
    assert decode_rle(swapped, pixels_of(array)) is None


def test_damage_gives_pixels_or_nothing() -> None:
    chance = random.Random(4)
    array = np.random.default_rng(2).integers(0, 9, (32, 32), np.uint16)
    good = encoded(array)
    ends = set()
    for _ in range(3000):
        stream = bytearray(good)
        for _ in range(chance.randrange(1, 12)):
            stream[chance.randrange(len(stream))] ^= 1 << chance.randrange(8)
        end = chance.randrange(1, len(stream)) if chance.random() < 0.3 else len(stream)
        decoded = decode_rle(bytes(stream[:end]), pixels_of(array))
        ends.add(decoded is None)
        assert decoded is None or decoded.shape == (32, 32)
    assert ends == {True, False}

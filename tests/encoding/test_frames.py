from __future__ import annotations

import zlib
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest

from render.encoding import Encoding, decode_rgba, decode_values, encode
from render.encoding.pictures import shrink
from render.errors import InvalidArgumentError
from render.frame import Frame
from render.transfer import Window
from render.v1 import frame_pb2
from render.view import Camera, Layer, RenderingMethod, View, Viewport


def value_frame() -> Frame:
    view = View(Camera((0, 0, -100), (0, 0, 0), (0, -1, 0), parallel_scale_mm=50), Viewport(48, 32), (Layer("v"),))
    y, x = np.mgrid[:32, :48]
    values = (20 * np.hypot(x - 20, y - 10) - 300.25).astype(np.float32)
    values[:3] = np.nan
    return Frame(view, 7, 2, view.plane, Window(40, 400), values=values, units="HU")


def color_frame() -> Frame:
    frame = value_frame()
    view = replace(frame.view, rendering_method=RenderingMethod.VOLUME_RENDERED, slab_mm=None)
    y, x = np.mgrid[:32, :48]
    color = np.stack([x * 2, y * 3, x + y, 128 + x], -1).astype(np.uint8)
    return replace(frame, view=view, values=None, color=color)


def test_the_names_are_those_of_the_wire() -> None:
    wire = {name.removeprefix("FRAME_ENCODING_") for name in frame_pb2.FrameEncoding.keys()}
    assert {encoding.name for encoding in Encoding} == wire - {"UNSPECIFIED"}


@pytest.mark.parametrize("encoding", [Encoding.VALUES_UINT16, Encoding.VALUES_DEFLATE])
def test_values_come_back(encoding: Encoding) -> None:
    frame = value_frame()
    result = encode(frame, encoding)
    back = decode_values(
        result.payload,
        result.width_px,
        result.height_px,
        result.value_slope,
        result.value_intercept,
        deflated=encoding is Encoding.VALUES_DEFLATE,
    )
    np.testing.assert_allclose(back, frame.values, atol=result.value_slope / 2)
    assert result.lossless
    assert result.crc32 == zlib.crc32(result.payload)
    assert (result.width_px, result.height_px, result.jpeg_quality) == (48, 32, 0)


def test_float_values_come_back_bit_for_bit() -> None:
    frame = value_frame()
    payload = encode(frame, Encoding.VALUES_FLOAT32).payload
    np.testing.assert_array_equal(np.frombuffer(payload, "<f4").reshape(32, 48), frame.values)


@pytest.mark.parametrize("encoding", [Encoding.RGBA8, Encoding.RGBA_DEFLATE])
def test_rgba_comes_back(encoding: Encoding) -> None:
    frame = color_frame()
    result = encode(frame, encoding)
    back = decode_rgba(result.payload, 48, 32, deflated=encoding is Encoding.RGBA_DEFLATE)
    np.testing.assert_array_equal(back, frame.color)
    assert result.lossless


def test_the_rgba_bytes_are_as_the_schema_says() -> None:
    color = np.array([[[1, 10, 100, 255], [2, 9, 100, 0]]], np.uint8)
    frame = replace(color_frame(), color=color)
    planes = zlib.decompress(encode(frame, Encoding.RGBA_DEFLATE).payload, -15)
    assert planes == bytes([1, 1, 10, 255, 100, 0, 255, 1])


@pytest.mark.parametrize("frame", [value_frame(), color_frame()], ids=["gray", "color"])
def test_png_holds_exactly_what_is_seen(frame: Frame) -> None:
    result = encode(frame, Encoding.PNG)
    np.testing.assert_array_equal(imagecodecs.png_decode(result.payload), frame.picture())


@pytest.mark.parametrize("frame", [value_frame(), color_frame()], ids=["gray", "color"])
@pytest.mark.parametrize("quality", [60, 95])
def test_jpeg_looks_like_what_is_seen(frame: Frame, quality: int) -> None:
    result = encode(frame, Encoding.JPEG, jpeg_quality=quality)
    seen = imagecodecs.jpeg8_decode(result.payload).astype(int)
    assert seen.shape == frame.picture().shape
    assert np.abs(seen - frame.picture()).mean() < 5
    assert not result.lossless
    assert result.jpeg_quality == quality


def test_a_shrunk_jpeg_says_its_own_size() -> None:
    result = encode(value_frame(), Encoding.JPEG, divisor=3)
    assert imagecodecs.jpeg8_decode(result.payload).shape == (11, 16)
    assert (result.width_px, result.height_px) == (16, 11)


def test_shrinking_averages_blocks() -> None:
    picture = np.arange(20, dtype=np.uint8).reshape(4, 5)
    np.testing.assert_array_equal(shrink(picture, 2), [[3, 5, 7], [13, 15, 17]])
    assert shrink(picture, 1) is picture


@pytest.mark.parametrize("encoding", [e for e in Encoding if e.needs_color])
def test_colour_of_a_value_frame_is_refused(encoding: Encoding) -> None:
    with pytest.raises(InvalidArgumentError, match="only volume_rendered has colour"):
        encode(value_frame(), encoding)


@pytest.mark.parametrize("encoding", [e for e in Encoding if e.needs_values])
def test_values_of_a_colour_frame_are_refused(encoding: Encoding) -> None:
    with pytest.raises(InvalidArgumentError, match="volume_rendered has no values"):
        encode(color_frame(), encoding)


@pytest.mark.parametrize(
    ("encoding", "options"),
    [
        (Encoding.JPEG, {"jpeg_quality": 0}),
        (Encoding.JPEG, {"jpeg_quality": 101}),
        (Encoding.JPEG, {"divisor": 0}),
        (Encoding.JPEG, {"divisor": 5}),
        (Encoding.PNG, {"divisor": 2}),
    ],
)
def test_numbers_out_of_range_are_refused(encoding: Encoding, options: dict[str, int]) -> None:
    with pytest.raises(InvalidArgumentError):
        encode(value_frame(), encoding, **options)  # type: ignore[arg-type]

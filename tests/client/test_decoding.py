"""Every encoding of the server decodes to what was encoded, and a damaged payload is an error."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from render.encoding import Encoding, encode
from render.frame import Frame
from render.service.convert.frames import frame_header
from render.v1 import frame_pb2
from render.view import Camera, Layer, RenderingMethod, View, Viewport
from tests.client.fake_service import draw, ramp_color
from voxelcast import ProtocolError
from voxelcast.decoding import decode_frame

CAMERA = Camera((0, 0, -100), (3, 4, 5), (0, -1, 0), parallel_scale_mm=20)
VALUES_VIEW = View(CAMERA, Viewport(33, 21), (Layer("volume"),), RenderingMethod.AVERAGE_IP, 2.5)
COLOR_VIEW = View(CAMERA, Viewport(33, 21), (Layer("volume"),), RenderingMethod.VOLUME_RENDERED, None)


def encoded(frame: Frame, encoding: Encoding) -> tuple[frame_pb2.FrameHeader, bytes]:
    result = encode(frame, encoding, jpeg_quality=95)
    return frame_header(frame, result), result.payload


def test_float32_values_are_exact() -> None:
    frame = draw(VALUES_VIEW)
    np.testing.assert_array_equal(decode_frame(*encoded(frame, Encoding.VALUES_FLOAT32)).array, frame.values)


@pytest.mark.parametrize("encoding", [Encoding.VALUES_UINT16, Encoding.VALUES_DEFLATE])
def test_16_bit_values_are_within_half_a_step(encoding: Encoding) -> None:
    frame = draw(VALUES_VIEW)
    decoded = decode_frame(*encoded(frame, encoding))
    assert 0 < decoded.value_step <= 1 / 8
    np.testing.assert_allclose(decoded.array, frame.values, rtol=0, atol=decoded.value_step / 2)
    np.testing.assert_array_equal(np.isnan(decoded.array), np.isnan(frame.values))
    assert decoded.array.dtype == np.float32


def test_deflated_codes_wrap_around() -> None:
    frame = draw(VALUES_VIEW)
    extremes = np.where(np.arange(33) % 2, 65534.0, 0.0) * np.ones((21, 1))
    frame = Frame(**{**vars(frame), "values": extremes.astype(np.float32)})
    np.testing.assert_array_equal(decode_frame(*encoded(frame, Encoding.VALUES_DEFLATE)).array, extremes)


@pytest.mark.parametrize("encoding", [Encoding.RGBA8, Encoding.RGBA_DEFLATE])
def test_color_is_exact(encoding: Encoding) -> None:
    decoded = decode_frame(*encoded(draw(COLOR_VIEW), encoding))
    np.testing.assert_array_equal(decoded.array, ramp_color(COLOR_VIEW))
    np.testing.assert_array_equal(decoded.picture(), ramp_color(COLOR_VIEW)[..., :3])
    assert decoded.content == "rgba"


@pytest.mark.parametrize("view", [VALUES_VIEW, COLOR_VIEW])
def test_png_is_what_is_seen(view: View) -> None:
    frame = draw(view)
    decoded = decode_frame(*encoded(frame, Encoding.PNG))
    np.testing.assert_array_equal(decoded.array, frame.picture())
    np.testing.assert_array_equal(decoded.picture(), frame.picture())


def test_jpeg_is_close_to_what_is_seen() -> None:
    frame = draw(VALUES_VIEW)
    decoded = decode_frame(*encoded(frame, Encoding.JPEG))
    assert decoded.jpeg_quality == 95
    assert not decoded.lossless
    assert np.abs(decoded.array[:, 8:].astype(int) - frame.gray8()[:, 8:]).max() <= 6


def test_the_header_comes_along() -> None:
    frame = draw(VALUES_VIEW, view_revision=7)
    decoded = decode_frame(*encoded(frame, Encoding.VALUES_FLOAT32))
    assert decoded.plane.top_left_mm == pytest.approx(frame.plane.top_left_mm)
    assert decoded.plane.pixel_spacing_mm == frame.plane.pixel_spacing_mm
    assert (decoded.window.center, decoded.window.width, decoded.units) == (40, 400, "HU")
    assert (decoded.rendering_method, decoded.slab_mm, decoded.view_revision) == ("average_ip", 2.5, 7)
    assert decoded.is_final
    assert decoded.lossless
    assert decoded.timings_ms["render"] == 1.5
    np.testing.assert_array_equal(decoded.gray8(), frame.gray8())


def test_a_frames_own_png_is_readable() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    for view in (VALUES_VIEW, COLOR_VIEW):
        decoded = decode_frame(*encoded(draw(view), Encoding.RGBA8 if view.is_color else Encoding.VALUES_FLOAT32))
        np.testing.assert_array_equal(imagecodecs.png_decode(decoded.to_png()), decoded.picture())


def _reseal(header: frame_pb2.FrameHeader, payload: bytes) -> frame_pb2.FrameHeader:
    sealed = frame_pb2.FrameHeader()
    sealed.CopyFrom(header)
    sealed.payload_bytes, sealed.payload_crc32 = len(payload), zlib.crc32(payload)
    return sealed


@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_flipped_bit_is_noticed(encoding: Encoding) -> None:
    header, payload = encoded(draw(COLOR_VIEW if encoding.needs_color else VALUES_VIEW), encoding)
    damaged = bytearray(payload)
    damaged[len(damaged) // 2] ^= 1
    with pytest.raises(ProtocolError, match="CRC"):
        decode_frame(header, bytes(damaged))


@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_short_payload_is_noticed(encoding: Encoding) -> None:
    header, payload = encoded(draw(COLOR_VIEW if encoding.needs_color else VALUES_VIEW), encoding)
    with pytest.raises(ProtocolError, match="its header says"):
        decode_frame(header, payload[:-1])
    with pytest.raises(ProtocolError):
        decode_frame(_reseal(header, payload[: len(payload) // 2]), payload[: len(payload) // 2])


def test_a_bomb_is_not_inflated() -> None:
    header, _ = encoded(draw(VALUES_VIEW), Encoding.VALUES_DEFLATE)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(bytes(1 << 26)) + packer.flush()
    with pytest.raises(ProtocolError, match="or more, not to 1386"):
        decode_frame(_reseal(header, bomb), bomb)


def test_an_unknown_encoding_is_named() -> None:
    header, payload = encoded(draw(VALUES_VIEW), Encoding.VALUES_FLOAT32)
    header.encoding = 99  # type: ignore[assignment]
    with pytest.raises(ProtocolError, match="encoding 99"):
        decode_frame(header, payload)

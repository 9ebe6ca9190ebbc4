"""Pictures made on the card: the host's own, pixel for pixel; encoded there or not; and what crosses the bus for it."""

from __future__ import annotations

import dataclasses
import logging

import imagecodecs
import numpy as np
import pytest

from render.backends.cuda.finishing import WINDOW_FUNCTIONS
from render.backends.cuda.kernels import COUNT_BYTES, launch_blocks
from render.backends.cuda.renderer import CudaRenderer
from render.backends.picture_renderer import PictureRenderer
from render.encoding import Encoding, encode
from render.encoding.pictures import jpeg, shrink
from render.errors import DeviceLostError, DeviceMemoryError
from render.frame import Frame, PictureRequest, Quality
from render.transfer import Window, WindowFunction
from tests import phantoms
from tests.backends.cuda.fake_device import FakeDevice
from tests.backends.scenes import WORKS, make_view, slanted_camera
from tests.phantoms import GRIDS, INT16, INT16_PADDED

BUDGET = 1 << 29
SIZE = 37, 29


@pytest.fixture
def device(host_kernels) -> FakeDevice:
    return FakeDevice(host_kernels)


@pytest.fixture
def renderer(device) -> CudaRenderer:
    return CudaRenderer(device, BUDGET)


@pytest.fixture
def resident(renderer):
    return renderer.upload(phantoms.blobs(GRIDS["oblique"], INT16_PADDED, holes=0.05))


def views_of(resident, work: str, window: Window | None = None, *, invert: bool = False):
    view = make_view(resident.volume, work, slanted_camera(resident.volume.geometry), SIZE)
    layer = dataclasses.replace(view.layers[0], window=window, invert=invert)
    return dataclasses.replace(view, layers=(layer,)), {resident.volume.id: resident}


def decoded(payload: bytes) -> np.ndarray:
    return imagecodecs.jpeg8_decode(payload)


def test_it_is_a_picture_renderer(renderer) -> None:
    assert isinstance(renderer, PictureRenderer)


@pytest.mark.parametrize("divisor", [1, 2, 3, 4])
@pytest.mark.parametrize("work", ["thin", "max", "color_shaded"])
def test_the_jpeg_is_that_of_the_hosts_own_picture(device, renderer, resident, work, divisor) -> None:
    view, volumes = views_of(resident, work)
    frame = renderer.render_picture(view, volumes, PictureRequest(90, divisor), view_revision=7)
    plain = renderer.render(view, volumes)
    expected = jpeg(shrink(plain.picture(), divisor), 90)
    assert frame.shown is not None
    assert frame.shown.jpeg == expected
    assert (frame.shown.height_px, frame.shown.width_px) == decoded(expected).shape[:2]
    assert frame.values is frame.color is None
    assert frame.view_revision == 7
    assert (frame.samples_taken, frame.samples_skipped) == (plain.samples_taken, plain.samples_skipped)
    encoded = encode(frame, Encoding.JPEG, jpeg_quality=90, divisor=divisor)
    whole = encode(plain, Encoding.JPEG, jpeg_quality=90, divisor=divisor)
    assert dataclasses.replace(encoded, encode_ms=0) == dataclasses.replace(whole, encode_ms=0)


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize(
    "window",
    [Window(40, 400), Window(40, 400, WindowFunction.LINEAR), Window(0, 1, WindowFunction.LINEAR), Window(-200, 0.5)],
    ids=str,
)
def test_every_window_shows_what_the_host_shows(device, renderer, resident, window, invert) -> None:
    device.has_encoder = False
    view, volumes = views_of(resident, "thin", window, invert=invert)
    frame = renderer.render_picture(view, volumes, PictureRequest(75))
    assert frame.shown is not None
    expected = renderer.render(view, volumes).gray8()
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(frame.shown.pixels, expected)


def test_a_sigmoid_is_within_a_level(device, renderer, resident) -> None:
    device.has_encoder = False
    view, volumes = views_of(resident, "max", Window(100, 900, WindowFunction.SIGMOID))
    shown = renderer.render_picture(view, volumes, PictureRequest(75)).shown
    off = shown.pixels.astype(int) - renderer.render(view, volumes).gray8()
    assert np.abs(off).max() <= 1


def test_values_through_a_function_that_the_card_does_not_know_come_as_they_are(
    renderer, resident, monkeypatch
) -> None:
    monkeypatch.delitem(WINDOW_FUNCTIONS, WindowFunction.LINEAR)
    view, volumes = views_of(resident, "thin", Window(40, 400, WindowFunction.LINEAR))
    frame = renderer.render_picture(view, volumes, PictureRequest(75))
    assert frame.shown is None
    plain = renderer.render(view, volumes)
    np.testing.assert_array_equal(frame.values, plain.values)
    view, volumes = views_of(resident, "color")
    assert renderer.render_picture(view, volumes, PictureRequest(75)).shown is not None  # colour needs no window


def test_pixels_come_too_if_they_are_wanted(device, renderer, resident) -> None:
    for work in ("thin", "color"):
        view, volumes = views_of(resident, work)
        frame = renderer.render_picture(view, volumes, PictureRequest(60, with_pixels=True))
        plain = renderer.render(view, volumes)
        np.testing.assert_array_equal(frame.pixels, plain.pixels)
        assert frame.shown.jpeg == jpeg(plain.picture(), 60)
        lossless = encode(frame, Encoding.RGBA_DEFLATE if work == "color" else Encoding.VALUES_FLOAT32)
        assert lossless.lossless


def test_a_jpeg_of_another_quality_is_made_of_the_pixels(renderer, resident) -> None:
    view, volumes = views_of(resident, "thin")
    frame = renderer.render_picture(view, volumes, PictureRequest(60, with_pixels=True))
    assert encode(frame, Encoding.JPEG, jpeg_quality=91).payload == jpeg(frame.picture(), 91)
    assert encode(frame, Encoding.JPEG, jpeg_quality=60, divisor=2).payload == jpeg(shrink(frame.picture(), 2), 60)


def test_only_the_jpeg_crosses_the_bus(device, renderer, resident) -> None:
    view, volumes = views_of(resident, "color")
    renderer.render_picture(view, volumes, PictureRequest(90))
    device.downloads.clear()
    frame = renderer.render_picture(view, volumes, PictureRequest(90))
    assert device.downloads == [COUNT_BYTES, len(frame.shown.jpeg)]
    device.downloads.clear()
    renderer.render(view, volumes)
    assert device.downloads == [COUNT_BYTES, 4 * SIZE[0] * SIZE[1]]


@pytest.mark.parametrize("has_encoder", [True, False])
@pytest.mark.parametrize("work", ["thin", "color"])
def test_a_picture_is_waited_for_once(device, renderer, resident, work, has_encoder) -> None:
    device.has_encoder = has_encoder
    view, volumes = views_of(resident, work)
    renderer.render_picture(view, volumes, PictureRequest(90))  # makes tables and encoder
    before = device.waits
    renderer.render_picture(view, volumes, PictureRequest(90, 2))
    assert device.waits == before + 1


def test_an_encoder_lives_as_long_as_its_lane(device, renderer, resident) -> None:
    view, volumes = views_of(resident, "thin")
    for _ in range(5):
        renderer.render_picture(view, volumes, PictureRequest(90))
    assert len(device.encoders) == 1
    assert device.encoders[0].calls == 5 + 2  # and its trial of two pictures
    assert renderer.encoder == device.encoders[0].name


# Without an encoder, or with a bad one


def fallen_back(frame: Frame, plain: Frame) -> bool:
    assert frame.shown is not None
    return frame.shown.jpeg is None and encode(frame, Encoding.JPEG).payload == encode(plain, Encoding.JPEG).payload


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"has_encoder": False}, "nvImageCodec is not installed"),
        ({"encodes_nothing": True}, "an encoder that is none gave no JPEG of 83 x 60 x 1"),
        ({"swaps_channels": True}, "a coloured picture is off by "),
    ],
    ids=["missing", "returns None", "swaps channels"],
)
@pytest.mark.parametrize("work", WORKS)
def test_a_bad_encoder_is_said_once_and_pictures_come_all_the_same(
    device, renderer, resident, caplog, fault, said, work
) -> None:
    for name, value in fault.items():
        setattr(device, name, value)
    view, volumes = views_of(resident, work)
    with caplog.at_level(logging.WARNING):
        frames = [renderer.render_picture(view, volumes, PictureRequest(90)) for _ in range(3)]
    plain = renderer.render(view, volumes)
    assert all(fallen_back(frame, plain) for frame in frames)
    assert [record.message.count(said) for record in caplog.records] == [1]
    assert said in renderer.encoder
    assert len(device.encoders) <= 1


def test_an_encoder_that_fails_later_is_not_asked_again(device, renderer, resident, caplog) -> None:
    view, volumes = views_of(resident, "color")
    plain = renderer.render(view, volumes)
    assert renderer.render_picture(view, volumes, PictureRequest(90)).shown.jpeg is not None
    device.encodes_nothing = True
    for with_pixels in (False, True):
        frame = renderer.render_picture(view, volumes, PictureRequest(90, with_pixels=with_pixels))
        assert fallen_back(frame, plain)
    assert device.encoders[0].calls == 2 + 1 + 1
    assert len(caplog.records) == 1
    assert f"gave no JPEG of {SIZE[0]} x {SIZE[1]} x 3" in caplog.text


def test_a_card_that_is_lost_is_no_encoders_fault(device, renderer, resident) -> None:
    view, volumes = views_of(resident, "thin")
    device.fail_launch, device.sticks = 2, True  # gray8
    with pytest.raises(DeviceLostError, match="running gray8"):
        renderer.render_picture(view, volumes, PictureRequest(90))
    assert renderer.encoder == ""


def test_a_picture_without_room_is_refused_alone(device, renderer, resident) -> None:
    view, volumes = views_of(resident, "color")
    renderer.render_picture(view, volumes, PictureRequest(90))
    total = device.total
    device.kept = 0
    device.total = device.used + 4 * SIZE[0] * SIZE[1] + COUNT_BYTES + 1024  # the frame fits, its picture does not
    with pytest.raises(DeviceMemoryError, match="a picture of 37 x 29 does not fit"):
        renderer.render_picture(view, volumes, PictureRequest(90))
    device.total = total
    assert renderer.render_picture(view, volumes, PictureRequest(90)).shown.jpeg is not None


def test_a_preview_of_fewer_rays_is_enlarged_before_it_is_shown(renderer, resident) -> None:
    view, volumes = views_of(resident, "color")
    quality = Quality(ray_stride=2, step_factor=2.0)
    frame = renderer.render_picture(view, volumes, PictureRequest(80), quality=quality)
    plain = renderer.render(view, volumes, quality=quality)
    assert frame.shown.jpeg == jpeg(plain.picture(), 80)


@pytest.mark.parametrize("divisor", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (8, 12), (9, 16, 3), (2, 3, 3)], ids=str)
def test_blocks_are_averaged_as_on_the_host(host_kernels, shape, divisor) -> None:
    picture = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    channels = shape[2] if len(shape) == 3 else 1
    expected = shrink(picture, divisor)
    out = np.zeros(expected.size, np.uint8)
    sizes = (np.int32(n) for n in (shape[1], shape[0], channels, divisor))
    host_kernels("int16", False).launch("shrink", launch_blocks(out.size), picture, *sizes, out)
    np.testing.assert_array_equal(out.reshape(expected.shape), expected)


def test_int16_and_whole_volumes_without_holes_are_shown_too(device, renderer) -> None:
    resident = renderer.upload(phantoms.blobs(GRIDS["sheared"], INT16))
    view, volumes = views_of(resident, "mean")
    frame = renderer.render_picture(view, volumes, PictureRequest(90))
    assert frame.shown.jpeg == jpeg(renderer.render(view, volumes).picture(), 90)

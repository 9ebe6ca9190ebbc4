"""Pictures made on the card: the host's own, pixel for pixel; encoded there or not; and what crosses the bus for it."""

from __future__ import annotations

import dataclasses
import logging
import weakref

import hypothesis
import imagecodecs
import numpy as np
import pytest
from hypothesis import strategies as st

from render.backends.channels import render_channels
from render.backends.cuda.kernels import COUNT_BYTES, launch_blocks
from render.backends.cuda.renderer import CudaRenderer
from render.backends.picture_renderer import PictureRenderer
from render.encoding import Encoding, encode
from render.encoding.pictures import jpeg, shrink
from render.errors import DeviceLostError, DeviceMemoryError, UnsupportedError
from render.frame import FINAL, Frame, PictureRequest, Quality
from render.lookup import LookupTable
from render.transfer import Window, WindowFunction
from render.volume import Volume
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


TABLES = {
    "8 bits, fewer than the values": LookupTable(-200, 8, np.arange(0, 256, dtype="<u2").tobytes()),
    "12 bits, descending": LookupTable(-1000, 12, (np.arange(2000, dtype="<u2")[::-1] * 2).tobytes()),
    "16 bits, noise": LookupTable(-300, 16, np.random.default_rng(5).integers(0, 65536, 700).astype("<u2").tobytes()),
    "one entry": LookupTable(0, 4, np.array([9], "<u2").tobytes()),
}


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("work", ["thin", "mean"])
@pytest.mark.parametrize("name", TABLES)
def test_a_voi_lut_shows_what_the_host_shows_and_is_uploaded_once(device, renderer, name, work, invert) -> None:
    device.has_encoder = False
    luts = tuple(TABLES.values())
    volume = phantoms.blobs(GRIDS["oblique"], INT16_PADDED, holes=0.05)
    volume = dataclasses.replace(volume, info=dataclasses.replace(volume.info, voi_luts=luts))
    resident = renderer.upload(volume)
    window = Window(0, 1, WindowFunction.VOI_LUT, voi_lut=list(TABLES).index(name))
    view, volumes = views_of(resident, work, window, invert=invert)
    shown = renderer.render_picture(view, volumes, PictureRequest(75)).shown
    plain = renderer.render(view, volumes)
    np.testing.assert_array_equal(shown.pixels, plain.gray8())
    assert len(np.unique(shown.pixels)) >= 2  # outside is the lowest
    sent = len(device.uploads)
    again = renderer.render_picture(view, volumes, PictureRequest(75, 2))
    np.testing.assert_array_equal(again.shown.pixels, shrink(plain.gray8(), 2))
    assert len(device.uploads) == sent


@hypothesis.settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(first=st.integers(-40000, 65535), bits=st.integers(1, 16), count=st.integers(1, 3000))
def test_gray_by_a_table_equals_the_windows_own(host_kernels, first, bits, count) -> None:
    random = np.random.default_rng(count)
    table = LookupTable(first, bits, random.integers(0, 1 << bits, count).astype("<u2").tobytes())
    window = Window.of_table(0, table)
    halves = first + random.integers(-3, count + 3, 200) + 0.5  # rounded to even
    values = np.concatenate([halves, random.uniform(first - 9, first + count + 9, 200), [np.nan, 3e38, -3e38]])
    values = values.astype(np.float32)
    out = np.zeros(values.shape, np.uint8)
    grays = window.to_gray8(first + np.arange(count))
    size, entries = np.int64(values.size), np.int32(count)
    arguments = values, out, size, grays, np.float64(first), entries, np.int32(0)
    host_kernels("int16", False).launch("gray8_by_table", launch_blocks(values.size), *arguments)
    np.testing.assert_array_equal(out, window.to_gray8(values))


def colors(seed: int = 1) -> Volume:
    codes = np.random.default_rng(seed).integers(0, 256, (*GRIDS["oblique"].shape, 3), np.uint8)
    return Volume("colors", GRIDS["oblique"], codes)


@pytest.mark.parametrize("quality", [FINAL, Quality(ray_stride=2, step_factor=2.0)], ids=["full", "interactive"])
@pytest.mark.parametrize("work", ["thin", "slab_max", "min", "mean"])
def test_a_colour_image_is_joined_and_shown_on_the_card(device, renderer, work, quality) -> None:
    resident = renderer.upload(colors())
    view, volumes = views_of(resident, work)
    expected = render_channels(renderer, view, resident, quality=quality, view_revision=4)
    frame = renderer.render(view, volumes, quality=quality, view_revision=4)
    np.testing.assert_array_equal(frame.color, expected.color)
    assert frame.values is None
    assert set(np.unique(frame.color[..., 3])) == {0, 255}
    changes = {"color": None, "timings_ms": {}}
    assert dataclasses.replace(frame, **changes) == dataclasses.replace(expected, **changes)
    request = PictureRequest(90, 2)
    renderer.render_picture(view, volumes, request, quality=quality)
    device.downloads.clear()
    before = device.waits
    shown = renderer.render_picture(view, volumes, request, quality=quality)
    assert shown.shown.jpeg == jpeg(shrink(expected.picture(), 2), 90)
    assert device.downloads == [COUNT_BYTES, len(shown.shown.jpeg)]
    assert device.waits == before + 1
    assert shown.color is shown.values is None


def test_a_colour_image_takes_what_is_said_of_the_card(device, renderer) -> None:
    before = device.used
    resident = renderer.upload(colors())
    view, volumes = views_of(resident, "mean")
    renderer.render(view, volumes)
    assert 2 * 2 * resident.volume.nbytes <= device.used - before <= resident.nbytes
    assert resident.nbytes <= renderer.estimate_bytes(resident.volume.nbytes, 1)
    renderer.release(resident)
    assert device.used == before


def test_a_colour_image_is_not_volume_rendered(renderer) -> None:
    view, volumes = views_of(renderer.upload(colors()), "color")
    with pytest.raises(UnsupportedError, match="a colour image has no values"):
        renderer.render_picture(view, volumes, PictureRequest(90))


def test_what_a_picture_is_made_of_is_held_until_it_is_made(device, renderer) -> None:
    """Tables are of another frame's stream: once let go, that may write over them."""
    luts = (TABLES["16 bits, noise"],)
    volume = phantoms.blobs(GRIDS["oblique"], INT16)
    resident = renderer.upload(dataclasses.replace(volume, info=dataclasses.replace(volume.info, voi_luts=luts)))
    window = Window(0, 1, WindowFunction.VOI_LUT)
    for work, last, kept in (("color", "rgb", "_tables"), ("thin", "gray8_by_table", "grays")):
        view, volumes = views_of(resident, work, window)
        renderer.render_picture(view, volumes, PictureRequest(90))
        alive, remembered = [], getattr(resident, kept)
        (table,) = (weakref.ref(each) for each in remembered._kept.values())

        def forget(kernel: str, last=last, remembered=remembered) -> None:
            if kernel == last:
                remembered.clear()

        device.on_launch = forget
        encode_with = device.encoders[0].jpeg

        def encoding(*arguments, table=table, alive=alive, encode_with=encode_with):
            alive.append(table() is not None)
            return encode_with(*arguments)

        device.encoders[0].jpeg = encoding
        renderer.render_picture(view, volumes, PictureRequest(90))
        assert alive == [True]
        assert table() is None


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

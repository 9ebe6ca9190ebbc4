"""The CUDA renderer on a card: what every renderer has to draw, by both ways to sample, and that memory returns."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterator

import imagecodecs
import numpy as np
import pytest

pytest.register_assert_rewrite("tests.backends.conformance")

from render.backends.cpu.renderer import CpuRenderer  # noqa: E402
from render.backends.cuda.cupy_device import CupyDevice  # noqa: E402
from render.backends.cuda.device import Program  # noqa: E402
from render.backends.cuda.frames import Sampling  # noqa: E402
from render.backends.cuda.kernels import KERNELS  # noqa: E402
from render.backends.cuda.probe import probe  # noqa: E402
from render.backends.cuda.renderer import CudaRenderer  # noqa: E402
from render.backends.cuda.selftest import disagreement  # noqa: E402
from render.encoding import Encoding, encode  # noqa: E402
from render.frame import PictureRequest, Quality  # noqa: E402
from render.lookup import LookupTable  # noqa: E402
from render.transfer import Window, WindowFunction  # noqa: E402
from render.volume import Volume  # noqa: E402
from tests import phantoms  # noqa: E402
from tests.backends import conformance, scenes  # noqa: E402
from tests.backends.conformance import Conformance  # noqa: E402
from tests.backends.cuda import texture_bound  # noqa: E402
from tests.backends.cuda.arrivals import Source, grown  # noqa: E402
from tests.backends.references import remembering  # noqa: E402
from tests.backends.scenes import make_view, slanted_camera  # noqa: E402
from tests.comparison import compare  # noqa: E402
from tests.phantoms import GRIDS, INT16  # noqa: E402
from tests.reference import render_reference  # noqa: E402

pytestmark = pytest.mark.gpu
BUDGET = 1 << 30


@pytest.fixture(scope="module")
def device(request: pytest.FixtureRequest) -> CupyDevice:
    found = probe()
    if found.reason:
        if request.config.getoption("--require-gpu"):
            pytest.fail(found.reason)
        pytest.skip(found.reason)
    return CupyDevice(found.cards[0].index)


class TestExact(Conformance):
    @pytest.fixture(scope="class")
    def renderer(self, device) -> Iterator[CudaRenderer]:
        with remembering():
            yield CudaRenderer(device, BUDGET, sampling=Sampling.EXACT, band_samples=1 << 12, chunk_bytes=1000)


class TestTexture(Conformance):
    @pytest.fixture(scope="class")
    def renderer(self, device) -> Iterator[CudaRenderer]:
        """Judged by the derived bound in the place of the exact renderers' tolerance."""
        with remembering() as patch:
            for module in (conformance, scenes):
                patch.setattr(module, "compare", texture_bound.compare)
            patch.setattr(conformance, "value_tolerance", texture_bound.value_tolerance)
            yield CudaRenderer(device, BUDGET, sampling=Sampling.TEXTURE, band_samples=1 << 12, chunk_bytes=1000)


def test_every_kernel_is_built(device) -> None:
    for module, names in KERNELS.items():
        for dtype in ("int16", "float32"):
            for texture in (False, True):
                for name in names:
                    assert device._function(Program(module, dtype, texture), name).num_regs > 0


def test_the_self_test_passes(device) -> None:
    renderer, judge = CudaRenderer(device, BUDGET), CpuRenderer(1)
    assert disagreement(renderer, judge) == ""
    judge.close()


def test_a_thousand_loads_return_to_the_baseline(device) -> None:
    renderer = CudaRenderer(device, BUDGET)
    volume = phantoms.noise(GRIDS["oblique"], INT16)
    view = make_view(volume, "max", slanted_camera(volume.geometry), (9, 7))
    gc.collect()
    before = device.memory().used
    pictures = []
    for n in range(1000):
        resident = renderer.upload(volume)
        if n % 100 == 0:
            pictures.append(renderer.render(view, {volume.id: resident}).pixels)
        renderer.release(resident)
    assert device.memory().used == before
    for picture in pictures:
        np.testing.assert_array_equal(picture, pictures[0])


def test_a_picture_is_what_the_host_would_show_whoever_encodes_it(device) -> None:
    renderer = CudaRenderer(device, BUDGET)
    volume = phantoms.blobs(GRIDS["oblique"], INT16)
    resident = renderer.upload(volume)
    for work in ("thin", "color_shaded"):
        view = make_view(volume, work, slanted_camera(volume.geometry), (96, 64))
        plain = renderer.render(view, {volume.id: resident}).picture()
        frame = renderer.render_picture(view, {volume.id: resident}, PictureRequest(95))
        payload = encode(frame, Encoding.JPEG, jpeg_quality=95).payload
        off = np.abs(imagecodecs.jpeg8_decode(payload).astype(int) - plain)
        assert off.mean() < 4, (work, renderer.encoder)
    renderer.release(resident)


@pytest.mark.parametrize("stored", ["int16", "padded", "float32"])
def test_a_volume_that_grows_ends_as_an_upload(device, stored) -> None:
    renderer, source = CudaRenderer(device, BUDGET, chunk_bytes=1000), Source(stored)
    ours, expected = grown(renderer, source), renderer.upload(source.whole)
    assert ours.statistics == expected.statistics
    for work in scenes.WORKS:
        view = make_view(source.whole, work, slanted_camera(source.whole.geometry))
        for quality in (Quality(), Quality(step_factor=2.0)):  # exactly, and by texture
            pictures = [renderer.render(view, {source.whole.id: each}, quality=quality) for each in (ours, expected)]
            np.testing.assert_array_equal(pictures[0].pixels, pictures[1].pixels)


def test_a_volume_in_part_is_what_the_reference_draws(device) -> None:
    renderer, source = CudaRenderer(device, BUDGET), Source("int16")
    state = renderer.grow(None, source.take((9, 13)), [(9, 13)])
    for work in scenes.WORKS:
        frame = renderer.render(
            make_view(source.whole, work, slanted_camera(source.whole.geometry)), {source.whole.id: state}
        )
        assert frame.missing_slices == 17
        assert compare(render_reference(frame.view, source.marked()), frame, source.marked()).agrees, work


def test_a_voi_lut_and_a_colour_image_are_shown_as_on_the_host(device) -> None:
    renderer = CudaRenderer(device, BUDGET)
    table = LookupTable(-300, 16, np.random.default_rng(5).integers(0, 65536, 700).astype("<u2").tobytes())
    volume = phantoms.blobs(GRIDS["oblique"], INT16)
    volume = dataclasses.replace(volume, info=dataclasses.replace(volume.info, voi_luts=(table,)))
    codes = np.random.default_rng(1).integers(0, 256, (*GRIDS["oblique"].shape, 3), np.uint8)
    colors = Volume("colors", GRIDS["oblique"], codes)
    for each, window in ((volume, Window(0, 1, WindowFunction.VOI_LUT)), (colors, None)):
        resident = renderer.upload(each)
        view = make_view(each, "thin", slanted_camera(each.geometry), (37, 29))
        view = dataclasses.replace(view, layers=(dataclasses.replace(view.layers[0], window=window),))
        plain = renderer.render(view, {each.id: resident}).picture()
        frame = renderer.render_picture(view, {each.id: resident}, PictureRequest(100))
        decoded = imagecodecs.jpeg8_decode(encode(frame, Encoding.JPEG, jpeg_quality=100).payload)
        assert np.abs(decoded.astype(int) - plain).max() < 16, (each.id, renderer.encoder)

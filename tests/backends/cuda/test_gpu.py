"""What only a card can show: that it builds and encodes, that memory returns, and that volumes grow on it."""

from __future__ import annotations

import dataclasses
import gc

import imagecodecs
import numpy as np
import pytest

from render.backends.cpu.renderer import CpuRenderer
from render.backends.cuda.device import Program
from render.backends.cuda.kernels import KERNELS
from render.backends.cuda.renderer import CudaRenderer
from render.backends.cuda.selftest import disagreement
from render.encoding import Encoding, encode
from render.frame import PictureRequest, Quality
from render.lookup import LookupTable
from render.transfer import Window, WindowFunction
from render.volume import Volume
from tests import phantoms
from tests.backends import scenes
from tests.backends.cuda.arrivals import Source, grown
from tests.backends.scenes import make_view, slanted_camera
from tests.comparison import compare
from tests.phantoms import GRIDS, INT16
from tests.reference import render_reference

pytestmark = pytest.mark.gpu
BUDGET = 1 << 30


def test_every_kernel_is_built(card) -> None:
    for module, names in KERNELS.items():
        for dtype in ("int16", "float32"):
            for texture in (False, True):
                for name in names:
                    assert card._function(Program(module, dtype, texture), name).num_regs > 0


def test_the_self_test_passes(card) -> None:
    renderer, judge = CudaRenderer(card, BUDGET), CpuRenderer(1)
    assert disagreement(renderer, judge) == ""
    judge.close()


def test_a_thousand_loads_return_to_the_baseline(card) -> None:
    renderer = CudaRenderer(card, BUDGET)
    volume = phantoms.noise(GRIDS["oblique"], INT16)
    view = make_view(volume, "max", slanted_camera(volume.geometry), (9, 7))
    gc.collect()
    before = card.memory().used
    pictures = []
    for n in range(1000):
        resident = renderer.upload(volume)
        if n % 100 == 0:
            pictures.append(renderer.render(view, {volume.id: resident}).pixels)
        renderer.release(resident)
    assert card.memory().used == before
    for picture in pictures:
        np.testing.assert_array_equal(picture, pictures[0])


def test_a_picture_is_what_the_host_would_show_whoever_encodes_it(card) -> None:
    renderer = CudaRenderer(card, BUDGET)
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
def test_a_volume_that_grows_ends_as_an_upload(card, stored) -> None:
    renderer, source = CudaRenderer(card, BUDGET, chunk_bytes=1000), Source(stored)
    ours, expected = grown(renderer, source), renderer.upload(source.whole)
    assert ours.statistics == expected.statistics
    for work in scenes.WORKS:
        view = make_view(source.whole, work, slanted_camera(source.whole.geometry))
        for quality in (Quality(), Quality(step_factor=2.0)):  # exactly, and by texture
            pictures = [renderer.render(view, {source.whole.id: each}, quality=quality) for each in (ours, expected)]
            np.testing.assert_array_equal(pictures[0].pixels, pictures[1].pixels)


def test_a_volume_in_part_is_what_the_reference_draws(card) -> None:
    renderer, source = CudaRenderer(card, BUDGET), Source("int16")
    state = renderer.grow(None, source.take((9, 13)), [(9, 13)])
    for work in scenes.WORKS:
        frame = renderer.render(
            make_view(source.whole, work, slanted_camera(source.whole.geometry)), {source.whole.id: state}
        )
        assert frame.missing_slices == 17
        assert compare(render_reference(frame.view, source.marked()), frame, source.marked()).agrees, work


def test_a_voi_lut_and_a_colour_image_are_shown_as_on_the_host(card) -> None:
    renderer = CudaRenderer(card, BUDGET)
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

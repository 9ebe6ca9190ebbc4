"""The CUDA renderer on a card: what every renderer has to draw, by both ways to sample, and that memory returns."""

from __future__ import annotations

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
from render.frame import PictureRequest  # noqa: E402
from tests import phantoms  # noqa: E402
from tests.backends import conformance, scenes  # noqa: E402
from tests.backends.conformance import Conformance  # noqa: E402
from tests.backends.cuda import texture_bound  # noqa: E402
from tests.backends.references import remembering  # noqa: E402
from tests.backends.scenes import make_view, slanted_camera  # noqa: E402
from tests.phantoms import GRIDS, INT16  # noqa: E402

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

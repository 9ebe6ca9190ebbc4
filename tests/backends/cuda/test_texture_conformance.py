"""The CUDA renderer with texture sampling, on a host, within the bound that 8 fractional bits allow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.backends.conformance")

from render.backends.cuda.frames import Sampling  # noqa: E402
from render.backends.cuda.renderer import CudaRenderer  # noqa: E402
from tests.backends.conformance import Conformance  # noqa: E402
from tests.backends.cuda import texture_bound  # noqa: E402
from tests.backends.cuda.fake_device import FakeDevice  # noqa: E402
from tests.backends.references import judging_by  # noqa: E402


@pytest.fixture(scope="module")
def renderer(host_kernels) -> Iterator[CudaRenderer]:
    """Judged by the derived bound in the place of the exact renderers' tolerance."""
    with judging_by(texture_bound):
        device = FakeDevice(host_kernels)
        yield CudaRenderer(device, 1 << 29, sampling=Sampling.TEXTURE, band_samples=1 << 12, chunk_bytes=1000)
        assert any(program.texture for program in device.programs)


class TestTexture(Conformance):
    pass

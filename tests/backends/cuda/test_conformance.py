"""The CUDA renderer with exact sampling, on a device that runs the kernels on the host, against the reference."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.backends.conformance")

from render.backends.cuda.frames import Sampling  # noqa: E402
from render.backends.cuda.renderer import CudaRenderer  # noqa: E402
from tests.backends.conformance import Conformance  # noqa: E402
from tests.backends.cuda.fake_device import FakeDevice  # noqa: E402
from tests.backends.references import remembering  # noqa: E402


@pytest.fixture(scope="module")
def renderer(host_kernels) -> Iterator[CudaRenderer]:
    """Of small chunks and bands, so that a small volume has several of each."""
    device = FakeDevice(host_kernels)
    with remembering():
        yield CudaRenderer(device, 1 << 29, sampling=Sampling.EXACT, band_samples=1 << 12, chunk_bytes=1000)
    assert not any(program.texture for program in device.programs)


class TestExact(Conformance):
    pass

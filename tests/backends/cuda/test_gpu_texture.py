"""The CUDA renderer with texture sampling, on a card, within the bound that 8 fractional bits allow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.backends.conformance")

from render.backends.cuda.frames import Sampling  # noqa: E402
from render.backends.cuda.renderer import CudaRenderer  # noqa: E402
from tests.backends.conformance import Conformance  # noqa: E402
from tests.backends.cuda import texture_bound  # noqa: E402
from tests.backends.references import judging_by  # noqa: E402

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def renderer(card) -> Iterator[CudaRenderer]:
    """Judged by the derived bound in the place of the exact renderers' tolerance."""
    with judging_by(texture_bound):
        yield CudaRenderer(card, 1 << 30, sampling=Sampling.TEXTURE, band_samples=1 << 12, chunk_bytes=1000)


class TestTexture(Conformance):
    pass

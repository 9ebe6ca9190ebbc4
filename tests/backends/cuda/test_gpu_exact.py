"""The CUDA renderer with exact sampling, on a card, against the reference."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.backends.conformance")

from render.backends.cuda.frames import Sampling  # noqa: E402
from render.backends.cuda.renderer import CudaRenderer  # noqa: E402
from tests.backends.conformance import Conformance  # noqa: E402
from tests.backends.references import remembering  # noqa: E402

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def renderer(card) -> Iterator[CudaRenderer]:
    """Of small chunks and bands, so that a small volume has several of each."""
    with remembering():
        yield CudaRenderer(card, 1 << 30, sampling=Sampling.EXACT, band_samples=1 << 12, chunk_bytes=1000)


class TestExact(Conformance):
    pass

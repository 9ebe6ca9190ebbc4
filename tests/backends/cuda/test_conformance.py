"""The kernels with exact sampling, run on the host, against the reference and closed forms."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.backends.conformance")

from tests.backends.conformance import Conformance  # noqa: E402
from tests.backends.cuda.shim_renderer import ShimRenderer  # noqa: E402


@pytest.fixture(scope="module")
def renderer(host_kernels) -> ShimRenderer:
    return ShimRenderer(host_kernels)


class TestExact(Conformance):
    pass

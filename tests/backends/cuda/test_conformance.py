"""The kernels with exact sampling, run on the host, against the reference and closed forms."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.backends.conformance")

from tests.backends.conformance import Conformance  # noqa: E402
from tests.backends.cuda.references import remembering  # noqa: E402
from tests.backends.cuda.shim_renderer import ShimRenderer  # noqa: E402


@pytest.fixture(scope="module")
def renderer(host_kernels) -> Iterator[ShimRenderer]:
    with remembering():
        yield ShimRenderer(host_kernels)


class TestExact(Conformance):
    pass

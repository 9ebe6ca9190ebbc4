"""The kernels with texture sampling, run on the host, within the bound that 8 fractional bits allow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.backends.conformance")

from tests.backends import conformance, scenes  # noqa: E402
from tests.backends.conformance import Conformance  # noqa: E402
from tests.backends.cuda import texture_bound  # noqa: E402
from tests.backends.cuda.references import remembering  # noqa: E402
from tests.backends.cuda.shim_renderer import ShimRenderer  # noqa: E402


@pytest.fixture(scope="module")
def renderer(host_kernels) -> Iterator[ShimRenderer]:
    """Judged by the derived bound in the place of the exact renderers' tolerance."""
    with remembering() as patch:
        for module in (conformance, scenes):
            patch.setattr(module, "compare", texture_bound.compare)
        patch.setattr(conformance, "value_tolerance", texture_bound.value_tolerance)
        yield ShimRenderer(host_kernels, texture=True)


class TestTexture(Conformance):
    pass

"""The CPU renderer against the reference and closed forms."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.backends.conformance")

from render.backends.cpu.renderer import CpuRenderer  # noqa: E402
from tests.backends.conformance import Conformance  # noqa: E402
from tests.backends.references import remembering  # noqa: E402


@pytest.fixture(scope="module")
def renderer() -> Iterator[CpuRenderer]:
    renderer = CpuRenderer(threads=2)
    with remembering():
        yield renderer
    renderer.close()


class TestCpu(Conformance):
    pass

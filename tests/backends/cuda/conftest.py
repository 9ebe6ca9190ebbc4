"""The kernels, compiled for the host once a session."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from tests.backends.cuda.host_shim import Kernels, build


@pytest.fixture(scope="session")
def host_kernels(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Kernels]:
    """Return ``(dtype, texture) -> Kernels``."""
    directory = tmp_path_factory.mktemp("kernels")
    return cache(lambda dtype, texture: build(directory, dtype, texture=texture))

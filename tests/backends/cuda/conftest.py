"""The kernels, compiled for the host once for each state of their text: what was built stays in pytest's cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from tests.backends.cuda.host_shim import Kernels, build

KEPT = 16
"""Builds: four a state of the kernels."""


@pytest.fixture(scope="session")
def host_kernels(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, bool], Kernels]:
    """Return ``(dtype, texture) -> Kernels``."""
    kept = getattr(request.config, "cache", None)  # there is none with -p no:cacheprovider
    directory = kept.mkdir("voxelcast-kernels") if kept else tmp_path_factory.mktemp("kernels")
    for library in sorted(directory.glob("*.so"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
        library.unlink(missing_ok=True)
    return cache(lambda dtype, texture: build(directory, dtype, texture=texture))

"""A card where there is one, and the kernels for the host: built once for each state of their text, and kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from render.backends.cuda.cupy_device import CupyDevice
from render.backends.cuda.probe import probe
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


@pytest.fixture(scope="session")
def card(request: pytest.FixtureRequest) -> CupyDevice:
    """Return the first card; skips the test where there is none, or fails it if one is required."""
    found = probe()
    if found.reason:
        if request.config.getoption("--require-gpu"):
            pytest.fail(found.reason)
        pytest.skip(found.reason)
    return CupyDevice(found.cards[0].index)

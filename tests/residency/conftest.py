"""A cache with room for three small volumes, and cards of two each."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from render.residency import VolumeCache
from tests.fakes import FakeClock, FakeRenderer
from tests.residency.loaders import (
    OVERHEAD_BYTES,
    VOLUME_BYTES,
)
from tests.residency.rig import Rig


@pytest.fixture
def renderer() -> FakeRenderer:
    return FakeRenderer(OVERHEAD_BYTES)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def cache(renderer: FakeRenderer, clock: FakeClock) -> AsyncIterator[VolumeCache]:
    """Room for three."""
    cache = VolumeCache(renderer, 3 * VOLUME_BYTES, clock)
    yield cache
    await cache.close()
    assert renderer.resident_bytes == 0


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    await rig.close()


@pytest.fixture
async def one() -> AsyncIterator[Rig]:
    """One card."""
    rig = Rig(1)
    yield rig
    await rig.close()

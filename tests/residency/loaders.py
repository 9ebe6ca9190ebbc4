"""Loads that wait when told to, of volumes of a known size."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from render.errors import CodecError
from render.lease import Lease, Size
from render.residency import VolumeCache
from render.volume import Volume
from tests.fakes import PATIENCE_S, make_volume

VOXEL_BYTES = 4 * 5 * 6 * 2
OVERHEAD_BYTES = 16
VOLUME_BYTES = VOXEL_BYTES + OVERHEAD_BYTES
SIZE = Size(VOXEL_BYTES, 2)


class FakeLoader:
    """Loads one volume; with `gate` closed it reports one slice and waits until let through or given up."""

    def __init__(self, volume: Volume, *, gated: bool = False) -> None:
        self.volume = volume
        self.gate = threading.Event()
        if not gated:
            self.gate.set()
        self.calls = 0
        self.error: Exception | None = None
        self.started = threading.Event()
        self.given_up = threading.Event()

    def __call__(self, progress: Callable[[int, int], None], cancelled: Callable[[], bool]) -> Volume:
        self.calls += 1
        progress(1, 4)
        self.started.set()
        for _ in range(int(PATIENCE_S / 0.005)):
            if self.gate.wait(0.005):
                break
            if cancelled():
                self.given_up.set()
                raise CodecError("given up in the middle of a slice")
        else:
            raise AssertionError("neither let through nor given up")
        if self.error is not None:
            raise self.error
        return self.volume


def loader(volume_id: str, *, gated: bool = False) -> FakeLoader:
    return FakeLoader(make_volume(volume_id), gated=gated)


async def started(load: FakeLoader) -> None:
    assert await asyncio.to_thread(load.started.wait, PATIENCE_S)


async def lease(cache: VolumeCache, volume_id: str, holder: str = "test") -> Lease:
    return await cache.lease(volume_id, loader(volume_id), SIZE, holder=holder)


def resident_ids(cache: VolumeCache) -> list[str]:
    return [entry.volume_id for entry in cache.status().entries]

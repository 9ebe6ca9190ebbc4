"""Cards that fail to order, and the cache and engine over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from render.engine import Engine
from render.errors import DeviceLostError, DeviceMemoryError
from render.lease import Lease, Size
from render.loads import Loader
from render.place import Seat
from render.residency import VolumeCache
from render.volume import Volume
from tests.fakes import FakeCatalog, FakeRenderer, FakeResident, make_volume

VOXEL_BYTES = 4 * 5 * 6 * 2
SIZE = Size(VOXEL_BYTES, 2)


@dataclass
class Told:
    held: int


class FakeCard(FakeRenderer):
    """Has memory of its own, with slack and scratch to order, and fails to order."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.device = name
        self.scratch_bytes = self.slack_bytes = 0
        self.is_lost = False
        self.full_uploads = 0

    def memory(self) -> Told:
        self.check()
        return Told(self.resident_bytes + self.scratch_bytes + self.slack_bytes)

    def free_unused(self) -> None:
        self.check()
        self.slack_bytes = 0

    def upload(self, volume: Volume) -> FakeResident:
        self.check()
        if self.full_uploads:
            self.full_uploads -= 1
            raise DeviceMemoryError(f"{self.device} is full")
        return super().upload(volume)

    def render(self, *args, **options):
        self.check()
        return super().render(*args, **options)

    def release(self, resident: FakeResident) -> None:
        super().release(resident)
        self.slack_bytes += 0 if self.is_lost else resident.nbytes

    def check(self) -> None:
        if self.is_lost:
            raise DeviceLostError(f"{self.device} does nothing any more")


class Rig:
    """Two cards of two volumes each, room for four on the host, and a CPU for when they fail."""

    def __init__(self, cards: int = 2, host_volumes: int = 4, *, with_fallback: bool = True) -> None:
        self.cards = [FakeCard(f"cuda:{n}") for n in range(cards)]
        self.cpu = FakeRenderer()
        self.cpu.device = "cpu"
        seats = [Seat(card, 2 * VOXEL_BYTES) for card in self.cards]
        host_bytes = host_volumes * VOXEL_BYTES
        self.cache = VolumeCache(
            seats[0].renderer,
            seats[0].budget_bytes,
            others=seats[1:],
            host_budget_bytes=host_bytes,
            fallback=(lambda: Seat(self.cpu, host_bytes)) if with_fallback else None,
        )
        self.loads: list[str] = []
        self.left: list[str] = []
        self.cache.on_evicted = self.left.append
        self.catalog = FakeCatalog(*(make_volume(name) for name in "abcdef"))
        self.engine = Engine(self.cards[0], self.cache, self.catalog)  # type: ignore[arg-type]
        self.cache.on_evicted = self.left.append

    def loader(self, volume_id: str) -> Loader:
        def load(progress: Callable[[int, int], None], cancelled: Callable[[], bool]) -> Volume:
            self.loads.append(volume_id)
            return make_volume(volume_id)

        return load

    async def lease(self, volume_id: str) -> Lease:
        return await self.cache.lease(volume_id, self.loader(volume_id), SIZE, holder="test")

    async def pass_by(self, *names: str) -> None:
        for name in names:
            (await self.lease(name)).release()

    def where(self) -> dict[str, str]:
        return {entry.volume_id: entry.device for entry in self.cache.status().entries}

    async def close(self) -> None:
        await self.engine.close()
        await self.cache.close()
        assert all(renderer.resident_bytes == 0 for renderer in (*self.cards, self.cpu))

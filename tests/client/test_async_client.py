"""The asyncio client: the same answers, and calls that can be cancelled."""

from __future__ import annotations

import asyncio
import gc
import inspect

import numpy as np
import pytest

from render import errors as server_errors
from tests.client.fake_service import VOLUME_ID, FakeService
from voxelcast import (
    AsyncClient,
    AsyncVolume,
    BudgetExceededError,
    Client,
    DeadlineExceededError,
    InvalidArgumentError,
    LoadProgress,
    UnavailableError,
    Volume,
    errors,
)


async def test_the_same_pictures(address: str, client: Client) -> None:
    theirs = client.open("head")
    async with AsyncClient(address) as asynchronous:
        volume = await asynchronous.open("head")
        views = [
            volume.axial(size_px=(40, 30)),
            volume.mip("l", size_px=(40, 30)),
            volume.volume_rendering(size_px=(40, 30)),
        ]
        pictures = await asyncio.gather(*(volume.render(view) for view in views))
        for view, picture in zip(views, pictures, strict=True):
            np.testing.assert_array_equal(picture, theirs.render(view))
        frame = await volume.render_frame(views[0])
        assert frame.units == "HU"
        assert (await volume.render_bytes(views[0])) == theirs.render_bytes(views[0])
        np.testing.assert_array_equal((await asynchronous.render_frame(views[0])).array, pictures[0])
        assert await asynchronous.render_bytes(views[0]) == client.render_bytes(views[0])


async def test_what_there_is(address: str, service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "SCAN_INTERVAL_S", 0.001)
    async with AsyncClient(address) as client:
        service.listed = [0, 1]
        (summary,) = await client.volumes()
        service.listed = [0, 1]
        assert await client.volumes(wait=False) == []
        service.listed = [0] * 10_000
        with pytest.raises(DeadlineExceededError, match="with 0 volumes found so far"):
            await client.volumes(timeout_s=0.05)
        steps: list[LoadProgress] = []
        volume = await client.open(summary, progress=steps.append)
        assert len(steps) == 3
        assert volume.id == VOLUME_ID
        assert (await client.status()).presets == ("CT-Bone",)
        await volume.refresh()
        assert volume.description.revision == 2
        assert repr(volume).startswith("<AsyncVolume CT ramp")


async def test_a_lease_is_renewed_and_released(address: str, service: FakeService) -> None:
    async with AsyncClient(address) as client:
        async with await client.open("head") as volume:
            lease_id = volume.lease_id
            service.leases.clear()
            await volume.render(volume.axial(size_px=(8, 8)))
            assert volume.lease_id not in ("", lease_id)
        assert service.leases == {}
        await volume.release()


async def test_a_volume_that_nobody_has_any_more_makes_room_for_the_next(address: str, service: FakeService) -> None:
    async with AsyncClient(address) as client:
        volume = await client.open("head")
        del volume
        gc.collect()
        assert len(service.leases) == 1
        volume = await client.open("head")
        assert set(service.leases) == {volume.lease_id}


async def test_errors(address: str, service: FakeService) -> None:
    async with AsyncClient(address) as client:
        volume = await client.open("head")
        service.error = server_errors.BudgetExceededError("no room", needed_bytes=9)
        for call in (client.status(), client.open("head"), volume.render()):
            with pytest.raises(BudgetExceededError, match="no room") as caught:
                await call
            assert caught.value.figures == {"needed_bytes": "9"}
        with pytest.raises(InvalidArgumentError, match="not for a volume rendering"):
            await volume.render(volume.volume_rendering(), encoding="uint16")
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(UnavailableError, match=r"no connection to 127.0.0.1:1"):
            await client.status()


async def test_a_deadline_ends_the_call_on_both_sides(address: str, service: FakeService) -> None:
    async with AsyncClient(address) as client:
        volume = await client.open("head")
        service.gate.clear()
        with pytest.raises(DeadlineExceededError):
            await volume.render(timeout_s=0.3)
        assert await asyncio.to_thread(service.cancelled.wait, 20)


async def test_cancelling_ends_the_call_on_both_sides(address: str, service: FakeService) -> None:
    async with AsyncClient(address) as client:
        volume = await client.open("head")
        service.gate.clear()
        rendering = asyncio.create_task(volume.render())
        assert await asyncio.to_thread(service.waiting.wait, 20)
        assert not service.cancelled.is_set()
        rendering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rendering
        assert await asyncio.to_thread(service.cancelled.wait, 20)


@pytest.mark.parametrize(("ours", "theirs"), [(AsyncClient, Client), (AsyncVolume, Volume)])
def test_both_clients_have_the_same_methods(ours: type, theirs: type) -> None:
    def signatures(kind: type) -> dict[str, list[tuple[str, object]]]:
        return {
            name: [(p.name, p.default) for p in inspect.signature(method).parameters.values()]
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert signatures(ours) == signatures(theirs)

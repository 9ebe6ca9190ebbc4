"""What becomes of volumes and frames when a card is lost."""

from __future__ import annotations

import asyncio
import threading

import pytest

from render.descriptions import Residency
from render.errors import BudgetExceededError, DeviceLostError
from render.volume import Volume
from tests.fakes import FakeResident, make_view
from tests.residency.rig import VOXEL_BYTES, Rig


async def test_a_lost_cards_volumes_move_and_the_frame_is_drawn(rig: Rig) -> None:
    lease = await rig.engine.open("a", holder="test")
    await rig.pass_by(*"bc")
    rig.cards[0].is_lost = True
    frame = await rig.engine.render(make_view("a"), {"a": lease})
    assert frame.values is not None
    assert rig.where() == {"b": "cuda:1", "a": "cuda:1"}
    assert rig.loads == ["b", "c"]
    assert [place.lost for place in rig.cache.status().places] == ["cuda:0 does nothing any more", ""]
    assert rig.cache.holds("c")
    assert rig.cache.budget_bytes == 2 * VOXEL_BYTES
    assert (lease.place.renderer, lease.resident in rig.cards[1].residents) == (rig.cards[1], True)
    await rig.pass_by("c")
    assert rig.loads == ["b", "c"]
    lease.release()


async def test_what_no_card_has_room_for_goes_to_the_cpu(rig: Rig) -> None:
    leases = {name: await rig.engine.open(name, holder="test") for name in "abcd"}
    rig.cards[0].is_lost = True
    for name in "abcd":
        await rig.engine.render(make_view(name), leases)
    assert rig.where() == {"a": "cpu", "b": "cuda:1", "c": "cpu", "d": "cuda:1"}
    leases.pop("a").release()
    with pytest.raises(BudgetExceededError):  # new ones go to the cards that are left
        await rig.lease("e")
    leases.pop("b").release()
    await rig.pass_by("e")
    assert rig.where()["e"] == "cuda:1"
    for lease in leases.values():
        lease.release()


async def test_without_a_card_left_the_cpu_draws(rig: Rig) -> None:
    leases = {name: await rig.engine.open(name, holder="test") for name in "ab"}
    for card in rig.cards:
        card.is_lost = True
    for name in "ab":
        await rig.engine.render(make_view(name), leases)
    leases["c"] = await rig.engine.open("c", holder="test")
    assert set(rig.where().values()) == {"cpu"}
    assert rig.cache.status().device == "cpu"
    assert rig.engine.describe(leases["a"]).summary.residency is Residency.RESIDENT
    for lease in leases.values():
        lease.release()


async def test_nowhere_to_go_is_said() -> None:
    rig = Rig(1, with_fallback=False)
    lease = await rig.engine.open("a", holder="test")
    rig.cards[0].is_lost = True
    for _ in range(2):
        with pytest.raises(DeviceLostError, match="cuda:0 does nothing"):
            await rig.engine.render(make_view("a"), {"a": lease})
    with pytest.raises(DeviceLostError):
        await rig.lease("b")
    assert rig.engine.describe(lease).summary.volume_id == "a"  # what it is can be said still
    lease.release()
    assert rig.where() == {}
    await rig.close()


async def test_frames_that_wait_share_one_move(rig: Rig) -> None:
    lease = await rig.engine.open("a", holder="test")
    rig.cards[0].is_lost = True
    await asyncio.gather(*(rig.engine.render(make_view("a"), {"a": lease}) for _ in range(5)))
    assert (rig.cards[1].uploads, rig.cards[1].renders) == (1, 5)
    lease.release()


async def test_a_load_on_its_way_to_a_lost_card_goes_elsewhere(rig: Rig) -> None:
    rig.cards[0].is_lost = True
    lease = await rig.lease("a")
    assert rig.where() == {"a": "cuda:1"}
    assert rig.cache.status().places[0].lost
    lease.release()


async def test_a_move_survives_the_frame_that_asked_for_it(rig: Rig) -> None:
    lease = await rig.engine.open("a", holder="test")
    other, gate, arrived = rig.cards[1], threading.Event(), threading.Event()
    upload = other.upload

    def slow(volume: Volume) -> FakeResident:
        arrived.set()
        assert gate.wait(20)
        return upload(volume)

    other.upload = slow  # type: ignore[method-assign]
    rig.cards[0].is_lost = True
    task = asyncio.create_task(rig.engine.render(make_view("a"), {"a": lease}))
    assert await asyncio.to_thread(arrived.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    lease.release()
    assert rig.cache.status().places[1].pinned_bytes == VOXEL_BYTES
    gate.set()
    again = await rig.engine.open("a", holder="test")
    await rig.engine.render(make_view("a"), {"a": again})
    assert other.uploads == 1
    again.release()


async def test_a_card_lost_while_a_volume_comes_from_another_is_left_too(rig: Rig) -> None:
    lease = await rig.engine.open("a", holder="test")
    rig.cards[0].is_lost = rig.cards[1].is_lost = True
    await rig.engine.render(make_view("a"), {"a": lease})
    assert rig.where() == {"a": "cpu"}
    assert (rig.cpu.uploads, rig.loads) == (1, [])
    lease.release()

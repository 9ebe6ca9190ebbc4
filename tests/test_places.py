"""Several renderers, the host's memory behind them, and what happens when one of them is lost or full."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from render.descriptions import Residency
from render.engine import Engine
from render.errors import BudgetExceededError, DeviceError, DeviceLostError, DeviceMemoryError
from render.geometry import VolumeGeometry
from render.lease import Lease, Size
from render.place import Seat
from render.residency import Loader, VolumeCache
from render.service.convert.volumes import status_to_proto, summary_to_proto
from render.v1 import volume_pb2
from render.volume import Volume
from tests.fakes import FakeCatalog, FakeRenderer, FakeResident, make_view, make_volume

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


# The host's memory


def residency_of(rig: Rig, volume_id: str) -> int:
    """Return what a list of volumes says on the wire."""
    (summary,) = (each for each in rig.engine.summaries() if each.volume_id == volume_id)
    return summary_to_proto(summary).residency


async def test_what_leaves_a_card_comes_back_without_being_read(one: Rig) -> None:
    await one.pass_by(*"abc")
    assert list(one.where()) == ["b", "c"]
    assert one.cache.state("a") is Residency.HOST
    assert residency_of(one, "a") == volume_pb2.RESIDENCY_HOST
    assert residency_of(one, "f") == volume_pb2.RESIDENCY_SOURCE
    assert one.cache.holds("a")
    assert one.left == []
    status = one.cache.status()
    assert (status.kept, status.host_bytes) == ((("a", VOXEL_BYTES),), 3 * VOXEL_BYTES)
    told = status_to_proto(one.engine.status(), server_version="", sessions=0).volumes[-1]
    assert (told.volume_id, told.device, told.residency) == ("a", "host", volume_pb2.RESIDENCY_HOST)
    await one.pass_by("a")
    assert one.loads == ["a", "b", "c"]
    assert list(one.where()) == ["c", "a"]
    assert one.cards[0].uploads == 4


async def test_the_host_keeps_what_was_used_last_within_its_budget(one: Rig) -> None:
    await one.pass_by(*"abcdef")
    assert one.left == ["a", "b"]
    assert one.cache.status().host_bytes == 4 * VOXEL_BYTES
    await one.pass_by("c", "a")
    assert one.loads == [*"abcdef", "a"]
    assert one.left == ["a", "b", "d"]


async def test_without_a_budget_for_it_nothing_is_kept() -> None:
    card = FakeCard("cuda:0")
    cache = VolumeCache(card, 2 * VOXEL_BYTES)
    left: list[str] = []
    cache.on_evicted = left.append
    for name in "abc":
        (await cache.lease(name, lambda *_, name=name: make_volume(name), SIZE, holder="test")).release()
    assert left == ["a"]
    assert not cache.holds("a")
    assert cache.status().host_bytes == 0
    await cache.close()


async def test_voxels_in_use_bound_what_may_be_loaded() -> None:
    rig = Rig(2, host_volumes=3)
    held = [await rig.lease(name) for name in "abc"]
    with pytest.raises(BudgetExceededError, match=r"volume d, decoded, needs .* of the host's memory$") as caught:
        await rig.lease("d")
    assert caught.value.details["budget_bytes"] == 3 * VOXEL_BYTES
    assert rig.loads == [*"abc"]
    held.pop(0).release()
    held.append(await rig.lease("d"))
    assert rig.left == ["a"]
    for lease in held:
        lease.release()
    await rig.close()


def color_volume(volume_id: str) -> Volume:
    """Return a colour image of as many bytes as the others have."""
    codes = np.zeros((1, 8, 10, 3), np.uint8)
    return Volume(
        volume_id, VolumeGeometry.from_axes(codes.shape[:3], (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)), codes
    )


async def test_a_colour_images_channels_count_on_the_host_while_it_is_on_a_card(one: Rig) -> None:
    size, reads = Size(VOXEL_BYTES, 1), 0

    def load(*_: object) -> Volume:
        nonlocal reads
        reads += 1
        return color_volume("color")

    def lease() -> Awaitable[Lease]:
        return one.cache.lease("color", load, size, holder="test")

    with await lease():
        assert one.cache.status().host_bytes == 3 * VOXEL_BYTES
    await one.pass_by("a", "b")
    assert one.cache.status().host_bytes == 3 * VOXEL_BYTES  # as it came, and the two
    with await lease():  # back from the host, where one of the two has to leave for the channels
        assert one.cache.status().host_bytes == 4 * VOXEL_BYTES
        assert reads == 1


async def test_a_colour_image_without_room_for_its_channels_on_the_host_is_refused() -> None:
    rig = Rig(1, host_volumes=3)

    def lease() -> Awaitable[Lease]:
        return rig.cache.lease("color", lambda *_: color_volume("color"), Size(VOXEL_BYTES, 1), holder="test")

    (await lease()).release()
    with await rig.lease("b"):
        with pytest.raises(BudgetExceededError, match="of the host's memory"):  # the card has room
            await lease()
    await rig.close()


async def test_a_discarded_volume_leaves_the_host_too(one: Rig) -> None:
    await one.pass_by(*"abc")
    await one.cache.discard("a")
    await one.cache.discard("c")
    assert one.left == ["a", "c"]
    assert not one.cache.holds("a")
    assert one.cache.status().host_bytes == VOXEL_BYTES


async def test_an_upload_is_kept_until_it_leaves_the_host(one: Rig) -> None:
    one.cache.on_evicted = one.engine._forget_upload
    (await one.engine.admit(make_volume("up"), holder="test")).release()
    await one.pass_by(*"ab")
    assert one.catalog.entry("up")
    lease = await one.engine.open("up", holder="test")
    assert lease.resident.volume.id == "up"
    lease.release()
    await one.pass_by(*"cdef")
    assert "up" not in [entry.volume_id for entry in one.catalog.entries()]


async def test_a_load_that_fails_on_the_card_leaves_the_volume_on_the_host(one: Rig) -> None:
    await one.pass_by(*"abc")
    one.cards[0].upload_error = DeviceError("cuda:0 failed at it")
    with pytest.raises(DeviceError):
        await one.lease("a")
    one.cards[0].upload_error = None
    await one.pass_by("a")
    assert one.loads == [*"abc"]


async def test_a_thousand_loads_and_evictions_return_every_byte(one: Rig) -> None:
    names = "abcde"
    for turn in range(1000):
        await one.pass_by(names[turn % len(names)])
        assert one.cards[0].memory().held <= 2 * VOXEL_BYTES
        assert one.cache.status().host_bytes <= 4 * VOXEL_BYTES
    for name in names:
        await one.cache.discard(name)
    one.cards[0].free_unused()
    assert one.cards[0].memory().held == 0
    assert (one.cache.status().host_bytes, one.cache.status().resident_bytes) == (0, 0)


# The budget of a card


async def test_a_cards_bytes_are_those_that_it_tells(one: Rig) -> None:
    await one.pass_by("a")
    one.cards[0].scratch_bytes, one.cards[0].slack_bytes = 7, 5
    (place,) = one.cache.status().places
    assert place.resident_bytes == VOXEL_BYTES + 12


async def test_scratch_counts_and_slack_is_given_back(one: Rig) -> None:
    card = one.cards[0]
    held = await one.lease("a")
    card.slack_bytes = 2 * VOXEL_BYTES
    await one.pass_by("b")
    assert card.slack_bytes == 0
    assert list(one.where()) == ["a", "b"]
    card.scratch_bytes = 1
    with pytest.raises(BudgetExceededError) as caught:
        await one.lease("c")
    assert caught.value.details["excess_bytes"] == 1
    assert list(one.where()) == ["a", "b"]
    held.release()
    await one.pass_by("c")
    assert list(one.where()) == ["c"]


async def test_an_upload_without_memory_is_tried_again_with_the_card_cleared(one: Rig) -> None:
    await one.pass_by("a")
    one.cards[0].full_uploads = 1
    await one.pass_by("b")
    assert list(one.where()) == ["b"]
    one.cards[0].full_uploads = 2
    with pytest.raises(DeviceMemoryError):
        await one.lease("c")
    one.cards[0].full_uploads = 0
    assert list(one.where()) == []
    assert one.cache.status().pinned_bytes == 0


async def test_a_frame_without_memory_is_tried_again_with_the_card_cleared_and_refused_alone(one: Rig) -> None:
    card, error = one.cards[0], DeviceMemoryError("no room for a picture")
    await one.pass_by("b")
    lease = await one.engine.open("a", holder="test")
    release = card.release

    def relieved(resident: FakeResident) -> None:
        release(resident)
        card.render_error = None

    card.render_error, card.release = error, relieved  # type: ignore[method-assign]
    frame = await one.engine.render(make_view("a"), {"a": lease})
    assert frame.values is not None
    assert list(one.where()) == ["a"]
    card.render_error, card.release = error, release  # type: ignore[method-assign]
    with pytest.raises(DeviceMemoryError):
        await one.engine.render(make_view("a"), {"a": lease})
    card.render_error = None
    assert (await one.engine.render(make_view("a"), {"a": lease})).values is not None
    lease.release()


# Several cards


async def test_a_volume_goes_where_most_room_is_and_stays(rig: Rig) -> None:
    await rig.pass_by(*"abcd")
    assert rig.where() == {"a": "cuda:0", "b": "cuda:1", "c": "cuda:0", "d": "cuda:1"}
    await rig.pass_by(*"abcd")
    assert [card.uploads for card in rig.cards] == [2, 2]
    held = [await rig.lease(name) for name in "ac"]
    await rig.pass_by("e")
    assert rig.where() == {"a": "cuda:0", "c": "cuda:0", "d": "cuda:1", "e": "cuda:1"}
    assert [place.pinned_bytes for place in rig.cache.status().places] == [2 * VOXEL_BYTES, 0]
    for lease in held:
        lease.release()


async def test_a_refusal_is_of_the_card_with_the_most_room(rig: Rig) -> None:
    held = [await rig.lease(name) for name in "abc"]
    big = Size(2 * VOXEL_BYTES, 2)
    with pytest.raises(BudgetExceededError) as caught:
        await rig.cache.lease("big", rig.loader("big"), big, holder="test")
    assert caught.value.details["excess_bytes"] == VOXEL_BYTES
    for lease in held:
        lease.release()


async def test_frames_are_drawn_where_their_volume_is(rig: Rig) -> None:
    leases = {name: await rig.engine.open(name, holder="test") for name in "ab"}
    for name in "abb":
        await rig.engine.render(make_view(name), leases)
    assert [card.renders for card in rig.cards] == [1, 2]
    for lease in leases.values():
        lease.release()


# A card that is lost


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


NAMES = st.sampled_from("abcdef")


class PlacesMachine(RuleBasedStateMachine):
    """Leases, releases, discards, frames and one lost card in any order: bytes never pass a budget, none is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.rig = Rig()
        self.leases: list[Lease] = []

    def teardown(self) -> None:
        for lease in self.leases:
            lease.release()
        self.loop.run_until_complete(self.rig.close())
        self.loop.close()

    @rule(name=NAMES)
    def lease(self, name: str) -> None:
        try:
            self.leases.append(self.loop.run_until_complete(self.rig.lease(name)))
        except BudgetExceededError:
            pinned = {lease.volume_id for lease in self.leases}
            assert name not in pinned
            assert len(pinned) >= 2

    @rule(index=st.integers(0, 9))
    def release(self, index: int) -> None:
        if self.leases:
            self.leases.pop(index % len(self.leases)).release()

    @rule(name=NAMES)
    def discard(self, name: str) -> None:
        self.loop.run_until_complete(self.rig.cache.discard(name))

    @rule(index=st.integers(0, 9))
    def draw(self, index: int) -> None:
        if self.leases:
            lease = self.leases[index % len(self.leases)]
            view = make_view(lease.volume_id)
            self.loop.run_until_complete(self.rig.engine.render(view, {lease.volume_id: lease}))

    @rule(card=st.integers(0, 1))
    def lose(self, card: int) -> None:
        self.rig.cards[card].is_lost = True

    @invariant()
    def within_the_budgets(self) -> None:
        status = self.rig.cache.status()
        assert status.host_bytes <= 4 * VOXEL_BYTES
        for place in self.rig.cache.places:
            assert place.volume_bytes <= place.budget_bytes
        entries = {entry.volume_id for entry in status.entries}
        assert {lease.volume_id for lease in self.leases} <= entries
        assert status.host_bytes == VOXEL_BYTES * (len(entries) + len(status.kept))


PlacesMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestPlacesMachine = PlacesMachine.TestCase

"""Several renderers, and the host's memory behind them."""

from __future__ import annotations

from collections.abc import Awaitable

import numpy as np
import pytest

from render.descriptions import Residency
from render.errors import BudgetExceededError, DeviceError, DeviceMemoryError
from render.geometry import VolumeGeometry
from render.lease import Lease, Size
from render.residency import VolumeCache
from render.service.convert.volumes import status_to_proto, summary_to_proto
from render.v1 import volume_pb2
from render.volume import Volume
from tests.fakes import FakeResident, make_view, make_volume
from tests.residency.rig import SIZE, VOXEL_BYTES, FakeCard, Rig

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

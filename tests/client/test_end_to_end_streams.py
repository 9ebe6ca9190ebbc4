"""The client's streams against the real server: motion, restarts, volumes in part, sharing."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from render.backends.cpu import CpuRenderer
from render.errors import CodecError, VolumeNotFoundError
from tests.client.served import SIZE_PX, Served, head, real_server, views
from tests.fakes import FakeCatalog
from tests.stream.test_growing import SlowSource
from voxelcast import (
    AsyncClient,
    Client,
    InvalidArgumentError,
    NotFoundError,
    SourceError,
    VolumeSummary,
    errors,
)


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.address) as client:
        yield client


def test_a_stream_settles_on_the_exact_frame(client: Client, served: Served) -> None:
    with client.open("series/a1b2c3d4") as volume, volume.stream() as stream:
        for view in views(volume):
            frame = stream.settle(view)
            assert frame.is_exact
            assert frame.view_revision == stream.show(view) - 1
            np.testing.assert_allclose(frame.array, served.frame(view), atol=frame.value_step / 2)
            assert frame.value_step <= 1 / 8
        assert client.status().sessions == 1
    assert served.wait_until(lambda: served.sessions.count == 0)


def test_a_stream_scrolls_and_ends_where_the_hand_stops(client: Client, served: Served) -> None:
    with client.open("series/a1b2c3d4") as volume, volume.stream(volume.axial(size_px=SIZE_PX)) as stream:
        revisions = []
        for z in np.linspace(105, 165, 200):
            stream.show(volume.axial(float(z), size_px=SIZE_PX))
        for frame in stream.until_settled():
            revisions.append(frame.view_revision)
        assert revisions == sorted(revisions)
        assert len(revisions) < 200
        last = volume.axial(165.0, size_px=SIZE_PX)
        np.testing.assert_allclose(frame.array, served.frame(last), atol=frame.value_step / 2)


def test_a_stream_goes_on_after_an_error(client: Client) -> None:
    with client.open("series/a1b2c3d4") as volume, volume.stream(volume.axial(size_px=SIZE_PX)) as stream:
        stream.settle()
        with pytest.raises(InvalidArgumentError, match="viewport"):
            stream.settle(volume.axial().with_size(100_000, 10))
        assert stream.settle(volume.coronal(size_px=SIZE_PX)).is_exact


@pytest.mark.parametrize("by", ["stream", "render"])
def test_a_volume_that_may_come_is_waited_for_after_a_restart(
    renderer: CpuRenderer, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """The server still reads its folders; a stream shows what it has again, and so does a render."""
    monkeypatch.setattr(errors, "SCAN_INTERVAL_S", 0.02)
    with real_server(renderer) as served:
        client = Client(served.address)
        volume = client.open("series/a1b2c3d4")
        stream = volume.stream(volume.axial(size_px=SIZE_PX))
        stream.settle()
        port = served.server.port
    view = volume.axial(130.0, size_px=SIZE_PX)
    if by == "stream":
        stream.show(view)
    else:
        stream.close()
    catalog = FakeCatalog()
    catalog.is_scanning = True
    asked = threading.Semaphore(0)

    def entry(volume_id: str) -> Any:
        asked.release()
        if catalog.is_scanning and not catalog.entries():
            raise VolumeNotFoundError("not yet", scanning="true")
        return FakeCatalog.entry(catalog, volume_id)

    monkeypatch.setattr(catalog, "entry", entry)

    def find_it() -> None:
        for _ in range(3):
            assert asked.acquire(timeout=30), "it is asked for again"
        catalog.add(head())

    with real_server(renderer, catalog=catalog, port=port) as served:
        with pytest.raises(NotFoundError, match="not yet") as caught:
            client.open(VolumeSummary("a1b2c3d4"), timeout_s=0.1)
        assert caught.value.may_come
        while asked.acquire(blocking=False):
            pass
        finding = threading.Thread(target=find_it)
        finding.start()
        if by == "stream":
            frame = stream.settle(timeout_s=30)
            np.testing.assert_allclose(frame.array, served.frame(view), atol=frame.value_step / 2)
        else:
            np.testing.assert_array_equal(volume.render(view), served.frame(view))
        finding.join()
        # What is not there once all has been read, is told.
        catalog.remove("a1b2c3d4")
        catalog.is_scanning = False
        gone = replace(view, layers=(replace(view.layers[0], volume_id="ffff"),))
        with pytest.raises(NotFoundError) as caught:
            stream.settle(gone) if by == "stream" else client.open(VolumeSummary("ffff"))
        assert not caught.value.may_come
        stream.close()
        client.close()


def test_one_drives_and_another_client_watches_until_it_takes_the_wheel(served: Served) -> None:
    with Client(served.address) as one, Client(served.address) as other, one.open("series/a1b2c3d4") as volume:
        with volume.stream(volume.axial(size_px=SIZE_PX)) as driver:
            share_id = driver.share()
            with other.watch(share_id) as watcher:
                seen = watcher.settle()
                np.testing.assert_array_equal(seen.array, driver.settle().array)
                assert watcher.views == driver.views
                assert watcher.sharing is not None
                assert (watcher.sharing.driving, watcher.sharing.participants) == (False, 2)
                with pytest.raises(InvalidArgumentError, match="drive"):
                    watcher.show(volume.coronal())
                watcher.drive()
                coronal = volume.coronal(size_px=SIZE_PX)
                revision = watcher.show(coronal)
                watcher.settle()
                frame = driver.settle()
                while frame.view_revision < revision:
                    frame = driver.next_frame()
                frame = driver.settle()
                np.testing.assert_allclose(frame.array, served.frame(coronal), atol=frame.value_step / 2)
                assert driver.sharing is not None
                assert not driver.sharing.driving
                with pytest.raises(InvalidArgumentError, match="drive"):
                    driver.show(coronal)
            with other.watch("nothing") as nobody, pytest.raises(InvalidArgumentError, match="nothing is shared"):
                nobody.next_frame()
            with pytest.raises(InvalidArgumentError, match="shares nothing"), other.stream() as alone:
                alone.drive()


async def test_asyncio_shares_watches_and_drives(served: Served) -> None:
    async with AsyncClient(served.address) as client, await client.open("series/a1b2c3d4") as volume:
        async with volume.stream(volume.axial(size_px=SIZE_PX)) as driver:
            async with client.watch(await driver.share()) as watcher:
                np.testing.assert_array_equal((await watcher.settle()).array, (await driver.settle()).array)
                await watcher.drive()
                assert watcher.sharing is not None
                assert watcher.sharing.driving


@pytest.fixture
def loading(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowSource]:
    """Let the slices of the volume arrive when the test says so."""
    source = SlowSource(head())
    monkeypatch.setattr(served.engine.catalog, "loader", lambda entry: source)
    yield source
    source.steps.put(CodecError("the test has ended"))  # whoever still waits for a slice


def test_a_volume_is_opened_in_part_and_settles_once_it_is_whole(
    client: Client, served: Served, loading: SlowSource
) -> None:
    loading.steps.put((15, 25))
    with client.open("series/a1b2c3d4", in_part=True) as volume:
        assert volume.missing_slices == 30
        view = volume.coronal(size_px=SIZE_PX)
        frame = volume.render_frame(view)
        assert frame.missing_slices == 30
        assert not frame.is_exact
        assert 0 < np.isnan(frame.array).mean() < 1
        with volume.stream(view) as stream:
            first = stream.next_frame()
            assert first.missing_slices == 30
            assert not first.is_exact
            loading.steps.put((0, 15))
            while (frame := stream.next_frame()).missing_slices == 30:
                pass
            assert frame.missing_slices == 15
            volume.refresh()
            assert volume.missing_slices == 15
            loading.steps.put((25, 40))
            whole = stream.settle()
            assert whole.is_exact
            np.testing.assert_allclose(whole.array, served.frame(view), atol=whole.value_step / 2)
        volume.refresh()
        assert volume.missing_slices == 0
        assert volume.values_range == (head().codes.min(), head().codes.max())


def test_a_lease_of_a_part_ends_where_the_rest_cannot_be_loaded(client: Client, loading: SlowSource) -> None:
    loading.steps.put((15, 25))
    volume = client.open("series/a1b2c3d4", in_part=True)
    lease_id = volume.lease_id
    with volume.stream(volume.axial(size_px=SIZE_PX)) as stream:
        stream.next_frame()
        loading.steps.put(CodecError("slice 3 is damaged"))
        with pytest.raises(SourceError, match="slice 3 is damaged"):
            deque(stream, maxlen=0)
    # It opens the volume again, which may be better by now.
    loading.steps.put((0, 40))
    assert volume.render_frame(volume.axial(size_px=SIZE_PX)).is_exact
    assert volume.lease_id != lease_id
    volume.release()

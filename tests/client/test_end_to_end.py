"""The client against the real server: engine, cache, CPU renderer, gRPC over a real socket."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from render.backends.cpu import CpuRenderer, compile_kernels
from render.catalog import Catalog
from render.dicom.ingest import Ingest
from render.encoding.values import OUTSIDE_CODE
from render.engine import Engine
from render.errors import CodecError, VolumeNotFoundError
from render.geometry import VolumeGeometry
from render.residency import VolumeCache
from render.service.convert.views import view_from_proto
from render.service.grpc_server import GrpcServer, start_grpc
from render.stream.registry import SessionRegistry
from render.volume import Volume, VolumeInfo
from tests.fakes import FakeCatalog
from tests.stream.test_growing import SlowSource
from voxelcast import (
    AmbiguousSeriesError,
    AsyncClient,
    BudgetExceededError,
    Client,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    SourceError,
    UnauthenticatedError,
    UnsupportedError,
    View,
    VolumeSummary,
    VoxelcastError,
    convert,
    errors,
)

Result = TypeVar("Result")

SHAPE = (40, 48, 56)
AFFINE = np.array([[1.2, 0.1, 0, -30], [-0.1, 1.1, 0.2, -25], [0, -0.1, 1.9, 100], [0, 0, 0, 1]])
SIZE_PX = (72, 60)
TOKEN = "correct horse battery"
UPLOAD_SHAPE = (8, 16, 16)


def head() -> Volume:
    """Return a small CT: a ramp with a bright ball."""
    k, j, i = np.mgrid[tuple(slice(n) for n in SHAPE)]
    ball = (k - 20) ** 2 + (j - 24) ** 2 + (i - 28) ** 2 < 120
    codes = np.where(ball, 900, -800 + 7 * i - 3 * j + 5 * k).astype(np.int16)
    return Volume("a1b2c3d4", VolumeGeometry(SHAPE, AFFINE), codes, info=VolumeInfo(modality="CT", units="HU"))


@dataclass
class Served:
    """A server on a loop of its own, and what is behind it."""

    engine: Engine
    server: GrpcServer
    sessions: SessionRegistry
    address: str
    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run something on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def frame(self, view: View) -> np.ndarray:
        """Return the server's own pixels of a view, straight from its renderer."""

        async def render() -> np.ndarray:
            theirs = view_from_proto(convert.view_to_proto(view))
            with await self.engine.open(view.volume_id, holder="test") as lease:
                frame = await self.engine.render(theirs, {view.volume_id: lease})
            pixels = frame.color if frame.values is None else frame.values
            assert pixels is not None
            return pixels

        return self.run(render())

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Let the server's loop turn until something is so, for 20 s at most."""

        async def wait() -> bool:
            for _ in range(2000):
                if condition():
                    return True
                await asyncio.sleep(0.01)
            return condition()

        return self.run(wait())


def _serving(
    renderer: CpuRenderer, *, budget_bytes: int = 1 << 26, token: str | None = None, catalog: Any = None, port: int = 0
) -> Iterator[Served]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> Served:
        cache = VolumeCache(renderer, budget_bytes)
        engine = Engine(renderer, cache, catalog or FakeCatalog(head()))
        sessions = SessionRegistry()
        server = await start_grpc(engine, host="127.0.0.1", port=port, token=token, sessions=sessions)
        return Served(engine, server, sessions, f"127.0.0.1:{server.port}", loop)

    async def stop(served: Served) -> None:
        await served.server.stop(0)
        await served.engine.close()
        await served.engine.cache.close()

    try:
        served = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
        yield served
        served.run(stop(served))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def renderer() -> Iterator[CpuRenderer]:
    compile_kernels()
    renderer = CpuRenderer(1)
    yield renderer
    renderer.close()


@pytest.fixture
def served(renderer: CpuRenderer) -> Iterator[Served]:
    yield from _serving(renderer)


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.address) as client:
        yield client


def views(volume: Any) -> list[View]:
    """Return one view of each kind."""
    return [
        volume.axial(size_px=SIZE_PX),
        volume.coronal(size_px=SIZE_PX).rotated(20, 10),
        volume.sagittal(size_px=SIZE_PX).with_slab(12, "average_ip").flipped(horizontal=True),
        volume.mip("l", size_px=SIZE_PX).perspective(30),
        volume.volume_rendering("CT-Bone", size_px=SIZE_PX).rotated(30, 15),
    ]


def test_values_equal_the_servers_own_frame(client: Client, served: Served) -> None:
    with client.open("series/a1b2c3d4") as volume:
        for view in views(volume):
            picture = volume.render(view)
            np.testing.assert_array_equal(picture, served.frame(view))
            assert len(np.unique(picture)) > 20, "it shows something"
            if not view.is_color:
                frame = volume.render_frame(view, encoding="deflate")
                np.testing.assert_allclose(frame.array, picture, atol=frame.value_step / 2)


def test_pixels_lie_where_the_plane_says(client: Client) -> None:
    """The ramp's value at a pixel's patient position is the pixel's."""
    with client.open("series/a1b2c3d4") as volume:
        frame = volume.render_frame(volume.axial(112.0, size_px=SIZE_PX))
        compared = 0
        for row, column in np.ndindex(frame.shape):
            i, j, k = volume.geometry.to_voxel(frame.plane.to_patient(row, column))
            if 1 <= i <= 54 and 1 <= j <= 46 and 1 <= k <= 38 and (k - 20) ** 2 + (j - 24) ** 2 + (i - 28) ** 2 > 200:
                assert frame.array[row, column] == pytest.approx(-800 + 7 * i - 3 * j + 5 * k, abs=0.05)
                compared += 1
        assert compared > 500
        assert np.isnan(frame.array).any()


def test_bytes_of_16_bits(client: Client) -> None:
    with client.open("series/a1b2c3d4") as volume:
        view = volume.axial(size_px=SIZE_PX)
        codes = np.frombuffer(volume.render_bytes(view, encoding="uint16"), "<u2").reshape(SIZE_PX[::-1])
        np.testing.assert_array_equal(codes == OUTSIDE_CODE, np.isnan(volume.render(view)))


def test_the_description_is_the_volumes(client: Client) -> None:
    with client.open("a1b2c3d4") as volume:
        assert volume.id == "a1b2c3d4"
        assert volume.shape == SHAPE
        np.testing.assert_array_equal(volume.geometry.patient_from_voxel, AFFINE)
        assert volume.values_range == (float(head().codes.min()), 900.0)
        assert (volume.units, volume.description.default_preset) == ("HU", "CT-AAA")
        assert {"axial", "coronal", "sagittal", "3d"} <= set(volume.initial_views)
        np.testing.assert_array_equal(
            volume.render(volume.initial_views["axial"].with_size(64, 64)),
            volume.render(volume.axial(size_px=(64, 64))),
        )
        (summary,) = client.volumes()
        assert summary.residency == "resident"
        assert client.open(summary).id == volume.id
        assert client.describe(volume.id).geometry.shape == SHAPE
    assert "CT-Bone" in client.status().presets


def test_two_clients_share_one_resident_copy(served: Served) -> None:
    with Client(served.address) as first, Client(served.address) as second:
        ours, theirs = first.open("series/a1b2c3d4"), second.open("series/a1b2c3d4")
        status = first.status()
        (resident,) = status.volumes
        assert (resident.volume_id, resident.residency) == ("a1b2c3d4", "resident")
        assert len(resident.pinned_by) == 2
        assert status.devices[0].resident_bytes == status.devices[0].pinned_bytes == resident.nbytes
        np.testing.assert_array_equal(ours.render(), theirs.render())
        ours.release()
        assert len(first.status().volumes[0].pinned_by) == 1
        theirs.release()
        assert first.status().devices[0].pinned_bytes == 0
        assert first.status().devices[0].resident_bytes > 0


def test_an_upload_comes_back(client: Client) -> None:
    array = np.random.default_rng(3).integers(0, 60000, UPLOAD_SHAPE).astype(np.uint16)
    with client.upload(array, spacing_mm=(1.0, 1.0, 2.0), slope=0.5, modality="MR", description="noise") as volume:
        assert volume.values_range == (array.min() / 2, array.max() / 2)
        view = volume.axial(6.0, size_px=(16, 16))
        frame = volume.render_frame(view)
        assert frame.plane.pixel_spacing_mm == (1.0, 1.0)
        assert frame.plane.top_left_mm == (0.0, 0.0, 6.0)
        np.testing.assert_array_equal(frame.array, array[3] / np.float32(2))
        again = client.open(volume.id)
        assert again.description.summary.description == "noise"


def test_what_does_not_fit_is_refused_with_figures_and_the_rest_goes_on(renderer: CpuRenderer) -> None:
    for served in _serving(renderer, budget_bytes=2_000_000):
        with Client(served.address) as client, client.open("series/a1b2c3d4") as volume:
            with volume.stream(volume.axial(size_px=SIZE_PX)) as stream:
                before = stream.settle()
                with pytest.raises(BudgetExceededError) as caught:
                    client.upload(np.zeros((60, 128, 128), np.int16), spacing_mm=(1, 1, 1))
                assert caught.value.reason == "BUDGET_EXCEEDED"
                assert int(caught.value.figures["needed_bytes"]) > 2_000_000
                assert caught.value.figures["budget_bytes"] == "2000000"
                after = stream.settle(volume.axial(size_px=SIZE_PX))
                np.testing.assert_array_equal(before.array, after.array)


def _errors(client: Client) -> list[tuple[type[VoxelcastError], str, Callable[[], object]]]:
    volume = client.open("series/a1b2c3d4")
    axial = volume.axial(size_px=(16, 16))
    camera = axial.camera
    return [
        (NotFoundError, "PATH_NOT_FOUND", lambda: client.open("nowhere")),
        (AmbiguousSeriesError, "AMBIGUOUS_SERIES", lambda: client.open("series")),
        (NotFoundError, "VOLUME_NOT_FOUND", lambda: client.describe("unknown")),
        (InvalidArgumentError, "INVALID_VIEW", lambda: volume.render(axial.with_size(100_000, 100_000))),
        (InvalidArgumentError, "INVALID_VIEW", lambda: volume.render(axial.with_slab(float("nan")))),
        (InvalidArgumentError, "INVALID_VIEW", lambda: volume.render(_with_up(axial, (0, 0, 0)))),
        (InvalidArgumentError, "INVALID_VIEW", lambda: volume.render(_with_up(axial, camera.basis[2]))),
        (InvalidArgumentError, "INVALID_ARGUMENT", lambda: volume.render(volume.volume_rendering("CT-Nothing"))),
        (UnsupportedError, "UNSUPPORTED", lambda: volume.render(_doubled(axial))),
    ]


def _with_up(view: View, up: Any) -> View:
    return replace(view, camera=replace(view.camera, up=tuple(float(x) for x in up)))


def _doubled(view: View) -> View:
    return replace(view, layers=view.layers * 2)


@pytest.mark.parametrize("number", range(9))
def test_errors_are_typed_and_the_next_call_is_answered(client: Client, number: int) -> None:
    cases = _errors(client)
    assert len(cases) == 9
    kind, reason, call = cases[number]
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.reason == reason
    assert "\n" not in caught.value.message
    assert client.open("series/a1b2c3d4").render(View.axial(client.open("a1b2c3d4"), size_px=(8, 8))).shape == (8, 8)


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


def test_a_stream_comes_back_to_a_server_that_still_reads_its_folders(
    renderer: CpuRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "SCAN_INTERVAL_S", 0.02)
    for served in _serving(renderer):
        client = Client(served.address)
        volume = client.open("series/a1b2c3d4")
        stream = volume.stream(volume.axial(size_px=SIZE_PX))
        stream.settle()
        port = served.server.port
    view = volume.axial(130.0, size_px=SIZE_PX)
    stream.show(view)
    catalog = FakeCatalog()
    catalog.is_scanning = True
    asked = threading.Semaphore(0)
    monkeypatch.setattr(catalog, "entry", lambda volume_id: (asked.release(), FakeCatalog.entry(catalog, volume_id))[1])
    for served in _serving(renderer, catalog=catalog, port=port):
        for _ in range(3):
            assert asked.acquire(timeout=30), "it is asked for again"
        catalog.add(head())
        frame = stream.settle(timeout_s=30)
        np.testing.assert_allclose(frame.array, served.frame(view), atol=frame.value_step / 2)
        # What is not there once all has been read, is told.
        catalog.remove("a1b2c3d4")
        catalog.is_scanning = False
        with pytest.raises(NotFoundError):
            stream.settle(replace(view, layers=(replace(view.layers[0], volume_id="ffff"),)))
        stream.close()
        client.close()


def test_a_volume_that_may_come_is_waited_for_and_a_render_finds_it_after_a_restart(
    renderer: CpuRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "SCAN_INTERVAL_S", 0.02)
    for served in _serving(renderer):
        client = Client(served.address)
        volume = client.open("series/a1b2c3d4")
        port = served.server.port
    catalog = FakeCatalog()
    asked = threading.Semaphore(0)

    def entry(volume_id: str) -> Any:
        asked.release()
        if not catalog.entries():
            raise VolumeNotFoundError("not yet", scanning="true")
        return FakeCatalog.entry(catalog, volume_id)

    monkeypatch.setattr(catalog, "entry", entry)
    for _ in _serving(renderer, catalog=catalog, port=port):
        with pytest.raises(NotFoundError, match="not yet") as caught:
            client.open(VolumeSummary("a1b2c3d4"), timeout_s=0.1)
        assert caught.value.may_come
        while asked.acquire(blocking=False):
            pass

        def find_it() -> None:
            for _ in range(3):
                assert asked.acquire(timeout=30)
            catalog.add(head())

        finding = threading.Thread(target=find_it)
        finding.start()
        assert volume.render(volume.axial(size_px=SIZE_PX)).shape == SIZE_PX[::-1]
        finding.join()
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


async def test_asyncio_shares_watches_and_drives(served: Served) -> None:
    async with AsyncClient(served.address) as client, await client.open("series/a1b2c3d4") as volume:
        async with volume.stream(volume.axial(size_px=SIZE_PX)) as driver:
            async with client.watch(await driver.share()) as watcher:
                np.testing.assert_array_equal((await watcher.settle()).array, (await driver.settle()).array)
                await watcher.drive()
                assert watcher.sharing is not None
                assert watcher.sharing.driving


async def test_asyncio(served: Served) -> None:
    async with AsyncClient(served.address) as client, await client.open("series/a1b2c3d4") as volume:
        asked = views(volume)
        for view, picture in zip(asked, await asyncio.gather(*map(volume.render, asked)), strict=True):
            np.testing.assert_array_equal(picture, await asyncio.to_thread(served.frame, view))
        async with volume.stream() as stream:
            for view in asked:
                frame = await stream.settle(view)
                own = await asyncio.to_thread(served.frame, view)
                np.testing.assert_allclose(frame.array, own, atol=frame.value_step / 2)
        array = np.arange(np.prod(UPLOAD_SHAPE), dtype=np.int16).reshape(UPLOAD_SHAPE)
        async with await client.upload(array, spacing_mm=(1, 1, 1)) as upload:
            np.testing.assert_array_equal(await upload.render(upload.axial(2.0, size_px=(16, 16))), array[2])


def test_a_deadline_stops_the_server_too(client: Client, served: Served) -> None:
    """A frame of many samples is given up; its volume is pinned no more."""
    with client.open("series/a1b2c3d4") as volume:
        with pytest.raises(DeadlineExceededError):
            volume.render(volume.volume_rendering(size_px=(4096, 4096)), timeout_s=0.05)
        assert served.wait_until(lambda: len(served.engine.cache.status().entries[0].pinned_by) == 1)


async def test_cancelling_stops_the_server_too(served: Served) -> None:
    async with AsyncClient(served.address) as client, await client.open("series/a1b2c3d4") as volume:
        rendering = asyncio.create_task(volume.render(volume.volume_rendering(size_px=(4096, 4096))))

        def pins() -> int:
            return len(served.engine.cache.status().entries[0].pinned_by)

        assert await asyncio.to_thread(served.wait_until, lambda: pins() > 1)
        rendering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rendering
        assert await asyncio.to_thread(served.wait_until, lambda: pins() == 1)


def test_a_token_is_asked_for(renderer: CpuRenderer) -> None:
    for served in _serving(renderer, token=TOKEN):
        with Client(served.address, token=TOKEN) as client:
            volume = client.open("series/a1b2c3d4")
            with volume.stream(volume.axial(size_px=SIZE_PX)) as stream:
                assert stream.settle().is_exact
        for wrong in (None, TOKEN + "!"):
            with Client(served.address, token=wrong) as stranger:
                for call in (stranger.status, lambda: stranger.open("series/a1b2c3d4")):
                    with pytest.raises(UnauthenticatedError):
                        call()
                with stranger.stream(volume.axial()) as stream, pytest.raises(UnauthenticatedError):
                    stream.settle()


@pytest.mark.data
def test_a_real_series_by_path_and_uploaded(renderer: CpuRenderer, real_data: Path) -> None:
    """You should see the same picture of an oblique MR whether it lay there or was brought."""
    folder = "mr_brain_oblique_small"
    with Ingest(1) as ingest, Catalog((real_data,), ingest) as catalog:
        for served in _serving(renderer, budget_bytes=1 << 28, catalog=catalog):
            with Client(served.address) as client:
                steps = []
                volume = client.open(folder, progress=steps.append)
                assert steps[-1].done == steps[-1].total
                picture = volume.render(View.axial(volume))
                np.testing.assert_array_equal(picture, served.frame(View.axial(volume)))
                assert np.nanmax(picture) > 100
                assert "acquisition" in volume.initial_views
                brought = client.upload_dicom(real_data / folder)
                assert brought.id == volume.id, "an id is a hash of the content"
                np.testing.assert_array_equal(brought.render(), picture)
                with pytest.raises(NotFoundError):
                    client.open("../venv")

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import numpy as np
import pytest

from render.descriptions import Residency
from render.engine import Engine
from render.errors import BudgetExceededError, CodecError, PathError, RenderCancelledError, VolumeNotFoundError
from render.frame import Frame, Quality
from render.geometry import VolumeGeometry
from render.initial_views import acquisition_camera, initial_views, is_oblique
from render.residency import VolumeCache
from render.view import RenderingMethod, Viewport
from render.volume import Volume, VolumeInfo
from tests.fakes import PATIENCE_S, FakeCatalog, FakeClock, FakeRenderer, make_view, make_volume

VOLUME_BYTES = make_volume().nbytes


@pytest.fixture
def renderer() -> FakeRenderer:
    return FakeRenderer()


@pytest.fixture
def catalog() -> FakeCatalog:
    return FakeCatalog(make_volume("a"), make_volume("b", modality="PT"))


@pytest.fixture
async def engine(renderer: FakeRenderer, catalog: FakeCatalog) -> AsyncIterator[Engine]:
    """Room for two volumes."""
    cache = VolumeCache(renderer, 2 * VOLUME_BYTES)
    engine = Engine(renderer, cache, catalog, FakeClock())  # type: ignore[arg-type]
    yield engine
    renderer.gate.set()
    await engine.close()
    await cache.close()
    assert renderer.resident_bytes == 0


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, PATIENCE_S)


class TestOpen:
    async def test_opens_and_describes(self, engine: Engine) -> None:
        heard: list[tuple[str, int, int]] = []
        lease = await engine.open("a", holder="me", progress=lambda *report: heard.append(report))
        assert heard == [("decoding", 1, 2), ("decoding", 2, 2), ("uploading", 0, 1), ("uploading", 1, 1)]
        description = engine.describe(lease)
        assert description.summary.volume_id == "a"
        assert description.summary.residency is Residency.RESIDENT
        assert description.summary.shape == (4, 5, 6)
        assert description.summary.spacing_mm == (0.5, 0.5, 2)
        assert (description.minimum_value, description.maximum_value) == (-1000, 1000)
        assert description.default_preset == "CT-AAA"
        assert (description.default_window.center, description.default_window.width) == (100, 400)
        assert [named.name for named in description.initial_views] == ["axial", "coronal", "sagittal", "3d"]

    async def test_a_transfer_function_made_for_the_volume_has_no_preset_name(self, engine: Engine) -> None:
        assert engine.describe(await engine.open("b", holder="me")).default_preset == ""

    async def test_unknown_and_not_resident(self, engine: Engine) -> None:
        with pytest.raises(VolumeNotFoundError, match="no volume 'x'"):
            await engine.open("x", holder="me")
        with pytest.raises(VolumeNotFoundError, match="not resident"):
            engine.open_resident("a", holder="me")
        with pytest.raises(VolumeNotFoundError, match="no volume 'x'"):
            engine.open_resident("x", holder="me")

    async def test_summaries_say_where_each_volume_is(self, engine: Engine) -> None:
        await engine.open("b", holder="me")
        assert [(s.volume_id, s.path, s.bytes, s.residency) for s in engine.summaries()] == [
            ("a", "series/a", VOLUME_BYTES, Residency.SOURCE),
            ("b", "series/b", VOLUME_BYTES, Residency.RESIDENT),
        ]

    async def test_resolve(self, engine: Engine) -> None:
        assert await engine.resolve("series/a") == "a"
        with pytest.raises(PathError):
            await engine.resolve("../etc")

    async def test_status(self, engine: Engine) -> None:
        await engine.open("a", holder="me")
        status = engine.status()
        (place,) = status.cache.places
        assert (place.device, place.description, place.lost) == ("fake:0", "a fake", "")
        assert status.cache.entries[0].pinned_by == ("me",)
        assert "CT-AAA" in status.presets
        assert status.uptime_seconds == 0


class TestUploads:
    async def test_an_added_volume_can_be_opened_until_it_is_evicted(self, engine: Engine) -> None:
        assert await engine.add(make_volume("up")) == "up"
        lease = await engine.open("up", holder="me")
        held = await engine.open("a", holder="me")
        with pytest.raises(BudgetExceededError):
            await engine.open("b", holder="me")
        lease.release()
        assert "up" in [s.volume_id for s in engine.summaries()]
        await engine.open("b", holder="me")
        assert "up" not in [s.volume_id for s in engine.summaries()]
        held.release()
        await engine.cache.discard("a")
        assert "a" in [s.volume_id for s in engine.summaries()], "a source volume stays listed"

    async def test_a_volume_that_is_known_already_is_not_taken_twice(
        self, engine: Engine, catalog: FakeCatalog
    ) -> None:
        before = catalog.entries()
        await engine.add(make_volume("a"))
        assert catalog.entries() == before
        (await engine.open("a", holder="me")).release()
        await engine.cache.discard("a")
        assert catalog.entries() == before

    async def test_what_cannot_be_admitted_is_not_kept(self, engine: Engine) -> None:
        with pytest.raises(BudgetExceededError):
            await engine.admit(make_volume("huge", (40, 5, 6)), holder="me")
        assert [s.volume_id for s in engine.summaries()] == ["a", "b"]
        lease = await engine.admit(make_volume("up"), holder="me")
        assert lease.resident.volume.id == "up"


class TestRender:
    async def test_renders_and_reports_the_queue(self, engine: Engine) -> None:
        lease = await engine.open("a", holder="me")
        frame = await engine.render(make_view("a"), {"a": lease}, quality=Quality(2, 2.0), view_revision=7)
        assert (frame.view_revision, frame.quality.ray_stride) == (7, 2)
        assert frame.values is not None
        assert frame.values.shape == (8, 8)
        assert frame.timings_ms["queue"] >= 0
        assert frame.timings_ms["render"] == 1.5
        assert engine.status().cache.entries[0].pinned_by == ("me",)

    async def test_what_is_done_afterwards_is_done_where_the_frame_was_drawn(self, engine: Engine) -> None:
        lease = await engine.open("a", holder="me")
        seen: list[tuple[Frame, str]] = []

        def afterwards(frame: Frame) -> None:
            seen.append((frame, threading.current_thread().name))
            if len(seen) > 1:
                raise CodecError("no encoder")

        frame = await engine.render(make_view("a"), {"a": lease}, view_revision=7, afterwards=afterwards)
        assert seen[0][0].values is frame.values
        assert seen[0][1].startswith("voxelcast-frame")
        with pytest.raises(CodecError, match="no encoder"):
            await engine.render(make_view("a"), {"a": lease}, view_revision=8, afterwards=afterwards)
        assert len(seen) == 2

    async def test_a_view_of_a_volume_without_lease(self, engine: Engine) -> None:
        lease = await engine.open("a", holder="me")
        with pytest.raises(VolumeNotFoundError):
            await engine.render(make_view("other"), {"a": lease})

    async def test_cancelling_the_task_cancels_the_render_and_waits_for_it(
        self, engine: Engine, renderer: FakeRenderer
    ) -> None:
        renderer.gate.clear()
        lease = await engine.open("a", holder="me")
        task = asyncio.create_task(engine.render(make_view("a"), {"a": lease}))
        await until(renderer.rendering)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert renderer.saw_cancelled.is_set(), "the task ended before its render had"
        assert renderer.renders == 0
        assert engine.status().cache.entries[0].pinned_by == ("me",)

    async def test_the_flag_cancels(self, engine: Engine, renderer: FakeRenderer) -> None:
        renderer.gate.clear()
        lease = await engine.open("a", holder="me")
        flag = threading.Event()
        task = asyncio.create_task(engine.render(make_view("a"), {"a": lease}, cancelled=flag.is_set))
        await until(renderer.rendering)
        flag.set()
        with pytest.raises(RenderCancelledError):
            await task

    async def test_a_frame_that_is_cancelled_in_the_queue_never_begins(
        self, engine: Engine, renderer: FakeRenderer
    ) -> None:
        lease = await engine.open("a", holder="me")
        with pytest.raises(RenderCancelledError, match="before it began"):
            await engine.render(make_view("a"), {"a": lease}, cancelled=lambda: True)
        assert not renderer.rendering.is_set()

    async def test_a_volume_stays_while_it_is_drawn_though_its_lease_ends(
        self, engine: Engine, renderer: FakeRenderer
    ) -> None:
        renderer.gate.clear()
        lease = await engine.open("a", holder="me")
        task = asyncio.create_task(engine.render(make_view("a"), {"a": lease}))
        await until(renderer.rendering)
        lease.release()
        await engine.cache.discard("a")
        assert engine.status().cache.entries[0].pinned_by == ("render",)
        renderer.gate.set()
        await task  # the fake renderer fails if the volume is released meanwhile
        assert engine.status().cache.entries == ()

    async def test_a_failing_render_leaves_no_pin(self, engine: Engine, renderer: FakeRenderer) -> None:
        renderer.render_error = CodecError("boom")
        lease = await engine.open("a", holder="me")
        with pytest.raises(CodecError, match="boom"):
            await engine.render(make_view("a"), {"a": lease})
        assert engine.status().cache.entries[0].pinned_by == ("me",)


def tilted(degrees: float, axis: int = 0) -> Volume:
    """Return an MR whose grid is turned about one patient axis, in-plane pixels of 0.4 mm."""
    angle = np.radians(degrees)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.eye(3)
    first, second = [n for n in range(3) if n != axis]
    turn[first, first] = turn[second, second] = c
    turn[first, second], turn[second, first] = -s, s
    steps = turn @ np.diag([0.4, 0.4, 3.0])
    geometry = VolumeGeometry.from_axes((3, 6, 7), (5, 6, 7), *steps.T)
    return Volume("t", geometry, np.zeros((3, 6, 7), np.int16), info=VolumeInfo(modality="MR"))


class TestInitialViews:
    @pytest.mark.parametrize(("degrees", "oblique"), [(0, False), (0.9, False), (1.1, True), (45, True), (89.5, False)])
    def test_oblique_by_more_than_a_degree_to_all_three(self, degrees: float, oblique: bool) -> None:
        volume = tilted(degrees)
        assert is_oblique(volume.geometry) is oblique
        names = [named.name for named in initial_views(volume)]
        assert names == (["acquisition"] if oblique else []) + ["axial", "coronal", "sagittal", "3d"]

    def test_planes_look_where_radiologists_expect(self) -> None:
        volume = make_volume()
        views = {named.name: named.view for named in initial_views(volume)}
        axes = {
            "axial": ((1, 0, 0), (0, 1, 0)),  # the patient's left at the right, back downwards
            "coronal": ((1, 0, 0), (0, 0, -1)),
            "sagittal": ((0, 1, 0), (0, 0, -1)),  # anterior at the left
        }
        for name, (row, column) in axes.items():
            view = views[name]
            np.testing.assert_allclose(view.plane.row_direction, row, atol=1e-12)
            np.testing.assert_allclose(view.plane.column_direction, column, atol=1e-12)
            assert view.slab_mm == 0
            np.testing.assert_allclose(view.camera.look_at, volume.geometry.center_mm)
            assert (view.viewport.width_px, view.viewport.height_px) == (512, 512)

    def test_whole_volume_by_modality(self) -> None:
        for modality, method, inverted in [
            ("CT", RenderingMethod.VOLUME_RENDERED, False),
            ("MR", RenderingMethod.VOLUME_RENDERED, False),
            ("PT", RenderingMethod.MAXIMUM_IP, True),
        ]:
            view = initial_views(make_volume(modality=modality))[-1].view
            assert (view.rendering_method, view.layers[0].invert, view.slab_mm) == (method, inverted, None)

    @pytest.mark.parametrize("viewport", [Viewport(512, 512), Viewport(9, 8), Viewport(7, 6), Viewport(64, 33)])
    @pytest.mark.parametrize("degrees", [20, -35])
    def test_acquisition_pixels_are_the_middle_slices_voxels(self, viewport: Viewport, degrees: float) -> None:
        volume = tilted(degrees)
        view = make_view(width=viewport.width_px, height=viewport.height_px)
        camera = acquisition_camera(volume.geometry, viewport)
        plane = type(view)(camera, viewport, view.layers, view.rendering_method, 0.0).plane
        top_left = volume.geometry.to_voxel(plane.top_left_mm)
        np.testing.assert_allclose(top_left, np.round(top_left), atol=1e-9)
        assert round(top_left[2]) == 1
        right = np.array(plane.top_left_mm) + np.array(plane.row_direction) * plane.pixel_spacing_mm[1]
        down = np.array(plane.top_left_mm) + np.array(plane.column_direction) * plane.pixel_spacing_mm[0]
        np.testing.assert_allclose(volume.geometry.to_voxel(right) - top_left, (1, 0, 0), atol=1e-9)
        np.testing.assert_allclose(volume.geometry.to_voxel(down) - top_left, (0, 1, 0), atol=1e-9)

"""The client against the real server: pictures, descriptions, uploads, errors, limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from render.backends.cpu import CpuRenderer
from render.catalog import Catalog
from render.dicom.ingest import Ingest
from render.encoding.values import OUTSIDE_CODE
from tests.client.served import AFFINE, SHAPE, SIZE_PX, Served, head, real_server, views
from voxelcast import (
    AmbiguousSeriesError,
    AsyncClient,
    BudgetExceededError,
    Client,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    UnauthenticatedError,
    UnsupportedError,
    View,
    VoxelcastError,
)

TOKEN = "correct horse battery"
UPLOAD_SHAPE = (8, 16, 16)


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.address) as client:
        yield client


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
    with real_server(renderer, budget_bytes=2_000_000) as served:
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
    with real_server(renderer, token=TOKEN) as served:
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
        with real_server(renderer, budget_bytes=1 << 28, catalog=catalog) as served:
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

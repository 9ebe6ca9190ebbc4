"""Volumes over gRPC: lists, loads, and the leases that clients hold."""

from __future__ import annotations

import asyncio
from unittest import mock

import grpc
import grpc.aio
import pytest

import render
from render.errors import CodecError
from render.service import leases as leases_module
from render.service.grpc_server import start_grpc
from render.service.leases import LeaseTable
from render.service.servicer import RenderServicer
from render.v1 import frame_pb2, volume_pb2
from render.v1 import render_service_pb2 as pb
from tests.fakes import PATIENCE_S, make_view
from tests.service.calls import failure, open_volume, render_frame, render_request, until
from tests.service.conftest import VOLUME_BYTES, Served, stub_of

CODE = grpc.StatusCode


class TestVolumes:
    async def test_list(self, served: Served) -> None:
        volumes = (await served.stub.ListVolumes(pb.ListVolumesRequest())).volumes
        assert [(v.volume_id, v.modality, v.residency, v.bytes) for v in volumes] == [
            ("a", "CT", volume_pb2.RESIDENCY_SOURCE, VOLUME_BYTES),
            ("b", "PT", volume_pb2.RESIDENCY_SOURCE, VOLUME_BYTES),
            ("c", "CT", volume_pb2.RESIDENCY_SOURCE, VOLUME_BYTES),
        ]
        assert (volumes[0].columns, volumes[0].rows, volumes[0].slices) == (6, 5, 4)
        assert list(volumes[0].spacing_mm) == [0.5, 0.5, 2]

    async def test_list_says_whether_more_may_come(self, served: Served) -> None:
        for scanning in (True, False):
            served.catalog.is_scanning = scanning
            assert (await served.stub.ListVolumes(pb.ListVolumesRequest())).scanning is scanning

    async def test_open_streams_progress_then_the_description(self, served: Served) -> None:
        events = [event async for event in served.stub.OpenVolume(pb.OpenVolumeRequest(path="series/a"))]
        progress = [(e.progress.volume_id, e.progress.stage, e.progress.done, e.progress.total) for e in events[:-1]]
        assert progress == [
            ("a", "decoding", 1, 2),
            ("a", "decoding", 2, 2),
            ("a", "uploading", 0, 1),
            ("a", "uploading", 1, 1),
        ]
        opened = events[-1].opened
        assert opened.lease_seconds == 600
        assert len(opened.lease_id) >= 20
        volume = opened.volume
        assert volume.summary.residency == volume_pb2.RESIDENCY_RESIDENT
        assert volume.voxel_type == volume_pb2.VOXEL_TYPE_INT16
        assert [view.name for view in volume.initial_views] == ["axial", "coronal", "sagittal", "3d"]
        assert len(volume.geometry.patient_from_voxel) == 16
        assert (volume.default_preset, volume.units) == ("CT-AAA", "HU")
        # An initial view can be rendered as it is.
        request = pb.RenderRequest(
            view=volume.initial_views[0].view, encoding=frame_pb2.FRAME_ENCODING_PNG, lease_id=opened.lease_id
        )
        _, payload = await render_frame(served.stub, request)
        assert payload.startswith(b"\x89PNG")

    async def test_two_clients_share_one_copy_and_the_status_says_so(self, served: Served) -> None:
        await open_volume(served.stub)
        async with grpc.aio.insecure_channel(served.address) as other:
            opened = await open_volume(stub_of(other))
            status = await served.stub.GetStatus(pb.GetStatusRequest())
            assert served.renderer.uploads == 1
            (resident,) = status.volumes
            assert (resident.volume_id, resident.device) == ("a", "fake:0")
            assert list(resident.pinned_by) == ["grpc lease 1", "grpc lease 2"]
            assert opened.lease_id not in str(status)
            (device,) = status.devices
            assert (device.name, device.description) == ("fake:0", "a fake")
            assert device.budget_bytes == 2 * VOLUME_BYTES + 40
            assert device.resident_bytes == device.pinned_bytes == VOLUME_BYTES
            assert status.server_version == render.__version__
            assert "CT-AAA" in status.presets

    async def test_release_unpins_once(self, served: Served) -> None:
        opened = await open_volume(served.stub)
        await served.stub.ReleaseVolume(pb.ReleaseVolumeRequest(lease_id=opened.lease_id))
        assert served.engine.status().cache.pinned_bytes == 0
        code, line, detail = await failure(served.stub.ReleaseVolume(pb.ReleaseVolumeRequest(lease_id=opened.lease_id)))
        assert (code, detail.reason) == (CODE.NOT_FOUND, "LEASE_NOT_FOUND")
        assert opened.lease_id not in line

    async def test_over_budget_is_refused_and_the_others_go_on(self, served: Served) -> None:
        opened = await open_volume(served.stub, "a")
        await open_volume(served.stub, "b")
        code, line, detail = await failure(served.stub.OpenVolume(pb.OpenVolumeRequest(volume_id="c")))
        assert (code, detail.reason) == (CODE.RESOURCE_EXHAUSTED, "BUDGET_EXCEEDED")
        assert "volume c needs" in line
        assert detail.figures["needed_bytes"] == str(VOLUME_BYTES)
        assert detail.figures["pinned_bytes"] == str(2 * VOLUME_BYTES)
        assert detail.figures["budget_bytes"] == str(2 * VOLUME_BYTES + 40)
        await render_frame(served.stub, render_request(lease_id=opened.lease_id))
        await served.stub.ReleaseVolume(pb.ReleaseVolumeRequest(lease_id=opened.lease_id))
        await open_volume(served.stub, "c")

    async def test_describe_is_for_resident_volumes(self, served: Served) -> None:
        request = pb.DescribeVolumeRequest(volume_id="a")
        code, line, _ = await failure(served.stub.DescribeVolume(request))
        assert code is CODE.NOT_FOUND
        assert "not resident" in line
        opened = await open_volume(served.stub)
        described = await served.stub.DescribeVolume(request)
        assert described.volume.geometry == opened.volume.geometry
        assert served.engine.status().cache.entries[0].pinned_by == ("grpc lease 1",)

    @pytest.mark.parametrize(
        ("request_", "code", "reason"),
        [
            (pb.OpenVolumeRequest(), CODE.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
            (pb.OpenVolumeRequest(volume_id="nothing"), CODE.NOT_FOUND, "VOLUME_NOT_FOUND"),
            (pb.OpenVolumeRequest(volume_id=""), CODE.NOT_FOUND, "VOLUME_NOT_FOUND"),
            (pb.OpenVolumeRequest(path="../../etc/passwd"), CODE.NOT_FOUND, "PATH_NOT_FOUND"),
            (pb.OpenVolumeRequest(path="series"), CODE.FAILED_PRECONDITION, "AMBIGUOUS_SERIES"),
        ],
    )
    async def test_what_cannot_be_opened(
        self, served: Served, request_: pb.OpenVolumeRequest, code: grpc.StatusCode, reason: str
    ) -> None:
        got, _, detail = await failure(served.stub.OpenVolume(request_))
        assert (got, detail.reason) == (code, reason)
        if reason == "AMBIGUOUS_SERIES":
            assert detail.figures["candidates"].split("\n") == ["series/a", "series/b", "series/c"]
        await open_volume(served.stub)

    async def test_a_failed_load_reaches_the_client_and_can_be_tried_again(self, served: Served) -> None:
        served.catalog.load_error = CodecError("slice 3: 1.2.840.10008.1.2.4.90 can't be decoded")
        code, line, detail = await failure(served.stub.OpenVolume(pb.OpenVolumeRequest(volume_id="a")))
        assert (code, detail.reason) == (CODE.FAILED_PRECONDITION, "CODEC")
        assert line.startswith("slice 3")
        served.catalog.load_error = None
        await open_volume(served.stub)

    async def test_a_client_that_leaves_while_loading_stops_the_load(self, served: Served) -> None:
        served.catalog.gate.clear()
        call = served.stub.OpenVolume(pb.OpenVolumeRequest(volume_id="a"))
        first = await call.read()
        assert first.progress.done == 1
        call.cancel()
        await until(served.catalog.saw_cancelled)
        served.catalog.gate.set()
        await open_volume(served.stub)
        assert served.engine.status().cache.entries[0].pinned_by == ("grpc lease 2",)


class TestLeases:
    async def test_an_unused_lease_ends_and_a_used_one_does_not(self, served: Served) -> None:
        unused, used = await open_volume(served.stub, "a"), await open_volume(served.stub, "b")
        served.clock.now += 599
        await render_frame(served.stub, render_request(make_view("b"), lease_id=used.lease_id))
        served.clock.now += 2
        served.server.leases.sweep()
        pins = {entry.volume_id: entry.pinned_by for entry in served.engine.status().cache.entries}
        assert pins == {"a": (), "b": ("grpc lease 2",)}
        code, line, detail = await failure(served.stub.Render(render_request(lease_id=unused.lease_id)))
        assert (code, detail.reason) == (CODE.NOT_FOUND, "LEASE_NOT_FOUND")
        assert "600 s" in line

    async def test_leases_end_without_any_call(self, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(leases_module, "SWEEP_SECONDS", 0.0)
        other = await start_grpc(
            served.engine, host="127.0.0.1", port=0, leases=LeaseTable(lease_seconds=5, clock=served.clock)
        )
        async with grpc.aio.insecure_channel(f"127.0.0.1:{other.port}") as channel:
            await open_volume(stub_of(channel))
        assert served.engine.status().cache.pinned_bytes == VOLUME_BYTES
        served.clock.now += 5
        async with asyncio.timeout(PATIENCE_S):
            while served.engine.status().cache.pinned_bytes:
                await served.stub.GetStatus(pb.GetStatusRequest())
        await other.stop(0)

    async def test_a_lease_that_nobody_heard_of_ends(self, served: Served) -> None:
        leases = LeaseTable()
        events = RenderServicer(served.engine, leases, served.sessions).OpenVolume(
            pb.OpenVolumeRequest(volume_id="a"), mock.Mock()
        )
        while not (await anext(events)).HasField("opened"):
            pass
        assert len(leases) == 1
        await events.aclose()  # as gRPC does when the response can't be sent
        assert len(leases) == 0
        assert served.engine.status().cache.pinned_bytes == 0

    async def test_a_lease_of_another_volume_is_refused(self, served: Served) -> None:
        opened = await open_volume(served.stub, "b")
        code, line, _ = await failure(served.stub.Render(render_request(lease_id=opened.lease_id)))
        assert code is CODE.INVALID_ARGUMENT
        assert "lease_id" in line

    async def test_leases_are_limited(self, served: Served) -> None:
        for _ in range(8):
            await open_volume(served.stub)
        code, line, _ = await failure(served.stub.OpenVolume(pb.OpenVolumeRequest(volume_id="a")))
        assert code is CODE.RESOURCE_EXHAUSTED
        assert "8 leases" in line
        served.clock.now += 601
        await open_volume(served.stub)
        assert len(served.server.leases) == 1

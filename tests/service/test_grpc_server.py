from __future__ import annotations

import asyncio
import logging
import math
import random
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import grpc.aio
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import render
from render.errors import CodecError, StartupError
from render.service import leases as leases_module
from render.service.grpc_server import SERVICE, start_grpc
from render.service.leases import LeaseTable
from render.service.servicer import RenderServicer
from render.tls import TlsFiles
from render.v1 import frame_pb2, view_pb2, volume_pb2
from render.v1 import render_service_pb2 as pb
from render.view import RenderingMethod
from tests.fakes import PATIENCE_S, make_view
from tests.service.calls import consume, failure, open_volume, render_frame, render_request, silence, until
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


class TestRender:
    async def test_values(self, served: Served) -> None:
        header, payload = await render_frame(served.stub, render_request(make_view("a", width=16, height=8)))
        values = np.frombuffer(payload, "<f4").reshape(header.height_px, header.width_px)
        np.testing.assert_array_equal(values, np.full((8, 16), 42.5, np.float32))
        assert (header.view_id, header.quality, header.units) == ("", frame_pb2.FRAME_QUALITY_FINAL, "HU")
        assert header.timings.render_ms == 1.5
        assert served.engine.status().cache.pinned_bytes == 0, "no lease was asked for"

    async def test_a_large_frame_comes_in_chunks(self, served: Served) -> None:
        header, payload = await render_frame(served.stub, render_request(make_view("a", width=1024, height=700)))
        assert header.chunk_count == 3
        assert len(payload) == 1024 * 700 * 4

    @pytest.mark.parametrize(
        ("encoding", "magic"),
        [
            (frame_pb2.FRAME_ENCODING_JPEG, b"\xff\xd8"),
            (frame_pb2.FRAME_ENCODING_PNG, b"\x89PNG"),
            (frame_pb2.FRAME_ENCODING_VALUES_UINT16, b""),
            (frame_pb2.FRAME_ENCODING_VALUES_DEFLATE, b""),
        ],
    )
    async def test_encodings(self, served: Served, encoding: Any, magic: bytes) -> None:
        header, payload = await render_frame(served.stub, render_request(encoding=encoding))
        assert header.encoding == encoding
        assert payload.startswith(magic)
        assert header.jpeg_quality == (90 if encoding == frame_pb2.FRAME_ENCODING_JPEG else 0)

    async def test_jpeg_quality(self, served: Served) -> None:
        jpeg = frame_pb2.FRAME_ENCODING_JPEG
        header, _ = await render_frame(served.stub, render_request(encoding=jpeg, jpeg_quality=35))
        assert header.jpeg_quality == 35
        for wrong in (0, 101):
            code, line, _ = await failure(served.stub.Render(render_request(encoding=jpeg, jpeg_quality=wrong)))
            assert code is CODE.INVALID_ARGUMENT
            assert f"jpeg_quality {wrong}" in line

    async def test_colour(self, served: Served) -> None:
        view = make_view("a", rendering_method=RenderingMethod.VOLUME_RENDERED, slab_mm=None)
        header, payload = await render_frame(served.stub, render_request(view, encoding=frame_pb2.FRAME_ENCODING_RGBA8))
        assert payload == bytes([77]) * (8 * 8 * 4)
        assert header.rendering_method == view_pb2.RENDERING_METHOD_VOLUME_RENDERED

    @pytest.mark.parametrize(
        ("change", "code", "match"),
        [
            ("nan", CODE.INVALID_ARGUMENT, "camera.position"),
            ("zero up", CODE.INVALID_ARGUMENT, "camera.up"),
            ("100,000 px", CODE.INVALID_ARGUMENT, "100000"),
            ("unknown volume", CODE.NOT_FOUND, "no volume"),
            ("no encoding", CODE.INVALID_ARGUMENT, "encoding 0"),
            ("colour of values", CODE.INVALID_ARGUMENT, "RGBA8"),
            ("two layers", CODE.UNIMPLEMENTED, "2 layers"),
            ("no view", CODE.INVALID_ARGUMENT, "view.camera"),
        ],
    )
    async def test_bad_requests_cost_no_work_and_the_next_is_answered(
        self, served: Served, change: str, code: grpc.StatusCode, match: str
    ) -> None:
        request = render_request()
        camera = request.view.camera
        match change:
            case "nan":
                camera.position.y = math.nan
            case "zero up":
                camera.up.y = 0
            case "100,000 px":
                request.view.viewport.height_px = 100_000
            case "unknown volume":
                request.view.layers[0].volume_id = "nothing"
            case "no encoding":
                request.encoding = frame_pb2.FRAME_ENCODING_UNSPECIFIED
            case "colour of values":
                request.encoding = frame_pb2.FRAME_ENCODING_RGBA8
            case "two layers":
                request.view.layers.add().volume_id = "b"
            case "no view":
                request.ClearField("view")
        got, line, detail = await failure(served.stub.Render(request))
        assert got is code
        assert match in line
        assert detail.reason
        assert (served.renderer.uploads, served.renderer.renders) == (0, 0)
        await render_frame(served.stub, render_request())

    async def test_an_oversize_message_is_refused_and_the_next_is_answered(self, served: Served) -> None:
        request = render_request()
        request.view.layers[0].volume_id = "x" * (3 << 20)
        code, _, _ = await failure(served.stub.Render(request))
        assert code is CODE.RESOURCE_EXHAUSTED
        await render_frame(served.stub, render_request())

    async def test_cancelling_stops_the_rendering(self, served: Served) -> None:
        served.renderer.gate.clear()
        call = served.stub.Render(render_request())
        reading = asyncio.ensure_future(call.read())
        await until(served.renderer.rendering)
        call.cancel()
        await until(served.renderer.saw_cancelled)
        with pytest.raises(asyncio.CancelledError):
            await reading
        served.renderer.gate.set()
        await render_frame(served.stub, render_request())
        assert served.renderer.renders == 1

    async def test_a_client_that_vanishes_stops_the_rendering(self, served: Served) -> None:
        served.renderer.gate.clear()
        channel = grpc.aio.insecure_channel(served.address)
        reading = asyncio.ensure_future(stub_of(channel).Render(render_request()).read())
        await until(served.renderer.rendering)
        await channel.close()
        await until(served.renderer.saw_cancelled)
        await asyncio.gather(reading, return_exceptions=True)

    async def test_a_deadline_stops_the_rendering(self, served: Served) -> None:
        await open_volume(served.stub)
        served.renderer.gate.clear()
        code, _, _ = await failure(served.stub.Render(render_request(), timeout=0.3))
        assert code is CODE.DEADLINE_EXCEEDED
        await until(served.renderer.saw_cancelled)
        assert served.renderer.renders == 0

    async def test_an_unexpected_error_is_logged_and_not_told(
        self, served: Served, caplog: pytest.LogCaptureFixture
    ) -> None:
        served.renderer.render_error = ValueError("secret text")
        with caplog.at_level(logging.ERROR, "render.service"):
            code, line, detail = await failure(served.stub.Render(render_request()))
        assert (code, detail.reason) == (CODE.INTERNAL, "INTERNAL")
        assert "secret" not in line
        assert "secret text" in caplog.text
        served.renderer.render_error = None
        await render_frame(served.stub, render_request())


class TestCrowd:
    async def test_clients_that_come_and_go_leave_nothing_behind(self, served: Served) -> None:
        dice = random.Random(3)

        async def visit(number: int) -> None:
            volume_id = dice.choice("abc")
            request = render_request(make_view(volume_id))
            async with grpc.aio.insecure_channel(served.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                stub = stub_of(channel)
                for _ in range(6):
                    await asyncio.sleep(0)
                    match dice.randrange(4):
                        case 0:
                            call = stub.Render(request)
                            reading = asyncio.ensure_future(call.read())
                            for _ in range(dice.randrange(20)):
                                await asyncio.sleep(0)
                            call.cancel()
                            await asyncio.gather(reading, return_exceptions=True)
                        case 1:
                            call = stub.OpenVolume(pb.OpenVolumeRequest(volume_id=volume_id))
                            reading = asyncio.ensure_future(call.read())
                            for _ in range(dice.randrange(20)):
                                await asyncio.sleep(0)
                            call.cancel()
                            await asyncio.gather(reading, return_exceptions=True)
                        case 2:
                            outcomes.append(await outcome(consume(stub.Render(request))))
                        case 3:
                            opening = consume(stub.OpenVolume(pb.OpenVolumeRequest(volume_id=volume_id)))
                            outcomes.append(await outcome(opening))

        outcomes: list[grpc.StatusCode] = []
        await asyncio.gather(*(visit(number) for number in range(12)))
        # Three volumes, room for two, eight leases: some are refused, and nothing else ever goes wrong.
        assert set(outcomes) <= {CODE.OK, CODE.RESOURCE_EXHAUSTED}
        assert CODE.OK in outcomes
        served.clock.now += 601
        served.server.leases.sweep()
        async with asyncio.timeout(PATIENCE_S):
            while served.engine.status().cache.pinned_bytes:
                await served.stub.GetStatus(pb.GetStatusRequest())
        assert served.renderer.peak_bytes <= served.engine.cache.budget_bytes
        for volume_id in "abc":
            await render_frame(served.stub, render_request(make_view(volume_id)))


async def outcome(work: Any) -> grpc.StatusCode:
    try:
        await work
    except grpc.aio.AioRpcError as error:
        return error.code()
    return CODE.OK


class TestServer:
    async def test_tls(self, served: Served, tmp_path: Path) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            pytest.skip("no openssl to make a certificate with")
        key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
        options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost".split()
        options += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
        await asyncio.to_thread(subprocess.run, [openssl, *options], check=True, capture_output=True)
        chain = await asyncio.to_thread(certificate.read_bytes)
        tls = TlsFiles(await asyncio.to_thread(key.read_bytes), chain)
        server = await start_grpc(served.engine, host="127.0.0.1", port=0, tls=tls)
        address = f"127.0.0.1:{server.port}"
        trusting = grpc.ssl_channel_credentials(chain)
        named = [("grpc.ssl_target_name_override", "localhost")]
        async with grpc.aio.secure_channel(address, trusting, named) as channel:
            assert len((await stub_of(channel).ListVolumes(pb.ListVolumesRequest())).volumes) == 3
        async with grpc.aio.insecure_channel(address) as channel:
            code, _, _ = await failure(stub_of(channel).ListVolumes(pb.ListVolumesRequest()))
            assert code is CODE.UNAVAILABLE
        await server.stop(0)

    async def test_health_turns_when_the_server_stops(self, served: Served) -> None:
        stub = health_pb2_grpc.HealthStub(served.channel)
        for service in ("", SERVICE):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.create_task(served.server.stop(5))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        await stopping

    async def test_stop_ends_the_leases(self, served: Served) -> None:
        await open_volume(served.stub)
        await served.server.stop(0)
        assert served.engine.status().cache.pinned_bytes == 0

    async def test_reflection_names_the_service(self, served: Served) -> None:
        stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
        call = stub.ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        answer = await call.read()
        assert {s.name for s in answer.list_services_response.service} >= {SERVICE, "grpc.health.v1.Health"}
        await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE))
        answer = await call.read()
        assert len(answer.file_descriptor_response.file_descriptor_proto) >= 1
        await call.done_writing()
        call.cancel()

    async def test_a_port_in_use_names_the_flag(self, served: Served) -> None:
        with pytest.raises(StartupError, match=rf"--grpc-port {served.server.port}: can't listen") as caught:
            await start_grpc(served.engine, host="127.0.0.1", port=served.server.port)
        assert "\n" not in caught.value.message

    async def test_an_address_that_is_not_ours_is_a_startup_error(self, served: Served) -> None:
        with pytest.raises(StartupError, match="--grpc-port 0"):
            await start_grpc(served.engine, host="192.0.2.1", port=0)

    @pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
    async def test_ipv6(self, served: Served) -> None:
        try:
            server = await start_grpc(served.engine, host="::1", port=0)
        except StartupError:
            pytest.skip("no IPv6 loopback on this machine")
        async with grpc.aio.insecure_channel(f"[::1]:{server.port}") as channel:
            assert len((await stub_of(channel).ListVolumes(pb.ListVolumesRequest())).volumes) == 3
        await server.stop(0)


class TestToken:
    @pytest.fixture
    async def guarded(self, served: Served) -> Any:
        server = await start_grpc(served.engine, host="127.0.0.1", port=0, token="correct horse battery")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield channel
        await server.stop(0)

    @pytest.mark.parametrize(
        ("metadata", "told"),
        [
            ((), "a token is needed: authorization: Bearer <token>"),
            ((("authorization", "Bearer mistaken"),), "wrong token"),
            ((("authorization", "correct horse battery"),), "a token is needed: authorization: Bearer <token>"),
            ((("authorization", ""),), "a token is needed: authorization: Bearer <token>"),
            ((("token", "correct horse battery"),), "a token is needed: authorization: Bearer <token>"),
        ],
    )
    async def test_no_or_a_wrong_token_is_refused_everywhere(
        self, guarded: grpc.aio.Channel, metadata: Any, told: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        stub = stub_of(guarded)
        calls = [
            stub.ListVolumes(pb.ListVolumesRequest(), metadata=metadata),
            stub.Render(render_request(), metadata=metadata),
            stub.UploadVolume(silence(), metadata=metadata),
            stub.StreamFrames(silence(), metadata=metadata),
            reflection_pb2_grpc.ServerReflectionStub(guarded).ServerReflectionInfo(silence(), metadata=metadata),
        ]
        for call in calls:
            code, line, detail = await failure(call)
            assert (code, detail.reason) == (CODE.UNAUTHENTICATED, "UNAUTHENTICATED")
            assert line == told
        assert "mistaken" not in caplog.text

    async def test_the_right_token_is_let_in_and_health_needs_none(self, guarded: grpc.aio.Channel) -> None:
        metadata = (("authorization", "Bearer correct horse battery"),)
        answer = await stub_of(guarded).ListVolumes(pb.ListVolumesRequest(), metadata=metadata)
        assert len(answer.volumes) == 3
        health = await health_pb2_grpc.HealthStub(guarded).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING

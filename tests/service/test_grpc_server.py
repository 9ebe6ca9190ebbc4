"""The gRPC server itself: addresses, TLS, tokens, health, and clients that come and go."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from render.errors import StartupError
from render.service.grpc_server import SERVICE, start_grpc
from render.tls import TlsFiles
from render.v1 import render_service_pb2 as pb
from tests.fakes import PATIENCE_S, make_view
from tests.service.calls import consume, failure, open_volume, render_frame, render_request, silence
from tests.service.conftest import Served, stub_of

CODE = grpc.StatusCode


class TestServer:
    async def test_each_call_is_told_with_its_status(self, served: Served) -> None:
        told: list[tuple[str, str]] = []

        def answered(method: str, status: str, seconds: float) -> None:
            assert seconds >= 0
            told.append((method, status))

        token = "correct horse battery"
        server = await start_grpc(served.engine, host="127.0.0.1", port=0, token=token, answered=answered)
        metadata = (("authorization", f"Bearer {token}"),)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                stub = stub_of(channel)
                await stub.ListVolumes(pb.ListVolumesRequest(), metadata=metadata)
                request = pb.OpenVolumeRequest(volume_id="nowhere")
                for options in ({"metadata": metadata}, {}):
                    with pytest.raises(grpc.aio.AioRpcError):
                        await consume(stub.OpenVolume(request, **options))
        finally:
            await server.stop(0)
        assert told == [("ListVolumes", "OK"), ("OpenVolume", "NOT_FOUND"), ("OpenVolume", "UNAUTHENTICATED")]

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
                            await leave(stub.Render(request), dice.randrange(20))
                        case 1:
                            await leave(stub.OpenVolume(pb.OpenVolumeRequest(volume_id=volume_id)), dice.randrange(20))
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


async def leave(call: Any, steps: int) -> None:
    """Begin to read an answer, and go after so many steps of the loop."""
    reading = asyncio.ensure_future(call.read())
    for _ in range(steps):
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def outcome(work: Any) -> grpc.StatusCode:
    try:
        await work
    except grpc.aio.AioRpcError as error:
        return error.code()
    return CODE.OK

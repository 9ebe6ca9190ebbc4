"""The gRPC server: limits, token, health, reflection, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from render.engine import Engine
from render.errors import StartupError
from render.service.interceptors import Answered, ErrorInterceptor, TokenInterceptor
from render.service.leases import LeaseTable
from render.service.servicer import RenderServicer
from render.stream.registry import SessionRegistry
from render.tls import TlsFiles
from render.v1 import render_service_pb2, render_service_pb2_grpc

SERVICE = render_service_pb2.DESCRIPTOR.services_by_name["RenderService"].full_name

MAX_RECEIVE_BYTES = 2 << 20
"""A chunk of an upload (1 MiB) and its frame; nothing else that a client sends comes near."""
MAX_SEND_BYTES = 16 << 20
"""A list of tens of thousands of volumes; frames come in chunks of 1 MiB."""
MAX_CONCURRENT_RPCS = 1024
KEEPALIVE_SECONDS = 30
"""A client that vanished without a word is noticed after this, and its frames are given up."""


class GrpcServer:
    """A running server.

    Attributes
    ----------
    port
        Where it listens.
    leases
        What its clients hold.
    """

    def __init__(self, server: grpc.aio.Server, port: int, leases: LeaseTable, health_state: Any) -> None:
        self.port = port
        self.leases = leases
        self._server = server
        self._health = health_state
        self._sweeping = asyncio.create_task(leases.sweep_forever())

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Report NOT_SERVING, refuse new RPCs, let those in flight end for so long, then end all leases."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_seconds)
        self._sweeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._sweeping
        self.leases.close()


async def start_grpc(
    engine: Engine,
    *,
    host: str,
    port: int,
    token: str | None = None,
    sessions: SessionRegistry | None = None,
    tls: TlsFiles | None = None,
    leases: LeaseTable | None = None,
    answered: Answered = lambda method, status, seconds: None,
) -> GrpcServer:
    """Bind and serve.

    Parameters
    ----------
    engine
        What is served.
    host, port
        Where to listen; port 0 picks a free one.
    token
        What clients must present, but for health checks; None for none.
    sessions
        The live sessions of the process, the websocket's too; its own where None.
    tls
        None for plain text.
    leases
        For tests; made here otherwise.
    answered
        Told of each call that has ended.

    Raises
    ------
    StartupError
        If the port can't be bound; the message names the flag.
    """
    leases = LeaseTable() if leases is None else leases
    sessions = SessionRegistry() if sessions is None else sessions
    interceptors: list[grpc.aio.ServerInterceptor] = [ErrorInterceptor(answered)]
    if token is not None:
        interceptors.insert(0, TokenInterceptor(token, answered))
    server = grpc.aio.server(
        interceptors=interceptors,
        maximum_concurrent_rpcs=MAX_CONCURRENT_RPCS,
        options=(
            ("grpc.so_reuseport", 0),  # else a second server would take half of the first one's clients
            ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
            ("grpc.max_send_message_length", MAX_SEND_BYTES),
            ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
            ("grpc.keepalive_timeout_ms", 10_000),
        ),
    )
    register: Any = render_service_pb2_grpc.add_RenderServiceServicer_to_server  # generated, untyped
    register(RenderServicer(engine, leases, sessions), server)
    health_state = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_state, server)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    bound_port = _bind(server, host, port, tls)
    await server.start()
    for service in ("", SERVICE):
        await health_state.set(service, health_pb2.HealthCheckResponse.SERVING)
    return GrpcServer(server, bound_port, leases, health_state)


def _bind(server: grpc.aio.Server, host: str, port: int, tls: TlsFiles | None) -> int:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    _probe(host, port)
    try:
        if tls is None:
            return server.add_insecure_port(address)
        credentials = grpc.ssl_server_credentials([(tls.private_key, tls.certificate_chain)])
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise StartupError(f"--grpc-port {port}: can't listen on {address}") from error


def _probe(host: str, port: int) -> None:
    # gRPC says nothing of the reason, but writes a screenful to stderr; a plain socket tells it in a word.
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        raise StartupError(f"--grpc-port {port}: can't listen on {host} port {port}: {error.strerror}") from error

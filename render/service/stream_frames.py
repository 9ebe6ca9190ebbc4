"""``StreamFrames``: the session that a websocket has, over a gRPC call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc.aio

from render.errors import (
    DrainingError,
    HelloTimeoutError,
    ProtocolError,
    TakenOverError,
    TooManyMessagesError,
    UnauthenticatedError,
    VoxelcastError,
)
from render.stream.contract import CloseCode, UnreadableMessageError
from render.stream.messages import checked
from render.v1 import render_service_pb2 as pb
from render.v1 import stream_pb2

_REFUSALS: dict[str, type[VoxelcastError]] = {
    kind.reason: kind for kind in (UnauthenticatedError, HelloTimeoutError, TooManyMessagesError, TakenOverError)
}

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class GrpcTransport:
    """How a session reaches its client over a gRPC call.

    Parameters
    ----------
    requests
        What the client sends; its end is the client's leaving.
    context
        Where the responses go.

    Attributes
    ----------
    error
        What the call is to end with once the session has; None for OK.
    """

    def __init__(self, requests: AsyncIterator[pb.StreamFramesRequest], context: Context) -> None:
        self._requests = requests
        self._context = context
        self._told: stream_pb2.StreamError | None = None
        self.error: VoxelcastError | None = None

    async def receive(self, max_bytes: int) -> stream_pb2.ClientMessage | None:
        """Return the client's next message; None once it has gone.

        Raises
        ------
        ProtocolError
            If the request holds no message; UnreadableMessageError if it is larger than `max_bytes`.
        """
        request = await anext(self._requests, None)
        if request is None:
            return None
        if (count := request.message.ByteSize()) > max_bytes:
            raise UnreadableMessageError(f"message of {count} bytes: at most {max_bytes}", CloseCode.TOO_BIG)
        return checked(request.message)

    async def send(self, message: stream_pb2.ServerMessage | stream_pb2.FrameMessage) -> None:
        """Hand a message over; returns once gRPC's flow control has taken it.

        Raises
        ------
        ConnectionError
            If the client has gone.
        """
        if isinstance(message, stream_pb2.FrameMessage):
            response = pb.StreamFramesResponse(frame=message)
        else:
            response = pb.StreamFramesResponse(message=message)
            if message.HasField("error"):
                self._told = message.error
        try:
            await self._context.write(response)
        except (asyncio.InvalidStateError, grpc.aio.InternalError, grpc.aio.BaseError) as error:
            raise ConnectionError("the client has gone") from error

    async def close(self, code: CloseCode, reason: str) -> None:
        """Note what the call is to end with."""
        match code:
            case CloseCode.NORMAL:
                self.error = None
            case CloseCode.GOING_AWAY | CloseCode.TRY_LATER:
                self.error = DrainingError(reason)
            case CloseCode.INTERNAL:
                self.error = VoxelcastError(reason)
            case _:
                told = "" if self._told is None else self._told.reason
                self.error = _REFUSALS.get(told, ProtocolError)(reason)

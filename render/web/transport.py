"""The stream's transport over a Starlette websocket."""

from __future__ import annotations

from starlette.websockets import WebSocket, WebSocketDisconnect

from render.stream.contract import CloseCode, UnreadableMessageError
from render.stream.messages import frame_to_bytes, parse_client_message, to_json
from render.stream.outbox import Outgoing
from render.v1 import stream_pb2

MAX_REASON_BYTES = 123
"""RFC 6455, 5.5: a control frame carries 125 bytes, two of which are the code."""


class WebSocketTransport:
    """A websocket that was accepted."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def receive(self, max_bytes: int) -> stream_pb2.ClientMessage | None:
        """Return the client's next message; None once it has gone."""
        event = await self._websocket.receive()
        if event["type"] == "websocket.disconnect":
            return None
        text = event.get("text")
        if text is None:
            raise UnreadableMessageError("a binary message: clients send JSON texts", CloseCode.UNSUPPORTED_DATA)
        size = len(text.encode())
        if size > max_bytes:
            raise UnreadableMessageError(f"a message of {size} bytes: at most {max_bytes}", CloseCode.TOO_BIG)
        return parse_client_message(text)

    async def send(self, message: Outgoing) -> None:
        """Hand a message over; return once there is room for the next."""
        try:
            if isinstance(message, stream_pb2.FrameMessage):
                await self._websocket.send_bytes(frame_to_bytes(message))
            else:
                await self._websocket.send_text(to_json(message))
        except WebSocketDisconnect as error:
            raise ConnectionError("the client has gone") from error

    async def close(self, code: CloseCode, reason: str) -> None:
        """Close; does nothing if the client has gone."""
        short = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        try:
            await self._websocket.close(code, short)
        except (WebSocketDisconnect, RuntimeError):
            return  # gone, or closed already

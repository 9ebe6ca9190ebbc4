"""What a server says to the client's stream, and what that has to say."""

from __future__ import annotations

from render.v1 import view_pb2
from render.v1.frame_pb2 import FRAME_QUALITY_FINAL, FRAME_QUALITY_INTERACTIVE, FrameHeader
from render.v1.render_service_pb2 import StreamFramesResponse
from render.v1.stream_pb2 import ClientMessage, FrameMessage
from voxelcast.stream_state import VIEW_INTERVAL_S, StreamState


def view(slab_mm: float) -> view_pb2.View:
    return view_pb2.View(slab_mm=slab_mm)


def frames(
    sequence: int, revision: int, *, chunks: int = 1, final: bool = True, view_id: str = "main", epoch: int = 1
) -> list[StreamFramesResponse]:
    """Return the chunks of a frame whose payload says its sequence."""
    payload = f"frame {sequence}".encode()
    parts = [payload[index::chunks] for index in range(chunks)]
    return [
        StreamFramesResponse(
            frame=FrameMessage(
                header=FrameHeader(
                    view_id=view_id,
                    sequence=sequence,
                    epoch=epoch,
                    view_revision=revision,
                    quality=FRAME_QUALITY_FINAL if final else FRAME_QUALITY_INTERACTIVE,
                    lossless=final,
                    payload_bytes=len(payload),
                    chunk_index=index,
                    chunk_count=chunks,
                ),
                payload=part,
            )
        )
        for index, part in enumerate(parts)
    ]


def sent(state: StreamState) -> list[ClientMessage]:
    """Return all that is to be sent, views too."""
    result = []
    now_s = 0.0
    while (message := state.next_message(now_s)) is not None:
        result.append(message)
        now_s += VIEW_INTERVAL_S
    return result


def acknowledged(state: StreamState) -> list[int]:
    return [m.acknowledge.sequence for m in sent(state) if m.WhichOneof("message") == "acknowledge"]

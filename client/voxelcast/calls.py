"""What the synchronous and the asyncio client share: requests, and answers that come in several messages."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

from render.v1.frame_pb2 import FrameHeader
from render.v1.render_service_pb2 import (
    OpenedVolume,
    OpenVolumeRequest,
    OpenVolumeResponse,
    RenderRequest,
    RenderResponse,
)
from voxelcast import convert
from voxelcast.descriptions import LoadProgress, VolumeSummary
from voxelcast.errors import DeadlineExceededError, InvalidArgumentError, ProtocolError
from voxelcast.frames import Encoding
from voxelcast.views import View

DEFAULT_TIMEOUT_S = 60.0
"""For every call but those that load a volume."""
DEFAULT_LOAD_TIMEOUT_S = 600.0
"""For `open` and the uploads, which read, decode and make resident; and for lists, which wait for the first scan."""

ProgressCallback: TypeAlias = Callable[[LoadProgress], None]


def open_request(
    source: str | os.PathLike[str] | VolumeSummary, series: str | int, volume_index: int | None, *, in_part: bool
) -> OpenVolumeRequest:
    """Return the request for a path, or for the volume of a list."""
    if isinstance(source, VolumeSummary):
        return OpenVolumeRequest(volume_id=source.volume_id, in_part=in_part)
    source = os.fspath(source)
    if not source:
        raise InvalidArgumentError("open: a path below a served root, or a volume's id, is needed")
    try:
        return OpenVolumeRequest(path=source, series=str(series), volume_index=volume_index, in_part=in_part)
    except ValueError:
        raise InvalidArgumentError(f"volume_index {volume_index}: 0 or more needed") from None


def render_request(view: View, encoding: Encoding, jpeg_quality: int | None, lease_id: str) -> RenderRequest:
    """Return the request for one picture.

    Raises
    ------
    InvalidArgumentError
        If the view, encoding or quality do not fit into it.
    """
    if jpeg_quality is not None and not 1 <= jpeg_quality <= 100:
        raise InvalidArgumentError(f"jpeg_quality {jpeg_quality}: 1 to 100 needed")
    return RenderRequest(
        view=convert.view_to_proto(view),
        encoding=convert.encoding_to_proto(encoding, view),
        jpeg_quality=jpeg_quality,
        lease_id=lease_id,
    )


def still_scanning(found: int, timeout_s: float) -> DeadlineExceededError:
    """Return the error of a list that was not whole in time."""
    return DeadlineExceededError(
        f"the server still reads its folders after {timeout_s:g} s, with {found} volumes found so far; "
        "volumes(wait=False) lists those"
    )


class FrameAssembler:
    """Puts the messages that answer Render together."""

    def __init__(self) -> None:
        self._header: FrameHeader | None = None
        self._chunks: list[bytes] = []

    def receive(self, message: RenderResponse) -> None:
        """Take the next message.

        Raises
        ------
        ProtocolError
            If the header is not the first one, or comes twice.
        """
        is_header = message.WhichOneof("part") == "header"
        if is_header != (self._header is None):
            raise ProtocolError("Render: a header first, then chunks")
        if is_header:
            self._header = message.header
        else:
            self._chunks.append(message.chunk)

    def finish(self) -> tuple[FrameHeader, bytes]:
        """Return header and payload once the stream has ended.

        Raises
        ------
        ProtocolError
            If there was no header.
        """
        if self._header is None:
            raise ProtocolError("Render: an answer without a header")
        return self._header, b"".join(self._chunks)


class OpenReceiver:
    """Puts the messages that answer OpenVolume together, telling `progress` of the load."""

    def __init__(self, progress: ProgressCallback | None) -> None:
        self._progress = progress
        self._opened: OpenedVolume | None = None

    def receive(self, message: OpenVolumeResponse) -> None:
        """Take the next message."""
        if message.WhichOneof("event") == "opened":
            self._opened = message.opened
        elif self._progress is not None:
            self._progress(convert.progress_from_proto(message.progress))

    def finish(self) -> OpenedVolume:
        """Return the volume once the stream has ended.

        Raises
        ------
        ProtocolError
            If there was none.
        """
        if self._opened is None:
            raise ProtocolError("OpenVolume: an answer without a volume")
        return self._opened

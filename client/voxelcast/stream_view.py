"""What a client's stream knows of one view."""

from __future__ import annotations

from dataclasses import dataclass, field

from render.v1.frame_pb2 import FRAME_QUALITY_FINAL, FrameHeader
from render.v1.stream_pb2 import FrameMessage
from render.v1.view_pb2 import View


@dataclass(frozen=True)
class EncodedFrame:
    """A whole frame, not decoded yet."""

    header: FrameHeader
    payload: bytes


@dataclass
class ViewState:
    """A view of the stream.

    Attributes
    ----------
    first_revision
        Frames that answer an older one belong to a closed view of the same name.
    latest, unsent
        What is shown, and the same while it was not sent yet.
    is_awaited
        The server does not know its volume yet.
    partial
        Chunks of the frame on its way.
    ready
        The newest whole frame that was not taken yet.
    unacknowledged
        Sequences that were received whole and wait to be taken.
    settled
        The last final, lossless frame that was taken.
    """

    first_revision: int
    revision: int = 0
    latest: View | None = None
    unsent: View | None = None
    is_awaited: bool = False
    was_sent: bool = False
    partial: list[FrameMessage] = field(default_factory=list)
    ready: EncodedFrame | None = None
    unacknowledged: list[int] = field(default_factory=list)
    last_sequence: int = 0
    settled: EncodedFrame | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the exact frame of the latest revision was taken."""
        return self.settled is not None and self.settled.header.view_revision == self.revision

    def acknowledged(self) -> list[int]:
        """Return the sequences that are to be acknowledged, once."""
        sequences, self.unacknowledged = self.unacknowledged, []
        return sequences

    def begin_anew(self) -> None:
        """Forget what belongs to a connection that has ended; a whole frame stays to be taken."""
        self.is_awaited = False
        self.partial.clear()
        self.unacknowledged.clear()
        self.last_sequence = 0


def is_exact(header: FrameHeader) -> bool:
    """Whether a frame is as good as it gets: every ray, lossless, of a volume that is all there."""
    return header.quality == FRAME_QUALITY_FINAL and header.lossless and header.missing_slices == 0

"""Several sessions on the same views: one drives, the others watch; each frame is made once.

Every session has its own state machine, credit and link: who watches gets what the driver sets as if its own client
had set it, so a slow one is merely sent fewer pictures. What they have in common is the work: a frame of a revision
is rendered by whoever asks first, and an encoding of it is made once for all who want that quality.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from render.encoding import EncodedFrame, Encoding, encode
from render.errors import RenderCancelledError
from render.frame import Frame
from render.service.convert.views import view_to_proto
from render.stream.protocol import StreamProtocol
from render.stream.view_state import RenderJob
from render.v1 import stream_pb2
from render.view import View

Render: TypeAlias = Callable[[Callable[[], bool], Callable[[Frame], None]], Awaitable[Frame]]
"""Given what says whether nobody wants the frame any more, and what is to be done with it where it was drawn."""
_Key: TypeAlias = tuple[str, int, int, bool]
"""View, its revision, its volume's, and whether nothing was saved."""
_Encoded: TypeAlias = tuple[Encoding, int, int]
"""Encoding, JPEG quality and divisor; 0 and 1 of what is no JPEG."""


class Participant(Protocol):
    """A session, as a share knows it."""

    protocol: StreamProtocol

    def pump(self) -> None:
        """Do what the protocol says is to be done."""

    def on_its_own(self) -> None:
        """Go on with the views as its own: it takes part in nothing any more."""


class SharedFrame:
    """A frame, and its encodings as they are wanted.

    Parameters
    ----------
    frame
        What was rendered.
    made
        Encodings that there are.
    """

    def __init__(self, frame: Frame, made: Mapping[_Encoded, EncodedFrame]) -> None:
        self.frame = frame
        self._made = dict(made)
        self._pending: dict[_Encoded, asyncio.Future[EncodedFrame]] = {}

    async def encode(self, encoding: Encoding, jpeg_quality: int = 0, divisor: int = 1) -> EncodedFrame:
        """Return an encoding; made once, in a thread, for all who ask for the same."""
        key = encoding, jpeg_quality, divisor
        if key in self._made:
            return self._made[key]
        if key not in self._pending:
            self._pending[key] = asyncio.ensure_future(asyncio.to_thread(_encode, self.frame, key))
        return await asyncio.shield(self._pending[key])  # who leaves takes nothing from the others


def _encode(frame: Frame, key: _Encoded) -> EncodedFrame:
    encoding, jpeg_quality, divisor = key
    options = {"jpeg_quality": jpeg_quality, "divisor": divisor} if encoding is Encoding.JPEG else {}
    return encode(frame, encoding, **options)


def _wanted_first(job: RenderJob) -> _Encoded:
    if job.picture is not None:
        return Encoding.JPEG, job.picture.jpeg_quality, job.picture.divisor
    assert job.lossless is not None
    return job.lossless, 0, 1


async def make_frame(job: RenderJob, cancelled: Callable[[], bool], render: Render) -> SharedFrame:
    """Render a job's frame, and encode it as it is wanted first, in the thread that drew it."""
    first, encoded = _wanted_first(job), {}

    def encode_at_once(frame: Frame) -> None:
        """Save the way through the event loop to another thread."""
        if not job.cancelled:
            encoded[first] = _encode(frame, first)

    return SharedFrame(await render(cancelled, encode_at_once), encoded)


@dataclass(eq=False)
class _Pending:
    """A frame that is being rendered, and who waits for it."""

    jobs: list[RenderJob]
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None


class SharedFrames:
    """The latest frames of shared views."""

    def __init__(self) -> None:
        self._made: dict[_Key, SharedFrame] = {}
        self._pending: dict[_Key, _Pending] = {}

    async def frame(self, job: RenderJob, volume_revision: int, render: Render) -> SharedFrame:
        """Return the frame of a job: one that is there, one that somebody else has begun, or a new one.

        An interactive frame is as good as whoever asked first could have it.

        Raises
        ------
        RenderCancelledError
            If the job was superseded meanwhile.
        VoxelcastError
            What rendering raised, to all who waited.
        """
        final = job.view_id, job.view_revision, volume_revision, True
        key = (*final[:3], job.is_final)
        while True:
            made = self._made.get(key) or self._made.get(final)
            if made is not None:
                return made
            pending = self._pending.get(key)
            if pending is None:
                return await self._make(key, job, render)
            pending.jobs.append(job)
            await pending.ended.wait()
            if pending.error is not None:
                raise pending.error
            if job.cancelled:
                raise RenderCancelledError("superseded")
            # Else whoever rendered it has gone, and somebody else must.

    async def _make(self, key: _Key, job: RenderJob, render: Render) -> SharedFrame:
        pending = self._pending[key] = _Pending([job])
        try:
            made = await make_frame(job, lambda: all(each.cancelled for each in pending.jobs), render)
        except RenderCancelledError:
            raise
        except Exception as error:
            pending.error = error
            raise
        finally:
            del self._pending[key]
            pending.ended.set()
        self._keep(key, made)
        return made

    def _keep(self, key: _Key, made: SharedFrame) -> None:
        """Replace what is older; one view's frames of one revision are held at a time."""
        of_view = [other for other in self._made if other[0] == key[0]]
        if any(other[1:3] > key[1:3] for other in of_view):
            return
        for other in of_view:
            if other[1:3] < key[1:3]:
                del self._made[other]
        self._made[key] = made

    def forget(self, view_id: str) -> None:
        """Let go of a view's frames."""
        for key in [key for key in self._made if key[0] == view_id]:
            del self._made[key]


class Share:
    """Views that several sessions show.

    Attributes
    ----------
    share_id
        Secret, and all that a link needs.
    driver
        Whose views count; None while nobody drives.
    frames
        Of the views.
    """

    def __init__(self) -> None:
        self.share_id = secrets.token_urlsafe(18)
        self.driver: Participant | None = None
        self.frames = SharedFrames()
        self._participants: list[Participant] = []
        self._views: dict[str, tuple[View, int]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nobody takes part."""
        return not self._participants

    def join(self, participant: Participant, *, driving: bool) -> None:
        """Let a session take part. One that drives brings its views; one that watches gets what there is."""
        self._participants.append(participant)
        if driving:
            self.driver = participant
            self.follow()
        else:
            participant.protocol.watch()
            for view_id, (view, revision) in self._views.items():
                participant.protocol.mirror(view_id, view, revision, view_to_proto(view))
        self._tell()

    def drive(self, participant: Participant) -> None:
        """Give the wheel to one of those who take part."""
        if self.driver is not participant:
            self.driver = participant
            self._tell()

    def leave(self, participant: Participant) -> None:
        """Let a session go; the views stay for the others."""
        if participant not in self._participants:
            return
        self._participants.remove(participant)
        if self.driver is participant:
            self.driver = None
        if self.is_empty:
            self.frames = SharedFrames()  # who comes back has them made anew: views are small, frames are not
        self._tell()

    def end(self) -> None:
        """Let all go: nothing is shared any more."""
        participants, self._participants = self._participants, []
        self.driver, self.frames = None, SharedFrames()
        for each in participants:
            each.on_its_own()

    def follow(self) -> None:
        """Hand on what the driver has set or closed since."""
        if self.driver is None:
            return
        watching = [each for each in self._participants if each is not self.driver]
        shown = {state.view_id: (state.view, state.revision) for state in self.driver.protocol.views}
        changed = [view_id for view_id in shown if self._views.get(view_id, (None, 0))[1] != shown[view_id][1]]
        closed = self._views.keys() - shown.keys()
        self._views = shown
        for view_id in closed:
            self.frames.forget(view_id)
        for view_id in changed:
            message = view_to_proto(shown[view_id][0]) if watching else None
            for each in watching:
                assert message is not None
                each.protocol.mirror(view_id, *shown[view_id], message)
        for each in watching if changed or closed else ():
            for view_id in closed:
                each.protocol.mirror_closed(view_id)
            each.pump()

    def tell(self, participant: Participant) -> None:
        """Tell one of those who take part who drives."""
        participant.protocol.sharing(
            stream_pb2.Sharing(
                share_id=self.share_id,
                driving=participant is self.driver,
                driven=self.driver is not None,
                participants=len(self._participants),
            )
        )

    def _tell(self) -> None:
        for each in tuple(self._participants):
            self.tell(each)
            each.pump()

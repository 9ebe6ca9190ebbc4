"""The door of a session: Hello is checked and answered with what a client needs to know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import render
from render.errors import ProtocolError
from render.stream.contract import SavedSession
from render.stream.limits import Limits
from render.v1 import stream_pb2, volume_pb2

PROTOCOL_VERSION = 1


@dataclass(frozen=True)
class Host:
    """What a session asks of the server that it is a session of.

    Attributes
    ----------
    authenticate
        Given Hello's token; raises UnauthenticatedError.
    resume
        Given a resume token; returns what it stands for, or None where it stands for nothing (any more).
    list_volumes
        What there is to open.
    is_scanning
        Whether there may be more to open soon.
    resume_token
        To give to the client.
    presets
        Names of the transfer functions.
    """

    authenticate: Callable[[str], None]
    resume: Callable[[str], SavedSession | None]
    list_volumes: Callable[[], Sequence[volume_pb2.VolumeSummary]]
    is_scanning: Callable[[], bool]
    resume_token: str
    presets: Sequence[str] = ()

    def check(self, hello: stream_pb2.Hello) -> None:
        """Let a client in.

        Raises
        ------
        ProtocolError
            If it speaks another version.
        UnauthenticatedError
            If its token doesn't count.
        """
        if hello.protocol_version != PROTOCOL_VERSION:
            raise ProtocolError(f"protocol_version {hello.protocol_version}: this server speaks {PROTOCOL_VERSION}")
        self.authenticate(hello.token)

    def welcome(self, epoch: int, limits: Limits) -> stream_pb2.Welcome:
        """Return the answer to Hello."""
        listed = self.volume_list()
        return stream_pb2.Welcome(
            protocol_version=PROTOCOL_VERSION,
            server_version=render.__version__,
            epoch=epoch,
            resume_token=self.resume_token,
            limits=stream_pb2.SessionLimits(
                max_views=limits.max_views,
                max_viewport_px=limits.max_viewport_px,
                max_pixels=limits.max_pixels,
                max_message_bytes=limits.max_message_bytes,
            ),
            presets=self.presets,
            scanning=listed.scanning,
            volumes=listed.volumes,
        )

    def volume_list(self) -> stream_pb2.VolumeList:
        """Return what there is to open."""
        # Asked before the list: what is scanned between the two is in it.
        scanning = self.is_scanning()
        return stream_pb2.VolumeList(volumes=self.list_volumes(), scanning=scanning)

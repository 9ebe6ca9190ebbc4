"""What the stream's state machine and its driver say to each other."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from render.errors import ProtocolError
from render.view import View


class CloseCode(enum.IntEnum):
    """Why a socket is closed (RFC 6455, 7.4.1). On gRPC the call ends with the error's status."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_DATA = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL = 1011
    TRY_LATER = 1013


class UnreadableMessageError(ProtocolError):
    """What came is no ClientMessage, or too large; `code` is what the socket is closed with."""

    def __init__(self, message: str, code: CloseCode) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class SavedView:
    """A view that a reconnecting client takes up again."""

    view_id: str
    view: View
    revision: int


@dataclass(frozen=True)
class SavedSession:
    """What a resume token stands for; where the views are shared, also whose they were."""

    epoch: int
    views: tuple[SavedView, ...] = ()
    share_id: str = ""
    driving: bool = False


@dataclass(frozen=True)
class OpenVolume:
    """Action: make a volume resident, tell `StreamProtocol.volume_opened` or `volume_failed`."""

    volume_id: str


@dataclass(frozen=True)
class DescribeVolume:
    """Action: give `StreamProtocol.describe` the description of a volume that is open."""

    volume_id: str


@dataclass(frozen=True)
class ReleaseVolume:
    """Action: end the lease of a volume, or stop opening it."""

    volume_id: str


@dataclass(frozen=True)
class Close:
    """Action: close the socket once what is queued has been sent."""

    code: CloseCode
    reason: str


@dataclass(frozen=True)
class ShareViews:
    """Action: let others watch."""


@dataclass(frozen=True)
class WatchViews:
    """Action: take part in what others share; `StreamProtocol.refuse` where there is no such share."""

    share_id: str


@dataclass(frozen=True)
class StopSharing:
    """Action: end the share that this session drives, or leave the one that it watches."""


@dataclass(frozen=True)
class TakeWheel:
    """Action: let this session drive the share that it takes part in."""


Action: TypeAlias = (
    OpenVolume | DescribeVolume | ReleaseVolume | Close | ShareViews | WatchViews | StopSharing | TakeWheel
)

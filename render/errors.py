"""The errors of Voxelcast.

::

    VoxelcastError
    ├── InvalidViewError            a View that can't be drawn: NaN, zero up vector, too many pixels
    ├── InvalidArgumentError        any other argument that breaks its contract
    ├── UnsupportedError            defined by the protocol, not built (yet)
    ├── SourceError                 something about the files
    │   ├── PathError               no such path, or outside the served roots
    │   ├── UnreadableFileError     truncated, not DICOM, a header that can't be parsed
    │   ├── CodecError              pixel data that can't be decoded, or no codec for it
    │   ├── NoVolumeError           nothing there that can be shown
    │   ├── NotAVolumeError         a series whose geometry or pixels make no volume: the measured reason
    │   └── AmbiguousSeriesError    several candidates and none named
    ├── VolumeNotFoundError         no volume of this id
    │   └── LeaseNotFoundError      no lease of this id: released, or unused for too long
    ├── BudgetExceededError         can't fit beside what is pinned: the figures
    │   └── DeviceMemoryError       a card has no memory left for this volume or frame
    ├── DiskFullError               the server's own disk has no space for what is on its way
    ├── DeviceError                 a card, its driver or what compiles for it failed
    │   ├── DeviceEncoderError      what encodes pictures on a card is missing or gave none
    │   └── DeviceLostError         a card that does nothing any more until the process ends
    ├── RenderCancelledError        superseded, past its deadline, or its client has gone
    ├── ProtocolError               a stream message that breaks the protocol
    │   ├── HelloTimeoutError       none came in time
    │   ├── TooManyMessagesError    more a second than a session may send
    │   └── TakenOverError          the session goes on by another connection
    ├── UnauthenticatedError        no token, or not the right one
    ├── DrainingError               the server is shutting down
    └── StartupError                a port in use, an option that makes no sense

No gRPC or HTTP code is in here: ``render.service.status`` maps each class once.

A message never holds patient data: no names, ids, dates or accession numbers. File names may be patient
names, so a message shown to clients has paths relative to the root at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class VoxelcastError(Exception):
    """Base of all errors that Voxelcast raises on purpose.

    Parameters
    ----------
    message
        One line: what, where, and the measured value.
    details
        The same figures for programs. Values are numbers, strings or lists of strings.

    Attributes
    ----------
    reason
        A stable identifier in upper snake case, sent to clients.
    """

    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, object] = details

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process boundaries (ingest workers); the default pickling loses keyword arguments.
        return _rebuild, (type(self), self.message, dict(self.details))


def _rebuild(kind: type[VoxelcastError], message: str, details: dict[str, object]) -> VoxelcastError:
    return kind(message, **details)


class InvalidViewError(VoxelcastError):
    """A View that can't be drawn. ``details["field"]`` names the part."""

    reason = "INVALID_VIEW"


class InvalidArgumentError(VoxelcastError):
    """An argument that breaks its contract. ``details["field"]`` names it."""

    reason = "INVALID_ARGUMENT"


class UnsupportedError(VoxelcastError):
    """Defined by the protocol, but not built."""

    reason = "UNSUPPORTED"


class SourceError(VoxelcastError):
    """Something about the files that a volume is to come from."""

    reason = "SOURCE"


class PathError(SourceError):
    """No such path, or one outside the served roots (which is not said apart)."""

    reason = "PATH_NOT_FOUND"


class UnreadableFileError(SourceError):
    """A file that is truncated, malformed or not DICOM."""

    reason = "FILE_UNREADABLE"


class CodecError(SourceError):
    """Pixel data that can't be decoded; the transfer syntax is named."""

    reason = "CODEC"


class NoVolumeError(SourceError):
    """Nothing there that can be shown."""

    reason = "NO_VOLUME"


class NotAVolumeError(SourceError):
    """A series that makes no volume; the message has the measured reason."""

    reason = "NOT_A_VOLUME"


class AmbiguousSeriesError(SourceError):
    """Several candidates. ``details["candidates"]`` lists them: ``series UID: ...`` or ``volume N: ...``."""

    reason = "AMBIGUOUS_SERIES"


class VolumeNotFoundError(VoxelcastError):
    """No volume of this id."""

    reason = "VOLUME_NOT_FOUND"


class LeaseNotFoundError(VolumeNotFoundError):
    """No lease of this id: it was released, or not used for too long."""

    reason = "LEASE_NOT_FOUND"


class BudgetExceededError(VoxelcastError):
    """A volume that can't be made resident: ``needed_bytes``, ``budget_bytes``, ``pinned_bytes`` in the details."""

    reason = "BUDGET_EXCEEDED"


class DeviceMemoryError(BudgetExceededError):
    """A card has no memory left, even after what was kept for later has been freed."""


class DiskFullError(VoxelcastError):
    """The server's own disk has no space, or its user no quota, for what is on its way."""

    reason = "DISK_FULL"


class DeviceError(VoxelcastError):
    """A card, its driver or what compiles for it failed; ``details["device"]`` names it."""


class DeviceEncoderError(DeviceError):
    """What encodes pictures on a card is missing, or gave none: they are encoded on the CPU then."""


class DeviceLostError(DeviceError):
    """A card that does nothing any more until the process ends: a CUDA error that sticks."""


class RenderCancelledError(VoxelcastError):
    """The frame was given up: superseded, past its deadline, or nobody is there to see it."""

    reason = "CANCELLED"


class ProtocolError(VoxelcastError):
    """A stream message that breaks the protocol."""

    reason = "PROTOCOL"


class HelloTimeoutError(ProtocolError):
    """A stream whose client did not say hello in time."""

    reason = "HELLO_TIMEOUT"


class TooManyMessagesError(ProtocolError):
    """A stream whose client sends more messages a second than a session may."""

    reason = "TOO_MANY_MESSAGES"


class TakenOverError(ProtocolError):
    """A stream whose client has come back by another connection."""

    reason = "TAKEN_OVER"


class UnauthenticatedError(VoxelcastError):
    """No token, or not the right one."""

    reason = "UNAUTHENTICATED"


class DrainingError(VoxelcastError):
    """The server is shutting down and takes no new work."""

    reason = "DRAINING"


class StartupError(VoxelcastError):
    """The server can't start as told; the message names the flag."""

    reason = "STARTUP"

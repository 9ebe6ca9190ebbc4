"""The errors that the client raises.

::

    VoxelcastError
    ├── InvalidArgumentError      an argument or a view that breaks its contract; also a ValueError
    ├── NotFoundError             no such volume, lease or path; also a LookupError
    ├── SourceError               files there, but no volume that could be shown
    │   └── AmbiguousSeriesError  several candidates and none named
    ├── ResourceExhaustedError    the server has no room for this now
    │   └── BudgetExceededError   a volume that can't fit beside what is pinned: the figures
    ├── UnsupportedError          defined by the protocol, not built in this server; also a NotImplementedError
    ├── UnauthenticatedError      no token, or not the right one; also a PermissionError
    ├── UnavailableError          no server there, or one that is shutting down; also a ConnectionError
    ├── DeadlineExceededError     ``timeout_s`` has passed; also a TimeoutError
    ├── RequestCancelledError     the call was given up, here or by the server
    ├── ProtocolError             an answer that breaks the protocol: a wrong checksum, chunks out of order
    └── ServerError               the server failed in a way it has no name for
"""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from google.protobuf.message import DecodeError

from render.v1.render_service_pb2 import ErrorDetail

ERROR_DETAIL_KEY = "render-error-bin"
"""Trailing metadata entry of a failed call: an ErrorDetail."""


SCAN_INTERVAL_S = 1.0
"""Between two tries to find a volume that may come."""
LEASE_NOT_FOUND = "LEASE_NOT_FOUND"
"""Reason of an error about a lease that was released, or not used for too long."""
INVALID_ARGUMENT = "INVALID_ARGUMENT"
"""Reason of an error about an argument; on a stream without a view also of a share that nobody knows."""
VOLUME_NOT_FOUND = "VOLUME_NOT_FOUND"
"""Reason of an error about a volume that the server does not know: yet, where it is still scanning its roots."""


class VoxelcastError(Exception):
    """Base of all errors of the client.

    Parameters
    ----------
    message
        One line: what, where, and the measured value.
    reason
        The server's stable identifier in upper snake case, ``BUDGET_EXCEEDED`` say.
    figures
        The figures of the message, as text, by name.
    """

    def __init__(self, message: str, *, reason: str = "", figures: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.figures: Mapping[str, str] = dict(figures or {})


class InvalidArgumentError(VoxelcastError, ValueError):
    """An argument or a view that breaks its contract; ``figures["field"]`` names it where the server says so."""


class NotFoundError(VoxelcastError, LookupError):
    """No such volume, lease, or path below the served roots."""

    @property
    def may_come(self) -> bool:
        """Whether the server still reads its folders, as after a restart, and may find it."""
        return self.figures.get("scanning") == "true"


class SourceError(VoxelcastError):
    """Files that can't be read, or that make no volume: the message has the measured reason."""


class AmbiguousSeriesError(SourceError):
    """Several series or volumes; name one with ``series`` or ``volume_index``."""

    @property
    def candidates(self) -> list[str]:
        """The candidates, a line each: ``series UID: ...``, or ``volume N: ...`` of one series, with the volumes' ids.

        The UID is for ``series``, N for ``volume_index``; an id opens its volume by itself.
        """
        return self.figures.get("candidates", "").splitlines()

    def __str__(self) -> str:
        return "\n  ".join([self.message, *self.candidates])


class ResourceExhaustedError(VoxelcastError):
    """The server has no room for this now."""


class BudgetExceededError(ResourceExhaustedError):
    """A volume that can't fit beside what is pinned.

    ``figures`` holds ``needed_bytes``, ``budget_bytes`` and ``pinned_bytes``.
    """


class UnsupportedError(VoxelcastError, NotImplementedError):
    """Defined by the protocol, but not built in this server."""


class UnauthenticatedError(VoxelcastError, PermissionError):
    """No token, or not the right one."""


class UnavailableError(VoxelcastError, ConnectionError):
    """No server there, or one that is shutting down. Trying again later may help."""


class DeadlineExceededError(VoxelcastError, TimeoutError):
    """The call took longer than its ``timeout_s``."""


class RequestCancelledError(VoxelcastError):
    """The call was given up before its answer was there."""


class ProtocolError(VoxelcastError):
    """An answer that breaks the protocol."""


class ServerError(VoxelcastError):
    """The server failed in a way it has no name for."""


_BY_REASON: dict[str, type[VoxelcastError]] = {
    "INVALID_VIEW": InvalidArgumentError,
    INVALID_ARGUMENT: InvalidArgumentError,
    "UNSUPPORTED": UnsupportedError,
    "SOURCE": SourceError,
    "PATH_NOT_FOUND": NotFoundError,
    "FILE_UNREADABLE": SourceError,
    "CODEC": SourceError,
    "NO_VOLUME": SourceError,
    "NOT_A_VOLUME": SourceError,
    "AMBIGUOUS_SERIES": AmbiguousSeriesError,
    VOLUME_NOT_FOUND: NotFoundError,
    LEASE_NOT_FOUND: NotFoundError,
    "BUDGET_EXCEEDED": BudgetExceededError,
    "DISK_FULL": ResourceExhaustedError,
    "CANCELLED": RequestCancelledError,
    "PROTOCOL": ProtocolError,
    "HELLO_TIMEOUT": ProtocolError,
    "TOO_MANY_MESSAGES": ResourceExhaustedError,
    "TAKEN_OVER": ProtocolError,
    "UNAUTHENTICATED": UnauthenticatedError,
    "DRAINING": UnavailableError,
}

_BY_STATUS: dict[grpc.StatusCode, type[VoxelcastError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: SourceError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.UNIMPLEMENTED: UnsupportedError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: UnauthenticatedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.CANCELLED: RequestCancelledError,
}


def from_reason(reason: str, message: str, figures: Mapping[str, str] | None = None) -> VoxelcastError:
    """Return the error that a stream's ``StreamError`` stands for."""
    return _BY_REASON.get(reason, ServerError)(message, reason=reason, figures=figures)


def from_rpc(error: grpc.RpcError, address: str) -> VoxelcastError:
    """Return the error that a failed call stands for.

    The status code decides how the call ended (a deadline that passed here carries no detail of the server); within
    it the server's reason picks the class.

    Parameters
    ----------
    error
        As grpc or grpc.aio raised it.
    address
        Of the server, for the message of a failed connection.
    """
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return ServerError(str(error))
    status, message = error.code(), error.details() or ""
    detail = _error_detail(error)
    figures = dict(detail.figures)
    if status is grpc.StatusCode.UNAVAILABLE and not detail.reason:
        message = f"no connection to {address}: {message}"
    kind = _BY_STATUS.get(status, ServerError)
    if status not in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED):
        kind = _BY_REASON.get(detail.reason, kind)
    return kind(message or status.name, reason=detail.reason or status.name, figures=figures)


def _error_detail(error: grpc.Call | grpc.aio.AioRpcError) -> ErrorDetail:
    for key, value in error.trailing_metadata() or ():
        if key == ERROR_DETAIL_KEY and isinstance(value, bytes):
            try:
                return ErrorDetail.FromString(value)
            except DecodeError:  # of a proxy, or of a later version: the status code says enough
                break
    return ErrorDetail()

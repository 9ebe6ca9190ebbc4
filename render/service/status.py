"""What each error means to clients: one table from error class to gRPC and HTTP status, and nowhere else.

A class that is not in the table has its parent's status.
"""

from __future__ import annotations

from http import HTTPStatus

import grpc

from render.errors import (
    AmbiguousSeriesError,
    BudgetExceededError,
    DiskFullError,
    DrainingError,
    InvalidArgumentError,
    InvalidViewError,
    PathError,
    ProtocolError,
    RenderCancelledError,
    SourceError,
    StartupError,
    TakenOverError,
    TooManyMessagesError,
    UnauthenticatedError,
    UnsupportedError,
    VolumeNotFoundError,
    VoxelcastError,
)

_STATUS: dict[type[VoxelcastError], tuple[grpc.StatusCode, HTTPStatus]] = {
    VoxelcastError: (grpc.StatusCode.INTERNAL, HTTPStatus.INTERNAL_SERVER_ERROR),
    InvalidViewError: (grpc.StatusCode.INVALID_ARGUMENT, HTTPStatus.BAD_REQUEST),
    InvalidArgumentError: (grpc.StatusCode.INVALID_ARGUMENT, HTTPStatus.BAD_REQUEST),
    UnsupportedError: (grpc.StatusCode.UNIMPLEMENTED, HTTPStatus.NOT_IMPLEMENTED),
    SourceError: (grpc.StatusCode.FAILED_PRECONDITION, HTTPStatus.UNPROCESSABLE_ENTITY),
    PathError: (grpc.StatusCode.NOT_FOUND, HTTPStatus.NOT_FOUND),
    AmbiguousSeriesError: (grpc.StatusCode.FAILED_PRECONDITION, HTTPStatus.CONFLICT),
    VolumeNotFoundError: (grpc.StatusCode.NOT_FOUND, HTTPStatus.NOT_FOUND),
    BudgetExceededError: (grpc.StatusCode.RESOURCE_EXHAUSTED, HTTPStatus.INSUFFICIENT_STORAGE),
    DiskFullError: (grpc.StatusCode.RESOURCE_EXHAUSTED, HTTPStatus.INSUFFICIENT_STORAGE),
    RenderCancelledError: (grpc.StatusCode.CANCELLED, HTTPStatus.SERVICE_UNAVAILABLE),
    ProtocolError: (grpc.StatusCode.INVALID_ARGUMENT, HTTPStatus.BAD_REQUEST),
    TooManyMessagesError: (grpc.StatusCode.RESOURCE_EXHAUSTED, HTTPStatus.TOO_MANY_REQUESTS),
    TakenOverError: (grpc.StatusCode.ABORTED, HTTPStatus.CONFLICT),
    UnauthenticatedError: (grpc.StatusCode.UNAUTHENTICATED, HTTPStatus.UNAUTHORIZED),
    DrainingError: (grpc.StatusCode.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE),
    StartupError: (grpc.StatusCode.INTERNAL, HTTPStatus.INTERNAL_SERVER_ERROR),
}

INTERNAL_MESSAGE = "internal error; the server's log has it"
"""All that a client learns of an error that was not raised on purpose: its text could hold anything."""


def _entry(error: BaseException) -> tuple[grpc.StatusCode, HTTPStatus]:
    for kind in type(error).__mro__:
        if kind in _STATUS:
            return _STATUS[kind]
    return _STATUS[VoxelcastError]


def grpc_code(error: BaseException) -> grpc.StatusCode:
    """Return the gRPC status of an error; INTERNAL if it is none of ours."""
    return _entry(error)[0]


def http_status(error: BaseException) -> HTTPStatus:
    """Return the HTTP status of an error; 500 if it is none of ours."""
    return _entry(error)[1]


def client_message(error: BaseException) -> str:
    """Return the line that a client may read: our own messages, a generic one for the rest."""
    return " ".join(wire_text(error.message).split()) if isinstance(error, VoxelcastError) else INTERNAL_MESSAGE


def wire_text(text: str) -> str:
    """Return text that UTF-8 can carry: file names and DICOM strings may hold stray bytes (as surrogates)."""
    return text.encode("utf-8", "replace").decode()


def reason(error: BaseException) -> str:
    """Return the stable identifier of an error, upper snake case."""
    return error.reason if isinstance(error, VoxelcastError) else VoxelcastError.reason

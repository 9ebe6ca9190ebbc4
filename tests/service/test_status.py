from __future__ import annotations

from http import HTTPStatus

import grpc
import pytest

from render import errors
from render.service.interceptors import error_detail
from render.service.status import client_message, grpc_code, http_status, reason

GRPC = grpc.StatusCode


def subclasses(kind: type[BaseException]) -> set[type[BaseException]]:
    return {kind}.union(*(subclasses(child) for child in kind.__subclasses__()))


@pytest.mark.parametrize(
    ("kind", "code", "http"),
    [
        (errors.InvalidViewError, GRPC.INVALID_ARGUMENT, 400),
        (errors.InvalidArgumentError, GRPC.INVALID_ARGUMENT, 400),
        (errors.ProtocolError, GRPC.INVALID_ARGUMENT, 400),
        (errors.UnsupportedError, GRPC.UNIMPLEMENTED, 501),
        (errors.PathError, GRPC.NOT_FOUND, 404),
        (errors.VolumeNotFoundError, GRPC.NOT_FOUND, 404),
        (errors.LeaseNotFoundError, GRPC.NOT_FOUND, 404),
        (errors.UnreadableFileError, GRPC.FAILED_PRECONDITION, 422),
        (errors.CodecError, GRPC.FAILED_PRECONDITION, 422),
        (errors.NoVolumeError, GRPC.FAILED_PRECONDITION, 422),
        (errors.NotAVolumeError, GRPC.FAILED_PRECONDITION, 422),
        (errors.AmbiguousSeriesError, GRPC.FAILED_PRECONDITION, 409),
        (errors.BudgetExceededError, GRPC.RESOURCE_EXHAUSTED, 507),
        (errors.DiskFullError, GRPC.RESOURCE_EXHAUSTED, 507),
        (errors.RenderCancelledError, GRPC.CANCELLED, 503),
        (errors.HelloTimeoutError, GRPC.INVALID_ARGUMENT, 400),
        (errors.TooManyMessagesError, GRPC.RESOURCE_EXHAUSTED, 429),
        (errors.TakenOverError, GRPC.ABORTED, 409),
        (errors.UnauthenticatedError, GRPC.UNAUTHENTICATED, 401),
        (errors.DrainingError, GRPC.UNAVAILABLE, 503),
        (errors.StartupError, GRPC.INTERNAL, 500),
    ],
)
def test_each_error_has_one_status(kind: type[errors.VoxelcastError], code: grpc.StatusCode, http: int) -> None:
    assert (grpc_code(kind("x")), http_status(kind("x"))) == (code, HTTPStatus(http))


def test_a_subclass_inherits_its_parents_status() -> None:
    class TruncatedError(errors.UnreadableFileError):
        pass

    assert grpc_code(TruncatedError("x")) is GRPC.FAILED_PRECONDITION


def test_every_error_that_a_client_can_cause_is_in_the_table() -> None:
    internal = {kind for kind in subclasses(errors.VoxelcastError) if grpc_code(kind.__new__(kind)) is GRPC.INTERNAL}
    server_side = {errors.VoxelcastError, errors.StartupError, errors.DeviceError, errors.DeviceLostError}
    server_side.add(errors.DeviceEncoderError)
    assert internal == server_side


def test_what_is_not_ours_says_nothing() -> None:
    error = KeyError("DOE^JANE")
    assert grpc_code(error) is GRPC.INTERNAL
    assert http_status(error) is HTTPStatus.INTERNAL_SERVER_ERROR
    assert "DOE" not in client_message(error)
    assert reason(error) == "INTERNAL"
    assert dict(error_detail(error).figures) == {}


def test_detail_has_the_figures_as_text() -> None:
    detail = error_detail(errors.BudgetExceededError("full", needed_bytes=12, budget_bytes=7, names=["a", "b"]))
    assert detail.reason == "BUDGET_EXCEEDED"
    assert dict(detail.figures) == {"needed_bytes": "12", "budget_bytes": "7", "names": "a\nb"}


def test_stray_bytes_and_line_breaks_do_not_reach_the_wire() -> None:
    error = errors.UnreadableFileError("b\udce4d name\nhere", path="b\udce4d")
    assert client_message(error) == "b?d name here"
    assert error_detail(error).figures["path"] == "b?d"


def test_detail_fits_into_trailing_metadata() -> None:
    lines = [f"series {n}: {'x' * 100}" for n in range(100)]
    kept = error_detail(errors.AmbiguousSeriesError("x", candidates=lines)).figures["candidates"].splitlines()
    assert 15 < len(kept) < 30
    assert kept[:-1] == lines[: len(kept) - 1]
    assert kept[-1] == f"... and {101 - len(kept)} more"
    error = errors.AmbiguousSeriesError("x", candidates=["ä" * 200] * 1000, path="ü" * 5000, field="é")
    detail = error_detail(error)
    assert detail.figures["candidates"].startswith("ääää")
    assert len(detail.SerializeToString()) < 4000

"""What stands before every RPC: the token, and the one place where an error becomes a status."""

from __future__ import annotations

import contextlib
import hmac
import inspect
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio

from render.errors import UnauthenticatedError, VoxelcastError
from render.service.status import client_message, grpc_code, reason, wire_text
from render.v1 import render_service_pb2

logger = logging.getLogger(__name__)

ERROR_METADATA_KEY = "render-error-bin"
MAX_MESSAGE_BYTES = 1000
MAX_FIGURE_BYTES = 300
MAX_FIGURES_BYTES = 2500
"""A client drops trailers of more than 8 KiB; a message triples when escaped, and binary metadata grows by a third."""

_OWN_PREFIX = "/render.v1."
_OPEN_PREFIX = "/grpc.health.v1.Health/"
_SCHEME = b"Bearer "

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


def error_detail(error: BaseException) -> render_service_pb2.ErrorDetail:
    """Return an error's reason and figures, cut to what fits into trailing metadata."""
    detail = render_service_pb2.ErrorDetail(reason=reason(error))
    room = MAX_FIGURES_BYTES
    for name, value in error.details.items() if isinstance(error, VoxelcastError) else ():
        if isinstance(value, list | tuple):
            text = _whole_lines([wire_text(str(line)) for line in value], room)
        else:
            text = _cut(wire_text(str(value)), min(room, MAX_FIGURE_BYTES))
        if text:
            detail.figures[name] = text
            room -= len(text.encode()) + len(name)
    return detail


def _whole_lines(lines: Sequence[str], limit: int) -> str:
    """Return the lines that fit, and how many more there are."""
    text = "\n".join(lines)
    kept = len(lines)
    while kept and len(text.encode()) > limit:
        kept -= 1
        text = "\n".join([*lines[:kept], f"... and {len(lines) - kept} more"])
    return _cut(text, limit)


def _cut(text: str, limit: int) -> str:
    data = text.encode()
    return text if len(data) <= limit else data[: max(0, limit)].decode(errors="ignore")


async def _abort(context: Context, method: str, error: Exception) -> NoReturn:
    if not isinstance(error, VoxelcastError):
        logger.error("%s failed", method, exc_info=error)
    await context.abort(
        grpc_code(error),
        _cut(client_message(error), MAX_MESSAGE_BYTES),
        ((ERROR_METADATA_KEY, error_detail(error).SerializeToString()),),
    )
    raise AssertionError("abort raises")


Answered: TypeAlias = Callable[[str, str, float], None]
"""``answered(method, status, seconds)``: the names of an RPC and of a status code."""


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turn what the RPCs of ``render.v1`` raise into a status, a line and an ErrorDetail.

    An error that is not ours is logged with its traceback and reaches the client as INTERNAL without its text.

    Parameters
    ----------
    answered
        Told of each call that has ended; CANCELLED where its client has gone.
    """

    def __init__(self, answered: Answered = lambda method, status, seconds: None) -> None:
        self._answered = answered

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the handler."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(_OWN_PREFIX):
            return handler
        inner: Any = _function_of(handler)
        name = method.rpartition("/")[2]

        @contextlib.asynccontextmanager
        async def told(context: Context) -> AsyncIterator[None]:
            started, code = time.monotonic(), grpc.StatusCode.CANCELLED
            try:
                yield
                code = grpc.StatusCode.OK
            except grpc.aio.AbortError:
                code = grpc.StatusCode.ABORTED
                raise
            except Exception as error:
                code = grpc_code(error)
                await _abort(context, method, error)
            finally:
                self._answered(name, code.name, time.monotonic() - started)

        async def unary(request: Any, context: Context) -> Any:
            async with told(context):
                return await inner(request, context)

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            async with told(context), contextlib.aclosing(inner(request, context)) as responses:
                async for response in responses:
                    yield response

        return _rebuilt(handler, stream if inspect.isasyncgenfunction(inner) else unary)


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Refuse every RPC without the token, but for health checks.

    Parameters
    ----------
    token
        What clients must send as metadata ``authorization: Bearer <token>``.
    answered
        Told of each call that is refused.
    """

    def __init__(self, token: str, answered: Answered = lambda method, status, seconds: None) -> None:
        self._expected = _SCHEME + token.encode()
        self._answered = answered

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Let the RPC through, or answer UNAUTHENTICATED."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_OPEN_PREFIX):
            return handler
        given = _authorization(handler_call_details)
        if hmac.compare_digest(given, self._expected):
            return handler
        is_token = given.startswith(_SCHEME) and given != _SCHEME
        refusal = "wrong token" if is_token else "a token is needed: authorization: Bearer <token>"

        async def unary(_: Any, context: Context) -> Any:
            self._answered(method.rpartition("/")[2], grpc.StatusCode.UNAUTHENTICATED.name, 0.0)
            await _abort(context, method, UnauthenticatedError(refusal))

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            yield await unary(request, context)

        return _rebuilt(handler, stream if handler.response_streaming else unary)


def _authorization(details: grpc.HandlerCallDetails) -> bytes:
    for key, value in details.invocation_metadata or ():
        if key == "authorization":
            return value if isinstance(value, bytes) else value.encode()
    return b""


def _function_of(handler: Any) -> Any:
    return handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream


def _rebuilt(handler: Any, function: Any) -> Handler:
    make: Any = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    rebuilt: Handler = make(function, handler.request_deserializer, handler.response_serializer)
    return rebuilt

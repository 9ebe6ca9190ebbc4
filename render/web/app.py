"""The HTTP and websocket shell: the page, the stream, DICOMweb, health and metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from starlette.websockets import WebSocket

import render
from render.engine import Engine
from render.errors import DrainingError, StartupError, UnauthenticatedError, VoxelcastError
from render.service.status import client_message, http_status, reason
from render.stream.contract import CloseCode
from render.stream.session import Session, SessionRegistry
from render.v1 import stream_pb2
from render.web.dicomweb import dicomweb_routes
from render.web.metrics import Metrics
from render.web.security import Door, token_check
from render.web.transport import WebSocketTransport

logger = logging.getLogger(__name__)


def page_folder() -> Path:
    """Return where the page's files are: in the installed package, else in the checkout.

    Raises
    ------
    StartupError
        If they are in neither.
    """
    installed = Path(__file__).with_name("page")
    checkout = Path(__file__).parents[2] / "client" / "web"
    for folder in (installed, checkout):
        if folder.is_dir():
            return folder
    raise StartupError("the page's files are missing from the installation")


class _PageFiles(StaticFiles):
    """Static files that browsers ask for anew each time, which an ETag makes cheap: a new server brings a new page."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


@dataclass(frozen=True)
class Compiling:
    """How far a server is with the kernels of its renderer: `done` of `total`, and the seconds that those took."""

    done: int
    total: int
    seconds: float


def create_app(
    engine: Engine,
    *,
    sessions: SessionRegistry,
    allowed_hosts: Iterable[str] = (),
    allowed_origins: Iterable[str] = (),
    token: str | None = None,
    waiting_for: Callable[[], Sequence[str]] | None = None,
    compiling: Callable[[], Compiling | None] | None = None,
    metrics: Metrics | None = None,
) -> Starlette:
    """Make the ASGI application.

    Parameters
    ----------
    engine
        Opens and renders.
    sessions
        Where streams are counted.
    allowed_hosts, allowed_origins
        Besides the loopback names, and the server's own origin.
    token
        That clients must present, everywhere but for the page's files and ``/healthz``; None where anybody may come.
    waiting_for
        What the server is not ready without, for ``/readyz``; None or empty once it is ready.
    compiling
        What a picture may wait for, for ``/progress``; None for nothing.
    metrics
        That ``/metrics`` tells; of this application alone where None.
    """
    told = Metrics(engine, sessions) if metrics is None else metrics
    check_token = token_check(token)

    def check_bearer(request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        check_token(given.strip() if scheme.lower() == "bearer" else "")

    async def healthz(request: Request) -> Response:
        return JSONResponse({"alive": True, "version": render.__version__})

    async def readyz(request: Request) -> Response:
        check_bearer(request)
        missing = list(waiting_for()) if waiting_for is not None else []
        if sessions.is_draining:
            missing.append("draining")
        return JSONResponse({"ready": not missing, "waiting_for": missing}, 503 if missing else 200)

    async def progress(request: Request) -> Response:
        check_bearer(request)
        now = compiling() if compiling is not None else None
        return JSONResponse({"compiling": None if now is None else asdict(now)})

    async def metrics_text(request: Request) -> Response:
        check_bearer(request)
        return Response(told.text(), media_type=CONTENT_TYPE_LATEST)

    async def stream(websocket: WebSocket) -> None:
        await websocket.accept()
        transport = WebSocketTransport(websocket)
        try:
            session = Session(engine, transport, sessions=sessions, authenticate=check_token)
        except DrainingError as error:
            told = stream_pb2.StreamError(reason=error.reason, message=error.message)
            await transport.send(stream_pb2.ServerMessage(error=told))
            await transport.close(CloseCode.TRY_LATER, error.message)
            return
        await session.run()

    routes = [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/progress", progress),
        Route("/metrics", metrics_text),
        WebSocketRoute("/stream", stream),
        *dicomweb_routes(engine, check_bearer, told.answered),
        Mount("/", _PageFiles(directory=page_folder(), html=True)),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Door, allowed_hosts=tuple(allowed_hosts), allowed_origins=tuple(allowed_origins))],
        exception_handlers={VoxelcastError: _told, HTTPException: _refused},
    )


async def _told(request: Request, error: Exception) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, UnauthenticatedError) else None
    candidates = error.details.get("candidates") if isinstance(error, VoxelcastError) else None
    return _problem(http_status(error), reason(error), client_message(error), headers, candidates)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem(error.status_code, "HTTP", error.detail, error.headers)


def _problem(status: int, name: str, message: str, headers: object, candidates: object = None) -> Response:
    said = {"reason": name, "message": message} | ({"candidates": candidates} if candidates else {})
    return JSONResponse(said, int(status), headers)  # type: ignore[arg-type]

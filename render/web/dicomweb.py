"""DICOMweb's rendered resources (PS3.18 10.4.1.1): their routes, and what all answers have in common."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from http import HTTPStatus
from typing import Any, TypeAlias, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from render.engine import Engine
from render.errors import RenderCancelledError
from render.service.status import http_status
from render.web.rendered import RenderedVolumes
from render.web.rendered_images import RenderedImages

T = TypeVar("T")

PREFIX = "/dicomweb"
STUDY = "/studies/{study}"
SERIES = f"{STUDY}/series/{{series}}"
INSTANCE = f"{SERIES}/instances/{{instance}}"
FRAME = f"{INSTANCE}/frames/{{frame}}"
MAX_REQUESTS = 64
"""At a time; who comes next is asked to come again. The largest picture is 64 MiB before it is encoded."""

Answered: TypeAlias = Callable[[str, int, float], None]
"""``answered(resource, HTTP status, seconds)``"""
Respond: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]


def dicomweb_routes(engine: Engine, check_bearer: Callable[[Request], None], answered: Answered) -> list[Route]:
    """Return the routes of all resources at all levels.

    Parameters
    ----------
    engine
        Opens and renders.
    check_bearer
        Raises for a request that may not ask.
    answered
        Told of each answer.
    """
    door = _Door(check_bearer, answered)
    volumes, images = RenderedVolumes(engine), RenderedImages(engine)
    resources: tuple[tuple[str, Respond, tuple[str, ...]], ...] = (
        ("renderedmpr", volumes.plane, (STUDY, SERIES, INSTANCE)),
        ("rendered3d", volumes.whole, (STUDY, SERIES, INSTANCE)),
        ("rendered3D", volumes.whole, (STUDY, SERIES, INSTANCE)),  # the standard's text writes it both ways
        ("rendered", images.image, (INSTANCE, FRAME)),
        ("thumbnail", images.thumbnail, (STUDY, SERIES, INSTANCE, FRAME)),
    )
    routes = [
        Route(f"{PREFIX}{level}/{name}", door.guarding(name.lower(), respond))
        for name, respond, levels in resources
        for level in levels
    ]
    return [*routes, Route(PREFIX + "{rest:path}", door.guarding("other", _nothing_else))]


async def _nothing_else(request: Request) -> Response:
    """Tell who expects an archive that this is none."""
    raise HTTPException(
        404,
        "not served here: of a study, series or instance renderedmpr, rendered3d and thumbnail are, of an instance or "
        "frame rendered too; no search, no retrieval",
    )


class _Door:
    """Lets in who may ask, as many as there is room for, and notes how each was answered."""

    def __init__(self, check_bearer: Callable[[Request], None], answered: Answered) -> None:
        self._check_bearer = check_bearer
        self._answered = answered
        self._requests = 0

    def guarding(self, resource: str, respond: Respond) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint that answers by `respond`."""

        async def endpoint(request: Request) -> Response:
            started, status = time.monotonic(), int(HTTPStatus.INTERNAL_SERVER_ERROR)
            try:
                self._check_bearer(request)
                response = await self._with_room(request, respond)
                status = response.status_code
            except HTTPException as error:
                status = error.status_code
                raise
            except Exception as error:
                status = int(http_status(error))
                raise
            finally:
                self._answered(resource, status, time.monotonic() - started)
            response.headers["Vary"] = "Accept"
            return response

        return endpoint

    async def _with_room(self, request: Request, respond: Respond) -> Response:
        if self._requests >= MAX_REQUESTS:
            raise HTTPException(503, f"{MAX_REQUESTS} pictures are being drawn", {"Retry-After": "2"})
        self._requests += 1
        try:
            return await while_there(request, respond(request))
        finally:
            self._requests -= 1


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await work, and give it up once nobody waits for it any more.

    Raises
    ------
    RenderCancelledError
        If the client has gone.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise RenderCancelledError("the client has gone")
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

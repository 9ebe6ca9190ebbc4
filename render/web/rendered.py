"""Rendered volumes over DICOMweb: PS3.18's Rendered MPR and Rendered 3D Volume Resources (Supplement 228).

A request names a study, a series or an instance by its UIDs and gets one picture, or what was applied to make it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from http import HTTPStatus
from typing import Any, TypeAlias, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from render.catalog_entry import CatalogEntry
from render.encoding import Encoding, encode
from render.engine import Engine
from render.errors import InvalidArgumentError, RenderCancelledError, VolumeNotFoundError
from render.frame import PictureRequest
from render.service.status import http_status
from render.transfer import Window, WindowFunction
from render.view import RenderingMethod, View
from render.web.rendered_query import RenderedQuery, negotiate, read_query

T = TypeVar("T")

PREFIX = "/dicomweb"
LEVELS = ("/studies/{study}", "/series/{series}", "/instances/{instance}")
RESOURCES = {"renderedmpr": True, "rendered3d": False, "rendered3D": False}
"""Names of resources, and whether they are planes. The standard's text writes the last both ways."""
ENCODINGS = {"image/jpeg": Encoding.JPEG, "image/png": Encoding.PNG}
METADATA_TYPES = ("application/dicom+json", "application/json")
MAX_REQUESTS = 64
"""At a time; who comes next is asked to come again. The largest picture is 64 MiB before it is encoded."""
RETRY_SECONDS = "2"
MAX_CANDIDATES = 40
"""Volumes that an error lists."""


Answered: TypeAlias = Callable[[str, int, float], None]
"""``answered(resource, HTTP status, seconds)``"""


def rendered_routes(engine: Engine, check_bearer: Callable[[Request], None], answered: Answered) -> list[Route]:
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
    service = _Service(engine, check_bearer, answered)
    targets = ["".join(LEVELS[: n + 1]) for n in range(len(LEVELS))]
    return [
        Route(f"{PREFIX}{target}/{name}", service.planes if is_mpr else service.wholes)
        for target in targets
        for name, is_mpr in RESOURCES.items()
    ]


class _Service:
    """Answers requests."""

    def __init__(self, engine: Engine, check_bearer: Callable[[Request], None], answered: Answered) -> None:
        self._engine = engine
        self._check_bearer = check_bearer
        self._answered = answered
        self._requests = 0

    async def planes(self, request: Request) -> Response:
        """Answer for a Rendered MPR Volume Resource."""
        return await self._answer(request, is_mpr=True)

    async def wholes(self, request: Request) -> Response:
        """Answer for a Rendered 3D Volume Resource."""
        return await self._answer(request, is_mpr=False)

    async def _answer(self, request: Request, *, is_mpr: bool) -> Response:
        started, status = time.monotonic(), int(HTTPStatus.INTERNAL_SERVER_ERROR)
        try:
            response = await self._respond(request, is_mpr=is_mpr)
            status = response.status_code
        except HTTPException as error:
            status = error.status_code
            raise
        except Exception as error:
            status = int(http_status(error))
            raise
        finally:
            self._answered("renderedmpr" if is_mpr else "rendered3d", status, time.monotonic() - started)
        return response

    async def _respond(self, request: Request, *, is_mpr: bool) -> Response:
        self._check_bearer(request)
        query = read_query(request.query_params, is_mpr=is_mpr)
        accepted = request.query_params.get("accept", request.headers.get("accept"))
        media = negotiate(accepted, METADATA_TYPES if query.wants_metadata else tuple(ENCODINGS))
        entry = self._find(query=query, **request.path_params)
        view = query.picture.view(entry.volume_id, entry.geometry, entry.info)
        if self._requests >= MAX_REQUESTS:
            raise HTTPException(503, f"{MAX_REQUESTS} pictures are being drawn", {"Retry-After": RETRY_SECONDS})
        self._requests += 1
        try:
            work = self._metadata(view, media) if query.wants_metadata else self._picture(view, media, query)
            response = await _while_there(request, work)
        finally:
            self._requests -= 1
        response.headers["Vary"] = "Accept"
        if query.warnings:
            response.headers["Warning"] = f'299 voxelcast "{"; ".join(query.warnings)}"'
        return response

    def _find(self, *, query: RenderedQuery, study: str, series: str = "", instance: str = "") -> CatalogEntry:
        """Return the one volume that is meant.

        Raises
        ------
        VolumeNotFoundError
            If there is nothing of these UIDs.
        HTTPException
            503 if there may be, once the folders are read.
        InvalidArgumentError
            If what is there makes no volume, or several: ``details["candidates"]`` lists them.
        """
        is_scanning = self._engine.is_scanning  # before the look: a scan that ends between the two has left its volumes
        there = [
            entry
            for entry in self._engine.catalog.entries()
            if entry.info.study_uid == study and (not series or entry.info.series_uid == series)
        ]
        if instance:
            # All of a volume that is the target must be in it: a slice of a volume is none.
            there = [entry for entry in there if {uid for uid, _ in entry.frames} == {instance}]
        if not there and is_scanning:
            raise HTTPException(503, "the folders are still being read", {"Retry-After": RETRY_SECONDS})
        if not there:
            raise VolumeNotFoundError("nothing here has these UIDs, or nothing of it can be drawn")
        if query.reference is not None:
            return _plain([entry for entry in there if _holds(entry, *query.reference)])
        return _plain([entry for entry in there if entry.is_listed])

    async def _picture(self, view: View, media: str, query: RenderedQuery) -> Response:
        encoding, quality = ENCODINGS[media], query.jpeg_quality
        volume_id = view.layers[0].volume_id
        with await self._engine.open(volume_id, holder="rendered request") as lease:
            picture = PictureRequest(quality) if encoding is Encoding.JPEG else None
            frame = await self._engine.render(view, {volume_id: lease}, picture=picture)
        encoded = await asyncio.to_thread(encode, frame, encoding, jpeg_quality=quality)
        return Response(encoded.payload, media_type=media)

    async def _metadata(self, view: View, media: str) -> Response:
        layer = view.layers[0]
        with await self._engine.open(layer.volume_id, holder="rendered request") as lease:
            window = layer.window or self._engine.describe(lease).default_window
        return JSONResponse([response_module(view, window)], media_type=media)


def response_module(view: View, window: Window) -> dict[str, Any]:
    """Return the Rendered Volume Response Module (PS3.18 K.1) in DICOM's JSON.

    Parameters
    ----------
    view
        As it is drawn: a plane where its `slab_mm` is not None.
    window
        That applies to the values. A VOI LUT of the source has no place in the module and is left out.
    """
    camera, method = view.camera, view.rendering_method
    module: dict[str, Any] = {
        "00720510": ("CS", ["3D_RENDERING" if view.slab_mm is None else "MPR"]),
        "0070120D": ("CS", [method.name]),
        "00701603": ("FD", list(camera.position)),
        "00701604": ("FD", list(camera.look_at)),
        "00701605": ("FD", list(camera.up)),
    }
    if view.slab_mm:
        module["00701503"] = "FD", [view.slab_mm]
    if method is not RenderingMethod.VOLUME_RENDERED and window.function is not WindowFunction.VOI_LUT:
        module["00281050"] = "DS", [window.center]
        module["00281051"] = "DS", [window.width]
        module["00281056"] = "CS", [window.function.name]
    return {tag: {"vr": vr, "Value": value} for tag, (vr, value) in sorted(module.items())}


def _holds(entry: CatalogEntry, uid: str, frame: int | None) -> bool:
    if frame is not None:
        return (uid, frame) in entry.frames
    return any(uid == known for known, _ in entry.frames)


def _plain(entries: Sequence[CatalogEntry]) -> CatalogEntry:
    """Return the one volume among entries that is no single image and no scout."""
    stacks = [entry for entry in entries if entry.is_stack]
    if len(stacks) == 1:
        return stacks[0]
    if not stacks:
        raise InvalidArgumentError("no volume: single images, scouts, or none with that reference", field="target")
    raise InvalidArgumentError(
        f"{len(stacks)} volumes could be meant: name a series, or one of its instances as volumeinputreference",
        field="target",
        candidates=[_candidate(entry) for entry in stacks[:MAX_CANDIDATES]],
    )


def _candidate(entry: CatalogEntry) -> dict[str, Any]:
    uid, frame = min(entry.frames, default=("", 0))
    return {
        "series": entry.info.series_uid,
        "volume": entry.info.volume_index,
        "modality": entry.info.modality,
        "shape": entry.geometry.shape,
        "volumeinputreference": f"{uid},{frame}" if uid else "",
    }


async def _while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await work, and give it up once nobody waits for it any more."""
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

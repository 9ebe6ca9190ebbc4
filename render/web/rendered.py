"""Rendered volumes over DICOMweb: PS3.18's Rendered MPR and Rendered 3D Volume Resources (Supplement 228).

A request names a study, a series or an instance by its UIDs and gets one picture, or what was applied to make it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from render.catalog_entry import CatalogEntry
from render.encoding import Encoding, encode
from render.engine import Engine
from render.errors import InvalidArgumentError, VolumeNotFoundError
from render.frame import PictureRequest
from render.transfer import Window, WindowFunction
from render.view import RenderingMethod, View
from render.web.rendered_query import (
    PICTURE_TYPES,
    VolumeQuery,
    accepted_type,
    entries_of,
    read_volume_query,
    with_warnings,
)

METADATA_TYPES = ("application/dicom+json", "application/json")
MAX_CANDIDATES = 40
"""Volumes that an error lists."""


class RenderedVolumes:
    """Answers for volumes.

    Parameters
    ----------
    engine
        Opens and renders.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def plane(self, request: Request) -> Response:
        """Answer for a Rendered MPR Volume Resource."""
        return await self._answer(request, is_mpr=True)

    async def whole(self, request: Request) -> Response:
        """Answer for a Rendered 3D Volume Resource."""
        return await self._answer(request, is_mpr=False)

    async def _answer(self, request: Request, *, is_mpr: bool) -> Response:
        query = read_volume_query(request.query_params, is_mpr=is_mpr)
        media = accepted_type(request, METADATA_TYPES if query.wants_metadata else PICTURE_TYPES)
        entry = self._find(query, **request.path_params)
        view = query.picture.view(entry.volume_id, entry.geometry, entry.info)
        if query.wants_metadata:
            return with_warnings(await self._metadata(view, media), query.warnings)
        return with_warnings(await self._picture(view, media, query.jpeg_quality), query.warnings)

    def _find(self, query: VolumeQuery, study: str, series: str = "", instance: str = "") -> CatalogEntry:
        """Return the one volume that is meant.

        Raises
        ------
        VolumeNotFoundError, HTTPException
            As `entries_of`; the former also where an instance holds no volume.
        InvalidArgumentError
            If what is there makes no volume, or several: ``details["candidates"]`` lists them.
        """
        there = entries_of(self._engine, study, series)
        if instance:
            # All of a volume that is the target must be in it: a slice of a volume is none.
            there = [entry for entry in there if {uid for uid, _ in entry.frames} == {instance}]
            if not there:
                raise VolumeNotFoundError("no volume is in this instance alone")
        if query.reference is not None:
            return _plain([entry for entry in there if _holds(entry, *query.reference)])
        return _plain([entry for entry in there if entry.is_listed])

    async def _picture(self, view: View, media: str, jpeg_quality: int) -> Response:
        encoding = Encoding.PNG if media == "image/png" else Encoding.JPEG
        volume_id = view.layers[0].volume_id
        with await self._engine.open(volume_id, holder="rendered request") as lease:
            picture = PictureRequest(jpeg_quality) if encoding is Encoding.JPEG else None
            frame = await self._engine.render(view, {volume_id: lease}, picture=picture)
        encoded = await asyncio.to_thread(encode, frame, encoding, jpeg_quality=jpeg_quality)
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

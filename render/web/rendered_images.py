"""Single images over DICOMweb: PS3.18's Rendered Instances and Frames, and thumbnails. No voxel is made resident."""

from __future__ import annotations

import asyncio
import functools
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from render.dicom.instance import Instance
from render.dicom.plan import VolumePlan
from render.encoding import pictures
from render.engine import Engine
from render.errors import InvalidArgumentError, UnsupportedError, VolumeNotFoundError
from render.transfer import Window
from render.web.fitting import Region, fitted
from render.web.rendered_query import (
    PICTURE_TYPES,
    accepted_type,
    entries_of,
    read_image_query,
    with_warnings,
)

THUMBNAIL = Region(256, 256)
THUMBNAIL_QUALITY = 75


class RenderedImages:
    """Answers for images.

    Parameters
    ----------
    engine
        Knows what there is, and has workers that decode.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def image(self, request: Request) -> Response:
        """Answer for a rendered instance or frame."""
        query = read_image_query(request.query_params)
        media = accepted_type(request, PICTURE_TYPES)
        root, instance = self._find(request)
        number = _frame_number(request.path_params.get("frame"), instance)
        return with_warnings(
            await self._picture(root, instance, number, query.window, query.region, media, query.jpeg_quality),
            query.warnings,
        )

    async def thumbnail(self, request: Request) -> Response:
        """Answer for a thumbnail: of what is larger than a frame, its middle."""
        query = read_image_query(request.query_params)
        media = accepted_type(request, PICTURE_TYPES)
        if query.region is not None and query.region != Region(query.region.width_px, query.region.height_px):
            raise InvalidArgumentError("viewport of a thumbnail: width,height needed", field="viewport")
        if "instance" in request.path_params:
            root, instance = self._find(request)
            frame = request.path_params.get("frame")
            number = _frame_number(frame, instance) if frame else instance.number_of_frames // 2 + 1
        else:
            plan = max(self._plans(request), key=lambda plan: (not plan.is_localizer, plan.shape[0]))
            middle = plan.slices[len(plan.slices) // 2]
            root, instance, number = plan.root, middle.instance, middle.frame.number
        return await self._picture(root, instance, number, None, query.region or THUMBNAIL, media, THUMBNAIL_QUALITY)

    def _plans(self, request: Request) -> list[VolumePlan]:
        """Return what there is to decode of the study or series.

        Raises
        ------
        VolumeNotFoundError, HTTPException
            As `entries_of`.
        """
        target = request.path_params
        entries = entries_of(self._engine, target["study"], target.get("series", ""))
        plans = [entry.source for entry in entries if isinstance(entry.source, VolumePlan)]
        if not plans:
            raise VolumeNotFoundError("nothing here has these UIDs, or nothing of it can be drawn")
        return plans

    def _find(self, request: Request) -> tuple[Path, Instance]:
        """Return the root and the file of an instance."""
        uid = request.path_params["instance"]
        found = {
            (plan.root, source.instance.path): source.instance
            for plan in self._plans(request)
            for source in plan.slices
            if source.instance.sop_instance_uid == uid
        }
        if not found:
            raise VolumeNotFoundError("no such instance in the series, or it can't be drawn")
        if len(found) > 1:
            raise InvalidArgumentError(f"{len(found)} different files have this SOP Instance UID", field="target")
        (((root, _), instance),) = found.items()
        return root, instance

    async def _picture(
        self,
        root: Path,
        instance: Instance,
        number: int,
        window: Window | None,
        region: Region | None,
        media: str,
        jpeg_quality: int,
    ) -> Response:
        read = functools.partial(self._engine.catalog.ingest.picture, root, instance, number, window)

        def draw() -> bytes:
            picture = read()
            pixels = picture.pixels if region is None else fitted(picture.pixels, region, picture.aspect)
            return pictures.png(pixels) if media == "image/png" else pictures.jpeg(pixels, jpeg_quality)

        return Response(await asyncio.to_thread(draw), media_type=media)


def _frame_number(text: str | None, instance: Instance) -> int:
    count = instance.number_of_frames
    if text is None:
        if count > 1:
            raise UnsupportedError(f"all {count} frames at once: name one as .../frames/1/rendered", field="target")
        return 1
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise InvalidArgumentError(f"frames {text[:40]!r}: one number, from 1, needed", field="target")
    if int(text) > count:
        raise VolumeNotFoundError(f"no frame {text} of {count}")
    return int(text)

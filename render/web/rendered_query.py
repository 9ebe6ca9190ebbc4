"""What a request for a rendered resource asks for (PS3.18 8.3.5): parameters, Accept header and target, read."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from render.catalog_entry import CatalogEntry
from render.engine import Engine
from render.errors import InvalidArgumentError, UnsupportedError, VolumeNotFoundError
from render.transfer import Window
from render.view import Orientation, RenderingMethod
from render.volumetric import DEFAULT_VIEWPORT, VolumetricRequest, parse_vector, parse_viewport, parse_window
from render.web.fitting import Region, parse_region

T = TypeVar("T")

DEFAULT_JPEG_QUALITY = 90
PICTURE_TYPES = ("image/jpeg", "image/png")
"""That are offered, the preferred first."""
UNBUILT = ("match", "swivelrange", "volumetriccurvepoint", "animationstepsize", "animationrate")
"""Parameters that would make another picture than without them: refused, never ignored."""
UNHEEDED = ("annotation", "iccprofile")
"""Parameters that the standard has ignored with a warning by who does not support their values."""
ANNOTATIONS = frozenset({"patient", "technique"})


@dataclass(frozen=True)
class ImageQuery:
    """A request for an image, read.

    Attributes
    ----------
    region
        What is shown of it, and how large; None for all of it, pixel by pixel.
    window
        None for the image's own.
    """

    region: Region | None
    window: Window | None
    jpeg_quality: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class VolumeQuery:
    """A request for a rendered volume, read.

    Attributes
    ----------
    picture
        What is to be drawn.
    jpeg_quality
        1 to 100.
    wants_metadata
        What was applied is the answer, and no picture.
    reference
        SOP Instance UID, and the frame's number or None, of what the volume must hold; None where none is named.
    warnings
        What of the request is not heeded.
    """

    picture: VolumetricRequest
    jpeg_quality: int
    wants_metadata: bool
    reference: tuple[str, int | None] | None
    warnings: tuple[str, ...]


class _Parameters:
    """Query parameters by name, each parsed as it is asked for. Unknown ones are never asked for."""

    def __init__(self, parameters: QueryParams) -> None:
        self._given: dict[str, str] = {}
        for name, value in parameters.multi_items():
            if name in self._given:
                raise InvalidArgumentError(f"{name} is given twice", field=name)
            self._given[name] = value

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def read(self, name: str, parse: Callable[[str], T]) -> T | None:
        """Return a parameter's value, None where it is not given."""
        if name not in self._given:
            return None
        try:
            return parse(self._given[name])
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{name} {error.message}", field=name) from None
        except ValueError:
            raise InvalidArgumentError(f"{name} {self._given[name][:80]!r} can't be read", field=name) from None

    def quality(self) -> int:
        quality = self.read("quality", int)
        if quality is None:
            return DEFAULT_JPEG_QUALITY
        if not 1 <= quality <= 100:
            raise InvalidArgumentError(f"quality {quality}: 1 to 100 needed", field="quality")
        return quality

    def warnings(self) -> tuple[str, ...]:
        self.read("annotation", _annotation)
        return tuple(f"{name} is not supported" for name in UNHEEDED if name in self)


def read_image_query(parameters: QueryParams) -> ImageQuery:
    """Read the query parameters of a request for an image; errors as those of `read_volume_query`."""
    given = _Parameters(parameters)
    return ImageQuery(
        given.read("viewport", parse_region), given.read("window", parse_window), given.quality(), given.warnings()
    )


def read_volume_query(parameters: QueryParams, *, is_mpr: bool) -> VolumeQuery:
    """Read the query parameters of a request for a rendered volume.

    Raises
    ------
    InvalidArgumentError
        For a value that can't be read, or a parameter that is given twice; ``details["field"]`` names it.
    UnsupportedError
        For an animation, or `match`.
    """
    given = _Parameters(parameters)
    for name in UNBUILT:
        if name in given:
            raise UnsupportedError(f"{name} is not built", field=name)
    picture = VolumetricRequest(
        is_mpr=is_mpr,
        viewport=given.read("viewport", parse_viewport) or DEFAULT_VIEWPORT,
        rendering_method=given.read("renderingmethod", RenderingMethod),
        orientation=given.read("orientation", Orientation),
        viewpoint_position=given.read("viewpointposition", parse_vector),
        viewpoint_look_at=given.read("viewpointlookat", parse_vector),
        viewpoint_up=given.read("viewpointup", parse_vector),
        slab_mm=given.read("mprslab", float),
        window=given.read("window", parse_window),
        preset=given.read("preset", str),
        shift=given.read("shift", float),
    )
    return VolumeQuery(
        picture,
        given.quality(),
        given.read("renderedvolumetricmetadata", _yes) or False,
        given.read("volumeinputreference", _reference),
        given.warnings(),
    )


def entries_of(engine: Engine, study: str, series: str = "") -> list[CatalogEntry]:
    """Return what there is of a study, or of a series of it.

    Raises
    ------
    VolumeNotFoundError
        If there is nothing of these UIDs.
    HTTPException
        503 if there may be, once the folders are read.
    """
    is_scanning = engine.is_scanning  # before the look: a scan that ends between the two has left its volumes
    there = [
        entry
        for entry in engine.catalog.entries()
        if entry.info.study_uid == study and (not series or entry.info.series_uid == series)
    ]
    if not there and is_scanning:
        raise HTTPException(503, "the folders are still being read", {"Retry-After": "2"})
    if not there:
        raise VolumeNotFoundError("nothing here has these UIDs, or nothing of it can be drawn")
    return there


def accepted_type(request: Request, offered: Sequence[str]) -> str:
    """Return the media type of the answer, by the parameter `accept` or the header; errors as `negotiate`."""
    return negotiate(request.query_params.get("accept", request.headers.get("accept")), offered)


def with_warnings(response: Response, warnings: Sequence[str]) -> Response:
    """Return a response that says what of the request was not heeded."""
    if warnings:
        response.headers["Warning"] = f'299 voxelcast "{"; ".join(warnings)}"'
    return response


def negotiate(accepted: str | None, offered: Sequence[str]) -> str:
    """Choose a media type (RFC 9110, 12.5.1; PS3.18 8.7.4).

    Parameters
    ----------
    accepted
        The Accept header, or the parameter `accept` in its place; None where there is none.
    offered
        The preferred first.

    Raises
    ------
    HTTPException
        406 where none of them is accepted; PS3.18 has it so where nothing is said, too.
    """
    best: tuple[float, int, str] | None = None
    for part in (accepted or "").split(","):
        media, *parameters = (word.strip().lower() for word in part.split(";"))
        weight = next((_weight(word[2:]) for word in parameters if word.startswith("q=")), 1.0)
        pattern = re.escape(media).replace(r"\*", "[^/]+")
        for place, name in enumerate(offered):
            if media and weight > 0 and re.fullmatch(pattern, name) and (best is None or (weight, -place) > best[:2]):
                best = weight, -place, name
    if best is None:
        raise HTTPException(406, f"Accept: {' or '.join(offered)} needed")
    return best[2]


def _weight(text: str) -> float:
    return float(text) if re.fullmatch(r"[01](\.\d{0,3})?", text) else 0.0


def _annotation(text: str) -> frozenset[str]:
    words = frozenset(text.split(","))
    if not words <= ANNOTATIONS:
        raise ValueError
    return words


def _yes(text: str) -> bool:
    if text != "yes":
        raise InvalidArgumentError(f"{text[:80]!r}: yes needed")
    return True


def _reference(text: str) -> tuple[str, int | None]:
    uid, comma, frame = text.partition(",")
    if not re.fullmatch(r"[0-9.]{1,64}", uid) or (comma and not re.fullmatch(r"[1-9][0-9]{0,8}", frame)):
        raise InvalidArgumentError(f"{text[:80]!r}: a SOP Instance UID, or one and a frame's number, needed")
    return uid, int(frame) if comma else None

"""What a request for a rendered volume asks for (PS3.18 8.3.5): its query parameters and its Accept header, read."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

from render.errors import InvalidArgumentError, UnsupportedError
from render.view import Orientation, RenderingMethod
from render.volumetric import DEFAULT_VIEWPORT, VolumetricRequest, parse_vector, parse_viewport, parse_window

T = TypeVar("T")

DEFAULT_JPEG_QUALITY = 90
UNBUILT = ("match", "swivelrange", "volumetriccurvepoint", "animationstepsize", "animationrate")
"""Parameters that would make another picture than without them: refused, never ignored."""
UNHEEDED = ("annotation", "iccprofile")
"""Parameters that the standard has ignored with a warning by who does not support their values."""
ANNOTATIONS = frozenset({"patient", "technique"})


@dataclass(frozen=True)
class RenderedQuery:
    """A request, read.

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


def read_query(parameters: QueryParams, *, is_mpr: bool) -> RenderedQuery:
    """Read the query parameters. Unknown ones are ignored, as the standard has it.

    Raises
    ------
    InvalidArgumentError
        For a value that can't be read, or a parameter that is given twice; ``details["field"]`` names it.
    UnsupportedError
        For an animation, or `match`.
    """
    given: dict[str, str] = {}
    for name, value in parameters.multi_items():
        if name in given:
            raise InvalidArgumentError(f"{name} is given twice", field=name)
        given[name] = value
    for name in UNBUILT:
        if name in given:
            raise UnsupportedError(f"{name} is not built", field=name)

    def read(name: str, parse: Callable[[str], T]) -> T | None:
        if name not in given:
            return None
        try:
            return parse(given[name])
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{name} {error.message}", field=name) from None
        except ValueError:
            raise InvalidArgumentError(f"{name} {given[name][:80]!r} can't be read", field=name) from None

    read("annotation", _annotation)
    quality = read("quality", int)
    if quality is not None and not 1 <= quality <= 100:
        raise InvalidArgumentError(f"quality {quality}: 1 to 100 needed", field="quality")
    picture = VolumetricRequest(
        is_mpr=is_mpr,
        viewport=read("viewport", parse_viewport) or DEFAULT_VIEWPORT,
        rendering_method=read("renderingmethod", RenderingMethod),
        orientation=read("orientation", Orientation),
        viewpoint_position=read("viewpointposition", parse_vector),
        viewpoint_look_at=read("viewpointlookat", parse_vector),
        viewpoint_up=read("viewpointup", parse_vector),
        slab_mm=read("mprslab", float),
        window=read("window", parse_window),
        preset=given.get("preset"),
        shift=read("shift", float),
    )
    return RenderedQuery(
        picture,
        DEFAULT_JPEG_QUALITY if quality is None else quality,
        read("renderedvolumetricmetadata", _yes) or False,
        read("volumeinputreference", _reference),
        tuple(f"{name} is not supported" for name in UNHEEDED if name in given),
    )


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

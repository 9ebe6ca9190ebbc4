"""What `render.dicom.ingest` asks its workers to do: pickled, so in a module that both sides import by one name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from render.dicom.instance import Instance
from render.dicom.slices import Layer, SliceSource
from render.dicom.values import ValuePlan
from render.geometry import VolumeGeometry
from render.transfer import Window


@dataclass(frozen=True, slots=True)
class ReadHeaders:
    """Read the headers of files below a root; answered by a list in the same order."""

    root: Path
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DecodeSlices:
    """Decode consecutive slices into shared memory, whose descriptor follows on the socket.

    Attributes
    ----------
    shape
        Of the whole volume's codes, ``(K, J, I)`` or, in colour, ``(K, J, I, 3)``.
    first
        The index of the first of `layers`.
    """

    root: Path
    layers: tuple[Layer, ...]
    values: ValuePlan
    shape: tuple[int, ...]
    first: int


def without_frames(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return layers whose files don't list all their frames: a slice has its own, and each task sends the file anew."""
    slim: dict[int, Instance] = {}

    def lighten(source: SliceSource | None) -> SliceSource | None:
        if source is None:
            return None
        key = id(source.instance)
        if key not in slim:
            slim[key] = replace(source.instance, frames=(), tiles=())
        return replace(source, instance=slim[key])

    return tuple(replace(layer, lower=lighten(layer.lower), upper=lighten(layer.upper)) for layer in layers)


@dataclass(frozen=True, slots=True)
class ReadPicture:
    """Decode one frame for display; answered by a `Picture`."""

    root: Path
    instance: Instance
    number: int
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class ReadLabels:
    """Read a SEG, or the contours of an RTSTRUCT on a grid; answered by a `LabelVolume`.

    Attributes
    ----------
    geometry, frame_of_reference_uid
        Of the volume that was contoured; a SEG has a grid of its own.
    """

    root: Path
    instance: Instance
    geometry: VolumeGeometry | None = None
    frame_of_reference_uid: str = ""


@dataclass(frozen=True, slots=True)
class CardReport:
    """What a worker that may decode on a card has found; it goes with each of its answers.

    Attributes
    ----------
    decoder
        Name and version; empty where it has none.
    fallbacks
        What is decoded on the CPU instead, and why: a sentence each.
    """

    decoder: str = ""
    fallbacks: tuple[str, ...] = ()


Task: TypeAlias = ReadHeaders | DecodeSlices | ReadPicture | ReadLabels

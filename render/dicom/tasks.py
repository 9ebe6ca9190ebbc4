"""What `render.dicom.ingest` asks its workers to do: pickled, so in a module that both sides import by one name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from render.dicom.instance import Instance
from render.dicom.slices import Layer
from render.dicom.values import ValuePlan


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
        Of the whole volume, ``(K, J, I)``.
    first
        The index of the first of `layers`.
    """

    root: Path
    layers: tuple[Layer, ...]
    values: ValuePlan
    shape: tuple[int, int, int]
    first: int


@dataclass(frozen=True, slots=True)
class ReadPicture:
    """Decode one frame for display; answered by a `Picture`."""

    root: Path
    instance: Instance
    number: int


Task: TypeAlias = ReadHeaders | DecodeSlices | ReadPicture

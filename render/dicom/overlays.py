"""Overlays: bit planes beside an image's pixels, or (retired) in the bits of its samples that hold no value."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRBigEndian

from render.dicom.attributes import NATIVE_SYNTAXES
from render.dicom.instance import Instance
from render.errors import UnreadableFileError

_GROUPS = range(0x6000, 0x6020, 2)


class _Element(enum.IntEnum):
    """Elements of group 60xx."""

    ROWS = 0x0010
    COLUMNS = 0x0011
    FRAMES = 0x0015
    DESCRIPTION = 0x0022
    KIND = 0x0040
    ORIGIN = 0x0050
    FIRST_FRAME = 0x0051
    BITS = 0x0100
    POSITION = 0x0102
    LABEL = 0x1500
    DATA = 0x3000

    def tag(self, group: int) -> int:
        """Return the tag in a group."""
        return group << 16 | self


OVERLAY_TAGS = tuple(element.tag(group) for group in _GROUPS for element in _Element)
"""What `read_overlays` needs of a data set."""


@dataclass(frozen=True, eq=False)
class Overlay:
    """One overlay plane.

    Attributes
    ----------
    group
        0x6000 to 0x601E.
    kind
        ``G`` for graphics, ``R`` for a region of interest.
    origin
        Row and column of the image, from 1, that the plane's first bit lies on; may be outside the image.
    first_frame
        The frame, from 1, that the first plane belongs to.
    planes
        Bits, shape (frames, rows, columns).
    """

    group: int
    kind: str
    label: str
    origin: tuple[int, int]
    first_frame: int
    planes: npt.NDArray[np.bool_]

    def on_image(self, rows: int, columns: int, frame: int = 1) -> npt.NDArray[np.bool_]:
        """Return the plane of a frame on the image's grid; what lies outside the image is cut off.

        A single plane belongs to all frames.
        """
        image = np.zeros((rows, columns), bool)
        index = 0 if len(self.planes) == 1 else frame - self.first_frame
        if not 0 <= index < len(self.planes):
            return image
        plane = self.planes[index]
        top, left = self.origin[0] - 1, self.origin[1] - 1
        first, last = max(top, 0), min(top + plane.shape[0], rows)
        start, stop = max(left, 0), min(left + plane.shape[1], columns)
        if first < last and start < stop:
            image[first:last, start:stop] = plane[first - top : last - top, start - left : stop - left]
        return image


def read_overlays(
    dataset: FileDataset, instance: Instance, file: BinaryIO
) -> tuple[tuple[Overlay, ...], tuple[str, ...]]:
    """Read a file's overlays, and say which can't be read.

    Parameters
    ----------
    dataset
        With `OVERLAY_TAGS`.
    file
        As `render.dicom.access.PixelFiles` gives it: embedded planes are in the pixels.

    Returns
    -------
    overlays, warnings
    """
    overlays: list[Overlay] = []
    warnings: list[str] = []
    for group in _GROUPS:
        if _Element.ROWS.tag(group) not in dataset:
            continue
        try:
            overlays.append(_read(group, dataset, instance, file))
        except UnreadableFileError as error:
            warnings.append(f"overlay {group:04x} left out: {error.message}")
    return tuple(overlays), tuple(warnings)


def _read(group: int, dataset: FileDataset, instance: Instance, file: BinaryIO) -> Overlay:
    rows, columns = _integers(dataset, group, _Element.ROWS, 1)[0], _integers(dataset, group, _Element.COLUMNS, 1)[0]
    frames = _integers(dataset, group, _Element.FRAMES, 1, [1])[0]
    if rows < 1 or columns < 1 or frames < 1:
        raise UnreadableFileError(f"{frames} planes of {rows} x {columns}")
    top, left = _integers(dataset, group, _Element.ORIGIN, 2, [1, 1])
    data = dataset.get(_Element.DATA.tag(group))
    if data is not None:
        planes = _unpacked(data.value, data.VR, dataset, (frames, rows, columns))
    else:
        planes = _embedded(_integers(dataset, group, _Element.POSITION, 1)[0], (rows, columns), instance, file)
    return Overlay(
        group=group,
        kind=_text(dataset, group, _Element.KIND),
        label=_text(dataset, group, _Element.LABEL) or _text(dataset, group, _Element.DESCRIPTION),
        origin=(top, left),
        first_frame=_integers(dataset, group, _Element.FIRST_FRAME, 1, [1])[0],
        planes=planes,
    )


def _unpacked(data: object, vr: str, dataset: FileDataset, shape: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """Bits in the order of PS3.5 8.1.1: the first is the lowest of the first word."""
    count = math.prod(shape)
    packed = data if isinstance(data, bytes) else b""
    if 8 * len(packed) < count:
        raise UnreadableFileError(f"{len(packed):,} bytes for {shape[0]} planes of {shape[1]} x {shape[2]} bits")
    octets = np.frombuffer(packed, np.uint8)
    if vr == "OW" and dataset.original_encoding[1] is False:
        octets = octets[: len(octets) // 2 * 2].reshape(-1, 2)[:, ::-1].ravel()
    return np.unpackbits(octets, count=count, bitorder="little").astype(bool).reshape(shape)


def _embedded(position: int, shape: tuple[int, int], instance: Instance, file: BinaryIO) -> npt.NDArray[np.bool_]:
    """Take one bit of each sample. The samples are read as they are: decoders clear the bits that hold no value."""
    pixels, extent = instance.format, instance.extent
    if pixels is None or extent is None or instance.transfer_syntax not in NATIVE_SYNTAXES:
        raise UnreadableFileError("its bits are in compressed pixels")
    if shape != (pixels.rows, pixels.columns) or pixels.samples != 1 or pixels.bits_allocated not in (8, 16, 32):
        raise UnreadableFileError(f"{shape[0]} x {shape[1]} bits in {pixels.rows} x {pixels.columns} pixels")
    if not 0 <= position < pixels.bits_allocated or 0 <= pixels.high_bit - position < pixels.bits_stored:
        raise UnreadableFileError(f"bit {position} is the samples' own, or none of theirs")
    order = ">" if instance.transfer_syntax == ExplicitVRBigEndian else "<"
    file.seek(extent.offset)
    data = file.read(pixels.bytes_of(instance.number_of_frames))
    samples = np.frombuffer(data, f"{order}u{pixels.bits_allocated // 8}").reshape(-1, *shape)
    return np.asarray((samples >> position) & 1, dtype=bool)


def _integers(
    dataset: FileDataset, group: int, element: _Element, count: int, default: list[int] | None = None
) -> list[int]:
    found = dataset.get(element.tag(group))
    value = None if found is None else found.value
    if value is None or value == "":
        if default is None:
            raise UnreadableFileError(f"no {element.name.lower()}")
        return default
    try:
        numbers = [int(number) for number in (value if hasattr(value, "__iter__") else [value])]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count:
        raise UnreadableFileError(f"{element.name.lower()} malformed")
    return numbers


def _text(dataset: FileDataset, group: int, element: _Element) -> str:
    found = dataset.get(element.tag(group))
    return "" if found is None or found.value is None else str(found.value).strip(" \0")

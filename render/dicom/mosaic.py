"""Siemens mosaics: one frame is a sheet of slices, and where they lie is in private attributes.

A sheet of n x n tiles holds up to n * n slices, row by row. Image Position (Patient) is that of a slice as large as
the sheet around the same centre. Sources: the CSA header as nibabel documents it, and dcm2niix.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from render.dicom.attributes import lengths
from render.dicom.frames import FrameHeader, PixelFormat
from render.dicom.instance import Tile
from render.dicom.tolerances import MOSAIC_SPACING_FRACTION
from render.errors import UnreadableFileError

SLICES_IN_MOSAIC = 0x0019100A
CSA_IMAGE, CSA_SERIES = 0x00291010, 0x00291020
MOSAIC_TAGS = (0x00190010, 0x00290010, SLICES_IN_MOSAIC, CSA_IMAGE, CSA_SERIES, 0x00180088)
"""What is read of a mosaic besides its header; (0018,0088) is Spacing Between Slices."""

MAXIMUM_ELEMENTS = 1000
"""Elements of a CSA header; there are about a hundred."""


@dataclass(frozen=True)
class _Protocol:
    """What the private attributes say: number of slices, their normal, and the centres of the first and the last."""

    slices: int
    normal: tuple[float, ...] | None
    ends: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None

    @property
    def spacing_mm(self) -> float | None:
        """The distance between two slices."""
        if self.ends is None:
            return None
        return float(np.linalg.norm(self.ends[1] - self.ends[0])) / (self.slices - 1)


def is_mosaic(image_type: Sequence[str]) -> bool:
    """Say whether an image is a sheet of slices, by its Image Type."""
    return "MOSAIC" in image_type


def read_tiles(
    private: Dataset, sheet: FrameHeader, pixels: PixelFormat
) -> tuple[tuple[FrameHeader, ...], tuple[Tile, ...]]:
    """Divide a sheet into slices.

    Parameters
    ----------
    private
        With the elements of `MOSAIC_TAGS`.
    sheet
        The frame's header: its position is that of the sheet.

    Returns
    -------
    frames, tiles
        One each a slice, in the order of the sheet.

    Raises
    ------
    UnreadableFileError
        If the number, the size or the place of the slices is not known; the message says which.
    """
    what = f"mosaic of {pixels.columns} x {pixels.rows} pixels"
    protocol = _read_protocol(private)
    if protocol is None:
        raise UnreadableFileError(f"{what}: no Siemens header says how many slices it holds")
    across = math.ceil(math.sqrt(protocol.slices))
    rows, columns = pixels.rows // across, pixels.columns // across
    if pixels.rows % across or pixels.columns % across:
        raise UnreadableFileError(f"{what}: does not divide into {across} x {across} tiles of {protocol.slices} slices")
    if sheet.position_mm is None or sheet.orientation is None or sheet.spacing_mm is None:
        raise UnreadableFileError(f"{what}: without Image Position, Orientation or Pixel Spacing")
    spacing = _spacing(private, protocol, what)
    row, column = np.array(sheet.orientation).reshape(2, 3)
    down_mm, right_mm = sheet.spacing_mm
    origin = (
        np.array(sheet.position_mm)
        + row * right_mm * (pixels.columns - columns) / 2
        + column * down_mm * (pixels.rows - rows) / 2
    )
    middle = origin + row * right_mm * columns / 2 + column * down_mm * rows / 2
    normal = np.cross(row, column)
    if np.dot(normal, _stacking(protocol, middle, what)) < 0:
        normal = -normal
    frames, tiles = [], []
    for n in range(protocol.slices):
        place = origin + normal * spacing * n
        frames.append(replace(sheet, position_mm=tuple(place.tolist()), thickness_mm=sheet.thickness_mm or spacing))
        tiles.append(Tile(n // across * rows, n % across * columns, rows, columns))
    return tuple(frames), tuple(tiles)


def _stacking(protocol: _Protocol, middle: npt.NDArray[Any], what: str) -> npt.NDArray[Any]:
    """Return a vector from the first slice to the others.

    The protocol lists slices from one end; which of the two the sheet begins with, is told by its own position.
    """
    if protocol.normal is not None:
        return np.array(protocol.normal)
    if protocol.ends is None:
        raise UnreadableFileError(f"{what}: no Siemens header says to which side its slices are stacked")
    first, last = protocol.ends
    along: npt.NDArray[Any] = last - first
    is_first = abs(float(np.dot(middle - first, along))) <= abs(float(np.dot(middle - last, along)))
    return along if is_first else first - last


def _spacing(private: Dataset, protocol: _Protocol, what: str) -> float:
    public = lengths(private, "SpacingBetweenSlices", 1)
    stated = abs(public[0]) if public else None
    if stated and protocol.spacing_mm and abs(stated - protocol.spacing_mm) > MOSAIC_SPACING_FRACTION * stated:
        raise UnreadableFileError(
            f"{what}: its slices are {stated:.3f} mm apart by Spacing Between Slices, "
            f"{protocol.spacing_mm:.3f} mm by the protocol"
        )
    spacing = stated or protocol.spacing_mm
    if not spacing:
        raise UnreadableFileError(f"{what}: without Spacing Between Slices")
    return spacing


def _read_protocol(private: Dataset) -> _Protocol | None:
    csa = _csa_elements(_bytes(private, CSA_IMAGE))
    protocol = _ascii_protocol(_bytes(private, CSA_SERIES))
    counts = [
        *_whole(csa.get("NumberOfImagesInMosaic", ())),
        *_whole([str(private[SLICES_IN_MOSAIC].value)] if SLICES_IN_MOSAIC in private else []),
        *_whole([protocol.get("sSliceArray.lSize", "")]),
    ]
    if not counts or not 1 <= counts[0] <= 10_000:
        return None
    first, last = (_place(protocol, f"sSliceArray.asSlice[{n}].sPosition") for n in (0, counts[0] - 1))
    ends = (first, last) if counts[0] > 1 and first is not None and last is not None else None
    return _Protocol(counts[0], _vector(csa.get("SliceNormalVector", ())), ends)


def _bytes(dataset: Dataset, tag: int) -> bytes:
    value = dataset[tag].value if tag in dataset else b""
    return value if isinstance(value, bytes) else b""


def _whole(values: Sequence[str]) -> list[int]:
    return [int(value) for value in values[:1] if re.fullmatch(r"\d{1,6}", value)]


def _vector(values: Sequence[str]) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(value) for value in values[:3])
    except ValueError:
        return None
    return numbers if len(numbers) == 3 and all(map(math.isfinite, numbers)) else None


def _csa_elements(data: bytes) -> dict[str, list[str]]:
    """Read the elements of a CSA header of version 2; what can't be read is left out."""
    found: dict[str, list[str]] = {}
    if data[:4] != b"SV10":
        return found
    try:
        (count,) = struct.unpack_from("<L", data, 8)
        at = 16
        for _ in range(min(count, MAXIMUM_ELEMENTS)):
            name, items = data[at : at + 64].split(b"\0")[0], struct.unpack_from("<L", data, at + 76)[0]
            at += 84
            values = []
            for _ in range(min(items, MAXIMUM_ELEMENTS)):
                (length,) = struct.unpack_from("<L", data, at + 4)
                text = data[at + 16 : at + 16 + length].split(b"\0")[0].decode("latin-1").strip()
                values += [text] if text else []
                at += 16 + (length + 3) // 4 * 4
            found[name.decode("latin-1")] = values
    except struct.error:
        pass
    return found


def _ascii_protocol(data: bytes) -> dict[str, str]:
    """Read the slices' part of the protocol that a CSA series header holds as text."""
    lines = re.findall(rb"(sSliceArray\.[\w.\[\]]{1,80})[ \t]*=[ \t]*([-+.\w]{1,40})", data[: 4 << 20])
    return {name.decode(): value.decode() for name, value in lines}


def _place(protocol: dict[str, str], name: str) -> npt.NDArray[Any] | None:
    """Return a slice's centre; an axis that the protocol leaves out is 0."""
    axes = [protocol.get(f"{name}.d{axis}") for axis in ("Sag", "Cor", "Tra")]
    if not any(axes):
        return None
    values = _vector([axis or "0" for axis in axes])
    return None if values is None else np.array(values)

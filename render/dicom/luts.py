"""Lookup tables of a data set: modality and VOI LUTs."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from render.dicom.attributes import floats, text, values
from render.errors import UnreadableFileError
from render.lookup import LookupTable

_WORD = 1 << 16


def read_luts(dataset: Dataset, sequence: str, *, signed: bool, little_endian: bool) -> tuple[LookupTable, ...]:
    """Read the tables of a Modality LUT Sequence or VOI LUT Sequence.

    Parameters
    ----------
    signed
        Whether inputs may be negative. The descriptor's second value is written as signed or unsigned by rules that
        writers confuse; what is meant follows from the inputs.
    little_endian
        The byte order of the data set, which table bytes (OW) keep.

    Raises
    ------
    UnreadableFileError
        If a table has no descriptor, or fewer entries than it announces.
    """
    return tuple(_read(item, sequence, signed, little_endian) for item in values(dataset, sequence))


def _read(item: Dataset, sequence: str, signed: bool, little_endian: bool) -> LookupTable:
    descriptor = floats(item, "LUTDescriptor", 3)
    data = item.get("LUTData")
    if descriptor is None or data is None:
        raise UnreadableFileError(f"{sequence} without descriptor or data")
    count = int(descriptor[0]) % _WORD or _WORD  # 0 entries mean 65536
    first = int(descriptor[1]) % _WORD
    if signed and first >= _WORD // 2:
        first -= _WORD
    entries = read_entries(data, count, little_endian)
    if len(entries) < count:
        raise UnreadableFileError(f"{sequence} has {len(entries)} entries, {count} announced")
    entries = entries[:count]
    # Where entries are larger than the bits announced, they count.
    bits = max(min(max(int(descriptor[2]), 1), 16), int(entries.max()).bit_length())
    return LookupTable(first, bits, entries.astype("<u2").tobytes(), text(item, "LUTExplanation"))


def read_entries(data: object, count: int, little_endian: bool) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
    """Return a table's entries; as bytes they are words, or single bytes where only so many are there."""
    if isinstance(data, bytes):
        if count <= len(data) < 2 * count:
            return np.frombuffer(data, np.uint8).astype(np.uint16)
        return np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little_endian else ">u2").astype(np.uint16)
    items = data if isinstance(data, int | float) or not hasattr(data, "__iter__") else list(data)
    return np.atleast_1d(np.asarray(items, np.float64)).astype(np.int64).astype(np.uint16)

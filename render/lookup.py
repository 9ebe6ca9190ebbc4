"""Lookup tables as DICOM carries them: from stored to modality values, or from modality values to gray."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, weakref_slot=True)
class LookupTable:
    """A table of 16-bit entries (PS3.3 C.11.1.1 and C.11.2.1.1).

    Equal tables that arrive from another process share one copy: each slice of a series may bring its own.

    Attributes
    ----------
    first
        The input that the first entry is for. Lower inputs give the first entry, higher than the last the last.
    bits
        Of an entry, 1 to 16.
    data
        The entries, little endian, 2 bytes each.
    explanation
        LUT Explanation, as it came.
    """

    first: int
    bits: int
    data: bytes
    explanation: str = ""

    def __reduce__(self) -> tuple[object, ...]:
        return _shared, (self.first, self.bits, self.data, self.explanation)

    @property
    def entries(self) -> npt.NDArray[np.uint16]:
        """The entries, shape (n,)."""
        return np.frombuffer(self.data, "<u2").astype(np.uint16, copy=False)

    def look_up(self, inputs: npt.ArrayLike) -> npt.NDArray[np.uint16]:
        """Return the entries of inputs, same shape; fractions are rounded to the nearest input."""
        entries = self.entries
        index = np.clip(np.rint(np.asarray(inputs, np.float64)) - self.first, 0, len(entries) - 1)
        return np.asarray(entries[index.astype(np.int64)])

    def apply(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map modality values to 0 to 1 as a VOI LUT does, float64, same shape; NaN stays NaN."""
        inputs = np.asarray(values, np.float64)
        gray = self.look_up(np.nan_to_num(inputs)) / float((1 << self.bits) - 1)
        return np.where(np.isnan(inputs), np.nan, gray)


_tables: weakref.WeakValueDictionary[tuple[int, int, bytes, str], LookupTable] = weakref.WeakValueDictionary()


def _shared(first: int, bits: int, data: bytes, explanation: str) -> LookupTable:
    return _tables.setdefault((first, bits, data, explanation), LookupTable(first, bits, data, explanation))

"""A volume whose slices arrive in parts, for a renderer that draws it meanwhile."""

from __future__ import annotations

import dataclasses

import numpy as np

from render.backends.cuda.renderer import CudaRenderer
from render.backends.cuda.resident import CudaVolume
from render.growth import Span
from render.volume import Volume
from tests import phantoms
from tests.phantoms import FLOAT32, INT16, INT16_PADDED

STORAGES = {"int16": INT16, "padded": INT16_PADDED, "float32": FLOAT32}
MARK = -32768
ARRIVALS = (((9, 13),), ((0, 3), (20, 21)), ((3, 9),))
"""The middle, both ends, and what is between: spans that begin and end within layers of bricks."""


class Source:
    """A volume whose slices are handed over; what is missing is marked, as ingest marks it."""

    def __init__(self, stored: str) -> None:
        self.whole = phantoms.blobs(phantoms.grid((21, 14, 17), (2.0, 1.1, 0.9)), STORAGES[stored])
        self.mark = self.whole.invalid_code
        if stored == "int16":
            self.mark = MARK
            self.whole.codes[::5, 3, 4] = MARK  # pixels of 16 bits may have it themselves
        self.codes = np.full_like(self.whole.codes, np.nan if self.mark is None else self.mark)
        self.there = np.zeros(len(self.codes), np.bool_)
        self.revision = 0

    def take(self, *spans: Span) -> Volume:
        for first, last in spans:
            self.codes[first:last] = self.whole.codes[first:last]
            self.there[first:last] = True
        self.revision += 1
        missing = int((~self.there).sum())
        code = self.mark if missing else self.whole.invalid_code
        return dataclasses.replace(
            self.whole, codes=self.codes, invalid_code=code, revision=self.revision, missing_slices=missing
        )

    def rest(self) -> list[Span]:
        return [(n, n + 1) for n in np.flatnonzero(~self.there).tolist()]

    def marked(self) -> Volume:
        """Return the state now, in voxels of its own, for the reference."""
        volume = dataclasses.replace(self.whole, codes=self.codes.copy())
        return volume if self.mark is None else dataclasses.replace(volume, invalid_code=self.mark)


def grown(renderer: CudaRenderer, source: Source) -> CudaVolume:
    """Take a volume up in parts, to the end."""
    state: CudaVolume | None = None
    for spans in ARRIVALS:
        state = renderer.grow(state, source.take(*spans), spans)
        assert state.volume.missing_slices
    rest = source.rest()
    return renderer.grow(state, source.take(*rest), rest)

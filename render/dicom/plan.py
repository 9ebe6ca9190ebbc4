"""A volume as it can be loaded: its slices in order, its grid, and what its numbers will mean."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from render.dicom.frames import PixelFormat
from render.dicom.slices import Layer, SliceSource
from render.dicom.values import ValuePlan
from render.geometry import VolumeGeometry
from render.volume import VolumeInfo

SLICES_A_CHUNK = 8
"""Small enough that progress moves, cancelling is quick and all cores end together."""


@dataclass(frozen=True, eq=False)
class VolumePlan:
    """A volume that has been proved but not loaded. Picklable.

    Attributes
    ----------
    id
        Hash of the sorted SOP Instance UIDs with frame numbers and the grouping key: the same after a restart,
        whatever the files are called.
    root
        The folder that the slices' paths are below.
    slices
        Ascending along the normal.
    resampled
        The slices of the grid where the files' own do not lie on it: an uneven stack. Empty where they do.
    is_localizer
        A scout or localizer: never chosen when there is a volume.
    """

    id: str
    root: Path
    slices: tuple[SliceSource, ...]
    geometry: VolumeGeometry
    values: ValuePlan
    info: VolumeInfo
    resampled: tuple[Layer, ...] = ()
    is_localizer: bool = False
    patient_key: str = field(default="", repr=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(K, J, I)``: slices, rows, columns."""
        return self.geometry.shape

    @property
    def codes_shape(self) -> tuple[int, ...]:
        """Of the codes: `shape`, with a last axis for colours."""
        return self.shape + (3,) * self.values.is_color

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What each slice of the grid is made of."""
        return self.resampled or tuple(Layer(source) for source in self.slices)

    def chunks(self, workers: int) -> list[tuple[int, int]]:
        """Divide the slices of the grid among workers: pairs of first and one past the last."""
        total = self.shape[0]
        # A stream must be read from its start each time, so it is divided as little as can be.
        parts = workers if self.slices[0].instance.is_stream else max(2 * workers, -(-total // SLICES_A_CHUNK))
        size = -(-total // parts)
        return [(start, min(start + size, total)) for start in range(0, total, size)]

    @property
    def estimated_bytes(self) -> int:
        """Bytes of the voxels once loaded."""
        return math.prod(self.codes_shape) * np.dtype(self.values.dtype).itemsize

    @property
    def pixels(self) -> PixelFormat:
        """The slices' common pixel format."""
        return self.slices[0].pixels


def volume_id(slices: Sequence[SliceSource], key: str) -> str:
    """Return the volume's identity: 32 hexadecimal digits."""
    names = sorted(source.identity for source in slices)
    return hashlib.sha256("\n".join([*names, key]).encode()).hexdigest()[:32]

"""Labels on a grid in patient space: what a segmentation or a structure set says that voxels are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from render.errors import InvalidArgumentError
from render.geometry import VolumeGeometry

Labels: TypeAlias = npt.NDArray[np.uint16]

LABELLED_FRACTION = 0.5
"""A voxel belongs to a segment of fractions from here on."""


@dataclass(frozen=True)
class Segment:
    """One structure.

    Attributes
    ----------
    number
        Segment Number or ROI Number.
    label
        Its name, as it came.
    category, type
        Code meanings of Segmented Property Category and Type (RT ROI Interpreted Type for structures); or empty.
    algorithm
        ``AUTOMATIC``, ``SEMIAUTOMATIC``, ``MANUAL`` or empty.
    color
        The source's recommended colour, sRGB, 8 bits each; None where it has none.
    layer, value
        A voxel belongs to the segment where ``layers[layer]`` is `value`.
    """

    number: int
    label: str
    layer: int
    value: int
    category: str = ""
    type: str = ""
    algorithm: str = ""
    color: tuple[int, int, int] | None = None


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """Segments on a grid.

    A voxel may belong to several segments. Those that nowhere overlap share a layer, as few layers as come about when
    each segment takes the first one that is free.

    Parameters
    ----------
    geometry
        Where the voxels lie.
    layers
        uint16, shape ``(L, K, J, I)``; 0 is no segment.
    fractions
        By segment number: the stored fractions, uint8, shape ``(K, J, I)``, of segments that have them.
    largest_fraction
        The stored value that means all of the voxel (Maximum Fractional Value).
    is_placed
        Whether the grid lies in patient space; else it is that of the pixels.
    frame_of_reference_uid
        Of the patient space.
    referenced_series, referenced_instances
        UIDs of what was segmented, as far as the source says.
    warnings
        What the reader should know: one sentence each.

    Raises
    ------
    InvalidArgumentError
        If shapes do not fit.
    """

    geometry: VolumeGeometry
    layers: Labels
    segments: tuple[Segment, ...]
    fractions: Mapping[int, npt.NDArray[np.uint8]] = field(default_factory=dict)
    largest_fraction: int = 255
    is_placed: bool = True
    frame_of_reference_uid: str = ""
    referenced_series: tuple[str, ...] = ()
    referenced_instances: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.layers.shape[1:] != self.geometry.shape or self.layers.dtype != np.uint16:
            raise InvalidArgumentError(
                f"labels of shape {self.layers.shape}, {self.layers.dtype}, on a grid of shape {self.geometry.shape}",
                field="layers",
            )

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return abs(float(np.linalg.det(self.geometry.patient_from_voxel[:3, :3]))) / 1000

    def segment(self, number: int) -> Segment:
        """Return a segment by its number.

        Raises
        ------
        InvalidArgumentError
            If there is none.
        """
        for segment in self.segments:
            if segment.number == number:
                return segment
        raise InvalidArgumentError(f"no segment {number}", field="number")

    def mask(self, number: int) -> npt.NDArray[np.bool_]:
        """Return which voxels belong to a segment, shape ``(K, J, I)``."""
        segment = self.segment(number)
        return np.asarray(self.layers[segment.layer] == segment.value)

    def voxels(self, number: int) -> int:
        """Return how many voxels belong to a segment."""
        return int(np.count_nonzero(self.mask(number)))

    def volume_ml(self, number: int) -> float:
        """Return a segment's volume; of fractions, their sum."""
        if number in self.fractions:
            return float(self.fractions[number].sum(dtype=np.int64)) / self.largest_fraction * self.voxel_ml
        return self.voxels(number) * self.voxel_ml


class LayerStack:
    """Layers in the making: segments are added one by one, each to the first layer where it overlaps with none.

    Parameters
    ----------
    shape
        Of the grid, ``(K, J, I)``.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape
        self._layers: list[Labels] = []

    def add(self, value: int, slices: Mapping[int, npt.NDArray[np.bool_]]) -> int:
        """Add a segment and return its layer.

        Parameters
        ----------
        value
            1 to 65535.
        slices
            By slice index: which of its pixels belong to the segment.
        """
        free = (
            number
            for number, layer in enumerate(self._layers)
            if not any(layer[k][mask].any() for k, mask in slices.items())
        )
        number = next(free, len(self._layers))
        if number == len(self._layers):
            self._layers.append(np.zeros(self._shape, np.uint16))
        for k, mask in slices.items():
            self._layers[number][k][mask] = value
        return number

    def finish(self) -> Labels:
        """Return the layers, shape ``(L, K, J, I)``; at least one."""
        if len(self._layers) == 1:
            return self._layers[0][None]
        return np.stack(self._layers or [np.zeros(self._shape, np.uint16)])

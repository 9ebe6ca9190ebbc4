"""From modality values to what is seen: windows, transfer functions, shading."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from voxelcast.errors import InvalidArgumentError

WindowFunction: TypeAlias = Literal["linear", "linear-exact", "sigmoid", "voi-lut"]
"""DICOM's VOI LUT Function (0028,1056) in PS3.18's words, or a table of the volume (VOI LUT) in its place."""


@dataclass(frozen=True)
class VoiLut:
    """A table from modality values to gray (PS3.3 C.11.2.1.1).

    Attributes
    ----------
    first
        The value that the first entry is for. Lower values get the first entry, higher than the last the last.
    bits
        Of an entry: the largest gray is ``2 ** bits - 1``.
    entries
        2 bytes each, little-endian.
    """

    first: int
    bits: int
    entries: bytes

    def apply(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map modality values to 0 to 1, float64, same shape; fractions are rounded, NaN stays NaN."""
        entries = np.frombuffer(self.entries, "<u2")
        x = np.asarray(values, np.float64)
        at = np.clip(np.rint(np.nan_to_num(x)) - self.first, 0, len(entries) - 1).astype(np.int64)
        return np.where(np.isnan(x), np.nan, entries[at] / float((1 << self.bits) - 1))


@dataclass(frozen=True)
class Window:
    """A VOI window in modality units.

    Parameters
    ----------
    center, width
        Modality units (HU for CT). The width is over 0, and at least 1 for ``linear``.
    function
        ``linear-exact`` has its bounds at ``center -+ width / 2``; ``linear`` has DICOM's half-value offsets.
        ``voi-lut`` is one of the volume's own tables, as `VolumeDescription.windows` has them.
    explanation
        What the source calls it.
    voi_lut, table
        For ``voi-lut``: its number among the volume's tables, and the table, where it is known.

    Examples
    --------
    >>> lung = Window(-600, 1500)
    >>> lung.to_gray8([-1350, -600, 150]).tolist()
    [0, 128, 255]
    """

    center: float
    width: float
    function: WindowFunction = "linear-exact"
    explanation: str = ""
    voi_lut: int = 0
    table: VoiLut | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        least = 1 if self.function == "linear" else 0
        if not (math.isfinite(self.center) and math.isfinite(self.width)):
            raise InvalidArgumentError(f"window {self.center}/{self.width}: not finite")
        if self.width < least or self.width == 0:
            raise InvalidArgumentError(f"window width {self.width:g}: {'at least 1' if least else 'over 0'} needed")

    def apply(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map modality values to 0 to 1, float64, same shape; NaN stays NaN (PS3.3 C.11.2.1.2 and .3).

        Raises
        ------
        InvalidArgumentError
            If it is a ``voi-lut`` whose table is not known.
        """
        x = np.asarray(values, np.float64)
        if self.function == "voi-lut":
            if self.table is None:
                raise InvalidArgumentError("window voi-lut without its table: take it from the volume's description")
            return self.table.apply(x)
        if self.function == "sigmoid":
            with np.errstate(over="ignore"):
                sigmoid: npt.NDArray[np.float64] = 1 / (1 + np.exp(-4 * (x - self.center) / self.width))
            return sigmoid
        if self.function == "linear-exact":
            return np.clip((x - self.center) / self.width + 0.5, 0, 1)
        center, width = self.center - 0.5, self.width - 1
        if width == 0:
            return np.where(np.isnan(x), np.nan, np.where(x <= center, 0.0, 1.0))
        return np.clip((x - center) / width + 0.5, 0, 1)

    def to_gray8(self, values: npt.ArrayLike, *, invert: bool = False) -> npt.NDArray[np.uint8]:
        """Map modality values to 8-bit gray, same shape: ``floor(255 * y + 0.5)``, as the server does.

        NaN (outside the volume) is black, or white where `invert` is set.
        """
        gray = np.floor(np.nan_to_num(self.apply(values), nan=0.0) * 255 + 0.5).astype(np.uint8)
        return 255 - gray if invert else gray


@dataclass(frozen=True)
class Shading:
    """Phong shading with the light at the eye, double-sided."""

    ambient: float = 0.1
    diffuse: float = 0.9
    specular: float = 0.2
    shininess: float = 10.0


@dataclass(frozen=True)
class TransferFunction:
    """Opacity and colour as piecewise linear functions of the modality value, constant beyond their ends.

    Parameters
    ----------
    preset
        A preset's name, ``CT-Bone`` say; `Client.status` lists them. Then the points stay empty.
    opacity_points
        ``(value, opacity)``, 1 to 256, ascending values, opacity 0 to 1 for 1 mm of path.
    color_points
        ``(value, red, green, blue)``, 1 to 256, ascending values, 0 to 1 each.
    shading
        None for unshaded.
    shift
        Moves the curve along the value axis, modality units: MR values are raw, so presets need moving.

    Raises
    ------
    InvalidArgumentError
        Unless there is either a preset or points of both kinds.

    Examples
    --------
    >>> bone = TransferFunction("CT-Bone", shift=-50)
    >>> fog = TransferFunction(opacity_points=((-500, 0), (300, 0.4)), color_points=((0, 1, 1, 1),))
    """

    preset: str = ""
    opacity_points: tuple[tuple[float, float], ...] = ()
    color_points: tuple[tuple[float, float, float, float], ...] = ()
    shading: Shading | None = None
    shift: float = 0.0

    def __post_init__(self) -> None:
        if bool(self.preset) == bool(self.opacity_points and self.color_points):
            raise InvalidArgumentError("transfer function: either a preset, or opacity_points and color_points")

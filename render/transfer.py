"""From modality values to what is seen: window functions, opacity and colour tables, shading, presets."""

from __future__ import annotations

import enum
import functools
import importlib.resources
import json
import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from render.errors import InvalidArgumentError
from render.lookup import LookupTable

OPACITY_REFERENCE_MM = 1.0
"""Opacities are given for a path of this length and corrected for the step taken."""

GRADIENT_FLOOR_FRACTION = 1e-3
"""Shading fades out below this fraction of the opacity curve's value range per mm: a flat region has no normal."""


class WindowFunction(enum.Enum):
    """VOI LUT Function (0028,1056) in PS3.18's words, and a table of the source (VOI LUT Sequence) in its place."""

    LINEAR = "linear"
    LINEAR_EXACT = "linear-exact"
    SIGMOID = "sigmoid"
    VOI_LUT = "voi-lut"


@dataclass(frozen=True)
class Window:
    """A VOI window in modality units.

    Windows that are automatic, dragged or preset are LINEAR_EXACT; LINEAR is for those that DICOM gave or the caller
    named (PS3.3 C.11.2.1.2). A VOI_LUT is one of the volume's own tables: `center` and `width` say which values it
    spans, and gray follows from `table` alone.

    Parameters
    ----------
    voi_lut
        Which of the volume's tables, from 0.
    table
        That table; None where only its number is known, as in a request.

    Raises
    ------
    InvalidArgumentError
        If a number is not finite, the width not over 0, or under 1 for LINEAR; or there is a table without VOI_LUT.
    """

    center: float
    width: float
    function: WindowFunction = WindowFunction.LINEAR_EXACT
    explanation: str = ""
    voi_lut: int = 0
    table: LookupTable | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.center) and math.isfinite(self.width)):
            raise InvalidArgumentError(f"window {self.center}/{self.width}: not finite", field="window")
        if self.width <= 0 or (self.function is WindowFunction.LINEAR and self.width < 1):
            least = "at least 1 for linear" if self.function is WindowFunction.LINEAR else "over 0"
            raise InvalidArgumentError(f"window width {self.width:g}: {least}", field="window")
        if self.function is not WindowFunction.VOI_LUT and (self.table is not None or self.voi_lut):
            raise InvalidArgumentError(f"window of function {self.function.value} with a table", field="window")

    @classmethod
    def of_table(cls, number: int, table: LookupTable) -> Window:
        """Return a VOI LUT of a volume as the window that it stands for."""
        count = len(table.entries)
        center = table.first + (count - 1) / 2
        return cls(center, float(count), WindowFunction.VOI_LUT, table.explanation, number, table)

    def apply(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map modality values to 0 to 1, float64, same shape; NaN stays NaN (PS3.3 C.11.2.1.2 and .3)."""
        x = np.asarray(values, np.float64)
        if self.function is WindowFunction.VOI_LUT:
            assert self.table is not None
            return self.table.apply(x)
        if self.function is WindowFunction.SIGMOID:
            with np.errstate(over="ignore"):
                sigmoid: npt.NDArray[np.float64] = 1 / (1 + np.exp(-4 * (x - self.center) / self.width))
            return sigmoid
        if self.function is WindowFunction.LINEAR_EXACT:
            return np.clip((x - self.center) / self.width + 0.5, 0, 1)
        center = self.center - 0.5
        width = self.width - 1
        if width == 0:
            return np.where(np.isnan(x), np.nan, np.where(x <= center, 0.0, 1.0))
        return np.clip((x - center) / width + 0.5, 0, 1)

    def to_gray8(self, values: npt.ArrayLike, *, invert: bool = False) -> npt.NDArray[np.uint8]:
        """Map modality values to 8-bit gray, same shape: ``floor(255 * y + 0.5)``.

        Outside (NaN) is shown as the lowest value is: black, or white when inverted. The browser does the same
        arithmetic in float64, so its pixels equal these.
        """
        gray = np.floor(np.nan_to_num(self.apply(values), nan=0.0) * 255 + 0.5).astype(np.uint8)
        return 255 - gray if invert else gray


@dataclass(frozen=True)
class Shading:
    """Blinn-free Phong with the light at the eye, double-sided (PS3.3 C.11.31 defaults but for the numbers given).

    ``colour * (ambient + diffuse * |n.v|) + specular * max(0, 2 (n.v)^2 - 1) ^ shininess``, white light.
    """

    ambient: float = 0.1
    diffuse: float = 0.9
    specular: float = 0.2
    shininess: float = 10.0


@dataclass(frozen=True)
class TransferFunction:
    """Opacity and colour as piecewise linear functions of the modality value, constant beyond their ends.

    Parameters
    ----------
    opacity_points
        ``(value, opacity)``, ascending values, opacity 0 to 1 for `OPACITY_REFERENCE_MM` of path.
    color_points
        ``(value, r, g, b)``, ascending values, colours 0 to 1.
    shading
        None for unshaded.

    Raises
    ------
    InvalidArgumentError
        If there are no points, values do not ascend, or a number is out of its range.
    """

    opacity_points: tuple[tuple[float, float], ...]
    color_points: tuple[tuple[float, float, float, float], ...]
    shading: Shading | None = None
    name: str = ""

    MAX_POINTS = 256

    def __post_init__(self) -> None:
        for name, points in (("opacity_points", self.opacity_points), ("color_points", self.color_points)):
            table = np.array(points, np.float64)
            if not 1 <= len(points) <= self.MAX_POINTS or not np.isfinite(table).all():
                raise InvalidArgumentError(
                    f"{name}: {len(points)} points; 1 to {self.MAX_POINTS} finite ones needed", field=name
                )
            if (np.diff(table[:, 0]) < 0).any():
                raise InvalidArgumentError(f"{name}: values do not ascend", field=name)
            if table[:, 1:].min() < 0 or table[:, 1:].max() > 1:
                raise InvalidArgumentError(f"{name}: outside 0 to 1", field=name)

    def opacity(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Opacity for 1 mm of path at each value, float64, same shape."""
        x, y = np.array(self.opacity_points, np.float64).T
        return np.asarray(np.interp(np.asarray(values, np.float64), x, y), np.float64)

    def color(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Colour at each value, float64, shape ``(..., 3)``."""
        x, *channels = np.array(self.color_points, np.float64).T
        at = np.asarray(values, np.float64)
        return np.stack([np.interp(at, x, channel) for channel in channels], axis=-1)

    @property
    def gradient_floor(self) -> float:
        """Modality units per mm at which shading has faded by a factor of the square root of 2."""
        span = self.opacity_points[-1][0] - self.opacity_points[0][0]
        return GRADIENT_FLOOR_FRACTION * (span or 1.0)

    def shifted(self, offset: float) -> TransferFunction:
        """Return the same curve moved by `offset` modality units (MR values are raw: presets need moving)."""
        return TransferFunction(
            tuple((value + offset, opacity) for value, opacity in self.opacity_points),
            tuple((value + offset, r, g, b) for value, r, g, b in self.color_points),
            self.shading,
            self.name,
        )


def corrected_opacity(opacity: npt.ArrayLike, step_mm: float) -> npt.NDArray[np.float64]:
    """Opacity of a path of `step_mm` where a path of 1 mm has `opacity`: ``1 - (1 - a) ** (step / 1 mm)``."""
    transparency = 1 - np.asarray(opacity, np.float64)
    result: npt.NDArray[np.float64] = 1 - transparency ** (step_mm / OPACITY_REFERENCE_MM)
    return result


@functools.cache
def preset_names() -> tuple[str, ...]:
    """Names of the volume-rendering presets, in menu order."""
    return tuple(_presets())


def load_preset(name: str) -> TransferFunction:
    """Return the preset called `name`.

    Raises
    ------
    InvalidArgumentError
        If there is none; the message lists the names.
    """
    try:
        return _presets()[name]
    except KeyError:
        raise InvalidArgumentError(f"no preset {name!r}; there are {', '.join(_presets())}", field="preset") from None


@functools.cache
def _presets() -> dict[str, TransferFunction]:
    folder = importlib.resources.files("render") / "presets"
    order = json.loads((folder / "order.json").read_text("utf-8"))
    return {name: _parse_preset(json.loads((folder / f"{name}.json").read_text("utf-8"))) for name in order}


def _parse_preset(data: dict[str, object]) -> TransferFunction:
    opacity, color, shading = data["opacity_points"], data["color_points"], data["shading"]
    assert isinstance(opacity, list)
    assert isinstance(color, list)
    return TransferFunction(
        tuple((float(value), float(a)) for value, a in opacity),
        tuple((float(value), float(r), float(g), float(b)) for value, r, g, b in color),
        Shading(**shading) if isinstance(shading, dict) else None,
        str(data["name"]),
    )

"""What the numbers of a volume will mean: how stored values become codes, their unit, and the source's windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from render.dicom.dose import RT_DOSE
from render.dicom.frames import WindowValues
from render.dicom.slices import SliceSource
from render.dicom.suv import suv_factor
from render.errors import InvalidArgumentError
from render.lookup import LookupTable
from render.transfer import Window, WindowFunction

UNSIGNED_OFFSET = 32768
"""Unsigned 16-bit values are stored minus this."""

EXACT_FLOAT32_INTEGER = 1 << 24
"""Integers up to this are exact in float32."""

_WINDOW_FUNCTIONS = {
    "LINEAR": WindowFunction.LINEAR,
    "LINEAR_EXACT": WindowFunction.LINEAR_EXACT,
    "SIGMOID": WindowFunction.SIGMOID,
}
_SUV = "SUVbw"
_PET_UNITS = {"BQML": "Bq/ml", "GML": "g/ml", "CNTS": "counts", "CPS": "counts/s", "PROPCPS": "", "PROPCNTS": ""}


@dataclass(frozen=True)
class ValuePlan:
    """How stored values become codes.

    Attributes
    ----------
    dtype
        ``int16`` or ``float32``; ``uint8`` for colour, whose codes are red, green and blue.
    offset
        Subtracted from the stored value (or LUT output) to give the int16 code.
    slope, intercept
        ``value = slope * code + intercept``; 1 and 0 for float32, whose codes are the values.
    invalid_code
        The int16 code of padding: that of the padding value itself, which no other voxel has. None where there is
        no padding to expect, and for float32, which has NaN.
    factor
        What float32 values are multiplied by after their rescale: to SUV.
    """

    dtype: str
    offset: int = 0
    slope: float = 1.0
    intercept: float = 0.0
    invalid_code: int | None = None
    factor: float = 1.0

    @property
    def is_color(self) -> bool:
        """Whether codes are colours."""
        return self.dtype == "uint8"


@dataclass(frozen=True)
class Meaning:
    """What a volume's numbers mean: see the attributes of `VolumeInfo` that have the same names."""

    values: ValuePlan
    units: str
    windows: tuple[Window, ...]
    voi_luts: tuple[LookupTable, ...]
    suv_factor: float | None
    source_units: str
    warnings: tuple[str, ...]


def meaning_of(slices: Sequence[SliceSource]) -> Meaning:
    """Decide what the values of a stack mean. PET is held in SUVbw wherever its headers allow it."""
    first = slices[0].instance
    if slices[0].pixels.is_color:
        return Meaning(ValuePlan("uint8"), "", (), (), None, "", ())
    plan, warnings = plan_values(slices)
    windows, window_warnings = common_windows(slices)
    luts = slices[0].frame.voi_luts
    if any(source.frame.voi_luts != luts for source in slices):
        luts = ()
    units, factor = units_of(slices[0]), None
    pets = [source.instance.pet for source in slices if source.instance.pet is not None]
    if len(pets) == len(slices):
        factor, reason = suv_factor(pets, first.units)
        if factor is None:
            warnings += (f"no SUV: {reason}",)
    if factor is None:
        return Meaning(plan, units, windows, luts, None, "", (*warnings, *window_warnings))
    if plan.dtype == "int16":
        plan = replace(plan, slope=plan.slope * factor, intercept=plan.intercept * factor)
    else:
        plan = replace(plan, factor=factor)
    scaled = tuple(_scaled(window, factor) for window in windows)
    if luts:
        warnings += (f"VOI LUT of values in {units or 'the source'}: not applied to {_SUV}",)
    return Meaning(plan, _SUV, scaled, (), factor, units, (*warnings, *window_warnings))


def _scaled(window: Window, factor: float) -> Window:
    """Return the window of values that were multiplied by a factor."""
    center, width, function = window.center, window.width, window.function
    if function is WindowFunction.LINEAR and factor != 1:
        # LINEAR's half unit is one of the source's values; without it, it is LINEAR_EXACT.
        center, width, function = center - 0.5, max(width - 1, 1e-6), WindowFunction.LINEAR_EXACT
    return Window(center * factor, width * factor, function, window.explanation)


def plan_values(slices: Sequence[SliceSource]) -> tuple[ValuePlan, tuple[str, ...]]:
    """Decide how the values of a stack are stored, and what to warn of.

    A rescale that all slices share is kept beside int16 codes; one that differs from slice to slice (PET) is applied,
    giving exact float32 values.
    """
    first = slices[0].instance
    pixels = first.format
    assert pixels is not None
    rescales = {(source.frame.slope, source.frame.intercept) for source in slices}
    paddings = {source.instance.padding for source in slices}
    luts = {source.instance.modality_lut for source in slices}
    if pixels.element != "PixelData" or len(paddings) > 1:
        return ValuePlan("float32"), ()
    if luts != {None}:
        if None not in luts and paddings == {None}:
            return ValuePlan("int16", UNSIGNED_OFFSET, 1.0, float(UNSIGNED_OFFSET)), ()
        return ValuePlan("float32"), ()
    if len(rescales) > 1:
        return ValuePlan("float32"), ()
    if pixels.bits_stored > 16:
        return ValuePlan("float32"), (f"{pixels.bits_stored}-bit pixels are held as float32",)
    ((slope, intercept),) = rescales
    (padding,) = paddings
    offset = UNSIGNED_OFFSET if not pixels.signed and pixels.bits_stored == 16 else 0
    code = None if padding is None else int(padding[0]) - offset
    invalid = code if code is not None and -UNSIGNED_OFFSET <= code < UNSIGNED_OFFSET else None
    return ValuePlan("int16", offset, slope, intercept + slope * offset, invalid), ()


def units_of(source: SliceSource) -> str:
    """Return the unit of the modality values of a frame; empty where they are arbitrary."""
    instance, stated = source.instance, source.frame.rescale_type
    if instance.modality == "PT":
        return _PET_UNITS.get(instance.units, instance.units.lower())
    if instance.sop_class_uid == RT_DOSE:
        return instance.units
    if instance.modality == "CT" and stated in ("", "HU") and instance.modality_lut is None:
        return "HU"
    return "HU" if stated == "HU" else ""


def common_windows(slices: Sequence[SliceSource]) -> tuple[tuple[Window, ...], tuple[str, ...]]:
    """Return the VOI windows of the first slice that all slices have, and warnings of those left out."""
    others = [set(source.frame.windows) for source in slices[1:]]
    windows: list[Window] = []
    warnings: list[str] = []
    for values in dict.fromkeys(slices[0].frame.windows):
        if not all(values in other for other in others):
            continue
        center, width, function, _ = values
        window = window_from(values)
        if window is None:
            warnings.append(f"VOI window {center:g}/{width:g} {function} is invalid and left out")
            continue
        if function not in _WINDOW_FUNCTIONS:
            warnings.append(f"VOI LUT function of window {center:g}/{width:g} is unknown: LINEAR is used")
        windows.append(window)
    return tuple(windows), tuple(warnings)


def window_from(values: WindowValues) -> Window | None:
    """Return a window as DICOM states it, LINEAR where its function is unknown; None where it is invalid."""
    center, width, function, explanation = values
    try:
        return Window(center, width, _WINDOW_FUNCTIONS.get(function, WindowFunction.LINEAR), explanation)
    except InvalidArgumentError:
        return None

"""SUV by body weight: the factor from a PET series' modality values to g/ml, or the reason why there is none.

The rules are QIBA's vendor-neutral ones. Real World Value Mapping objects are not asked: they come apart from the
images, and some are wrong by powers of ten.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

from render.dicom.attributes import (
    GE_PET_CREATOR,
    GE_SCAN_TIME,
    PHILIPS_ACTIVITY_SCALE,
    PHILIPS_PET_CREATOR,
    PHILIPS_SUV_SCALE,
    floats,
    text,
    texts,
    values,
)
from render.errors import UnreadableFileError

DAY_S = 86_400.0

MAXIMUM_HALF_LIVES = 10.0
"""Between injection and scan. Nobody waits until a thousandth is left: such dates have been altered."""

FACTOR_TOLERANCE = 1e-4
"""Slices of one scan have one factor. Relative; a tenth of a second of F-18's decay is 1e-5."""


@dataclass(frozen=True, slots=True)
class PetHeader:
    """What SUV needs of one PET image; 0 or None where it is missing. All times are in s.

    Attributes
    ----------
    injection_s
        Radiopharmaceutical Start DateTime.
    injection_of_day_s
        Radiopharmaceutical Start Time: no date is known.
    vendor_scan_s
        GE's scan time.
    reference_s, duration_s
        Frame Reference Time and Actual Frame Duration.
    suv_scale, activity_scale
        Philips' factors of counts.
    """

    corrections: tuple[str, ...]
    decay_correction: str
    suv_type: str
    weight_kg: float = 0.0
    dose_bq: float = 0.0
    half_life_s: float = 0.0
    series_s: float | None = None
    acquisition_s: float | None = None
    injection_s: float | None = None
    injection_of_day_s: float | None = None
    vendor_scan_s: float | None = None
    reference_s: float | None = None
    duration_s: float | None = None
    suv_scale: float = 0.0
    activity_scale: float = 0.0


def read_pet(dataset: Dataset) -> PetHeader:
    """Read what SUV needs. What is malformed is missing."""
    drug = next(iter(values(dataset, "RadiopharmaceuticalInformationSequence")), Dataset())
    is_ge = _private_text(dataset, GE_PET_CREATOR).startswith("GEMS_PETD")
    is_philips = _private_text(dataset, PHILIPS_PET_CREATOR).upper().startswith("PHILIPS PET")
    return PetHeader(
        corrections=tuple(word.upper() for word in texts(dataset, "CorrectedImage")),
        decay_correction=text(dataset, "DecayCorrection").upper(),
        suv_type=text(dataset, "SUVType").upper(),
        weight_kg=_positive(dataset, "PatientWeight"),
        dose_bq=_positive(drug, "RadionuclideTotalDose"),
        half_life_s=_positive(drug, "RadionuclideHalfLife"),
        series_s=_seconds(text(dataset, "SeriesDate"), text(dataset, "SeriesTime")),
        acquisition_s=_seconds(text(dataset, "AcquisitionDate"), text(dataset, "AcquisitionTime")),
        injection_s=_moment(text(drug, "RadiopharmaceuticalStartDateTime")),
        injection_of_day_s=_of_day(text(drug, "RadiopharmaceuticalStartTime")),
        vendor_scan_s=_moment(_private_text(dataset, GE_SCAN_TIME)) if is_ge else None,
        reference_s=_milliseconds(dataset, "FrameReferenceTime"),
        duration_s=_milliseconds(dataset, "ActualFrameDuration"),
        suv_scale=_private_number(dataset, PHILIPS_SUV_SCALE) if is_philips else 0.0,
        activity_scale=_private_number(dataset, PHILIPS_ACTIVITY_SCALE) if is_philips else 0.0,
    )


def suv_factor(headers: Sequence[PetHeader], units: str) -> tuple[float | None, str]:
    """Return what modality values are multiplied by to give SUVbw in g/ml, or None and the reason.

    Parameters
    ----------
    headers
        Of all slices of a volume.
    units
        Units (0054,1001).
    """
    start_s = min((h.acquisition_s for h in headers if h.acquisition_s is not None), default=None)
    factors = []
    for header in dict.fromkeys(headers):
        try:
            factors.append(_factor(header, units, start_s))
        except _NoSuvError as error:
            return None, str(error)
    low, high = min(factors), max(factors)
    if high > low * (1 + FACTOR_TOLERANCE):
        return None, f"the factor differs between slices, {low:.5g} to {high:.5g}"
    return factors[0], ""


class _NoSuvError(Exception):
    """Why there is none."""


def _factor(header: PetHeader, units: str, start_s: float | None) -> float:
    if units == "GML":
        if header.suv_type not in ("", "BW"):
            raise _NoSuvError(f"SUV Type is {header.suv_type[:16]}, not by body weight")
        return 1.0
    if units not in ("BQML", "CNTS"):
        raise _NoSuvError(f"Units {units[:16] or 'are missing'}: no concentration of activity")
    if "ATTN" not in header.corrections:
        raise _NoSuvError("Corrected Image lacks ATTN: not corrected for attenuation")
    # DECY is the defined term; QIBA's own text has DECAY.
    if not {"DECY", "DECAY"} & set(header.corrections):
        raise _NoSuvError("Corrected Image lacks DECY: not corrected for decay")
    if header.decay_correction not in ("START", "ADMIN"):
        raise _NoSuvError(f"Decay Correction is {header.decay_correction[:16] or 'missing'}, not START or ADMIN")
    scale = 1.0
    if units == "CNTS":
        if header.suv_scale > 0:
            return header.suv_scale
        if header.activity_scale <= 0:
            raise _NoSuvError("counts without the vendor's factor")
        scale = header.activity_scale
    needed = {
        "Patient's Weight": header.weight_kg,
        "Radionuclide Total Dose": header.dose_bq,
        "Radionuclide Half Life": header.half_life_s,
    }
    if missing := [name for name, value in needed.items() if value <= 0]:
        raise _NoSuvError(f"{', '.join(missing)} missing or 0")
    elapsed_s = 0.0 if header.decay_correction == "ADMIN" else _elapsed_s(header, start_s)
    return scale * header.weight_kg * 1000 / (header.dose_bq * 2 ** (-elapsed_s / header.half_life_s))


def _elapsed_s(header: PetHeader, start_s: float | None) -> float:
    """Return the time from injection to what decay is corrected to, in s."""
    scan_s = _scan_s(header, start_s)
    if header.injection_s is not None and 0 <= scan_s - header.injection_s <= MAXIMUM_HALF_LIVES * header.half_life_s:
        return scan_s - header.injection_s
    if header.injection_of_day_s is not None:
        # Without a date, the last such time of day before the scan: injections may precede midnight.
        elapsed_s = (scan_s - header.injection_of_day_s) % DAY_S
    elif header.injection_s is not None:
        elapsed_s = scan_s - header.injection_s
    else:
        raise _NoSuvError("Radiopharmaceutical Start Time is missing")
    half_lives = elapsed_s / header.half_life_s
    if not 0 <= half_lives <= MAXIMUM_HALF_LIVES:
        raise _NoSuvError(
            f"the injection lies {elapsed_s / 3600:.1f} h before the scan, {half_lives:.1f} half-lives: "
            f"0 to {MAXIMUM_HALF_LIVES:g} are plausible"
        )
    return elapsed_s


def _scan_s(header: PetHeader, start_s: float | None) -> float:
    """Return the time that decay is corrected to: the start of the scan."""
    if start_s is None:
        raise _NoSuvError("Acquisition Date or Time is missing")
    if header.series_s is not None and header.series_s <= start_s:
        return header.series_s
    # Series Date and Time are when the series was made, by post-processing.
    if header.vendor_scan_s is not None:
        if abs(header.vendor_scan_s - start_s) <= DAY_S:
            return header.vendor_scan_s
        # Public and private dates were altered apart: only the time of day is left.
        return start_s - (start_s - header.vendor_scan_s) % DAY_S
    if header.acquisition_s is None or header.reference_s is None or not header.duration_s:
        raise _NoSuvError("Series Time lies after the acquisition, and nothing else tells when the scan began")
    # The frame's reference time is when its activity was the mean over the frame.
    rate = math.log(2) / header.half_life_s
    decay = rate * header.duration_s
    mean_s = math.log(decay / -math.expm1(-decay)) / rate
    return header.acquisition_s + mean_s - header.reference_s


def _positive(dataset: Dataset, keyword: str) -> float:
    try:
        numbers = floats(dataset, keyword)
    except UnreadableFileError:
        return 0.0
    return max(numbers[0], 0.0) if numbers else 0.0


def _milliseconds(dataset: Dataset, keyword: str) -> float | None:
    try:
        numbers = floats(dataset, keyword)
    except UnreadableFileError:
        return None
    return numbers[0] / 1000 if numbers else None


def _private_text(dataset: Dataset, tag: int) -> str:
    element = dataset.get(tag)
    value = element.value if element is not None else ""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return str(value).strip(" \0")


def _private_number(dataset: Dataset, tag: int) -> float:
    try:
        number = float(_private_text(dataset, tag))
    except ValueError:
        return 0.0
    return number if math.isfinite(number) and number > 0 else 0.0


def _moment(value: str) -> float | None:
    """Parse a DT; its offset from UTC is dropped, as all times of a file are in one zone."""
    match = re.match(r"(\d{8})(\d{2,6}(?:\.\d+)?)", value)
    return _seconds(match[1], match[2]) if match else None


def _seconds(date: str, time: str) -> float | None:
    of_day = _of_day(time)
    try:
        day = datetime.strptime(date.replace(".", ""), "%Y%m%d").toordinal()
    except ValueError:
        return None
    return None if of_day is None else day * DAY_S + of_day


def _of_day(time: str) -> float | None:
    match = re.match(r"(\d{2}):?(\d{2})?:?(\d{2}(?:\.\d+)?)?", time)
    if not match:
        return None
    return int(match[1]) * 3600.0 + int(match[2] or 0) * 60.0 + float(match[3] or 0)

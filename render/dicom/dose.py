"""Planes of an RT Dose: where each lies, and the factor to its unit (PS3.3 C.8.8.3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydicom.dataset import Dataset

from render.dicom.attributes import floats, lengths, text
from render.dicom.frames import FrameHeader
from render.dicom.tolerances import SAME_POSITION_MM
from render.errors import UnreadableFileError

RT_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"

_UNITS = {"GY": "Gy", "RELATIVE": ""}
_AXIAL = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
_AXIAL_TOLERANCE = 1e-3


def dose_units(dataset: Dataset) -> str:
    """Return the unit of scaled values: ``Gy``, or empty where the dose is relative."""
    stated = text(dataset, "DoseUnits").upper()
    return _UNITS.get(stated, stated.lower())


def read_dose_planes(dataset: Dataset, first: FrameHeader, count: int) -> tuple[FrameHeader, ...]:
    """Describe the planes of a dose grid. Doses of one series are told apart by Instance Number.

    Grid Frame Offset Vector comes in two forms: offsets from the first plane along its normal, the first being 0; or,
    for axial planes, their own z, the first being that of Image Position.

    Raises
    ------
    UnreadableFileError
        If the scaling is missing, the vector has another length than there are planes, or is of neither form.
    """
    scaling = floats(dataset, "DoseGridScaling", 1)
    if scaling is None or scaling[0] <= 0:
        raise UnreadableFileError("DoseGridScaling is missing or not over 0")
    instance = text(dataset, "InstanceNumber") or text(dataset, "SOPInstanceUID").rpartition(".")[2]
    plane = replace(first, slope=scaling[0], intercept=0.0, phase=(*first.phase, ("Dose", instance)))
    if count == 1 or plane.position_mm is None or plane.orientation is None:
        return tuple(replace(plane, number=n) for n in range(1, count + 1))
    offsets = lengths(dataset, "GridFrameOffsetVector", count)
    if offsets is None:
        raise UnreadableFileError(f"{count} planes of dose without GridFrameOffsetVector")
    orientation = np.array(plane.orientation)
    normal = np.cross(orientation[:3], orientation[3:])
    along = np.array(offsets)
    if abs(along[0]) > SAME_POSITION_MM:
        is_axial = np.abs(np.abs(orientation) - _AXIAL).max() <= _AXIAL_TOLERANCE
        if not is_axial or abs(along[0] - plane.position_mm[2]) > SAME_POSITION_MM:
            raise UnreadableFileError(
                f"GridFrameOffsetVector begins with {along[0]:g}: neither 0 nor the z of axial planes, "
                f"{plane.position_mm[2]:g}"
            )
        # Their own z, whichever way the normal points.
        places = np.array(plane.position_mm) + np.outer(along - along[0], (0.0, 0.0, 1.0))
    else:
        places = np.array(plane.position_mm) + np.outer(along, normal)
    return tuple(replace(plane, number=n, position_mm=tuple(place.tolist())) for n, place in enumerate(places, start=1))

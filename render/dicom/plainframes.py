"""Frames of a multi-frame object without functional groups: cine, scanned pages, and nuclear medicine.

Only nuclear medicine places them: by Spacing Between Slices along the normal, in the order of its vectors (PS3.3
C.8.4.8 and C.8.4.15). All others lie nowhere in the patient, and each is an image of its own.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from pydicom.dataset import Dataset

from render.dicom.attributes import lengths, text, texts, values
from render.dicom.frames import FrameHeader
from render.errors import UnreadableFileError

MAXIMUM_FRAMES = 20_000
"""Frames of one object, ten minutes of fluoroscopy at 30 a second; each is described."""

_CINE_MODALITIES = frozenset({"US", "IVUS", "XA", "RF", "ES", "XC", "GM", "OP"})
_CINE_TYPES = frozenset({"DYNAMIC", "GATED", "GATED TOMO", "TOMO"})
"""Third value of a nuclear medicine image's Image Type: frames in time, or of a detector that turns."""

_TIMES = ("FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate")
_VIEWS = {"EnergyWindow": "EnergyWindowVector", "Detector": "DetectorVector"}
_VECTORS = {
    **_VIEWS,
    "RRInterval": "RRIntervalVector",
    "TimeSlot": "TimeSlotVector",
}


def read_plain_frames(dataset: Dataset, first: FrameHeader, count: int) -> tuple[FrameHeader, ...]:
    """Describe all frames.

    Parameters
    ----------
    first
        What the object's attributes say, as of a single frame.

    Raises
    ------
    UnreadableFileError
        If there are too many, or a number that places them is malformed.
    """
    if count > MAXIMUM_FRAMES:
        raise UnreadableFileError(f"{count:,} frames in one object: over {MAXIMUM_FRAMES:,}")
    placed = _nuclear_frames(dataset, first, count)
    if placed is not None:
        return placed
    name = frame_name(dataset)
    bare = replace(first, position_mm=None, orientation=None)
    vectors = {key: texts(dataset, vector) for key, vector in _VIEWS.items()} if _is_nuclear(dataset) else {}
    known = {key: numbers for key, numbers in vectors.items() if len(numbers) == count and len(set(numbers)) > 1}
    return tuple(
        replace(
            bare,
            number=n,
            phase=(*first.phase, *((key, numbers[n - 1]) for key, numbers in known.items()), (name, str(n))),
        )
        for n in range(1, count + 1)
    )


def frame_name(dataset: Dataset) -> str:
    """Return what frames are numbered as: ``Frame`` in time, else ``Image``."""
    is_cine = text(dataset, "Modality") in _CINE_MODALITIES or any(values(dataset, name) for name in _TIMES)
    is_cine |= _is_nuclear(dataset) and not _CINE_TYPES.isdisjoint(texts(dataset, "ImageType"))
    return "Frame" if is_cine else "Image"


def _is_nuclear(dataset: Dataset) -> bool:
    return text(dataset, "Modality") == "NM"


def frame_ms(dataset: Dataset) -> float:
    """Return the time from one frame to the next, ms, by what is stated first; 0 if nothing sensible is."""
    times = [*values(dataset, "FrameTime")[:1], *values(dataset, "FrameTimeVector")[1:2]]
    rates = [*values(dataset, "RecommendedDisplayFrameRate")[:1], *values(dataset, "CineRate")[:1]]
    for value, is_rate in [*((time, False) for time in times), *((rate, True) for rate in rates)]:
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number) and number > 0:
            return 1000 / number if is_rate else number
    return 0.0


def _nuclear_frames(dataset: Dataset, first: FrameHeader, count: int) -> tuple[FrameHeader, ...] | None:
    """Place the slices of a reconstruction; None for all other frames."""
    spacing = lengths(dataset, "SpacingBetweenSlices", 1)
    numbers = texts(dataset, "SliceVector")
    is_reconstruction = len(numbers) == count or "RECON TOMO" in texts(dataset, "ImageType")
    detector = next(iter(values(dataset, "DetectorInformationSequence")), Dataset())
    position = first.position_mm or lengths(detector, "ImagePositionPatient", 3)
    orientation = first.orientation or lengths(detector, "ImageOrientationPatient", 6)
    if not _is_nuclear(dataset) or not spacing or not is_reconstruction or not position or not orientation:
        return None
    # A negative spacing stacks against the normal: in front of the first slice.
    step = np.cross(orientation[:3], orientation[3:]) * spacing[0]
    frames = []
    for n in range(count):
        number = numbers[n] if len(numbers) == count else str(n + 1)
        if not number.isdigit() or not 1 <= int(number) <= MAXIMUM_FRAMES:
            raise UnreadableFileError(f"SliceVector has a slice {number[:12]!r}")
        place = np.array(position) + step * (int(number) - 1)
        index = tuple(
            (name, texts(dataset, vector)[n])
            for name, vector in _VECTORS.items()
            if len(values(dataset, vector)) == count
        )
        frames.append(
            replace(
                first,
                number=n + 1,
                position_mm=tuple(place.tolist()),
                orientation=orientation,
                phase=(*first.phase, *index),
            )
        )
    return tuple(frames)

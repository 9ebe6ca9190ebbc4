"""From the slices of one series to its volumes: split by what must be equal, prove each stack, and plan it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from render.dicom.frames import PixelFormat
from render.dicom.phases import Phase, Slices, natural, split_phases, value_of
from render.dicom.plan import VolumePlan, volume_id
from render.dicom.slices import Layer, SliceSource
from render.dicom.stack import directions, fit
from render.dicom.tolerances import ORIENTATION_TOLERANCE, SPACING_TOLERANCE_FRACTION
from render.dicom.uneven import Place
from render.dicom.values import ValuePlan, meaning_of, units_of
from render.errors import NotAVolumeError, VoxelcastError
from render.geometry import VolumeGeometry
from render.volume import PixelScale, VolumeInfo

LOCALIZERS = frozenset({"LOCALIZER", "SCOUT", "TOPOGRAM", "SCANOGRAM"})
"""Values of Image Type or Frame Type that mark a scout. LOCALIZER is the standard's; the others are seen."""


NUMBERED = ("EnergyWindow", "Detector", "Frame", "Image")
"""What numbers the images of a file that lie nowhere in the patient."""


def split(slices: Slices) -> list[tuple[str, Slices]]:
    """Split by all that must be equal in one volume; near-equal orientations and spacings count as equal.

    Returns pairs of a key that is stable across runs and its slices.
    """
    groups: dict[Hashable, Slices] = defaultdict(list)
    orientations = _Clusters(ORIENTATION_TOLERANCE, relative=False)
    spacings = _Clusters(SPACING_TOLERANCE_FRACTION, relative=True)
    for source in slices:
        instance, frame = source.instance, source.frame
        has_place = frame.position_mm is not None and frame.orientation is not None
        groups[
            (
                instance.format,
                instance.frame_of_reference_uid,
                instance.modality,
                units_of(source),
                is_localizer(source),
                orientations.of(frame.orientation) if has_place else None,
                spacings.of(frame.spacing_mm),
                None if _is_placed(source) else f"{instance.sop_instance_uid}#{frame.number}",
            )
        ].append(source)
    return [(_stable_key(members[0]), members) for members in groups.values()]


def differences(groups: Sequence[Slices]) -> list[str]:
    """Say in what the groups of a series differ that lie in the patient; empty where they are one or none."""
    firsts = [members[0] for members in groups if _is_placed(members[0])]
    if len(firsts) < 2:
        return []
    found = {
        field.name.replace("_", " "): {str(getattr(source.pixels, field.name)): None for source in firsts}
        for field in fields(PixelFormat)
    }
    found["unit"] = {units_of(source) or "none": None for source in firsts}
    found["modality"] = {source.instance.modality or "none": None for source in firsts}
    spacings = _Clusters(SPACING_TOLERANCE_FRACTION, relative=True)
    found["pixel spacing"] = {
        " x ".join(f"{mm:.4g}" for mm in source.frame.spacing_mm or ()): None
        for source in firsts
        if spacings.is_new(source.frame.spacing_mm)
    }
    said = [f"{name} ({', '.join(values)})" for name, values in found.items() if len(values) > 1]
    orientations = _Clusters(ORIENTATION_TOLERANCE, relative=False)
    counts = {
        "orientation": sum(orientations.is_new(source.frame.orientation) for source in firsts),
        "frame of reference": len({source.instance.frame_of_reference_uid for source in firsts}),
        "being a scout": len({is_localizer(source) for source in firsts}),
    }
    said += [name for name, count in counts.items() if count > 1]
    return [f"{len(firsts)} groups of images that differ in {', '.join(said)}: kept apart"]


def _is_placed(source: SliceSource) -> bool:
    frame = source.frame
    return frame.position_mm is not None and frame.orientation is not None and frame.spacing_mm is not None


def _pixel_scale(source: SliceSource) -> PixelScale:
    """Say what lengths in an image are: of a film that was scanned, those of the film are not the patient's."""
    match source.frame.spacing_from:
        case "" | "PixelAspectRatio" | "NominalScannedPixelSpacing":
            return PixelScale.UNKNOWN
        case "ImagerPixelSpacing" | "ImagePlanePixelSpacing":
            return PixelScale.DETECTOR
        case _:
            return PixelScale.PATIENT


def is_localizer(source: SliceSource) -> bool:
    """Say whether a slice is a scout: it never becomes part of a stack of other images."""
    return not LOCALIZERS.isdisjoint((*source.instance.image_type, *value_of(source, "FrameType").split("\\")))


def build_volumes(root: Path, key: str, slices: Slices) -> tuple[list[VolumePlan], list[str]]:
    """Make the volumes of slices of one key; return them, and why some make none."""
    first = slices[0].frame
    placing = {
        "Image Position (Patient)": first.position_mm,
        "Image Orientation (Patient)": first.orientation,
        "Pixel Spacing": first.spacing_mm,
    }
    if missing := [name for name, value in placing.items() if value is None]:
        warning = f"no {', '.join(missing)}: shown in pixel coordinates"
        return [
            _plan(root, key, Phase([source], index, (warning,)), _pixel_grid(source))
            for source, index in zip(slices, _frame_indices(slices), strict=True)
        ], []
    plans, reasons = [], []
    try:
        for phase in (part for whole in split_phases(slices) for part in _apart_where_interleaved(whole)):
            members = phase.slices
            try:
                stack = fit([source.frame for source in members], members[0].rows, members[0].columns)
            except VoxelcastError as error:
                reasons.append(error.message)
                continue
            if stack.places and members[0].pixels.is_color:
                reasons.append(f"{len(members)} colour slices are unevenly spaced: colours are not resampled")
                continue
            ordered = [members[n] for n in stack.order]
            known = Phase(ordered, phase.index, (*phase.warnings, *stack.warnings))
            plans.append(_plan(root, key, known, stack.geometry, stack.places))
    except NotAVolumeError as error:
        reasons.append(error.message)
    return plans, reasons


def _apart_where_interleaved(phase: Phase) -> list[Phase]:
    """Keep acquisitions apart that are even stacks, but whose slices lie unevenly between one another's.

    Together they could be resampled, but would show moments that were never one.
    """
    parts: dict[str, Slices] = defaultdict(list)
    for source in phase.slices:
        parts[value_of(source, "AcquisitionNumber")].append(source)
    if len(parts) < 2 or min(map(len, parts.values())) < 2 or _is_even(phase.slices):
        return [phase]
    _, _, normal = directions(phase.slices[0].frame)
    reaches = sorted(
        (min(depths), max(depths))
        for part in parts.values()
        for depths in [[float(normal @ np.array(source.frame.position_mm)) for source in part]]
    )
    overlap = any(end > start for (_, end), (start, _) in pairwise(reaches))
    if not overlap or not all(map(_is_even, parts.values())):
        return [phase]
    warning = f"slices of {len(parts)} acquisitions lie between one another's: kept apart by Acquisition Number"
    return [
        Phase(parts[number], {**phase.index, "AcquisitionNumber": number}, (*phase.warnings, warning))
        for number in sorted(parts, key=natural)
    ]


def _is_even(slices: Slices) -> bool:
    try:
        return not fit([source.frame for source in slices], slices[0].rows, slices[0].columns).places
    except VoxelcastError:
        return False


def _frame_indices(slices: Slices) -> list[dict[str, str]]:
    """Return what numbers each image among those of its file, and which of several it is that share its identity."""
    total, seen = Counter(source.identity for source in slices), Counter[str]()
    indices = []
    for source in slices:
        index = {name: value for name, value in source.frame.phase if name in NUMBERED}
        if total[source.identity] > 1:
            index["repeat"] = str(seen[source.identity])
        seen[source.identity] += 1
        indices.append(index)
    return indices


def _pixel_grid(source: SliceSource) -> VolumeGeometry:
    """Return a grid for an image that lies nowhere in the patient: x along rows, y down columns, mm or pixels."""
    down, right = source.frame.spacing_mm or (1.0, 1.0)
    return VolumeGeometry.from_axes(
        (1, source.rows, source.columns),
        (0, 0, 0),
        (right, 0, 0),
        (0, down, 0),
        (0, 0, source.frame.thickness_mm or 1.0),
    )


def _plan(
    root: Path,
    key: str,
    phase: Phase,
    geometry: VolumeGeometry,
    places: Sequence[Place] = (),
) -> VolumePlan:
    slices = phase.slices
    first = slices[0].instance
    meaning = meaning_of(slices)
    has_gaps = any(place.lower is None for place in places)
    values = _with_gaps(meaning.values, slices[0]) if has_gaps else meaning.values
    info = VolumeInfo(
        modality=first.modality,
        units=meaning.units,
        description=first.description,
        study_uid=first.study_uid,
        series_uid=first.series_uid,
        frame_of_reference_uid=first.frame_of_reference_uid,
        series_number=first.series_number,
        windows=meaning.windows,
        voi_luts=meaning.voi_luts,
        suv_factor=meaning.suv_factor,
        source_units=meaning.source_units,
        inverted=first.format is not None and first.format.photometric == "MONOCHROME1",
        lossy_source=any(source.instance.lossy for source in slices),
        is_placed=_is_placed(slices[0]),
        pixel_scale=_pixel_scale(slices[0]),
        slice_thickness_mm=slices[0].frame.thickness_mm,
        warnings=(*phase.warnings, *meaning.warnings),
        phase_ms=first.frame_ms if "Frame" in phase.index else 0.0,
        extra=dict(phase.index),
    )
    return VolumePlan(
        id=volume_id(slices, str(key)),
        root=root,
        slices=tuple(slices),
        geometry=geometry,
        values=values,
        resampled=tuple(_layer(place, slices) for place in places),
        info=info,
        is_localizer=is_localizer(slices[0]),
        patient_key=first.patient_key,
    )


def _with_gaps(values: ValuePlan, source: SliceSource) -> ValuePlan:
    """Return a plan that can mark voxels invalid: by a code that no stored value has, else in float32."""
    if values.dtype == "float32" or values.invalid_code is not None:
        return values
    if source.instance.modality_lut is None and source.pixels.bits_stored < 16:
        return replace(values, invalid_code=-(1 << 15))
    return replace(values, dtype="float32", offset=0, slope=1.0, intercept=0.0)


def _layer(place: Place, slices: Slices) -> Layer:
    return Layer(
        None if place.lower is None else slices[place.lower],
        None if place.upper is None else slices[place.upper],
        place.fraction,
    )


def _stable_key(source: SliceSource) -> str:
    """Describe what a group's slices have in common, for the volume's id: the same whenever the files are."""
    frame = source.frame
    cosines = tuple(round(c, 3) for c in frame.orientation or ())
    spacing = tuple(round(mm, 4) for mm in frame.spacing_mm or ())
    return f"{source.instance.format}|{source.instance.frame_of_reference_uid}|{cosines}|{spacing}"


class _Clusters:
    """Numbers near-equal tuples alike; the first of a cluster stands for it."""

    def __init__(self, tolerance: float, *, relative: bool) -> None:
        self._tolerance, self._relative = tolerance, relative
        self._representatives: list[tuple[float, ...] | None] = []

    def is_new(self, value: tuple[float, ...] | None) -> bool:
        """Say whether a value begins a cluster of its own."""
        known = len(self._representatives)
        return self.of(value) == known

    def of(self, value: tuple[float, ...] | None) -> int:
        for number, known in enumerate(self._representatives):
            if value is None or known is None:
                if value is known:
                    return number
                continue
            scale = max(map(abs, known)) if self._relative else 1.0
            if max(abs(a - b) for a, b in zip(value, known, strict=True)) <= self._tolerance * scale:
                return number
        self._representatives.append(value)
        return len(self._representatives) - 1

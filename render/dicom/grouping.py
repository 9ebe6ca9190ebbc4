"""Instances grouped into series, and each series split into the volumes it holds, or the reason why it holds none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from render.dicom.attributes import FRAME_PHASE_KEYWORDS, PHASE_KEYWORDS
from render.dicom.instance import Instance
from render.dicom.kinds import refusal, refused_kind, special_kind, special_reason
from render.dicom.plan import VolumePlan, volume_id
from render.dicom.series import Series
from render.dicom.slices import SliceSource
from render.dicom.stack import (
    ORIENTATION_TOLERANCE,
    SPACING_TOLERANCE_FRACTION,
    directions,
    fit,
    same_position_mm,
)
from render.dicom.values import meaning_of
from render.errors import NotAVolumeError, VoxelcastError
from render.geometry import VolumeGeometry
from render.volume import VolumeInfo

Slices: TypeAlias = list[SliceSource]

MAX_REFUSALS = 5
"""Reasons that are given for the files of one series that can't be slices: each damaged file may have its own."""


def group_series(root: Path, instances: Iterable[Instance]) -> tuple[Series, ...]:
    """Group instances by Series Instance UID; a file without one is a series of its own.

    One UID in two studies, or for two patients, is a fault of whoever wrote it: such files are kept apart, since
    mixing them would show one patient within another. The result depends neither on the order of the instances nor
    on the files' names, but that volumes of equal identity are told apart by their order.
    """
    groups: dict[Hashable, list[Instance]] = defaultdict(list)
    for instance in instances:
        owner = (instance.study_uid, instance.patient_key)
        groups[(instance.series_uid, *owner) if instance.series_uid else instance.path].append(instance)
    series = [build_series(root, members) for members in groups.values()]
    return order(series)


def order(series: Iterable[Series]) -> tuple[Series, ...]:
    """Sort series by Series Number, those without one last."""
    return tuple(sorted(series, key=lambda s: (s.series_number is None, s.series_number or 0, s.uid, s.paths)))


def with_distinct_ids(series: Iterable[Series]) -> tuple[Series, ...]:
    """Rename volumes whose id another one has: the same SOP Instance UIDs, in another series."""
    taken: set[str] = set()
    result = []
    for member in series:
        plans = []
        for plan in member.volumes:
            while plan.id in taken:
                plan = replace(plan, id=volume_id(plan.slices, plan.id))
            taken.add(plan.id)
            plans.append(plan)
        result.append(replace(member, volumes=tuple(plans)))
    return tuple(result)


def build_series(root: Path, members: Sequence[Instance]) -> Series:
    """Make a series of the instances of one Series Instance UID."""
    members = sorted(members, key=lambda m: (m.sop_instance_uid, m.number_of_frames, m.size_bytes, m.path))
    images = [m for m in members if not special_kind(m)]
    reasons: list[str] = []
    warnings: list[str] = []
    plans: list[VolumePlan] = []
    usable, refused = _usable(images, warnings)
    reasons += _refusals(refused)
    for key, slices in _split(usable):
        found, unfit = _volumes(root, key, slices)
        plans += found
        reasons += unfit
    plans.sort(key=lambda plan: -plan.shape[0])  # stable: phases stay in their order
    plans = [replace(plan, info=replace(plan.info, volume_index=n)) for n, plan in enumerate(plans)]
    if plans:
        warnings += [f"left out: {reason}" for reason in reasons]
        kind = "volume" if plans[0].shape[0] > 1 else "image"
    else:
        first = images[0] if images else members[0]
        kind = refused_kind(refused[0] if refused else first) if images else special_kind(first)
        if not images:
            reasons = [special_reason(first)]
    if plans and warnings:
        plans = [replace(p, info=replace(p.info, warnings=(*p.info.warnings, *warnings))) for p in plans]
    label = plans[0].slices[0].instance if plans else members[0]
    return Series(
        uid=label.series_uid,
        kind=kind,
        modality=label.modality,
        description=label.description,
        series_number=label.series_number,
        volumes=tuple(plans),
        frames=sum(m.number_of_frames for m in members),
        reason="" if plans else "; ".join(reasons),
        warnings=tuple(dict.fromkeys([*warnings, *(w for plan in plans for w in plan.info.warnings)])),
        paths=tuple(sorted(m.path for m in members)),
        refused_stack=not plans and len(usable) > 1,
        patient_key=label.patient_key,
    )


def _usable(images: Sequence[Instance], warnings: list[str]) -> tuple[Slices, list[Instance]]:
    """Return one source for each frame that may be a slice, and the instances that may not."""
    refused = [m for m in images if refusal(m)]
    seen: dict[str, Instance] = {}
    copies = 0
    slices: Slices = []
    for instance in images:
        if refusal(instance):
            continue
        if instance.sop_instance_uid and instance.sop_instance_uid in seen:
            copies += 1
            continue
        seen[instance.sop_instance_uid] = instance
        slices += [SliceSource(instance, frame) for frame in instance.frames]
    if copies:
        warnings.append(f"{copies} of {len(images)} files repeat a SOP Instance UID: the first of each is used")
    return slices, refused


def _split(slices: Slices) -> list[tuple[str, Slices]]:
    """Split by all that must be equal in one volume; near-equal orientations and spacings count as equal.

    Returns pairs of a key that is stable across runs and its slices.
    """
    groups: dict[Hashable, Slices] = defaultdict(list)
    orientations = _Clusters(ORIENTATION_TOLERANCE, relative=False)
    spacings = _Clusters(SPACING_TOLERANCE_FRACTION, relative=True)
    for source in slices:
        instance, frame = source.instance, source.frame
        is_placed = frame.position_mm is not None and frame.orientation is not None
        groups[
            (
                instance.format,
                instance.frame_of_reference_uid,
                instance.modality,
                "LOCALIZER" in instance.image_type,
                orientations.of(frame.orientation) if is_placed else None,
                spacings.of(frame.spacing_mm),
                None if is_placed and frame.spacing_mm else f"{instance.sop_instance_uid}#{frame.number}",
            )
        ].append(source)
    return [(_stable_key(members[0]), members) for members in groups.values()]


def _volumes(root: Path, key: str, slices: Slices) -> tuple[list[VolumePlan], list[str]]:
    """Make the volumes of slices of one key; return them, and why some make none."""
    first = slices[0].frame
    placing = {
        "Image Position (Patient)": first.position_mm,
        "Image Orientation (Patient)": first.orientation,
        "Pixel Spacing": first.spacing_mm,
    }
    if missing := [name for name, value in placing.items() if value is None]:
        warning = f"no {', '.join(missing)}: shown in pixel coordinates"
        return [_plan(root, key, [source], _pixel_grid(source), (warning,)) for source in slices], []
    plans, reasons = [], []
    try:
        for label, members, warnings in _phases(slices):
            pixels = members[0].instance.format
            assert pixels is not None
            try:
                stack = fit([source.frame for source in members], pixels)
            except VoxelcastError as error:
                reasons.append(error.message)
                continue
            ordered = [members[n] for n in stack.order]
            plans.append(_plan(root, key, ordered, stack.geometry, warnings, label))
    except NotAVolumeError as error:
        reasons.append(error.message)
    return plans, reasons


def _pixel_grid(source: SliceSource) -> VolumeGeometry:
    """Return a grid for an image that lies nowhere in the patient: x along rows, y down columns, mm or pixels."""
    pixels = source.instance.format
    assert pixels is not None
    down, right = source.frame.spacing_mm or (1.0, 1.0)
    return VolumeGeometry.from_axes(
        (1, pixels.rows, pixels.columns),
        (0, 0, 0),
        (right, 0, 0),
        (0, down, 0),
        (0, 0, source.frame.thickness_mm or 1.0),
    )


def _phases(slices: Slices) -> list[tuple[str, Slices, tuple[str, ...]]]:
    """Split slices that share positions: by the first attribute that tells them apart, else by their number.

    Returns
    -------
    list of (label, slices, warnings)
        One with an empty label where no two slices share a position.
    """
    multiplicity = _multiplicity(slices)
    if multiplicity == 1:
        return [("", slices, ())]
    for keyword in (*PHASE_KEYWORDS, *FRAME_PHASE_KEYWORDS):
        parts: dict[str, Slices] = defaultdict(list)
        for source in slices:
            parts[dict(source.frame.phase).get(keyword, "")].append(source)
        if len(parts) == multiplicity and all(_multiplicity(part) == 1 for part in parts.values()):
            ordered = sorted(parts.items(), key=lambda item: _natural(item[0]))
            return [(f"{keyword}={value}", part, ()) for value, part in ordered]
    ranks: list[Slices] = [[] for _ in range(multiplicity)]
    for cluster in _at_one_position(slices):
        cluster.sort(key=lambda s: (s.instance.instance_number or 0, s.instance.sop_instance_uid, s.frame.number))
        for rank, source in enumerate(cluster):
            ranks[rank].append(source)
    doubled = sum(len(cluster) > 1 for cluster in _at_one_position(slices))
    warning = (
        f"{doubled} positions hold up to {multiplicity} images that no attribute tells apart: "
        "kept as separate volumes by Instance Number"
    )
    return [(f"repeat={rank}", part, (warning,)) for rank, part in enumerate(ranks)]


def _at_one_position(slices: Slices) -> list[Slices]:
    """Cluster slices whose positions coincide."""
    _, _, normal = directions(slices[0].frame)
    tolerance = same_position_mm(slices[0].frame.spacing_mm or (1.0, 1.0))
    positions = np.array([source.frame.position_mm for source in slices], np.float64)
    depth = positions @ normal
    clusters: list[Slices] = []
    anchors: list[int] = []
    for n in np.lexsort((*positions.T, depth)):
        for cluster, anchor in zip(reversed(clusters), reversed(anchors), strict=True):
            if depth[n] - depth[anchor] > tolerance:
                clusters.append([slices[n]])
                anchors.append(int(n))
                break
            if np.linalg.norm(positions[n] - positions[anchor]) <= tolerance:
                cluster.append(slices[n])
                break
        else:
            clusters.append([slices[n]])
            anchors.append(int(n))
    return clusters


def _multiplicity(slices: Slices) -> int:
    return max(len(cluster) for cluster in _at_one_position(slices))


def _plan(
    root: Path,
    key: str,
    slices: Slices,
    geometry: VolumeGeometry,
    warnings: tuple[str, ...],
    label: str = "",
) -> VolumePlan:
    first = slices[0].instance
    meaning = meaning_of(slices)
    name, _, value = label.partition("=")
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
        slice_thickness_mm=slices[0].frame.thickness_mm,
        warnings=(*warnings, *meaning.warnings),
        extra={name: value} if label else {},
    )
    return VolumePlan(
        id=volume_id(slices, f"{key}|{label}"),
        root=root,
        slices=tuple(slices),
        geometry=geometry,
        values=meaning.values,
        info=info,
        is_localizer="LOCALIZER" in first.image_type,
        patient_key=first.patient_key,
    )


def _stable_key(source: SliceSource) -> str:
    """Describe what a group's slices have in common, for the volume's id: the same whenever the files are."""
    frame = source.frame
    cosines = tuple(round(c, 3) for c in frame.orientation or ())
    spacing = tuple(round(mm, 4) for mm in frame.spacing_mm or ())
    return f"{source.instance.format}|{source.instance.frame_of_reference_uid}|{cosines}|{spacing}"


def _refusals(refused: Iterable[Instance]) -> list[str]:
    """Say why files can't be slices; a damaged one is named, so that it can be replaced."""
    by_reason: dict[str, list[Instance]] = defaultdict(list)
    for instance in refused:
        by_reason[refusal(instance)].append(instance)
    lines = []
    for reason, members in by_reason.items():
        count = f"{len(members)} files" if len(members) > 1 else ""
        first = min(member.path for member in members) if members[0].defect else ""
        what = ", the first ".join(filter(None, (count, first)))
        lines.append(f"{reason} ({what})" if what else reason)
    if len(lines) > MAX_REFUSALS:
        lines[MAX_REFUSALS - 1 :] = [f"{len(lines) - MAX_REFUSALS + 1} more reasons like these"]
    return lines


def _natural(value: str) -> tuple[float, str]:
    """Sort numbers by value, before text."""
    try:
        return float(value), value
    except ValueError:
        return float("inf"), value


class _Clusters:
    """Numbers near-equal tuples alike; the first of a cluster stands for it."""

    def __init__(self, tolerance: float, *, relative: bool) -> None:
        self._tolerance, self._relative = tolerance, relative
        self._representatives: list[tuple[float, ...] | None] = []

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

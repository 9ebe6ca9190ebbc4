"""Instances grouped into series, and each series split into the volumes it holds, or the reason why it holds none."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from render.dicom.changes import KnownFolder
from render.dicom.copies import without_copies
from render.dicom.instance import Concatenation, Instance
from render.dicom.kinds import refusal, refused_kind, special_kind, special_reason
from render.dicom.phases import TIME_KEYWORDS, Slices
from render.dicom.plan import VolumePlan, volume_id
from render.dicom.series import Series
from render.dicom.slices import SliceSource
from render.dicom.volumes import build_volumes, differences, split

MAX_PARTS = 10_000
"""Of a concatenation, that are looked for: a total may lie."""

MAX_REFUSALS = 5
"""Reasons that are given for the files of one series that can't be slices: each damaged file may have its own."""


def group_series(root: Path, instances: Iterable[Instance], known: KnownFolder) -> tuple[Series, ...]:
    """Group instances by Series Instance UID; a file without one is a series of its own.

    One UID in two studies, or for two patients, is a fault of whoever wrote it: such files are kept apart, since
    mixing them would show one patient within another. The result depends neither on the order of the instances nor
    on the files' names, but that volumes of equal identity are told apart by their order. A series of the same
    instances as when it was last `known` is that one.
    """
    groups: dict[Hashable, list[Instance]] = defaultdict(list)
    for instance in instances:
        owner = (instance.study_uid, instance.patient_key)
        groups[(instance.series_uid, *owner) if instance.series_uid else instance.path].append(instance)
    group = known.grouping(build_series)
    series = [group(root, key, members) for key, members in groups.items()]
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
    # Of files that share a UID, the one with the most frames comes first.
    members = sorted(members, key=lambda m: (m.sop_instance_uid, -m.number_of_frames, m.transfer_syntax, m.path))
    images = [m for m in members if not special_kind(m)]
    others = [m for m in members if special_kind(m)]
    reasons: list[str] = []
    warnings: list[str] = []
    plans: list[VolumePlan] = []
    usable, refused = _usable(root, images, warnings)
    reasons += _refusals(refused)
    groups = split(usable)
    warnings += differences([slices for _, slices in groups])
    for key, slices in groups:
        found, unfit = build_volumes(root, key, slices)
        plans += found
        reasons += unfit
    plans.sort(key=lambda plan: -plan.shape[0])  # stable: phases stay in their order
    plans = [replace(plan, info=replace(plan.info, volume_index=n)) for n, plan in enumerate(plans)]
    if plans:
        warnings += [f"left out: {reason}" for reason in (*reasons, *_special_reasons(others))]
        kind = _shown_kind(plans)
    else:
        first = images[0] if images else members[0]
        kind = refused_kind(refused[0] if refused else first) if images else special_kind(first)
        reasons += _special_reasons(others)
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
        objects=tuple(m for m in members if not m.defect and (special_kind(m) or refusal(m))),
        refused_stack=not plans and len(usable) > 1,
        patient_key=label.patient_key,
    )


def _special_reasons(others: Iterable[Instance]) -> list[str]:
    counts = Counter(map(special_reason, others))
    return [f"{reason} ({count} files)" if count > 1 else reason for reason, count in counts.items()]


def _shown_kind(plans: Sequence[VolumePlan]) -> str:
    if plans[0].shape[0] > 1:
        return "volume"
    is_timed = len(plans) > 1 and all(TIME_KEYWORDS.intersection(plan.info.extra) for plan in plans)
    return "cine" if is_timed else "image"


def _usable(root: Path, images: Sequence[Instance], warnings: list[str]) -> tuple[Slices, list[Instance]]:
    """Return one source for each frame that may be a slice, and the instances that may not."""
    refused = [m for m in images if refusal(m)]
    shared = "have another's SOP Instance UID"
    distinct = without_copies(root, [m for m in images if not refusal(m)])
    slices = [
        SliceSource(instance, frame, tile)
        for instance in distinct.images
        for frame, tile in zip_longest(instance.frames, instance.tiles)
    ]
    warnings += [
        f"{count} of {len(images)} files {what}"
        for count, what in (
            (distinct.elsewhere, f"{shared}, but lie elsewhere: all are used"),
            (
                distinct.contradicting,
                f"{shared} and place, but other bytes or attributes: kept apart",
            ),
            (distinct.copies, "are copies of others, with the same SOP Instance UID and pixels: each is used once"),
        )
        if count
    ]
    warnings += _missing_parts(images)
    return slices, refused


def _missing_parts(images: Sequence[Instance]) -> list[str]:
    """Say what is missing of concatenations. The parts that are there are frames of one series like any others."""
    parts: dict[str, list[Concatenation]] = defaultdict(list)
    for instance in images:
        if instance.concatenation is not None:
            parts[instance.concatenation.uid].append(instance.concatenation)
    lines = []
    for members in parts.values():
        there = {part.number for part in members}
        total = max([part.total or 0 for part in members] + [max(there)])
        if missing := [n for n in range(1, min(total, MAX_PARTS) + 1) if n not in there]:
            numbers = ", ".join(map(str, missing[:MAX_REFUSALS])) + (", ..." if len(missing) > MAX_REFUSALS else "")
            lines.append(f"concatenation of {total} files: {len(missing)} missing, numbers {numbers}")
    return lines


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

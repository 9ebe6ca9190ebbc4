"""A series of a scan, and which volume of it is meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from render.dicom.instance import Instance
from render.dicom.plan import VolumePlan
from render.errors import AmbiguousSeriesError, NotAVolumeError, NoVolumeError

if TYPE_CHECKING:
    from render.dicom.source import Scan

MAX_NUMBERS = 40
"""Series Numbers that an error lists."""


@dataclass(frozen=True, eq=False)
class Series:
    """All files of one Series Instance UID, and what they make.

    Attributes
    ----------
    kind
        ``volume`` where any of its volumes has two slices or more, ``image`` for single slices, else what the
        objects are (``cine``, ``segmentation``, ``document``, ...), or ``other``.
    volumes
        By falling number of slices; empty if nothing can be shown.
    frames
        Frames in all files, refused ones included.
    reason
        Why there is no volume; empty if there is one.
    objects
        Of its files, undamaged ones that no volume is made of: segmentations and structure sets
        (`render.dicom.segmentation`, `render.dicom.rtstruct`), images of colour (`render.dicom.picture`), documents.
    refused_stack
        Several grey images that make no volume: a competitor when one series is to be chosen.
    paths
        All files, relative to the scanned path, sorted.
    """

    uid: str
    kind: str
    modality: str
    description: str
    series_number: int | None
    volumes: tuple[VolumePlan, ...]
    frames: int
    reason: str
    warnings: tuple[str, ...]
    paths: tuple[str, ...]
    objects: tuple[Instance, ...] = ()
    refused_stack: bool = False
    patient_key: str = field(default="", repr=False)


def select(scan: Scan, *, series: str | None = None, volume: int | None = None) -> VolumePlan:
    """Choose one volume.

    Without `series`, the one series that is plainly the volume: all others are scouts and localizers, single images,
    or objects that are neither image nor stack. Where there are no volumes, a lone single image is chosen.

    Parameters
    ----------
    series
        A Series Instance UID, or a Series Number that one series has.
    volume
        Which volume of the series, from 0, as `Scan.to_json` numbers them; needed where there are several, unless
        all but one are single images or scouts.

    Raises
    ------
    AmbiguousSeriesError
        If there are several candidates, or several series of that number; ``details["candidates"]`` lists them.
    NotAVolumeError
        If the series makes no volume, or has no volume of that number: the measured reason.
    NoVolumeError
        If nothing there can be shown, or there is no such series: the numbers that there are.
    """
    chosen = _named(scan, series) if series is not None else _plain(scan)
    if not chosen.volumes:
        # A slice that is cut before its Series Instance UID belongs to no series, but leaves a gap in one.
        cut = next(
            (file for file in scan.skipped if file.reason.startswith(("truncated", "incomplete", "damaged"))), None
        )
        cause = f"{cut.reason} ({cut.path}, skipped); " if cut is not None and chosen.refused_stack else ""
        raise NotAVolumeError(f"{_title(chosen)} is no volume: {cause}{chosen.reason}", series_uid=chosen.uid)
    if volume is None:
        stacks = [plan for plan in chosen.volumes if plan.shape[0] > 1 and not plan.is_localizer]
        if len(stacks) == 1:
            return stacks[0]
        if len(chosen.volumes) > 1:
            raise AmbiguousSeriesError(
                f"{_title(chosen)} holds {len(chosen.volumes)} volumes: name one by its number",
                candidates=[f"volume {n}: {_shape(plan)}, id {plan.id}" for n, plan in enumerate(chosen.volumes)],
            )
        return chosen.volumes[0]
    if not 0 <= volume < len(chosen.volumes):
        raise NotAVolumeError(
            f"{_title(chosen)} holds {len(chosen.volumes)} volumes, numbered from 0: no number {volume}",
            series_uid=chosen.uid,
        )
    return chosen.volumes[volume]


def _named(scan: Scan, series: str) -> Series:
    by_uid = [member for member in scan.series if member.uid == series]
    if len(by_uid) > 1 and len(shown := [member for member in by_uid if member.volumes]) == 1:
        return shown[0]
    is_number = re.fullmatch(r"[+-]?[0-9]{1,12}", series) is not None
    found = by_uid or [member for member in scan.series if is_number and member.series_number == int(series)]
    if len(found) > 1:
        what = "have the UID" if by_uid else "are numbered"
        raise _ambiguous(f"{len(found)} series {what} {series}: name one by a Series Instance UID of its own", found)
    if not found:
        numbers = sorted({member.series_number for member in scan.series if member.series_number is not None})
        shown_numbers = ", ".join(map(str, numbers[:MAX_NUMBERS])) + (", ..." if len(numbers) > MAX_NUMBERS else "")
        raise NoVolumeError(
            f"none of {len(scan.series)} series has the Series Instance UID or Series Number {series[:80]!r}; "
            + (f"numbers there are: {shown_numbers}" if numbers else "none has a number")
        )
    return found[0]


def _plain(scan: Scan) -> Series:
    stacks = [
        member
        for member in scan.series
        if member.refused_stack or (member.kind == "volume" and not member.volumes[0].is_localizer)
    ]
    images = [member for member in scan.series if member.volumes]
    patients = {member.patient_key for member in (*stacks, *images)}
    if len(patients) > 1:
        raise _ambiguous(
            f"series of {len(patients)} patients: name one by its Series Instance UID or number", stacks or images
        )
    if len(stacks) == 1:
        return stacks[0]
    if len(stacks) > 1:
        raise _ambiguous(f"{len(stacks)} series could be meant: name one by its Series Instance UID or number", stacks)
    if len(images) == 1:
        return images[0]
    if len(images) > 1:
        raise _ambiguous(
            f"no volume, but {len(images)} series of images: name one by its Series Instance UID or number", images
        )
    refused = [member for member in scan.series if member.reason]
    if len(refused) == 1:
        return refused[0]
    raise NoVolumeError(
        f"no volume in {scan.files} files: {len(scan.series)} series without one, {len(scan.skipped)} files skipped"
        if scan.series
        else f"no DICOM in {_files(scan)}",
        candidates=[f"{_title(member)}: {member.reason}" for member in refused],
        skipped=[f"{file.path}: {file.reason}" for file in scan.skipped[:20]],
    )


def _files(scan: Scan) -> str:
    """Return how many files there are; of one alone, why it was skipped."""
    if scan.files != 1:
        return f"{scan.files} files"
    return "1 file: " + scan.skipped[0].reason if scan.skipped else "1 file"


def _ambiguous(message: str, candidates: Sequence[Series]) -> AmbiguousSeriesError:
    lines = []
    for member in candidates:
        what = (
            ", ".join(f"{_shape(plan)}, id {plan.id}" for plan in member.volumes[:3]) or f"no volume: {member.reason}"
        )
        lines.append(f"series {member.uid}: {_title(member)}, {what}")
    return AmbiguousSeriesError(message, candidates=lines)


def _title(series: Series) -> str:
    number = f" {series.series_number}" if series.series_number is not None else ""
    text = f" {series.description!r}" if series.description else ""
    return f"{series.modality or 'unknown modality'} series{number}{text}"


def _shape(plan: VolumePlan) -> str:
    slices, rows, columns = plan.shape
    right, down, apart = plan.geometry.spacing_mm
    label = "".join(f", {name} {value}" for name, value in plan.info.extra.items())
    return f"{columns} x {rows} x {slices} voxels of {right:.3g} x {down:.3g} x {apart:.3g} mm{label}"

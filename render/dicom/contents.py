"""What label objects hold, in a few words: segments or regions, and what they refer to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from render.dicom.header import quiet_pydicom
from render.dicom.instance import Instance
from render.dicom.kinds import special_kind
from render.dicom.plan import VolumePlan
from render.errors import NotAVolumeError, VoxelcastError
from render.labels import LabelVolume


def describe_labels(root: Path, instance: Instance, plans: Sequence[VolumePlan] = ()) -> dict[str, Any] | None:
    """Return the labels of a segmentation or structure set as JSON values; None for all other objects.

    Parameters
    ----------
    plans
        Volumes that a structure set may have been drawn on: its contours enclose voxels of the one that it names.

    Returns
    -------
    dict or None
        ``path``, ``segments`` (``number``, ``name``, ``color``, ``voxels`` and ``ml``, and ``contours`` of a structure
        set; ``voxels`` and ``ml`` are None where there is no grid), ``referenced_series`` and ``warnings``; or ``path``
        and the ``reason`` why it can't be read.
    """
    kind = special_kind(instance)
    if kind not in ("segmentation", "rtstruct"):
        return None
    try:
        with quiet_pydicom():
            found = _segmentation(root, instance) if kind == "segmentation" else _structures(root, instance, plans)
            return {"path": instance.path, **found}
    except VoxelcastError as error:
        return {"path": instance.path, "reason": error.message}


def _segmentation(root: Path, instance: Instance) -> dict[str, Any]:
    from render.dicom.segmentation import read_segmentation

    labels = read_segmentation(root, instance)
    segments = [
        {
            "number": segment.number,
            "name": segment.label,
            "color": segment.color,
            **_size(labels, segment.number),
        }
        for segment in labels.segments
    ]
    return {
        "segments": segments,
        "referenced_series": list(labels.referenced_series),
        "warnings": list(labels.warnings),
    }


def _structures(root: Path, instance: Instance, plans: Sequence[VolumePlan]) -> dict[str, Any]:
    from render.dicom.rtstruct import rasterize, read_structures

    structures = read_structures(root, instance)
    frames = {roi.frame_of_reference_uid for roi in structures.rois}
    drawn_on = max(
        (
            plan
            for plan in plans
            if plan.info.series_uid in structures.referenced_series
            # Where no series is named, the frame of reference tells.
            or (not structures.referenced_series and plan.info.frame_of_reference_uid in frames - {""})
        ),
        key=lambda plan: plan.shape[0],
        default=None,
    )
    labels, warnings = None, [] if drawn_on else ["the series that it was drawn on is not there: no voxels counted"]
    if drawn_on is not None:
        try:
            labels = rasterize(structures, drawn_on.geometry, drawn_on.info.frame_of_reference_uid)
            warnings += labels.warnings
        except NotAVolumeError as error:
            warnings.append(f"no voxels counted: {error.message}")
    counted = {segment.number for segment in labels.segments} if labels is not None else set()
    segments = [
        {
            "number": roi.number,
            "name": roi.name,
            "color": roi.color,
            "contours": len(roi.contours),
            **_size(labels if roi.number in counted else None, roi.number),
        }
        for roi in structures.rois
    ]
    return {
        "segments": segments,
        "referenced_series": list(structures.referenced_series),
        "warnings": warnings,
    }


def _size(labels: LabelVolume | None, number: int) -> dict[str, Any]:
    if labels is None:
        return {"voxels": None, "ml": None}
    voxels = labels.voxels(number)
    # Of a grid that lies nowhere in the patient a voxel has no volume.
    return {"voxels": voxels, "ml": round(voxels * labels.voxel_ml, 6) if labels.is_placed else None}

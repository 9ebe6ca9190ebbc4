"""What label objects hold, in a few words: segments or regions, and what they refer to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from render.dicom.header import quiet_pydicom
from render.dicom.instance import Instance
from render.dicom.kinds import special_kind
from render.errors import VoxelcastError


def describe_labels(root: Path, instance: Instance) -> dict[str, Any] | None:
    """Return the labels of a segmentation or structure set as JSON values; None for all other objects.

    Returns
    -------
    dict or None
        ``path``, ``segments`` (``number``, ``name``, ``color``, and ``voxels`` and ``ml`` of a segmentation or
        ``contours`` of a structure set), ``referenced_series``; or ``path`` and the ``reason`` why it can't be read.
    """
    read = {"segmentation": _segmentation, "rtstruct": _structures}.get(special_kind(instance))
    if read is None:
        return None
    try:
        with quiet_pydicom():
            return {"path": instance.path, **read(root, instance)}
    except VoxelcastError as error:
        return {"path": instance.path, "reason": error.message}


def _segmentation(root: Path, instance: Instance) -> dict[str, Any]:
    from render.dicom.segmentation import read_segmentation

    labels = read_segmentation(root, instance)
    segments = []
    for segment in labels.segments:
        voxels = labels.voxels(segment.number)
        segments.append(
            {
                "number": segment.number,
                "name": segment.label,
                "color": segment.color,
                "voxels": voxels,
                # Of a grid that lies nowhere in the patient a voxel has no volume.
                "ml": round(voxels * labels.voxel_ml, 6) if labels.is_placed else None,
            }
        )
    return {"segments": segments, "referenced_series": list(labels.referenced_series)}


def _structures(root: Path, instance: Instance) -> dict[str, Any]:
    from render.dicom.rtstruct import read_structures

    structures = read_structures(root, instance)
    segments = [
        {"number": roi.number, "name": roi.name, "color": roi.color, "contours": len(roi.contours)}
        for roi in structures.rois
    ]
    return {"segments": segments, "referenced_series": list(structures.referenced_series)}

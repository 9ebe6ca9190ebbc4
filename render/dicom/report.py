"""A scan as JSON values: what ``voxelcast inspect --json`` prints. No patient data but in file names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from render.dicom.instance import SkippedFile
from render.dicom.plan import VolumePlan
from render.dicom.series import Series

if TYPE_CHECKING:
    from render.dicom.source import Scan


def scan_json(scan: Scan) -> dict[str, Any]:
    """Return a scan; all paths are relative to the scanned path.

    Each file is in exactly one series' ``paths`` or in ``skipped``, and ``files`` is their number. A skipped DICOMDIR
    also has ``missing``: all that it lists and is not there.
    """
    return {
        "files": scan.files,
        "series": [series_json(series) for series in scan.series],
        "skipped": [_skipped_json(file) for file in scan.skipped],
    }


def _skipped_json(file: SkippedFile) -> dict[str, Any]:
    said: dict[str, Any] = {"path": file.path, "reason": file.reason}
    return {**said, "missing": list(file.missing)} if file.missing else said


def series_json(series: Series) -> dict[str, Any]:
    """Return a series; ``reason`` says why it has no volume, and is empty where it has one."""
    return {
        "uid": series.uid,
        "kind": series.kind,
        "modality": series.modality,
        "description": series.description,
        "series_number": series.series_number,
        "files": len(series.paths),
        "paths": list(series.paths),
        "volumes": [volume_json(plan) for plan in series.volumes],
        "frames": series.frames,
        "warnings": list(series.warnings),
        "reason": series.reason,
    }


def volume_json(plan: VolumePlan) -> dict[str, Any]:
    """Return a volume: shape (K, J, I), affine from voxel (i, j, k) to LPS mm, and what tells it from its siblings."""
    window = next(iter(plan.info.voi), None)
    return {
        "id": plan.id,
        "index": plan.info.volume_index,
        "phase": dict(plan.info.extra),
        "shape": list(plan.shape),
        "affine": plan.geometry.patient_from_voxel.tolist(),
        "spacing_mm": list(plan.geometry.spacing_mm),
        "units": plan.info.units,
        "window": None
        if window is None
        else {"center": window.center, "width": window.width, "function": window.function.value},
    }

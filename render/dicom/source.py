"""A folder or file of DICOM: every file below it is in a series, or skipped and said why."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from render.dicom.grouping import group_series
from render.dicom.header import quiet_pydicom, read_header
from render.dicom.instance import Instance, SkippedFile
from render.dicom.plan import VolumePlan
from render.dicom.series import Series
from render.errors import PathError, RenderCancelledError

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (done, total)."""

Cancelled: TypeAlias = Callable[[], bool]
"""Returns true when nobody waits for the result any more."""

HeaderReader: TypeAlias = Callable[[Path, Sequence[str]], Iterable[Instance | SkippedFile]]
"""Reads headers of files below a root, in any order; `render.dicom.ingest` has one that uses other processes."""

VOLUME_KINDS = ("volume", "image")


@dataclass(frozen=True, eq=False)
class Scan:
    """What is below a path.

    Attributes
    ----------
    root
        The folder that all paths are relative to: the scanned folder, or the scanned file's parent.
    files
        Number of files; each is in exactly one series' paths or in `skipped`.
    """

    root: Path
    files: int
    series: tuple[Series, ...]
    skipped: tuple[SkippedFile, ...]

    @property
    def volumes(self) -> tuple[VolumePlan, ...]:
        """All volumes of all series."""
        return tuple(plan for series in self.series for plan in series.volumes)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values, paths relative to the scanned path; no patient data but in file names."""
        return {
            "files": self.files,
            "series": [_series_json(series) for series in self.series],
            "skipped": [{"path": file.path, "reason": file.reason} for file in self.skipped],
        }


def scan(
    path: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    read: HeaderReader | None = None,
) -> Scan:
    """Read the headers of all files below a folder, or of one file, and group them.

    Symbolic links are not followed. What is in the files never raises.

    Parameters
    ----------
    path
        A folder, searched recursively, or a file.
    progress
        Called now and then with the number of files read and their total.
    cancelled
        Asked between files.
    read
        Who reads the headers; this process if None.

    Raises
    ------
    PathError
        If there is no such folder or file.
    RenderCancelledError
        If `cancelled` said so.
    """
    given = Path(path)
    if not given.exists():
        raise PathError(f"no such file or folder: {given.name}")
    root = given.resolve()
    if root.is_dir():
        names, skipped = _list_files(root)
    else:
        root, names, skipped = root.parent, [root.name], []
    total = len(names) + len(skipped)
    instances: list[Instance] = []
    for done, result in enumerate((read or _read_here)(root, names), start=len(skipped) + 1):
        if isinstance(result, Instance):
            instances.append(result)
        else:
            skipped.append(result)
        if progress is not None:
            progress(done, total)
        if cancelled is not None and cancelled():
            raise RenderCancelledError(f"scan given up after {done} of {total} files")
    return Scan(root, total, group_series(root, instances), tuple(sorted(skipped, key=lambda file: file.path)))


def _read_here(root: Path, names: Sequence[str]) -> Iterator[Instance | SkippedFile]:
    for start in range(0, len(names), 64):
        # Not held across a yield: the filters that it sets belong to the whole process.
        with quiet_pydicom():
            batch = [read_header(root, name) for name in names[start : start + 64]]
        yield from batch


def _list_files(root: Path) -> tuple[list[str], list[SkippedFile]]:
    """List regular files below `root`, sorted, and what else is there."""
    names: list[str] = []
    skipped: list[SkippedFile] = []

    def unreadable(error: OSError) -> None:
        where = Path(error.filename).relative_to(root).as_posix()
        skipped.append(SkippedFile(where, f"folder can't be read: {error.strerror}"))

    for folder, folders, files in os.walk(root, onerror=unreadable, followlinks=False):
        folders.sort()
        for name in sorted(files) + [name for name in folders if os.path.islink(os.path.join(folder, name))]:
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                skipped.append(SkippedFile(relative, "symbolic link: not followed"))
            elif stat.S_ISREG(mode):
                names.append(relative)
            else:
                skipped.append(SkippedFile(relative, "not a regular file"))
    return names, skipped


def _series_json(series: Series) -> dict[str, Any]:
    return {
        "uid": series.uid,
        "kind": series.kind,
        "modality": series.modality,
        "description": series.description,
        "series_number": series.series_number,
        "files": len(series.paths),
        "paths": list(series.paths),
        "volumes": [_volume_json(plan) for plan in series.volumes],
        "frames": series.frames,
        "warnings": list(series.warnings),
        "reason": series.reason,
    }


def _volume_json(plan: VolumePlan) -> dict[str, Any]:
    window = plan.info.windows[0] if plan.info.windows else None
    return {
        "id": plan.id,
        "index": plan.info.volume_index,
        "shape": list(plan.shape),
        "affine": plan.geometry.patient_from_voxel.tolist(),
        "spacing_mm": list(plan.geometry.spacing_mm),
        "units": plan.info.units,
        "window": None
        if window is None
        else {"center": window.center, "width": window.width, "function": window.function.value},
    }

"""A folder, archive or file: every file in it is in a series, or skipped and said why."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from render.dicom.changes import KnownFolder
from render.dicom.grouping import group_series, order, with_distinct_ids
from render.dicom.header import quiet_pydicom
from render.dicom.instance import Instance, SkippedFile
from render.dicom.listing import Listing, list_file, list_folder
from render.dicom.media import MediaDirectory, compare
from render.dicom.nifti import NiftiFile
from render.dicom.nifti_series import build_nifti_series
from render.dicom.plan import VolumePlan
from render.dicom.reading import FileHeader, read_header
from render.dicom.report import scan_json
from render.dicom.series import Series
from render.errors import PathError, RenderCancelledError

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (done, total)."""

Cancelled: TypeAlias = Callable[[], bool]
"""Returns true when nobody waits for the result any more."""

HeaderReader: TypeAlias = Callable[[Path, Sequence[str]], Iterable[FileHeader]]
"""Reads headers of files below a root, in any order; `render.dicom.ingest` has one that uses other processes."""


@dataclass(frozen=True, eq=False)
class Scan:
    """What is below a path.

    Attributes
    ----------
    root
        The folder that all paths are relative to: the scanned folder, or the scanned file's parent.
    files
        Number of files; each is in exactly one series' paths or in `skipped`.
    missing
        What a DICOMDIR lists and is not there, as paths below `root`.
    """

    root: Path
    files: int
    series: tuple[Series, ...]
    skipped: tuple[SkippedFile, ...]
    missing: tuple[str, ...] = ()

    @property
    def volumes(self) -> tuple[VolumePlan, ...]:
        """All volumes of all series."""
        return tuple(plan for series in self.series for plan in series.volumes)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values, paths relative to the scanned path; no patient data but in file names."""
        return scan_json(self)


def scan(
    path: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    read: HeaderReader | None = None,
    known: KnownFolder | None = None,
) -> Scan:
    """Read the headers of all files below a folder, or of one file, and group them.

    Symbolic links are not followed. What is in the files never raises.

    Parameters
    ----------
    path
        A folder, searched recursively; a file; a ZIP archive of any of these; or a DICOMDIR, which stands for the
        folder that it is in.
    progress
        Called now and then with the number of files read and their total.
    cancelled
        Asked between files.
    read
        Who reads the headers; this process if None.
    known
        What an earlier scan of the path found; it takes what this one finds.

    Raises
    ------
    PathError
        If there is no such folder or file, or the way there may not be gone; the message has the path as it was given.
    RenderCancelledError
        If `cancelled` said so.
    """
    given = Path(path)
    try:
        given.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise PathError(f"no such file or folder: {given}") from None
    except (OSError, ValueError) as error:  # a folder on the way that may not be entered; a null byte
        raise PathError(f"can't be read: {given}: {getattr(error, 'strerror', None) or error}") from None
    root = given.resolve()
    if root.is_file() and _is_media_directory(root):
        root = root.parent
    if root.is_dir():
        listing = list_folder(root) if known is None else list_folder(root, known.holds)
    else:
        root, listing = root.parent, list_file(root)
    found = _Found(listing.skipped)
    reader = read or _read_here
    if known is not None:
        reader = known.reading(reader)
    for done, result in enumerate(reader(root, listing.names), start=len(listing.skipped) + 1):
        found.add(result)
        if progress is not None:
            progress(done, listing.total)
        if cancelled is not None and cancelled():
            raise RenderCancelledError(f"scan given up after {done} of {listing.total} files")
    return found.to_scan(root, listing, known or KnownFolder())


class _Found:
    """Results by their kind."""

    def __init__(self, skipped: Iterable[SkippedFile]) -> None:
        self._instances: list[Instance] = []
        self._volumes: list[NiftiFile] = []
        self._directories: list[MediaDirectory] = []
        self._skipped = list(skipped)

    def add(self, result: FileHeader) -> None:
        if isinstance(result, Instance):
            self._instances.append(result)
        elif isinstance(result, NiftiFile):
            self._volumes.append(result)
        elif isinstance(result, MediaDirectory):
            self._directories.append(result)
        else:
            self._skipped.append(result)

    def to_scan(self, root: Path, listing: Listing, known: KnownFolder) -> Scan:
        """Group all that was found. The image of a NIfTI pair belongs to its header, whatever it looks like."""
        claimed = {volume.data_path for volume in self._volumes}
        instances = [instance for instance in self._instances if instance.path not in claimed]
        media = compare(self._directories, listing.names)
        skipped = [file for file in self._skipped if file.path not in claimed]
        skipped += media.directories
        series = [
            *group_series(root, instances, known),
            *(build_nifti_series(root, volume) for volume in self._volumes),
        ]
        return Scan(
            root,
            listing.total,
            with_distinct_ids(_say_missing(member, media.missing_of_series) for member in order(series)),
            tuple(sorted(skipped, key=lambda file: file.path)),
            media.missing,
        )


def _say_missing(series: Series, missing: Mapping[str, Sequence[str]]) -> Series:
    """Add what a DICOMDIR lists of a series and is not there to the warnings of it and its volumes."""
    lost = missing.get(series.uid, ())
    if not lost:
        return series
    warning = f"the DICOMDIR lists {len(lost)} more images of this series that are missing, the first {lost[0]}"
    volumes = tuple(
        replace(plan, info=replace(plan.info, warnings=(*plan.info.warnings, warning))) for plan in series.volumes
    )
    return replace(series, volumes=volumes, warnings=(*series.warnings, warning))


def _is_media_directory(path: Path) -> bool:
    (header,) = _read_here(path.parent, [path.name])
    return isinstance(header, MediaDirectory)


def _read_here(root: Path, names: Sequence[str]) -> Iterator[FileHeader]:
    for start in range(0, len(names), 64):
        # Not held across a yield: the filters that it sets belong to the whole process.
        with quiet_pydicom():
            batch = [read_header(root, name) for name in names[start : start + 64]]
        yield from batch

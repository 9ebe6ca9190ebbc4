"""What has changed below a folder since it was scanned: found by names, sizes and times, without opening a file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from render.dicom.archive import split_path
from render.dicom.nifti import NiftiFile
from render.dicom.plan import VolumePlan
from render.dicom.reading import FileHeader

Mark: TypeAlias = tuple[int, int]
"""Size in bytes, and time of the last change in ns."""

LOOKS_UNSETTLED = 10
"""A folder that still changes is scanned after so many looks all the same."""


def look(root: Path, cancelled: Callable[[], bool] = lambda: False) -> dict[str, Mark]:
    """Return the marks of all regular files below a folder, or of one file, by their paths below it.

    Links are not followed. What can't be looked at is as if it were not there.
    """
    marks: dict[str, Mark] = {}
    folders = [str(root)]
    if not root.is_dir():
        mark = _mark(root)
        return {} if mark is None else {root.name: mark}
    while folders and not cancelled():
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        marks[os.path.relpath(entry.path, root)] = status.st_size, status.st_mtime_ns
        except OSError:
            continue
    return marks


def is_stale(plan: VolumePlan) -> bool:
    """Say whether a file that a volume is made of is gone, or has changed since it was scanned."""
    instances = {source.instance.path: source.instance for source in plan.slices}
    for relative, instance in instances.items():
        split = split_path(plan.root, relative)
        mark = _mark(plan.root / (relative if split is None else split[0]))
        if mark is None or mark[1] != instance.modified_ns or (split is None and mark[0] != instance.size_bytes):
            return True
    return False


class KnownHeaders:
    """Headers of a folder's files, kept from scan to scan: a file that has not changed is not read again."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Mark, FileHeader]] = {}

    def reading(
        self, read: Callable[[Path, Sequence[str]], Iterable[FileHeader]]
    ) -> Callable[[Path, Sequence[str]], Iterator[FileHeader]]:
        """Return a reader of headers that asks `read` for those alone that are not known."""

        def reader(root: Path, names: Sequence[str]) -> Iterator[FileHeader]:
            # Before they are read: a file that changes meanwhile has another mark the next time.
            marks = _marks_of(root, names)
            kept = {
                name: known
                for name in names
                if (known := self._known.get(name)) is not None and known[0] == marks.get(name)
            }
            self._known = kept
            for _, header in list(kept.values()):
                yield header
            for header in read(root, [name for name in names if name not in kept]):
                mark = marks.get(header.path)
                is_pair = isinstance(header, NiftiFile) and header.data_path != header.path  # two files, one mark
                if mark is not None and not is_pair:
                    kept[header.path] = mark, header
                yield header

        return reader


class RootWatch:
    """Says when a root is to be scanned again.

    Parameters
    ----------
    root
        Folder or file.

    Attributes
    ----------
    headers
        Of its files, as of the last scan.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.headers = KnownHeaders()
        self._scanned: Mapping[str, Mark] | None = {}
        self._seen: Mapping[str, Mark] = {}
        self._looks = 0

    def begin(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Take note of what there is, before a scan."""
        self._scanned = self._seen = look(self.root, cancelled)
        self._looks = 0

    def expire(self) -> None:
        """Have the next look find a change, whatever it sees."""
        self._scanned = None

    def is_due(self, cancelled: Callable[[], bool] = lambda: False) -> bool:
        """Look, and say whether there has been a change that has come to rest.

        Files on their way in would make volumes with gaps: what has changed since the last look is waited for as well,
        but not for ever.
        """
        seen = look(self.root, cancelled)
        if cancelled() or seen == self._scanned:
            self._looks = 0
            return False
        is_settled, self._seen = seen == self._seen, seen
        self._looks += 1
        return is_settled or self._looks > LOOKS_UNSETTLED


def _marks_of(root: Path, names: Sequence[str]) -> dict[str, Mark]:
    """Return the mark of each file, and for an entry of an archive that of the archive."""
    marks: dict[str, Mark] = {}
    for name in names:
        split = split_path(root, name)
        mark = _mark(root / (name if split is None else split[0]))
        if mark is not None:
            marks[name] = mark
    return marks


def _mark(path: Path) -> Mark | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None

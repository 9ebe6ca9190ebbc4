"""What has changed below a folder since it was scanned: found by names, sizes and times, without opening a file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from render.dicom.archive import SEPARATOR, split_path
from render.dicom.instance import Instance
from render.dicom.nifti import NiftiFile
from render.dicom.plan import VolumePlan
from render.dicom.reading import FileHeader
from render.dicom.series import Series

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
    skipped = len(os.path.join(root, ""))
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
                        marks[entry.path[skipped:]] = status.st_size, status.st_mtime_ns
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


class KnownFolder:
    """What a scan of a folder found, kept for the next one: files that have not changed are neither opened nor sorted.

    Attributes
    ----------
    marks
        Of all files there, as they were looked at before the scan: one that changes meanwhile has another mark the next
        time.
    """

    def __init__(self) -> None:
        self.marks: Mapping[str, Mark] = {}
        self._headers: dict[str, tuple[Mark, FileHeader]] = {}
        self._series: dict[Hashable, tuple[frozenset[int], Sequence[Instance], Series]] = {}

    def holds(self, name: str) -> bool:
        """Say whether the header of a file is known."""
        known = self._headers.get(name)
        return known is not None and known[0] == self._mark(name)

    def reading(
        self, read: Callable[[Path, Sequence[str]], Iterable[FileHeader]]
    ) -> Callable[[Path, Sequence[str]], Iterator[FileHeader]]:
        """Return a reader of headers that asks `read` for those alone that are not known."""

        def reader(root: Path, names: Sequence[str]) -> Iterator[FileHeader]:
            kept = self._headers = {name: self._headers[name] for name in names if self.holds(name)}
            for _, header in list(kept.values()):
                yield header
            for header in read(root, [name for name in names if name not in kept]):
                mark = self._mark(header.path)
                is_pair = isinstance(header, NiftiFile) and header.data_path != header.path  # two files, one mark
                if mark is not None and not is_pair:
                    kept[header.path] = mark, header
                yield header

        return reader

    def grouping(
        self, build: Callable[[Path, Sequence[Instance]], Series]
    ) -> Callable[[Path, Hashable, Sequence[Instance]], Series]:
        """Return what makes series of instances, and asks `build` for those alone whose instances are others now."""
        before, self._series = self._series, {}

        def group(root: Path, key: Hashable, members: Sequence[Instance]) -> Series:
            ids = frozenset(map(id, members))
            known = before.get(key)
            series = build(root, members) if known is None or known[0] != ids else known[2]
            self._series[key] = ids, members, series  # the members too: an id is theirs as long as they live
            return series

        return group

    def _mark(self, name: str) -> Mark | None:
        """Return the mark of a file, and for an entry of an archive that of the archive."""
        mark, at = self.marks.get(name), name.find(SEPARATOR)
        while mark is None and at >= 0:
            mark, at = self.marks.get(name[:at]), name.find(SEPARATOR, at + 1)
        return mark


class RootWatch:
    """Says when a root is to be scanned again.

    Parameters
    ----------
    root
        Folder or file.

    Attributes
    ----------
    known
        Of the last scan.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.known = KnownFolder()
        self._scanned: Mapping[str, Mark] | None = {}
        self._seen: Mapping[str, Mark] = {}
        self._looks = 0

    def begin(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Take note of what there is, before a scan."""
        self._scanned = self._seen = self.known.marks = look(self.root, cancelled)
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


def _mark(path: Path) -> Mark | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None

"""Opening files below a scanned root."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from render.dicom.archive import SEPARATOR, open_entry, split_path
from render.dicom.bounded import open_data
from render.dicom.instance import Instance
from render.errors import UnreadableFileError


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells that a file has changed."""

    size_bytes: int
    modified_ns: int


def open_file(root: Path, relative: str) -> tuple[BinaryIO, Stamp]:
    """Open a regular file, or an entry of an archive, by its path below `root`, as scans name it.

    Raises
    ------
    OSError
        If it can't be opened, or is no regular file any more.
    UnreadableFileError
        If an archive has no such entry, or it can't be inflated.
    """
    if SEPARATOR in relative and (split := split_path(root, relative)) is not None:
        archive = root / split[0]
        entry, size = open_entry(archive, split[1])
        return entry, Stamp(size, archive.stat().st_mtime_ns)
    # What was a file when it was listed may be a link out of the root, or a pipe, by now.
    flags = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    file = os.fdopen(os.open(root / relative, flags), "rb")
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        file.close()
        raise OSError(0, "not a regular file")
    return file, Stamp(status.st_size, status.st_mtime_ns)


class PixelFiles:
    """Opens scanned files for their pixels, and keeps the last one open: neighbours are often in one file.

    Not thread-safe; one a thread.

    Parameters
    ----------
    root
        The folder that the instances' paths are below.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._instance: Instance | None = None
        self._file: BinaryIO | None = None
        self._beneath: BinaryIO | None = None

    def __enter__(self) -> PixelFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        for file in (self._file, self._beneath):  # an inflating file does not close the one beneath it
            if file is not None:
                file.close()
        self._instance = self._file = self._beneath = None

    def open(self, instance: Instance) -> BinaryIO:
        """Return what `PixelExtent.offset` counts in: the file itself, or its inflated data set. It stays ours.

        Raises
        ------
        UnreadableFileError
            If it is gone, has changed since it was scanned, or can't be inflated; the message names the file.
        """
        if self._file is not None and instance is self._instance:
            return self._file
        try:
            file, stamp = open_file(self.root, instance.path)
        except OSError as error:
            raise UnreadableFileError(f"{instance.path}: can't be read: {error.strerror}") from error
        except UnreadableFileError as error:
            raise UnreadableFileError(f"{instance.path}: {error.message}") from error
        self._close()
        self._beneath = file
        if stamp != Stamp(instance.size_bytes, instance.modified_ns):
            raise UnreadableFileError(f"{instance.path}: has changed since it was scanned")
        self._instance, self._file = instance, open_data(file, instance.transfer_syntax)
        return self._file

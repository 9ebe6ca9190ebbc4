"""Opening files below a scanned root."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from render.dicom.bounded import open_data
from render.dicom.instance import Instance
from render.errors import UnreadableFileError


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells that a file has changed."""

    size_bytes: int
    modified_ns: int


def open_file(root: Path, relative: str) -> tuple[BinaryIO, Stamp]:
    """Open a regular file by its path below `root`, as scans name it.

    Raises
    ------
    OSError
        If it can't be opened, or is no regular file any more.
    """
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
        self._root = root
        self._instance: Instance | None = None
        self._file: BinaryIO | None = None

    def __enter__(self) -> PixelFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

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
            file, stamp = open_file(self._root, instance.path)
        except OSError as error:
            raise UnreadableFileError(f"{instance.path}: can't be read: {error.strerror}") from error
        if self._file is not None:
            self._file.close()
        self._instance, self._file = instance, file
        if stamp != Stamp(instance.size_bytes, instance.modified_ns):
            raise UnreadableFileError(f"{instance.path}: has changed since it was scanned")
        self._file = open_data(file, instance.transfer_syntax)
        return self._file

"""Opening a file below a scanned root, wherever it lies."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
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
    """Open a file by its path below `root`, as scans name it.

    Raises
    ------
    OSError
        If it can't be opened.
    """
    file = open(root / relative, "rb")
    status = os.fstat(file.fileno())
    return file, Stamp(status.st_size, status.st_mtime_ns)


def open_pixels(root: Path, instance: Instance) -> BinaryIO:
    """Open a scanned file so that its `PixelExtent` holds: the file itself, or its inflated data set.

    Raises
    ------
    UnreadableFileError
        If it is gone, has changed since it was scanned, or can't be inflated; the message names the file.
    """
    try:
        file, stamp = open_file(root, instance.path)
    except OSError as error:
        raise UnreadableFileError(f"{instance.path}: can't be read: {error.strerror}") from error
    if stamp != Stamp(instance.size_bytes, instance.modified_ns):
        file.close()
        raise UnreadableFileError(f"{instance.path}: has changed since it was scanned")
    return open_data(file, instance.transfer_syntax)

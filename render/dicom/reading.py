"""One file of a scan, whatever it is: told by its first bytes, read by who knows its kind, or skipped and said why."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from render.dicom.access import open_file
from render.dicom.header import parse
from render.dicom.instance import Instance, SkippedFile
from render.dicom.media import MediaDirectory
from render.dicom.nifti import GZIP_MAGIC, NiftiFile, is_nifti, read_nifti
from render.errors import UnreadableFileError

FileHeader: TypeAlias = Instance | NiftiFile | MediaDirectory | SkippedFile

_FOREIGN_MAGIC = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"PK\x03\x04": "a ZIP archive within an archive: not opened",
    b"%PDF": "a PDF document",
    b"NRRD": "an NRRD volume",
}


def read_header(root: Path, relative: str) -> FileHeader:
    """Read one file's header, within `quiet_pydicom`. Never raises for what a file holds: it is skipped, and why."""
    try:
        file, stamp = open_file(root, relative)
        with file:
            if stamp.size_bytes == 0:
                return SkippedFile(relative, "empty file")
            start = file.read(1024)
            file.seek(0)
            if start[128:132] == b"DICM":
                return parse(file, relative, stamp)
            if start.startswith(GZIP_MAGIC) or is_nifti(start):
                return read_nifti(root, relative, file, stamp)
            if foreign := _foreign(start):
                return SkippedFile(relative, f"not DICOM: {foreign}")
            return parse(file, relative, stamp)
    except UnreadableFileError as error:
        return SkippedFile(relative, error.message)
    except OSError as error:
        return SkippedFile(relative, f"can't be read: {error.strerror or 'data set is malformed'}")
    except Exception as error:  # pydicom raises whatever the bytes lead to, and its text may quote patient data
        return SkippedFile(relative, f"header can't be parsed: {type(error).__name__}")


def _foreign(start: bytes) -> str:
    """Name what a file without marker plainly is; empty where it may be a data set without a preamble."""
    for magic, name in _FOREIGN_MAGIC.items():
        if start.startswith(magic):
            return name
    # A bare data set starts with a command, file meta or identifying group, in either byte order.
    if start[:2] in (b"\x00\x00", b"\x02\x00", b"\x08\x00", b"\x00\x08") and len(start) >= 8:
        return ""
    return "no DICM marker at byte 128, no data set at byte 0"

"""Elements of a scanned file that scans don't keep: palettes, overlays, and whole objects without images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import FileDataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from render.dicom.access import Stamp, open_file
from render.dicom.bounded import BoundedFile, is_bare_data_set, read_bare, read_deflated
from render.dicom.instance import Instance
from render.errors import SourceError, UnreadableFileError, VoxelcastError


def read_elements(root: Path, instance: Instance, tags: Sequence[str | int] | None = None) -> FileDataset:
    """Read a file's data set up to its pixels, within `quiet_pydicom`.

    Parameters
    ----------
    root
        The folder that the instance's path is below.
    tags
        Keywords or tags of the elements to keep; all if None.

    Raises
    ------
    UnreadableFileError
        If the file is gone, has changed since it was scanned, or is malformed; the message names it.
    """
    wanted: list[BaseTag | int] | None = None if tags is None else [Tag(tag) for tag in tags]
    with naming(instance):
        file, stamp = open_file(root, instance.path)
        with file:
            if stamp != Stamp(instance.size_bytes, instance.modified_ns):
                raise UnreadableFileError("has changed since it was scanned")
            start = file.read(256)
            file.seek(0)
            if instance.transfer_syntax == DeflatedExplicitVRLittleEndian:
                return read_deflated(file, wanted)[0]
            bounded = BoundedFile(file, stamp.size_bytes)
            if is_bare_data_set(start):
                return read_bare(bounded, wanted)
            return pydicom.dcmread(bounded, stop_before_pixels=True, force=True, specific_tags=wanted)


@contextlib.contextmanager
def naming(instance: Instance) -> Iterator[None]:
    """Let errors name the file that they are of. Elements are parsed when they are asked for, so later ones fail too.

    Raises
    ------
    SourceError
        The error raised within, its message after the file's path; of pydicom's own, UnreadableFileError.
    """
    try:
        yield
    except SourceError as error:
        if error.message.startswith(f"{instance.path}: "):
            raise
        raise type(error)(f"{instance.path}: {error.message}", **error.details) from error
    except (VoxelcastError, MemoryError):
        raise
    except OSError as error:
        raise UnreadableFileError(f"{instance.path}: can't be read: {error.strerror}") from error
    except Exception as error:  # whatever the bytes lead pydicom to; its text may quote patient data
        raise UnreadableFileError(f"{instance.path}: can't be parsed: {type(error).__name__}") from error

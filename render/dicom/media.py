"""DICOMDIR: what a media folder says that it holds, against what is there (PS3.3 F, PS3.10 8)."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, cast

import pydicom
from pydicom.dataset import Dataset

from render.dicom.attributes import optional_integer, text, texts, values
from render.dicom.bounded import BoundedFile
from render.dicom.instance import SkippedFile

MAXIMUM_RECORDS = 500_000
"""Records of a DICOMDIR that are read: more than a disk of single images has."""

NAMES_SAID = 3
"""Missing files that a sentence names; `Scan.missing` has all."""


_LEVELS = frozenset({"PATIENT", "STUDY", "SERIES"})


@dataclass(frozen=True, slots=True)
class MediaDirectory:
    """A DICOMDIR, or another file of its class.

    Attributes
    ----------
    listed
        Pairs of a file's path as it is written, with slashes, and the Series Instance UID that it is listed under
        (empty where none is).
    """

    path: str
    listed: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Media:
    """What the directories of a folder list.

    Attributes
    ----------
    directories
        What to say of each.
    missing
        All that is listed and not there, sorted, as paths below the scanned root.
    missing_of_series
        The same by Series Instance UID.
    """

    directories: tuple[SkippedFile, ...]
    missing: tuple[str, ...]
    missing_of_series: Mapping[str, tuple[str, ...]]


def read_directory(file: BinaryIO, relative: str, size: int) -> MediaDirectory:
    """Read the records of a DICOMDIR, whatever order they are in.

    Raises
    ------
    UnreadableFileError
        If it is truncated.
    """
    file.seek(0)
    dataset = pydicom.dcmread(
        cast(BinaryIO, BoundedFile(file, size)), force=True, specific_tags=["DirectoryRecordSequence"]
    )
    records = values(dataset, "DirectoryRecordSequence")[:MAXIMUM_RECORDS]
    series_of = _series_of(records)
    listed = []
    for n, record in enumerate(records):
        if text(record, "DirectoryRecordType") in _LEVELS:
            continue  # what it refers to, if anything, is another directory (retired)
        if parts := texts(record, "ReferencedFileID"):
            listed.append(("/".join(parts), series_of.get(n, "")))
    return MediaDirectory(relative, tuple(listed))


def compare(directories: Sequence[MediaDirectory], names: Iterable[str]) -> Media:
    """Look for all that is listed among the names found.

    Media are read on systems that fold case and drop versions (``NAME.;1``): names are compared without them.
    """
    present = {_folded(name) for name in names}
    said: list[SkippedFile] = []
    by_series: dict[str, set[str]] = defaultdict(set)
    everything: set[str] = set()
    for directory in directories:
        base = _base(directory, present)
        lost = []
        for listed, series_uid in directory.listed:
            path = posixpath.normpath(posixpath.join(base, listed))
            if _folded(path) not in present:
                lost.append(path)
                by_series[series_uid].add(path)
        everything.update(lost)
        lost = sorted(set(lost))
        said.append(SkippedFile(directory.path, _reason(len(directory.listed), lost), tuple(lost)))
    return Media(
        tuple(said), tuple(sorted(everything)), {uid: tuple(sorted(lost)) for uid, lost in by_series.items() if uid}
    )


def _reason(listed: int, lost: Sequence[str]) -> str:
    said = f"DICOMDIR: lists {listed} files, holds no image itself"
    if not lost:
        return said
    more = ", ..." if len(lost) > NAMES_SAID else ""
    return f"{said}; {len(lost)} of them are missing: {', '.join(lost[:NAMES_SAID])}{more}"


def _base(directory: MediaDirectory, present: set[str]) -> str:
    """Return the folder that the names are relative to: its own, or the one above where more of them are there."""
    best, found = posixpath.dirname(directory.path), -1
    base = best
    while True:
        count = sum(_folded(posixpath.normpath(posixpath.join(base, name))) in present for name, _ in directory.listed)
        if count > found:
            best, found = base, count
        if not base:
            return best
        base = posixpath.dirname(base)


def _folded(path: str) -> str:
    return path.partition(";")[0].rstrip(".").casefold()


def _series_of(records: Sequence[Dataset]) -> dict[int, str]:
    """Return the Series Instance UID above each record, by following the offsets from series to what is below."""
    at = {getattr(record, "seq_item_tell", None): n for n, record in enumerate(records)}
    owner: dict[int, str] = {}
    for record in records:
        uid = text(record, "SeriesInstanceUID")
        if text(record, "DirectoryRecordType") != "SERIES" or not uid:
            continue
        below = at.get(optional_integer(record, "OffsetOfReferencedLowerLevelDirectoryEntity"))
        while below is not None and below not in owner:  # a chain that bites its tail ends
            owner[below] = uid
            below = at.get(optional_integer(records[below], "OffsetOfTheNextDirectoryRecord"))
    return owner

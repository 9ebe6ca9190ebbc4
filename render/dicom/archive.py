"""ZIP archives, read in place and within bounds: nothing is ever extracted, so no name can lead anywhere.

An entry is named ``a.zip!/name``. What is refused, is refused before a byte of it is inflated.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import threading
import zipfile
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from render.dicom.instance import SYMBOLIC_LINK, SkippedFile
from render.errors import UnreadableFileError

SEPARATOR = "!/"
"""Between an archive's path and an entry's name."""

MAXIMUM_ENTRIES = 100_000
"""Three times the largest study that is common; each costs about 500 bytes of memory while the archive is open."""

MAXIMUM_DIRECTORY_BYTES = 32 << 20
"""The list of `MAXIMUM_ENTRIES` with long names; checked before it is read."""

MAXIMUM_TOTAL_BYTES = 64 << 30
"""All entries, inflated: more than any study, less than a disk."""

MAXIMUM_RATIO = 200
"""Medical images deflate 2 to 4 times, with wide black borders 20 times; zeros alone deflate 1030 times."""

RATIO_FREE_BYTES = 1 << 20
"""Entries of up to this inflated size may have any ratio: a small empty mask harms nobody."""

IN_MEMORY_BYTES = 64 << 20
"""Entries up to this inflated size are inflated at once; of larger ones, what is asked for."""

_OPEN_ARCHIVES = 8
_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_END, _END64_LOCATOR, _END64 = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"


@dataclass(frozen=True, slots=True)
class ArchiveListing:
    """What is in an archive.

    Attributes
    ----------
    names
        Of the entries that may be read, in the archive's order.
    skipped
        The others, and why; their paths are the entries' names.
    """

    names: tuple[str, ...]
    skipped: tuple[SkippedFile, ...]


def is_archive(start: bytes) -> bool:
    """Say whether a file that starts so is a ZIP archive."""
    return start.startswith(_MAGIC)


def split_path(root: Path, relative: str) -> tuple[str, str] | None:
    """Return the archive's path below `root` and the entry's name; None for a path outside archives."""
    for match in re.finditer(re.escape(SEPARATOR), relative):
        if (root / relative[: match.start()]).is_file():  # a folder's name may end with an exclamation mark
            return relative[: match.start()], relative[match.end() :]
    return None


def list_archive(path: Path) -> ArchiveListing:
    """List an archive's files.

    Raises
    ------
    UnreadableFileError
        If it can't be read, or is beyond a bound; the message says which.
    OSError
        If it can't be opened.
    """
    with _lock:
        files = [info for info in _archive(path).infolist() if not info.is_dir()]
    if len(files) > MAXIMUM_ENTRIES:
        raise UnreadableFileError(f"ZIP archive of {len(files):,} files: over {MAXIMUM_ENTRIES:,}")
    total = sum(info.file_size for info in files)
    if total > MAXIMUM_TOTAL_BYTES:
        raise UnreadableFileError(f"ZIP archive of {total:,} bytes inflated: over {MAXIMUM_TOTAL_BYTES:,}")
    # Entries that overlap inflate the same bytes again and again: each on its own looks harmless.
    size = path.stat().st_size
    if total > RATIO_FREE_BYTES and total > MAXIMUM_RATIO * size:
        raise UnreadableFileError(f"ZIP archive that inflates {total / size:.0f} times: over {MAXIMUM_RATIO}")
    last = {info.filename: info for info in files}
    names, skipped = [], []
    for info in files:
        if reason := "replaced by a later entry of this name" if last[info.filename] is not info else _refusal(info):
            skipped.append(SkippedFile(info.filename, reason))
        else:
            names.append(info.filename)
    return ArchiveListing(tuple(names), tuple(skipped))


def open_entry(path: Path, name: str) -> tuple[BinaryIO, int]:
    """Open an entry for reading, and return its size.

    Raises
    ------
    UnreadableFileError
        If there is none, or it can't be inflated.
    OSError
        If the archive can't be opened.
    """
    try:
        with _lock:
            archive = _archive(path)
            info = archive.getinfo(name)
            if reason := _refusal(info):
                raise UnreadableFileError(reason)
            file = cast(BinaryIO, archive.open(info))
        if info.file_size > IN_MEMORY_BYTES:
            return file, info.file_size
        with file:
            return io.BytesIO(file.read()), info.file_size
    except KeyError:
        raise UnreadableFileError("no such entry in the archive") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise UnreadableFileError(f"damaged ZIP entry: can't be inflated ({type(error).__name__})") from error


_lock = threading.Lock()
_archives: OrderedDict[tuple[str, int, int], zipfile.ZipFile] = OrderedDict()


def _archive(path: Path) -> zipfile.ZipFile:
    """Return an opened archive, with the lock held; the last few stay open, since a list of entries takes time."""
    status = path.stat()
    key = str(path), status.st_size, status.st_mtime_ns
    if key in _archives:
        _archives.move_to_end(key)
        return _archives[key]
    with open(path, "rb") as file:
        length = _directory_bytes(file, status.st_size)
    if length > MAXIMUM_DIRECTORY_BYTES:
        raise UnreadableFileError(f"ZIP archive with a list of {length:,} bytes: over {MAXIMUM_DIRECTORY_BYTES:,}")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise UnreadableFileError("damaged ZIP archive: its list of entries can't be read") from error
    _archives[key] = archive
    while len(_archives) > _OPEN_ARCHIVES:
        _archives.popitem(last=False)[1].close()  # entries that are open keep the file beneath open
    return archive


def _directory_bytes(file: BinaryIO, size: int) -> int:
    """Return the length of the archive's list of entries as its end record states it (APPNOTE 4.3.14 to 4.3.16)."""
    start = max(size - 22 - 0xFFFF, 0)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        raise UnreadableFileError("damaged ZIP archive: its end is missing, and with it the list of entries")
    length = int(struct.unpack_from("<L", tail, at + 12)[0])
    if at >= 20 and tail[at - 20 : at - 16] == _END64_LOCATOR:
        file.seek(min(struct.unpack_from("<Q", tail, at - 12)[0], size))
        record = file.read(56)
        if record[:4] == _END64 and len(record) == 56:
            length = max(int(struct.unpack_from("<Q", record, 40)[0]), 0 if length == 0xFFFFFFFF else length)
    return length


def _refusal(info: zipfile.ZipInfo) -> str:
    name = info.filename
    if ".." in re.split(r"[/\\]", name) or re.match(r"[/\\]|[A-Za-z]:", name) or "\0" in info.orig_filename:
        return "name that leads out of the archive: refused"
    if stat.S_ISLNK(info.external_attr >> 16):
        return SYMBOLIC_LINK
    if info.flag_bits & 1:
        return "encrypted ZIP entry"
    if info.file_size > RATIO_FREE_BYTES and info.file_size > MAXIMUM_RATIO * info.compress_size:
        ratio = info.file_size / max(info.compress_size, 1)
        return f"ZIP entry of {info.file_size:,} bytes that inflates {ratio:.0f} times: over {MAXIMUM_RATIO}"
    return ""

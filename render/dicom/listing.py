"""What files there are below a folder, ZIP archives included: each is named once, or skipped and said why."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from render.dicom.archive import SEPARATOR, is_archive, list_archive
from render.dicom.instance import SYMBOLIC_LINK, SkippedFile
from render.errors import UnreadableFileError

LOOKS_AT_A_TIME = 8
"""Files whose first bytes are read at a time: a disk answers several requests nearly as soon as one."""

AHEAD_BYTES = 32 << 10
"""Of each file, asked of the disk at once: a header, which is what comes next."""

FILES_A_LOOK = 64
"""Read by one thread before it is given more."""


@dataclass(slots=True)
class Listing:
    """Files to be read, and those that are not.

    Attributes
    ----------
    names
        Paths below the root, POSIX separators; an entry of an archive is ``a.zip!/name``.
    """

    names: list[str] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of files, read or not."""
        return len(self.names) + len(self.skipped)


def list_folder(root: Path, is_known: Callable[[str], bool] = lambda relative: False) -> Listing:
    """List all below a folder, sorted. Symbolic links are not followed.

    Parameters
    ----------
    is_known
        Says of a file, by its path below the root, that it need not be opened: it is no archive, and can be read.
    """
    listing = Listing()
    regular: list[tuple[Path, str]] = []

    def unreadable(error: OSError) -> None:
        where = Path(error.filename).relative_to(root).as_posix()
        listing.skipped.append(SkippedFile(where, f"folder can't be read: {error.strerror}"))

    for folder, folders, files in os.walk(root, onerror=unreadable, followlinks=False):
        folders.sort()
        for name in sorted(files) + [name for name in folders if os.path.islink(os.path.join(folder, name))]:
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            try:
                mode = path.lstat().st_mode
            except OSError as error:  # of a folder that may be listed, but not entered
                listing.skipped.append(SkippedFile(relative, f"can't be read: {error.strerror}"))
                continue
            if stat.S_ISLNK(mode):
                listing.skipped.append(SkippedFile(relative, SYMBOLIC_LINK))
            elif stat.S_ISREG(mode) and is_known(relative):
                listing.names.append(relative)
            elif stat.S_ISREG(mode):
                regular.append((path, relative))
            else:
                listing.skipped.append(SkippedFile(relative, "not a regular file"))
    parts = [regular[first : first + FILES_A_LOOK] for first in range(0, len(regular), FILES_A_LOOK)]
    with ThreadPoolExecutor(LOOKS_AT_A_TIME, "listing") as pool:
        for part, starts in zip(parts, pool.map(_starts, parts), strict=True):
            for (path, relative), start in zip(part, starts, strict=True):
                _add(listing, path, relative, start)
    return listing


def list_file(path: Path) -> Listing:
    """List one file: itself, its entries where it is an archive, and the other half of a NIfTI pair."""
    listing = Listing()
    _add(listing, path, path.name, _start(path))
    half = path.with_suffix({".hdr": ".img", ".img": ".hdr"}.get(path.suffix, path.suffix))
    if half != path and half.is_file() and not half.is_symlink():
        listing.names = sorted([*listing.names, half.name])
    return listing


def _starts(files: Sequence[tuple[Path, str]]) -> list[bytes | OSError]:
    return [_start(path) for path, _ in files]


def _start(path: Path) -> bytes | OSError:
    """Return the bytes that tell an archive, or why they can't be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, AHEAD_BYTES, os.POSIX_FADV_WILLNEED)
            return file.read(4) or b""
    except OSError as error:
        return error


def _add(listing: Listing, path: Path, relative: str, start: bytes | OSError) -> None:
    try:
        if isinstance(start, OSError):
            raise start
        if not is_archive(start):
            if path.suffix.lower() == ".zip" and start:
                raise UnreadableFileError("damaged ZIP archive: it does not begin as one")
            listing.names.append(relative)
            return
        entries = list_archive(path)
    except UnreadableFileError as error:
        listing.skipped.append(SkippedFile(relative, error.message))
        return
    except OSError as error:
        listing.skipped.append(SkippedFile(relative, f"can't be read: {error.strerror}"))
        return
    listing.names += [f"{relative}{SEPARATOR}{name}" for name in entries.names]
    listing.skipped += [SkippedFile(f"{relative}{SEPARATOR}{file.path}", file.reason) for file in entries.skipped]
    count = len(entries.names) + len(entries.skipped)
    listing.skipped.append(SkippedFile(relative, f"ZIP archive: its {count} files are listed as {path.name}!/..."))

"""Where compiled kernels are kept between runs.

numba notices a change only in the file of a kernel itself, so each directory is keyed by everything that a result
depends on: every file of this package, numba, llvmlite, the CPU and the width. Directories of earlier versions are
removed once they have not been used for a while, soon where there are many.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding
import numba

logger = logging.getLogger(__name__)

settings: Any = numba.config
"""numba fills its attributes in at run time."""

KEPT = 6
"""Directories that stay, this process's included: a few widths, CPUs or environments of one user."""
UNUSED_S = 3600.0
"""One that was used within this time stays, whatever their number: a process may be compiling into it."""
FORGOTTEN_S = 30 * 86400.0
"""One that was not used for this time goes, however few there are."""
PROVED = "lanes-proved"
"""A file that says that the lanes have been tried, see `trial`."""

_OURS = re.compile(r"kernels-[0-9a-f]{16}")
_LEFT_BY_US = re.compile(rf".+\.nb[ci](\.tmp\.[0-9a-f]+)?|{PROVED}")

_numba_settings = threading.Lock()
"""numba takes the cache directory from a global; only one kernel at a time may set it."""


def cache_key(width: int) -> str:
    """Name what compiled kernels of this width depend on besides their own text."""
    digest = hashlib.sha256()
    room = Path(__file__).parent
    for path in (*sorted(room.glob("*.py")), room.parent / "rays.py"):  # the layout of the array that kernels read
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    features = settings.CPU_FEATURES
    if features is None:  # a virtual machine may hide some of its CPU's
        features = llvmlite.binding.get_host_cpu_features().flatten()
    target = f"{cpu_name()} {features} {os.environ.get('VOXELCAST_PORTABLE')}"
    digest.update(f"{numba.__version__} {llvmlite.__version__} {target} {width}".encode())
    return digest.hexdigest()[:16]


def cpu_name() -> str:
    """Name the CPU that is compiled for, as LLVM does."""
    return str(settings.CPU_NAME or llvmlite.binding.get_host_cpu_name())


def cache_candidates() -> list[Path]:
    """Directories to try, best first: the user's cache, then a private one among the temporary files."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~")) / ".cache"
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return [home / "voxelcast", Path(tempfile.gettempdir()) / f"voxelcast-{user}"]


_directories: dict[int, Path | None] = {}
_directory_lock = threading.Lock()


def cache_directory(width: int) -> Path | None:
    """Return the directory for this process's kernels of a width, made if need be; None if there is no place for one.

    The first call marks it as used, and prunes its neighbours.
    """
    with _directory_lock:
        if width not in _directories:
            key = cache_key(width)
            directory = next((d for c in cache_candidates() if (d := usable_directory(c, key))), None)
            if directory is None:
                logger.warning("no directory for compiled kernels: they are compiled at each start")
            else:
                with contextlib.suppress(OSError):
                    os.utime(directory)
                prune(directory)
            _directories[width] = directory
        return _directories[width]


def kept_kernels(directory: Path) -> int:
    """Count the compiled kernels of this installation: another one of the same version has its own beside them."""
    here = str(Path(__file__).parent.absolute())
    return sum(1 for _ in directory.glob(f"*_{hashlib.sha1(here.encode()).hexdigest()}/*.nbc"))  # as numba names it


def usable_directory(base: Path, key: str) -> Path | None:
    """Return ``base/kernels-<key>`` if it can be made and written to by this user alone, else None.

    What is in there is executed, so a directory that somebody else owns or may write to is not used.
    """
    directory = base / f"kernels-{key}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
        if not all(_is_private(folder) for folder in (base, directory)):
            return None
    except OSError:
        return None
    return directory


def _is_private(folder: Path) -> bool:
    if not hasattr(os, "getuid"):
        return True
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def prune(current: Path) -> None:
    """Remove the neighbours of a kernel directory that have long not been used: all but the latest few, in the end all.

    Only numba's files and the mark are removed, and then the folders that this leaves empty. Failure is no error:
    another process may be pruning as well. One that still runs on a directory that goes has its kernels in memory,
    and compiles the others without the cache.
    """
    now = time.time()
    used: list[tuple[float, Path]] = []
    entries: list[os.DirEntry[str]] = []
    with contextlib.suppress(OSError):
        entries += os.scandir(current.parent)
    for entry in entries:
        with contextlib.suppress(OSError):  # another process may have removed it
            if _OURS.fullmatch(entry.name) and entry.name != current.name and entry.is_dir(follow_symlinks=False):
                used.append((entry.stat(follow_symlinks=False).st_mtime, Path(entry.path)))
    used.sort(reverse=True)
    for newer, (when, directory) in enumerate(used, 1):
        if now - when > (UNUSED_S if newer >= KEPT else FORGOTTEN_S):
            _remove(directory)


def _remove(directory: Path) -> None:
    with contextlib.suppress(OSError):
        if not _is_private(directory):
            return
    for folder, _, names in os.walk(directory, topdown=False):
        for name in filter(_LEFT_BY_US.fullmatch, names):
            with contextlib.suppress(OSError):  # what another process has removed first must not keep the rest
                os.unlink(os.path.join(folder, name))
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def compile_function(name: str, function: Callable[..., Any], signature: Any, width: int) -> Any:
    """Compile a function for one signature without the GIL, or load it from the cache. Blocks.

    Parameters
    ----------
    name
        For the log.
    function, signature
        Its text, and numba types of the arguments.
    width
        Of the set of operations that the text is written over.
    """
    directory, fault = cache_directory(width), ""
    if directory is not None:
        try:
            with _numba_settings:
                before = settings.CACHE_DIR
                settings.CACHE_DIR = str(directory)
                try:
                    compiled = numba.njit(nogil=True, error_model="numpy", cache=True)(function)
                finally:
                    settings.CACHE_DIR = before
            compiled.compile(signature)
            compiled.disable_compile()
            return compiled
        except Exception as error:  # a full disk, a damaged file, ...; a fault of the text is raised again below
            fault = type(error).__name__
    compiled = numba.njit(nogil=True, error_model="numpy")(function)
    compiled.compile(signature)
    compiled.disable_compile()
    if fault:
        logger.warning("kernel %s was compiled without the cache: %s", name, fault)
    return compiled

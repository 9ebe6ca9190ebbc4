"""When kernels are compiled, and where the results are kept.

A kernel compiles on its first use, or earlier in `compile_kernels`, whichever comes first; each has a lock of its own,
so a view waits for the kernel that it needs and for no other. The results are cached on disk. numba notices a change
only in the file of a kernel itself, so the directory is keyed by everything that a result depends on.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding
import numba
from numba import types

from render.backends.cpu import kernels_color, kernels_resize, kernels_upload, kernels_values, operations

logger = logging.getLogger(__name__)

settings: Any = numba.config
"""numba fills its attributes in at run time."""

Progress = Callable[[str, int, int], None]

_numba_settings = threading.Lock()
"""numba takes the cache directory from a global; only one kernel at a time may set it."""


class Kernel:
    """One compiled function: callable like the function, without the GIL.

    Parameters
    ----------
    name
        For logs and progress.
    function
        Its text.
    signature
        numba types of the arguments.
    """

    def __init__(self, name: str, function: Callable[..., None], signature: Any) -> None:
        self.name = name
        self._function = function
        self._signature = signature
        self._lock = threading.Lock()
        self._compiled: Any = None

    @property
    def is_ready(self) -> bool:
        """Whether a call will run at once."""
        return self._compiled is not None

    def compile(self) -> None:
        """Compile, or load from the cache, unless that is done. Other callers wait."""
        if self._compiled is not None:
            return
        with self._lock:
            if self._compiled is None:
                self._compiled = self._compile(cache_directory())

    def _compile(self, directory: Path | None) -> Any:
        if directory is not None:
            try:
                with _numba_settings:
                    before = settings.CACHE_DIR
                    settings.CACHE_DIR = str(directory)
                    try:
                        compiled = numba.njit(nogil=True, error_model="numpy", cache=True)(self._function)
                    finally:
                        settings.CACHE_DIR = before
                compiled.compile(self._signature)
                compiled.disable_compile()
                return compiled
            except Exception as error:  # a full disk, a damaged file, ...; a fault of the text is raised again below
                logger.warning("kernel %s is compiled without the cache: %s", self.name, type(error).__name__)
        compiled = numba.njit(nogil=True, error_model="numpy")(self._function)
        compiled.compile(self._signature)
        compiled.disable_compile()
        return compiled

    def __call__(self, *args: Any) -> None:
        """Run it, compiling it first if that is not done."""
        if self._compiled is None:
            self.compile()
        self._compiled(*args)


def cache_key() -> str:
    """Name what compiled kernels depend on besides their own text: these files, numba, llvmlite, the CPU, the lanes."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    cpu = settings.CPU_NAME or llvmlite.binding.get_host_cpu_name()
    features = settings.CPU_FEATURES or ""
    digest.update(f"{numba.__version__} {llvmlite.__version__} {cpu} {features} {operations.WIDTH}".encode())
    return digest.hexdigest()[:16]


def cache_candidates() -> list[Path]:
    """Directories to try, best first: the user's cache, then a private one among the temporary files."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~")) / ".cache"
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return [home / "voxelcast", Path(tempfile.gettempdir()) / f"voxelcast-{user}"]


_directory: list[Path | None] = []
_directory_lock = threading.Lock()


def cache_directory() -> Path | None:
    """Return the directory for this process's kernels, made if need be; None if there is no place for one."""
    with _directory_lock:
        if not _directory:
            key = cache_key()
            _directory.append(next((d for c in cache_candidates() if (d := usable_directory(c, key))), None))
            if _directory[0] is None:
                logger.warning("no directory for compiled kernels: they are compiled at each start")
        return _directory[0]


def usable_directory(base: Path, key: str) -> Path | None:
    """Return ``base/kernels-<key>`` if it can be made and written to by this user alone, else None.

    What is in there is executed, so a directory that somebody else owns or may write to is not used.
    """
    directory = base / f"kernels-{key}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
        if hasattr(os, "getuid"):
            for folder in (base, directory):
                status = folder.stat()
                if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                    return None
    except OSError:
        return None
    return directory


def _flat(dtype: Any) -> Any:
    """Return the type of a flat array that is only read; arrays that may be written to are accepted for it."""
    return types.Array(dtype, 1, "C", readonly=True)


_SHAPE = types.Tuple((types.int64,) * 3)  # type: ignore[no-untyped-call] # numba is typed in part
_P = types.float64[::1]
_U8, _F32 = _flat(types.uint8), _flat(types.float32)
_I32 = _flat(types.int32)
_TILE = (types.int64,) * 4
_VALUES, _COLOR = types.float32[:, ::1], types.uint8[:, :, ::1]


def _of_dtype(dtype: Any) -> dict[str, Kernel]:
    name, codes = str(dtype), _flat(dtype)
    grid = types.Array(dtype, 3, "C")
    upload = (
        codes,
        _SHAPE,
        types.int64,
        grid,
        grid,
        types.uint8[:, :, ::1],
        *(types.int64,) * 2,
    )
    histogram = (codes, types.int64, types.int64, *(types.float64,) * 2, types.int64[::1], *(types.int64,) * 2)
    visible = (codes, codes, _U8, types.int64[::1], types.float64, types.float64, *(types.int64,) * 2, types.uint8[::1])
    composite = (codes, _P, _U8, _F32, _I32, _F32, _COLOR, *_TILE)
    is_int = dtype == types.int16
    texts: list[tuple[str, Callable[..., None], Any]] = [
        ("bricks", kernels_upload.bricks_int16 if is_int else kernels_upload.bricks_float32, upload),
        ("histogram", kernels_upload.histogram_int16 if is_int else kernels_upload.histogram_float32, histogram),
        ("thin", kernels_values.thin, (codes, _P, _U8, _VALUES, *_TILE)),
        ("extreme", kernels_values.extreme, (codes, _P, codes, _U8, _VALUES, *_TILE)),
        ("mean", kernels_values.mean, (codes, _P, codes, codes, _U8, _VALUES, *_TILE)),
        ("visible", kernels_upload.visible_bricks, visible),
        ("composite", kernels_color.composite_kernel(False), composite),
        ("composite_shaded", kernels_color.composite_kernel(True), composite),
    ]
    return {f"{kind}_{name}": Kernel(f"{kind}_{name}", text, types.void(*args)) for kind, text, args in texts}


def _all_kernels() -> dict[str, Kernel]:
    by_int, by_float = _of_dtype(types.int16), _of_dtype(types.float32)
    resize = {
        "enlarge_values": Kernel(
            "enlarge_values", kernels_resize.enlarge_values, types.void(types.float32[:, ::1], types.int64, _VALUES)
        ),
        "enlarge_color": Kernel(
            "enlarge_color", kernels_resize.enlarge_color, types.void(types.uint8[:, :, ::1], types.int64, _COLOR)
        ),
    }
    # In the order of need: an MPR of a CT comes first, float32 volumes last.
    return by_int | resize | by_float


KERNELS = _all_kernels()


def kernel(kind: str, dtype: Any) -> Kernel:
    """Return the kernel of this kind for codes of this type."""
    return KERNELS[f"{kind}_{dtype}"]


def compile_kernels(progress: Progress | None = None) -> None:
    """Compile all kernels that are not, in the order of need. Blocks; meant for a background thread.

    Parameters
    ----------
    progress
        Called with ``(name, done, total)`` before each kernel, and at the end with an empty name.
    """
    for done, (name, each) in enumerate(KERNELS.items()):
        if progress is not None:
            progress(name, done, len(KERNELS))
        each.compile()
    if progress is not None:
        progress("", len(KERNELS), len(KERNELS))

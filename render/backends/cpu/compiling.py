"""When kernels are compiled.

A kernel compiles on its first use, or earlier in `compile_kernels`, whichever comes first; each has a lock of its own,
so a view waits for the kernel that it needs, and for the one that numba is compiling just then. The results are cached
on disk: see `kernel_cache`.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from numba import types

from render.backends.cpu import kernels_color, kernels_plane, kernels_resize, kernels_upload, kernels_values
from render.backends.cpu.kernel_cache import compile_function
from render.backends.cpu.operations import WIDTH

Progress = Callable[[str, int, int], None]


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

    def __init__(self, name: str, function: Callable[..., Any], signature: Any) -> None:
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
                self._compiled = compile_function(self.name, self._function, self._signature, WIDTH)

    def __call__(self, *args: Any) -> Any:
        """Run it, compiling it first if that is not done."""
        if self._compiled is None:
            self.compile()
        return self._compiled(*args)


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
    counts = types.uint32[::1]
    sweep = (
        codes,
        _SHAPE,
        *(types.int64,) * 2,
        counts,
        grid,
        grid,
        types.uint8[:, :, ::1],
        grid,
        grid,
        *(types.int64,) * 2,
    )
    steps = (
        grid,
        grid,
        types.int64,
        *(types.float64,) * 3,
        *(types.uint8[:, :, ::1],) * 2,
        *(types.int64,) * 2,
    )
    histogram = (codes, types.int64, types.int64, *(types.float64,) * 2, counts, *(types.int64,) * 2)
    visible = (codes, codes, _U8, _SHAPE, types.int64[::1], *(types.float64,) * 2, types.uint8[::1])
    composite = (codes, _P, _U8, _F32, _I32, _F32, types.int32[:, ::1], *_TILE)
    thin = (codes, _P, _U8, _VALUES, _flat(types.int64), types.int64[::1], types.int64, types.boolean)
    is_int = dtype == types.int16
    texts: list[tuple[str, Callable[..., Any], Any]] = [
        ("sweep", kernels_upload.sweep_int16 if is_int else kernels_upload.sweep_float32, sweep),
        ("steps", kernels_upload.bounds_in_steps, steps),
        ("histogram", kernels_upload.histogram_int16 if is_int else kernels_upload.histogram_float32, histogram),
        ("thin", kernels_plane.thin, thin),
        ("extreme", kernels_values.extreme, (codes, _P, _U8, _U8, _U8, _VALUES, *_TILE)),
        ("mean", kernels_values.mean, (codes, _P, codes, codes, _U8, _VALUES, *_TILE)),
        ("visible", kernels_upload.visible_bricks, visible),
        ("composite", kernels_color.composite_kernel(False), composite),
        ("composite_shaded", kernels_color.composite_kernel(True), composite),
    ]
    return {f"{kind}_{name}": Kernel(f"{kind}_{name}", text, args) for kind, text, args in texts}


def _all_kernels() -> dict[str, Kernel]:
    by_int, by_float = _of_dtype(types.int16), _of_dtype(types.float32)
    resize = {
        "enlarge_values": Kernel(
            "enlarge_values", kernels_resize.enlarge_values, (_VALUES, types.int64, _VALUES, *(types.int64,) * 2)
        ),
        "enlarge_color": Kernel(
            "enlarge_color", kernels_resize.enlarge_color, (_COLOR, types.int64, _COLOR, *(types.int64,) * 2)
        ),
    }
    # In the order of need: an MPR of a CT comes first, then it moving, float32 volumes last.
    soon = {name: by_int.pop(name) for name in ("sweep_int16", "steps_int16", "thin_int16")}
    return soon | resize | by_int | by_float


KERNELS = _all_kernels()


@functools.cache
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

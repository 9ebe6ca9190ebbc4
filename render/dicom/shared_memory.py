"""Memory that workers write a volume to, and a look at it in which what is missing reads as invalid voxels.

Marking the missing slices of a large volume in place would take seconds of page faults before the first picture. On
Linux they are shown by mapping a few pages of marks over them, again and again, until they have been written.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import tempfile

import numpy as np
import numpy.typing as npt

MARKS_BYTES = 8 << 20
"""Of marks that are mapped over what is missing: a few hundred mappings for the largest volumes."""

_MAP_FIXED = 0x10
_CAN_MAP_OVER = sys.platform == "linux"


class SharedMemory:
    """Anonymous memory that a descriptor can be sent of; freed when the last mapping of it is gone."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __enter__(self) -> SharedMemory:
        self.descriptor = _anonymous("voxelcast-volume", self._size)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def map(self) -> mmap.mmap:
        """Map all of it, readable and writable."""
        return mmap.mmap(self.descriptor, self._size)


class Curtain:
    """Marks in place of what has not been written yet, in one mapping of shared memory.

    The bytes at the ends of a span that share a page with its neighbours are marked in place: call `cover` before
    anybody writes there. What is written to them shows at once, not only from `uncover` on.

    Parameters
    ----------
    memory
        Open for as long as this is used.
    codes
        On a mapping of it, from its start.
    marker
        What a missing voxel reads as.
    """

    def __init__(self, memory: SharedMemory, codes: npt.NDArray[np.generic], marker: np.generic) -> None:
        self._memory, self._codes, self._marker = memory, codes, marker
        self._slice_bytes = codes[0].nbytes
        self._marks = -1
        if _CAN_MAP_OVER:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._libc.mmap.restype = ctypes.c_void_p
            self._libc.mmap.argtypes = (
                ctypes.c_void_p,
                ctypes.c_size_t,
                ctypes.c_int,
                ctypes.c_int,
                ctypes.c_int,
                ctypes.c_long,
            )
            size = min(MARKS_BYTES, -(-codes.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE)
            self._marks = _anonymous("voxelcast-marks", size)
            self._marks_bytes = size
            with mmap.mmap(self._marks, size) as marks:
                marks[:] = np.full(size // codes.itemsize, marker, codes.dtype).tobytes()

    def close(self) -> None:
        """Let the marks go; what is mapped stays."""
        if self._marks >= 0:
            os.close(self._marks)
            self._marks = -1

    def cover(self, first: int, last: int) -> None:
        """Show slices `first` to before `last`, which nobody writes yet, as missing."""
        start, stop = self._pages(first, last)
        if stop <= start:
            self._codes[first:last] = self._marker
            return
        flat = self._codes.reshape(-1)
        item = self._codes.itemsize
        flat[first * self._slice_bytes // item : start // item] = self._marker
        flat[stop // item : last * self._slice_bytes // item] = self._marker
        for at in range(start, stop, self._marks_bytes):
            self._map(at, min(self._marks_bytes, stop - at), mmap.PROT_READ, self._marks, 0)

    def uncover(self, first: int, last: int) -> None:
        """Show slices as they have been written."""
        start, stop = self._pages(first, last)
        if stop > start:
            self._map(start, stop - start, mmap.PROT_READ | mmap.PROT_WRITE, self._memory.descriptor, start)

    def _pages(self, first: int, last: int) -> tuple[int, int]:
        """Return where the whole pages within slices begin and end, bytes; none where nothing can be mapped over."""
        if not _CAN_MAP_OVER:
            return 0, 0
        page = mmap.PAGESIZE
        return -(-first * self._slice_bytes // page) * page, last * self._slice_bytes // page * page

    def _map(self, at: int, size: int, access: int, descriptor: int, offset: int) -> None:
        address = self._codes.ctypes.data + at
        got = self._libc.mmap(address, size, access, mmap.MAP_SHARED | _MAP_FIXED, descriptor, offset)
        if got != address:
            raise OSError(ctypes.get_errno(), "mmap failed")


def _anonymous(name: str, size: int) -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create(name)
    else:  # not Linux
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor

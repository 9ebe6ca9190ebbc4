"""The host's memory that frames' pixels come back into, and are handed out in: nothing copies them again."""

from __future__ import annotations

import threading
import weakref

import numpy as np
import numpy.typing as npt

from render.backends.cuda.device import Device
from render.errors import DeviceMemoryError

HANDED_OUT_BYTES = 64 << 20
"""Page-locked at most in frames that somebody still has; what goes beyond is copied into ordinary memory."""
SMALLEST_BYTES = 1 << 16


class PixelMemory:
    """Lends page-locked memory, each piece to one frame, until nobody has its pixels any more.

    Copying them costs a tenth of a millisecond for 1 MiB, and more than half of one for 4 MiB, whose pages are new each
    time. But whoever keeps frames would take page-locked memory from the whole machine, so that there is an end to it.
    Sizes are powers of two: the device's pool keeps what comes back by its size, and windows have any.

    Every method may be called from any thread.

    Parameters
    ----------
    device
        Whose copies run into it.
    limit_bytes
        See `HANDED_OUT_BYTES`.
    """

    def __init__(self, device: Device, limit_bytes: int = HANDED_OUT_BYTES) -> None:
        self._device = device
        self._limit_bytes = limit_bytes
        self._lent_bytes = 0
        self._lock = threading.RLock()  # a frame may be collected while it is held

    @property
    def lent_bytes(self) -> int:
        """In frames that somebody still has."""
        return self._lent_bytes

    def lend(self, nbytes: int) -> npt.NDArray[np.uint8] | None:
        """Return memory for a frame's pixels; None if too much is lent already, or the machine locks no more.

        Raises
        ------
        DeviceError
            If the card fails.
        """
        size = max(1 << (nbytes - 1).bit_length(), SMALLEST_BYTES)
        with self._lock:
            if self._lent_bytes + size > self._limit_bytes:
                return None
            self._lent_bytes += size
        try:
            memory = self._device.pinned(size)
        except DeviceMemoryError:
            self._return(size)
            return None
        except BaseException:
            self._return(size)
            raise
        weakref.finalize(memory, self._return, size).atexit = False
        return memory[:nbytes]

    def _return(self, size: int) -> None:
        with self._lock:
            self._lent_bytes -= size

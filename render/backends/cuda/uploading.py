"""A volume's way to the card: chunks through pinned memory, bricks as slices arrive, statistics at the end."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from render.backends import histogram
from render.backends.cuda import grid
from render.backends.cuda.device import Buffer, Device, Event, Program, Stream, Texture
from render.backends.cuda.kernels import launch_blocks
from render.backends.cuda.parameters import NO_CODE
from render.backends.cuda.resident import Bounds, CudaVolume, Held
from render.errors import DeviceError
from render.volume import Volume

CHUNK_BYTES = 8 << 20
"""Of a staging buffer: long enough that the bus is busy, short enough that the first copy begins at once."""
STAGES = 2
"""One is filled while the other is copied from."""
INVALID, EMPTY = 2, 4
"""Flags of a brick, see `render.backends.cuda.kernels`."""


class Uploader:
    """Brings volumes to a card, one at a time, on a stream of its own: frames go on meanwhile.

    Parameters
    ----------
    device
        Where to.
    chunk_bytes
        Of each staging buffer.
    """

    def __init__(self, device: Device, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._device = device
        self._stream = device.stream()
        self._stages = [device.pinned(chunk_bytes) for _ in range(STAGES)]
        self._lock = threading.Lock()

    def upload(self, volume: Volume, texture: Texture | None) -> CudaVolume:
        """Make a volume resident. Blocks until everything is on the card.

        Parameters
        ----------
        volume
            Which.
        texture
            To fill with its voxels, or None.

        Raises
        ------
        DeviceMemoryError
            If it does not fit; nothing of it stays.
        """
        with self._lock:
            try:
                return _Upload(self._device, self._stream, self._stages, volume, texture).run()
            except BaseException:
                # What failed half-way may still be copying from the stages.
                with contextlib.suppress(DeviceError):
                    self._device.wait(self._device.record(self._stream))
                raise


class _Upload:
    """One volume on its way."""

    def __init__(
        self,
        device: Device,
        stream: Stream,
        stages: list[npt.NDArray[np.uint8]],
        volume: Volume,
        texture: Texture | None,
    ) -> None:
        self.device, self.stream, self.stages = device, stream, stages
        self.volume, self.texture = volume, texture
        self.dtype = volume.codes.dtype
        self.program = Program("upload", str(self.dtype))
        self.levels = grid.levels(volume.geometry.shape)
        self.size = [np.int32(n) for n in volume.geometry.shape[::-1]]

    def run(self) -> CudaVolume:
        volume, device, stream = self.volume, self.device, self.stream
        codes = device.allocate(volume.nbytes, stream)
        plain = self._bounds(self.levels[0].bricks)
        self._copy(codes, plain)
        levels = []
        for n, level in enumerate(self.levels):
            levels.append(self._joined("widen", plain, level, level.bricks))
            if n + 1 < len(self.levels):
                plain = self._joined("halve", plain, level, self.levels[n + 1].bricks)
        low, high, flags = (
            self._fetched(buffer, dtype, 1).item()
            for buffer, dtype in ((levels[-1].low, self.dtype), (levels[-1].high, self.dtype), (levels[-1].flags, "u1"))
        )
        code_range = (1.0, -1.0) if flags & EMPTY else (float(low), float(high))
        statistics = histogram.statistics_of(self._counted(codes, code_range), code_range, volume)
        return CudaVolume(
            volume, Held(codes, tuple(levels), self.texture), code_range, bool(flags & INVALID), statistics
        )

    def _copy(self, codes: Buffer, plain: Bounds) -> None:
        source = np.ascontiguousarray(self.volume.codes).reshape(-1).view(np.uint8)
        slices = self.volume.geometry.shape[0]
        slice_bytes, chunk = source.nbytes // slices, self.stages[0].nbytes
        events: list[Event | None] = [None] * len(self.stages)
        slices_done = layers_done = 0
        for n, start in enumerate(range(0, source.nbytes, chunk)):
            at, part = n % len(self.stages), source[start : start + chunk]
            event = events[at]
            if event is not None:
                self.device.wait(event)
            stage = self.stages[at][: part.nbytes]
            np.copyto(stage, part)
            self.device.upload(codes, start, stage, self.stream)
            events[at] = self.device.record(self.stream)
            there = (start + part.nbytes) // slice_bytes
            layers = self.levels[0].shape[0] if there == slices else there // grid.BRICK
            self._make_bricks(codes, plain, layers_done, layers)
            self._fill_texture(codes, slices_done, there)
            slices_done, layers_done = there, layers

    def _make_bricks(self, codes: Buffer, plain: Bounds, first: int, last: int) -> None:
        if last == first:
            return
        invalid_code = self.volume.invalid_code
        self._launch(
            "bricks",
            (last - first) * self.levels[0].shape[1] * self.levels[0].shape[2],
            codes,
            *self.size,
            np.int32(NO_CODE if invalid_code is None else invalid_code),
            plain.low,
            plain.high,
            plain.flags,
            np.int32(first),
            np.int32(last),
        )

    def _fill_texture(self, codes: Buffer, first: int, last: int) -> None:
        if self.texture is None or last == first:
            return
        _, rows, columns = self.volume.geometry.shape
        self._launch(
            "texels",
            (last - first) * rows * columns,
            codes,
            self.size[0],
            self.size[1],
            np.int32(first),
            np.int32(last),
            self.texture.surface,
        )

    def _joined(self, kernel: str, plain: Bounds, level: grid.Level, bricks: int) -> Bounds:
        result = self._bounds(bricks)
        size = [np.int32(n) for n in level.shape[::-1]]
        self._launch(kernel, bricks, plain.low, plain.high, plain.flags, *size, result.low, result.high, result.flags)
        return result

    def _counted(self, codes: Buffer, code_range: tuple[float, float]) -> npt.NDArray[Any]:
        counts = self.device.allocate(4 * histogram.HISTOGRAM_BINS, self.stream)
        self.device.clear(counts, self.stream)
        row_voxels = self.volume.codes.shape[2]
        rows, stride = self.volume.codes.size // row_voxels, histogram.histogram_stride(self.volume.codes.size)
        self._launch(
            "histogram",
            -(-rows // stride) * row_voxels,
            codes,
            np.int32(row_voxels),
            np.int64(rows),
            np.int32(stride),
            np.float64(code_range[0]),
            np.float64(histogram.histogram_per_bin(code_range)),
            np.int32(histogram.HISTOGRAM_BINS),
            counts,
        )
        return self._fetched(counts, np.uint32, histogram.HISTOGRAM_BINS)

    def _fetched(self, buffer: Buffer, dtype: Any, count: int) -> npt.NDArray[Any]:
        """Return what is in a buffer."""
        nbytes = count * np.dtype(dtype).itemsize
        target = self.device.pinned(nbytes)
        self.device.download(buffer, target, self.stream)
        self.device.wait(self.device.record(self.stream))
        fetched: npt.NDArray[Any] = target.view(dtype)
        return fetched.copy()

    def _bounds(self, bricks: int) -> Bounds:
        code_bytes = bricks * self.dtype.itemsize
        low, high, flags = (self.device.allocate(n, self.stream) for n in (code_bytes, code_bytes, bricks))
        return Bounds(low, high, flags)

    def _launch(self, kernel: str, count: int, *arguments: Any) -> None:
        self.device.launch(self.program, kernel, launch_blocks(count), arguments, self.stream)

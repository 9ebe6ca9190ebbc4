"""A volume's way to the card: chunks through pinned memory, bricks as slices arrive, statistics once they are there."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from render.backends import histogram
from render.backends.cuda import grid
from render.backends.cuda.device import Buffer, Device, Event, Program, Stream, Texture
from render.backends.cuda.kernels import launch_blocks
from render.backends.cuda.parameters import NO_CODE
from render.backends.cuda.resident import Bounds, CudaVolume, Ground, Held
from render.errors import DeviceError
from render.growth import Span
from render.memory import available_cores
from render.volume import Volume

CHUNK_BYTES = 8 << 20
"""Of a staging buffer: long enough that the bus is busy, short enough that the first copy begins at once."""
STAGES = 2
"""One is filled while the other is copied from."""
COPIERS = 4
"""Threads that fill a staging buffer: one copies 6 GB a second, a bus takes several times that."""
LEAST_SHARE = 256 << 10
"""Bytes that are worth a thread."""
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
        self._copiers = ThreadPoolExecutor(min(COPIERS, available_cores()), "voxelcast-upload")
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the threads; no volume may be on its way."""
        self._copiers.shutdown()

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
        with self._alone():
            arrival = self._arrival(volume, texture, volume.invalid_code)
            arrival.take([(0, volume.geometry.shape[0])])
            return arrival.resident()

    def grow(
        self, before: CudaVolume | None, volume: Volume, slices: Sequence[Span], texture: Texture | None
    ) -> CudaVolume:
        """Make the next state of a volume resident. Blocks until everything is on the card.

        Parameters
        ----------
        before
            The last state, which stays as it is if this fails; None for the first.
        volume
            As far as it has arrived; whole in the last state.
        slices
            That have arrived since.
        texture
            For the first state: to fill with voxels, or None.

        Raises
        ------
        DeviceMemoryError
            If it does not fit.
        """
        with self._alone():
            if before is None:
                arrival = self._arrival(volume, texture, volume.invalid_code)
                arrival.mark_missing()
            else:
                assert before.ground is not None, "a state of a volume that grows"
                arrival = _Arrival(self._device, self._stream, self._stages, self._copiers, volume, before.ground)
            arrival.take(slices)
            if arrival.ground.invalid_code != volume.invalid_code and not volume.missing_slices:
                arrival.judge_again()
            return arrival.resident()

    def _arrival(self, volume: Volume, texture: Texture | None, invalid_code: int | None) -> _Arrival:
        codes = self._device.allocate(volume.nbytes, self._stream)
        bricks = grid.levels(volume.geometry.shape)[0].bricks
        cells = bounds(self._device, self._stream, bricks, volume.codes.itemsize)
        ground = Ground(codes, texture, cells, invalid_code)
        return _Arrival(self._device, self._stream, self._stages, self._copiers, volume, ground)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except BaseException:
                # What failed half-way may still be copying from the stages.
                with contextlib.suppress(DeviceError):
                    self._device.wait(self._device.record(self._stream))
                raise


class _Arrival:
    """Slices of one volume on their way."""

    def __init__(
        self,
        device: Device,
        stream: Stream,
        stages: list[npt.NDArray[np.uint8]],
        copiers: ThreadPoolExecutor,
        volume: Volume,
        ground: Ground,
    ) -> None:
        self.device, self.stream, self.stages, self.copiers = device, stream, stages, copiers
        self.volume, self.ground = volume, ground
        self.dtype = volume.codes.dtype
        self.program = Program("upload", str(self.dtype))
        self.levels = grid.levels(volume.geometry.shape)
        self.size = [np.int32(n) for n in volume.geometry.shape[::-1]]
        self.copied: list[Event | None] = [None] * len(stages)
        self.turn = 0

    def mark_missing(self) -> None:
        """Write what stands for a missing voxel everywhere, and bricks of nothing else."""
        count = self.volume.codes.size
        self._launch("mark", count, self.ground.codes, np.int64(count), self._invalid(self.ground.invalid_code))
        self._make_bricks(0, self.levels[0].shape[0], self.ground.invalid_code)

    def take(self, slices: Sequence[Span]) -> None:
        """Copy slices, and make the bricks that they are of anew."""
        for first, last in slices:
            self._copy(first, last)

    def judge_again(self) -> None:
        """Make all bricks anew: what marked missing slices is a code like others now that there are none."""
        self._make_bricks(0, self.levels[0].shape[0], self.volume.invalid_code)

    def resident(self) -> CudaVolume:
        """Return the volume as it is on the card now; waits for that."""
        volume, plain, levels = self.volume, self.ground.cells, []
        for n, level in enumerate(self.levels):
            levels.append(self._joined("widen", plain, level, level.bricks))
            if n + 1 < len(self.levels):
                plain = self._joined("halve", plain, level, self.levels[n + 1].bricks)
        low, high, flags = (
            self._fetched(buffer, dtype, 1).item()
            for buffer, dtype in ((levels[-1].low, self.dtype), (levels[-1].high, self.dtype), (levels[-1].flags, "u1"))
        )
        code_range = (1.0, -1.0) if flags & EMPTY else (float(low), float(high))
        statistics = histogram.statistics_of(self._counted(code_range), code_range, volume)
        held = Held(self.ground.codes, tuple(levels), self.ground.texture)
        ground = self.ground if volume.missing_slices else None
        return CudaVolume(volume, held, code_range, bool(flags & INVALID), statistics, ground)

    def _copy(self, first: int, last: int) -> None:
        source = np.ascontiguousarray(self.volume.codes[first:last]).reshape(-1).view(np.uint8)
        slice_bytes, chunk = source.nbytes // (last - first), self.stages[0].nbytes
        slices_done, layers_done = first, first // grid.BRICK
        for start in range(0, source.nbytes, chunk):
            part = source[start : start + chunk]
            event = self.copied[self.turn]
            if event is not None:
                self.device.wait(event)
            stage = self.stages[self.turn][: part.nbytes]
            self._fill(stage, part)
            self.device.upload(self.ground.codes, first * slice_bytes + start, stage, self.stream)
            self.copied[self.turn] = self.device.record(self.stream)
            self.turn = (self.turn + 1) % len(self.stages)
            there = first + (start + part.nbytes) // slice_bytes
            layers = -(-last // grid.BRICK) if there == last else there // grid.BRICK
            self._make_bricks(layers_done, layers, self.ground.invalid_code)
            self._fill_texture(slices_done, there)
            slices_done, layers_done = there, layers

    def _fill(self, stage: npt.NDArray[np.uint8], part: npt.NDArray[np.uint8]) -> None:
        """Copy on the host, in several threads where it is much."""
        share = max(-(-part.nbytes // COPIERS), LEAST_SHARE)
        ends = [slice(start, start + share) for start in range(0, part.nbytes, share)]
        others = [self.copiers.submit(np.copyto, stage[each], part[each]) for each in ends[1:]]
        np.copyto(stage[ends[0]], part[ends[0]])
        for other in others:
            other.result()

    def _make_bricks(self, first: int, last: int, invalid_code: int | None) -> None:
        if last <= first:
            return
        cells = self.ground.cells
        self._launch(
            "bricks",
            (last - first) * self.levels[0].shape[1] * self.levels[0].shape[2],
            self.ground.codes,
            *self.size,
            self._invalid(invalid_code),
            cells.low,
            cells.high,
            cells.flags,
            np.int32(first),
            np.int32(last),
        )

    def _fill_texture(self, first: int, last: int) -> None:
        if self.ground.texture is None or last == first:
            return
        _, rows, columns = self.volume.geometry.shape
        self._launch(
            "texels",
            (last - first) * rows * columns,
            self.ground.codes,
            self.size[0],
            self.size[1],
            np.int32(first),
            np.int32(last),
            self.ground.texture.surface,
        )

    def _joined(self, kernel: str, plain: Bounds, level: grid.Level, bricks: int) -> Bounds:
        result = bounds(self.device, self.stream, bricks, self.dtype.itemsize)
        size = [np.int32(n) for n in level.shape[::-1]]
        self._launch(kernel, bricks, plain.low, plain.high, plain.flags, *size, result.low, result.high, result.flags)
        return result

    def _counted(self, code_range: tuple[float, float]) -> npt.NDArray[Any]:
        counts = self.device.allocate(4 * histogram.HISTOGRAM_BINS, self.stream)
        self.device.clear(counts, self.stream)
        row_voxels = self.volume.codes.shape[2]
        rows, stride = self.volume.codes.size // row_voxels, histogram.histogram_stride(self.volume.codes.size)
        self._launch(
            "histogram",
            -(-rows // stride) * row_voxels,
            self.ground.codes,
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

    @staticmethod
    def _invalid(code: int | None) -> np.int32:
        return np.int32(NO_CODE if code is None else code)

    def _launch(self, kernel: str, count: int, *arguments: Any) -> None:
        self.device.launch(self.program, kernel, launch_blocks(count), arguments, self.stream)


def bounds(device: Device, stream: Stream, bricks: int, code_bytes: int) -> Bounds:
    """Return memory for the bounds and flags of so many bricks."""
    sizes = bricks * code_bytes, bricks * code_bytes, bricks
    return Bounds(*(device.allocate(size, stream) for size in sizes))

"""A frame's launches: inputs, bands, enlarging. Nothing waits but for a new table, and for bands too far ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from render.backends.cuda.device import Argument, Buffer, Device, Event, PictureEncoder, Program, Stream
from render.backends.cuda.kernels import launch_blocks, launch_grid
from render.backends.cuda.parameters import FramePlan, table_entries, table_range
from render.backends.cuda.resident import Bounds, CudaVolume, Held, KeyedTables, Tables
from render.backends.tables import TransferTables
from render.errors import RenderCancelledError

BAND_SAMPLES = 1 << 28
"""Samples to a launch at most: a few milliseconds of a card that takes 10^11 a second, and the longest that a frame
given up goes on."""
BANDS_AHEAD = 2
"""Launched and not ended: one runs, the next waits. Frames of no more bands than that wait for their end alone."""
BLOCK_ROWS = 8
"""Rows of a block: a band has a whole number of them."""


class Lane:
    """A stream, pinned memory and an encoder, of one frame at a time.

    Parameters
    ----------
    device
        Whose.

    Attributes
    ----------
    encoder
        Of this lane alone, once a JPEG has been wanted of it.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.encoder: PictureEncoder | None = None
        self.stream: Stream = device.stream()
        self._pinned = np.empty(0, np.uint8)

    def pinned(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """Return memory for what a frame brings back; it is kept for the next one."""
        if self._pinned.nbytes < nbytes:
            self._pinned = self.device.pinned(nbytes)
        return self._pinned[:nbytes]

    def send(self, values: npt.NDArray[Any]) -> tuple[Buffer, npt.NDArray[np.uint8]]:
        """Return what is to hold these values, and what they are copied from: it has to live until they are."""
        buffer, source = self.device.allocate(values.nbytes, self.stream), self.device.pinned(values.nbytes)
        np.copyto(source, values.view(np.uint8))
        self.device.upload(buffer, 0, source, self.stream)
        return buffer, source

    def settle(self) -> None:
        """Block until the stream is empty."""
        self.device.wait(self.device.record(self.stream))


@dataclass(frozen=True)
class Drawn:
    """A frame on the card, complete when its lane's stream has come that far.

    Attributes
    ----------
    pixels
        float32, modality units, or premultiplied RGBA; of the viewport.
    is_color
        Which of the two.
    shape_px
        Rows and columns.
    reads
        Of other streams, what it is made of: to be held until the lane's stream has come that far.
    """

    pixels: Buffer
    is_color: bool
    shape_px: tuple[int, int]
    reads: object = None


class Drawing:
    """One frame on a lane.

    Parameters
    ----------
    lane
        That is its own.
    plan
        What to launch.
    resident, held
        What is drawn.
    texture
        Sample by the texture unit; `held` has one then.
    band_samples
        See `BAND_SAMPLES`.
    """

    def __init__(
        self,
        lane: Lane,
        plan: FramePlan,
        resident: CudaVolume,
        held: Held,
        *,
        texture: bool,
        band_samples: int = BAND_SAMPLES,
    ) -> None:
        self._lane, self._device, self._stream = lane, lane.device, lane.stream
        self._plan, self._resident, self._held = plan, resident, held
        self._texture, self._band_samples = texture, band_samples
        self._dtype = resident.code_type

    def draw(
        self,
        viewport_px: tuple[int, int],
        stride: int,
        tables: KeyedTables | None,
        counts: Buffer,
        cancelled: Callable[[], bool] | None,
    ) -> Drawn:
        """Put a frame on the lane's stream.

        Parameters
        ----------
        viewport_px
            Rows and columns of the result.
        stride
            `Quality.ray_stride`.
        tables
            Of a transfer function, with what they are remembered by.
        counts
            Of samples, added to; see `render.backends.cuda.kernels`.
        cancelled
            Asked before each band.

        Raises
        ------
        RenderCancelledError
            If `cancelled` said True. What has been launched goes on.
        """
        is_color = self._plan.kernel.startswith("composite")
        remembered = self._tables(*tables) if tables else None
        inputs = self._inputs(remembered)
        rows, columns = self._plan.shape_px
        drawn = self._device.allocate(4 * rows * columns, self._stream)
        self._draw_bands(inputs, [drawn, counts], cancelled)
        if stride > 1:
            drawn = self._enlarged(drawn, stride, viewport_px, is_color)
        return Drawn(drawn, is_color, viewport_px, remembered)

    def _draw_bands(
        self, inputs: list[Argument], outputs: list[Argument], cancelled: Callable[[], bool] | None
    ) -> None:
        rows, columns = self._plan.shape_px
        band_rows = self._rows_of_a_band()
        program = Program(
            "color" if self._plan.kernel.startswith("composite") else "values", self._dtype, self._texture
        )
        texture = self._held.texture
        number = texture.texture if self._texture and texture is not None else np.uint64(0)
        running: deque[Event] = deque()
        for top in range(0, rows, band_rows):
            if len(running) == BANDS_AHEAD:
                self._device.wait(running.popleft())
            if cancelled is not None and cancelled():
                raise RenderCancelledError(f"given up with {rows - top} rows left to draw")
            bottom = min(top + band_rows, rows)
            arguments: list[Argument] = [self._plan.parameters.reshape(1), self._held.codes, number, *inputs, *outputs]
            self._device.launch(
                program,
                self._plan.kernel,
                launch_grid(columns, bottom - top),
                [*arguments, np.int32(top), np.int32(bottom)],
                self._stream,
            )
            if bottom < rows:
                running.append(self._device.record(self._stream))

    def _rows_of_a_band(self) -> int:
        """Return how many rows stay within the samples, if no ray skips any."""
        lattice, geometry = self._plan.lattice, self._resident.volume.geometry
        per_ray = 1.0
        if lattice.step_mm:
            per_ray = min(lattice.last - lattice.first, geometry.diagonal_mm / lattice.step_mm) + 1
        rows = int(self._band_samples / (per_ray * self._plan.shape_px[1]))
        return max(rows // BLOCK_ROWS, 1) * BLOCK_ROWS

    def _inputs(self, tables: Tables | None) -> list[Argument]:
        """Return what a kernel takes between the texture and its output."""
        if tables is not None:
            return [tables.fine_flags, tables.coarse_flags, tables.entries]
        fine, coarse = (self._held.levels[n] for n in (self._plan.segments.fine, self._plan.segments.coarse))
        if self._plan.kernel == "thin":
            return [fine.flags]
        if self._plan.kernel == "mean":
            return [fine.low, fine.high, fine.flags, coarse.low, coarse.high, coarse.flags]
        ends = [level.high if self._plan.takes_greatest else level.low for level in (fine, coarse)]
        return [ends[0], fine.flags, ends[1], coarse.flags]

    def _tables(self, key: Hashable, tables: TransferTables) -> Tables:
        segments = self._plan.segments
        key = (key, segments.fine, segments.coarse)
        found = self._resident.tables(key)
        if found is not None:
            self._device.follow(found.ready, self._stream)
            return found
        sent = [self._lane.send(values) for values in (table_entries(tables), tables.cumulated.astype(np.int32))]
        entries, cumulated = (buffer for buffer, _ in sent)
        fine, coarse = (
            self._visible(self._held.levels[n], cumulated, tables) for n in (segments.fine, segments.coarse)
        )
        made = Tables(entries, fine, coarse, self._device.record(self._stream))
        self._device.wait(made.ready)  # a table is new: once, not once a frame
        self._resident.remember(key, made)
        return made

    def _visible(self, level: Bounds, cumulated: Buffer, tables: TransferTables) -> Buffer:
        bricks = level.flags.nbytes
        flags = self._device.allocate(bricks, self._stream)
        self._device.launch(
            Program("upload", self._dtype),
            "visible",
            launch_blocks(bricks),
            [level.low, level.high, level.flags, np.int32(bricks), cumulated, *table_range(tables), flags],
            self._stream,
        )
        return flags

    def _enlarged(self, drawn: Buffer, stride: int, viewport_px: tuple[int, int], is_color: bool) -> Buffer:
        rows, columns = viewport_px
        out = self._device.allocate(4 * rows * columns, self._stream)
        rays_height, rays_width = (np.int32(n) for n in self._plan.shape_px)
        self._device.launch(
            Program("picture"),
            "enlarge_color" if is_color else "enlarge_values",
            launch_blocks(rows * columns),
            [drawn, rays_width, rays_height, np.int32(stride), out, np.int32(columns), np.int32(rows)],
            self._stream,
        )
        return out

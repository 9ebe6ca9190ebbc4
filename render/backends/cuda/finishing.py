"""What of a frame crosses the bus: its pixels, or the picture that is seen, encoded on the card where that is possible.

A frame is waited for once. Where its picture is encoded on the card that wait is the encoder's, which comes back when
the JPEG is on the host; a few tens of kilobytes have crossed the bus then. Else the wait follows the last copy, which
is of one or three bytes a pixel where only the picture is wanted, and of four where values or RGBA are.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from render.backends.cuda.device import Buffer, Device, Program
from render.backends.cuda.drawing import Drawn, Lane
from render.backends.cuda.encoder_trial import require_faithful
from render.backends.cuda.kernels import COUNT_BYTES, launch_blocks
from render.backends.cuda.pixels import PixelMemory
from render.backends.cuda.resident import CudaVolume, Grays
from render.errors import DeviceEncoderError
from render.frame import PictureRequest, ShownPicture
from render.lookup import LookupTable
from render.transfer import Window, WindowFunction

logger = logging.getLogger(__name__)

PICTURE = Program("picture")
WINDOW_FUNCTIONS = {WindowFunction.LINEAR_EXACT: 0, WindowFunction.LINEAR: 1, WindowFunction.SIGMOID: 2}
"""``enum WindowFunction`` of ``kernels/picture.cu``. A table of the source has a kernel of its own."""


@dataclass(frozen=True)
class Finished:
    """What has come back of a frame.

    Attributes
    ----------
    pixels
        float32 ``(H, W)`` or uint8 RGBA ``(H, W, 4)``; None if nobody wanted them.
    shown
        The picture that was asked for.
    samples
        Taken, and possible.
    """

    pixels: npt.NDArray[Any] | None
    shown: ShownPicture | None
    samples: tuple[int, int]


class Encoders:
    """One encoder a lane, kept as long as the lane is; none any more after the first that fails.

    Parameters
    ----------
    device
        Whose.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._name = ""
        self._failure = ""

    @property
    def description(self) -> str:
        """What encodes pictures, or why nothing on the card does; empty before the first one."""
        return self._failure or self._name

    def of(self, lane: Lane) -> bool:
        """Give a lane its encoder, and say whether it has one. The first of all has to pass a trial."""
        with self._lock:
            if self._failure:
                lane.encoder = None
            elif lane.encoder is None:
                try:
                    encoder = self._device.encoder()
                    if not self._name:
                        require_faithful(encoder, self._device, lane)
                except DeviceEncoderError as error:
                    self._tell(error)
                else:
                    self._name, lane.encoder = encoder.name, encoder
            return lane.encoder is not None

    def give_up(self, error: DeviceEncoderError) -> None:
        """Take note that an encoder gave nothing: pictures are encoded on the CPU from now on. Said once."""
        with self._lock:
            if not self._failure:
                self._tell(error)

    def _tell(self, error: DeviceEncoderError) -> None:
        self._failure = f"pictures are encoded on the CPU: {error.message}"
        logger.warning("%s: %s", self._device.name, self._failure)


class Finishing:
    """The end of one frame.

    Parameters
    ----------
    lane
        That it was drawn on.
    drawn
        The frame.
    counts
        Of its samples.
    encoders
        Of the card.
    memory
        That pixels come back into.
    """

    def __init__(self, lane: Lane, drawn: Drawn, counts: Buffer, encoders: Encoders, memory: PixelMemory) -> None:
        self._lane, self._device, self._stream = lane, lane.device, lane.stream
        self._drawn, self._counts, self._encoders = drawn, counts, encoders
        self._rows, self._columns = drawn.shape_px
        self._memory = memory
        self._is_lent = False
        self._grays_read: Grays | None = None

    def pixels(self) -> Finished:
        """Bring the pixels back. Blocks."""
        counts, pixels = self._download_pixels()
        self._lane.settle()
        return Finished(self._pixels_in(pixels), None, _samples_in(counts))

    def picture(self, request: PictureRequest, window: Window, resident: CudaVolume, *, inverted: bool) -> Finished:
        """Bring the picture that is seen back, and the pixels if they are wanted too. Blocks.

        Parameters
        ----------
        request
            Which picture.
        window, inverted
            How values are shown.
        resident
            Remembers the window's table on the card, if it has one.
        """
        shape = self._shape_of(request.divisor)
        shown = self._shrunk(self._shown(window, resident, inverted), request.divisor, shape)
        counts, pixels = self._download_pixels() if request.with_pixels else (self._download_counts(), None)
        jpeg = self._encoded(shown, shape, request.jpeg_quality)
        gray_or_rgb = None
        if jpeg is None:
            taken = COUNT_BYTES + (4 * self._rows * self._columns if request.with_pixels else 0)
            target = self._pinned()[taken : taken + shown.nbytes]
            self._device.download(shown, target, self._stream)
            self._lane.settle()
            gray_or_rgb = target.reshape(shape if shape[2] == 3 else shape[:2]).copy()
        return Finished(
            None if pixels is None else self._pixels_in(pixels),
            ShownPicture(request, shape[1], shape[0], gray_or_rgb, jpeg),
            _samples_in(counts),
        )

    def _shape_of(self, divisor: int) -> tuple[int, int, int]:
        return -(-self._rows // divisor), -(-self._columns // divisor), 3 if self._drawn.is_color else 1

    def _shown(self, window: Window, resident: CudaVolume, inverted: bool) -> Buffer:
        count = self._rows * self._columns
        out = self._device.allocate(count * (3 if self._drawn.is_color else 1), self._stream)
        pixels, size, invert = self._drawn.pixels, np.int64(count), np.int32(inverted)
        if self._drawn.is_color:
            self._launch("rgb", count, pixels, out, size)
        elif window.table is not None:
            grays = self._grays(window, window.table, resident)
            first, entries = np.float64(window.table.first), np.int32(grays.nbytes)
            self._launch("gray8_by_table", count, pixels, out, size, grays, first, entries, invert)
        else:
            function = np.int32(WINDOW_FUNCTIONS[window.function])
            center, width = np.float64(window.center), np.float64(window.width)
            self._launch("gray8", count, pixels, out, size, center, width, function, invert)
        return out

    def _grays(self, window: Window, table: LookupTable, resident: CudaVolume) -> Buffer:
        """Return what the host shows for each input of a table; it is uploaded once."""

        def make() -> Grays:
            buffer, source = self._lane.send(window.to_gray8(table.first + np.arange(len(table.entries))))
            made = Grays(buffer, self._device.record(self._stream))
            self._device.wait(made.ready)
            del source
            return made

        self._grays_read = grays = resident.grays.made(table, make)  # held until the stream has come that far
        self._device.follow(grays.ready, self._stream)
        return grays.buffer

    def _shrunk(self, shown: Buffer, divisor: int, shape: tuple[int, int, int]) -> Buffer:
        if divisor == 1:
            return shown
        out = self._device.allocate(shape[0] * shape[1] * shape[2], self._stream)
        sizes = (np.int32(n) for n in (self._columns, self._rows, shape[2], divisor))
        self._launch("shrink", shape[0] * shape[1] * shape[2], shown, *sizes, out)
        return out

    def _encoded(self, shown: Buffer, shape: tuple[int, int, int], quality: int) -> bytes | None:
        """Return the JPEG, and with it everything that is on the stream; None where the card makes none."""
        if not self._encoders.of(self._lane):
            return None
        assert self._lane.encoder is not None
        try:
            return self._lane.encoder.jpeg(shown, shape, quality, self._stream)
        except DeviceEncoderError as error:
            self._encoders.give_up(error)
            return None

    def _download_pixels(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        counts = self._download_counts()
        nbytes = 4 * self._rows * self._columns
        lent = self._memory.lend(nbytes)
        self._is_lent = lent is not None
        target = self._pinned()[COUNT_BYTES : COUNT_BYTES + nbytes] if lent is None else lent
        self._device.download(self._drawn.pixels, target, self._stream)
        return counts, target

    def _download_counts(self) -> npt.NDArray[np.uint8]:
        target = self._pinned()[:COUNT_BYTES]
        self._device.download(self._counts, target, self._stream)
        return target

    def _pinned(self) -> npt.NDArray[np.uint8]:
        """Return room for all that may come back: counts, then pixels, then the picture."""
        return self._lane.pinned(COUNT_BYTES + (4 + 3) * self._rows * self._columns)

    def _pixels_in(self, target: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        shape = self._drawn.shape_px
        pixels = target.reshape(*shape, 4) if self._drawn.is_color else target.view(np.float32).reshape(shape)
        return pixels if self._is_lent else pixels.copy()

    def _launch(self, kernel: str, count: int, *arguments: Any) -> None:
        self._device.launch(PICTURE, kernel, launch_blocks(count), arguments, self._stream)


def _samples_in(counts: npt.NDArray[np.uint8]) -> tuple[int, int]:
    pairs = counts.view(np.uint64)
    return int(np.add.reduce(pairs[::2])), int(np.add.reduce(pairs[1::2]))

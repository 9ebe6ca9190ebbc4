"""What the renderer needs of a card, and no more: so that a test can put something else in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt


class Buffer(Protocol):
    """Linear memory on the device; given back when the last reference to it goes."""

    @property
    def nbytes(self) -> int:
        """Its size as it was asked for."""


class Texture(Protocol):
    """A CUDA array with a texture and a surface object; given back when the last reference to it goes."""

    @property
    def nbytes(self) -> int:
        """Bytes of its texels."""

    @property
    def texture(self) -> np.uint64:
        """What kernels sample."""

    @property
    def surface(self) -> np.uint64:
        """What `texels` writes."""


Argument: TypeAlias = Buffer | np.generic | npt.NDArray[Any]
"""Of a kernel: a buffer, a NumPy scalar, or a structured array of one element, which goes by value."""

Stream: TypeAlias = Any
Event: TypeAlias = Any


@dataclass(frozen=True)
class Program:
    """A module of kernels: see `render.backends.cuda.kernels`."""

    module: str
    dtype: str = "int16"
    texture: bool = False


@dataclass(frozen=True)
class MemoryState:
    """Bytes.

    Attributes
    ----------
    free, total
        Of the card, as its driver tells.
    used
        In buffers and textures that somebody holds.
    held
        Those, and what the pool keeps for the next ones.
    """

    free: int
    total: int
    used: int
    held: int


class PictureEncoder(Protocol):
    """Makes JPEGs on the card; of one thread at a time."""

    @property
    def name(self) -> str:
        """What it is, with its version."""

    def jpeg(self, buffer: Buffer, shape: tuple[int, int, int], quality: int, stream: Stream) -> bytes:
        """Encode ``(H, W, C)`` of uint8, gray (C = 1) or RGB (3), that the stream writes before. Blocks.

        When it returns, all that was put on the stream before has been done.

        Raises
        ------
        DeviceEncoderError
            If it gives no JPEG.
        """


class Device(Protocol):
    """One card. Every method may be called from any thread.

    Work on a stream is done in order; nothing but `wait` and `pinned` blocks. A buffer belongs to the stream that it is
    allocated for: its memory may be handed out again for that stream as soon as the last reference to it goes.

    Raises
    ------
    DeviceMemoryError
        By whatever allocates.
    DeviceError
        By everything, for any other failure; a failure of earlier work may be told late.
    """

    @property
    def name(self) -> str:
        """``cuda:0``."""

    @property
    def description(self) -> str:
        """The card's model."""

    def stream(self) -> Stream:
        """Return a new stream."""

    def allocate(self, nbytes: int, stream: Stream) -> Buffer:
        """Return memory whose contents are undefined."""

    def texture(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> Texture:
        """Return a texture over voxels ``(K, J, I)`` of codes of this type, its contents undefined."""

    def pinned(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """Return memory of the host that copies in both directions can run from beside the processor.

        It is kept by the array, which every view of it has as its base, and is used again once that is gone.
        """

    def upload(self, buffer: Buffer, offset: int, source: npt.NDArray[Any], stream: Stream) -> None:
        """Copy to the device; `source` is pinned, and is not touched before an event recorded after this."""

    def download(self, buffer: Buffer, target: npt.NDArray[Any], stream: Stream) -> None:
        """Copy to `target`, which is pinned and is complete after an event recorded after this."""

    def clear(self, buffer: Buffer, stream: Stream) -> None:
        """Fill with zeros."""

    def launch(
        self, program: Program, kernel: str, grid: tuple[int, ...], arguments: Sequence[Argument], stream: Stream
    ) -> None:
        """Start a kernel in blocks of `render.backends.cuda.kernels.BLOCK_THREADS`."""

    def record(self, stream: Stream) -> Event:
        """Return an event after everything that has been put on the stream."""

    def follow(self, event: Event, stream: Stream) -> None:
        """Let what is put on the stream from now on begin after the event."""

    def wait(self, event: Event) -> None:
        """Block until the event."""

    def encoder(self) -> PictureEncoder:
        """Return a new encoder.

        Raises
        ------
        DeviceEncoderError
            If there is none for this card.
        """

    def memory(self) -> MemoryState:
        """Return what is free and what is taken."""

    def free_unused(self) -> None:
        """Give what the pool keeps back to the card."""

    def is_lost(self) -> bool:
        """Whether nothing works any more: a CUDA error that sticks to the process."""

    def close(self) -> None:
        """Give everything back that is not in use."""

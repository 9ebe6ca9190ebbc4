"""A card that is none: host memory that is counted, kernels through the host shim, and failures to order."""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from render.backends.cuda.device import MemoryState, Program
from render.backends.cuda.resident import rounded
from render.encoding import pictures
from render.errors import DeviceEncoderError, DeviceError, DeviceMemoryError
from tests.backends.cuda.host_shim import HostArray, Kernels

GARBAGE = 0xA5
"""What new memory holds: nothing may rely on zeros."""


class FakeBuffer:
    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        # Of 8-byte words, for the alignment that a card's memory has.
        self.memory = np.empty(-(-nbytes // 8), np.uint64).view(np.uint8)[:nbytes]
        self.memory.fill(GARBAGE)


class FakeTexture:
    def __init__(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
        is_int = dtype == np.int16
        self.texels = np.full(shape, 12345, np.uint16 if is_int else np.float32)
        self.nbytes = self.texels.nbytes
        size = (ctypes.c_int32 * 3)(*shape[::-1])
        self.array = HostArray(ctypes.c_void_p(self.texels.ctypes.data), size, int(is_int))

    @property
    def texture(self) -> np.uint64:
        return np.uint64(ctypes.addressof(self.array))

    surface = texture


@dataclass(eq=False)
class FakeStream:
    """Copies wait here until somebody waits for an event, as they may on a card."""

    pending: list[Callable[[], None]] = field(default_factory=list)


class FakeEncoder:
    """libjpeg in the place of a card's encoder. Like that it waits for the stream, and only bytes come back."""

    name = "an encoder that is none"

    def __init__(self, device: FakeDevice) -> None:
        self.device = device
        self.calls = 0

    def jpeg(self, buffer: FakeBuffer, shape: tuple[int, int, int], quality: int, stream: FakeStream) -> bytes:
        self.device.check()
        self.calls += 1
        self.device.wait(self.device.record(stream))
        if self.device.encodes_nothing:
            raise DeviceEncoderError(f"{self.name} gave no JPEG of {shape[1]} x {shape[0]} x {shape[2]}")
        pixels = buffer.memory.reshape(shape)
        if self.device.swaps_channels:
            pixels = pixels[..., ::-1]
        payload = pictures.jpeg(pixels if shape[2] == 3 else pixels[..., 0], quality)
        self.device.downloads.append(len(payload))
        return payload


@dataclass
class FakeDevice:
    """Implements `render.backends.cuda.device.Device`.

    Work on a stream is done when an event of it is waited for, not before: a copy whose source has been overwritten
    meanwhile, or a picture that is read too early, is wrong here too.

    Attributes
    ----------
    kernels
        ``(dtype, texture) -> Kernels``.
    total
        Bytes of memory.
    fail_allocation
        The n-th allocation from now on that fails, counted from 1; 0 for none.
    fail_launch
        Likewise, of launches.
    sticks
        A failed launch makes everything fail from then on.
    has_encoder, encodes_nothing, swaps_channels
        Of the encoder: whether there is one, whether it gives nothing, whether it takes red for blue.
    """

    kernels: Callable[[str, bool], Kernels]
    total: int = 1 << 30
    name: str = "cuda:0"
    description: str = "a card that is none"
    fail_allocation: int = 0
    fail_launch: int = 0
    sticks: bool = False
    lost: bool = False
    used: int = 0
    kept: int = 0
    waits: int = 0
    launches: list[str] = field(default_factory=list)
    programs: list[Program] = field(default_factory=list)
    uploads: list[int] = field(default_factory=list)
    downloads: list[int] = field(default_factory=list)
    has_encoder: bool = True
    encodes_nothing: bool = False
    swaps_channels: bool = False
    encoders: list[FakeEncoder] = field(default_factory=list)
    on_launch: Callable[[str], None] = lambda kernel: None
    is_closed: bool = False

    def __post_init__(self) -> None:
        self.lock = threading.RLock()

    def stream(self) -> FakeStream:
        self.check()
        return FakeStream()

    def allocate(self, nbytes: int, stream: FakeStream) -> FakeBuffer:
        self.take(rounded(nbytes), from_pool=True)
        buffer = FakeBuffer(nbytes)
        weakref.finalize(buffer, self.put_back, rounded(nbytes), True)
        return buffer

    def texture(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> FakeTexture:
        nbytes = int(np.prod(shape)) * dtype.itemsize
        self.take(nbytes, from_pool=False)
        texture = FakeTexture(shape, dtype)
        weakref.finalize(texture, self.put_back, nbytes, False)
        return texture

    def pinned(self, nbytes: int) -> np.ndarray:
        self.check()
        return np.full(nbytes, GARBAGE, np.uint8)

    def upload(self, buffer: FakeBuffer, offset: int, source: np.ndarray, stream: FakeStream) -> None:
        self.check()
        assert offset + source.nbytes <= buffer.nbytes
        self.uploads.append(source.nbytes)
        target = buffer.memory[offset : offset + source.nbytes]
        stream.pending.append(lambda: np.copyto(target, source))

    def download(self, buffer: FakeBuffer, target: np.ndarray, stream: FakeStream) -> None:
        self.check()
        assert target.nbytes <= buffer.nbytes
        self.downloads.append(target.nbytes)
        stream.pending.append(lambda: np.copyto(target, buffer.memory[: target.nbytes]))

    def clear(self, buffer: FakeBuffer, stream: FakeStream) -> None:
        self.check()
        stream.pending.append(lambda: buffer.memory.fill(0))

    def launch(
        self, program: Program, kernel: str, grid: tuple[int, ...], arguments: Sequence[Any], stream: FakeStream
    ) -> None:
        self.check()
        self.on_launch(kernel)
        if self.fail_launch:
            self.fail_launch -= 1
            if not self.fail_launch:
                self.lost = self.sticks
                raise DeviceError(f"{self.name} failed running {kernel}: cudaErrorIllegalAddress", device=self.name)
        self.launches.append(kernel)
        self.programs.append(program)
        # Like CuPy: scalars and structures are copied at the launch, buffers are addresses; references are kept, since
        # a card's memory outlives them until the stream has passed.
        given = [
            argument.memory if isinstance(argument, FakeBuffer) else np.array(argument).reshape(())
            for argument in arguments
        ]
        shim = self.kernels(program.dtype, program.texture)
        stream.pending.append(lambda: shim.launch(kernel, grid, *given))

    def record(self, stream: FakeStream) -> tuple[FakeStream, int]:
        self.check()
        return stream, len(stream.pending)

    def follow(self, event: tuple[FakeStream, int], stream: FakeStream) -> None:
        self.check()
        stream.pending.append(lambda: self.run(event[0]))

    def wait(self, event: tuple[FakeStream, int]) -> None:
        self.check()
        with self.lock:
            self.waits += 1
            self.run(event[0])

    def run(self, stream: FakeStream) -> None:
        while stream.pending:
            stream.pending.pop(0)()

    def encoder(self) -> FakeEncoder:
        self.check()
        if not self.has_encoder:
            raise DeviceEncoderError("nvImageCodec is not installed")
        self.encoders.append(FakeEncoder(self))
        return self.encoders[-1]

    def memory(self) -> MemoryState:
        return MemoryState(self.total - self.used - self.kept, self.total, self.used, self.used + self.kept)

    def free_unused(self) -> None:
        self.kept = 0

    def is_lost(self) -> bool:
        return self.lost

    def close(self) -> None:
        self.is_closed = True

    def check(self) -> None:
        if self.lost:
            raise DeviceError(f"{self.name} failed: cudaErrorIllegalAddress", device=self.name)

    def take(self, nbytes: int, *, from_pool: bool) -> None:
        self.check()
        with self.lock:
            if self.fail_allocation:
                self.fail_allocation -= 1
                if not self.fail_allocation:
                    raise DeviceMemoryError(f"{self.name} has no memory left: told to fail", device=self.name)
            if from_pool:
                self.kept -= min(nbytes, self.kept)
            if self.used + self.kept + nbytes > self.total:
                raise DeviceMemoryError(f"{self.name} has no memory left for {nbytes}", device=self.name)
            self.used += nbytes

    def put_back(self, nbytes: int, to_pool: bool) -> None:
        with self.lock:
            self.used -= nbytes
            self.kept += nbytes if to_pool else 0

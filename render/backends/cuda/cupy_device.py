"""A card through CuPy. Nothing else imports CuPy, and this only when a device is made."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from render.backends.cuda import kernels
from render.backends.cuda.device import Argument, Buffer, Event, MemoryState, Program, Stream
from render.backends.cuda.probe import import_with_cache
from render.encoding.on_card import CardEncoder, CardPicture, open_encoder
from render.errors import DeviceError, DeviceMemoryError
from render.memory import format_bytes

MEMORY_ALLOCATION = 2
"""``cudaErrorMemoryAllocation``; what a CUDA array that does not fit raises, for it is not of CuPy's pool."""


@dataclass(frozen=True, eq=False)
class CupyBuffer:
    """Implements `Buffer`."""

    pointer: Any
    nbytes: int


@dataclass(frozen=True, eq=False)
class CupyTexture:
    """Implements `Texture`. Its objects, which keep their array, are the device's to let go."""

    texture: np.uint64
    surface: np.uint64
    nbytes: int


@dataclass(frozen=True, eq=False)
class CupyEncoder:
    """Implements `PictureEncoder`, by what `render.encoding.on_card` finds."""

    device: CupyDevice
    encoder: CardEncoder

    @property
    def name(self) -> str:
        """Package and version."""
        return self.encoder.name

    def jpeg(self, buffer: Buffer, shape: tuple[int, int, int], quality: int, stream: Stream) -> bytes:
        """Encode what is in the buffer."""
        assert isinstance(buffer, CupyBuffer)

        def fetch() -> npt.NDArray[np.uint8]:
            target = self.device.pinned(buffer.nbytes)
            self.device.download(buffer, target, stream)
            self.device.wait(self.device.record(stream))
            return target

        return self.device.encode(self.encoder, CardPicture(buffer.pointer.ptr, shape, stream.ptr, fetch), quality)


class CupyDevice:
    """Implements `render.backends.cuda.device.Device`.

    Parameters
    ----------
    index
        Among the cards that ``CUDA_VISIBLE_DEVICES`` leaves.

    Raises
    ------
    ImportError
        If there is no CuPy.
    DeviceError
        If there is no such card, or its driver does not answer.
    """

    def __init__(self, index: int = 0) -> None:
        cupy = import_with_cache("cupy")
        self._cuda = cupy.cuda
        self._module = cupy.RawModule
        self._index = index
        self._functions: dict[tuple[Program, str], Any] = {}
        self._lock = threading.RLock()  # a texture may be collected while it is held
        self._texture_bytes = 0
        with self._told("starting"):
            self._pool = self._cuda.MemoryPool()
            name = self._cuda.runtime.getDeviceProperties(index)["name"]
        self._description = name.decode() if isinstance(name, bytes) else str(name)

    @property
    def name(self) -> str:
        """``cuda:0``."""
        return f"cuda:{self._index}"

    @property
    def description(self) -> str:
        """The card's model."""
        return self._description

    def stream(self) -> Stream:
        """Return a new stream that does not wait for the default one."""
        with self._told("making a stream"), self._current():
            return self._cuda.Stream(non_blocking=True)

    def allocate(self, nbytes: int, stream: Stream) -> CupyBuffer:
        """Return memory of the pool, of the stream's own part of it."""
        with self._told("allocating {}", nbytes), self._current(), stream:
            return CupyBuffer(self._pool.malloc(nbytes), nbytes)

    def texture(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> CupyTexture:
        """Return a CUDA array of uint16, read as normalised float, or of float32, and its objects."""
        runtime, textures = self._cuda.runtime, self._cuda.texture
        is_int, (slices, rows, columns) = dtype == np.int16, shape
        nbytes = slices * rows * columns * dtype.itemsize
        kind = runtime.cudaChannelFormatKindUnsigned if is_int else runtime.cudaChannelFormatKindFloat
        mode = runtime.cudaReadModeNormalizedFloat if is_int else runtime.cudaReadModeElementType
        with self._told("allocating a texture of {}", nbytes), self._current():
            channel = textures.ChannelFormatDescriptor(8 * dtype.itemsize, 0, 0, 0, kind)
            array = textures.CUDAarray(channel, columns, rows, slices, runtime.cudaArraySurfaceLoadStore)
            resource = textures.ResourceDescriptor(runtime.cudaResourceTypeArray, cuArr=array)
            sampling = textures.TextureDescriptor(
                (runtime.cudaAddressModeClamp,) * 3, runtime.cudaFilterModeLinear, mode, normalizedCoords=0
            )
            objects = [textures.TextureObject(resource, sampling), textures.SurfaceObject(resource)]
            made = CupyTexture(np.uint64(objects[0].ptr), np.uint64(objects[1].ptr), nbytes)
            del resource, array
        with self._lock:
            self._texture_bytes += nbytes
        weakref.finalize(made, self._let_go, objects, nbytes).atexit = False
        return made

    def pinned(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """Return page-locked memory, which lives as long as the array."""
        with self._told("pinning {} of the host's memory", nbytes), self._current():
            return np.frombuffer(self._cuda.alloc_pinned_memory(nbytes), np.uint8, nbytes)

    def upload(self, buffer: Buffer, offset: int, source: npt.NDArray[Any], stream: Stream) -> None:
        """Copy to the device."""
        assert isinstance(buffer, CupyBuffer)
        with self._told("uploading"), self._current():
            (buffer.pointer + offset).copy_from_host_async(source.ctypes.data, source.nbytes, stream)

    def download(self, buffer: Buffer, target: npt.NDArray[Any], stream: Stream) -> None:
        """Copy from the device."""
        assert isinstance(buffer, CupyBuffer)
        with self._told("downloading"), self._current():
            buffer.pointer.copy_to_host_async(target.ctypes.data, target.nbytes, stream)

    def clear(self, buffer: Buffer, stream: Stream) -> None:
        """Fill with zeros."""
        assert isinstance(buffer, CupyBuffer)
        with self._told("clearing"), self._current():
            buffer.pointer.memset_async(0, buffer.nbytes, stream)

    def launch(
        self, program: Program, kernel: str, grid: tuple[int, ...], arguments: Sequence[Argument], stream: Stream
    ) -> None:
        """Start a kernel; the first of a program compiles it, or takes it from CuPy's cache on disk."""
        with self._told(f"running {kernel}"), self._current(), stream:
            function = self._function(program, kernel)
            function(grid, (kernels.BLOCK_THREADS,), tuple(packed(argument) for argument in arguments))

    def record(self, stream: Stream) -> Event:
        """Return an event; who waits for it sleeps."""
        with self._told("recording an event"), self._current():
            event = self._cuda.Event(block=True, disable_timing=True)
            event.record(stream)
            return event

    def follow(self, event: Event, stream: Stream) -> None:
        """Let the stream wait."""
        with self._told("waiting for an event"), self._current():
            stream.wait_event(event)

    def wait(self, event: Event) -> None:
        """Block until the event."""
        with self._told("waiting for the card"):
            event.synchronize()

    def encoder(self) -> CupyEncoder:
        """Return a new encoder: nvImageCodec's, else pynvjpeg's."""
        with self._told("making an encoder"), self._current():
            return CupyEncoder(self, open_encoder(self._index))

    def encode(self, encoder: CardEncoder, picture: CardPicture, quality: int) -> bytes:
        """Let an encoder work on this card."""
        with self._told("encoding"), self._current():
            return encoder.jpeg(picture, quality)

    def memory(self) -> MemoryState:
        """Return what the driver and the pool say; textures are not of the pool."""
        with self._told("asking for free memory"), self._current():
            free, total = self._cuda.runtime.memGetInfo()
            used, held = self._pool.used_bytes(), self._pool.total_bytes()
        return MemoryState(free, total, used + self._texture_bytes, held + self._texture_bytes)

    def free_unused(self) -> None:
        """Give what the pool keeps back to the card."""
        with self._told("freeing the pool"), self._current():
            self._pool.free_all_blocks()

    def is_lost(self) -> bool:
        """Whether even waiting for the card fails: errors that stick are returned by every later call."""
        try:
            with self._current():
                self._cuda.runtime.deviceSynchronize()
        except Exception:
            return True
        return False

    def close(self) -> None:
        """Give the pool's memory back, unless the card is lost."""
        self._functions.clear()
        with contextlib.suppress(DeviceError):
            self.free_unused()

    def _current(self) -> Any:
        """Return what makes this card a thread's current one for a while; one for each use, as it keeps what was."""
        return self._cuda.Device(self._index)

    def _let_go(self, objects: list[Any], nbytes: int) -> None:
        # A texture's number means something on its own card alone.
        with contextlib.suppress(Exception), self._current():
            objects.clear()
        with self._lock:
            self._texture_bytes -= nbytes

    def _function(self, program: Program, kernel: str) -> Any:
        with self._lock:
            found = self._functions.get((program, kernel))
            if found is None:
                options = kernels.options(program.dtype, texture=program.texture)
                module = self._module(code=kernels.source(program.module), options=options, backend="nvrtc")
                for name in kernels.KERNELS[program.module]:
                    self._functions[program, name] = module.get_function(name)
                found = self._functions[program, kernel]
            return found

    def _told(self, doing: str, nbytes: int = 0) -> _Told:
        """Return what turns errors that CuPy raises within it into ours."""
        return _Told(self, doing, nbytes)

    def _ours(self, error: Exception, doing: str) -> DeviceError | DeviceMemoryError:
        """Return our error for one of CuPy's; each of its messages is about the card, never about a patient."""
        out_of_memory = self._cuda.memory.OutOfMemoryError
        if isinstance(error, out_of_memory) or getattr(error, "status", None) == MEMORY_ALLOCATION:
            return DeviceMemoryError(f"{self.name} has no memory left {doing}", device=self.name)
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        return DeviceError(f"{self.name} failed {doing}: {said}", device=self.name)


class _Told:
    """A call of CuPy's. A frame makes a dozen: generators would take a good part of its time.

    Parameters
    ----------
    device
        Whose.
    doing
        For the message of an error; ``{}`` in it stands for `nbytes`.
    nbytes
        Put into words only for that message.
    """

    __slots__ = ("_device", "_doing", "_nbytes")

    def __init__(self, device: CupyDevice, doing: str, nbytes: int) -> None:
        self._device, self._doing, self._nbytes = device, doing, nbytes

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, (DeviceError, DeviceMemoryError)):
            return
        raise self._device._ours(error, self._doing.format(format_bytes(self._nbytes))) from error


def packed(argument: Argument) -> Any:
    """Return an argument as CuPy takes it: a buffer is the 8 bytes of its address, a structure plain bytes.

    CuPy asks an array for its ``__array_interface__``, which would describe every field: a tenth of a millisecond.
    """
    if isinstance(argument, CupyBuffer):
        return np.uint64(argument.pointer.ptr)
    if isinstance(argument, np.ndarray) and argument.dtype.fields:
        return argument.view(np.dtype((np.void, argument.dtype.itemsize)))
    return argument

"""What of the CuPy device needs no card: how arguments are given, and what its errors become."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from render.backends.cpu import kernel_cache
from render.backends.cuda import probe as probe_module
from render.backends.cuda.cupy_device import MEMORY_ALLOCATION, CupyBuffer, CupyDevice, packed
from render.backends.cuda.parameters import PARAMETERS
from render.backends.cuda.probe import import_with_cache
from render.errors import DeviceError, DeviceMemoryError


def test_a_buffer_is_its_address_and_a_structure_its_bytes() -> None:
    pointer = SimpleNamespace(ptr=(1 << 47) + 512)
    given = packed(CupyBuffer(pointer, 4))
    assert isinstance(given, np.uint64)
    assert int(given) == pointer.ptr
    block = np.zeros(1, PARAMETERS)
    block["width"] = 77
    given = packed(block)
    assert given.size == 1
    assert given.dtype.fields is None  # CuPy would describe each of them, in each launch
    assert given.tobytes() == block.tobytes()
    assert given.__array_interface__["data"] == block.__array_interface__["data"]
    assert packed(np.int32(7)).nbytes == 4


class CudaError(RuntimeError):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class PoolError(MemoryError):
    pass


@pytest.mark.parametrize(
    ("raised", "kind", "said"),
    [
        (PoolError("Out of memory allocating 4,096 bytes"), DeviceMemoryError, "cuda:0 has no memory left testing"),
        (CudaError(MEMORY_ALLOCATION, "cudaErrorMemoryAllocation"), DeviceMemoryError, "no memory left testing"),
        (
            CudaError(700, "cudaErrorIllegalAddress: an\nillegal"),
            DeviceError,
            "failed testing: cudaErrorIllegalAddress",
        ),
        (RuntimeError(""), DeviceError, "cuda:0 failed testing: RuntimeError"),
        (DeviceMemoryError("as it is"), DeviceMemoryError, "^as it is$"),
    ],
)
def test_what_cupy_raises_becomes_ours_in_one_line(raised: Exception, kind: type[Exception], said: str) -> None:
    device = bare_device()
    with pytest.raises(kind, match=said) as caught, device._told("testing"):
        raise raised
    assert "\n" not in str(caught.value)


def test_bytes_are_in_words_in_the_message() -> None:
    device = bare_device()
    with pytest.raises(DeviceMemoryError, match=r"no memory left allocating 4\.00 KiB$"):
        with device._told("allocating {}", 4096):
            raise PoolError


def bare_device() -> Any:
    device = object.__new__(CupyDevice)
    device._index = 0
    device._cuda = SimpleNamespace(memory=SimpleNamespace(OutOfMemoryError=PoolError))
    return device


def test_cupys_names_are_what_the_device_uses() -> None:
    """Against the installed CuPy, where there is one: no card is needed to see that a name is there."""
    cupy = pytest.importorskip("cupy")
    runtime, textures = cupy.cuda.runtime, cupy.cuda.texture
    for name in (
        "cudaChannelFormatKindUnsigned",
        "cudaChannelFormatKindFloat",
        "cudaReadModeNormalizedFloat",
        "cudaReadModeElementType",
        "cudaArraySurfaceLoadStore",
        "cudaResourceTypeArray",
        "cudaAddressModeClamp",
        "cudaFilterModeLinear",
        "getDeviceProperties",
        "memGetInfo",
        "deviceSynchronize",
        "driverGetVersion",
        "runtimeGetVersion",
        "getDeviceCount",
    ):
        assert hasattr(runtime, name), name
    for kind in ("ChannelFormatDescriptor", "CUDAarray", "ResourceDescriptor", "TextureDescriptor", "SurfaceObject"):
        assert hasattr(textures, kind)
    textures.ChannelFormatDescriptor(16, 0, 0, 0, runtime.cudaChannelFormatKindUnsigned)
    textures.TextureDescriptor(
        (runtime.cudaAddressModeClamp,) * 3,
        runtime.cudaFilterModeLinear,
        runtime.cudaReadModeNormalizedFloat,
        normalizedCoords=0,
    )
    for name in ("copy_from_host_async", "copy_to_host_async", "memset_async"):
        assert hasattr(cupy.cuda.MemoryPointer, name)
    for name in ("malloc", "used_bytes", "total_bytes", "free_all_blocks"):
        assert hasattr(cupy.cuda.MemoryPool, name)
    # What gives a structure to a kernel by value.
    cupy.cuda.function.CNumpyArray(np.zeros(1, PARAMETERS))
    cupy.RawModule(code="", options=("--std=c++17",), backend="nvrtc")


def test_a_textures_objects_are_let_go_on_their_own_card() -> None:
    device, current, order = bare_device(), [], []

    class Recorded:
        ptr = 7

        def __init__(self, *_: object, **__: object) -> None:
            pass

        def __del__(self) -> None:
            order.append(current[-1] if current else None)

    @contextlib.contextmanager
    def made_current(index: int) -> Iterator[None]:
        current.append(index)
        yield
        current.pop()

    names = dict.fromkeys(("ChannelFormatDescriptor", "ResourceDescriptor", "TextureDescriptor"), lambda *_, **__: 0)
    kinds = {"TextureObject": Recorded, "SurfaceObject": Recorded, "CUDAarray": lambda *_: 0}
    device._cuda = SimpleNamespace(
        Device=made_current, runtime=Anything(), texture=SimpleNamespace(**names, **kinds), memory=device._cuda.memory
    )
    device._index, device._lock, device._texture_bytes = 3, threading.RLock(), 0
    texture = device.texture((4, 5, 6), np.dtype(np.int16))
    assert (texture.texture, device._texture_bytes) == (7, 240)
    del texture
    assert order == [3, 3]
    assert device._texture_bytes == 0


class Anything:
    def __getattr__(self, name: str) -> int:
        return 0


def test_cupy_keeps_kernels_where_this_user_alone_may_write(tmp_path, monkeypatch) -> None:
    imported = []
    monkeypatch.setattr(probe_module.importlib, "import_module", imported.append)
    monkeypatch.delenv("CUPY_CACHE_DIR", raising=False)
    monkeypatch.setenv("CUPY_CACHE_IN_MEMORY", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    import_with_cache("cupy")
    folder = tmp_path / "voxelcast" / "kernels-cupy"
    assert os.environ["CUPY_CACHE_DIR"] == str(folder)
    assert folder.stat().st_mode & 0o077 == 0
    assert not os.environ["CUPY_CACHE_IN_MEMORY"]
    monkeypatch.setenv("CUPY_CACHE_DIR", "where the user said")
    import_with_cache("cupy")
    assert os.environ["CUPY_CACHE_DIR"] == "where the user said"
    monkeypatch.delenv("CUPY_CACHE_DIR")
    monkeypatch.setattr(kernel_cache, "usable_directory", lambda base, key: None)
    import_with_cache("cupy")
    assert os.environ["CUPY_CACHE_IN_MEMORY"] == "1"
    assert os.path.isdir(os.environ["CUPY_CACHE_DIR"])
    assert imported == ["cupy"] * 3


def test_without_a_card_the_device_says_so() -> None:
    pytest.importorskip("cupy")
    from render.backends.cuda.probe import probe

    if probe().cards:
        pytest.skip("there is a card")
    with pytest.raises(DeviceError, match="cuda:0 failed starting: cudaError"):
        CupyDevice(0)

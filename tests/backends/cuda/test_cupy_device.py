"""What of the CuPy device needs no card: how arguments are given, and what its errors become."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from render.backends.cuda.cupy_device import MEMORY_ALLOCATION, CupyBuffer, CupyDevice, packed
from render.backends.cuda.parameters import PARAMETERS
from render.errors import DeviceError, DeviceMemoryError


def test_a_buffer_is_its_address_and_the_rest_goes_as_it_is() -> None:
    pointer = SimpleNamespace(ptr=(1 << 47) + 512)
    given = packed(CupyBuffer(pointer, 4))
    assert isinstance(given, np.uint64)
    assert int(given) == pointer.ptr
    block = np.zeros(1, PARAMETERS)
    assert packed(block) is block
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


def test_without_a_card_the_device_says_so() -> None:
    pytest.importorskip("cupy")
    from render.backends.cuda.probe import probe

    if probe().cards:
        pytest.skip("there is a card")
    with pytest.raises(DeviceError, match="cuda:0 failed starting: cudaError"):
        CupyDevice(0)

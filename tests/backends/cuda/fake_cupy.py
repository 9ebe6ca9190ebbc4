"""What the probe asks of CuPy, without CuPy: each answer a value, or an error to raise."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any


def answering(value: Any) -> Any:
    def answer(*arguments: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    return answer


class CudaError(RuntimeError):
    """What CuPy raises of the runtime's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


NO_DEVICE = CudaError(100, "cudaErrorNoDevice: no CUDA-capable device is detected")


def visible(uuids: list[str], wanted: str | None) -> list[int]:
    """Return which cards a driver leaves of those with these UUIDs, and in what order, for ``CUDA_VISIBLE_DEVICES``.

    As CUDA's programming guide has it: numbers, or UUIDs as far as they are unambiguous; what follows something that
    is neither does not count.
    """
    if wanted is None:
        return list(range(len(uuids)))
    order: list[int] = []
    for word in wanted.split(","):
        if word.isdecimal():
            matches = [int(word)] if int(word) < len(uuids) else []
        else:
            matches = [n for n, uuid in enumerate(uuids) if word and uuid.startswith(word)]
        if len(matches) != 1 or matches[0] in order:
            break
        order.append(matches[0])
    return order


def fake_cupy_of(cards: dict[str, tuple[bytes, Any]], wanted: str | None) -> Any:
    """Return a CuPy over a driver with these cards: UUID to name and what ``memGetInfo`` answers."""
    left = [list(cards.values())[n] for n in visible(list(cards), wanted)]
    cupy = fake_cupy(count=len(left) or NO_DEVICE)
    current: list[int] = []

    @contextlib.contextmanager
    def device(index: int) -> Iterator[None]:
        current.append(index)
        yield
        current.pop()

    cupy.cuda.Device = device
    cupy.cuda.runtime.memGetInfo = lambda: answering(left[current[-1]][1])()
    cupy.cuda.runtime.getDeviceProperties = lambda index: {"name": left[index][0]}
    return cupy


def fake_cupy(
    *,
    driver: Any = 13010,
    runtime: Any = 13000,
    count: Any = 1,
    nvrtc: Any = (13, 0),
    memory: Any = (70 << 30, 80 << 30),
    name: Any = b"Card",
) -> Any:
    @contextlib.contextmanager
    def device(index: int) -> Iterator[None]:
        yield

    calls = SimpleNamespace(
        driverGetVersion=answering(driver),
        runtimeGetVersion=answering(runtime),
        getDeviceCount=answering(count),
        memGetInfo=answering(memory),
        getDeviceProperties=answering({"name": name}),
    )
    cuda = SimpleNamespace(runtime=calls, nvrtc=SimpleNamespace(getVersion=answering(nvrtc)), Device=device)
    return SimpleNamespace(__version__="14.2.0", cuda=cuda)

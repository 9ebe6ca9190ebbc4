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

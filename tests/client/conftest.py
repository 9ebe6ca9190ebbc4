"""A fake server and a client of it; a real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from render.backends.cpu import CpuRenderer, compile_kernels
from tests.client.fake_service import FakeService, serving
from tests.client.served import Served, real_server
from voxelcast import Client


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def address(service: FakeService) -> Iterator[str]:
    with serving(service) as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address, timeout_s=30) as client:
        yield client


@pytest.fixture(scope="module")
def renderer() -> Iterator[CpuRenderer]:
    compile_kernels()
    renderer = CpuRenderer(1)
    yield renderer
    renderer.close()


@pytest.fixture
def served(renderer: CpuRenderer) -> Iterator[Served]:
    with real_server(renderer) as served:
        yield served

"""A fake server and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client.fake_service import FakeService, serving
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

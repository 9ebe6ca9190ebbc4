"""What all tests share: the real series, and the promise that what is required is not skipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    for what in ("gpu", "browser", "data"):
        parser.addoption(f"--require-{what}", action="store_true", help=f"fail, not skip, where {what} tests can't run")


@pytest.fixture(scope="session")
def real_data(request: pytest.FixtureRequest) -> Path:
    """Return the folder of real series: $VOXELCAST_TEST_DATA, else ../shared/data beside the checkout."""
    folder = Path(os.environ.get("VOXELCAST_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not folder.is_dir():
        message = f"no real series at {folder}: set VOXELCAST_TEST_DATA"
        if request.config.getoption("--require-data"):
            pytest.fail(message)
        pytest.skip(message)
    return folder

"""What all tests share: the real series, and the promise that what is required is not skipped."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
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


@pytest.fixture(scope="session")
def small_series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a CT of 12 slices of 40 x 48: a bright ball, off-centre, in soft tissue and air, HU."""
    from tests.dicom.synthetic import write_series

    k, j, i = np.indices((12, 40, 48))
    hu = np.where(((j - 20) / 17) ** 2 + ((i - 24) / 21) ** 2 < 1, 40, -1000)
    hu[((k - 7) * 2.5) ** 2 + ((j - 14) * 0.8) ** 2 + ((i - 30) * 0.5) ** 2 < 25] = 700
    folder = tmp_path_factory.mktemp("series")
    write_series(folder, (hu + 1024).astype(np.uint16), RescaleIntercept="-1024", RescaleSlope="1")
    return folder

from __future__ import annotations

import numpy as np
import pytest

from render.errors import InvalidArgumentError
from render.volume import Volume, VoxelType
from tests.phantoms import grid

GEOMETRY = grid((2, 3, 4), (1, 1, 1))


def zeros(dtype: type = np.int16) -> np.ndarray:
    return np.zeros((2, 3, 4), dtype)


def test_values_are_rescaled_codes_with_holes() -> None:
    codes = zeros()
    codes[0, 0, 0], codes[1, 2, 3] = -2000, 100
    volume = Volume("v", GEOMETRY, codes, slope=0.5, intercept=-10, invalid_code=-2000)
    values = volume.values()
    assert values.dtype == np.float32
    assert np.isnan(values[0, 0, 0])
    assert np.isnan(values).sum() == 1
    assert values[1, 2, 3] == 40
    assert values[0, 1, 1] == -10


def test_float_volumes_have_nan_where_there_is_nothing() -> None:
    codes = zeros(np.float32)
    codes[0, 0, 0] = np.nan
    volume = Volume("v", GEOMETRY, codes)
    assert volume.voxel_type is VoxelType.FLOAT32
    assert np.isnan(volume.values()).sum() == 1
    assert volume.nbytes == 96
    assert Volume("v", GEOMETRY, zeros()).voxel_type is VoxelType.INT16


@pytest.mark.parametrize(
    ("codes", "extra", "message"),
    [
        (np.zeros((4, 3, 2), np.int16), {}, "shape"),
        (zeros(np.uint16), {}, "uint16"),
        (zeros(np.float64), {}, "float64"),
        (np.zeros((2, 4, 3), np.int16).transpose(0, 2, 1), {}, "contiguous"),
        (zeros(), {"slope": 0.0}, "slope"),
        (zeros(), {"slope": np.nan}, "slope"),
        (zeros(), {"intercept": np.inf}, "intercept"),
        (zeros(np.float32), {"invalid_code": 0}, "invalid_code"),
    ],
)
def test_voxels_that_do_not_fit_are_refused(codes, extra, message) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        Volume("v", GEOMETRY, codes, **extra)

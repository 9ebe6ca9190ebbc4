"""The picture of a middle slice stands upright, whichever way the rows of the file run."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from render.dicom.source import scan
from render.dicom.thumbnail import middle_slice
from tests.dicom.synthetic import write_series

MARK = np.zeros((8, 12), np.int16)
MARK[1, 2:9], MARK[1:4, 2] = 900, 500  # a flag: no flip and no turn of it is the same

PLANES = {
    # Image Orientation of an upright picture: (x right, y down), (x right, -z down), (y right, -z down).
    "axial": ((1, 0, 0), (0, 1, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
}
WAYS = list(itertools.product((False, True), repeat=3))


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize(("is_mirrored", "is_upside_down", "is_turned"), WAYS)
def test_it_stands_as_readers_expect(
    tmp_path: Path, plane: str, is_mirrored: bool, is_upside_down: bool, is_turned: bool
) -> None:
    right, down = (np.array(axis, float) for axis in PLANES[plane])
    pixels, spacing = MARK, (1.0, 1.0)
    if is_mirrored:
        pixels, right = pixels[:, ::-1], -right
    if is_upside_down:
        pixels, down = pixels[::-1], -down
    if is_turned:
        pixels, right, down = pixels.T, down, right
    write_series(
        tmp_path, pixels[None], orientation=(*right, *down), spacing=spacing, WindowCenter=450.5, WindowWidth=901
    )
    picture = middle_slice(scan(tmp_path).volumes[0])
    assert picture.shape == MARK.shape
    np.testing.assert_array_equal(picture > 10, MARK > 0)
    np.testing.assert_array_equal(picture > 200, MARK > 800)


def test_pixels_are_square_after_a_turn_too(tmp_path: Path) -> None:
    write_series(tmp_path, MARK[None], orientation=(0, 1, 0, 1, 0, 0), spacing=(2.0, 1.0))
    assert middle_slice(scan(tmp_path).volumes[0]).shape == (6, 8)  # 12 mm x 16 mm

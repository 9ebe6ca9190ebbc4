"""A region of a picture in a viewport: which pixels, which way round, how large, and what they become."""

from __future__ import annotations

import numpy as np
import pytest

from render.errors import InvalidArgumentError, InvalidViewError
from render.web.fitting import Region, fitted, parse_region

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def test_one_pixel_for_one_is_the_picture_itself() -> None:
    np.testing.assert_array_equal(fitted(RAMP, Region(4, 3), 1.0), RAMP)
    color = np.stack([RAMP, RAMP + 1, RAMP + 2], axis=-1)
    np.testing.assert_array_equal(fitted(color, Region(4, 3), 1.0), color)
    # The viewport is larger than the picture one way only: its shape stays.
    assert fitted(RAMP, Region(40, 3), 1.0).shape == (3, 4)
    assert fitted(RAMP, Region(8, 100), 1.0).shape == (6, 8)


def test_a_region_is_cut_and_mirrored() -> None:
    np.testing.assert_array_equal(fitted(RAMP, Region(2, 2, 1, 1, 2, 2), 1.0), RAMP[1:, 1:3])
    np.testing.assert_array_equal(fitted(RAMP, Region(4, 3, 0, 0, -4, 3), 1.0), RAMP[:, ::-1])
    np.testing.assert_array_equal(fitted(RAMP, Region(4, 3, 0, 0, 4, -3), 1.0), RAMP[::-1])
    np.testing.assert_array_equal(fitted(RAMP, Region(3, 3, 1), 1.0), RAMP[:, 1:])
    np.testing.assert_array_equal(fitted(RAMP, Region(4, 2, -5, 1, 50, 50), 1.0), RAMP[1:])


def test_pixels_that_are_not_square_become_so() -> None:
    assert fitted(RAMP, Region(100, 100), 2.0).shape == (100, 67)
    assert fitted(RAMP, Region(100, 100), 0.5).shape == (38, 100)


def test_a_ramp_stays_one_larger_and_smaller() -> None:
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (60, 1))
    for size in (20, 30, 120, 180):
        shown = fitted(ramp, Region(size, size), 1.0).astype(float)
        expected = ((np.arange(size) + 0.5) * 60 / size - 0.5) * 4
        inner = slice(size // 10, -size // 10)  # at the ends there is nothing beyond
        assert np.abs(shown[:, inner] - expected[inner]).max() <= 0.51
    # Every pixel counts as often as any other: single bright ones do not vanish.
    dots = np.zeros((60, 60), np.uint8)
    dots[::6, ::6] = 252
    assert fitted(dots, Region(10, 10), 1.0).astype(float).mean() == pytest.approx(7, abs=0.6)


def test_words() -> None:
    assert parse_region("10,20") == Region(10, 20)
    assert parse_region("10,20,1,2,-3,4") == Region(10, 20, 1, 2, -3, 4)
    assert parse_region("10,20,,,30,") == Region(10, 20, 0, 0, 30, None)
    for text in ("", "10", "10,x", "10,20,1", "10,20,1,2,3", "10,20,1,2,3,nan", "10,20,1,2,3,4,5", "1.5,2"):
        with pytest.raises(InvalidArgumentError, match="needed"):
            parse_region(text)
    for text in ("0,10", "10,5000"):
        with pytest.raises(InvalidViewError):
            parse_region(text)
    for region in (Region(4, 3, 4), Region(4, 3, 0, -9, 4, 2), Region(4, 3, 0, 0, 0, 3)):
        with pytest.raises(InvalidArgumentError, match="no pixel"):
            fitted(RAMP, region, 1.0)

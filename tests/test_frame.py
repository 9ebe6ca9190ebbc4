from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from render.frame import FINAL, Frame, Quality
from render.transfer import Window
from render.view import Camera, Layer, View, Viewport

VIEW = View(Camera((0, -9, 0), (0, 0, 0), (0, 0, 1), parallel_scale_mm=1), Viewport(3, 1), (Layer("v"),))
FRAME = Frame(VIEW, 1, 1, VIEW.plane, Window(50, 100), values=np.array([[np.nan, 0, 100]], np.float32))


@pytest.mark.parametrize(
    ("quality", "missing", "final"),
    [(FINAL, 0, True), (Quality(ray_stride=2), 0, False), (Quality(step_factor=2.0), 0, False), (FINAL, 3, False)],
)
def test_only_a_frame_from_which_nothing_is_missing_is_final(quality, missing, final) -> None:
    assert dataclasses.replace(FRAME, quality=quality, missing_slices=missing).is_final is final


def test_gray_goes_through_the_window_and_may_be_inverted() -> None:
    np.testing.assert_array_equal(FRAME.gray8(), [[0, 0, 255]])
    np.testing.assert_array_equal(FRAME.picture(), [[0, 0, 255]])
    np.testing.assert_array_equal(dataclasses.replace(FRAME, inverted=True).gray8(), [[255, 255, 0]])


def test_colour_is_shown_over_black() -> None:
    color = np.array([[[1, 2, 3, 4], [5, 6, 7, 255], [0, 0, 0, 0]]], np.uint8)
    picture = dataclasses.replace(FRAME, values=None, color=color).picture()
    np.testing.assert_array_equal(picture, color[..., :3])

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import InvalidArgumentError
from render.transfer import (
    Shading,
    TransferFunction,
    Window,
    WindowFunction,
    corrected_opacity,
    load_preset,
    preset_names,
)

GRAY = ((0.0, 0.0, 0.0, 0.0), (100.0, 1.0, 1.0, 1.0))


def standards_linear(x: float, center: float, width: float) -> float:
    """PS3.3 C.11.2.1.2.1 word for word, y from 0 to 1."""
    if x <= center - 0.5 - (width - 1) / 2:
        return 0.0
    if x > center - 0.5 + (width - 1) / 2:
        return 1.0
    return (x - (center - 0.5)) / (width - 1) + 0.5


def standards_linear_exact(x: float, center: float, width: float) -> float:
    """PS3.3 C.11.2.1.3.2 word for word, y from 0 to 1."""
    if x <= center - width / 2:
        return 0.0
    if x > center + width / 2:
        return 1.0
    return (x - center) / width + 0.5


@given(st.floats(-2000, 4000), st.floats(-1000, 1000), st.floats(1, 4000))
def test_linear_is_the_standards(x, center, width) -> None:
    got = Window(center, width, WindowFunction.LINEAR).apply(x)
    if width > 1:
        assert got == pytest.approx(standards_linear(x, center, width), abs=1e-6)
    else:
        assert got in (0.0, 1.0)


@given(st.floats(-2000, 4000), st.floats(-1000, 1000), st.floats(0.01, 4000))
def test_linear_exact_is_the_standards(x, center, width) -> None:
    got = Window(center, width).apply(x)
    assert got == pytest.approx(standards_linear_exact(x, center, width), abs=1e-9)


def test_linear_of_the_least_width_is_a_threshold() -> None:
    window = Window(128, 1, WindowFunction.LINEAR)
    np.testing.assert_array_equal(window.apply([127, 127.5, 127.6, 128]), [0, 0, 1, 1])


def test_sigmoid_is_the_standards() -> None:
    window = Window(40, 400, WindowFunction.SIGMOID)
    x = np.array([-160.0, 40.0, 240.0])
    np.testing.assert_allclose(window.apply(x), 1 / (1 + np.exp(-4 * (x - 40) / 400)))
    np.testing.assert_array_equal(window.apply([-1e9, 1e9]), [0, 1])


def test_gray_levels_round_and_outside_is_black_or_white() -> None:
    window = Window(0.5, 1.0)
    levels = np.arange(256) / 255
    np.testing.assert_array_equal(window.to_gray8(levels), np.arange(256))
    np.testing.assert_array_equal(window.to_gray8(levels, invert=True), np.arange(256)[::-1])
    np.testing.assert_array_equal(window.to_gray8([np.nan, 2, -2]), [0, 255, 0])
    np.testing.assert_array_equal(window.to_gray8([np.nan], invert=True), [255])
    assert np.isnan(window.apply(np.nan))


@pytest.mark.parametrize(
    ("center", "width", "function"),
    [
        (0, 0, WindowFunction.LINEAR_EXACT),
        (0, -1, WindowFunction.SIGMOID),
        (0, 0.5, WindowFunction.LINEAR),
        (math.nan, 1, WindowFunction.LINEAR_EXACT),
        (0, math.inf, WindowFunction.LINEAR_EXACT),
    ],
)
def test_a_window_that_maps_nothing_is_refused(center, width, function) -> None:
    with pytest.raises(InvalidArgumentError, match="window"):
        Window(center, width, function)


def test_curves_are_piecewise_linear_and_held_at_their_ends() -> None:
    function = TransferFunction(((0, 0.0), (10, 1.0), (20, 0.5)), ((0, 0, 0.5, 1), (20, 1, 0.5, 0)))
    np.testing.assert_allclose(function.opacity([-5, 0, 5, 10, 15, 20, 99]), [0, 0, 0.5, 1, 0.75, 0.5, 0.5])
    np.testing.assert_allclose(function.color([[-9, 10, 99]]), [[[0, 0.5, 1], [0.5, 0.5, 0.5], [1, 0.5, 0]]])


@pytest.mark.parametrize(
    ("opacity", "color"),
    [
        ((), GRAY),
        (((0, 0.0),), ()),
        (((1, 0.0), (0, 1.0)), GRAY),
        (((0, 1.5),), GRAY),
        (((0, -0.1),), GRAY),
        (((math.nan, 0.5),), GRAY),
        (((0, 0.0),), ((0, 0, 0, 2.0),)),
        (tuple((float(n), 0.5) for n in range(257)), GRAY),
    ],
)
def test_a_malformed_curve_is_refused(opacity, color) -> None:
    with pytest.raises(InvalidArgumentError):
        TransferFunction(opacity, color)


@given(st.floats(0, 0.999), st.floats(0.01, 5), st.integers(1, 8))
def test_corrected_opacity_composes(opacity, step, parts) -> None:
    """So many steps of a part of the path let through what one step of the whole lets through."""
    whole = corrected_opacity(opacity, step * parts)
    small = corrected_opacity(opacity, step)
    assert 1 - (1 - small) ** parts == pytest.approx(float(whole), abs=1e-9)
    assert corrected_opacity(opacity, 1.0) == pytest.approx(opacity)


def test_corrected_opacity_keeps_nothing_and_everything() -> None:
    np.testing.assert_array_equal(corrected_opacity([0.0, 1.0], 0.3), [0, 1])


def test_shifting_moves_the_whole_curve() -> None:
    preset = load_preset("MR-Default")
    moved = preset.shifted(100)
    x = np.linspace(-200, 800, 50)
    np.testing.assert_allclose(moved.opacity(x + 100), preset.opacity(x))
    np.testing.assert_allclose(moved.color(x + 100), preset.color(x))
    assert (moved.shading, moved.name) == (preset.shading, preset.name)


def test_presets_are_named_and_whole() -> None:
    names = preset_names()
    assert len(names) == len(set(names)) >= 10
    for name in names:
        preset = load_preset(name)
        assert preset.name == name
        assert isinstance(preset.shading, Shading) is (name != "CT-Soft-Tissue")  # the one that comes unshaded
        assert preset.opacity(np.linspace(-1000, 3000, 400)).max() > 0.05
        assert preset.gradient_floor > 0


def test_an_unknown_preset_is_answered_with_the_list() -> None:
    with pytest.raises(InvalidArgumentError, match="CT-Bone") as caught:
        load_preset("CT-Toast")
    assert "CT-Toast" in str(caught.value)


def test_bones_lie_under_flesh_until_their_preset_is_moved() -> None:
    bone = load_preset("CT-Bone")
    assert bone.opacity(50.0) == pytest.approx(0.0723, abs=1e-4)
    assert 1 - (1 - bone.opacity(50.0)) ** 30 > 0.85
    moved = bone.shifted(200)
    assert moved.opacity(50.0) == 0
    assert moved.opacity(841.385) == pytest.approx(0.715686)

"""From what was drawn to what is shown."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from render.backends.cpu.kernels_resize import enlarge_color, enlarge_values
from render.backends.cuda.kernels import launch_blocks
from render.transfer import Window, WindowFunction
from tests.backends.cuda.host_shim import Kernels
from tests.backends.cuda.shim_renderer import enlarge

FUNCTIONS = {WindowFunction.LINEAR_EXACT: 0, WindowFunction.LINEAR: 1, WindowFunction.SIGMOID: 2}


def gray_of(kernels: Kernels, values: np.ndarray, window: Window, *, invert: bool) -> np.ndarray:
    gray = np.zeros(values.shape, np.uint8)
    kernels.launch(
        "gray8",
        launch_blocks(values.size),
        values,
        gray,
        np.int64(values.size),
        np.float64(window.center),
        np.float64(window.width),
        np.int32(FUNCTIONS[window.function]),
        np.int32(invert),
    )
    return gray


@hypothesis.settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    center=st.floats(-2000, 2000),
    width=st.floats(1, 5000),
    function=st.sampled_from([WindowFunction.LINEAR_EXACT, WindowFunction.LINEAR]),
    invert=st.booleans(),
    seed=st.integers(0, 999),
)
def test_gray_equals_the_windows_own(host_kernels, center, width, function, invert, seed) -> None:
    window = Window(center, width, function)
    random = np.random.default_rng(seed)
    whole = np.round(random.uniform(center - width, center + width, 150))
    fine = random.uniform(center - 0.6 * width, center + 0.6 * width, 150)
    values = np.concatenate([whole, fine, [np.nan, 1e30, -1e30, center]]).astype(np.float32)
    got = gray_of(host_kernels("int16", False), values, window, invert=invert)
    np.testing.assert_array_equal(got, window.to_gray8(values, invert=invert))


def test_gray_of_a_width_of_one_is_a_step(host_kernels) -> None:
    window = Window(40.0, 1.0, WindowFunction.LINEAR)
    values = np.array([39, 39.5, 39.6, 41, np.nan], np.float32)
    got = gray_of(host_kernels("int16", False), values, window, invert=False)
    np.testing.assert_array_equal(got, window.to_gray8(values))
    assert got.tolist() == [0, 0, 255, 255, 0]


def test_gray_of_a_sigmoid_is_within_a_level(host_kernels) -> None:
    window = Window(40.0, 400.0, WindowFunction.SIGMOID)
    values = np.linspace(-5000, 5000, 4001, dtype=np.float32)
    got = gray_of(host_kernels("int16", False), values, window, invert=False)
    off = got.astype(int) - window.to_gray8(values)
    assert np.abs(off).max() <= 1
    assert (got == window.to_gray8(values)).mean() > 0.999


def test_alpha_is_dropped_over_black(host_kernels) -> None:
    rgba = np.random.default_rng(1).integers(0, 256, (13, 11, 4), np.uint8)
    rgb = np.full((13, 11, 3), 7, np.uint8)
    host_kernels("int16", False).launch("rgb", launch_blocks(13 * 11), rgba, rgb, np.int64(13 * 11))
    np.testing.assert_array_equal(rgb, rgba[..., :3])


@pytest.mark.parametrize(("stride", "shape"), [(2, (14, 11)), (3, (29, 37)), (4, (3, 2)), (5, (5, 16))])
def test_fewer_rays_are_enlarged_as_on_the_cpu(host_kernels, stride, shape) -> None:
    random = np.random.default_rng(3)
    rays_shape = tuple(-(-n // stride) for n in shape)
    values = random.normal(0, 300, rays_shape).astype(np.float32)
    values[random.random(rays_shape) < 0.2] = np.nan
    expected = np.empty(shape, np.float32)
    enlarge_values(values, stride, expected, 0, shape[0])
    got = enlarge(host_kernels("int16", False), values, stride, shape)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-3)
    color = random.integers(0, 256, (*rays_shape, 4), np.uint8)
    expected_color = np.empty((*shape, 4), np.uint8)
    enlarge_color(color, stride, expected_color, 0, shape[0])
    off = enlarge(host_kernels("int16", False), color, stride, shape).astype(int) - expected_color
    assert np.abs(off).max() <= 1
    assert (off == 0).mean() > 0.99

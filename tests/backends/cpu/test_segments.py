"""What one look-up at the low corner of a segment's box promises, against where each of its samples lies.

A kernel of the tests' own marches packets as the others do, by the same functions, and measures how far beyond the
brick and its next neighbours a sample lies that counts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from render.backends import rays
from render.backends.cpu import CpuRenderer
from render.backends.cpu import renderer as renderer_module
from render.backends.cpu.operations import (
    PACKET_HEIGHT,
    PACKET_WIDTH,
    WIDTH,
    maximum,
    minimum,
    reduce_max,
    reduce_min,
    select,
    splat,
)
from render.backends.cpu.packets import at, brick_at, corners, enter, segments, within
from render.backends.cpu.sampling import HUGE, F
from render.frame import FINAL, Quality
from render.geometry import VolumeGeometry
from render.view import Camera, Layer, RenderingMethod, View, Viewport
from render.volume import Volume
from tests.backends.cpu.scenes import body, turning_view, view_of

ROUNDING = 1e-3
"""Voxels: what float32 loses of a sample's place in volumes of a few hundred voxels, with its weight there."""
PACKETS, BOUNDED, SEGMENTS = 0, 1, 2


@njit
def overreach(p: Any, by_packet: bool, beyond: Any, before: Any, counts: Any, tile: Any) -> None:
    """Measure a tile; voxels along i, j and k. Unless `by_packet`, segments are as long as the host says."""
    nx, ny = np.int64(p[rays.GRID]), np.int64(p[rays.GRID + 1])
    for top in range(tile[0], tile[1], PACKET_HEIGHT):
        for left in range(tile[2], tile[3], PACKET_WIDTH):
            ray, first, last, alive, start, stop, _, _ = enter(p, top, left)
            if start > stop:
                continue
            length, bounded = segments(p, ray, alive, start, stop)
            if not by_packet:
                length, bounded = F(p[rays.SEGMENT]), True
            counts[PACKETS] += 1
            counts[BOUNDED] += bounded
            box = corners(p, ray, alive, start, length)
            begin = start
            while bounded and begin <= stop:
                k = begin
                brick = brick_at(p, box, begin - start)
                while k <= min(begin + (length - F(1)), stop):
                    x, y, z = at(ray, k)
                    taken = alive & within(k, first, last)
                    overreach_axis(p, 0, x, taken, brick % nx, beyond, before)
                    overreach_axis(p, 1, y, taken, brick // nx % ny, beyond, before)
                    overreach_axis(p, 2, z, taken, brick // (nx * ny), beyond, before)
                    k += F(1)
                counts[SEGMENTS] += 1
                begin += length


@njit
def overreach_axis(p: Any, axis: int, x: Any, taken: Any, brick: Any, beyond: Any, before: Any) -> None:
    """Both neighbours of a sample have to lie between the brick's first voxel and the last of the next brick."""
    size = 1 / p[rays.BRICKS_PER_VOXEL]
    x = minimum(maximum(x, splat(F(0))), splat(F(p[rays.SIZE + axis] - 1)))
    high, low = reduce_max(select(taken, x, splat(-HUGE))), reduce_min(select(taken, x, splat(HUGE)))
    beyond[axis] = max(beyond[axis], high - ((brick + 2) * size - 1))
    before[axis] = max(before[axis], brick * size - low)


class Measure:
    """Stands for the kernel of the mean."""

    def __init__(self, by_packet: bool = True) -> None:
        self._by_packet = by_packet
        self.beyond, self.before = np.full(3, -HUGE, np.float64), np.full(3, -HUGE, np.float64)
        self.counts = np.zeros(3, np.int64)
        self.bricks = 0

    def compile(self) -> None:
        """Nothing: numba compiles as needed."""

    def __call__(self, codes: Any, p: Any, low: Any, high: Any, invalid: Any, out: Any, *tile: int) -> tuple[int, int]:
        self.bricks = int(max(p[rays.GRID : rays.GRID + 3]))
        overreach(p, self._by_packet, self.beyond, self.before, self.counts, tile)
        return 0, 0


@pytest.fixture(scope="module")
def renderer() -> Iterator[CpuRenderer]:
    renderer = CpuRenderer(1)
    yield renderer
    renderer.close()


def measure(
    renderer: CpuRenderer, volume: Volume, view: View, quality: Quality = FINAL, *, by_packet: bool = True
) -> Measure:
    resident = renderer.upload(volume)
    measure = Measure(by_packet)
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(renderer_module, "kernel", lambda kind, dtype: measure)
        renderer.render(view, {volume.id: resident}, quality=quality)
    return measure


def empty(shape: tuple[int, int, int], axes: np.ndarray) -> Volume:
    """Return zeros; `axes` are the steps along i, j and k, mm, in columns."""
    affine = np.eye(4)
    affine[:3, :3] = axes
    return Volume("v", VolumeGeometry(shape, affine), np.zeros(shape, np.int16))


@st.composite
def marches(pick: st.DrawFn) -> tuple[Volume, View, Quality]:
    """Return a mean of a volume of any proportions, sheared or not, from without or within."""

    def number(low: float, high: float) -> float:
        return pick(st.floats(low, high))

    def direction() -> np.ndarray:
        vector = np.array([number(-1, 1), number(-1, 1), number(-1, 1)])
        vector += pick(st.sampled_from([0.0, 3.0])) * np.eye(3)[pick(st.integers(0, 2))]
        hypothesis.assume(np.linalg.norm(vector) > 0.1)
        return vector / np.linalg.norm(vector)

    shape = tuple(pick(st.sampled_from([1, 2, 3, 20, 60, 150])) for _ in range(3))
    spacing = [pick(st.sampled_from([0.4, 1.0, 2.5, 5.0])) for _ in range(3)]
    shear = np.eye(3)
    shear[0, 2], shear[1, 2] = pick(st.sampled_from([(0.0, 0.0), (0.4, -0.8)]))
    volume = empty(shape, shear @ np.diag(spacing))  # type: ignore[arg-type] # three of them
    geometry = volume.geometry
    size, towards, up = geometry.diagonal_mm, direction(), direction()
    hypothesis.assume(np.linalg.norm(np.cross(towards, up)) > 0.05)
    distance = size * 10 ** number(-2, 0.5)
    center = geometry.center_mm + size * np.array([number(-0.4, 0.4) for _ in range(3)])
    look_at = center + towards * distance * pick(st.sampled_from([0.0, 1.0]))
    lens = pick(st.sampled_from([{"fov_deg": fov} for fov in (20.0, 50.0, 90.0, 120.0, 160.0)]))
    if pick(st.integers(0, 4)) == 0:
        lens = {"parallel_scale_mm": size * number(0.01, 0.7)}
    camera = Camera(tuple(look_at - towards * distance), tuple(look_at), tuple(up), **lens)
    viewport = Viewport(pick(st.integers(8, 70)), pick(st.integers(8, 50)))
    slab_mm = pick(st.sampled_from([None, None, 0.1 * size, 0.6 * size]))
    view = View(camera, viewport, (Layer("v"),), RenderingMethod.AVERAGE_IP, slab_mm)
    return volume, view, Quality(pick(st.sampled_from([1, 1, 2, 3])), pick(st.sampled_from([1.0, 1.0, 2.0, 4.0])))


@settings(max_examples=300, deadline=None)
@given(march=marches())
def test_no_sample_lies_beyond_what_its_brick_bounds(
    renderer: CpuRenderer, march: tuple[Volume, View, Quality]
) -> None:
    got = measure(renderer, *march)
    if got.bricks > 1:
        assert got.beyond.max() <= ROUNDING
    assert got.before.max() <= ROUNDING


@pytest.mark.parametrize("distance_mm", [15.0, 25.0, 40.0, 80.0])
@pytest.mark.parametrize("fov_deg", [50.0, 90.0])
def test_nor_where_rays_turn_along_the_line_of_sight(renderer: CpuRenderer, fov_deg: float, distance_mm: float) -> None:
    """They would if a packet's size on the plane decided, so the measure can fail."""
    volume = empty((120, 20, 40), np.diag([5.0, 5.0, 0.4]))
    view = turning_view(volume, "mean", fov_deg=fov_deg, distance_mm=distance_mm)
    got = measure(renderer, volume, view)
    assert got.bricks > 1
    assert got.counts[SEGMENTS] > 0
    assert got.beyond.max() <= ROUNDING
    if WIDTH > 1:
        assert measure(renderer, volume, view, by_packet=False).beyond.max() > 1


@pytest.mark.parametrize("perspective", [False, True])
@pytest.mark.parametrize("size", [(160, 120), (70, 45)])
def test_ordinary_packets_are_bounded_in_long_segments(
    renderer: CpuRenderer, perspective: bool, size: tuple[int, int]
) -> None:
    """One that is not is sampled throughout, which no picture would show."""
    volume = body()
    view = view_of(volume, "mean", size, perspective=perspective)
    by_packet, by_host = (measure(renderer, volume, view, by_packet=each).counts for each in (True, False))
    assert by_packet[BOUNDED] == by_packet[PACKETS] > 50
    assert by_packet[SEGMENTS] <= by_host[SEGMENTS]

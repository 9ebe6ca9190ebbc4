"""What is sent follows the link and the renderer; in virtual time."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.frame import Quality
from render.stream.pacing import (
    MAX_WINDOW,
    MIN_WINDOW,
    PICTURE_LEVELS,
    RENDER_GOAL_MS,
    RTT_MEMORY_S,
    Link,
    PicturePacing,
    RenderPacing,
)
from tests.stream.simulation import Paint, Simulation, p95

MBIT = 125e3
MOVE_S = 15.0


def lags(paints: list[Paint], begin: float, end: float) -> list[float]:
    found = [paint.lag_s for paint in paints if begin <= paint.at < end]
    assert found, f"no frame between {begin} and {end} s"
    return found


@pytest.mark.parametrize("mbit_s", [20, 100])
@pytest.mark.parametrize("rtt_s", [0.005, 0.04, 0.12])
def test_on_a_good_link_the_picture_follows_the_hand(mbit_s: float, rtt_s: float) -> None:
    paints = Simulation(lambda _: mbit_s * MBIT, rtt_s).run(MOVE_S, 3)
    assert p95(lags(paints, 1, MOVE_S)) <= rtt_s + 0.1
    assert len(lags(paints, 0, MOVE_S)) / MOVE_S > 25
    assert max(paint.size for paint in paints if not paint.is_final) > 30_000, "stuck at low quality"


@pytest.mark.parametrize("rtt_s", [0.04, 0.2])
def test_on_a_bad_link_nothing_builds_up(rtt_s: float) -> None:
    paints = Simulation(lambda _: 2 * MBIT, rtt_s).run(MOVE_S, 10)
    first, last = lags(paints, 0, MOVE_S / 3), lags(paints, 2 * MOVE_S / 3, MOVE_S)
    assert p95(last) <= 1.25 * p95(first)
    assert p95(last) < rtt_s + 0.35
    assert len(last) / (MOVE_S / 3) >= 10


def test_after_a_drop_the_lag_comes_down_and_after_it_the_quality_comes_back() -> None:
    paints = Simulation(lambda t: (1 if 5 < t < 10 else 20) * MBIT, 0.04).run(MOVE_S, 3)
    assert p95(lags(paints, 7, 10)) < 0.3
    assert p95(lags(paints, 12, MOVE_S)) <= 0.14
    whole = max(paint.size for paint in paints if paint.at < 5)
    assert max(paint.size for paint in paints if 7 < paint.at < 10) < whole / 2
    assert all(paint.size == whole for paint in paints if 13 < paint.at < MOVE_S)


@pytest.mark.parametrize(("mbit_s", "rtt_s"), [(100, 0.005), (20, 0.12), (2, 0.04), (2, 0.2)])
def test_the_last_thing_painted_is_the_final_frame_and_it_comes_soon(mbit_s: float, rtt_s: float) -> None:
    paints = Simulation(lambda _: mbit_s * MBIT, rtt_s, final_bytes=200_000).run(3, 10)
    assert paints[-1].is_final
    settled_s = paints[-1].at - 3
    assert settled_s <= 0.5 + 200_000 / (mbit_s * MBIT) + rtt_s


# Link


def round_trip(link: Link, now: float, seconds: float, size: int = 1000) -> None:
    shipment = link.begin(now)
    link.sent(now, shipment, size)
    link.acknowledged(now + seconds, shipment)


@pytest.mark.parametrize(("rtt_s", "window"), [(0.001, 2), (0.04, 3), (0.12, 5), (0.2, 7), (3.0, 8)])
def test_the_window_covers_the_round_trip(rtt_s: float, window: int) -> None:
    link = Link()
    assert link.window == MIN_WINDOW
    round_trip(link, 0, rtt_s)
    assert link.window == window


def test_the_smallest_round_trip_counts_and_is_forgotten_in_time() -> None:
    link = Link()
    round_trip(link, 0, 0.03)
    for now in range(1, int(RTT_MEMORY_S)):
        round_trip(link, now, 0.1)
        assert link.min_rtt_s == pytest.approx(0.03)
    round_trip(link, RTT_MEMORY_S + 1, 0.1)
    assert link.min_rtt_s == pytest.approx(0.1)


def test_one_slow_frame_counts_at_once_and_quick_ones_bring_it_back() -> None:
    link = Link()
    round_trip(link, 0, 0.01, 50_000)
    before = link.bytes_per_s
    round_trip(link, 1, 1.0, 50_000)
    assert link.bytes_per_s == pytest.approx(50_000)
    steps = 0
    while link.bytes_per_s < before:
        steps += 1
        round_trip(link, 3 + steps, 0.01, 50_000)
        assert steps < 20
    assert steps > 2


def test_bytes_of_a_frame_that_was_given_up_are_waited_for() -> None:
    link = Link()
    round_trip(link, 0, 0.01)
    link.aborted(90_000)
    shipment = link.begin(1)
    link.sent(1, shipment, 10_000)
    assert link.in_flight_bytes == 100_000
    link.acknowledged(2, shipment)
    assert link.in_flight_bytes == 0
    assert link.bytes_per_s == pytest.approx(100_000)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 30), st.integers(0, 10**8)), max_size=50))
def test_whatever_is_measured_stays_within_bounds(measured: list[tuple[float, float, int]]) -> None:
    link, now = Link(), 0.0
    for wait, seconds, size in measured:
        now += wait
        round_trip(link, now, seconds, size)
        now += seconds
        assert 0 < link.bytes_per_s <= 1e9
        assert MIN_WINDOW <= link.window <= MAX_WINDOW
        assert 0 < link.cap_bytes <= 8 << 20
        assert link.in_flight_bytes == 0


# Pictures


def test_quality_falls_before_scale_and_each_level_is_smaller() -> None:
    assert all(worse.relative_bytes < better.relative_bytes for better, worse in pairwise(PICTURE_LEVELS))
    assert all(worse.divisor >= better.divisor for better, worse in pairwise(PICTURE_LEVELS))
    assert [level.jpeg_quality for level in PICTURE_LEVELS if level.divisor == 1] == [85, 75, 60, 45, 30]


def test_pictures_fall_at_once_and_climb_level_by_level() -> None:
    pacing = PicturePacing()
    pixels = 512 * 512
    assert pacing.choose(1e6, pixels) == PICTURE_LEVELS[0]
    assert pacing.choose(10, pixels) == PICTURE_LEVELS[-1]
    climbed = [pacing.choose(1e6, pixels) for _ in range(len(PICTURE_LEVELS))]
    assert climbed == [*reversed(PICTURE_LEVELS[:-1]), PICTURE_LEVELS[0]]


def test_pictures_that_take_more_than_thought_get_a_worse_level() -> None:
    pacing = PicturePacing()
    pixels = 512 * 512
    level = pacing.choose(40_000, pixels)
    assert level == PICTURE_LEVELS[0]
    for _ in range(5):
        pacing.measured(level, 120_000, pixels)
    assert pacing.choose(40_000, pixels).relative_bytes < 0.4


# Rendering


def test_a_costly_view_begins_cautiously_and_becomes_whole_on_a_fast_renderer() -> None:
    pacing = RenderPacing(is_thin=False, is_costly=True)
    assert pacing.choose().ray_stride > 1
    for _ in range(10):
        quality = pacing.choose()
        pacing.measured(quality, 20.0 / (quality.ray_stride**2 * quality.step_factor))
    assert pacing.choose() == Quality()


def test_a_slow_renderer_gets_its_goal_by_the_second_frame() -> None:
    pacing = RenderPacing(is_thin=False, is_costly=False)
    pacing.measured(pacing.choose(), 600.0)
    quality = pacing.choose()
    assert 600.0 / (quality.ray_stride**2 * quality.step_factor) <= RENDER_GOAL_MS


def test_levels_do_not_flutter_where_cost_is_steady() -> None:
    pacing = RenderPacing(is_thin=False, is_costly=False)
    seen = []
    for _ in range(30):
        quality = pacing.choose()
        seen.append(quality)
        pacing.measured(quality, 10 + 200.0 / (quality.ray_stride**2 * quality.step_factor))
    assert len(set(seen[5:])) == 1


def test_a_thin_view_has_no_steps_to_lengthen() -> None:
    pacing = RenderPacing(is_thin=True, is_costly=False)
    for _ in range(5):
        assert pacing.choose().step_factor == 1
        pacing.measured(pacing.choose(), 1000.0)
    assert pacing.choose().ray_stride == 4

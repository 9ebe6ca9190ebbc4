"""What is sent follows the link and the renderer; in virtual time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from render.frame import Quality
from render.stream.pacing import (
    CAREFUL_CLIMB,
    CEILING,
    CLIMB,
    INITIAL_BYTES_PER_S,
    MAX_WINDOW,
    MIN_WINDOW,
    PICTURE_LEVELS,
    QUEUE_TOLERANCE_S,
    REMEMBERED_RATES,
    RENDER_GOAL_MS,
    RENDER_LEVELS,
    RTT_MEMORY_S,
    THIN_LEVELS,
    Link,
    PicturePacing,
    RenderLevel,
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
    assert p95(lags(paints, 7, 10)) <= 0.14
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


@pytest.mark.parametrize("asleep_s", [0.1, 0.3, 1.0, 3.0])
@pytest.mark.parametrize(("mbit_s", "rtt_s"), [(1000, 0.001), (100, 0.005), (20, 0.04), (20, 0.12)])
def test_a_client_that_sleeps_before_it_rests_does_not_wait_once_more(
    mbit_s: float, rtt_s: float, asleep_s: float
) -> None:
    """Late acknowledgements look like a slow link, and none comes before the whole lossless frame is there."""
    size, move_s = 300_000, 5.0
    simulation = Simulation(lambda _: mbit_s * MBIT, rtt_s, size, asleep=(move_s - asleep_s, move_s))
    paints = simulation.run(move_s, 60)
    assert paints[-1].is_final
    assert paints[-1].at - move_s <= 0.5 + size / (mbit_s * MBIT) + rtt_s


@pytest.mark.parametrize("collect_s", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("mbit_s", [2, 20, 100])
def test_behind_a_proxy_that_collects_nothing_builds_up_and_it_settles(collect_s: float, mbit_s: float) -> None:
    paints = Simulation(lambda _: mbit_s * MBIT, 0.04, final_bytes=200_000, collect_s=collect_s).run(MOVE_S, 20)
    # An input waits for the proxy, its frame does again; twice that where the link is slow as well.
    assert p95(lags(paints, 2 * MOVE_S / 3, MOVE_S)) <= 4 * collect_s + 0.04 + 0.1
    assert paints[-1].is_final
    assert paints[-1].at - MOVE_S <= 0.5 + 200_000 / (mbit_s * MBIT) + 0.04 + 6 * collect_s


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


def test_what_was_carried_lately_outlasts_slow_frames_but_not_a_slow_link() -> None:
    link = Link()
    for now in range(REMEMBERED_RATES):
        round_trip(link, now, 0.05, 100_000)
    for late in range(1, REMEMBERED_RATES + 1):
        assert link.lately_bytes_per_s > 1.9e6
        round_trip(link, REMEMBERED_RATES + late, 0.8, 100_000)
        assert link.bytes_per_s < 200_000
    assert link.lately_bytes_per_s < 200_000


def burst(link: Link, begun: float, arrived: float, frames: int = 4) -> None:
    """Hand frames over 20 ms apart; their acknowledgements come together."""
    shipments = []
    for index in range(frames):
        shipments.append(link.begin(begun + 0.02 * index))
        link.sent(begun + 0.02 * index, shipments[-1], 20_000)
    for index, shipment in enumerate(shipments):
        link.acknowledged(arrived + 0.001 * index, shipment)


def test_what_comes_in_bursts_again_and_again_is_held_and_not_queued() -> None:
    link = Link()
    round_trip(link, 0, 0.04)
    burst(link, 1.0, 1.5)
    assert link.bytes_per_s < INITIAL_BYTES_PER_S / 10, "once, it may be a link that has become slow"
    slow = link.bytes_per_s
    for number in range(1, 20):
        burst(link, 1.0 + number / 2, 1.5 + number / 2)
    assert link.bytes_per_s > INITIAL_BYTES_PER_S > slow


def test_a_burst_after_a_pause_is_no_proxy() -> None:
    link = Link()
    for number in range(20):
        burst(link, number / 2, number / 2 + 0.5)
        round_trip(link, number / 2 + 0.6, 0.04)  # one that came alone: nothing holds what passes
    assert link.bytes_per_s < INITIAL_BYTES_PER_S / 4


def test_more_than_what_came_with_a_queue_is_tried_carefully_until_it_is_refuted() -> None:
    link, now, size = Link(), 0.0, 1000
    round_trip(link, now, 0.04)
    round_trip(link, now + 1, 0.04 + QUEUE_TOLERANCE_S + size / link.bytes_per_s + 0.001, size)
    given = link.bytes_per_s
    assert given < INITIAL_BYTES_PER_S / 10
    steps: list[float] = []
    while link.bytes_per_s < 4 * given:
        before = link.bytes_per_s
        now += 1
        round_trip(link, 1 + now, 0.04 + size / link.bytes_per_s, size)
        steps.append(link.bytes_per_s / before)
    careful = [step for step in steps if step == pytest.approx(CAREFUL_CLIMB)]
    assert len(careful) == pytest.approx(math.log(CEILING) / math.log(CAREFUL_CLIMB), abs=10)
    assert steps[-5:] == pytest.approx([CLIMB] * 5)


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

SPARED = st.floats(0.55, 0.9)
"""The exponent by which the saved work is saved time."""


@dataclass
class Renderer:
    """What a frame takes here: part of it for every frame, the rest less than in proportion to what is saved."""

    whole_ms: float
    exponent: float = 0.75
    fixed_ms: float = 1.0

    def ms(self, quality: Quality) -> float:
        saved = (quality.ray_stride**2 * quality.step_factor) ** -self.exponent
        return self.fixed_ms + (self.whole_ms - self.fixed_ms) * saved

    def draw(self, pacing: RenderPacing, frames: int) -> list[Quality]:
        seen = []
        for _ in range(frames):
            seen.append(pacing.choose())
            pacing.measured(seen[-1], self.ms(seen[-1]))
        return seen


def rank(quality: Quality, levels: tuple[RenderLevel, ...] = RENDER_LEVELS) -> int:
    return [level.quality for level in levels].index(quality)


@pytest.mark.parametrize("levels", [RENDER_LEVELS, THIN_LEVELS])
def test_each_level_is_cheaper_and_coarser_than_the_one_before(levels: tuple[RenderLevel, ...]) -> None:
    assert levels[0] == RenderLevel(Quality(), 1.0)
    assert all(worse.relative_cost < better.relative_cost for better, worse in pairwise(levels))
    assert all(worse.quality.ray_stride >= better.quality.ray_stride for better, worse in pairwise(levels))


def test_a_costly_view_begins_cautiously_and_becomes_whole_on_a_fast_renderer() -> None:
    pacing = RenderPacing(is_thin=False, is_costly=True)
    assert pacing.choose().ray_stride > 1
    Renderer(20.0).draw(pacing, 10)
    assert pacing.choose() == Quality()


@settings(max_examples=200)
@given(st.floats(10, 600), SPARED, st.booleans())
@example(419.0, 0.8984375, False)
def test_within_a_few_frames_it_is_the_best_level_that_fits_or_just_below(
    whole_ms: float, exponent: float, is_costly: bool
) -> None:
    renderer = Renderer(whole_ms, exponent)
    pacing = RenderPacing(is_thin=False, is_costly=is_costly)
    last = renderer.draw(pacing, 12)[-1]
    costs = [renderer.ms(level.quality) for level in RENDER_LEVELS]
    best = next((index for index, ms in enumerate(costs) if ms <= RENDER_GOAL_MS), len(costs) - 1)
    surely = next((index for index, ms in enumerate(costs) if ms <= 0.5 * RENDER_GOAL_MS), len(costs) - 1)
    assert best <= rank(last) <= surely


@settings(max_examples=100)
@given(st.floats(10, 600), SPARED)
@example(246.0, 0.875)
def test_levels_do_not_flutter_where_cost_is_steady(whole_ms: float, exponent: float) -> None:
    pacing = RenderPacing(is_thin=False, is_costly=False)
    seen = Renderer(whole_ms, exponent).draw(pacing, 300)
    changes = sum(a != b for a, b in pairwise(seen[12:]))
    assert changes <= 4, "a better level is tried again now and then, and no more"
    ranks = [rank(quality) for quality in seen[12:60]]
    assert len(set(ranks)) <= 2 or ranks == sorted(ranks, reverse=True), "but for a climb, between two at most"


@pytest.mark.parametrize("ms", [RENDER_GOAL_MS - 0.1, 12.0, 0.0])
@pytest.mark.parametrize("is_thin", [True, False])
def test_a_view_that_meets_the_goal_whole_stays_whole(ms: float, is_thin: bool) -> None:
    pacing = RenderPacing(is_thin=is_thin, is_costly=False)
    assert set(Renderer(ms, fixed_ms=0.0).draw(pacing, 100)) == {Quality()}
    pacing.measured(Quality(), RENDER_GOAL_MS + 1)
    assert pacing.choose() != Quality()


def test_a_slow_renderer_gets_its_goal_within_three_frames() -> None:
    renderer, pacing = Renderer(300.0), RenderPacing(is_thin=False, is_costly=False)
    assert renderer.ms(renderer.draw(pacing, 4)[-1]) <= RENDER_GOAL_MS


def test_it_climbs_back_when_the_view_becomes_cheap() -> None:
    pacing = RenderPacing(is_thin=False, is_costly=True)
    assert Renderer(500.0).draw(pacing, 20)[-1].ray_stride > 2
    seen = Renderer(15.0).draw(pacing, len(RENDER_LEVELS) + 1)
    assert seen[-1] == Quality()
    ranks = [rank(quality) for quality in seen]
    assert all(before - after in (0, 1) for before, after in pairwise(ranks))


def test_one_slow_frame_is_made_up_for() -> None:
    renderer, pacing = Renderer(25.0), RenderPacing(is_thin=False, is_costly=False)
    renderer.draw(pacing, 5)
    pacing.measured(pacing.choose(), 400.0)
    assert pacing.choose().ray_stride > 1
    assert Quality() in renderer.draw(pacing, 30)


def test_a_level_that_was_worse_than_thought_is_not_tried_again_at_once() -> None:
    """Steps of two save nothing here, and one ray for four pixels much: between the two lies what does not fit."""

    def ms(quality: Quality) -> float:
        return 60.0 if quality.ray_stride == 1 else 10.0

    pacing = RenderPacing(is_thin=False, is_costly=False)
    slow = []
    for _ in range(120):
        quality = pacing.choose()
        slow.append(ms(quality) > RENDER_GOAL_MS)
        pacing.measured(quality, ms(quality))
    assert sum(slow[10:]) <= 6
    assert not any(before and after for before, after in pairwise(slow[10:]))


def test_a_final_frame_that_meets_the_goal_makes_the_moving_ones_whole() -> None:
    pacing = RenderPacing(is_thin=False, is_costly=True)
    pacing.measured(pacing.choose(), 30.0)
    assert pacing.final_ms > RENDER_GOAL_MS
    pacing.measured(Quality(), 20.0)
    assert pacing.choose() == Quality()
    assert pacing.final_ms == pytest.approx(20.0)


def test_a_quality_that_is_no_level_teaches_nothing() -> None:
    pacing = RenderPacing(is_thin=True, is_costly=False)
    pacing.measured(Quality(2, 4.0), 900.0)
    assert pacing.choose() == Quality()


def test_a_thin_view_has_no_steps_to_lengthen() -> None:
    pacing = RenderPacing(is_thin=True, is_costly=False)
    for _ in range(5):
        assert pacing.choose().step_factor == 1
        pacing.measured(pacing.choose(), 1000.0)
    assert pacing.choose().ray_stride == 4

"""What a client's link and the renderer can bear, from what was measured: fall fast, climb slowly, never stick low.

Nothing in here reads a clock: the caller passes the time, in seconds.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from render.frame import Quality

INITIAL_BYTES_PER_S = 2.5e6
"""20 Mbit/s, until measured."""
MIN_BYTES_PER_S = 8e3
MAX_BYTES_PER_S = 1e9
RTT_MEMORY_S = 30.0
"""The smallest round trip of this long counts: a route may change, but a full queue must not become the norm."""
QUEUE_TOLERANCE_S = 0.04
"""Delay beyond round trip and transfer that is no queue yet: decoding, and waiting for the screen."""
CLEAR_S = 0.015
"""Up to this delay nothing waits at all."""
BURST_S = 0.005
"""Acknowledgements that follow each other within this came together."""
CLIMB, CAREFUL_CLIMB = 1.05, 1.006
"""With each frame: where nothing waits, and where something does or soon may."""
CEILING = 1.5
"""Of the rate that last came with a queue: until so much went without one, more is tried carefully."""
MAX_CLIMB = 2.0
TARGET_FPS = 30.0
MIN_WINDOW, MAX_WINDOW = 2, 8
SLACK_S = 0.02
"""Bytes in flight may fill the link for a round trip and this long before one more frame is begun."""
MIN_CAP_BYTES, MAX_CAP_BYTES = 4 << 10, 8 << 20
REMEMBERED_RATES = 2 * MAX_WINDOW
"""Acknowledgements of which the best rate counts where some came late: of the frames on their way, and as many more."""

PACED_FPS = 30.0
"""Frames a second that the link must bear before quality is spent on it."""
LINK_SHARE = 0.8

RENDER_GOAL_MS = 40.0
MIN_RENDER_MS = 0.01
"""What counts for a frame that took no time at all."""


@dataclass(eq=False)
class Shipment:
    """A frame on its way, as the link must remember it.

    Attributes
    ----------
    begun_at, sent_at
        When its first and its last byte were handed over, seconds.
    size
        Bytes, with those of dropped frames that it had to wait behind.
    delivered_before
        Bytes acknowledged before it was begun.
    since
        From when on its delivery rate counts, seconds.
    """

    begun_at: float
    delivered_before: int
    since: float
    sent_at: float = 0.0
    size: int = 0


@dataclass
class _Burst:
    """Acknowledgements that came together.

    Attributes
    ----------
    size
        How many.
    waited_s, before_s
        What went by before it, and before the burst that it follows; 0 where that was a single one.
    held_s
        How long something on the way is thought to hold what passes, to let it go all at once.
    bytes_per_s
        What the link was thought to carry when it began: its first one looks like one that waited in a queue.
    """

    size: int = 0
    waited_s: float = 0.0
    before_s: float = 0.0
    held_s: float = 0.0
    bytes_per_s: float = INITIAL_BYTES_PER_S


class Link:
    """Throughput and round trip of one client, measured by its acknowledgements.

    Delivery rate as in BBR (Cardwell et al. 2016): bytes acknowledged between the sending and the acknowledgement of
    a frame. A rate that came with a queue is what the link gives, and counts at once; one without is what was asked
    of the link, and only raises the estimate.

    A client or server that pauses for a moment looks like a link that has become slow, until the next acknowledgement.
    Pictures may be small for that long. A lossless frame is not acknowledged before all of it is there, and would take
    its time by what the pause taught: see `lately_bytes_per_s`.

    A proxy that collects bytes and passes them on together looks like a queue, too, whatever the size of a frame: it
    shows by bursts of acknowledgements with none between them, and what it holds them for is no queue.
    """

    def __init__(self) -> None:
        self.bytes_per_s = INITIAL_BYTES_PER_S
        self.in_flight_bytes = 0
        self._delivered = 0
        self._delivered_at = -math.inf
        self._aborted = 0
        self._round_trips: deque[tuple[float, float]] = deque()  # (time, seconds), ascending in both
        self._rates: deque[float] = deque(maxlen=REMEMBERED_RATES)
        self._burst = _Burst()
        self._queued_at_bytes_per_s = math.inf

    @property
    def min_rtt_s(self) -> float:
        """The smallest round trip lately, seconds; 0 until measured."""
        return self._round_trips[0][1] if self._round_trips else 0.0

    @property
    def lately_bytes_per_s(self) -> float:
        """What the link is thought to carry, or has carried lately if that is more."""
        return max(self.bytes_per_s, *self._rates) if self._rates else self.bytes_per_s

    @property
    def window(self) -> int:
        """Frames of a view that may be on their way."""
        return max(MIN_WINDOW, min(MAX_WINDOW, math.ceil(self.min_rtt_s * TARGET_FPS) + 1))

    @property
    def cap_bytes(self) -> int:
        """Bytes that may be on their way before another frame is begun."""
        fill = self.bytes_per_s * (self.min_rtt_s + SLACK_S)
        return int(max(MIN_CAP_BYTES, min(MAX_CAP_BYTES, fill)))

    def frame_budget_bytes(self, active_views: int) -> float:
        """Bytes that a frame of one of so many moving views may take."""
        return LINK_SHARE * self.bytes_per_s / (PACED_FPS * max(1, active_views))

    def begin(self, now: float) -> Shipment:
        """Note that the first byte of a frame is handed over."""
        # On a busy link the rate counts from the last delivery, on an idle one from this sending.
        busy = self.in_flight_bytes > 0 and math.isfinite(self._delivered_at)
        return Shipment(now, self._delivered, self._delivered_at if busy else now)

    def sent(self, now: float, shipment: Shipment, size: int) -> None:
        """Note that its last byte was handed over."""
        shipment.sent_at = now
        shipment.size = size + self._aborted
        self._aborted = 0
        self.in_flight_bytes += shipment.size

    def aborted(self, size: int) -> None:
        """Note bytes that were sent and will not be acknowledged: the next frame waits behind them."""
        self._aborted += size

    def acknowledged(self, now: float, shipment: Shipment) -> None:
        """Learn from an acknowledgement."""
        self.in_flight_bytes -= shipment.size
        self._delivered += shipment.size
        self._notice_burst(now, shipment)
        self._delivered_at = now
        self._remember_round_trip(now, max(1e-4, now - shipment.sent_at))
        rate = (self._delivered - shipment.delivered_before) / max(1e-4, now - shipment.since)
        self._rates.append(min(rate, MAX_BYTES_PER_S))
        queued = now - shipment.begun_at - self.min_rtt_s - shipment.size / self.bytes_per_s
        queued -= self._burst.held_s
        if queued > QUEUE_TOLERANCE_S:
            self.bytes_per_s = min(self.bytes_per_s, rate)
            self._queued_at_bytes_per_s = rate
        else:
            self._climb(rate, is_clear=queued <= CLEAR_S)
        self.bytes_per_s = max(MIN_BYTES_PER_S, min(MAX_BYTES_PER_S, self.bytes_per_s))

    def _climb(self, rate: float, *, is_clear: bool) -> None:
        """Think the link to carry more: as much as it was seen to, else a little."""
        ceiling = self._queued_at_bytes_per_s
        if max(rate, self.bytes_per_s) > CEILING * ceiling:
            ceiling = self._queued_at_bytes_per_s = math.inf
        climb = CLIMB if is_clear and not self.bytes_per_s > ceiling else CAREFUL_CLIMB
        self.bytes_per_s *= max(climb, min(MAX_CLIMB, rate / self.bytes_per_s))

    def _notice_burst(self, now: float, shipment: Shipment) -> None:
        """See whether acknowledgements come in bursts, one after the other, with nothing between them."""
        burst = self._burst
        if now - self._delivered_at > BURST_S:
            before_s = burst.waited_s if burst.size > 1 else 0.0
            held_s = burst.held_s if burst.size > 1 else 0.0
            waited_s = min(now - self._delivered_at, now - shipment.begun_at)
            self._burst = _Burst(1, waited_s, before_s, held_s, self.bytes_per_s)
            return
        burst.size += 1
        burst.held_s = min(burst.before_s, burst.waited_s)
        if burst.held_s > 0:
            self.bytes_per_s = max(self.bytes_per_s, burst.bytes_per_s)

    def forget(self, shipment: Shipment) -> None:
        """Give up a frame that will not be acknowledged: its view was closed."""
        self.in_flight_bytes -= shipment.size

    def _remember_round_trip(self, now: float, delay: float) -> None:
        while self._round_trips and self._round_trips[-1][1] >= delay:
            self._round_trips.pop()
        self._round_trips.append((now, delay))
        while self._round_trips[0][0] < now - RTT_MEMORY_S:
            self._round_trips.popleft()


@dataclass(frozen=True)
class PictureLevel:
    """How an interactive picture is written.

    Attributes
    ----------
    jpeg_quality
        1 to 100.
    divisor
        One pixel for this many in each direction.
    relative_bytes
        Typical size, the first level's being 1.
    """

    jpeg_quality: int
    divisor: int
    relative_bytes: float


# Quality first, then scale. Sizes measured on CT slices and shaded CT, 512 x 512.
PICTURE_LEVELS = (
    PictureLevel(85, 1, 1.0),
    PictureLevel(75, 1, 0.75),
    PictureLevel(60, 1, 0.55),
    PictureLevel(45, 1, 0.44),
    PictureLevel(30, 1, 0.34),
    PictureLevel(75, 2, 0.23),
    PictureLevel(50, 2, 0.16),
    PictureLevel(30, 2, 0.11),
    PictureLevel(40, 3, 0.07),
    PictureLevel(30, 4, 0.035),
)
INITIAL_BYTES_PER_PX = 0.12


class PicturePacing:
    """Which level the pictures of one view are written at."""

    def __init__(self) -> None:
        self._level = 0
        self._bytes_per_px = INITIAL_BYTES_PER_PX

    def choose(self, budget_bytes: float, pixels: int) -> PictureLevel:
        """Return the best level that fits: any number of steps down, one step up at a time."""
        fits = len(PICTURE_LEVELS) - 1
        for index, level in enumerate(PICTURE_LEVELS):
            if self._bytes_per_px * level.relative_bytes * pixels <= budget_bytes:
                fits = index
                break
        self._level = max(fits, self._level - 1)
        return PICTURE_LEVELS[self._level]

    def measured(self, level: PictureLevel, size: int, pixels: int) -> None:
        """Learn what a picture of `pixels` took at a level."""
        seen = size / (level.relative_bytes * pixels)
        self._bytes_per_px += 0.5 * (seen - self._bytes_per_px)


@dataclass(frozen=True)
class RenderLevel:
    """What may be saved while a picture moves.

    Attributes
    ----------
    quality
        What is saved.
    relative_cost
        Typical render time, the first level's being 1.
    """

    quality: Quality
    relative_cost: float


# The best pictures for their cost among strides 1 to 4 and step factors 1, 1.5, 2, 3 and 4, against the picture of
# full quality: MIP, shaded and unshaded volume rendering of the torso, a CT and an MR, 512 squared, two views each, on
# two cores. The figures are PSNR in dB, structural similarity, and deviation of gradient similarity. Not taken: strides
# of 1 and 2 with step factors of 3 and 4, which show rings on smooth surfaces.
RENDER_LEVELS = (
    RenderLevel(Quality(), 1.0),
    RenderLevel(Quality(1, 1.5), 0.76),  # 34.6, 0.87, 0.049
    RenderLevel(Quality(1, 2.0), 0.65),  # 31.5, 0.81, 0.068
    RenderLevel(Quality(2, 1.0), 0.35),  # 29.2, 0.79, 0.083
    RenderLevel(Quality(2, 1.5), 0.285),  # 28.7, 0.77, 0.093
    RenderLevel(Quality(2, 2.0), 0.245),  # 28.3, 0.75, 0.100
    RenderLevel(Quality(3, 1.5), 0.225),  # 26.6, 0.72, 0.115
    RenderLevel(Quality(3, 2.0), 0.195),  # 26.2, 0.70, 0.122
    RenderLevel(Quality(4, 2.0), 0.145),  # 24.4, 0.65, 0.144
    RenderLevel(Quality(4, 4.0), 0.115),  # 22.9, 0.60, 0.170
)
THIN_LEVELS = tuple(RenderLevel(Quality(stride), 1 / stride**1.5) for stride in (1, 2, 3, 4))
"""A thin view has no steps to lengthen."""
CAUTIOUS_LEVEL = 5
"""What volume rendering begins at, until it is measured."""
CLIMB_BELOW = 0.7
"""A better level is tried where it is predicted to stay below this share of the goal."""
BLAMED_ON_LEVEL = 0.5
"""Of a misprediction after a change of level; the rest is blamed on the view."""
SHARED_WITH_NEXT = 0.5
"""Of what one level is blamed for; of that again with the level after: levels of about the same work err alike."""
FORGOTTEN = 0.005
"""Of what was learned of the levels, with every frame: one slow frame must not keep a level out for ever."""


class RenderPacing:
    """Which level one view is rendered at while it moves.

    The logarithm of a frame's time is thought to be the view's plus the level's. Fewer rays and longer steps save less
    than they leave out, and how much depends on the view, so both are learned: where one level takes another time than
    just before, the view has changed; where the level has too, each gets its share.

    Parameters
    ----------
    is_thin
        One sample a ray.
    is_costly
        Begin cautiously.

    Attributes
    ----------
    final_ms
        What a final frame is thought to take, milliseconds.
    """

    def __init__(self, *, is_thin: bool, is_costly: bool) -> None:
        is_cautious = is_costly and not is_thin
        self._levels = THIN_LEVELS if is_thin else RENDER_LEVELS
        self._level = CAUTIOUS_LEVEL if is_cautious else 0
        self._of_view: float | None = None
        self._typical = [math.log(level.relative_cost) for level in self._levels]
        self._learned = [0.0] * len(self._levels)
        self._measured = self._level
        self.final_ms = math.inf if is_cautious else 0.0

    def choose(self) -> Quality:
        """Return the level for the next frame."""
        return self._levels[self._level].quality

    def measured(self, quality: Quality, render_ms: float) -> None:
        """Learn what a frame took: fall to the level that fits at once, climb one at a time.

        A quality that is none of the levels' teaches nothing.
        """
        index = next((index for index, level in enumerate(self._levels) if level.quality == quality), None)
        if index is None:
            return
        self._learn(index, max(render_ms, MIN_RENDER_MS))
        self.final_ms = self._predicted(0)
        last = len(self._levels) - 1
        if index == self._level and render_ms > RENDER_GOAL_MS:
            self._level = min(self._level + 1, last)
            while self._level < last and self._predicted(self._level) > RENDER_GOAL_MS:
                self._level += 1
        elif index < self._level and render_ms < CLIMB_BELOW * RENDER_GOAL_MS:
            self._level = index
        elif self._level and self._predicted(self._level - 1) < CLIMB_BELOW * RENDER_GOAL_MS:
            self._level -= 1

    def _predicted(self, index: int) -> float:
        assert self._of_view is not None
        return math.exp(self._of_view + self._typical[index] + self._learned[index])

    def _learn(self, index: int, render_ms: float) -> None:
        self._learned = [(1 - FORGOTTEN) * learned for learned in self._learned]
        seen = math.log(render_ms) - self._typical[index] - self._learned[index]
        if self._of_view is None:
            self._of_view = seen
        wrong = seen - self._of_view
        blamed = BLAMED_ON_LEVEL * wrong if index != self._measured else 0.0
        for other in range(len(self._learned)):
            self._learned[other] += blamed * SHARED_WITH_NEXT ** abs(other - index)
        self._of_view += wrong - blamed
        self._measured = index

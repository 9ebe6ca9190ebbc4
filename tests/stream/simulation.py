"""A link and a user in virtual time: a queue of bytes that drains at a rate, half a round trip each way."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from render.v1 import frame_pb2, stream_pb2
from tests.stream.harness import Harness

RENDER_S = 0.012
PAINT_S = 0.008
INPUT_S = 1 / 60
FULL_BYTES_PER_PX = 0.12


@dataclass
class Paint:
    """A frame on the screen."""

    at: float
    lag_s: float
    size: int
    is_final: bool


@dataclass
class Simulation:
    """One view of 512 x 512 that is moved 60 times a second, then rests.

    Parameters
    ----------
    rate
        Bytes a second at a time.
    rtt_s
        Without queue.
    collect_s
        What arrives is passed on at whole multiples of this only, as by a proxy that buffers; 0 for at once.
    final_bytes
        Of the lossless frame.
    asleep
        From when until when the client does nothing: what arrives meanwhile is painted when it wakes.
    """

    rate: Callable[[float], float]
    rtt_s: float
    final_bytes: int = 200_000
    collect_s: float = 0.0
    asleep: tuple[float, float] = (0.0, 0.0)
    paints: list[Paint] = field(default_factory=list)

    def _passed_on(self, time: float) -> float:
        """Return when the proxy, if there is one, passes on what reaches it at a time."""
        return math.ceil(time / self.collect_s) * self.collect_s if self.collect_s else time

    def run(self, move_s: float, rest_s: float) -> list[Paint]:
        """Move, then rest; return what was painted, times from 0."""
        harness = Harness()
        harness.hello()
        clock, protocol = harness.clock, harness.protocol
        begun = clock.now
        events: list[tuple[float, int, Callable[[], None]]] = []
        order = 0
        link_free_at = clock.now
        sent_at: dict[int, float] = {}

        def at(time: float, what: Callable[[], None]) -> None:
            nonlocal order
            order += 1
            heapq.heappush(events, (time, order, what))

        def move(revision: int) -> None:
            sent_at[revision] = clock.now
            at(self._passed_on(clock.now + self.rtt_s / 2), lambda: harness.set_view("a", revision, size_px=512))
            if clock.now - begun < move_s:
                at(clock.now + INPUT_S, lambda: move(revision + 1))

        def arrive(header: frame_pb2.FrameHeader) -> None:
            now = clock.now
            lag = now - sent_at[header.view_revision]
            final = header.quality == frame_pb2.FRAME_QUALITY_FINAL
            self.paints.append(Paint(now - begun, lag, header.payload_bytes, final))
            at(self._passed_on(now + self.rtt_s / 2), lambda: harness.acknowledge(header))

        def pump() -> None:
            nonlocal link_free_at
            harness.open_volumes()
            while (job := protocol.next_job()) is not None:
                picture = job.picture
                size = int(FULL_BYTES_PER_PX * 512 * 512 * (picture.relative_bytes if picture else 0))
                at(
                    clock.now + RENDER_S,
                    lambda job=job, size=size: harness.finish(  # type: ignore[misc]
                        job, picture_bytes=size, final_bytes=self.final_bytes
                    ),
                )
            while (message := protocol.next_message()) is not None:
                assert isinstance(message, stream_pb2.FrameMessage)
                header, size = message.header, len(message.payload)
                link_free_at = max(link_free_at, clock.now) + size / self.rate(clock.now - begun)
                if header.chunk_index + 1 == header.chunk_count:
                    painted_at = self._passed_on(link_free_at + self.rtt_s / 2) + PAINT_S
                    if self.asleep[0] < painted_at - begun < self.asleep[1]:
                        painted_at = begun + self.asleep[1]
                    at(painted_at, lambda header=header: arrive(header))  # type: ignore[misc]

        at(clock.now, lambda: move(1))
        while clock.now - begun < move_s + rest_s:
            pump()
            deadline = protocol.next_deadline()
            if deadline is not None and (not events or deadline < events[0][0]):
                clock.now = deadline
                continue
            if not events:
                break
            clock.now, _, what = heapq.heappop(events)
            what()
        assert protocol.is_settled
        return self.paints


def p95(lags: list[float]) -> float:
    return sorted(lags)[int(0.95 * (len(lags) - 1))]

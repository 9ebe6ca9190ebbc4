"""The rows of the stream's benchmark: a link, a drop, loopback, and many sessions."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.stream_client import Schedule, StreamClient, connected
from benchmarks.stream_link import LinkEmulator, LinkSettings
from benchmarks.stream_script import (
    Record,
    Script,
    Subject,
    lag_figures,
    latency_back_ms,
    p95,
    quality_back_ms,
    rounded,
    script,
)
from benchmarks.stream_server import ServerProcess, start_server
from render.backends.cpu import CpuRenderer
from render.demo import torso_volume
from render.service.convert.views import view_from_proto
from render.volume import Volume
from voxelcast import convert
from voxelcast.decoding import decode_frame

LAG_FLOOR_MS = 100.0
"""Beyond the round trip, at 20 Mbit/s and more, and after a drop."""
SETTLE_FLOOR_MS = 500.0
"""Beyond the transfer."""
BUILD_UP_FLOOR = 1.25
FPS_FLOOR = 5.0
LATENCY_BACK_FLOOR_MS, QUALITY_BACK_FLOOR_MS = 2000.0, 5000.0
ADDED_FLOOR_MS = 2.0
FAIRNESS_FLOOR = 0.7
SESSION_INPUT_HZ = 20.0
"""Of each of many clients: sixty a second of each would measure the clients, which run on the same cores."""
DROP = LinkSettings(20, 40), LinkSettings(1, 40)


@dataclass(frozen=True)
class StreamPlan:
    """What a run takes.

    Attributes
    ----------
    seconds
        That the hand moves in each row.
    links
        Mbit/s and ms, for both works.
    peer_links
        Of those, where trame takes part.
    side_px
        Of the pictures.
    shape
        Voxels of the torso.
    steps
        Of `loopback`, one by one.
    sessions
        Clients at a time, for ``--sessions``.
    """

    seconds: float = 30.0
    links: tuple[tuple[float, float], ...] = (
        (100, 5), (100, 40), (100, 120), (20, 5), (20, 40), (20, 120), (2, 40), (2, 200),
    )  # fmt: skip
    peer_links: tuple[tuple[float, float], ...] = ((100, 5), (20, 5), (20, 40), (20, 120), (2, 40), (2, 200))
    side_px: int = 512
    shape: tuple[int, int, int] = (300, 512, 512)
    steps: int = 60
    sessions: tuple[int, ...] = (1, 8, 64)
    threads: int = 2


FULL = StreamPlan()
QUICK = replace(
    FULL,
    seconds=15.0,
    links=((100, 5), (20, 40), (20, 120), (2, 40), (2, 200)),
    peer_links=((20, 40), (2, 40)),
)
TINY = replace(
    FULL, seconds=2.0, links=((20, 5),), peer_links=(), side_px=64, shape=(16, 24, 24), steps=5, sessions=(2,)
)


class StreamBench:
    """A server with the torso, and what is measured of it.

    Parameters
    ----------
    plan
        How much.
    server
        Voxelcast's.
    """

    def __init__(self, plan: StreamPlan, server: ServerProcess) -> None:
        self.plan = plan
        self._server = server
        self._volume: Volume | None = None

    def link(self, mbit_s: float, rtt_ms: float, work: str) -> dict[str, Any]:
        """Return the row of a link and a work."""
        settings = LinkSettings(mbit_s, rtt_ms)
        with _emulated(self._server.port, settings) as link:
            record = asyncio.run(self._moved(link.port, work))
        row = _row("link", settings, work) | lag_figures(record) | self._rest(record, settings)
        return row | _link_floors(row, settings)

    def drop(self, work: str) -> dict[str, Any]:
        """Return the row of a link that loses most of its rate for the middle third, and gets it back."""
        usual, bad = DROP
        third = self.plan.seconds / 3
        with _emulated(self._server.port, usual) as link:
            schedule = (third, lambda: link.set(bad)), (2 * third, lambda: link.set(usual))
            record = asyncio.run(self._moved(link.port, work, schedule))
        floor_ms = usual.rtt_ms + LAG_FLOOR_MS
        back = {
            "latency_back_after_drop_ms": latency_back_ms(record, third, 2 * third, floor_ms),
            "latency_back_after_return_ms": latency_back_ms(record, 2 * third, 3 * third, floor_ms),
            "quality_back_ms": quality_back_ms(record, third, 2 * third, 3 * third),
        }
        row = _row("drop", usual, work) | {"drop_to_mbit_s": bad.mbit_s} | lag_figures(record)
        row |= self._rest(record, usual) | {name: rounded(value) for name, value in back.items()}
        met = [value is not None and value <= LATENCY_BACK_FLOOR_MS for value in list(back.values())[:2]]
        quality = back["quality_back_ms"]
        met.append(quality is not None and quality <= QUALITY_BACK_FLOOR_MS)
        return row | {"met": all(met) and row["final_exact"] and row["settled_met"]}

    def loopback(self, work: str) -> dict[str, Any]:
        """Return the row without a link between: also what the server adds to rendering and encoding, step by step."""
        record = asyncio.run(self._moved(self._server.port, work))
        steps = asyncio.run(self._stepped(work))
        added = [paint.lag_ms - paint.server_ms - paint.client_ms for paint in steps.steps]
        row = _row("loopback", None, work) | lag_figures(record) | self._rest(record, None)
        row["server_ms"] = rounded(statistics.median(paint.server_ms for paint in steps.steps))
        row["client_ms"] = round(statistics.median(paint.client_ms for paint in steps.steps), 2)
        row["added_ms"] = round(statistics.median(added), 2)
        return row | {"met": row["added_ms"] <= ADDED_FLOOR_MS and row["final_exact"] and row["settled_met"]}

    def sessions(self, count: int) -> dict[str, Any]:
        """Return the row of so many clients at once, each with a view of its own, without a link between."""
        before = self._server.resident_bytes
        records, held = asyncio.run(self._crowd(count))
        rates = [len(record.moving) / record.moved_s for record in records]
        lags = [paint.lag_ms for record in records for paint in record.moving]
        row = _row("sessions", None, "mpr") | {
            "sessions": count,
            "p50_ms": rounded(statistics.median(lags)),
            "p95_ms": rounded(p95(lags)),
            "fps": round(sum(rates), 2),
            "fps_slowest": round(min(rates), 2),
            "fps_fastest": round(max(rates), 2),
            "fairness": round(min(rates) / max(rates), 3),
            "session_bytes": max(0, held - before) // count,
            "final_exact": all(self._is_exact(record) for record in records),
        }
        return row | {"met": row["fairness"] >= FAIRNESS_FLOOR and row["final_exact"]}

    async def _moved(self, port: int, work: str, schedule: Schedule = ()) -> Record:
        async with connected(port) as client:
            movement = await self._script(client, work)
            await client.move(movement, self.plan.seconds, schedule=schedule)
            return client.record

    async def _stepped(self, work: str) -> Record:
        async with connected(self._server.port) as client:
            await client.step(await self._script(client, work), self.plan.steps)
            return client.record

    async def _crowd(self, count: int) -> tuple[list[Record], int]:
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connected(self._server.port)) for _ in range(count)]
            scripts = [await self._script(client, "mpr") for client in clients]
            moves: list[Coroutine[Any, Any, None]] = [
                client.move(movement, self.plan.seconds, input_hz=SESSION_INPUT_HZ)
                for client, movement in zip(clients, scripts, strict=True)
            ]
            await asyncio.gather(*moves)
            return [client.record for client in clients], self._server.resident_bytes

    async def _script(self, client: StreamClient, work: str) -> Script:
        description = await client.open(self._server.volume_id)
        subject = Subject(description.summary.volume_id, convert.geometry_from_proto(description.geometry))
        return script(subject, work, self.plan.side_px)

    def _rest(self, record: Record, settings: LinkSettings | None) -> dict[str, Any]:
        settle_ms = None if record.final_at_s is None else (record.final_at_s - record.moved_s) * 1e3
        transfer_ms = 0.0
        if settings is not None:
            transfer_ms = len(record.final_payload) / settings.bytes_per_s * 1e3 + settings.rtt_ms
        return {
            "final_exact": self._is_exact(record),
            "final_bytes": len(record.final_payload),
            "settle_ms": rounded(settle_ms),
            "transfer_ms": rounded(transfer_ms),
            "settled_met": settle_ms is not None and settle_ms <= SETTLE_FLOOR_MS + transfer_ms,
        }

    def _is_exact(self, record: Record) -> bool:
        """Whether the last frame is the last view's, as the renderer itself draws it; its CRC was checked already."""
        if record.final_header is None or record.final_view is None:
            return False
        if self._volume is None:
            self._volume = torso_volume(self.plan.shape)
        view = view_from_proto(convert.view_to_proto(record.final_view))
        with contextlib.closing(CpuRenderer(self.plan.threads)) as renderer:
            direct = renderer.render(view, {self._volume.id: renderer.upload(self._volume)})
        array = decode_frame(record.final_header, record.final_payload).array
        if direct.color is not None:
            return np.array_equal(array, direct.color)
        assert direct.values is not None
        tolerance = record.final_header.value_slope / 2
        return np.allclose(array, direct.values, rtol=0, atol=tolerance * (1 + 1e-6), equal_nan=True)


@contextlib.contextmanager
def _emulated(port: int, settings: LinkSettings) -> Iterator[LinkEmulator]:
    link = LinkEmulator(port, settings)
    try:
        yield link
    finally:
        link.close()


def _row(kind: str, settings: LinkSettings | None, work: str, client: str = "voxelcast") -> dict[str, Any]:
    rate, rtt = (None, None) if settings is None else (settings.mbit_s, settings.rtt_ms)
    return {"kind": kind, "client": client, "mbit_s": rate, "rtt_ms": rtt, "work": work}


def _link_floors(row: dict[str, Any], settings: LinkSettings) -> dict[str, Any]:
    """Return whether a link's row keeps what it has to."""
    if settings.mbit_s >= 20:
        limit = settings.rtt_ms + LAG_FLOOR_MS
        met = row["p95_ms"] is not None and row["p95_ms"] <= limit
        return {"p95_limit_ms": limit, "met": met and row["final_exact"] and row["settled_met"]}
    thirds = row["first_third_p95_ms"], row["last_third_p95_ms"]
    grows = None if None in thirds else round(thirds[1] / thirds[0], 2)
    met = grows is not None and grows <= BUILD_UP_FLOOR and row["fps"] >= FPS_FLOOR
    return {"build_up": grows, "met": met and row["final_exact"] and row["settled_met"]}


def start_bench(plan: StreamPlan, *, still: bool = False) -> tuple[ServerProcess, StreamBench]:
    """Start the server of a plan; end it with its context. `still` for one that draws nothing."""
    server = start_server(plan.shape, plan.threads, still=still)
    return server, StreamBench(plan, server)

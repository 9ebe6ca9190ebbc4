"""The benchmark's emulated link: its algebra with a clock set by hand; its proxy carries all bytes in order."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stream_link import MIN_QUEUE_BYTES, LinkEmulator, LinkSettings, Pipe

SLOW = LinkSettings(2, 40)


def drained(pipe: Pipe, until: float) -> list[tuple[float, bytes]]:
    arrived = []
    while (at := pipe.next_at()) is not None and at <= until:
        data = pipe.pop(at)
        if data:
            arrived.append((at, data))
    return arrived


def test_a_byte_takes_half_a_round_trip_and_a_frame_its_bytes_over_the_rate_too() -> None:
    pipe = Pipe(SLOW)
    pipe.push(10.0, b"x")
    ((at, _),) = drained(pipe, 99)
    assert at == pytest.approx(10 + 0.02 + 1 / 250e3)
    pipe.push(20.0, bytes(25_000))
    assert drained(pipe, 99)[-1][0] == pytest.approx(20 + 0.02 + 0.1)


def test_bytes_come_out_at_the_rate_and_not_all_at_the_end() -> None:
    pipe = Pipe(SLOW)
    pipe.push(0.0, bytes(25_000))
    assert sum(len(data) for _, data in drained(pipe, 0.02 + 0.05)) == pytest.approx(12_500, abs=1460)


def test_a_full_queue_has_no_room_until_bytes_have_left_it() -> None:
    pipe = Pipe(SLOW)
    assert pipe.room_bytes == SLOW.queue_bytes == 62_500
    assert LinkSettings(0.1, 40).queue_bytes == MIN_QUEUE_BYTES
    pipe.push(0.0, bytes(62_500))
    assert pipe.room_bytes == 0
    pipe.pop(0.1)
    assert pipe.room_bytes == pytest.approx(25_000, abs=1460)


def test_another_rate_holds_for_what_still_waits() -> None:
    pipe = Pipe(LinkSettings(20, 0))
    pipe.push(0.0, bytes(250_000))
    pipe.set(0.05, LinkSettings(1, 0))  # half has gone
    assert drained(pipe, 99)[-1][0] == pytest.approx(0.05 + 1.0, abs=0.02)


@given(
    st.lists(st.tuples(st.floats(0, 0.2), st.binary(min_size=1, max_size=9000)), min_size=1, max_size=20),
    st.floats(0.1, 200),
    st.floats(0, 300),
)
def test_nothing_is_lost_early_reordered_or_faster_than_the_rate(sends, mbit_s, rtt_ms) -> None:
    settings = LinkSettings(mbit_s, rtt_ms)
    pipe, now, sent = Pipe(settings), 0.0, b""
    first, arrived = None, []
    for wait, data in sends:
        arrived += drained(pipe, now + wait)
        now += wait
        first = now if first is None else first
        pipe.push(now, data)
        sent += data
    arrived += drained(pipe, float("inf"))
    assert b"".join(data for _, data in arrived) == sent
    assert pipe.queued_bytes == 0
    assert pipe.next_at() is None
    total = 0
    for at, data in arrived:
        total += len(data)
        assert at >= first + rtt_ms / 2e3 + total / settings.bytes_per_s - 1e-6


async def test_the_proxy_carries_both_ways_and_tells_each_side_that_the_other_has_gone() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data[::-1])
        writer.close()
        gone.set()

    gone = asyncio.Event()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    link = LinkEmulator(server.sockets[0].getsockname()[1], LinkSettings(1000, 1))
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        writer.write(b"abc")
        assert await reader.readexactly(3) == b"cba"
        writer.write(bytes(3_000_000))
        assert await reader.readexactly(3_000_000) == bytes(3_000_000)
        writer.close()
        await asyncio.wait_for(gone.wait(), 10)
        assert link.carried_bytes == 3_000_003  # counted once a piece was handed over, which its reader may see before
    finally:
        link.close()
        server.close()
        await server.wait_closed()


async def test_a_server_that_is_not_there_ends_the_connection() -> None:
    link = LinkEmulator(9, SLOW)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        assert await reader.read() == b""
        writer.close()
    finally:
        link.close()

"""The soak, for some seconds, and sessions that do nothing, for a moment."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from benchmarks import idle
from benchmarks.soak import Host, grown, soak

HELD = {
    "memory_bytes": 200 << 20,
    "threads": {"MainThread": 1, "voxelcast-frame": 16},
    "tasks": 4,
    "file_descriptors": 30,
    "pinned_bytes": 1000,
    "connections": 0,
}


def test_what_has_grown_is_named() -> None:
    assert grown(HELD, HELD) == []
    assert grown(HELD, {**HELD, "memory_bytes": 220 << 20, "threads": {"MainThread": 1}}) == []
    assert grown(HELD, {**HELD, "memory_bytes": 300 << 20}) == [f"memory_bytes: {200 << 20} to {300 << 20}"]
    more = {"MainThread": 1, "voxelcast-frame": 17, "left": 1}
    assert grown(HELD, {**HELD, "threads": more}) == ["threads left: 0 to 1", "threads voxelcast-frame: 16 to 17"]
    for name in ("tasks", "file_descriptors", "pinned_bytes", "connections"):
        assert grown(HELD, {**HELD, name: HELD[name] + 1}) == [f"{name}: {HELD[name]} to {HELD[name] + 1}"]


def test_clients_that_come_and_go_leave_nothing_behind() -> None:
    result = soak(6.0, clients=6, seed=3)
    assert result["grown"] == []
    assert result["visits"]["sessions"] > 10


def test_sessions_at_rest_get_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "AFTERMATH_S", 0.0)
    with contextlib.closing(Host()) as host:
        result = asyncio.run(idle.rest(host.pid, host.port, 3, 0.5))
    assert (result["sessions"], result["frames"]) == (3, 0)
    assert result["processor_percent"] >= 0

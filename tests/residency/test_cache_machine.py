"""Hypothesis drives the cache: any order of leases, loads and releases."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from render.errors import BudgetExceededError, CodecError
from render.lease import Lease, Size
from render.residency import VolumeCache
from tests.fakes import FakeRenderer, make_volume
from tests.residency.loaders import (
    VOXEL_BYTES,
    FakeLoader,
)

NAMES = st.sampled_from("abcde")
SIZES = {"a": 1, "b": 1, "c": 2, "d": 3, "e": 5}
BUDGET_UNITS = 6


class CacheMachine(RuleBasedStateMachine):
    """Leases, releases, failures, discards and reservations in any order, against a model of an LRU list."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.renderer = FakeRenderer()
        self.cache = VolumeCache(self.renderer, BUDGET_UNITS * VOXEL_BYTES)
        self.leases: list[Lease] = []
        self.reservations: list[tuple[int, object]] = []
        self.recency: list[str] = []  # least recently used first
        self.discarded: set[str] = set()

    def teardown(self) -> None:
        self.loop.run_until_complete(self.cache.close())
        assert self.renderer.resident_bytes == 0
        self.loop.close()

    def pinned(self) -> set[str]:
        return {held.volume_id for held in self.leases}

    def pinned_units(self) -> int:
        return sum(SIZES[name] for name in self.pinned()) + sum(units for units, _ in self.reservations)

    def model_room(self, units: int) -> bool:
        if self.pinned_units() + units > BUDGET_UNITS:
            return False
        reserved = sum(held for held, _ in self.reservations)
        for name in tuple(self.recency):
            if sum(SIZES[other] for other in self.recency) + reserved + units <= BUDGET_UNITS:
                break
            if name not in self.pinned():
                self.recency.remove(name)
        return True

    def touch(self, name: str) -> None:
        self.recency = [other for other in self.recency if other != name] + [name]

    @rule(name=NAMES)
    def lease(self, name: str) -> None:
        volume = make_volume(name, (4 * SIZES[name], 5, 6))
        expected = name in self.recency or self.model_room(SIZES[name])
        wanted = self.cache.lease(name, FakeLoader(volume), Size(SIZES[name] * VOXEL_BYTES, 2), holder="test")
        try:
            self.leases.append(self.loop.run_until_complete(wanted))
        except BudgetExceededError:
            assert not expected
        else:
            assert expected
            self.touch(name)

    @rule(name=NAMES)
    def fail(self, name: str) -> None:
        load = FakeLoader(make_volume(name))
        load.error = CodecError("no")
        expected = name in self.recency or self.model_room(SIZES[name])
        wanted = self.cache.lease(name, load, Size(SIZES[name] * VOXEL_BYTES, 2), holder="test")
        try:
            self.loop.run_until_complete(wanted).release()
        except BudgetExceededError:
            assert not expected
        except CodecError:
            assert name not in self.recency
        else:
            self.touch(name)
            self.forget_if_discarded(name)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        held = self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))
        held.release()
        self.touch(held.volume_id)
        self.forget_if_discarded(held.volume_id)

    @rule(name=NAMES)
    def discard(self, name: str) -> None:
        self.loop.run_until_complete(self.cache.discard(name))
        if name in self.recency:
            self.discarded.add(name)
            self.forget_if_discarded(name)

    def forget_if_discarded(self, name: str) -> None:
        if name in self.discarded and name not in self.pinned():
            self.discarded.discard(name)
            self.recency.remove(name)

    @rule(units=st.integers(1, 4))
    def reserve(self, units: int) -> None:
        expected = self.model_room(units)
        try:
            kept = self.loop.run_until_complete(self.cache.reserve("it", Size(units * VOXEL_BYTES, 2)))
        except BudgetExceededError:
            assert not expected
        else:
            assert expected
            self.reservations.append((units, kept))

    @precondition(lambda self: self.reservations)
    @rule()
    def unreserve(self) -> None:
        _, kept = self.reservations.pop()
        kept.release()  # type: ignore[attr-defined]

    @invariant()
    def as_the_model_says(self) -> None:
        status = self.cache.status()
        assert [entry.volume_id for entry in status.entries] == self.recency
        reserved = sum(units for units, _ in self.reservations) * VOXEL_BYTES
        assert status.resident_bytes == self.renderer.resident_bytes + reserved <= status.budget_bytes
        assert status.pinned_bytes == self.pinned_units() * VOXEL_BYTES
        assert all(held.resident in self.renderer.residents for held in self.leases)


CacheMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestCacheMachine = CacheMachine.TestCase

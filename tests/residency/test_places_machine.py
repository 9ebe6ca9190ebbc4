"""Hypothesis drives the places: any order of leases, frames and one lost card."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from render.errors import BudgetExceededError
from render.lease import Lease
from tests.fakes import make_view
from tests.residency.rig import VOXEL_BYTES, Rig

NAMES = st.sampled_from("abcdef")


class PlacesMachine(RuleBasedStateMachine):
    """Leases, releases, discards, frames and one lost card in any order: bytes never pass a budget, none is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.rig = Rig()
        self.leases: list[Lease] = []

    def teardown(self) -> None:
        for lease in self.leases:
            lease.release()
        self.loop.run_until_complete(self.rig.close())
        self.loop.close()

    @rule(name=NAMES)
    def lease(self, name: str) -> None:
        try:
            self.leases.append(self.loop.run_until_complete(self.rig.lease(name)))
        except BudgetExceededError:
            pinned = {lease.volume_id for lease in self.leases}
            assert name not in pinned
            assert len(pinned) >= 2

    @rule(index=st.integers(0, 9))
    def release(self, index: int) -> None:
        if self.leases:
            self.leases.pop(index % len(self.leases)).release()

    @rule(name=NAMES)
    def discard(self, name: str) -> None:
        self.loop.run_until_complete(self.rig.cache.discard(name))

    @rule(index=st.integers(0, 9))
    def draw(self, index: int) -> None:
        if self.leases:
            lease = self.leases[index % len(self.leases)]
            view = make_view(lease.volume_id)
            self.loop.run_until_complete(self.rig.engine.render(view, {lease.volume_id: lease}))

    @rule(card=st.integers(0, 1))
    def lose(self, card: int) -> None:
        self.rig.cards[card].is_lost = True

    @invariant()
    def within_the_budgets(self) -> None:
        status = self.rig.cache.status()
        assert status.host_bytes <= 4 * VOXEL_BYTES
        for place in self.rig.cache.places:
            assert place.volume_bytes <= place.budget_bytes
        entries = {entry.volume_id for entry in status.entries}
        assert {lease.volume_id for lease in self.leases} <= entries
        assert status.host_bytes == VOXEL_BYTES * (len(entries) + len(status.kept))


PlacesMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestPlacesMachine = PlacesMachine.TestCase

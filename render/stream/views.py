"""The views of one session, by name: how they come, change and go, and what has to be given up each time."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator

from render.stream.contract import Action, SavedView
from render.stream.holds import VolumeHolds
from render.stream.outbox import Outbox
from render.stream.pacing import Link
from render.stream.view_state import RenderJob, ViewState
from render.view import View, Viewport


class SessionViews:
    """The views of one session; who had a frame last comes last.

    Parameters
    ----------
    link
        Told of frames that will not be acknowledged.
    outbox
        Told of lossless frames that nobody wants any more.
    act
        Told which volumes are to be opened, described and released.

    Attributes
    ----------
    holds
        The volumes of the views, and the one that the client opened last.
    """

    def __init__(self, link: Link, outbox: Outbox, act: Callable[[Action], None]) -> None:
        self.holds = VolumeHolds(act)
        self._link = link
        self._outbox = outbox
        self._views: OrderedDict[str, ViewState] = OrderedDict()
        self._sequence_floor = 0

    def __iter__(self) -> Iterator[ViewState]:
        return iter(self._views.values())

    def __len__(self) -> int:
        return len(self._views)

    @property
    def is_settled(self) -> bool:
        """Whether the client has painted the final frame of every view that can be drawn."""
        return all(view.failed or view.is_settled(self.volume_revision(view)) for view in self)

    def get(self, view_id: str) -> ViewState | None:
        """Return a view; None where there is none of that name."""
        return self._views.get(view_id)

    def waiting_for(self, job: RenderJob) -> ViewState | None:
        """Return the view that a job is rendered for; None where it has been given up."""
        view = self._views.get(job.view_id)
        return view if view is not None and view.job is job else None

    def volume_revision(self, view: ViewState) -> int:
        """Return the revision of a view's volume; 0 until it is resident."""
        return self.holds.revision(view.volume_id)

    def viewports_beside(self, view: ViewState | None) -> list[Viewport]:
        """Return the viewports of all views but one."""
        return [each.view.viewport for each in self if each is not view]

    def saved(self) -> tuple[SavedView, ...]:
        """Return what a client that reconnects takes up again."""
        return tuple(SavedView(view.view_id, view.view, view.revision) for view in self)

    def resume(self, saved: SavedView) -> None:
        """Take up a view again, as if it had rested for long: its final frame comes first."""
        self.show(saved.view_id, saved.view, saved.revision, -math.inf)
        self._views[saved.view_id].drawn_revision = saved.revision

    def show(self, view_id: str, view: View, revision: int, now: float) -> None:
        """Begin a view, or replace what it is to show."""
        state = self._views.get(view_id)
        if state is None:
            self._views[view_id] = ViewState(view_id, view, revision, self._sequence_floor, now)
        else:
            changed = state.set(view, revision, now)
            if state.job is not None and (changed or state.job.is_final):
                # A picture of the same kind is worth finishing: else a fast hand would see none at all.
                state.give_up_job()
            self._outbox.drop_final(state)
            if changed:
                state.picture = None
        self._hold_volumes()

    def close(self, view_id: str) -> None:
        """End a view, if there is one of that name."""
        state = self._views.pop(view_id, None)
        if state is None:
            return
        # A view opened again under this name goes on counting: an old frame can't be taken for a new one.
        self._sequence_floor = max(self._sequence_floor, state.sequence)
        state.give_up_job()
        self._outbox.drop_final(state)
        for shipment, _ in state.in_flight.values():
            self._link.forget(shipment)
        self._hold_volumes()

    def close_all(self) -> None:
        """End all views."""
        for view_id in tuple(self._views):
            self.close(view_id)

    def hide(self) -> None:
        """Give up what is rendered and waits: nobody looks."""
        for view in self:
            view.give_up_job()
            self._outbox.drop_final(view)
            view.picture = None
            # What was handed over but not painted is not relied on.
            view.complete = view.settled

    def let_others_first(self, view: ViewState) -> None:
        """Put a view behind the others: it has just had its turn."""
        self._views.move_to_end(view.view_id)

    def acknowledged(self, view_id: str, sequence: int, now: float) -> None:
        """Note that a client has painted a frame. Whatever it says of frames or views that never were does no harm."""
        view = self._views.get(view_id)
        if view is None:
            return
        # Frames arrive in order: a later one acknowledged, the earlier ones are painted or dropped.
        for earlier in [s for s in view.in_flight if s <= sequence]:
            shipment, frame = view.in_flight.pop(earlier)
            self._link.acknowledged(now, shipment)
            if earlier == sequence and frame.is_final:
                view.settled = view.complete = frame.revisions

    def volume_failed(self, volume_id: str) -> tuple[list[ViewState], bool]:
        """Note that a volume can't be opened; return its views, and whether the client itself had asked for it."""
        held, asked = self.holds.failed(volume_id)
        failed = [view for view in self if held and view.volume_id == volume_id]
        for view in failed:
            view.failed = True
            view.give_up_job()  # of the part that was there
        return failed, asked

    def open_volume(self, volume_id: str, *, in_part: bool) -> None:
        """Hold a volume for the client itself, in place of the one before."""
        self.holds.open(volume_id, self._volumes(), in_part=in_part)

    def _hold_volumes(self) -> None:
        """Open what the views need, let go of the rest."""
        self.holds.hold(self._volumes())

    def _volumes(self) -> set[str]:
        return {view.volume_id for view in self if not view.failed}

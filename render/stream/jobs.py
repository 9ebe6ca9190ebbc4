"""What a session renders next: which view, whether a picture or its final frame, and when time alone makes a job."""

from __future__ import annotations

from collections.abc import Iterator

from render.stream.pacing import Link
from render.stream.view_state import RenderJob, ViewState
from render.stream.views import SessionViews

MAX_RUNNING_JOBS = 2
"""One renders while another is encoded."""
FINAL_PATIENCE_S = 1.0
"""How long the final frame of a resting view waits for other views of the session that still move."""
PREVIEW_ABOVE_S = 0.3
"""A lossless frame that takes longer is preceded by a full-quality picture."""


class Jobs:
    """The jobs of one session: no more than there is credit for, and the views in turn.

    Parameters
    ----------
    views
        Of the session.
    link
        What its client's link can bear.
    """

    def __init__(self, views: SessionViews, link: Link) -> None:
        self._views = views
        self._link = link
        self._running: set[RenderJob] = set()

    @property
    def are_running(self) -> bool:
        """Whether anything is being rendered."""
        return bool(self._running)

    def begin(self, now: float) -> RenderJob | None:
        """Return what to render now, pictures before final frames; None where there is nothing, or no credit."""
        if len(self._running) >= MAX_RUNNING_JOBS:
            return None
        able = self._able()
        if not able:
            return None
        moving = [view for view in self._views if now < view.rests_at]
        for make in (self._picture, self._final):
            for view in able:
                if job := make(view, moving, now):
                    self._running.add(job)
                    self._views.let_others_first(view)
                    return job
        return None

    def ended(self, job: RenderJob) -> None:
        """Note that a job is not rendered any more."""
        self._running.discard(job)

    def give_up(self) -> None:
        """Cancel all."""
        for job in self._running:
            job.cancelled = True

    def times(self) -> Iterator[float]:
        """Yield when final frames may come due, seconds; some have passed."""
        wanted = [view for view in self._able() if view.wants_final(self._views.volume_revision(view))]
        if wanted:
            yield from (view.input_at + FINAL_PATIENCE_S for view in wanted)
            yield from (view.rests_at for view in self._views)

    def _able(self) -> list[ViewState]:
        """Return the views that can be drawn and have credit."""
        if self._link.in_flight_bytes >= self._link.cap_bytes:
            return []
        window, revision = self._link.window, self._views.volume_revision
        return [
            view
            for view in self._views
            if view.job is None and not view.failed and view.credit_used < window and revision(view)
        ]

    def _picture(self, view: ViewState, moving: list[ViewState], now: float) -> RenderJob | None:
        if not view.wants_picture(now):
            return None
        return view.picture_job(self._link.frame_budget_bytes(len(moving)))

    def _final(self, view: ViewState, moving: list[ViewState], now: float) -> RenderJob | None:
        if now < view.rests_at or not view.wants_final(self._views.volume_revision(view)):
            return None
        if moving and now < view.input_at + FINAL_PATIENCE_S:
            return None
        slow = view.lossless_bytes / self._link.lately_bytes_per_s > PREVIEW_ABOVE_S
        return view.final_job(with_preview=slow and view.credit_used + 2 <= self._link.window)

"""One view of a session: what is to be drawn, what is on its way, and whether the client has the final frame."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TypeAlias

from render.encoding import Encoding
from render.frame import FINAL, Quality
from render.stream.pacing import PictureLevel, PicturePacing, RenderPacing, Shipment
from render.v1 import frame_pb2
from render.view import View

SETTLE_S = 0.15
"""A view rests once it had no input for this long."""

PICTURE_FIRST_ABOVE_MS = 150.0
"""A view that rests but shows nothing yet gets a picture first if its final frame takes longer."""

Revisions: TypeAlias = tuple[int, int]
"""Of the view and of the volume."""


@dataclass(eq=False)
class RenderJob:
    """One frame to be rendered, encoded and given back to the protocol.

    Attributes
    ----------
    quality
        What may be saved.
    picture
        How to write a picture of it, first; None for no picture.
    lossless
        How to write it without loss afterwards; None for an interactive frame.
    cancelled
        Set by the protocol once nobody wants it; asked between tiles, from other threads.
    """

    view_id: str
    view: View
    view_revision: int
    volume_id: str
    quality: Quality
    picture: PictureLevel | None
    lossless: Encoding | None
    cancelled: bool = False

    @property
    def is_final(self) -> bool:
        """Whether it ends in a lossless frame."""
        return self.lossless is not None


@dataclass(frozen=True)
class RenderedFrame:
    """A frame as it came from the encoder.

    Attributes
    ----------
    header
        Everything but the sequence, epoch and chunk.
    payload
        Of all chunks together.
    """

    header: frame_pb2.FrameHeader
    payload: bytes

    @property
    def is_final(self) -> bool:
        """Whether nothing is missing: every ray, every slice, no loss."""
        return self.header.quality == frame_pb2.FRAME_QUALITY_FINAL and self.header.lossless

    @property
    def revisions(self) -> Revisions:
        """What it answers."""
        return self.header.view_revision, self.header.volume_revision


@dataclass
class Transfer:
    """A frame that is being handed over, chunk by chunk."""

    frame: RenderedFrame
    shipment: Shipment | None = None
    sequence: int = 0
    chunk_bytes: int = 0
    chunk_count: int = 0
    next_chunk: int = 0

    @property
    def handed_bytes(self) -> int:
        """What has been handed over."""
        return min(len(self.frame.payload), self.next_chunk * self.chunk_bytes)


@dataclass(eq=False)
class ViewState:
    """A view, from the first SetView to CloseView.

    Attributes
    ----------
    input_at
        When it was set last, seconds of the protocol's clock.
    drawn_revision
        The latest view revision of which any frame was made.
    complete
        Revisions of the last final attempt, be it that slices were missing.
    settled
        Revisions of the final frame that the client has acknowledged.
    failed
        The present revision can't be drawn; the client was told.
    in_flight
        By sequence: handed over whole, not acknowledged.
    picture, final
        Waiting to be handed over: one slot each.
    """

    view_id: str
    view: View
    revision: int
    sequence: int
    input_at: float
    volume_id: str = ""
    drawn_revision: int = 0
    complete: Revisions | None = None
    settled: Revisions | None = None
    failed: bool = False
    job: RenderJob | None = None
    picture: Transfer | None = None
    final: Transfer | None = None
    in_flight: OrderedDict[int, tuple[Shipment, RenderedFrame]] = field(default_factory=OrderedDict)
    pictures: PicturePacing = field(default_factory=PicturePacing)
    rendering: RenderPacing = field(init=False)
    lossless_bytes: float = math.nan

    def __post_init__(self) -> None:
        self._take(self.view)

    def set(self, view: View, revision: int, now: float) -> bool:
        """Replace what is to be drawn; return whether it is of another kind or volume than before."""
        before = self.volume_id, self.view.rendering_method, self.view.slab_mm == 0
        self.view = view
        self.revision = revision
        self.input_at = now
        self.failed = False
        changed = before != (view.layers[0].volume_id, view.rendering_method, view.slab_mm == 0)
        if changed:
            self._take(view)
        return changed

    def _take(self, view: View) -> None:
        self.volume_id = view.layers[0].volume_id
        self.rendering = RenderPacing(is_thin=view.slab_mm == 0, is_costly=view.is_color)
        self.pictures = PicturePacing()
        self.lossless_bytes = view.viewport.width_px * view.viewport.height_px * (0.5 if view.is_color else 1.2)

    @property
    def rests_at(self) -> float:
        """When it rests, if no input comes."""
        return self.input_at + SETTLE_S

    @property
    def credit_used(self) -> int:
        """Frames that are being rendered, wait, or are on their way."""
        return len(self.in_flight) + (self.job is not None) + (self.picture is not None) + (self.final is not None)

    def is_settled(self, volume_revision: int) -> bool:
        """Whether the client has painted the final frame of the latest revisions."""
        return self.settled == (self.revision, volume_revision)

    def wants_final(self, volume_revision: int) -> bool:
        """Whether a final frame of the latest revisions has still to be made."""
        return self.complete != (self.revision, volume_revision)

    def wants_picture(self, now: float) -> bool:
        """Whether a picture is to come before the final frame: while it moves, or where the final one takes long."""
        if self.drawn_revision >= self.revision:
            return False
        return now < self.rests_at or self.rendering.final_ms > PICTURE_FIRST_ABOVE_MS

    def made(self, job: RenderJob, frame: RenderedFrame) -> None:
        """Take what this view's job has made: a picture, or the lossless frame."""
        self.drawn_revision = max(self.drawn_revision, job.view_revision)
        if frame.header.encoding != frame_pb2.FRAME_ENCODING_JPEG:
            # With slices missing it is shown all the same, and made again when the volume's revision rises.
            self.complete = frame.revisions
            self.lossless_bytes = len(frame.payload)
            self.final = Transfer(frame)
        else:
            pixels = job.view.viewport.width_px * job.view.viewport.height_px
            if job.picture is not None:
                self.pictures.measured(job.picture, len(frame.payload), pixels)
            self.picture = Transfer(frame)
        self.rendering.measured(job.quality, frame.header.timings.render_ms)

    def give_up_job(self) -> None:
        """Cancel what is being rendered, if anything is: what it makes is not wanted any more."""
        if self.job is not None:
            self.job.cancelled = True
            self.job = None

    def final_job(self, *, with_preview: bool) -> RenderJob:
        """Return the job that ends in the lossless frame."""
        lossless = Encoding.RGBA_DEFLATE if self.view.is_color else Encoding.VALUES_DEFLATE
        picture = PREVIEW_LEVEL if with_preview else None
        return self._job(FINAL, picture, lossless)

    def picture_job(self, budget_bytes: float) -> RenderJob:
        """Return the job for a picture while the view moves."""
        pixels = self.view.viewport.width_px * self.view.viewport.height_px
        return self._job(self.rendering.choose(), self.pictures.choose(budget_bytes, pixels), None)

    def _job(self, quality: Quality, picture: PictureLevel | None, lossless: Encoding | None) -> RenderJob:
        self.job = RenderJob(self.view_id, self.view, self.revision, self.volume_id, quality, picture, lossless)
        return self.job


PREVIEW_LEVEL = PictureLevel(90, 1, 1.2)
"""A full-quality picture for slow links, while the lossless frame is on its way."""

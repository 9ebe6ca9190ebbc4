"""A View to a Frame on one card: lanes, launches, and what comes back."""

from __future__ import annotations

import contextlib
import enum
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from render.backends.base import ResidentVolume, applied_view, frame_of
from render.backends.channels import channel_views, color_frame, color_of
from render.backends.cuda.device import Buffer, Device, Program
from render.backends.cuda.drawing import BAND_SAMPLES, Drawing, Drawn, Lane
from render.backends.cuda.finishing import Encoders, Finished, Finishing
from render.backends.cuda.kernels import COUNT_BYTES, launch_blocks
from render.backends.cuda.parameters import FramePlan, plan_frame
from render.backends.cuda.pixels import PixelMemory
from render.backends.cuda.resident import CudaVolume, Held, KeyedTables
from render.backends.rays import lattice_of
from render.errors import DeviceError
from render.frame import Frame, PictureRequest, Quality
from render.view import View


class Sampling(enum.Enum):
    """How voxels are interpolated."""

    BY_QUALITY = "by_quality"
    """By texture where a frame is not final, exactly where it is, or where a volume has no texture."""
    EXACT = "exact"
    TEXTURE = "texture"


@dataclass(frozen=True)
class _Work:
    """A volume in a frame: the View of it as it applies, and how that is drawn."""

    applied: View
    resident: CudaVolume
    plan: FramePlan
    tables: KeyedTables | None


class Frames:
    """Draws frames, each on a lane of its own. Every method may be called from any thread.

    Parameters
    ----------
    device
        The card.
    sampling
        How.
    band_samples
        See `render.backends.cuda.drawing`.

    Attributes
    ----------
    encoders
        Of the lanes.
    """

    def __init__(self, device: Device, sampling: Sampling, band_samples: int = BAND_SAMPLES) -> None:
        self.encoders = Encoders(device)
        self._memory = PixelMemory(device)
        self._device = device
        self._sampling = sampling
        self._band_samples = band_samples
        self._lanes: list[Lane] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Give the lanes back; no frame may be in hand."""
        with self._lock:
            self._lanes.clear()

    def try_encoder(self) -> str:
        """Make an encoder, as the first picture does, and return `Encoders.description`. Blocks."""
        with self._lane() as lane:
            self.encoders.of(lane)
        return self.encoders.description

    def draw(
        self,
        view: View,
        volumes: Mapping[str, ResidentVolume],
        picture: PictureRequest | None,
        quality: Quality,
        view_revision: int,
        cancelled: Callable[[], bool] | None,
    ) -> Frame:
        """Draw one View; with a `picture` to be seen, that, and the pixels only if it says so.

        A colour image's channels are drawn one after the other, and joined on the card.

        Raises
        ------
        DeviceMemoryError, DeviceError
            If the card has no memory for it, or fails.
        """
        began = time.perf_counter()
        color = color_of(view, volumes)
        parts = [(view, volumes)] if color is None else channel_views(view, color)
        works = [_work_of(each, volumes, quality) for each, volumes in parts]
        finished = self._finished(works, picture, quality, cancelled)
        first = works[0]
        frame = frame_of(
            first.applied,
            first.resident.volume,
            finished.pixels if color is None else None,
            plane=view.plane,
            step_mm=first.plan.lattice.step_mm,
            quality=quality,
            view_revision=view_revision,
            render_ms=(time.perf_counter() - began) * 1e3,
            samples=finished.samples,
            shown=finished.shown,
        )
        return frame if color is None else color_frame(frame, view, color, color=finished.pixels)

    def _finished(
        self,
        works: list[_Work],
        picture: PictureRequest | None,
        quality: Quality,
        cancelled: Callable[[], bool] | None,
    ) -> Finished:
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(work.resident.in_use()) for work in works]
            lane = stack.enter_context(self._lane())  # ends first: its stream reads what is in use
            counts = self._device.allocate(COUNT_BYTES, lane.stream)
            self._device.clear(counts, lane.stream)
            drawn = [
                self._drawn(lane, work, part, quality, counts, cancelled)
                for work, part in zip(works, held, strict=True)
            ]
            whole = drawn[0] if len(drawn) == 1 else joined(lane, drawn)
            finishing = Finishing(lane, whole, counts, self.encoders, self._memory)
            if picture is None:
                return finishing.pixels()
            resident, layer = works[0].resident, works[0].applied.layers[0]
            assert layer.window is not None
            inverted = layer.invert != resident.volume.info.inverted
            return finishing.picture(picture, layer.window, resident, inverted=inverted)

    def _drawn(
        self,
        lane: Lane,
        work: _Work,
        held: Held,
        quality: Quality,
        counts: Buffer,
        cancelled: Callable[[], bool] | None,
    ) -> Drawn:
        drawing = Drawing(
            lane,
            work.plan,
            work.resident,
            held,
            texture=self._samples_texture(quality, held),
            band_samples=self._band_samples,
        )
        viewport = work.applied.viewport
        size = viewport.height_px, viewport.width_px
        return drawing.draw(size, quality.ray_stride, work.tables, counts, cancelled)

    @contextlib.contextmanager
    def _lane(self) -> Iterator[Lane]:
        """Lend a lane; there are as many as there have been frames at a time."""
        with self._lock:
            lane = self._lanes.pop() if self._lanes else None
        if lane is None:
            lane = Lane(self._device)
        try:
            yield lane
        except BaseException:
            # What has been launched reads the volume, which may be released once this returns.
            with contextlib.suppress(DeviceError):
                lane.settle()
            raise
        finally:
            with self._lock:
                self._lanes.append(lane)

    def _samples_texture(self, quality: Quality, held: Held) -> bool:
        if held.texture is None:
            return False
        return self._sampling is Sampling.TEXTURE or not quality.is_final


def _work_of(view: View, volumes: Mapping[str, ResidentVolume], quality: Quality) -> _Work:
    applied, resident = applied_view(view, volumes)
    assert isinstance(resident, CudaVolume)
    volume, tables = resident.volume, None
    if view.is_color:
        function = applied.layers[0].transfer_function
        assert function is not None
        tables = resident.host_tables(function, lattice_of(volume.geometry, view.slab_mm, quality.step_factor).step_mm)
    made = None if tables is None else tables[1]
    plan = plan_frame(applied, volume, has_invalid=resident.has_invalid, quality=quality, tables=made)
    return _Work(applied, resident, plan, tables)


def joined(lane: Lane, channels: list[Drawn]) -> Drawn:
    """Return the RGBA picture of drawn red, green and blue."""
    shape = channels[0].shape_px
    count = shape[0] * shape[1]
    out = lane.device.allocate(4 * count, lane.stream)
    arguments = [*(channel.pixels for channel in channels), out, np.int64(count)]
    lane.device.launch(Program("picture"), "join_channels", launch_blocks(count), arguments, lane.stream)
    return Drawn(out, True, shape)  # channels have no tables that it could read

"""What the benchmark of the card measures on: a device, renderers of both ways to sample, volumes, and clocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from benchmarks.subjects import OBLIQUE, WORKS, Subject, Work, view_of
from render.backends.cuda.device import Buffer, Device, Program, Stream
from render.backends.cuda.drawing import Drawing, Lane
from render.backends.cuda.frames import Sampling
from render.backends.cuda.kernels import COUNT_BYTES
from render.backends.cuda.parameters import plan_frame
from render.backends.cuda.renderer import CudaRenderer
from render.backends.cuda.resident import Bounds, CudaVolume, Held
from render.backends.rays import lattice_of
from render.frame import FINAL
from render.transfer import TransferFunction
from render.view import View

BLOCKER_MS = 15.0
"""Of work that is put before what a card's clock measures: the host has put all of that on the stream by then."""
FAINT = TransferFunction(((0.0, 0.002), (1.0, 0.002)), ((0.0, 1.0, 0.9, 0.8),))
"""Opacity of 0.2% a mm everywhere: every sample counts, and no ray ends early."""


class Clock(Protocol):
    """Times work on a stream."""

    name: str

    def ms(self, stream: Stream, run: Callable[[], None], blocker: Callable[[], None]) -> float:
        """Return the time that what `run` puts on the stream takes there; `blocker` keeps the stream busy before."""


class CupyClock:
    """CUDA's events, on the card."""

    name = "events"

    def ms(self, stream: Stream, run: Callable[[], None], blocker: Callable[[], None]) -> float:
        """See `Clock.ms`."""
        import cupy

        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        blocker()
        start.record(stream)
        run()
        end.record(stream)
        end.synchronize()
        return float(cupy.cuda.get_elapsed_time(start, end))


@dataclass
class HostClock:
    """The host's, for a device that has no events with times."""

    device: Device
    name: str = "host"

    def ms(self, stream: Stream, run: Callable[[], None], blocker: Callable[[], None]) -> float:
        """See `Clock.ms`."""
        self.device.wait(self.device.record(stream))
        start = time.perf_counter()
        run()
        self.device.wait(self.device.record(stream))
        return (time.perf_counter() - start) * 1e3


@dataclass
class Card:
    """A card, the two renderers on it, and its ceilings once they are measured.

    Attributes
    ----------
    device, clock
        Where, and what times it.
    texture, exact
        Renderers that sample one way only.
    sample_ceiling
        Samples a second by way to sample, from cached voxels.
    """

    device: Device
    clock: Clock
    texture: CudaRenderer
    exact: CudaRenderer
    sample_ceiling: dict[str, float]

    @classmethod
    def on(cls, device: Device, clock: Clock, budget_bytes: int) -> Card:
        """Return a card with renderers on it."""
        texture, exact = (
            CudaRenderer(device, budget_bytes, sampling=sampling) for sampling in (Sampling.TEXTURE, Sampling.EXACT)
        )
        return cls(device, clock, texture, exact, {})

    def renderer(self, sampling: str) -> CudaRenderer:
        """Return the renderer that samples so: ``texture`` or ``exact``."""
        return self.texture if sampling == "texture" else self.exact

    @contextmanager
    def holding(self, subject: Subject) -> Iterator[CudaVolume]:
        """Upload a volume, with its texture where that fits, for as long as the context lasts."""
        resident = self.texture.upload(subject.volume)
        assert isinstance(resident, CudaVolume)
        try:
            yield resident
        finally:
            self.texture.release(resident)

    def dense(self, resident: CudaVolume) -> CudaVolume:
        """Return the same voxels with a grid that lets nothing be skipped: each brick may hold any code."""
        stream = self.device.stream()
        is_int = resident.volume.codes.dtype == np.int16
        low, high = (-32768, 32767) if is_int else (-3e38, 3e38)
        with resident.in_use() as held:
            levels = []
            for level in held.levels:
                bricks = level.flags.nbytes
                flags = self.filled(np.zeros(bricks, np.uint8), stream)
                least, most = (
                    self.filled(np.full(bricks, n, resident.volume.codes.dtype), stream) for n in (low, high)
                )
                levels.append(Bounds(least, most, flags))
            parts = Held(held.codes, tuple(levels), held.texture)
        return CudaVolume(resident.volume, parts, resident.code_range, False, resident.statistics)

    def filled(self, values: np.ndarray, stream: Stream) -> Buffer:
        """Return a buffer that holds an array. Blocks."""
        buffer, source = self.device.allocate(values.nbytes, stream), self.device.pinned(values.nbytes)
        np.copyto(source, values.reshape(-1).view(np.uint8))
        self.device.upload(buffer, 0, source, stream)
        self.device.wait(self.device.record(stream))
        return buffer

    def rate_launch(
        self, resident: CudaVolume, sampling: str, lane: Lane, blocks: int, steps: int
    ) -> Callable[[], None]:
        """Return what launches `sample_rate`: 128 x `blocks` x `steps` samples."""
        out = self.device.allocate(blocks * 128 * 4, lane.stream)
        program = Program("ceilings", str(resident.volume.codes.dtype), sampling == "texture")
        size = [np.int32(n) for n in resident.volume.geometry.shape[::-1]]

        def launch() -> None:
            with resident.in_use() as held:
                number = held.texture.texture if held.texture is not None else np.uint64(0)
                arguments = [held.codes, number, *size, np.int32(steps), out]
                self.device.launch(program, "sample_rate", (blocks,), arguments, lane.stream)

        return launch

    def blocker(self, resident: CudaVolume, lane: Lane) -> Callable[[], None]:
        """Return what keeps a stream busy for `BLOCKER_MS`, as far as the ceiling is known."""
        rate, blocks = self.sample_ceiling.get("exact", 0.0), 1024
        steps = int(rate * BLOCKER_MS / 1e3 / (blocks * 128)) // 16 * 16
        return self.rate_launch(resident, "exact", lane, blocks, steps) if steps else lambda: None

    def draw_ms(self, view: View, resident: CudaVolume, sampling: str, repeats: int) -> tuple[float, tuple[int, int]]:
        """Draw a frame `repeats` times without bringing it back; return the time of one, and its samples.

        Returns
        -------
        ms, samples
            On the card; taken and possible.
        """
        lane = Lane(self.device)
        layer = view.layers[0]
        remembered = None
        if view.is_color:
            assert layer.transfer_function is not None
            step_mm = lattice_of(resident.volume.geometry, view.slab_mm, 1.0).step_mm
            remembered = resident.host_tables(layer.transfer_function, step_mm)
        plan = plan_frame(
            view,
            resident.volume,
            has_invalid=resident.has_invalid,
            quality=FINAL,
            tables=remembered[1] if remembered else None,
        )
        size = view.viewport.height_px, view.viewport.width_px
        with resident.in_use() as held:
            drawing = Drawing(lane, plan, resident, held, texture=sampling == "texture")
            counts = self.device.allocate(COUNT_BYTES, lane.stream)

            def draw() -> None:
                for _ in range(repeats):
                    drawing.draw(size, 1, remembered, counts, None)

            drawing.draw(size, 1, remembered, counts, None)  # compiles, makes tables
            lane.settle()
            total = self.clock.ms(lane.stream, draw, self.blocker(resident, lane))
        frame = self.renderer(sampling).render(view, {resident.volume.id: resident})
        return total / repeats, (frame.samples_taken, frame.samples_taken + frame.samples_skipped)


def view_at(subject: Subject, work: Work, frame: int, side_px: int, *, faint: bool = False) -> View:
    """Return the oblique View of a work at a frame's number; through `FAINT` if every sample is to count."""
    view = view_of(subject, work, OBLIQUE, frame, side_px)
    if not faint:
        return view
    function = replace(FAINT, shading=subject.transfer_function.shading if work.shaded else None)
    return replace(view, layers=(replace(view.layers[0], transfer_function=function),))


def work_of(name: str) -> Work:
    """Return one of `WORKS`."""
    return next(work for work in WORKS if work.name == name)


def median_ms(run: Callable[[int], Any], repeats: int) -> float:
    """Return the median wall time of `run(n)`, n from 0."""
    times = []
    for n in range(repeats):
        start = time.perf_counter()
        run(n)
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times))

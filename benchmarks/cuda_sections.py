"""The sections of the card's benchmark: ceilings, frames, pictures, sessions, uploads, registers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.cuda_card import Card, median_ms, view_at, work_of
from benchmarks.subjects import WORKS, Subject
from render.backends.base import Renderer
from render.backends.cuda.device import Program
from render.backends.cuda.drawing import Lane
from render.backends.cuda.kernels import KERNELS, options, source
from render.backends.cuda.renderer import CudaRenderer
from render.backends.cuda.resident import CudaVolume
from render.encoding import Encoding, encode
from render.errors import DeviceLostError
from render.frame import Frame, PictureRequest, Quality
from render.frame_threads import FrameThreads
from render.residency import VolumeCache
from render.view import View

JPEG_QUALITY = 80
SESSION_WORKS = ("mip", "thin_mpr", "vr_shaded", "slab_max")
"""What sessions look at, in turn."""
INTERACTIVE = Quality(step_factor=2.0)


@dataclass(frozen=True)
class CudaPlan:
    """How much is measured.

    Attributes
    ----------
    torso_shape, large_shape
        Voxels; the large one is the torso, each voxel repeated. None for without.
    sides_px
        Of the pictures.
    repeats
        Of each timing.
    sessions, session_s, session_px
        How many at a time, for how long each number, and how large their pictures are.
    blocks, steps
        Of the ceilings' kernels.
    read_bytes
        That the memory's ceiling reads.
    jpeg_px
        Side of the picture that is encoded.
    seconds
        That the whole may take.
    """

    torso_shape: tuple[int, int, int] = (300, 512, 512)
    large_shape: tuple[int, int, int] | None = (1000, 1024, 1024)
    sides_px: tuple[int, ...] = (512, 1024)
    repeats: int = 9
    sessions: tuple[int, ...] = (1, 8, 64)
    session_s: float = 6.0
    session_px: int = 512
    blocks: int = 8192
    steps: int = 4096
    read_bytes: int = 2 << 30
    jpeg_px: int = 1024
    seconds: float = 480.0


FULL = CudaPlan()
QUICK = CudaPlan(large_shape=None, sides_px=(512,), repeats=5, sessions=(1, 8), session_s=3.0)
TINY = CudaPlan(
    torso_shape=(16, 24, 24),
    large_shape=(16, 32, 32),
    sides_px=(16,),
    repeats=2,
    sessions=(1, 2),
    session_s=0.05,
    session_px=16,
    blocks=2,
    steps=32,
    read_bytes=1 << 12,
    jpeg_px=24,
)


def ceilings(card: Card, resident: CudaVolume, plan: CudaPlan) -> dict[str, Any]:
    """Measure samples a second from cached voxels, each way, and bytes a second read once."""
    lane, result = Lane(card.device), {}
    with resident.in_use() as held:
        ways = ("exact", "texture") if held.texture is not None else ("exact",)
    for sampling in ways:
        launch = card.rate_launch(resident, sampling, lane, plan.blocks, plan.steps)
        launch()
        best = min(card.clock.ms(lane.stream, launch, lambda: None) for _ in range(plan.repeats))
        card.sample_ceiling[sampling] = plan.blocks * 128 * plan.steps / (best / 1e3)
        result[f"{sampling}_gsamples_per_s"] = round(card.sample_ceiling[sampling] / 1e9, 3)
    words = card.device.allocate(plan.read_bytes, lane.stream)
    card.device.clear(words, lane.stream)
    out = card.device.allocate(plan.blocks * 128 * 4, lane.stream)
    arguments = [words, np.int64(plan.read_bytes // 4), out]

    def read() -> None:
        card.device.launch(Program("ceilings"), "read_rate", (plan.blocks,), arguments, lane.stream)

    read()
    best = min(card.clock.ms(lane.stream, read, lambda: None) for _ in range(plan.repeats))
    result["memory_read_gb_per_s"] = round(plan.read_bytes / (best / 1e3) / 1e9, 2)
    return result


def rows(card: Card, subject: Subject, resident: CudaVolume, plan: CudaPlan) -> Iterator[dict[str, Any]]:
    """Measure every work at every size, both ways to sample, dense and as shipped."""
    dense = card.dense(resident)
    with resident.in_use() as held:
        ways = ("texture", "exact") if held.texture is not None else ("exact",)
    for side_px in plan.sides_px:
        for work in WORKS:
            for sampling in ways:
                for skipping, drawn in (("dense", dense), ("shipped", resident)):
                    view = view_at(subject, work, 0, side_px, faint=skipping == "dense")
                    ms, (taken, possible) = card.draw_ms(view, drawn, sampling, plan.repeats)
                    rate = taken / (ms / 1e3)
                    row = {
                        "volume": subject.name,
                        "work": work.name,
                        "side_px": side_px,
                        "sampling": sampling,
                        "skipping": skipping,
                        "draw_ms": round(ms, 4),
                        "samples_taken": taken,
                        "samples_skipped": possible - taken,
                        "gsamples_per_s": round(rate / 1e9, 3),
                    }
                    ceiling = card.sample_ceiling.get(sampling)
                    if ceiling:
                        row["ceiling_percent"] = round(100 * rate / ceiling, 2)
                    if skipping == "shipped":
                        row["frame_ms"] = round(
                            _frame_ms(card.renderer(sampling), subject, resident, work.name, side_px, plan), 3
                        )
                    yield row


def _frame_ms(
    renderer: CudaRenderer, subject: Subject, resident: CudaVolume, work: str, side_px: int, plan: CudaPlan
) -> float:
    """Return the wall time from View to Frame, with the pixels on the host, each frame from elsewhere."""
    views = [view_at(subject, work_of(work), n, side_px) for n in range(plan.repeats + 1)]
    renderer.render(views[-1], {subject.volume.id: resident})
    return median_ms(lambda n: renderer.render(views[n], {subject.volume.id: resident}), plan.repeats)


def jpeg(card: Card, subject: Subject, resident: CudaVolume, plan: CudaPlan) -> dict[str, Any]:
    """Measure shaded volume rendering with its picture as JPEG on the host, and with its pixels instead."""
    work, volumes = work_of("vr_shaded"), {subject.volume.id: resident}
    views = [view_at(subject, work, n, plan.jpeg_px) for n in range(plan.repeats + 1)]
    request = PictureRequest(JPEG_QUALITY)
    # By texture, which interactive frames are sampled by.
    renderer = card.texture
    frame = renderer.render_picture(views[-1], volumes, request)
    payload = encode(frame, Encoding.JPEG, jpeg_quality=JPEG_QUALITY).payload

    def with_jpeg(n: int) -> None:
        encode(renderer.render_picture(views[n], volumes, request), Encoding.JPEG, jpeg_quality=JPEG_QUALITY)

    def on_host(n: int) -> None:
        encode(renderer.render(views[n], volumes), Encoding.JPEG, jpeg_quality=JPEG_QUALITY)

    on_host(plan.repeats)
    draw_ms, _ = card.draw_ms(views[0], resident, "texture" if _has_texture(resident) else "exact", plan.repeats)
    return {
        "side_px": plan.jpeg_px,
        "encoder": renderer.encoder,
        "on_card": frame.shown is not None and frame.shown.jpeg is not None,
        "bytes": len(payload),
        "draw_ms": round(draw_ms, 3),
        "draw_jpeg_copy_ms": round(median_ms(with_jpeg, plan.repeats), 3),
        "draw_copy_ms": round(median_ms(lambda n: renderer.render(views[n], volumes), plan.repeats), 3),
        "draw_copy_jpeg_on_cpu_ms": round(median_ms(on_host, plan.repeats), 3),
    }


def sessions(card: Card, subject: Subject, resident: CudaVolume, plan: CudaPlan) -> list[dict[str, Any]]:
    """Measure frames a second of so many sessions at a time, each turning its own view, JPEG included.

    As a server draws them: on its frame threads, dealt out by its turns.
    """
    return [asyncio.run(_sessions(card.texture, subject, resident, plan, count)) for count in plan.sessions]


async def _sessions(
    renderer: CudaRenderer, subject: Subject, resident: CudaVolume, plan: CudaPlan, count: int
) -> dict[str, Any]:
    volumes, request = {subject.volume.id: resident}, PictureRequest(JPEG_QUALITY)
    threads = FrameThreads(renderer, VolumeCache(renderer, 1 << 40))
    times: list[list[float]] = [[] for _ in range(count)]

    async def frame(number: int, view: View) -> None:
        def draw(drawing: Renderer, _: object, cancelled: Callable[[], bool]) -> Frame:
            assert isinstance(drawing, CudaRenderer)
            try:
                made = drawing.render_picture(view, volumes, request, quality=INTERACTIVE, cancelled=cancelled)
            except DeviceLostError as error:
                raise RuntimeError(f"DeviceLostError: {error.message}") from error  # there is nowhere else to draw it
            encode(made, Encoding.JPEG, jpeg_quality=JPEG_QUALITY)
            return made

        await threads.draw(draw, (), key=str(number), is_final=False, cancelled=None)

    async def session(number: int, until: float) -> None:
        views = turned[number]
        while time.perf_counter() < until or not times[number]:
            start = time.perf_counter()
            await frame(number, views[len(times[number]) % len(views)])
            times[number].append((time.perf_counter() - start) * 1e3)

    works = [work_of(SESSION_WORKS[n % len(SESSION_WORKS)]) for n in range(count)]
    turned = [[view_at(subject, work, n + 5 * m, plan.session_px) for m in range(24)] for n, work in enumerate(works)]
    await asyncio.gather(*(frame(n, turned[n][0]) for n in range(count)))  # lanes, encoders, tables
    began = time.perf_counter()
    await asyncio.gather(*(session(n, began + plan.session_s) for n in range(count)))
    seconds = time.perf_counter() - began
    await threads.close()
    frames = [len(each) for each in times]
    every = np.concatenate([np.array(each) for each in times])
    return {
        "sessions": count,
        "side_px": plan.session_px,
        "frames_per_s": round(sum(frames) / seconds, 1),
        "slowest_session_frames_per_s": round(min(frames) / seconds, 1),
        "median_ms": round(float(np.median(every)), 2),
        "p95_ms": round(float(np.percentile(every, 95)), 2),
    }


def upload(card: Card, subject: Subject, plan: CudaPlan) -> dict[str, Any]:
    """Measure a volume's way to the card, with texture, bricks and statistics, alone and beside a session."""

    def once(n: int) -> None:
        card.texture.release(card.texture.upload(subject.volume))

    once(0)
    alone_ms = median_ms(once, min(plan.repeats, 3))
    resident = card.texture.upload(subject.volume)
    view = view_at(subject, work_of("thin_mpr"), 0, plan.sides_px[0])
    frames, ended = 0, threading.Event()

    def session() -> None:
        nonlocal frames
        while not ended.is_set() or not frames:
            card.exact.render(view, {subject.volume.id: resident})
            frames += 1

    thread = threading.Thread(target=session)
    thread.start()
    began = time.perf_counter()
    once(0)
    seconds = time.perf_counter() - began
    ended.set()
    thread.join()
    card.texture.release(resident)
    return {
        "volume": subject.name,
        "bytes": subject.volume.nbytes,
        "ms": round(alone_ms, 2),
        "gb_per_s": round(subject.volume.nbytes / (alone_ms / 1e3) / 1e9, 2),
        "beside_frames_ms": round(seconds * 1e3, 2),
        "frames_meanwhile": frames,
    }


def registers(architecture: str) -> list[dict[str, Any]]:
    """Compile every kernel for an architecture and return what a thread of it takes, as ptxas reports it.

    Raises
    ------
    LookupError
        If there is no NVRTC, or its ptxas does not report.
    """
    from tests.backends.cuda.nvrtc import Nvrtc, library_path

    path = library_path()
    if path is None:
        raise LookupError("no NVRTC among the installed wheels: pip install nvidia-cuda-nvrtc")
    compiler, result = Nvrtc(path), []
    for module in KERNELS:
        for texture in (False, True) if module in ("values", "color") else (False,):
            compiled = compiler.compile(source(module), f"{module}.cu", options("int16", texture=texture), architecture)
            if compiled.usage is None:
                raise LookupError("ptxas does not report what kernels take")
            for name, usage in compiled.usage.items():
                result.append(
                    {
                        "kernel": name,
                        "sampling": "texture" if texture else "exact",
                        "architecture": architecture,
                        "registers": usage.registers,
                        "stack_bytes": usage.stack_bytes,
                        "spill_bytes": usage.spill_store_bytes + usage.spill_load_bytes,
                    }
                )
    return result


def _has_texture(resident: CudaVolume) -> bool:
    with resident.in_use() as held:
        return held.texture is not None

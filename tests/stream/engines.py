"""Engines for tests: the real one over volumes in memory, and one whose frames are finished by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from render.backends.cpu.renderer import CpuRenderer
from render.catalog import Catalog
from render.dicom.ingest import Ingest
from render.engine import Engine
from render.errors import RenderCancelledError, VolumeNotFoundError
from render.frame import FINAL, Frame, PictureRequest, Quality
from render.geometry import VolumeGeometry
from render.residency import VolumeCache
from render.transfer import Window
from render.v1 import view_pb2
from render.view import View
from render.volume import Volume, VolumeInfo


def gradient_volume(volume_id: str = "vol") -> Volume:
    """Integers that differ in all directions, 24 x 32 x 40 voxels of 2 mm, its first voxel at the origin."""
    k, j, i = np.mgrid[:24, :32, :40]
    codes = (20 * i - 15 * j + 30 * k - 300).astype(np.int16)
    geometry = VolumeGeometry((24, 32, 40), np.diag([2.0, 2.0, 2.0, 1.0]))
    return Volume(volume_id, geometry, codes, info=VolumeInfo(modality="CT", units="HU"))


def view_message(
    volume_id: str = "vol", *, z_mm: float = 20.0, color: bool = False, size_px: int = 48
) -> view_pb2.View:
    """Return an axial plane, or the whole volume in colour, of `gradient_volume`."""
    message = view_pb2.View(
        camera=view_pb2.Camera(
            position=view_pb2.Vector3(x=39, y=31, z=z_mm - 300),
            look_at=view_pb2.Vector3(x=39, y=31, z=z_mm),
            up=view_pb2.Vector3(y=-1),
            parallel_scale_mm=40,
        ),
        viewport=view_pb2.Viewport(width_px=size_px, height_px=size_px),
        rendering_method=view_pb2.RENDERING_METHOD_MAXIMUM_IP,
        layers=[view_pb2.Layer(volume_id=volume_id)],
    )
    if color:
        message.rendering_method = view_pb2.RENDERING_METHOD_VOLUME_RENDERED
    else:
        message.slab_mm = 0
    return message


@contextlib.asynccontextmanager
async def real_engine(
    *volumes: Volume, budget_bytes: int = 64 << 20, roots: tuple[Path, ...] = ()
) -> AsyncIterator[Engine]:
    with contextlib.ExitStack() as stack:
        renderer = stack.enter_context(contextlib.closing(CpuRenderer(2)))
        catalog = stack.enter_context(Catalog(roots, stack.enter_context(Ingest()), rescan_seconds=3600))
        for volume in volumes or ((gradient_volume(),) if not roots else ()):
            catalog.add(volume)
        cache = VolumeCache(renderer, budget_bytes)
        engine = Engine(renderer, cache, catalog)
        try:
            yield engine
        finally:
            await engine.close()
            await cache.close()


@dataclass
class FakeLease:
    """Counts itself in its engine."""

    engine: FakeEngine
    volume_id: str
    holder: str

    def __post_init__(self) -> None:
        self.engine.leases.append(self)
        self.resident = self
        self.volume = self.engine.volumes[self.volume_id]

    def watch(self, watcher: Any) -> None:
        self.watcher = watcher

    def release(self) -> None:
        if self in self.engine.leases:
            self.engine.leases.remove(self)


@dataclass(eq=False)
class FakeRender:
    """A frame that the test ends: by `finish`, `fail`, or by its cancellation."""

    view: View
    view_revision: int
    quality: Quality
    cancelled: Callable[[], bool]
    done: asyncio.Future[Frame]
    picture: PictureRequest | None = None

    def finish(self, *, missing_slices: int = 0) -> None:
        height, width = self.view.viewport.height_px, self.view.viewport.width_px
        pixels = np.full((height, width), float(self.view_revision), np.float32)
        color = np.full((height, width, 4), 200, np.uint8)
        self.done.set_result(
            Frame(
                self.view,
                self.view_revision,
                1,
                self.view.plane,
                Window(40, 400),
                values=None if self.view.is_color else pixels,
                color=color if self.view.is_color else None,
                units="HU",
                quality=self.quality,
                missing_slices=missing_slices,
                timings_ms={"render": 1.0},
            )
        )

    def fail(self, error: Exception) -> None:
        self.done.set_exception(error)


@dataclass
class FakeEngine:
    """Opens volumes once `gate` lets it, and hands each frame to the test."""

    volumes: dict[str, Volume] = field(default_factory=lambda: {"vol": gradient_volume()})
    leases: list[FakeLease] = field(default_factory=list)
    open_errors: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.renders: asyncio.Queue[FakeRender] = asyncio.Queue()
        self.started = 0
        self.is_scanning = False

    async def open(
        self, volume_id: str, *, holder: str, progress: Callable[[str, int, int], None], in_part: bool
    ) -> FakeLease:
        progress("decoding", 3, 24)
        await self.gate.wait()
        if self.open_errors:
            raise self.open_errors.pop()
        if volume_id not in self.volumes:
            raise VolumeNotFoundError(f"no volume {volume_id!r}")
        return FakeLease(self, volume_id, holder)

    async def render(
        self,
        view: View,
        leases: Mapping[str, FakeLease],
        *,
        quality: Quality = FINAL,
        view_revision: int = 0,
        cancelled: Callable[[], bool],
        picture: PictureRequest | None = None,
        afterwards: Callable[[Frame], None],
    ) -> Frame:
        self.started += 1
        done = asyncio.get_running_loop().create_future()
        render = FakeRender(view, view_revision, quality, cancelled, done, picture)
        self.renders.put_nowait(render)
        frame = await render.done
        if cancelled():
            raise RenderCancelledError("superseded")
        afterwards(frame)
        return frame

    def summaries(self) -> list[Any]:
        return []

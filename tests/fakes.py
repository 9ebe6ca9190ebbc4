"""Stand-ins for the rooms on either side of residency, engine and services: they count, and wait when told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from render.backends.base import ResidentVolume, Statistics
from render.descriptions import Phase
from render.errors import AmbiguousSeriesError, PathError, RenderCancelledError, VolumeNotFoundError
from render.frame import FINAL, Frame, Quality
from render.geometry import VolumeGeometry
from render.transfer import Window
from render.view import Camera, Layer, RenderingMethod, View, Viewport
from render.volume import Volume, VolumeInfo

PATIENCE_S = 20.0
"""How long a fake waits for the other side before it fails the test instead of hanging."""


class FakeClock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_volume(volume_id: str = "v", shape: tuple[int, int, int] = (4, 5, 6), **info: object) -> Volume:
    """Return a small int16 CT whose codes count up."""
    codes = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    geometry = VolumeGeometry.from_axes(shape, (-10, -20, 30), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 2))
    return Volume(volume_id, geometry, codes, info=VolumeInfo(**{"modality": "CT", "units": "HU", **info}))  # type: ignore[arg-type]


def make_view(volume_id: str = "v", *, width: int = 8, height: int = 8, **changes: object) -> View:
    """Return a thin axial view."""
    camera = Camera((0, 0, -100), (0, 0, 0), (0, -1, 0), parallel_scale_mm=20)
    parts = {"rendering_method": RenderingMethod.AVERAGE_IP, "slab_mm": 0.0, **changes}
    return View(camera, Viewport(width, height), (Layer(volume_id),), **parts)  # type: ignore[arg-type]


@dataclass(eq=False)
class FakeResident:
    volume: Volume
    nbytes: int
    statistics: Statistics = field(default_factory=lambda: Statistics(-1000.0, 1000.0, -100.0, 300.0))


class FakeRenderer:
    """Counts bytes; draws the same value everywhere; with `gate` closed, draws until it is told to give up.

    Attributes
    ----------
    overhead_bytes, hidden_bytes
        Added to each volume's voxels; the hidden ones are not in the estimate.
    resident_bytes, peak_bytes
        What is uploaded now, and the most that ever was.
    gate
        `render` waits for it.
    rendering, saw_cancelled
        Set when a `render` waits at the gate, and when one was told to give up.
    """

    device = "fake:0"
    description = "a fake"

    def __init__(self, overhead_bytes: int = 0) -> None:
        self.overhead_bytes = overhead_bytes
        self.resident_bytes = self.peak_bytes = 0
        self.residents: set[FakeResident] = set()
        self.uploads = self.renders = 0
        self.hidden_bytes = 0
        self.upload_error: Exception | None = None
        self.render_error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.rendering = threading.Event()
        self.saw_cancelled = threading.Event()
        self._lock = threading.Lock()

    def estimate_bytes(self, volume_nbytes: int, dtype_bytes: int) -> int:
        return volume_nbytes + self.overhead_bytes

    def upload(self, volume: Volume) -> FakeResident:
        if self.upload_error is not None:
            raise self.upload_error
        resident = FakeResident(volume, volume.nbytes + self.overhead_bytes + self.hidden_bytes)
        with self._lock:
            self.uploads += 1
            self.residents.add(resident)
            self.resident_bytes += resident.nbytes
            self.peak_bytes = max(self.peak_bytes, self.resident_bytes)
        return resident

    def render(
        self,
        view: View,
        volumes: Mapping[str, ResidentVolume],
        *,
        quality: Quality = FINAL,
        view_revision: int = 0,
        cancelled: Callable[[], bool] | None = None,
    ) -> Frame:
        if self.render_error is not None:
            raise self.render_error
        layer = view.layers[0]
        if layer.volume_id not in volumes:
            raise VolumeNotFoundError(f"no volume {layer.volume_id}")
        assert volumes[layer.volume_id] in self.residents, "rendering a volume that has been released"
        self.rendering.set()
        for _ in range(int(PATIENCE_S / 0.005)):
            if cancelled is not None and cancelled():
                self.saw_cancelled.set()
                raise RenderCancelledError("given up between tiles")
            if self.gate.wait(0.005):
                break
        else:
            raise AssertionError("neither let through nor cancelled")
        assert volumes[layer.volume_id] in self.residents, "released while it was being drawn"
        self.renders += 1
        shape = (view.viewport.height_px, view.viewport.width_px)
        color = np.full((*shape, 4), 77, np.uint8) if view.is_color else None
        return Frame(
            view,
            view_revision,
            volumes[layer.volume_id].volume.revision,
            view.plane,
            Window(40, 400),
            values=None if view.is_color else np.full(shape, 42.5, np.float32),
            color=color,
            units="HU",
            slab_mm=view.slab_mm,
            quality=quality,
            timings_ms={"render": 1.5},
        )

    def release(self, resident: FakeResident) -> None:
        with self._lock:
            self.residents.remove(resident)  # KeyError if released twice
            self.resident_bytes -= resident.nbytes


@dataclass(frozen=True)
class FakeEntry:
    volume: Volume
    path: str = ""
    phases: tuple[Phase, ...] = ()
    is_listed: bool = True

    @property
    def volume_id(self) -> str:
        return self.volume.id

    @property
    def info(self) -> VolumeInfo:
        return self.volume.info

    @property
    def geometry(self) -> VolumeGeometry:
        return self.volume.geometry

    @property
    def nbytes(self) -> int:
        return self.volume.nbytes

    @property
    def dtype_bytes(self) -> int:
        return self.volume.codes.dtype.itemsize


class FakeCatalog:
    """Volumes in memory, "below" paths. With `gate` closed, loads report one slice and wait."""

    def __init__(self, *volumes: Volume) -> None:
        self._entries = {volume.id: FakeEntry(volume, f"series/{volume.id}") for volume in volumes}
        self.ingest = None
        self.is_scanning = False
        self.gate = threading.Event()
        self.gate.set()
        self.loading = threading.Event()
        self.saw_cancelled = threading.Event()
        self.load_error: Exception | None = None

    def entries(self) -> list[FakeEntry]:
        return list(self._entries.values())

    def entry(self, volume_id: str) -> FakeEntry:
        if volume_id not in self._entries:
            raise VolumeNotFoundError(f"no volume {volume_id!r}")
        return self._entries[volume_id]

    known = entry

    def take_changed(self, volume_id: str) -> bool:
        return False

    def add(self, volume: Volume) -> FakeEntry:
        self._entries[volume.id] = FakeEntry(volume)
        return self._entries[volume.id]

    def remove(self, volume_id: str) -> None:
        del self._entries[volume_id]

    def resolve(
        self, path_or_id: str, *, series: str | None = None, volume_index: int | None = None, largest: bool = False
    ) -> str:
        for entry in self._entries.values():
            if path_or_id in (entry.volume_id, entry.path):
                return entry.volume_id
        if path_or_id == "series":
            raise AmbiguousSeriesError(
                f"{len(self._entries)} series below the path", candidates=[e.path for e in self._entries.values()]
            )
        raise PathError(f"neither an id nor a path below the roots: {path_or_id}")

    def loader(self, entry: FakeEntry) -> Callable[[Callable[[int, int], None], Callable[[], bool]], Volume]:
        def load(progress: Callable[[int, int], None], cancelled: Callable[[], bool]) -> Volume:
            progress(1, 2)
            self.loading.set()
            for _ in range(int(PATIENCE_S / 0.005)):
                if self.gate.wait(0.005):
                    break
                if cancelled():
                    self.saw_cancelled.set()
                    raise RenderCancelledError("load given up")
            if self.load_error is not None:
                raise self.load_error
            progress(2, 2)
            return entry.volume

        return load

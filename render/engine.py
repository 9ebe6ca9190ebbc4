"""The one door to the house for gRPC, the websocket and the command line: catalog, cache and renderer together."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from render.backends.base import Renderer, ResidentVolume, default_transfer_function, default_window
from render.backends.picture_renderer import makes_pictures
from render.blocking import run_blocking
from render.descriptions import EngineStatus, VolumeDescription, VolumeSummary
from render.dicom.plan import VolumePlan
from render.dicom.series import select
from render.errors import VolumeNotFoundError
from render.frame import FINAL, Frame, PictureRequest, Quality
from render.frame_threads import FrameThreads
from render.growth import slices_of
from render.initial_views import initial_views
from render.lease import Lease, Progress, Reservation, Size
from render.residency import VolumeCache
from render.transfer import preset_names
from render.view import View
from render.volume import Volume, VoxelType

if TYPE_CHECKING:
    from render.backends.choice import Choice
    from render.catalog import Catalog
    from render.catalog_entry import CatalogEntry

__all__ = ["Engine", "EngineStatus", "VolumeDescription", "VolumeSummary"]

_VOXEL_TYPES = {1: VoxelType.RGB8, 2: VoxelType.INT16, 4: VoxelType.FLOAT32}

INGEST_THREADS = 4
"""Paths that are scanned and uploads that are decoded at a time; the work itself is done by the worker processes."""


class Engine:
    """Opens volumes, renders Views of them and says what there is.

    Use it on one event loop; scanning, loading and rendering run in threads.

    Parameters
    ----------
    renderer
        Draws.
    cache
        Keeps volumes resident on that renderer, and on others where there are several.
    catalog
        Knows what there is.
    clock
        Seconds; for the uptime.

    Attributes
    ----------
    first_volume_id
        The volume that a page opens unasked; empty for none.
    choice
        Why this renderer, where it was chosen.
    """

    def __init__(
        self,
        renderer: Renderer,
        cache: VolumeCache,
        catalog: Catalog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.renderer = renderer
        self.cache = cache
        self.catalog = catalog
        self.first_volume_id = ""
        self.choice: Choice | None = None
        self._clock = clock
        self._started_at = clock()
        self._frames = FrameThreads(renderer, cache)
        self._ingest_pool = ThreadPoolExecutor(INGEST_THREADS, "voxelcast-ingest")
        self._uploads: set[str] = set()
        cache.on_evicted = self._forget_upload
        catalog.is_held = cache.holds

    async def open(
        self, volume_id: str, *, holder: str, progress: Progress | None = None, in_part: bool = False
    ) -> Lease:
        """Make a volume resident and pin it.

        Parameters
        ----------
        volume_id
            From `summaries` or `resolve`.
        holder
            Who pins it, for the status; no token, no name of a person.
        progress
            Told (stage, done, total) on the event loop.
        in_part
            Return as soon as something of it can be drawn; see `Lease.watch`.

        Raises
        ------
        VolumeNotFoundError
            If the catalog has none of this id; ``details["scanning"]`` says that it may still find it.
        BudgetExceededError
            If it can't fit beside what is pinned.
        SourceError
            If it can't be read.
        """
        entry = self.catalog.entry(volume_id)
        if self.catalog.take_changed(volume_id):
            await self.cache.discard(volume_id)
        size = Size(entry.nbytes, entry.dtype_bytes)
        return await self.cache.lease(
            volume_id, self.catalog.loader(entry), size, holder=holder, progress=progress, in_part=in_part
        )

    def open_resident(self, volume_id: str, *, holder: str) -> Lease:
        """Pin a volume that is resident.

        Raises
        ------
        VolumeNotFoundError
            If there is none of this id, or it is not resident; the message says which.
        """
        lease = self.cache.lease_resident(volume_id, holder=holder)
        if lease is None:
            self.catalog.entry(volume_id)
            raise VolumeNotFoundError(f"volume {volume_id} is not resident: open it first", volume_id=volume_id)
        return lease

    async def resolve(
        self,
        path_or_id: str,
        *,
        series: str | None = None,
        volume_index: int | None = None,
        largest: bool = False,
    ) -> str:
        """Return the id of the volume at a path below the roots, or the id itself where it is one.

        Parameters
        ----------
        path_or_id
            A volume id, or a file or folder relative to a root or absolute.
        series
            Where the path has several: a Series Instance UID, or a Series Number that one of them has.
        volume_index
            Which volume of the series, from 0.
        largest
            Take the largest of several candidates, where they would be an error.

        Raises
        ------
        PathError
            No such path below the roots.
        AmbiguousSeriesError, NoVolumeError, NotAVolumeError
            If no one volume is plainly meant.
        """
        resolve = functools.partial(
            self.catalog.resolve, path_or_id, series=series, volume_index=volume_index, largest=largest
        )
        # A pool of its own: scans that take minutes must not hold up the encoding of frames.
        return await asyncio.get_running_loop().run_in_executor(self._ingest_pool, resolve)

    async def reserve(self, what: str, voxel_bytes: int, dtype_bytes: int) -> Reservation:
        """Keep the bytes free that voxels on their way will take when resident.

        Raises
        ------
        BudgetExceededError
            If they do not fit beside what is pinned.
        """
        return await self.cache.reserve(what, Size(voxel_bytes, dtype_bytes))

    async def add(self, volume: Volume) -> str:
        """Take a volume that is in memory into the catalog, and return its id.

        It can be opened until it is evicted: the catalog has no other copy to load it from again.
        """
        if not self._knows(volume.id):
            self.catalog.add(volume)
            self._uploads.add(volume.id)
        return volume.id

    async def admit(self, volume: Volume, *, holder: str) -> Lease:
        """Take a volume that is in memory into the catalog and pin it; if it can't be pinned it is not taken.

        Raises
        ------
        BudgetExceededError
            If it can't fit beside what is pinned.
        """
        await self.add(volume)
        try:
            return await self.open(volume.id, holder=holder)
        except BaseException:
            if not self.cache.holds(volume.id):
                self._forget_upload(volume.id)
            raise

    async def admit_folder(self, folder: Path, *, series: str | None, holder: str) -> Lease:
        """Load the DICOM instances of a private folder, outside the roots, and pin the volume.

        The folder is not needed any more when this returns.

        Parameters
        ----------
        folder
            Where the files are.
        series
            Where there are several: a Series Instance UID, or a Series Number that one of them has.
        holder
            For the status.

        Raises
        ------
        SourceError
            If they make no one volume.
        BudgetExceededError
            If it can't fit beside what is pinned; before any pixel is decoded.
        """
        give_up = threading.Event()
        ingest = self.catalog.ingest

        def choose() -> VolumePlan:
            return select(ingest.scan(folder, cancelled=give_up.is_set), series=series)

        plan = await run_blocking(self._ingest_pool, choose, give_up)
        if self._knows(plan.id):
            return await self.open(plan.id, holder=holder)
        dtype_bytes = np.dtype(plan.values.dtype).itemsize
        with await self.reserve("the upload", plan.estimated_bytes, dtype_bytes) as reservation:
            volume = await run_blocking(self._ingest_pool, lambda: ingest.load(plan, cancelled=give_up.is_set), give_up)
            reservation.release()  # the lease takes over in the same turn of the loop
            return await self.admit(volume, holder=holder)

    async def render(
        self,
        view: View,
        leases: Mapping[str, Lease],
        *,
        quality: Quality = FINAL,
        view_revision: int = 0,
        cancelled: Callable[[], bool] | None = None,
        picture: PictureRequest | None = None,
        afterwards: Callable[[Frame], None] | None = None,
    ) -> Frame:
        """Draw a View in a thread.

        The volumes stay pinned until the last tile has ended, whatever happens to `leases` meanwhile. Cancelling the
        task gives the frame up: at once where it has not begun, else between tiles.

        Parameters
        ----------
        view
            What to draw.
        leases
            By volume id; every layer's.
        quality, view_revision, cancelled
            As in `Renderer.render`.
        picture
            A JPEG that is to be made of the frame: a renderer that can makes it, and keeps the pixels if that is all.
        afterwards
            Given the frame in the thread that drew it, as part of its session's turn. What it raises is raised here.

        Returns
        -------
        Frame
            ``timings_ms["queue"]`` has the time that it waited for a thread.

        Raises
        ------
        VolumeNotFoundError
            If a layer's volume is not among `leases`.
        RenderCancelledError
            If `cancelled` said True.
        """

        def draw(renderer: Renderer, residents: dict[str, ResidentVolume], cancelled: Callable[[], bool]) -> Frame:
            if picture is not None and makes_pictures(renderer):
                draw_it = functools.partial(renderer.render_picture, view, residents, picture)
            else:
                draw_it = functools.partial(renderer.render, view, residents)
            frame = draw_it(quality=quality, view_revision=view_revision, cancelled=cancelled)
            if afterwards is not None:
                afterwards(frame)
            return frame

        held = [leases[layer.volume_id] for layer in view.layers if layer.volume_id in leases]
        key = held[0].holder if held else ""
        for lease in held:
            if not lease.is_whole:
                lease.want(*slices_of(view, lease.resident.volume.geometry))
        pins = [lease.share("render") for lease in held]
        try:
            return await self._frames.draw(draw, pins, key=key, is_final=quality.is_final, cancelled=cancelled)
        finally:
            for pin in pins:
                pin.release()

    @property
    def is_scanning(self) -> bool:
        """Whether the roots are still being scanned: there may be more than `summaries` says."""
        return self.catalog.is_scanning

    def summaries(self) -> list[VolumeSummary]:
        """Return all that can be opened, in the catalog's order."""
        return [self._summary(entry) for entry in self.catalog.entries() if entry.is_listed]

    def describe(self, lease: Lease) -> VolumeDescription:
        """Describe a resident volume."""
        volume, statistics = lease.resident.volume, lease.resident.statistics
        info = volume.info
        preset = default_transfer_function(info, statistics).name
        return VolumeDescription(
            summary=self._summary(self.catalog.known(lease.volume_id)),
            geometry=volume.geometry,
            voxel_type=volume.voxel_type,
            slope=volume.slope,
            intercept=volume.intercept,
            units=info.units,
            minimum_value=statistics.minimum,
            maximum_value=statistics.maximum,
            windows=info.voi,
            default_window=default_window(info, statistics),
            default_preset=preset if preset in preset_names() else "",
            inverted=info.inverted,
            lossy_source=info.lossy_source,
            is_placed=info.is_placed,
            pixel_scale=info.pixel_scale,
            warnings=info.warnings,
            revision=volume.revision,
            initial_views=initial_views(volume),
        )

    def status(self) -> EngineStatus:
        """Return what is resident and who pins it."""
        return EngineStatus(
            self.cache.status(),
            preset_names(),
            self._clock() - self._started_at,
        )

    async def close(self) -> None:
        """Wait for the frames in flight to end. Cache and catalog are closed by whoever made them."""
        self._ingest_pool.shutdown(wait=False, cancel_futures=True)  # a scan ends when the catalog closes
        await self._frames.close()

    def _knows(self, volume_id: str) -> bool:
        try:
            self.catalog.entry(volume_id)
        except VolumeNotFoundError:
            return False
        return True

    def _summary(self, entry: CatalogEntry) -> VolumeSummary:
        return VolumeSummary(
            volume_id=entry.volume_id,
            modality=entry.info.modality,
            description=entry.info.description,
            study_uid=entry.info.study_uid,
            series_uid=entry.info.series_uid,
            series_number=entry.info.series_number,
            volume_index=entry.info.volume_index,
            path=entry.path,
            shape=entry.geometry.shape,
            spacing_mm=entry.geometry.spacing_mm,
            bytes=self.cache.estimate_bytes(Size(entry.nbytes, entry.dtype_bytes)),
            residency=self.cache.state(entry.volume_id),
            opens_first=self.first_volume_id in (entry.volume_id, *(phase.volume_id for phase in entry.phases)),
            voxel_type=_VOXEL_TYPES[entry.dtype_bytes],
            phases=entry.phases,
            phase_ms=entry.info.phase_ms,
        )

    def _forget_upload(self, volume_id: str) -> None:
        if volume_id in self._uploads:
            self._uploads.discard(volume_id)
            self.catalog.remove(volume_id)

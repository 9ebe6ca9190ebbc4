"""What volumes there are: found below the served roots, or handed over in memory.

Thread-safe. Roots are scanned in the background; a path that is asked for is scanned at once. Nothing outside the
roots is ever read, and whether something exists there is not told.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

import numpy as np

from render.descriptions import Phase
from render.dicom.archive import split_path
from render.dicom.cine import phases_of
from render.dicom.ingest import Ingest
from render.dicom.instance import SYMBOLIC_LINK
from render.dicom.plan import VolumePlan
from render.dicom.series import select
from render.dicom.source import Scan
from render.errors import (
    AmbiguousSeriesError,
    DrainingError,
    PathError,
    RenderCancelledError,
    VolumeNotFoundError,
    VoxelcastError,
)
from render.geometry import VolumeGeometry
from render.growth import Growth, Span
from render.volume import Volume, VolumeInfo

logger = logging.getLogger(__name__)

Loader: TypeAlias = Callable[[Callable[[int, int], None], Callable[[], bool]], Volume]
"""``load(progress, cancelled)``: blocks, reports (slices done, slices), gives up once `cancelled` says so."""

Select: TypeAlias = Callable[[Scan], VolumePlan]


@dataclass(frozen=True, eq=False)
class CatalogEntry:
    """A volume that can be loaded.

    Attributes
    ----------
    path
        Below its root: the file or archive, or the folder that holds all its files; empty for a volume that came in
        memory.
    nbytes, dtype_bytes
        Of all voxels and of one sample of one, once loaded: 1 for a colour image.
    phases
        Of the volumes of its series on its grid, itself included, ids and what tells them apart; empty where it is
        alone.
    """

    volume_id: str
    info: VolumeInfo
    geometry: VolumeGeometry
    nbytes: int
    dtype_bytes: int
    path: str
    source: VolumePlan | Volume
    phases: tuple[Phase, ...] = ()

    @property
    def is_listed(self) -> bool:
        """Whether a list names it: of phases, it names the first."""
        return not self.phases or self.phases[0].volume_id == self.volume_id

    @property
    def is_stack(self) -> bool:
        """Whether it is a volume to look through: more than one slice, and no scout."""
        is_localizer = isinstance(self.source, VolumePlan) and self.source.is_localizer
        return self.geometry.shape[0] > 1 and not is_localizer

    @property
    def frames(self) -> frozenset[tuple[str, int]]:
        """SOP Instance UIDs and numbers, from 1, of the frames that it is made of; empty if it came in memory."""
        if not isinstance(self.source, VolumePlan):
            return frozenset()
        return frozenset((source.instance.sop_instance_uid, source.frame.number) for source in self.source.slices)


class Catalog:
    """Knows all volumes by their ids.

    Parameters
    ----------
    roots
        Folders or files that may be read; scanning them begins at once, in a thread.
    ingest
        Reads and loads; stays the caller's.
    """

    def __init__(self, roots: Sequence[Path], ingest: Ingest) -> None:
        self.ingest = ingest
        self._roots = tuple(Path(root).resolve() for root in roots)
        self._lock = threading.Lock()
        self._entries: dict[str, CatalogEntry] = {}
        self._scans: dict[Path, Future[Scan]] = {}
        self._closing = threading.Event()
        self._idle = threading.Event()
        self._progress = (0, 0)
        self._thread = threading.Thread(target=self._scan_roots, name="catalog-scan", daemon=True)
        self._thread.start()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the background scan up and wait for its end."""
        self._closing.set()
        self._thread.join()

    @property
    def roots(self) -> tuple[Path, ...]:
        """Folders and files that may be read, absolute, links followed."""
        return self._roots

    @property
    def is_scanning(self) -> bool:
        """Whether the roots are still being scanned."""
        return not self._idle.is_set()

    @property
    def progress(self) -> tuple[int, int]:
        """Files read and files found in the root that is being scanned."""
        return self._progress

    def wait_until_scanned(self, timeout_seconds: float | None = None) -> bool:
        """Block until all roots have been scanned once; return whether they have."""
        return self._idle.wait(timeout_seconds)

    def entries(self) -> tuple[CatalogEntry, ...]:
        """Return all that is known now, by path and place in its series; what came in memory is first."""
        with self._lock:
            entries = list(self._entries.values())
        return tuple(sorted(entries, key=lambda e: (e.path, e.info.series_uid, e.info.volume_index, e.volume_id)))

    def entry(self, volume_id: str) -> CatalogEntry:
        """Return the volume of this id.

        Raises
        ------
        VolumeNotFoundError
            If there is none, or its root has not been scanned yet: ``details["scanning"]`` is there while any root
            is being scanned.
        """
        is_scanning = self.is_scanning  # before the look: a scan that ends between the two has left its volumes
        with self._lock:
            found = self._entries.get(volume_id)
        if found is None and is_scanning:
            raise VolumeNotFoundError(
                f"no volume {volume_id[:80]!r} yet: the roots are still being scanned",
                volume_id=volume_id[:80],
                scanning="true",
            )
        if found is None:
            raise VolumeNotFoundError(f"no volume {volume_id[:80]!r}", volume_id=volume_id[:80])
        return found

    def resolve(
        self,
        path_or_id: str,
        *,
        series: str | None = None,
        volume_index: int | None = None,
        largest: bool = False,
    ) -> str:
        """Return the id of the volume at a path below the roots, or the id itself where it is one.

        Blocks while the path is scanned; callers that ask for one path at a time share one scan.

        Parameters
        ----------
        path_or_id
            A volume id, or a file or folder relative to a root or absolute.
        series, volume_index
            As in `render.dicom.series.select`.
        largest
            Where several series could be meant, take the volume with the most voxels.

        Raises
        ------
        PathError
            If it is neither an id nor a path below a root; what lies outside is as if it were not there.
        VolumeNotFoundError
            As in `entry`, if it is an id that is not known while the roots are being scanned.
        AmbiguousSeriesError, NotAVolumeError, NoVolumeError
            If no one volume is meant.
        """
        is_scanning = self.is_scanning
        with self._lock:
            if path_or_id in self._entries:
                return path_or_id
        try:
            path = self._below_roots(path_or_id)
        except PathError:
            if is_scanning and re.fullmatch("[0-9a-f]{32}", path_or_id):
                return self.entry(path_or_id).volume_id
            raise
        scan = self._scan(path)
        try:
            return select(scan, series=series, volume=volume_index).id
        except AmbiguousSeriesError:
            if not largest or series is not None or not scan.volumes:
                raise
        return max(scan.volumes, key=lambda plan: (not plan.is_localizer, np.prod(plan.shape), plan.id)).id

    def add(self, volume: Volume) -> CatalogEntry:
        """Take a volume that is in memory; it is its own source. One of the same id is replaced."""
        entry = CatalogEntry(
            volume_id=volume.id,
            info=volume.info,
            geometry=volume.geometry,
            nbytes=volume.nbytes,
            dtype_bytes=volume.codes.itemsize,
            path="",
            source=volume,
        )
        with self._lock:
            self._entries[volume.id] = entry
        return entry

    def remove(self, volume_id: str) -> None:
        """Forget a volume; nothing happens if it is not known."""
        with self._lock:
            self._entries.pop(volume_id, None)

    def loader(self, entry: CatalogEntry) -> Loader:
        """Return what loads an entry; it blocks, so call it in a thread."""
        source = entry.source
        if isinstance(source, Volume):
            return lambda progress, cancelled: source
        return SeriesLoader(self.ingest, source)

    def _below_roots(self, given: str) -> Path:
        for root in self._roots:
            try:
                # An absolute path replaces the root; symbolic links are followed before the check.
                path = (root / given).resolve(strict=True)
            except (OSError, ValueError, RuntimeError):  # not there, a null byte, a loop of links
                continue
            if path.is_relative_to(root):
                return path
        raise PathError(f"neither a volume's id nor a path below the served roots: {given[-200:]!r}")

    def _scan(self, path: Path) -> Scan:
        """Scan a path and note what is there; join a scan of it that is under way."""
        with self._lock:
            running = self._scans.get(path)
            mine: Future[Scan] = Future()
            if running is None:
                self._scans[path] = mine
        if running is not None:
            return running.result()
        try:
            try:
                scan = self.ingest.scan(path, self._note_progress, self._closing.is_set)
            except (
                PathError
            ) as error:  # gone since it was resolved; the scan names all of it, which clients must not see
                raise PathError(f"no such file or folder any more: {path.name!r}") from error
            self._note(scan)
            mine.set_result(scan)
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._scans[path]
        return scan

    def _note(self, scan: Scan) -> None:
        entries = [
            self._describe(plan, phases)
            for series in scan.series
            for plan, phases in zip(series.volumes, phases_of(series.volumes), strict=True)
        ]
        with self._lock:
            self._entries.update((entry.volume_id, entry) for entry in entries)

    def _note_progress(self, done: int, total: int) -> None:
        self._progress = done, total

    def _describe(self, plan: VolumePlan, phases: tuple[Phase, ...]) -> CatalogEntry:
        files = {str(_on_disk(plan.root, path)) for path in {source.instance.path for source in plan.slices}}
        place = Path(os.path.commonpath(files))
        root = next((root for root in self._roots if place.is_relative_to(root)), place)
        return CatalogEntry(
            volume_id=plan.id,
            info=plan.info,
            geometry=plan.geometry,
            nbytes=plan.estimated_bytes,
            dtype_bytes=np.dtype(plan.values.dtype).itemsize,
            path=place.relative_to(root).as_posix(),
            source=plan,
            phases=phases,
        )

    def _scan_roots(self) -> None:
        for root in self._roots:
            if self._closing.is_set():
                break
            try:
                _log(root, self._scan(root))
            except (DrainingError, RenderCancelledError):
                break  # we are closing, or the ingest was closed before us
            except VoxelcastError as error:
                logger.warning("%s: can't be scanned: %s", root, error.message)
            except Exception:
                logger.exception("%s: can't be scanned", root)
        self._idle.set()


@dataclass(frozen=True)
class SeriesLoader:
    """Loads a volume from its files; implements `render.growth.GrowingLoader`."""

    ingest: Ingest
    plan: VolumePlan

    def __call__(self, progress: Callable[[int, int], None], cancelled: Callable[[], bool]) -> Volume:
        """Load it whole."""
        return self.ingest.load(self.plan, progress, cancelled)

    def grow(
        self, progress: Callable[[int, int], None], cancelled: Callable[[], bool], growth: Growth
    ) -> tuple[Volume, Sequence[Span]]:
        """Load it for who watches; see `render.growth.GrowingLoader.grow`."""
        return self.ingest.grow(self.plan, progress, cancelled, growth)


def _log(root: Path, scan: Scan) -> None:
    """Say what a root holds, in figures."""
    counts = len(scan.volumes), scan.files, len(scan.skipped)
    logger.info("%s: volumes: %d, files: %d, skipped: %d", root, *counts)
    if links := sum(file.reason == SYMBOLIC_LINK for file in scan.skipped):
        logger.warning("%s: %d symbolic link%s skipped: links are not followed", root, links, "s" * (links > 1))


def _on_disk(root: Path, relative: str) -> Path:
    """Return a scanned file's path, or that of the archive that it is in."""
    split = split_path(root, relative)
    return root / (relative if split is None else split[0])

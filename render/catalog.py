"""What volumes there are: found below the served roots, or handed over in memory.

Thread-safe. Roots are scanned in the background; a path that is asked for is scanned at once. Nothing outside the
roots is ever read, and whether something exists there is not told.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

import numpy as np

from render.catalog_entry import CatalogEntry, SeriesLoader, entry_of
from render.dicom.changes import KnownFolder, RootWatch, is_stale
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
from render.volume import Volume

logger = logging.getLogger(__name__)

Loader: TypeAlias = Callable[[Callable[[int, int], None], Callable[[], bool]], Volume]
"""``load(progress, cancelled)``: blocks, reports (slices done, slices), gives up once `cancelled` says so."""


class Catalog:
    """Knows all volumes by their ids.

    Parameters
    ----------
    roots
        Folders or files that may be read; scanning them begins at once, in a thread.
    ingest
        Reads and loads; stays the caller's.
    rescan_seconds
        From one look at the roots for changes to the next; None to scan them once.

    Attributes
    ----------
    is_held
        Says of a volume's id whether somebody may still ask what it is, although its files have gone.
    """

    def __init__(self, roots: Sequence[Path], ingest: Ingest, *, rescan_seconds: float | None = None) -> None:
        self.ingest = ingest
        self.is_held: Callable[[str], bool] = lambda volume_id: False
        self._roots = tuple(Path(root).resolve() for root in roots)
        self._lock = threading.Lock()
        self._entries: dict[str, CatalogEntry] = {}
        self._gone: dict[str, CatalogEntry] = {}
        self._changed: set[str] = set()
        self._scans: dict[Path, Future[Scan]] = {}
        self._watches = [RootWatch(root) for root in self._roots] if rescan_seconds is not None else []
        self._rescan_seconds = rescan_seconds or 0.0
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

    def known(self, volume_id: str) -> CatalogEntry:
        """Return the volume of this id, also where it is resident although its files have gone or make another one.

        Raises
        ------
        VolumeNotFoundError
            As in `entry`.
        """
        with self._lock:
            gone = self._gone.get(volume_id)
        return self.entry(volume_id) if gone is None else gone

    def take_changed(self, volume_id: str) -> bool:
        """Say, once, whether files of a volume have changed since it may have been loaded."""
        with self._lock:
            is_changed = volume_id in self._changed
            self._changed.discard(volume_id)
        return is_changed

    def look_again(self) -> None:
        """Look at the roots, and scan those anew that have changed and come to rest; blocks."""
        for watch in self._watches:
            if watch.is_due(self._closing.is_set):
                self._scan_root(watch.root, watch)
        with self._lock:
            gone = list(self._gone)
        kept = {volume_id for volume_id in gone if self.is_held(volume_id)}
        with self._lock:
            for volume_id in set(gone) - kept:
                self._gone.pop(volume_id, None)

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

    def _scan(self, path: Path, known: KnownFolder | None = None) -> Scan:
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
                scan = self.ingest.scan(path, self._note_progress, self._closing.is_set, known)
            except (
                PathError
            ) as error:  # gone since it was resolved; the scan names all of it, which clients must not see
                raise PathError(f"no such file or folder any more: {path.name!r}") from error
            self._note(scan, path)
            mine.set_result(scan)
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._scans[path]
        return scan

    def _note(self, scan: Scan, path: Path) -> None:
        with self._lock:
            known = dict(self._entries)
        entries = [
            old
            if (old := known.get(plan.id)) is not None and old.source is plan and old.phases == phases
            else entry_of(plan, phases, self._roots, path)
            for series in scan.series
            for plan, phases in zip(series.volumes, phases_of(series.volumes), strict=True)
        ]
        with self._lock:
            before = [self._entries.get(entry.volume_id, self._gone.get(entry.volume_id)) for entry in entries]
        changed = {
            entry.volume_id
            for entry, old in zip(entries, before, strict=True)
            if old is not None and _has_changed(old.source, entry.source)
        }
        with self._lock:
            for entry in entries:
                self._entries[entry.volume_id] = entry
                self._gone.pop(entry.volume_id, None)
            self._changed |= changed

    def _forget_missing(self, root: Path, scan: Scan) -> None:
        """Take volumes out that a scan of the whole root has not found again; another root may have copies of them."""
        found = {plan.id for plan in scan.volumes}
        with self._lock:
            for volume_id, entry in list(self._entries.items()):
                where = entry.scanned
                if where is None or not where.is_relative_to(root) or volume_id in found:
                    continue
                # A single file that was asked for makes a volume of its own, which no scan of its folder finds.
                if where == root or not where.is_file():
                    self._gone[volume_id] = self._entries.pop(volume_id)
                    for watch in self._watches:
                        if watch.root != root:
                            watch.expire()

    def _note_progress(self, done: int, total: int) -> None:
        self._progress = done, total

    def _scan_roots(self) -> None:
        watches = {watch.root: watch for watch in self._watches}
        for root in self._roots:
            if not self._scan_root(root, watches.get(root)):
                break
        self._idle.set()
        pause = self._rescan_seconds
        while self._watches and not self._closing.wait(pause):
            started = time.monotonic()
            self.look_again()
            # A look at many files takes its time: at most a twentieth of this thread's.
            pause = max(self._rescan_seconds, 20 * (time.monotonic() - started))

    def _scan_root(self, root: Path, watch: RootWatch | None) -> bool:
        """Scan a root and say what was found; return whether there is a next one to be scanned."""
        try:
            if watch is not None:
                watch.begin(self._closing.is_set)
            if self._closing.is_set():
                return False
            scan = self._scan(root, None if watch is None else watch.known)
            self._forget_missing(root, scan)
            _log(root, scan)
        except (DrainingError, RenderCancelledError):
            return False  # we are closing, or the ingest was closed before us
        except VoxelcastError as error:
            logger.warning("%s: can't be scanned: %s", root, error.message)
        except Exception:
            logger.exception("%s: can't be scanned", root)
        return True


def _has_changed(old: VolumePlan | Volume, new: VolumePlan | Volume) -> bool:
    """Say whether a volume is made of other files than one of its id was, and those are not what they were."""
    if not isinstance(old, VolumePlan) or not isinstance(new, VolumePlan):
        return False
    return _stamps(old) != _stamps(new) and is_stale(old)


def _stamps(plan: VolumePlan) -> set[tuple[str, int, int]]:
    instances = (source.instance for source in plan.slices)
    return {(each.sop_instance_uid, each.size_bytes, each.modified_ns) for each in instances}


def _log(root: Path, scan: Scan) -> None:
    """Say what a root holds, in figures."""
    counts = len(scan.volumes), scan.files, len(scan.skipped)
    logger.info("%s: volumes: %d, files: %d, skipped: %d", root, *counts)
    if links := sum(file.reason == SYMBOLIC_LINK for file in scan.skipped):
        logger.warning("%s: %d symbolic link%s skipped: links are not followed", root, links, "s" * (links > 1))

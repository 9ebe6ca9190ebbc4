"""A volume that can be loaded: what is known of it beforehand, and what loads it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from render.descriptions import Phase
from render.dicom.archive import split_path
from render.dicom.ingest import Ingest
from render.dicom.plan import VolumePlan
from render.geometry import VolumeGeometry
from render.growth import Growth, Span
from render.volume import Volume, VolumeInfo


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
    scanned
        The path whose scan has found it; None for a volume that came in memory.
    """

    volume_id: str
    info: VolumeInfo
    geometry: VolumeGeometry
    nbytes: int
    dtype_bytes: int
    path: str
    source: VolumePlan | Volume
    phases: tuple[Phase, ...] = ()
    scanned: Path | None = None

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


def entry_of(plan: VolumePlan, phases: tuple[Phase, ...], roots: Sequence[Path], scanned: Path) -> CatalogEntry:
    """Return the entry of a volume that a scan of `scanned` has found below one of the roots."""
    files = {str(_on_disk(plan.root, path)) for path in {source.instance.path for source in plan.slices}}
    place = Path(os.path.commonpath(files))
    root = next((root for root in roots if place.is_relative_to(root)), place)
    return CatalogEntry(
        volume_id=plan.id,
        info=plan.info,
        geometry=plan.geometry,
        nbytes=plan.estimated_bytes,
        dtype_bytes=np.dtype(plan.values.dtype).itemsize,
        path=place.relative_to(root).as_posix(),
        source=plan,
        phases=phases,
        scanned=scanned,
    )


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


def _on_disk(root: Path, relative: str) -> Path:
    """Return a scanned file's path, or that of the archive that it is in."""
    split = split_path(root, relative)
    return root / (relative if split is None else split[0])

"""What clients are told of volumes, and of what is resident: plain values, made by the cache and the engine."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from render.geometry import Vector, VolumeGeometry
from render.initial_views import NamedView
from render.transfer import Window
from render.volume import PixelScale, VoxelType


class Residency(enum.Enum):
    """Where a volume is; the wire's words."""

    SOURCE = "source"
    HOST = "host"
    LOADING = "loading"
    RESIDENT = "resident"


@dataclass(frozen=True)
class Phase:
    """One of several volumes of a series on one grid.

    Attributes
    ----------
    label
        What tells it from the others: ``Frame 3``, ``TriggerTime 40``.
    """

    volume_id: str
    label: str


@dataclass(frozen=True)
class VolumeSummary:
    """A volume in a list. Holds nothing that identifies a patient but UIDs.

    Attributes
    ----------
    path
        Below the served root; empty for an upload.
    shape
        ``(K, J, I)``.
    spacing_mm
        Of columns, rows and slices (along the normal).
    bytes
        What it takes when resident.
    opens_first
        A page opens this one unasked.
    voxel_type
        As it will be loaded: told of colour images, whose pictures are another kind.
    phases
        All volumes of the series on this grid, where there are several; a list names the first.
    phase_ms
        From one to the next where they are frames of a cine, 0 if unknown.
    """

    volume_id: str
    modality: str
    description: str
    study_uid: str
    series_uid: str
    series_number: int | None
    volume_index: int
    path: str
    shape: tuple[int, int, int]
    spacing_mm: Vector
    bytes: int
    residency: Residency
    opens_first: bool
    voxel_type: VoxelType
    phases: tuple[Phase, ...] = ()
    phase_ms: float = 0.0


@dataclass(frozen=True)
class VolumeDescription:
    """A volume that is resident.

    Attributes
    ----------
    minimum_value, maximum_value
        Over the valid voxels, modality units.
    windows
        The source's own, then its VOI LUTs.
    default_window
        What a layer without a window gets.
    is_placed, pixel_scale
        As `VolumeInfo` has them.
    default_preset
        The preset that a layer without a transfer function gets; empty if it is made for this volume.
    initial_views
        To begin with.
    """

    summary: VolumeSummary
    geometry: VolumeGeometry
    voxel_type: VoxelType
    slope: float
    intercept: float
    units: str
    minimum_value: float
    maximum_value: float
    windows: tuple[Window, ...]
    default_window: Window
    default_preset: str
    inverted: bool
    lossy_source: bool
    is_placed: bool
    pixel_scale: PixelScale
    warnings: tuple[str, ...]
    revision: int
    initial_views: tuple[NamedView, ...]


@dataclass(frozen=True)
class EntryStatus:
    """One volume that is resident or on its way; `device` is where."""

    volume_id: str
    bytes: int
    state: Residency
    pinned_by: tuple[str, ...]
    idle_seconds: float
    device: str


@dataclass(frozen=True)
class PlaceStatus:
    """One renderer's memory at one moment.

    Attributes
    ----------
    device, description
        ``cuda:0`` and the card's model; ``cpu`` and its threads.
    resident_bytes
        Everything that is taken: on a card what its driver and the pool hold for us, else what volumes take and what
        loads and uploads have reserved.
    pinned_bytes
        What can't be evicted: leased, being loaded, reserved.
    lost
        Why it draws nothing any more; empty while it works.
    """

    device: str
    description: str
    budget_bytes: int
    resident_bytes: int
    pinned_bytes: int
    lost: str


@dataclass(frozen=True)
class CacheStatus:
    """A cache at one moment.

    Attributes
    ----------
    places
        At least one.
    host_budget_bytes
        For the voxels of all volumes on cards and of those that have left them; None where there are no cards.
    host_bytes
        What they take.
    kept
        Those that have left the cards and wait to be wanted again: id and bytes, least recently used first.
    """

    places: tuple[PlaceStatus, ...]
    entries: tuple[EntryStatus, ...]
    host_budget_bytes: int | None = None
    host_bytes: int = 0
    kept: tuple[tuple[str, int], ...] = ()

    @property
    def device(self) -> str:
        """The first place that works, else the first."""
        return next((place for place in self.places if not place.lost), self.places[0]).device

    @property
    def budget_bytes(self) -> int:
        """Of the places that work, together."""
        return sum(place.budget_bytes for place in self.places if not place.lost)

    @property
    def resident_bytes(self) -> int:
        """Of the places that work, together."""
        return sum(place.resident_bytes for place in self.places if not place.lost)

    @property
    def pinned_bytes(self) -> int:
        """Of the places that work, together."""
        return sum(place.pinned_bytes for place in self.places if not place.lost)


@dataclass(frozen=True)
class EngineStatus:
    """The engine at one moment."""

    cache: CacheStatus
    presets: tuple[str, ...]
    uptime_seconds: float

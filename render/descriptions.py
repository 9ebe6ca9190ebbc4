"""What clients are told of volumes, and of what is resident: plain values, made by the cache and the engine."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from render.geometry import Vector, VolumeGeometry
from render.initial_views import NamedView
from render.transfer import Window
from render.volume import VoxelType


class Residency(enum.Enum):
    """Where a volume is; the wire's words."""

    SOURCE = "source"
    LOADING = "loading"
    RESIDENT = "resident"


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


@dataclass(frozen=True)
class VolumeDescription:
    """A volume that is resident.

    Attributes
    ----------
    minimum_value, maximum_value
        Over the valid voxels, modality units.
    windows
        The source's own.
    default_window
        What a layer without a window gets.
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
    warnings: tuple[str, ...]
    revision: int
    initial_views: tuple[NamedView, ...]


@dataclass(frozen=True)
class EntryStatus:
    """One volume that is resident or on its way."""

    volume_id: str
    bytes: int
    state: Residency
    pinned_by: tuple[str, ...]
    idle_seconds: float


@dataclass(frozen=True)
class CacheStatus:
    """A cache at one moment.

    Attributes
    ----------
    resident_bytes
        Everything that is taken, what loads and uploads have reserved included.
    pinned_bytes
        What can't be evicted: leased, being loaded, reserved.
    """

    device: str
    budget_bytes: int
    resident_bytes: int
    pinned_bytes: int
    entries: tuple[EntryStatus, ...]


@dataclass(frozen=True)
class EngineStatus:
    """The engine at one moment."""

    cache: CacheStatus
    device_description: str
    presets: tuple[str, ...]
    uptime_seconds: float

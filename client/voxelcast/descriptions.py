"""What the server says of volumes, loads and itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from voxelcast.appearance import Window
from voxelcast.geometry import Vector, VolumeGeometry
from voxelcast.views import View

Residency: TypeAlias = Literal["unspecified", "source", "host", "loading", "resident"]
"""Whether a volume is known, being read, or beside the processor that renders it."""


@dataclass(frozen=True)
class Phase:
    """One of several volumes of a series on one grid: a time, an echo, a frame of a cine; `label` says which."""

    volume_id: str
    label: str


@dataclass(frozen=True)
class VolumeSummary:
    """A volume in a list. Holds nothing that identifies a patient but UIDs.

    Attributes
    ----------
    volume_id
        Stable over restarts of the server; `Client.open` takes it.
    modality, description, study_uid, series_uid, series_number
        As DICOM has them; empty or None where unknown.
    volume_index
        Which volume of its series, from 0.
    path
        Below the served root; empty for an upload.
    shape
        ``(K, J, I)``: slices, rows, columns.
    spacing_mm
        Of columns, rows and slices.
    nbytes
        What it takes when resident.
    residency
        Where it is now.
    voxel_type
        ``int16``, ``float32``, or ``rgb8`` for a colour image, whose pictures are RGBA.
    phases
        All volumes of the series on this grid, in order, where there are several; a list names only the first.
    phase_ms
        From one phase to the next where they are frames of a cine, 0 if unknown.
    """

    volume_id: str
    modality: str = ""
    description: str = ""
    study_uid: str = ""
    series_uid: str = ""
    series_number: int | None = None
    volume_index: int = 0
    path: str = ""
    shape: tuple[int, int, int] = (0, 0, 0)
    spacing_mm: Vector = (0.0, 0.0, 0.0)
    nbytes: int = 0
    residency: Residency = "unspecified"
    voxel_type: str = ""
    phases: tuple[Phase, ...] = ()
    phase_ms: float = 0.0


@dataclass(frozen=True)
class VolumeDescription:
    """A volume that is resident.

    Attributes
    ----------
    id
        Its id.
    geometry
        Where its voxels lie.
    summary
        As in a list.
    voxel_type
        ``int16``, ``float32``, or ``rgb8`` for a colour image.
    slope, intercept
        ``value = slope * code + intercept``.
    units
        Of the values: ``HU``, ``SUVbw``, ``Bq/ml``; empty if arbitrary.
    values_range
        Minimum and maximum over the valid voxels, modality units.
    windows
        The source's own, then its VOI LUTs.
    default_window
        What a view without a window gets.
    default_preset
        The preset that a volume rendering without one gets; empty if it is made for this volume.
    inverted
        MONOCHROME1: shown inverted, values untouched.
    lossy_source
        Compressed lossily before it came to the server.
    warnings
        What a reader should know, a sentence each.
    revision
        Counts up as slices arrive.
    initial_views
        Views to begin with, by name: ``axial``, ``coronal``, ``sagittal``, ``acquisition``, ``3d``.
    """

    id: str
    geometry: VolumeGeometry
    summary: VolumeSummary = field(default_factory=lambda: VolumeSummary(""))
    voxel_type: str = ""
    slope: float = 1.0
    intercept: float = 0.0
    units: str = ""
    values_range: tuple[float, float] = (0.0, 0.0)
    windows: tuple[Window, ...] = ()
    default_window: Window | None = None
    default_preset: str = ""
    inverted: bool = False
    lossy_source: bool = False
    warnings: tuple[str, ...] = ()
    revision: int = 0
    initial_views: Mapping[str, View] = field(default_factory=dict)


@dataclass(frozen=True)
class LoadProgress:
    """How far a load is: `done` of `total` at a `stage` (``reading``, ``decoding``, ``uploading``)."""

    volume_id: str
    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class Sharing:
    """Whose hand is on the wheel of shared views.

    Attributes
    ----------
    share_id
        What lets others watch, and take the wheel: a secret.
    driving
        This client drives.
    driven
        Somebody does.
    participants
        Clients that take part, whoever drives included.
    """

    share_id: str
    driving: bool
    driven: bool
    participants: int


@dataclass(frozen=True)
class DeviceStatus:
    """A processor that renders: its name (``cpu``, ``cuda:0``) and its budget."""

    name: str
    description: str
    budget_bytes: int
    resident_bytes: int
    pinned_bytes: int


@dataclass(frozen=True)
class ResidentStatus:
    """A volume that is resident or on its way, and who pins it (leases and sessions by name)."""

    volume_id: str
    device: str
    residency: Residency
    nbytes: int
    pinned_by: tuple[str, ...]
    idle_seconds: float


@dataclass(frozen=True)
class ServerStatus:
    """What a server has and does.

    Attributes
    ----------
    server_version
        Of the server.
    devices
        Processors and their budgets.
    volumes
        What is resident.
    sessions
        Live streams.
    presets
        Names of volume-rendering presets, in menu order.
    uptime_seconds
        Since it started.
    """

    server_version: str
    devices: tuple[DeviceStatus, ...]
    volumes: tuple[ResidentStatus, ...]
    sessions: int
    presets: tuple[str, ...]
    uptime_seconds: float

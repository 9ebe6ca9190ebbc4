"""Volumes: their grids, what clients are told of them, and what is resident."""

from __future__ import annotations

import numpy as np

from render.descriptions import EngineStatus, Residency, VolumeDescription, VolumeSummary
from render.errors import InvalidArgumentError
from render.geometry import VolumeGeometry
from render.service.convert.views import view_to_proto, window_to_proto
from render.service.status import wire_text
from render.v1 import render_service_pb2, volume_pb2
from render.volume import PixelScale, VoxelType

_VOXEL_TYPES = {kind: getattr(volume_pb2, f"VOXEL_TYPE_{kind.name}") for kind in VoxelType}
_VOXEL_TYPE_OF = {number: kind for kind, number in _VOXEL_TYPES.items()}
_PIXEL_SCALES = {scale: getattr(volume_pb2, f"PIXEL_SCALE_{scale.name}") for scale in PixelScale}
_RESIDENCIES = {state: getattr(volume_pb2, f"RESIDENCY_{state.name}") for state in Residency}


def geometry_from_proto(message: volume_pb2.VolumeGeometry) -> VolumeGeometry:
    """Read a volume's grid.

    Raises
    ------
    InvalidArgumentError
        If there are not 16 numbers, or they make no grid.
    """
    if len(message.patient_from_voxel) != 16:
        raise InvalidArgumentError(
            f"patient_from_voxel: {len(message.patient_from_voxel)} numbers; 16 needed", field="patient_from_voxel"
        )
    affine = np.array(message.patient_from_voxel, np.float64).reshape(4, 4)
    return VolumeGeometry((message.slices, message.rows, message.columns), affine)


def geometry_to_proto(geometry: VolumeGeometry) -> volume_pb2.VolumeGeometry:
    """Write a volume's grid."""
    slices, rows, columns = geometry.shape
    return volume_pb2.VolumeGeometry(
        columns=columns, rows=rows, slices=slices, patient_from_voxel=geometry.patient_from_voxel.ravel().tolist()
    )


def voxel_type_from_proto(number: int) -> VoxelType:
    """Read a voxel type.

    Raises
    ------
    InvalidArgumentError
        If it is unspecified or unknown.
    """
    kind = _VOXEL_TYPE_OF.get(number)
    if kind is None:
        raise InvalidArgumentError(f"voxel_type {number}: one of 1 to {max(_VOXEL_TYPE_OF)} needed", field="voxel_type")
    return kind


def summary_to_proto(summary: VolumeSummary) -> volume_pb2.VolumeSummary:
    """Write a volume of a list."""
    slices, rows, columns = summary.shape
    return volume_pb2.VolumeSummary(
        volume_id=summary.volume_id,
        modality=wire_text(summary.modality),
        description=wire_text(summary.description),
        study_uid=wire_text(summary.study_uid),
        series_uid=wire_text(summary.series_uid),
        series_number=summary.series_number,
        volume_index=summary.volume_index,
        path=wire_text(summary.path),
        columns=columns,
        rows=rows,
        slices=slices,
        spacing_mm=summary.spacing_mm,
        bytes=summary.bytes,
        residency=_RESIDENCIES[summary.residency],
        opens_first=summary.opens_first,
        voxel_type=_VOXEL_TYPES[summary.voxel_type],
        phases=[volume_pb2.Phase(volume_id=phase.volume_id, label=wire_text(phase.label)) for phase in summary.phases],
        phase_ms=summary.phase_ms,
    )


def description_to_proto(description: VolumeDescription) -> volume_pb2.VolumeDescription:
    """Write a resident volume."""
    return volume_pb2.VolumeDescription(
        summary=summary_to_proto(description.summary),
        geometry=geometry_to_proto(description.geometry),
        voxel_type=_VOXEL_TYPES[description.voxel_type],
        slope=description.slope,
        intercept=description.intercept,
        units=wire_text(description.units),
        minimum_value=description.minimum_value,
        maximum_value=description.maximum_value,
        windows=[window_to_proto(window, with_table=True) for window in description.windows],
        default_window=window_to_proto(description.default_window, with_table=True),
        default_preset=description.default_preset,
        inverted=description.inverted,
        lossy_source=description.lossy_source,
        unplaced=not description.is_placed,
        pixel_scale=_PIXEL_SCALES[description.pixel_scale],
        warnings=[wire_text(warning) for warning in description.warnings],
        revision=description.revision,
        initial_views=[
            volume_pb2.NamedView(name=named.name, view=view_to_proto(named.view)) for named in description.initial_views
        ],
    )


def status_to_proto(
    status: EngineStatus, *, server_version: str, sessions: int
) -> render_service_pb2.GetStatusResponse:
    """Write what is resident, and who pins it."""
    cache = status.cache
    return render_service_pb2.GetStatusResponse(
        server_version=server_version,
        devices=[
            render_service_pb2.DeviceStatus(
                name=place.device,
                description=f"{place.description}; out of use: {place.lost}" if place.lost else place.description,
                budget_bytes=place.budget_bytes,
                resident_bytes=place.resident_bytes,
                pinned_bytes=place.pinned_bytes,
            )
            for place in cache.places
        ],
        volumes=[
            render_service_pb2.ResidentStatus(
                volume_id=entry.volume_id,
                device=entry.device,
                residency=_RESIDENCIES[entry.state],
                bytes=entry.bytes,
                pinned_by=entry.pinned_by,
                idle_seconds=entry.idle_seconds,
            )
            for entry in cache.entries
        ]
        + [
            render_service_pb2.ResidentStatus(
                volume_id=volume_id, device="host", residency=volume_pb2.RESIDENCY_HOST, bytes=count
            )
            for volume_id, count in cache.kept
        ],
        sessions=sessions,
        presets=status.presets,
        uptime_seconds=status.uptime_seconds,
    )

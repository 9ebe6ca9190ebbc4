"""A NIfTI file as a series: its volumes lie on the grid that the header states, sheared or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from render.dicom.frames import FrameHeader
from render.dicom.nifti import NiftiFile
from render.dicom.plan import VolumePlan, volume_id
from render.dicom.series import Series
from render.dicom.slices import SliceSource
from render.dicom.values import meaning_of
from render.errors import InvalidArgumentError
from render.geometry import VolumeGeometry
from render.volume import VolumeInfo


def build_nifti_series(root: Path, file: NiftiFile) -> Series:
    """Make a series of one file or pair; its volumes are numbered from 1 in ``info.extra["Volume"]``."""
    volumes: tuple[VolumePlan, ...] = ()
    warnings, reason = file.warnings, file.defect
    if file.image is not None:
        try:
            geometry = VolumeGeometry(file.shape, np.array(file.patient_from_voxel))
        except InvalidArgumentError as error:
            reason = error.message
        else:
            volumes = tuple(_plan(root, file, geometry, n) for n in range(file.volumes))
            warnings = tuple(dict.fromkeys(warning for plan in volumes for warning in plan.info.warnings))
    kind = "other" if not volumes else "volume" if file.shape[0] > 1 else "image"
    return Series(
        uid=file.image.series_uid if file.image is not None else "",
        kind=kind,
        modality="",
        description=file.image.description if file.image is not None else "",
        series_number=None,
        volumes=volumes,
        frames=file.shape[0] * file.volumes if volumes else 0,
        reason=reason,
        warnings=warnings,
        paths=tuple(sorted({file.path, file.data_path})),
    )


def _plan(root: Path, file: NiftiFile, geometry: VolumeGeometry, index: int) -> VolumePlan:
    image = file.image
    assert image is not None
    slices = [SliceSource(image, frame) for frame in _frames(file, geometry, index)]
    meaning = meaning_of(slices)
    return VolumePlan(
        id=volume_id(slices, ""),
        root=root,
        slices=tuple(slices),
        geometry=geometry,
        values=meaning.values,
        info=VolumeInfo(
            description=image.description,
            series_uid=image.series_uid,
            volume_index=index,
            windows=meaning.windows,
            warnings=(*file.warnings, *meaning.warnings),
            extra={"Volume": str(index + 1)} if file.volumes > 1 else {},
        ),
    )


def _frames(file: NiftiFile, geometry: VolumeGeometry, index: int) -> list[FrameHeader]:
    right, down, _, _ = geometry.patient_from_voxel[:3].T
    right_mm, down_mm = np.linalg.norm(right), np.linalg.norm(down)
    slices = file.shape[0]
    windows = ((*file.window, "LINEAR_EXACT", ""),) if file.window is not None else ()
    return [
        FrameHeader(
            number=index * slices + k + 1,
            position_mm=tuple(geometry.to_patient([0, 0, k]).tolist()),
            orientation=(*(right / right_mm).tolist(), *(down / down_mm).tolist()),
            spacing_mm=(float(down_mm), float(right_mm)),
            thickness_mm=geometry.spacing_mm[2],
            slope=file.slope,
            intercept=file.intercept,
            windows=windows,
            phase=(),
        )
        for k in range(slices)
    ]

"""Messages that bring a volume to the server: voxels with geometry, or DICOM instances, in chunks of 1 MiB."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from render.v1 import volume_pb2
from render.v1.render_service_pb2 import InstancesUpload, UploadHeader, UploadVolumeRequest, VoxelUpload
from voxelcast.convert import geometry_to_proto
from voxelcast.errors import InvalidArgumentError
from voxelcast.geometry import Vector, VolumeGeometry

UPLOAD_ACCEPTED = ("render-upload", "accepted")
"""Initial metadata of an upload whose header the server has accepted."""
CHUNK_BYTES = 1 << 20
"""The most that a message may carry."""
_EXACT_IN_FLOAT32 = 1 << 24

Paths: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@dataclass(frozen=True)
class Codes:
    """Voxels as they are stored: ``value = slope * code + intercept``; int16 or float32, little-endian."""

    array: npt.NDArray[Any]
    intercept_offset: float = 0.0


def codes_of(array: npt.ArrayLike) -> Codes:
    """Return an array's voxels as int16 where that is exact, else as float32.

    Parameters
    ----------
    array
        Shape (K, J, I). Booleans, integers and floats; unsigned 16-bit ones are stored minus 32768.

    Raises
    ------
    InvalidArgumentError
        If it is not 3D, empty, of another kind, or integers that neither type holds exactly.
    """
    voxels = np.asarray(array)
    if voxels.ndim != 3 or voxels.size == 0:
        raise InvalidArgumentError(f"array of shape {voxels.shape}: slices, rows and columns needed")
    if voxels.dtype.kind == "f":
        return Codes(np.ascontiguousarray(voxels, "<f4"))
    if voxels.dtype.kind not in "biu":
        raise InvalidArgumentError(f"array of dtype {voxels.dtype}: integers or floats needed")
    if voxels.dtype == np.uint16:
        return Codes(np.ascontiguousarray(voxels.astype(np.int32) - 32768, "<i2"), 32768.0)
    low, high = int(voxels.min()), int(voxels.max())
    if -32768 <= low and high <= 32767:
        return Codes(np.ascontiguousarray(voxels, "<i2"))
    if max(-low, high) > _EXACT_IN_FLOAT32:
        raise InvalidArgumentError(f"array of {voxels.dtype} from {low} to {high}: float32 does not hold these exactly")
    return Codes(np.ascontiguousarray(voxels, "<f4"))


def geometry_of(shape: tuple[int, ...], spacing_mm: Vector | None, affine: npt.ArrayLike | None) -> VolumeGeometry:
    """Return where an uploaded array lies: exactly one of `spacing_mm` and `affine` is given."""
    if (spacing_mm is None) == (affine is None):
        raise InvalidArgumentError("upload: exactly one of spacing_mm and affine is needed")
    slices, rows, columns = shape
    if affine is not None:
        return VolumeGeometry((slices, rows, columns), np.asarray(affine, np.float64))
    assert spacing_mm is not None
    if min(spacing_mm) <= 0:
        raise InvalidArgumentError(f"spacing_mm {spacing_mm}: over 0 needed")
    return VolumeGeometry.from_spacing((slices, rows, columns), spacing_mm)


def voxel_messages(
    array: npt.ArrayLike,
    *,
    spacing_mm: Vector | None,
    affine: npt.ArrayLike | None,
    slope: float,
    intercept: float,
    invalid_value: int | None,
    modality: str,
    units: str,
    description: str,
) -> Iterator[UploadVolumeRequest]:
    """Return the header, then the chunks, of an array. Arguments are checked before the first message is asked for.

    Raises
    ------
    InvalidArgumentError
        If the array or its geometry make no volume.
    """
    codes = codes_of(array)
    if codes.array.dtype.kind == "f" and (slope, intercept) != (1.0, 0.0):
        # float32 voxels are values: only integers travel with a rescale.
        codes = Codes((codes.array.astype(np.float64) * slope + intercept).astype("<f4"))
        slope, intercept = 1.0, 0.0
    offset = codes.intercept_offset
    is_int16 = codes.array.dtype.kind == "i"
    if invalid_value is not None and not (is_int16 and -32768 <= invalid_value - offset <= 32767):
        raise InvalidArgumentError(
            f"invalid_value {invalid_value}: for integer arrays; in floats NaN marks such voxels"
        )
    header = UploadHeader(
        voxels=VoxelUpload(
            geometry=geometry_to_proto(geometry_of(codes.array.shape, spacing_mm, affine)),
            voxel_type=volume_pb2.VOXEL_TYPE_INT16 if is_int16 else volume_pb2.VOXEL_TYPE_FLOAT32,
            slope=slope,
            intercept=intercept + slope * offset,
            invalid_code=None if invalid_value is None else int(invalid_value - offset),
            modality=modality,
            units=units,
            description=description,
        )
    )
    return _with_chunks(header, codes.array)


def _with_chunks(header: UploadHeader, array: npt.NDArray[Any]) -> Iterator[UploadVolumeRequest]:
    yield UploadVolumeRequest(header=header)
    data = array.reshape(-1).view(np.uint8)
    for start in range(0, data.size, CHUNK_BYTES):
        yield UploadVolumeRequest(chunk=data[start : start + CHUNK_BYTES].tobytes())


def instance_messages(paths: Paths, series: str) -> Iterator[UploadVolumeRequest]:
    """Return the header, then the files one after the other. Folders are read recursively.

    Raises
    ------
    InvalidArgumentError
        If there is no file.
    """
    files = list(_files(paths))
    if not files:
        raise InvalidArgumentError("upload_dicom: no file there")
    return _with_files(UploadHeader(instances=InstancesUpload(series=series)), files)


def _files(paths: Paths) -> Iterator[Path]:
    for entry in [paths] if isinstance(paths, str | os.PathLike) else paths:
        path = Path(entry)
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.is_file())
        elif path.is_file():
            yield path
        else:
            raise InvalidArgumentError(f"no file or folder {path}")


def _with_files(header: UploadHeader, files: list[Path]) -> Iterator[UploadVolumeRequest]:
    yield UploadVolumeRequest(header=header)
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield UploadVolumeRequest(chunk=chunk)
        yield UploadVolumeRequest(end_of_instance=True)

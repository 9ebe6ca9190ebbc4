"""What a client sends is what it was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from render.v1.render_service_pb2 import UploadVolumeRequest
from render.v1.volume_pb2 import VOXEL_TYPE_FLOAT32, VOXEL_TYPE_INT16
from tests.client.fake_service import FakeService
from voxelcast import AsyncClient, Client, InvalidArgumentError

RNG = np.random.default_rng(5)


def received_values(requests: list[UploadVolumeRequest]) -> np.ndarray:
    """Return the values as a server would understand them."""
    voxels = requests[0].header.voxels
    shape = voxels.geometry.slices, voxels.geometry.rows, voxels.geometry.columns
    dtype = {VOXEL_TYPE_INT16: "<i2", VOXEL_TYPE_FLOAT32: "<f4"}[voxels.voxel_type]
    assert all(len(request.chunk) <= 1 << 20 for request in requests[1:])
    codes = np.frombuffer(b"".join(request.chunk for request in requests[1:]), dtype).reshape(shape)
    if dtype == "<f4":
        assert (voxels.slope, voxels.intercept) == (1, 0), "the server takes float32 as values"
    values = codes.astype(np.float64) * voxels.slope + voxels.intercept
    if voxels.HasField("invalid_code"):
        values[codes == voxels.invalid_code] = np.nan
    return values


@pytest.mark.parametrize(
    ("dtype", "low", "high", "kind"),
    [
        ("int16", -32768, 32767, VOXEL_TYPE_INT16),
        (">i2", -32768, 32767, VOXEL_TYPE_INT16),
        ("uint16", 0, 65535, VOXEL_TYPE_INT16),
        ("uint8", 0, 255, VOXEL_TYPE_INT16),
        ("bool", 0, 1, VOXEL_TYPE_INT16),
        ("int64", -1024, 3071, VOXEL_TYPE_INT16),
        ("int32", -100_000, 100_000, VOXEL_TYPE_FLOAT32),
        ("float32", -5, 5, VOXEL_TYPE_FLOAT32),
        ("float64", -5, 5, VOXEL_TYPE_FLOAT32),
    ],
)
@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, -1024.0)])
def test_values_arrive(
    client: Client,
    service: FakeService,
    dtype: str,
    low: int,
    high: int,
    kind: int,
    slope: float,
    intercept: float,
) -> None:
    array = RNG.integers(low, high, (3, 4, 5), endpoint=True).astype(dtype)
    array.flat[:2] = low, high
    client.upload(array, spacing_mm=(0.5, 0.75, 2), slope=slope, intercept=intercept, modality="CT", units="HU")
    voxels = service.upload[0].header.voxels
    assert (voxels.voxel_type, voxels.modality, voxels.units) == (kind, "CT", "HU")
    np.testing.assert_array_equal(received_values(service.upload), array.astype(np.float64) * slope + intercept)
    np.testing.assert_array_equal(np.reshape(voxels.geometry.patient_from_voxel, (4, 4)), np.diag([0.5, 0.75, 2, 1]))


def test_large_arrays_come_in_chunks_and_strided_ones_in_order(client: Client, service: FakeService) -> None:
    array = RNG.integers(-1000, 1000, (40, 150, 200), dtype=np.int16)[::-1, ::2].transpose(0, 2, 1)
    client.upload(array, affine=np.diag([1, 1, 3, 1]))
    assert len(service.upload) == 3
    np.testing.assert_array_equal(received_values(service.upload), array)


@pytest.mark.parametrize(("dtype", "mark"), [("int16", -2000), ("uint16", 65535)])
def test_a_mark_for_no_value_follows_the_codes(client: Client, service: FakeService, dtype: str, mark: int) -> None:
    array = np.full((2, 3, 4), 7, dtype)
    array[1, 2, 3] = mark
    client.upload(array, spacing_mm=(1, 1, 1), invalid_value=mark)
    values = received_values(service.upload)
    assert np.isnan(values[1, 2, 3])
    assert np.nansum(values) == 7 * 23


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (np.zeros((3, 4), np.int16), {"spacing_mm": (1, 1, 1)}, "shape .3, 4.: slices, rows and columns"),
        (np.zeros((0, 3, 4), np.int16), {"spacing_mm": (1, 1, 1)}, "slices, rows and columns"),
        (np.zeros((2, 3, 4), complex), {"spacing_mm": (1, 1, 1)}, "dtype complex128"),
        (np.full((2, 3, 4), 1 << 30), {"spacing_mm": (1, 1, 1)}, "float32 does not hold"),
        (np.zeros((2, 3, 4)), {}, "exactly one of spacing_mm and affine"),
        (np.zeros((2, 3, 4)), {"spacing_mm": (1, 1, 1), "affine": np.eye(4)}, "exactly one of"),
        (np.zeros((2, 3, 4)), {"spacing_mm": (1, 0, 1)}, "over 0 needed"),
        (np.zeros((2, 3, 4)), {"affine": np.eye(3)}, "4 x 4"),
        (np.zeros((2, 3, 4)), {"spacing_mm": (1, 1, 1), "invalid_value": 3}, "for integer arrays"),
    ],
)
def test_what_makes_no_volume_is_refused_before_anything_is_sent(
    client: Client, service: FakeService, array: np.ndarray, options: dict, message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        client.upload(array, **options)
    assert service.upload == []


def _instances(requests: list[UploadVolumeRequest]) -> list[bytes]:
    """Return the files that came."""
    files = [b""]
    for request in requests[1:]:
        if request.end_of_instance:
            files.append(b"")
        files[-1] += request.chunk
    assert files.pop() == b""
    return files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deeper").mkdir()
    (tmp_path / "a.dcm").write_bytes(b"a" * ((1 << 20) + 5))
    (tmp_path / "deeper" / "b.dcm").write_bytes(b"b")
    return tmp_path


def test_files_arrive(client: Client, service: FakeService, folder: Path) -> None:
    contents = [b"a" * ((1 << 20) + 5), b"b"]
    client.upload_dicom(folder, series="3")
    assert service.upload[0].header.instances.series == "3"
    assert _instances(service.upload) == contents
    client.upload_dicom([folder / "deeper" / "b.dcm", str(folder / "a.dcm")])
    assert _instances(service.upload) == contents[::-1]
    assert max(len(request.chunk) for request in service.upload) == 1 << 20


async def test_the_asynchronous_client_sends_the_same(address: str, service: FakeService, folder: Path) -> None:
    async with AsyncClient(address) as client:
        await client.upload_dicom(folder)
        assert len(_instances(service.upload)) == 2
        array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
        volume = await client.upload(array, spacing_mm=(1, 1, 1))
        assert volume.shape == (2, 3, 4)
        np.testing.assert_array_equal(received_values(service.upload), array)


def test_files_that_are_not_there(client: Client, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="no file there"):
        client.upload_dicom(tmp_path)
    with pytest.raises(InvalidArgumentError, match="no file or folder"):
        client.upload_dicom(tmp_path / "absent")

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from render.errors import NotAVolumeError
from render.service.servicer import UPLOAD_ACCEPTED
from render.service.uploads import UploadReceiver
from render.v1 import render_service_pb2 as pb
from render.v1 import volume_pb2
from tests.service.calls import failure, open_volume, render_frame, render_request, upload
from tests.service.conftest import VOLUME_BYTES, Served

CODE = grpc.StatusCode
SHAPE = (4, 5, 6)
VOXELS = (np.arange(120, dtype="<i2") - 60).reshape(SHAPE)


def geometry(shape: tuple[int, int, int] = SHAPE) -> volume_pb2.VolumeGeometry:
    slices, rows, columns = shape
    affine = [0.5, 0, 0, -10, 0, 0.5, 0, -20, 0, 0, 2, 30, 0, 0, 0, 1]
    return volume_pb2.VolumeGeometry(columns=columns, rows=rows, slices=slices, patient_from_voxel=affine)


def header(**parts: Any) -> pb.UploadVolumeRequest:
    given = {"geometry": geometry(), "voxel_type": volume_pb2.VOXEL_TYPE_INT16, "modality": "CT", "units": "HU"}
    return pb.UploadVolumeRequest(header=pb.UploadHeader(voxels=pb.VoxelUpload(**{**given, **parts})))


def chunks(data: bytes, size: int = 100) -> list[pb.UploadVolumeRequest]:
    return [pb.UploadVolumeRequest(chunk=data[start : start + size]) for start in range(0, len(data), size)]


class TestVoxels:
    @pytest.mark.parametrize("size", [1, 7, 100, 240])
    async def test_voxels_arrive_as_they_were_sent(self, served: Served, size: int) -> None:
        messages = [header(slope=2.0, intercept=-1.0, invalid_code=-60), *chunks(VOXELS.tobytes(), size)]
        opened = (await upload(served.address, messages)).opened
        assert opened.lease_id
        assert opened.volume.summary.path == ""
        assert (opened.volume.slope, opened.volume.intercept, opened.volume.units) == (2, -1, "HU")
        (resident,) = served.renderer.residents
        np.testing.assert_array_equal(resident.volume.codes, VOXELS)
        assert resident.volume.codes.dtype == np.int16
        assert resident.volume.invalid_code == -60
        assert served.engine.status().cache.entries[0].pinned_by == ("grpc lease 1",)
        request = render_request()
        request.view.layers[0].volume_id = opened.volume.summary.volume_id
        request.lease_id = opened.lease_id
        await render_frame(served.stub, request)

    async def test_float32(self, served: Served) -> None:
        values = np.linspace(-1, 1, 60, dtype="<f4").reshape(3, 4, 5)
        values[0, 0, 0] = np.nan
        messages = [
            header(geometry=geometry((3, 4, 5)), voxel_type=volume_pb2.VOXEL_TYPE_FLOAT32),
            *chunks(values.tobytes()),
        ]
        await upload(served.address, messages)
        (resident,) = served.renderer.residents
        np.testing.assert_array_equal(resident.volume.codes, values)

    async def test_the_id_is_content_and_geometry(self, served: Served) -> None:
        data = VOXELS.tobytes()
        other = geometry()
        other.patient_from_voxel[3] = -10.5
        variants = [
            [header(), *chunks(data)],
            [header(geometry=other), *chunks(data)],
            [header(), *chunks(data[:-1] + b"\x55")],
            [header(slope=2.0), *chunks(data)],
        ]
        ids = []
        for messages in variants:
            opened = (await upload(served.address, messages)).opened
            ids.append(opened.volume.summary.volume_id)
            await served.stub.ReleaseVolume(pb.ReleaseVolumeRequest(lease_id=opened.lease_id))
        assert len(set(ids)) == len(variants)
        again = (await upload(served.address, [header(), *chunks(data, 13)])).opened
        assert again.volume.summary.volume_id == ids[0]

    async def test_the_same_upload_twice_is_one_copy(self, served: Served) -> None:
        messages = [header(), *chunks(VOXELS.tobytes())]
        await upload(served.address, messages)
        await upload(served.address, messages)
        assert served.renderer.uploads == 1
        assert served.engine.status().cache.entries[0].pinned_by == ("grpc lease 1", "grpc lease 2")

    @pytest.mark.parametrize(
        ("messages", "code", "match"),
        [
            ([], CODE.INVALID_ARGUMENT, "first message"),
            (chunks(b"abc"), CODE.INVALID_ARGUMENT, "first message"),
            ([pb.UploadVolumeRequest()], CODE.INVALID_ARGUMENT, "first message"),
            ([pb.UploadVolumeRequest(header=pb.UploadHeader())], CODE.INVALID_ARGUMENT, "voxels and instances"),
            ([header(), *chunks(VOXELS.tobytes()[:-1])], CODE.INVALID_ARGUMENT, "239 bytes came, its header says 240"),
            ([header(), *chunks(VOXELS.tobytes() + b"x")], CODE.INVALID_ARGUMENT, "more than the 240 bytes"),
            ([header()], CODE.INVALID_ARGUMENT, "0 bytes came"),
            ([header(), header()], CODE.INVALID_ARGUMENT, "only chunks"),
            ([header(), pb.UploadVolumeRequest(end_of_instance=True)], CODE.INVALID_ARGUMENT, "only chunks"),
            ([header(), *chunks(bytes((1 << 20) + 1), (1 << 20) + 1)], CODE.INVALID_ARGUMENT, "chunk of 1048577"),
            ([header(voxel_type=volume_pb2.VOXEL_TYPE_RGB8)], CODE.INVALID_ARGUMENT, "RGB8"),
            ([header(voxel_type=volume_pb2.VOXEL_TYPE_UNSPECIFIED)], CODE.INVALID_ARGUMENT, "voxel_type 0"),
            ([header(geometry=None)], CODE.INVALID_ARGUMENT, "patient_from_voxel"),
            ([header(geometry=geometry((0, 5, 6)))], CODE.INVALID_ARGUMENT, "shape"),
            ([header(invalid_code=40000)], CODE.INVALID_ARGUMENT, "invalid_code 40000"),
            ([header(slope=0.0)], CODE.INVALID_ARGUMENT, "slope 0"),
            ([header(slope=float("nan"))], CODE.INVALID_ARGUMENT, "slope nan"),
            ([header(description="x" * 257)], CODE.INVALID_ARGUMENT, "description of 257"),
            (
                [header(voxel_type=volume_pb2.VOXEL_TYPE_FLOAT32, geometry=geometry((1, 1, 1)), slope=2.0)],
                CODE.INVALID_ARGUMENT,
                "FLOAT32",
            ),
            (
                [header(voxel_type=volume_pb2.VOXEL_TYPE_FLOAT32, geometry=geometry((1, 1, 1)), invalid_code=1)],
                CODE.INVALID_ARGUMENT,
                "NaN",
            ),
            ([header(geometry=geometry((4_000_000_000,) * 3))], CODE.RESOURCE_EXHAUSTED, "the upload needs"),
        ],
    )
    async def test_bad_uploads_leave_nothing_behind(
        self, served: Served, messages: list[pb.UploadVolumeRequest], code: grpc.StatusCode, match: str
    ) -> None:
        got, line, _ = await failure(upload(served.address, messages))
        assert got is code
        assert match in line
        assert served.engine.status().cache.resident_bytes == 0
        assert len(served.catalog.entries()) == 3
        await upload(served.address, [header(), *chunks(VOXELS.tobytes())])

    @pytest.mark.parametrize(("slices", "code"), [(4, CODE.OK), (4_000_000, CODE.RESOURCE_EXHAUSTED)])
    async def test_the_header_is_answered_before_the_chunks(
        self, served: Served, slices: int, code: grpc.StatusCode
    ) -> None:
        call = served.stub.UploadVolume()
        await call.write(header(geometry=geometry((slices, 5, 6))))
        if UPLOAD_ACCEPTED in tuple(await call.initial_metadata()):
            for message in chunks(VOXELS.tobytes()):
                await call.write(message)
            await call.done_writing()
        assert await call.code() is code

    async def test_bytes_are_kept_free_while_they_come(self, served: Served) -> None:
        arrived = asyncio.Event()

        async def messages() -> AsyncIterator[pb.UploadVolumeRequest]:
            yield header()
            for message in chunks(VOXELS.tobytes()):
                yield message
            await arrived.wait()

        await open_volume(served.stub, "a")
        call = served.stub.UploadVolume(messages())
        while served.engine.status().cache.pinned_bytes < 2 * VOLUME_BYTES:
            await served.stub.GetStatus(pb.GetStatusRequest())
        code, _, _ = await failure(served.stub.OpenVolume(pb.OpenVolumeRequest(volume_id="b")))
        assert code is CODE.RESOURCE_EXHAUSTED
        arrived.set()
        await call
        assert served.engine.status().cache.pinned_bytes == 2 * VOLUME_BYTES

    async def test_a_client_that_leaves_gives_its_bytes_back(self, served: Served) -> None:
        never = asyncio.Event()

        async def messages() -> AsyncIterator[pb.UploadVolumeRequest]:
            yield header()
            await never.wait()

        call = served.stub.UploadVolume(messages())
        while not served.engine.status().cache.pinned_bytes:
            await served.stub.GetStatus(pb.GetStatusRequest())
        call.cancel()
        while served.engine.status().cache.pinned_bytes:
            await served.stub.GetStatus(pb.GetStatusRequest())

    async def test_a_client_that_falls_silent_loses_its_turn(self, served: Served) -> None:
        async def silence() -> AsyncIterator[pb.UploadVolumeRequest]:
            yield header()
            await asyncio.Event().wait()

        receiver = UploadReceiver(served.engine, idle_seconds=0.01)
        with pytest.raises(Exception, match=r"nothing came for 0\.01 s"):
            await receiver.receive(silence(), holder="test")
        assert served.engine.status().cache.pinned_bytes == 0

    async def test_an_upload_is_forgotten_when_it_is_evicted(self, served: Served) -> None:
        opened = (await upload(served.address, [header(), *chunks(VOXELS.tobytes())])).opened
        await served.stub.ReleaseVolume(pb.ReleaseVolumeRequest(lease_id=opened.lease_id))
        volume_id = opened.volume.summary.volume_id
        assert volume_id in [v.volume_id for v in (await served.stub.ListVolumes(pb.ListVolumesRequest())).volumes]
        await open_volume(served.stub, "a")
        await open_volume(served.stub, "b")
        code, _, _ = await failure(served.stub.OpenVolume(pb.OpenVolumeRequest(volume_id=volume_id)))
        assert code is CODE.NOT_FOUND


def instances(*files: bytes, series: str = "", end: bool = True) -> list[pb.UploadVolumeRequest]:
    messages = [pb.UploadVolumeRequest(header=pb.UploadHeader(instances=pb.InstancesUpload(series=series)))]
    for data in files:
        messages += chunks(data, 64)
        messages.append(pb.UploadVolumeRequest(end_of_instance=True))
    return messages if end else messages[:-1]


class FolderIngest:
    """Takes the place of the DICOM room: notes what lies in the folder, and makes a volume of it."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.files: list[bytes] = []
        self.error: Exception | None = None

    def scan(self, path: Path, cancelled: Callable[[], bool]) -> Any:
        self.folder = path
        assert path.stat().st_mode & 0o077 == 0, "others can read the folder"
        self.files = [file.read_bytes() for file in sorted(path.iterdir())]
        if self.error is not None:
            raise self.error
        raise NotAVolumeError("spacing varies 2.0 to 5.0 mm between slices 31 and 32")


class TestInstances:
    @pytest.fixture(autouse=True)
    def _temporary(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def test_each_instance_is_one_file_and_the_folder_is_removed(self, served: Served, tmp_path: Path) -> None:
        ingest = FolderIngest()
        served.catalog.ingest = ingest  # type: ignore[assignment]
        first, second = bytes(range(256)), b"second" * 40
        code, line, detail = await failure(upload(served.address, instances(first, second)))
        assert (code, detail.reason) == (CODE.FAILED_PRECONDITION, "NOT_A_VOLUME")
        assert line.startswith("spacing varies")
        assert ingest.files == [first, second]
        assert ingest.folder is not None
        assert os.listdir(tmp_path) == []

    async def test_a_client_that_leaves_leaves_no_folder(self, served: Served, tmp_path: Path) -> None:
        never = asyncio.Event()

        async def messages() -> AsyncIterator[pb.UploadVolumeRequest]:
            for message in instances(b"x" * 200, end=False):
                yield message
            await never.wait()

        call = served.stub.UploadVolume(messages())
        async with asyncio.timeout(20):
            while not os.listdir(tmp_path):
                await served.stub.GetStatus(pb.GetStatusRequest())
            call.cancel()
            while os.listdir(tmp_path):
                await served.stub.GetStatus(pb.GetStatusRequest())

    async def test_a_full_disk_is_told_and_nothing_is_left_on_it(
        self, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "upload"

        def make_folder(prefix: str) -> str:
            folder.mkdir()
            (folder / "000001.dcm").symlink_to("/dev/full")
            return str(folder)

        monkeypatch.setattr(tempfile, "mkdtemp", make_folder)
        code, line, detail = await failure(upload(served.address, instances(b"x" * 200)))
        assert code is CODE.RESOURCE_EXHAUSTED
        assert detail.reason == "DISK_FULL"
        assert line == "upload: the server's temporary folder: No space left on device"
        assert not folder.exists()

    async def test_instances_take_no_more_of_the_disk_than_volumes_may_of_the_memory(
        self, served: Served, tmp_path: Path
    ) -> None:
        for _ in range(2):  # what the first one took is given back
            code, line, _ = await failure(upload(served.address, instances(b"x" * (2 * VOLUME_BYTES + 100))))
            assert code is CODE.RESOURCE_EXHAUSTED
            assert "more than the budget" in line
            assert os.listdir(tmp_path) == []
        served.catalog.ingest = FolderIngest()  # type: ignore[assignment]
        code, _, _ = await failure(upload(served.address, instances(b"x" * 2 * VOLUME_BYTES)))
        assert code is CODE.FAILED_PRECONDITION

    @pytest.mark.parametrize(
        ("messages", "match"),
        [
            (instances(), "no instance came"),
            (instances(b"abc", end=False), "ended within instance 1"),
            ([*instances(b"abc"), pb.UploadVolumeRequest(end_of_instance=True)], "end_of_instance where a chunk"),
            ([*instances(b"abc"), header()], "header where a chunk"),
        ],
    )
    async def test_bad_sequences_leave_no_folder(
        self, served: Served, tmp_path: Path, messages: list[pb.UploadVolumeRequest], match: str
    ) -> None:
        code, line, _ = await failure(upload(served.address, messages))
        assert code is CODE.INVALID_ARGUMENT
        assert match in line
        assert os.listdir(tmp_path) == []

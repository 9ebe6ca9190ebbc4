"""Volumes that clients send: voxels straight into the final array, DICOM instances by way of a private folder."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import functools
import hashlib
import math
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from io import FileIO
from pathlib import Path

import numpy as np

from render.blocking import run_to_end
from render.engine import Engine
from render.errors import BudgetExceededError, DiskFullError, InvalidArgumentError
from render.lease import Lease
from render.memory import format_bytes
from render.service.convert.volumes import geometry_from_proto, voxel_type_from_proto
from render.v1 import render_service_pb2
from render.volume import Volume, VolumeInfo, VoxelType

MAX_CHUNK_BYTES = 1 << 20
MAX_TEXT_CHARACTERS = 256
MAX_INSTANCES = 100_000
UPLOAD_IDLE_SECONDS = 60.0
"""An upload holds memory: a client that sends nothing for this long has lost its turn."""

Requests = AsyncIterator[render_service_pb2.UploadVolumeRequest]


class UploadReceiver:
    """Takes one volume from a stream of requests.

    Parameters
    ----------
    engine
        Where the volume goes.
    idle_seconds
        How long to wait for the next message.
    """

    def __init__(self, engine: Engine, *, idle_seconds: float = UPLOAD_IDLE_SECONDS) -> None:
        self._engine = engine
        self._idle_seconds = idle_seconds
        self._spooled_bytes = 0

    async def receive(
        self, requests: Requests, *, holder: str, accepted: Callable[[], Awaitable[None]] | None = None
    ) -> Lease:
        """Read the header and what follows, and make it resident.

        Parameters
        ----------
        requests
            The client's messages.
        holder
            For the status.
        accepted
            Awaited once the header has been found good and its bytes are reserved.

        Raises
        ------
        InvalidArgumentError
            If the header is missing or out of range, or there are more or fewer bytes than it says.
        BudgetExceededError
            If the volume can't fit; before any byte of it is taken.
        SourceError
            If DICOM instances make no volume.
        """
        first = await self._next(requests)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidArgumentError("the first message of an upload must be its header", field="header")
        header = first.header
        match header.WhichOneof("content"):
            case "voxels":
                return await self._receive_voxels(header.voxels, requests, holder, accepted or _nobody)
            case "instances":
                await (accepted or _nobody)()
                return await self._receive_instances(header.instances, requests, holder)
            case _:
                raise InvalidArgumentError("upload header: one of voxels and instances is needed", field="header")

    async def _receive_voxels(
        self,
        header: render_service_pb2.VoxelUpload,
        requests: Requests,
        holder: str,
        accepted: Callable[[], Awaitable[None]],
    ) -> Lease:
        geometry = geometry_from_proto(header.geometry)
        kind = voxel_type_from_proto(header.voxel_type)
        if kind not in (VoxelType.INT16, VoxelType.FLOAT32):
            raise InvalidArgumentError(f"voxel_type {kind.name}: INT16 or FLOAT32 needed", field="voxel_type")
        dtype = np.dtype("<i2" if kind is VoxelType.INT16 else "<f4")
        info = _info(header)
        invalid_code = _invalid_code(header, kind)
        slope, intercept = _rescale(header, kind)
        expected_bytes = math.prod(geometry.shape) * dtype.itemsize
        with await self._engine.reserve("the upload", expected_bytes, dtype.itemsize) as reservation:
            codes = np.empty(geometry.shape, dtype)
            volume = Volume("", geometry, codes, slope, intercept, invalid_code, info)
            meaning = (geometry.shape, kind.name, slope, intercept, invalid_code, info.modality, info.units)
            digest = hashlib.sha256(repr((*meaning, info.description)).encode("utf-8", "replace"))
            digest.update(geometry.patient_from_voxel.astype("<f8").tobytes())
            target = codes.data.cast("B")
            await accepted()
            received_bytes = 0
            async for chunk in self._chunks(requests):
                end = received_bytes + len(chunk)
                if end > expected_bytes:
                    raise InvalidArgumentError(
                        f"upload: more than the {expected_bytes} bytes that its header says",
                        field="chunk",
                        expected_bytes=expected_bytes,
                        received_bytes=end,
                    )
                target[received_bytes:end] = chunk
                digest.update(chunk)
                received_bytes = end
            if received_bytes < expected_bytes:
                raise InvalidArgumentError(
                    f"upload: {received_bytes} bytes came, its header says {expected_bytes}",
                    field="chunk",
                    expected_bytes=expected_bytes,
                    received_bytes=received_bytes,
                )
            target.release()
            volume = dataclasses.replace(volume, id=digest.hexdigest()[:32])
            reservation.release()  # the lease takes over in the same turn of the loop
            return await self._engine.admit(volume, holder=holder)

    async def _chunks(self, requests: Requests) -> AsyncIterator[bytes]:
        while (request := await self._next(requests)) is not None:
            if request.WhichOneof("part") != "chunk":
                raise InvalidArgumentError("voxels: only chunks may follow the header", field="part")
            yield _checked(request.chunk)

    async def _receive_instances(
        self, header: render_service_pb2.InstancesUpload, requests: Requests, holder: str
    ) -> Lease:
        with _named_disk():
            folder = Path(tempfile.mkdtemp(prefix="voxelcast-upload-"))
        spool = _Spool(folder)
        try:
            while (request := await self._next(requests)) is not None:
                match request.WhichOneof("part"):
                    case "chunk":
                        self._count_spooled(len(request.chunk))
                        spool.bytes += len(request.chunk)
                        await run_to_end(functools.partial(spool.write, _checked(request.chunk)))
                    case "end_of_instance" if spool.is_open:
                        spool.close()
                    case part:
                        raise InvalidArgumentError(f"upload: {part} where a chunk must be", field="part")
            spool.check_complete()
            return await self._engine.admit_folder(folder, series=header.series[:64] or None, holder=holder)
        finally:
            spool.close()
            self._spooled_bytes -= spool.bytes
            await run_to_end(lambda: shutil.rmtree(folder, ignore_errors=True))

    def _count_spooled(self, count: int) -> None:
        # The disk has no budget of its own: files take no more of it than volumes may of the memory, all together.
        limit_bytes = self._engine.cache.budget_bytes
        if self._spooled_bytes + count > limit_bytes:
            raise BudgetExceededError(
                f"upload: the instances on their way take more than the budget of {format_bytes(limit_bytes)}",
                needed_bytes=self._spooled_bytes + count,
                budget_bytes=limit_bytes,
            )
        self._spooled_bytes += count

    async def _next(self, requests: Requests) -> render_service_pb2.UploadVolumeRequest | None:
        try:
            async with asyncio.timeout(self._idle_seconds):
                return await anext(requests)
        except StopAsyncIteration:
            return None
        except TimeoutError:
            raise InvalidArgumentError(f"upload: nothing came for {self._idle_seconds:g} s", field="part") from None


class _Spool:
    """DICOM instances, written to a folder one after the other."""

    def __init__(self, folder: Path) -> None:
        self.bytes = 0
        self._folder = folder
        self._count = 0
        self._file: FileIO | None = None

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def write(self, chunk: bytes) -> None:
        if self._file is None:
            if self._count == MAX_INSTANCES:
                raise InvalidArgumentError(f"upload: over {MAX_INSTANCES} instances", field="part")
            self._count += 1
            with _named_disk():
                self._file = (self._folder / f"{self._count:06}.dcm").open("wb", buffering=0)
        rest = memoryview(chunk)
        with _named_disk():  # unbuffered, so that closing it has nothing left to fail with
            while rest:
                rest = rest[self._file.write(rest) :]

    def check_complete(self) -> None:
        if self._count == 0:
            raise InvalidArgumentError("upload: no instance came", field="part")
        if self._file is not None:
            raise InvalidArgumentError(f"upload: ended within instance {self._count}", field="part")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


@contextlib.contextmanager
def _named_disk() -> Iterator[None]:
    """Say of a full disk that it is one; what else fails with files is nothing that a client could mend."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(f"upload: the server's temporary folder: {error.strerror}") from error


async def _nobody() -> None:
    """Tell nobody."""


def _checked(chunk: bytes) -> bytes:
    if len(chunk) > MAX_CHUNK_BYTES:
        raise InvalidArgumentError(f"chunk of {len(chunk)} bytes: at most {MAX_CHUNK_BYTES}", field="chunk")
    return chunk


def _info(header: render_service_pb2.VoxelUpload) -> VolumeInfo:
    for name in ("modality", "units", "description"):
        if len(getattr(header, name)) > MAX_TEXT_CHARACTERS:
            raise InvalidArgumentError(
                f"{name} of {len(getattr(header, name))} characters: at most {MAX_TEXT_CHARACTERS}", field=name
            )
    return VolumeInfo(modality=header.modality, units=header.units, description=header.description)


def _invalid_code(header: render_service_pb2.VoxelUpload, kind: VoxelType) -> int | None:
    if not header.HasField("invalid_code"):
        return None
    if kind is not VoxelType.INT16:
        raise InvalidArgumentError("invalid_code is for INT16; FLOAT32 has NaN", field="invalid_code")
    limits = np.iinfo(np.int16)
    if not limits.min <= header.invalid_code <= limits.max:
        raise InvalidArgumentError(
            f"invalid_code {header.invalid_code}: {limits.min} to {limits.max} needed", field="invalid_code"
        )
    return header.invalid_code


def _rescale(header: render_service_pb2.VoxelUpload, kind: VoxelType) -> tuple[float, float]:
    slope = header.slope if header.HasField("slope") else 1.0
    intercept = header.intercept if header.HasField("intercept") else 0.0
    if kind is VoxelType.FLOAT32 and (slope, intercept) != (1.0, 0.0):
        raise InvalidArgumentError(
            f"slope {slope:g}, intercept {intercept:g}: FLOAT32 voxels are values already", field="slope"
        )
    return slope, intercept

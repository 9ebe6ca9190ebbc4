"""The synchronous client."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import numpy.typing as npt

from render.v1 import render_service_pb2 as messages
from render.v1.frame_pb2 import FrameHeader
from render.v1.render_service_pb2_grpc import RenderServiceStub
from voxelcast import convert, errors, uploads
from voxelcast.calls import (
    DEFAULT_LOAD_TIMEOUT_S,
    DEFAULT_TIMEOUT_S,
    FrameAssembler,
    OpenReceiver,
    ProgressCallback,
    open_request,
    render_request,
    still_scanning,
)
from voxelcast.channel import channel_to, endpoint
from voxelcast.decoding import checked, decode_frame
from voxelcast.descriptions import ServerStatus, VolumeDescription, VolumeSummary
from voxelcast.errors import DeadlineExceededError, InvalidArgumentError, NotFoundError, from_rpc
from voxelcast.frames import Encoding, Frame
from voxelcast.geometry import Vector
from voxelcast.stream import Stream
from voxelcast.views import View
from voxelcast.volume import Volume


class Client:
    """A connection to a Voxelcast server.

    May be used from several threads. Close it, or use it as a context manager.

    Parameters
    ----------
    address
        ``host:port`` of the server's gRPC port.
    token
        For a server that asks for one.
    tls
        Encrypt the connection, trusting the system's certificates.
    ca_file
        PEM certificates to trust instead; implies `tls`.
    timeout_s
        For every call that names none of its own, but those that load a volume.

    Examples
    --------
    >>> from voxelcast import Client, View
    >>> client = Client(address)
    >>> volume = client.open("head")
    >>> picture = volume.render(View.axial(volume))
    >>> picture.dtype, picture.shape
    (dtype('float32'), (512, 512))
    >>> client.close()
    """

    def __init__(
        self,
        address: str = "localhost:50051",
        *,
        token: str | None = None,
        tls: bool = False,
        ca_file: str | Path | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self._endpoint = endpoint(address, token, tls, ca_file)
        self._timeout_s = timeout_s
        self._dropped: deque[str] = deque()  # leases of volumes that nobody refers to any more
        self._channel = channel_to(self._endpoint)
        # The generated stub has no annotations.
        self._stub: Any = RenderServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def volumes(self, *, wait: bool = True, timeout_s: float = DEFAULT_LOAD_TIMEOUT_S) -> list[VolumeSummary]:
        """Return what there is to open, below the served roots and of uploads.

        Parameters
        ----------
        wait
            Until the server has read its folders once, as it does after its start; `open` waits for a volume so. False:
            return what it has found so far.
        timeout_s
            Until it returns.

        Raises
        ------
        DeadlineExceededError
            If the folders were not read by then; the message says how many volumes were found so far.
        """
        until_s = time.monotonic() + timeout_s
        while True:
            with self._call(min(self._timeout_s, max(0.0, until_s - time.monotonic()))) as options:
                answer = self._stub.ListVolumes(messages.ListVolumesRequest(), **options)
            if not (wait and answer.scanning):
                return [convert.summary_from_proto(summary) for summary in answer.volumes]
            if time.monotonic() + errors.SCAN_INTERVAL_S > until_s:
                raise still_scanning(len(answer.volumes), timeout_s)
            time.sleep(errors.SCAN_INTERVAL_S)

    def open(
        self,
        source: str | os.PathLike[str] | VolumeSummary,
        *,
        series: str | int = "",
        volume_index: int | None = None,
        in_part: bool = False,
        progress: ProgressCallback | None = None,
        timeout_s: float = DEFAULT_LOAD_TIMEOUT_S,
    ) -> Volume:
        """Make a volume resident and pin it.

        Parameters
        ----------
        source
            A path below a served root, a volume's id, or an entry of `volumes`.
        series
            Which series below the path: a Series Instance UID or a Series Number. Empty: the one that is plainly
            the volume.
        volume_index
            Which volume of that series, from 0.
        in_part
            Return as soon as something of it can be drawn: the middle, then outward, and what is rendered or streamed
            before the rest. `Volume.missing_slices` and each `Frame.missing_slices` say what is not there, which is
            drawn as outside; `Stream.settle` waits for the whole. A server may have to load it whole even so.
        progress
            Called with each `LoadProgress`, on this thread.
        timeout_s
            Until it returns.

        Returns
        -------
        Volume
            Pinned until it is released, or unused for `Volume.lease_seconds`.

        Raises
        ------
        NotFoundError
            No such path or volume; one that the server may still find, while it reads its folders, is waited for.
        AmbiguousSeriesError
            Several candidates; `AmbiguousSeriesError.candidates` lists them.
        SourceError
            Files that make no volume, with the measured reason.
        BudgetExceededError
            It can't fit beside what is pinned.
        """
        return self._volume(
            self._open(open_request(source, series, volume_index, in_part=in_part), progress, timeout_s)
        )

    def _open(
        self, request: messages.OpenVolumeRequest, progress: ProgressCallback | None, timeout_s: float
    ) -> messages.OpenedVolume:
        self._release_dropped()
        until_s = time.monotonic() + timeout_s
        missing: NotFoundError | None = None
        while True:
            receiver = OpenReceiver(progress)
            try:
                with self._call(max(0.0, until_s - time.monotonic())) as options:
                    _drain(self._stub.OpenVolume(request, **options), receiver.receive)
                return receiver.finish()
            except NotFoundError as error:
                if not error.may_come or time.monotonic() + errors.SCAN_INTERVAL_S > until_s:
                    raise
                missing = error
            except DeadlineExceededError as error:
                raise missing or error from None
            time.sleep(errors.SCAN_INTERVAL_S)

    def upload(
        self,
        array: npt.ArrayLike,
        *,
        spacing_mm: Vector | None = None,
        affine: npt.ArrayLike | None = None,
        slope: float = 1.0,
        intercept: float = 0.0,
        invalid_value: int | None = None,
        modality: str = "",
        units: str = "",
        description: str = "",
        timeout_s: float = DEFAULT_LOAD_TIMEOUT_S,
    ) -> Volume:
        """Bring an array to the server as a volume, and pin it.

        Parameters
        ----------
        array
            Shape (K, J, I). Integers that fit into 16 bits are kept as they are; others become float32, where NaN
            marks a voxel without a value.
        spacing_mm
            Of columns, rows and slices: an axial volume whose first voxel is at the origin.
        affine
            Or the whole way: (4, 4), ``(i, j, k, 1)`` to LPS mm. Exactly one of the two is given.
        slope, intercept
            ``value = slope * voxel + intercept``.
        invalid_value
            The integer that marks a voxel without a value.
        modality, units, description
            ``CT``, ``HU``, ...; `modality` chooses the default transfer function.
        timeout_s
            For the whole upload.

        Raises
        ------
        InvalidArgumentError
            If array or geometry make no volume.
        BudgetExceededError
            It can't fit beside what is pinned.

        Examples
        --------
        >>> import numpy as np
        >>> from voxelcast import Client
        >>> with Client(address) as client:
        ...     volume = client.upload(np.zeros((10, 64, 64), np.int16), spacing_mm=(1, 1, 3), units="HU")
        ...     volume.shape
        (10, 64, 64)
        """
        return self._upload(
            uploads.voxel_messages(
                array,
                spacing_mm=spacing_mm,
                affine=affine,
                slope=slope,
                intercept=intercept,
                invalid_value=invalid_value,
                modality=modality,
                units=units,
                description=description,
            ),
            timeout_s,
        )

    def upload_dicom(
        self, paths: uploads.Paths, *, series: str = "", timeout_s: float = DEFAULT_LOAD_TIMEOUT_S
    ) -> Volume:
        """Bring DICOM files to the server as a volume, and pin it.

        Parameters
        ----------
        paths
            A file, a folder (read recursively) or several.
        series
            Which series, where the files hold several.
        timeout_s
            For the whole upload.

        Raises
        ------
        InvalidArgumentError
            If there is no file.
        SourceError
            Files that make no volume, with the measured reason.
        """
        return self._upload(uploads.instance_messages(paths, series), timeout_s)

    def _upload(self, requests: Iterable[messages.UploadVolumeRequest], timeout_s: float) -> Volume:
        self._release_dropped()
        with self._call(timeout_s) as options:
            answer = self._stub.UploadVolume(iter(requests), **options)
        return self._volume(answer.opened)

    def status(self, *, timeout_s: float | None = None) -> ServerStatus:
        """Return devices, budget, what is resident and who pins it."""
        with self._call(timeout_s) as options:
            return convert.status_from_proto(self._stub.GetStatus(messages.GetStatusRequest(), **options))

    def render_frame(
        self,
        view: View,
        *,
        encoding: Encoding = "values",
        jpeg_quality: int | None = None,
        timeout_s: float | None = None,
    ) -> Frame:
        """Render one view of any volume, under no lease; see `Volume.render_frame`."""
        return decode_frame(*self._render(view, encoding, jpeg_quality, "", timeout_s))

    def render_bytes(
        self,
        view: View,
        *,
        encoding: Encoding = "jpeg",
        jpeg_quality: int | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """Render one view of any volume, under no lease; see `Volume.render_bytes`."""
        return checked(*self._render(view, encoding, jpeg_quality, "", timeout_s))

    def _render(
        self, view: View, encoding: Encoding, jpeg_quality: int | None, lease_id: str, timeout_s: float | None
    ) -> tuple[FrameHeader, bytes]:
        request = render_request(view, encoding, jpeg_quality, lease_id)
        assembler = FrameAssembler()
        with self._call(timeout_s) as options:
            _drain(self._stub.Render(request, **options), assembler.receive)
        return assembler.finish()

    def describe(self, volume_id: str, *, timeout_s: float | None = None) -> VolumeDescription:
        """Describe a volume that is resident, also in part."""
        return convert.description_from_proto(self._describe(volume_id, timeout_s).volume)

    def _describe(self, volume_id: str, timeout_s: float | None) -> messages.DescribeVolumeResponse:
        with self._call(timeout_s) as options:
            answer: messages.DescribeVolumeResponse = self._stub.DescribeVolume(
                messages.DescribeVolumeRequest(volume_id=volume_id), **options
            )
        return answer

    def release(self, lease_id: str, *, timeout_s: float | None = None) -> None:
        """End a lease; one that has ended is no error."""
        try:
            with self._call(timeout_s) as options:
                self._stub.ReleaseVolume(messages.ReleaseVolumeRequest(lease_id=lease_id), **options)
        except NotFoundError:
            pass

    def _release_dropped(self) -> None:
        """Make room: a volume that was let go without being released would be pinned for as long as its lease."""
        while self._dropped:
            self.release(self._dropped.popleft())

    def stream(self, view: View | None = None, *, timeout_s: float | None = None) -> Stream:
        """Open a live stream that begins with a view of any volume, or without one; see `Stream`.

        `timeout_s` is for each wait of the stream.
        """
        return Stream(self._stub, self._endpoint, self._timeout_s if timeout_s is None else timeout_s, view)

    def watch(self, share_id: str, *, timeout_s: float | None = None) -> Stream:
        """Open a live stream of what another client shows, at the pace of this one's connection.

        Parameters
        ----------
        share_id
            From `Stream.share`, or from the page's link: what follows ``#watch=``.
        timeout_s
            For each wait of the stream, which raises InvalidArgumentError where nothing is shared under the id.
        """
        if not share_id:
            raise InvalidArgumentError("watch: a share's id is needed")
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        return Stream(self._stub, self._endpoint, timeout_s, watched=share_id)

    def close(self) -> None:
        """Close the connection. Volumes stay pinned until their leases end."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self._endpoint.address}>"

    def _volume(self, opened: messages.OpenedVolume) -> Volume:
        return Volume(self, opened)

    @contextmanager
    def _call(self, timeout_s: float | None) -> Iterator[dict[str, Any]]:
        """Yield the options of a call, and turn its failure into the client's errors."""
        try:
            yield {
                "timeout": self._timeout_s if timeout_s is None else timeout_s,
                "metadata": self._endpoint.metadata,
            }
        except grpc.RpcError as error:
            raise from_rpc(error, self._endpoint.address) from None


def _drain(call: Any, receive: Callable[[Any], None]) -> None:
    """Hand all messages of a call over; whatever interrupts that, Ctrl-C too, cancels it on the server."""
    try:
        for message in call:
            receive(message)
    finally:
        call.cancel()

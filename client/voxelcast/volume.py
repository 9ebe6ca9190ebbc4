"""A volume of the synchronous client."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy.typing as npt

from render.v1.frame_pb2 import FrameHeader
from render.v1.render_service_pb2 import OpenedVolume
from voxelcast.calls import DEFAULT_LOAD_TIMEOUT_S
from voxelcast.decoding import checked, decode_frame
from voxelcast.errors import LEASE_NOT_FOUND, NotFoundError
from voxelcast.frames import Encoding, Frame
from voxelcast.handle import VolumeHandle
from voxelcast.stream import Stream
from voxelcast.views import Orientation, View

if TYPE_CHECKING:
    from voxelcast.client import Client


class Volume(VolumeHandle):
    """A volume that is resident on a server and pinned there by this client.

    Made by `Client.open` and `Client.upload`. Release it, or use it as a context manager: else it stays pinned until
    nobody refers to it and the client opens or uploads another one, or until its lease ends.

    Examples
    --------
    >>> from voxelcast import Client
    >>> with Client(address) as client, client.open("head") as volume:
    ...     coronal = volume.render(volume.coronal().with_slab(10, "average_ip"))
    ...     bones = volume.render(volume.volume_rendering("CT-Bone").rotated(30, 15))
    >>> bones.dtype, bones.shape
    (dtype('uint8'), (512, 512, 4))
    """

    def __init__(self, client: Client, opened: OpenedVolume) -> None:
        super().__init__(opened, client._dropped)
        self._client = client

    def render(
        self,
        view: View | Orientation | None = None,
        *,
        encoding: Encoding = "values",
        jpeg_quality: int | None = None,
        timeout_s: float | None = None,
    ) -> npt.NDArray[Any]:
        """Render a view to an array.

        Parameters
        ----------
        view
            Or a plane through the volume's centre by its name or side, ``"coronal"`` or ``"a"`` say. None: the axial.
        encoding
            How the picture travels: exact by default. ``deflate`` is smaller, and ``png`` and ``jpeg`` give what is
            seen instead of values.
        jpeg_quality
            1 to 100; None for the server's choice.
        timeout_s
            For this call.

        Returns
        -------
        ndarray
            float32 (H, W), modality units, NaN outside the volume; for a volume rendering uint8 (H, W, 4), RGBA
            premultiplied by alpha; for ``png`` and ``jpeg`` uint8, gray (H, W) or RGB (H, W, 3).

        Raises
        ------
        InvalidArgumentError
            If the view can't be drawn: the message names the field.
        DeadlineExceededError
            If `timeout_s` passed; the server stops rendering.
        """
        frame = self.render_frame(view, encoding=encoding, jpeg_quality=jpeg_quality, timeout_s=timeout_s)
        return frame.array

    def render_frame(
        self,
        view: View | Orientation | None = None,
        *,
        encoding: Encoding = "values",
        jpeg_quality: int | None = None,
        timeout_s: float | None = None,
    ) -> Frame:
        """Render a view to a `Frame`: the array of `render`, where its pixels lie, the window, the timings.

        Examples
        --------
        >>> from voxelcast import Client
        >>> with Client(address) as client, client.open("head") as volume:
        ...     frame = volume.render_frame(volume.axial(size_px=(64, 64)).with_window(40, 400))
        >>> frame.units, frame.gray8().shape
        ('HU', (64, 64))
        >>> frame.to_png()[1:4]
        b'PNG'
        """
        return self._with_table(decode_frame(*self._render(self._view(view), encoding, jpeg_quality, timeout_s)))

    def render_bytes(
        self,
        view: View | Orientation | None = None,
        *,
        encoding: Encoding = "jpeg",
        jpeg_quality: int | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """Render a view and return it as it travelled: a JPEG or PNG file, or raw little-endian pixels."""
        return checked(*self._render(self._view(view), encoding, jpeg_quality, timeout_s))

    def _render(
        self, view: View, encoding: Encoding, jpeg_quality: int | None, timeout_s: float | None
    ) -> tuple[FrameHeader, bytes]:
        """Render under the lease; one that has ended is taken again."""
        try:
            return self._client._render(view, encoding, jpeg_quality, self.lease_id, timeout_s)
        except NotFoundError as error:
            if error.reason != LEASE_NOT_FOUND:
                raise
        self._opened(self._client._open(self._open_request(), None, DEFAULT_LOAD_TIMEOUT_S))
        return self._client._render(view, encoding, jpeg_quality, self.lease_id, timeout_s)

    def open_phase(self, number: int, *, timeout_s: float = DEFAULT_LOAD_TIMEOUT_S) -> Volume:
        """Open another volume of the series on this grid: a time, an echo, a frame of a cine.

        `View.of_phase` takes a view to it as it is; a stream needs no more than that.

        Parameters
        ----------
        number
            From 0, as `phases` has them.
        timeout_s
            For the whole load.

        Raises
        ------
        InvalidArgumentError
            If there is no such phase.
        """
        return self._client.open(self._phase_id(number), timeout_s=timeout_s)

    def stream(self, view: View | Orientation | None = None, *, timeout_s: float | None = None) -> Stream:
        """Open a live stream that begins with a view, or a plane by its name (None: the axial); see `Stream`."""
        return self._client.stream(self._view(view), timeout_s=timeout_s)

    def refresh(self, *, timeout_s: float | None = None) -> None:
        """Ask the server for the description again, and for how many slices are missing."""
        self._described(self._client._describe(self.id, timeout_s))

    def release(self, *, timeout_s: float | None = None) -> None:
        """End the lease. The volume stays resident while there is room, but may be evicted."""
        if self.lease_id:
            self._client.release(self.lease_id, timeout_s=timeout_s)
            self.lease_id = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

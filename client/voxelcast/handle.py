"""What the synchronous and the asyncio volume have in common: the description, and views made for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from render.v1.render_service_pb2 import DescribeVolumeResponse, OpenedVolume, OpenVolumeRequest
from voxelcast import convert
from voxelcast.appearance import TransferFunction, Window
from voxelcast.camera import DEFAULT_SIZE_PX
from voxelcast.descriptions import Phase, VolumeDescription
from voxelcast.errors import InvalidArgumentError
from voxelcast.frames import Frame
from voxelcast.geometry import VolumeGeometry
from voxelcast.views import Orientation, RenderingMethod, View, check_view


class VolumeHandle:
    """A volume that is resident on a server.

    One that nobody refers to any more, unreleased, is released by its client's next `open` or upload.

    Attributes
    ----------
    description
        What the server says of it.
    lease_id
        The lease that pins it; empty once it is released.
    lease_seconds
        The lease ends when it was unused for so long; each render renews it, or takes it again.
    missing_slices
        Not loaded yet when the description was made. `refresh` asks again: only the whole has the range of its values,
        its automatic window and its warnings.
    """

    description: VolumeDescription
    lease_id: str
    lease_seconds: int
    missing_slices: int

    def __init__(self, opened: OpenedVolume, dropped: deque[str]) -> None:
        self._dropped = dropped
        self._opened(opened)

    def __del__(self) -> None:
        # Only noted: this may run amid a call of gRPC, which must not be entered again.
        if getattr(self, "lease_id", ""):
            self._dropped.append(self.lease_id)

    def _opened(self, opened: OpenedVolume) -> None:
        self.description = convert.description_from_proto(opened.volume)
        self.lease_id = opened.lease_id
        self.lease_seconds = opened.lease_seconds
        self.missing_slices = opened.missing_slices

    def _described(self, described: DescribeVolumeResponse) -> None:
        self.description = convert.description_from_proto(described.volume)
        self.missing_slices = described.missing_slices

    def _open_request(self) -> OpenVolumeRequest:
        return OpenVolumeRequest(volume_id=self.id)

    @property
    def id(self) -> str:
        """Stable over restarts of the server."""
        return self.description.id

    @property
    def geometry(self) -> VolumeGeometry:
        """Where the voxels lie in the patient."""
        return self.description.geometry

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(K, J, I)``: slices, rows, columns."""
        return self.geometry.shape

    @property
    def values_range(self) -> tuple[float, float]:
        """Minimum and maximum over the valid voxels, modality units."""
        return self.description.values_range

    @property
    def units(self) -> str:
        """Of the values: ``HU``, ``SUVbw``, ``Bq/ml``; empty if arbitrary."""
        return self.description.units

    @property
    def phases(self) -> tuple[Phase, ...]:
        """All volumes of this one's series on its grid, where there are several: `phase` opens them."""
        return self.description.summary.phases

    def _phase_id(self, number: int) -> str:
        """Return a phase's id.

        Raises
        ------
        InvalidArgumentError
            If there is no such phase.
        """
        if not 0 <= number < len(self.phases):
            raise InvalidArgumentError(f"phase {number}: the series has {len(self.phases)} on this grid, from 0")
        return self.phases[number].volume_id

    @property
    def default_window(self) -> Window | None:
        """What a view without a window gets."""
        return self.description.default_window

    @property
    def initial_views(self) -> Mapping[str, View]:
        """The server's views to begin with; an oblique volume has ``acquisition``, its own plane."""
        return self.description.initial_views

    def axial(self, slice_mm: float | None = None, *, size_px: tuple[int, int] = DEFAULT_SIZE_PX) -> View:
        """Return an axial plane; see `View.axial`."""
        return View.axial(self, slice_mm, size_px=size_px)

    def coronal(self, slice_mm: float | None = None, *, size_px: tuple[int, int] = DEFAULT_SIZE_PX) -> View:
        """Return a coronal plane; see `View.coronal`."""
        return View.coronal(self, slice_mm, size_px=size_px)

    def sagittal(self, slice_mm: float | None = None, *, size_px: tuple[int, int] = DEFAULT_SIZE_PX) -> View:
        """Return a sagittal plane; see `View.sagittal`."""
        return View.sagittal(self, slice_mm, size_px=size_px)

    def mip(
        self,
        orientation: Orientation = "a",
        *,
        method: RenderingMethod = "maximum_ip",
        size_px: tuple[int, int] = DEFAULT_SIZE_PX,
    ) -> View:
        """Return a projection of the whole volume; see `View.mip`."""
        return View.mip(self, orientation, method=method, size_px=size_px)

    def volume_rendering(
        self,
        preset: str | None = None,
        orientation: Orientation = "a",
        *,
        transfer_function: TransferFunction | None = None,
        size_px: tuple[int, int] = DEFAULT_SIZE_PX,
    ) -> View:
        """Return a volume rendering of the whole volume; see `View.volume_rendering`."""
        return View.volume_rendering(self, preset, orientation, transfer_function=transfer_function, size_px=size_px)

    def _with_table(self, frame: Frame) -> Frame:
        """Return the frame with the table of its window, where that is one of the volume's VOI LUTs."""
        if frame.window.function != "voi-lut":
            return frame
        known = (w for w in self.description.windows if w.function == "voi-lut" and w.voi_lut == frame.window.voi_lut)
        return replace(frame, window=next(known, frame.window))

    def _view(self, view: View | Orientation | None) -> View:
        """Return the view to draw: the axial where none is given, a plane where its name or side is.

        Raises
        ------
        InvalidArgumentError
            If it is a view of another volume, or a word that names no plane.
        TypeError
            If it is something else.
        """
        if view is None:
            return self.axial()
        if isinstance(view, str):
            return View.oriented(self, view)
        check_view(view)
        if not view.layers:
            raise InvalidArgumentError("a view without layers")
        if view.volume_id != self.id:
            raise InvalidArgumentError(
                f"a view of volume {view.volume_id}, not of {self.id}; view.of(volume) changes it"
            )
        return view

    def __repr__(self) -> str:
        summary = self.description.summary
        sizes = " x ".join(str(n) for n in reversed(self.shape))
        spacing = " x ".join(f"{mm:.4g}" for mm in self.geometry.spacing_mm)
        label = " ".join(filter(None, (summary.modality, summary.description)))
        return f"<{type(self).__name__} {label or self.id}: {sizes} voxels of {spacing} mm>"

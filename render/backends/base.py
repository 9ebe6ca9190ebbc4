"""What a renderer is: it keeps volumes resident and turns a View into a Frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from render.errors import InvalidViewError, VolumeNotFoundError
from render.frame import FINAL, Frame, Quality, ShownPicture
from render.transfer import TransferFunction, Window, WindowFunction, load_preset
from render.view import ImagePlane, Layer, View
from render.volume import Volume, VolumeInfo


@dataclass(frozen=True)
class Statistics:
    """Of the valid voxels, in modality units.

    Attributes
    ----------
    minimum, maximum
        Over all valid voxels; 0 and 0 if there are none.
    low, high
        The 1st and 99th percentile of the valid voxels that are not background (the lowest value).
    """

    minimum: float
    maximum: float
    low: float
    high: float


class ResidentVolume(Protocol):
    """A volume that a renderer holds beside its processor."""

    @property
    def volume(self) -> Volume:
        """What was uploaded. A renderer on the host shares its voxels."""

    @property
    def statistics(self) -> Statistics:
        """Of the voxels, computed at upload."""

    @property
    def nbytes(self) -> int:
        """Everything that it takes on the device: voxels, brick grid, tables."""


class Renderer(Protocol):
    """One processor. Every method may be called from any thread."""

    @property
    def device(self) -> str:
        """``cpu``, ``cuda:0``: the name in logs, status and metrics."""

    def estimate_bytes(self, volume_nbytes: int, dtype_bytes: int) -> int:
        """Bytes that `upload` will take for voxels of this size; what the budget is checked against."""

    def upload(self, volume: Volume) -> ResidentVolume:
        """Make a volume resident: bricks, statistics. Blocks."""

    def render(
        self,
        view: View,
        volumes: Mapping[str, ResidentVolume],
        *,
        quality: Quality = FINAL,
        view_revision: int = 0,
        cancelled: Callable[[], bool] | None = None,
    ) -> Frame:
        """Draw one View. Blocks.

        Parameters
        ----------
        view
            What to draw.
        volumes
            By id; must hold every layer's.
        quality
            What may be saved.
        view_revision
            Echoed in the Frame.
        cancelled
            Asked between tiles, from worker threads; once it says True the frame is given up.

        Raises
        ------
        VolumeNotFoundError
            If a layer's volume is not among `volumes`.
        RenderCancelledError
            If `cancelled` said True.
        """

    def release(self, resident: ResidentVolume) -> None:
        """Give the volume's memory back. Frames of it that are being drawn end first."""


@runtime_checkable
class GrowingRenderer(Renderer, Protocol):
    """A renderer that can draw a volume while it is loaded."""

    def grow(self, before: ResidentVolume | None, volume: Volume, slices: Sequence[tuple[int, int]]) -> ResidentVolume:
        """Make the next state of a volume that grows resident. Blocks.

        States share what they can, so what was `before` is not to be released, but forgotten: frames of it may still
        be drawn, and what it alone holds goes with the last of them. They show slices at times that their state lacks.

        Parameters
        ----------
        before
            The last state; None for the first.
        volume
            As far as it has arrived, on the same array as before; without missing slices it is the last state.
        slices
            That have arrived since the last state, pairs of the first and one past the last.
        """


def default_window(info: VolumeInfo, statistics: Statistics) -> Window:
    """Return the window of a volume that nobody has touched: the source's first, or from statistics."""
    if info.voi:
        return info.voi[0]
    low, high = statistics.low, statistics.high
    if info.modality == "PT":
        low = min(0.0, statistics.minimum)
    if not high > low:
        low, high = statistics.minimum, statistics.maximum
    if not high > low:
        high = low + 1.0
    return Window((low + high) / 2, high - low, explanation="auto")


def default_transfer_function(info: VolumeInfo, statistics: Statistics) -> TransferFunction:
    """Return the transfer function of a volume that nobody has touched: a preset for CT and MR, else a gray ramp."""
    if info.modality == "CT":
        return load_preset("CT-AAA")
    if info.modality == "MR":
        return load_preset("MR-Default")
    window = default_window(info, statistics)
    low, high = window.center - window.width / 2, window.center + window.width / 2
    return TransferFunction(
        ((low, 0.0), (high, 0.5)),
        ((low, 0.0, 0.0, 0.0), (high, 1.0, 1.0, 1.0)),
        load_preset("MR-Default").shading,
        "auto",
    )


def applied_view(view: View, volumes: Mapping[str, ResidentVolume]) -> tuple[View, ResidentVolume]:
    """Return the View as it will be drawn, with the window and transfer function that apply, and its volume.

    Raises
    ------
    VolumeNotFoundError
        If the layer's volume is not among `volumes`.
    InvalidViewError
        If the layer asks for a VOI LUT that its volume does not have.
    """
    layer = view.layers[0]
    resident = volumes.get(layer.volume_id)
    if resident is None:
        raise VolumeNotFoundError(f"no volume {layer.volume_id}", volume_id=layer.volume_id)
    info, statistics = resident.volume.info, resident.statistics
    window = _applied_window(layer.window, info) or default_window(info, statistics)
    function = layer.transfer_function
    if view.is_color and function is None:
        function = default_transfer_function(info, statistics)
    if window is layer.window and function is layer.transfer_function:
        return view, resident
    # Written out: dataclasses.replace takes twice as long, for every frame of a view that leaves its window open.
    layer = Layer(layer.volume_id, window, function, layer.opacity, layer.invert)
    return View(view.camera, view.viewport, (layer,), view.rendering_method, view.slab_mm, view.clip), resident


def _applied_window(window: Window | None, info: VolumeInfo) -> Window | None:
    """Return the window asked for, with its table where it is one of the volume's VOI LUTs."""
    if window is None or window.function is not WindowFunction.VOI_LUT:
        return window
    if not 0 <= window.voi_lut < len(info.voi_luts):
        raise InvalidViewError(
            f"window.voi_lut {window.voi_lut}: the volume has {len(info.voi_luts)} VOI LUTs", field="window.voi_lut"
        )
    return Window.of_table(window.voi_lut, info.voi_luts[window.voi_lut])


def frame_of(
    applied: View,
    volume: Volume,
    picture: npt.NDArray[Any] | None,
    *,
    plane: ImagePlane,
    step_mm: float,
    quality: Quality,
    view_revision: int,
    render_ms: float,
    samples: tuple[int, int] = (0, 0),
    shown: ShownPicture | None = None,
) -> Frame:
    """Return the Frame of a picture that a renderer has drawn of an `applied_view`.

    Parameters
    ----------
    picture
        Values float32 ``(H, W)``, or RGBA uint8 ``(H, W, 4)``; None where they stay on the device.
    plane
        Of the View. It depends on nothing that was applied, and takes time to compute.
    samples
        Taken, and possible.
    shown
        The picture that was asked for, if it has been made.
    """
    layer = applied.layers[0]
    assert layer.window is not None
    return Frame(
        view=applied,
        view_revision=view_revision,
        volume_revision=volume.revision,
        plane=plane,
        window=layer.window,
        values=None if applied.is_color else picture,
        color=picture if applied.is_color else None,
        units=volume.info.units,
        inverted=layer.invert != volume.info.inverted,
        step_mm=step_mm,
        slab_mm=applied.slab_mm,
        quality=quality,
        lossy_source=volume.info.lossy_source,
        missing_slices=volume.missing_slices,
        timings_ms={"render": render_ms},
        samples_taken=samples[0],
        samples_skipped=samples[1] - samples[0],
        shown=shown,
    )

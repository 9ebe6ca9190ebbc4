"""Colour images on any renderer: their red, green and blue are volumes on one grid, drawn one after the other.

Interpolation is linear and a channel's samples know nothing of the other channels, so this is what a kernel for
colour would give; at voxel centres it gives the voxels themselves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from render.backends.base import Renderer, ResidentVolume, Statistics
from render.errors import UnsupportedError
from render.frame import FINAL, Frame, Quality
from render.transfer import Window
from render.view import View
from render.volume import Volume, VolumeInfo

CHANNELS = 3
COLOR_BYTES = 1
"""Of one sample of a colour image; voxels of values take 2 or 4."""
_CODE_BYTES = 2
WHOLE_RANGE = Window(127.5, 255.0)
"""Colours are shown as they are."""


@dataclass(frozen=True, eq=False)
class ColorVolume:
    """A colour image that is resident; implements `render.backends.base.ResidentVolume`.

    Attributes
    ----------
    volume
        What was uploaded.
    parts
        Red, green and blue.
    own_bytes
        Of the voxels as they came, where the renderer's memory is the host's.
    """

    volume: Volume
    parts: tuple[ResidentVolume, ...]
    own_bytes: int

    @property
    def statistics(self) -> Statistics:
        """Of all three channels."""
        each = [part.statistics for part in self.parts]
        lowest, highest = min(one.minimum for one in each), max(one.maximum for one in each)
        return Statistics(lowest, highest, 0.0, 255.0)

    @property
    def nbytes(self) -> int:
        """Everything that it takes on the device."""
        return self.own_bytes + sum(part.nbytes for part in self.parts)


def channel_bytes(volume_nbytes: int) -> int:
    """Return the bytes of the voxels of all channels of a colour image of this size."""
    return volume_nbytes * _CODE_BYTES


def estimate_color_bytes(renderer: Renderer, volume_nbytes: int) -> int:
    """Return the bytes that the channels of a colour image of this size will take."""
    return CHANNELS * renderer.estimate_bytes(channel_bytes(volume_nbytes) // CHANNELS, _CODE_BYTES)


def upload_channels(renderer: Renderer, volume: Volume, *, own_bytes: int) -> ColorVolume:
    """Make a colour image resident; for `own_bytes` see `ColorVolume`."""
    parts: list[ResidentVolume] = []
    try:
        for channel in range(CHANNELS):
            codes = np.ascontiguousarray(volume.codes[..., channel], np.int16)
            part = Volume(f"{volume.id}/{channel}", volume.geometry, codes, info=VolumeInfo(windows=(WHOLE_RANGE,)))
            parts.append(renderer.upload(part))
    except BaseException:
        for uploaded in parts:
            renderer.release(uploaded)
        raise
    return ColorVolume(volume, tuple(parts), own_bytes)


def color_of(view: View, volumes: Mapping[str, ResidentVolume]) -> ColorVolume | None:
    """Return the colour image that a View shows; None if it shows values."""
    resident = volumes.get(view.layers[0].volume_id)
    return resident if isinstance(resident, ColorVolume) else None


def channel_views(view: View, resident: ColorVolume) -> list[tuple[View, dict[str, ResidentVolume]]]:
    """Return what is to be drawn of a colour image: for each channel a View of it alone, and the channel by its id.

    Raises
    ------
    UnsupportedError
        If it is to be volume rendered.
    """
    if view.is_color:
        raise UnsupportedError("volume_rendered: a colour image has no values to render", field="rendering_method")
    views: list[tuple[View, dict[str, ResidentVolume]]] = []
    for part in resident.parts:
        layer = dataclasses.replace(view.layers[0], volume_id=part.volume.id, window=WHOLE_RANGE)
        views.append((dataclasses.replace(view, layers=(layer,)), {part.volume.id: part}))
    return views


def color_frame(channel: Frame, view: View, resident: ColorVolume, **changes: Any) -> Frame:
    """Return the Frame of a View of a colour image, of that of its first channel and what of it is another."""
    applied = dataclasses.replace(view.layers[0], window=WHOLE_RANGE)
    return dataclasses.replace(
        channel,
        view=dataclasses.replace(view, layers=(applied,)),
        volume_revision=resident.volume.revision,
        values=None,
        inverted=False,
        lossy_source=resident.volume.info.lossy_source,
        **changes,
    )


def render_channels(
    renderer: Renderer,
    view: View,
    resident: ColorVolume,
    *,
    quality: Quality = FINAL,
    view_revision: int = 0,
    cancelled: Callable[[], bool] | None = None,
) -> Frame:
    """Draw one View of a colour image: RGBA, transparent outside of it. The layer's window and inversion do not count.

    Raises
    ------
    UnsupportedError
        If it is to be volume rendered.
    """
    frames = [
        renderer.render(part, volumes, quality=quality, view_revision=view_revision, cancelled=cancelled)
        for part, volumes in channel_views(view, resident)
    ]
    values = np.stack([frame.pixels for frame in frames], axis=-1)
    inside = np.isfinite(values[..., 0])
    color = np.zeros((*inside.shape, 4), np.uint8)
    color[inside, :CHANNELS] = np.rint(np.clip(values[inside], 0, 255))
    color[inside, CHANNELS] = 255
    return color_frame(
        frames[0],
        view,
        resident,
        color=color,
        timings_ms={"render": sum(frame.timings_ms["render"] for frame in frames)},
        samples_taken=sum(frame.samples_taken for frame in frames),
        samples_skipped=sum(frame.samples_skipped for frame in frames),
    )


def release_channels(renderer: Renderer, resident: ColorVolume) -> None:
    """Give a colour image's memory back."""
    for part in resident.parts:
        renderer.release(part)

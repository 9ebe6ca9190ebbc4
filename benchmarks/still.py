"""A renderer that draws nothing: what is left is what a server does around a frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from render.backends.base import ResidentVolume, default_window
from render.backends.cpu import CpuRenderer
from render.encoding import pictures
from render.errors import RenderCancelledError
from render.frame import FINAL, Frame, PictureRequest, Quality, ShownPicture
from render.view import View
from render.volume import Volume

DRAW_S = 0.0003
"""What drawing and encoding are said to take: waiting, as for a card, with the interpreter left to others."""
PICTURE_QUALITY = 85


class StillRenderer:
    """Implements `render.backends.base.Renderer` and `PictureRenderer`: the same picture whatever is asked for."""

    device = "still"

    def __init__(self) -> None:
        self._holder = CpuRenderer(1)
        self._jpegs: dict[tuple[int, int], bytes] = {}
        self._values: dict[tuple[int, int], npt.NDArray[np.float32]] = {}

    def close(self) -> None:
        """Let go of what holds the volumes."""
        self._holder.close()

    def estimate_bytes(self, volume_nbytes: int, dtype_bytes: int) -> int:
        """As the CPU renderer says."""
        return self._holder.estimate_bytes(volume_nbytes, dtype_bytes)

    def upload(self, volume: Volume) -> ResidentVolume:
        """As the CPU renderer does."""
        return self._holder.upload(volume)

    def release(self, resident: ResidentVolume) -> None:
        """As the CPU renderer does."""
        self._holder.release(resident)

    def render(
        self,
        view: View,
        volumes: Mapping[str, ResidentVolume],
        *,
        quality: Quality = FINAL,
        view_revision: int = 0,
        cancelled: Callable[[], bool] | None = None,
    ) -> Frame:
        """Return a frame of zeros."""
        return self._frame(view, volumes, None, quality, view_revision, cancelled)

    def render_picture(
        self,
        view: View,
        volumes: Mapping[str, ResidentVolume],
        picture: PictureRequest,
        *,
        quality: Quality = FINAL,
        view_revision: int = 0,
        cancelled: Callable[[], bool] | None = None,
    ) -> Frame:
        """Return a frame with a JPEG of the usual size for its pixels."""
        return self._frame(view, volumes, picture, quality, view_revision, cancelled)

    def _frame(
        self,
        view: View,
        volumes: Mapping[str, ResidentVolume],
        picture: PictureRequest | None,
        quality: Quality,
        view_revision: int,
        cancelled: Callable[[], bool] | None,
    ) -> Frame:
        if cancelled is not None and cancelled():
            raise RenderCancelledError("nobody wants it")
        begun = time.perf_counter()
        time.sleep(DRAW_S)
        resident = volumes[view.layers[0].volume_id]
        volume = resident.volume
        shape = view.viewport.height_px, view.viewport.width_px
        shown, values = None, None
        if picture is not None:
            shown = ShownPicture(picture, shape[1], shape[0], jpeg=self._jpeg(shape))
        if picture is None or picture.with_pixels:
            values = self._values.setdefault(shape, np.zeros(shape, np.float32))
        return Frame(
            view,
            view_revision,
            volume.revision,
            view.plane,
            view.layers[0].window or default_window(volume.info, resident.statistics),
            values=values,
            units=volume.info.units,
            slab_mm=view.slab_mm,
            quality=quality,
            timings_ms={"render": (time.perf_counter() - begun) * 1e3},
            shown=shown,
        )

    def _jpeg(self, shape: tuple[int, int]) -> bytes:
        if shape not in self._jpegs:
            row, column = np.ogrid[: shape[0], : shape[1]]
            waves = 128 + 60 * np.sin(column / 5) + 60 * np.cos(row / 7)
            self._jpegs[shape] = pictures.jpeg(waves.astype(np.uint8), PICTURE_QUALITY)
        return self._jpegs[shape]

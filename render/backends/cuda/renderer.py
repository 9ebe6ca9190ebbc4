"""The renderer on an NVIDIA card: Views to Frames."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from render.backends.base import ResidentVolume
from render.backends.channels import (
    COLOR_BYTES,
    ColorVolume,
    estimate_color_bytes,
    release_channels,
    upload_channels,
)
from render.backends.cuda.device import Device, MemoryState, Texture
from render.backends.cuda.drawing import BAND_SAMPLES
from render.backends.cuda.frames import Frames, Sampling
from render.backends.cuda.grid import BRICK
from render.backends.cuda.resident import ROUNDING, CudaVolume, tables_nbytes
from render.backends.cuda.uploading import CHUNK_BYTES, Uploader
from render.errors import DeviceError, DeviceLostError, DeviceMemoryError
from render.frame import FINAL, Frame, PictureRequest, Quality
from render.growth import Span
from render.memory import format_bytes
from render.view import View
from render.volume import Volume

logger = logging.getLogger(__name__)

MAX_TEXTURE_SIDE = 16384
"""Voxels along a side of a CUDA array."""
TEXTURE_SHARE = 0.5
"""Of the budget: a volume whose voxels and texture together take more is held without the texture."""
MAX_LEVELS = 12
"""Of a grid, for the rounding of their buffers."""

T = TypeVar("T")


class CudaRenderer:
    """Implements `render.backends.base.Renderer` on one card.

    Every method may be called from any thread. Each frame has a stream of its own while it is drawn.

    A volume is held twice where there is room: as linear memory, which exact sampling and the grid need, and as a
    texture for interactive frames. It has a texture if both take no more than `TEXTURE_SHARE` of the budget, which its
    size alone decides, and if the card then has the memory; otherwise all its frames are sampled exactly.

    Parameters
    ----------
    device
        The card.
    budget_bytes
        For volumes; what `TEXTURE_SHARE` is of.
    sampling
        For tests and benchmarks, which want one or the other.
    band_samples, chunk_bytes
        See `render.backends.cuda.drawing` and `render.backends.cuda.uploading`.
    """

    def __init__(
        self,
        device: Device,
        budget_bytes: int,
        *,
        sampling: Sampling = Sampling.BY_QUALITY,
        band_samples: int = BAND_SAMPLES,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self._device = device
        self._budget_bytes = budget_bytes
        self._sampling = sampling
        self._uploader = Uploader(device, chunk_bytes)
        self._frames = Frames(device, sampling, band_samples)
        self._lost: str | None = None

    @property
    def device(self) -> str:
        """``cuda:0``."""
        return self._device.name

    @property
    def description(self) -> str:
        """The card's model."""
        return self._device.description

    @property
    def encoder(self) -> str:
        """What encodes pictures on the card, or why nothing does; empty before the first one."""
        return self._frames.encoders.description

    def try_encoder(self) -> str:
        """Make an encoder before a picture wants one, and return `encoder`. Blocks; raises what `render` does."""
        return self._trying("a picture to try the encoder with", self._frames.try_encoder)

    @property
    def lost(self) -> str | None:
        """Why the card does nothing any more; None while it works."""
        return self._lost

    def memory(self) -> MemoryState:
        """Return what the card and the pool hold."""
        return self._device.memory()

    def free_unused(self) -> None:
        """Give back to the card what the pool keeps for later."""
        self._trying("freeing the pool", self._device.free_unused)

    def close(self) -> None:
        """Give the lanes and the pool back; no frame may be in hand."""
        self._frames.close()
        self._uploader.close()
        self._device.close()

    def estimate_bytes(self, volume_nbytes: int, dtype_bytes: int) -> int:
        """Bytes that `upload` will take at most, texture, grid and tables included, by size alone.

        The coarser bricks add a seventh, those that stick out of a volume up to as much again.
        """
        if dtype_bytes == COLOR_BYTES:
            return estimate_color_bytes(self, volume_nbytes)
        bricks = 2 * volume_nbytes / dtype_bytes / BRICK**3 + 8
        grid = int(bricks * 8 / 7 * (2 * dtype_bytes + 1)) + 3 * MAX_LEVELS * ROUNDING
        once = volume_nbytes + grid + tables_nbytes(bricks) + ROUNDING
        return once + volume_nbytes if self._has_room_for_texture(volume_nbytes) else once

    def upload(self, volume: Volume) -> CudaVolume | ColorVolume:
        """Make a volume resident: voxels, texture, bricks, statistics. Blocks.

        Raises
        ------
        DeviceMemoryError
            If the card has no room for the voxels.
        DeviceLostError
            If the card does nothing any more.
        """
        if volume.is_color:
            return upload_channels(self, volume, own_bytes=0)
        return self._trying(
            f"a volume of {format_bytes(volume.nbytes)}",
            lambda: self._uploader.upload(volume, self._texture_for(volume)),
        )

    def grow(self, before: ResidentVolume | None, volume: Volume, slices: Sequence[Span]) -> CudaVolume | ColorVolume:
        """Make the next state of a volume resident that grows; see `render.backends.base.GrowingRenderer.grow`.

        All states share voxels and texture; each has bricks of its own, so that a frame has one state's throughout.
        Raises what `upload` raises; `before` is as it was then.
        """
        if before is None and not volume.missing_slices:
            return self.upload(volume)
        assert before is None or isinstance(before, CudaVolume)

        def attempt() -> CudaVolume:
            texture = self._texture_for(volume) if before is None else None
            return self._uploader.grow(before, volume, slices, texture)

        return self._trying(f"a volume of {format_bytes(volume.nbytes)}, in part", attempt)

    def release(self, resident: ResidentVolume) -> None:
        """Give a volume's memory back to the pool, once the frames of it that are being drawn are done."""
        if isinstance(resident, ColorVolume):
            return release_channels(self, resident)
        assert isinstance(resident, CudaVolume)
        resident.close()

    def render(
        self,
        view: View,
        volumes: Mapping[str, ResidentVolume],
        *,
        quality: Quality = FINAL,
        view_revision: int = 0,
        cancelled: Callable[[], bool] | None = None,
    ) -> Frame:
        """Draw one View; see `render.backends.base.Renderer.render`.

        Raises
        ------
        DeviceMemoryError
            If the card has no room for the picture, after all that can be freed has been.
        DeviceLostError
            If the card does nothing any more.
        DeviceError
            If it failed at this frame.
        """
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
        """Draw one View whose picture is wanted as JPEG; see `render.backends.picture_renderer.PictureRenderer`.

        Encoded on the card where that is possible; else windowed and shrunk there. Raises what `render` raises: an
        encoder that fails is said once in the log, and pictures come back as pixels from then on.
        """
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
        return self._trying(
            f"a picture of {view.viewport.width_px} x {view.viewport.height_px}",
            lambda: self._frames.draw(view, volumes, picture, quality, view_revision, cancelled),
        )

    def _trying(self, what: str, attempt: Callable[[], T]) -> T:
        """Do it; once more with the pool freed if there was no memory; note if the card is lost."""
        if self._lost is not None:
            raise DeviceLostError(self._lost, device=self.device)
        try:
            try:
                return attempt()
            except DeviceMemoryError:
                self._device.free_unused()
            try:
                return attempt()
            except DeviceMemoryError as error:
                raise self._refused(what) from error
        except DeviceError as error:
            if not self._device.is_lost():
                raise
            self._lost = f"{self.device} does nothing any more: {error.message}"
            logger.error("%s", self._lost)
            raise DeviceLostError(self._lost, device=self.device) from error

    def _refused(self, what: str) -> DeviceMemoryError:
        memory = self._device.memory()
        return DeviceMemoryError(
            f"{what} does not fit on {self.device}: {format_bytes(memory.free)} free of {format_bytes(memory.total)}, "
            f"{format_bytes(memory.used)} of them in use here",
            device=self.device,
            free_bytes=memory.free,
            used_bytes=memory.used,
        )

    def _has_room_for_texture(self, volume_nbytes: int) -> bool:
        return self._sampling is not Sampling.EXACT and 2 * volume_nbytes <= TEXTURE_SHARE * self._budget_bytes

    def _texture_for(self, volume: Volume) -> Texture | None:
        if max(volume.geometry.shape) > MAX_TEXTURE_SIDE or not self._has_room_for_texture(volume.nbytes):
            return None
        try:
            return self._device.texture(volume.geometry.shape, volume.codes.dtype)
        except DeviceMemoryError:
            logger.info("%s: no memory for a texture of %s", self.device, format_bytes(volume.nbytes))
            return None

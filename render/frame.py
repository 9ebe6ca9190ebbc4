"""A rendered picture, and what was actually done to get it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from render.transfer import Window
from render.view import ImagePlane, View


@dataclass(frozen=True)
class Quality:
    """How much of the work a frame takes.

    Attributes
    ----------
    ray_stride
        One ray for this many pixels in each direction, upscaled to the viewport; 1 for all.
    step_factor
        Steps along a ray are this many times the final step (a whole number keeps the sample lattice coarse
        but regular); 1 for the final one. Thin views take one sample regardless.
    """

    ray_stride: int = 1
    step_factor: float = 1.0

    @property
    def is_final(self) -> bool:
        """Whether nothing was saved."""
        return self.ray_stride == 1 and self.step_factor == 1.0


FINAL = Quality()


@dataclass(frozen=True)
class PictureRequest:
    """A JPEG that is wanted of a frame, told beforehand: a renderer may make it beside its processor.

    Attributes
    ----------
    jpeg_quality
        1 to 100.
    divisor
        One pixel of the picture for this many of the frame, in each direction.
    with_pixels
        Whether the frame's values or colour are wanted too.
    """

    jpeg_quality: int
    divisor: int = 1
    with_pixels: bool = False


@dataclass(frozen=True)
class ShownPicture:
    """What is seen, as a `PictureRequest` has it. Exactly one of `pixels` and `jpeg` is set.

    Attributes
    ----------
    request
        Which this answers.
    width_px, height_px
        Of the picture.
    pixels
        uint8, gray ``(H, W)`` or RGB ``(H, W, 3)``: to be encoded yet.
    jpeg
        Encoded. What that took is in the frame's ``render`` time, since both were waited for at once.
    """

    request: PictureRequest
    width_px: int
    height_px: int
    pixels: npt.NDArray[np.uint8] | None = None
    jpeg: bytes | None = None


@dataclass(frozen=True)
class Frame:
    """Pixels, and the View as it was drawn.

    Exactly one of `values` and `color` is set; neither is, where `shown` is all that was asked for.

    Attributes
    ----------
    view
        What was asked for, with the window, transfer function and slab that were applied filled in.
    view_revision, volume_revision
        Of the View and of the Volume that this answers.
    values
        float32, shape ``(height_px, width_px)``, modality units, NaN outside. For every method but volume_rendered.
    color
        uint8, shape ``(height_px, width_px, 4)``, RGBA premultiplied by alpha. For volume_rendered.
    plane
        Where the pixels lie.
    window
        The window that applies to `values`.
    units
        Of `values`.
    inverted
        Whether gray is shown inverted: the layer's wish and MONOCHROME1 together.
    step_mm
        Distance of the samples along a ray; 0 for a thin view.
    slab_mm
        Thickness that took part; None for the whole volume.
    quality
        What was saved.
    lossy_source
        The voxels were compressed lossily before they came here.
    missing_slices
        Of the volume, not loaded yet when this was drawn. Such a frame is never final.
    timings_ms
        Stage to duration, ``render`` at least.
    samples_taken, samples_skipped
        Of those that lie along the rays within the volume: interpolated, and left out because they could not change
        the picture. Both 0 where a renderer does not count.
    shown
        The picture that was asked for, if the renderer made it.
    """

    view: View
    view_revision: int
    volume_revision: int
    plane: ImagePlane
    window: Window
    values: npt.NDArray[np.float32] | None = None
    color: npt.NDArray[np.uint8] | None = None
    units: str = ""
    inverted: bool = False
    step_mm: float = 0.0
    slab_mm: float | None = None
    quality: Quality = Quality()
    lossy_source: bool = False
    missing_slices: int = 0
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    samples_taken: int = 0
    samples_skipped: int = 0
    shown: ShownPicture | None = None

    @property
    def is_final(self) -> bool:
        """Whether this is as good as it gets: full quality, no slice missing."""
        return self.quality.is_final and self.missing_slices == 0

    @property
    def pixels(self) -> npt.NDArray[np.float32] | npt.NDArray[np.uint8]:
        """`values` or `color`, whichever it is."""
        pixels = self.values if self.color is None else self.color
        assert pixels is not None
        return pixels

    def gray8(self) -> npt.NDArray[np.uint8]:
        """Return the values through the window, uint8, shape ``(height_px, width_px)``."""
        assert self.values is not None
        return self.window.to_gray8(self.values, invert=self.inverted)

    def picture(self) -> npt.NDArray[np.uint8]:
        """Return what is seen: gray ``(H, W)``, or RGB over black ``(H, W, 3)``."""
        return self.gray8() if self.color is None else self.color[..., :3]

"""One frame as a picture to look at: what lists and thumbnails show, of images that make no volume too.

Volumes hold one value a voxel. A colour image is therefore refused as a volume, and shown as the picture that it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset

from render.dicom.access import PixelFiles
from render.dicom.attributes import text
from render.dicom.codecs import decode
from render.dicom.colour import PALETTE_KEYWORDS, to_rgb8
from render.dicom.elements import naming, read_elements
from render.dicom.frames import FrameHeader, PixelFormat, read_frame
from render.dicom.instance import Instance
from render.dicom.overlays import OVERLAY_TAGS, Overlay, read_overlays
from render.dicom.pixels import padding_mask
from render.dicom.values import window_from
from render.errors import NotAVolumeError
from render.transfer import Window

_TAGS: tuple[str | int, ...] = (
    *PALETTE_KEYWORDS,
    *OVERLAY_TAGS,
    "ICCProfile",
    "PresentationLUTShape",
    "RescaleSlope",
    "RescaleIntercept",
    "WindowCenter",
    "WindowWidth",
    "WindowCenterWidthExplanation",
    "VOILUTFunction",
    "VOILUTSequence",
)

AUTO_PERCENTILES = (0.5, 99.5)
"""What the automatic window spans, of the pixels that are no padding."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One frame, as it would be shown.

    Attributes
    ----------
    pixels
        8 bits: gray, shape (rows, columns), windowed, and inverted where the source says so; or red, green and blue,
        shape (rows, columns, 3).
    overlays
        Not drawn; `Overlay.on_image` places them.
    has_icc_profile
        The colours are defined by an ICC profile, which is not applied.
    aspect
        Height over width of a pixel.
    """

    pixels: npt.NDArray[np.uint8]
    overlays: tuple[Overlay, ...] = ()
    has_icc_profile: bool = False
    aspect: float = 1.0
    warnings: tuple[str, ...] = ()


def read_picture(root: Path, instance: Instance, number: int = 1, window: Window | None = None) -> Picture:
    """Decode one frame for display, within `quiet_pydicom`.

    Parameters
    ----------
    root
        The folder that the instance's path is below.
    number
        Of the frame, from 1.
    window
        Of gray values; None for the image's own, else an automatic one.

    Raises
    ------
    NotAVolumeError
        If the object has no pixels, or no such frame.
    UnreadableFileError, CodecError
        If the file is gone, has changed, or can't be decoded; the message names it.
    """
    pixels, extent = instance.format, instance.extent
    if pixels is None or extent is None or instance.defect:
        raise NotAVolumeError(f"{instance.path}: {instance.defect or 'holds no pixels'}")
    if not 1 <= number <= instance.number_of_frames:
        raise NotAVolumeError(f"{instance.path}: no frame {number} of {instance.number_of_frames}")
    dataset = read_elements(root, instance, _TAGS)
    with naming(instance), PixelFiles(root) as files:
        file = files.open(instance)
        overlays, warnings = read_overlays(dataset, instance, file)
        stored = decode(file, instance.transfer_syntax, pixels, extent, instance.number_of_frames, number - 1)
        if pixels.samples > 1 or pixels.photometric == "PALETTE COLOR":
            shown = to_rgb8(stored, pixels, instance.transfer_syntax, dataset)
        else:
            shown = _gray(stored, _frame(dataset, instance, pixels, number), instance, dataset, window)
    spacing = instance.frames[0].spacing_mm if instance.frames else None
    return Picture(
        pixels=shown,
        overlays=overlays,
        has_icc_profile="ICCProfile" in dataset,
        aspect=spacing[0] / spacing[1] if spacing else 1.0,
        warnings=warnings,
    )


def _frame(dataset: FileDataset, instance: Instance, pixels: PixelFormat, number: int) -> FrameHeader:
    """Return a frame's rescale and windows; frames without a place have those of their data set."""
    known = {frame.number: frame for frame in instance.frames}
    return known[number] if number in known else replace(read_frame(dataset, pixels), number=number)


def _gray(
    stored: npt.NDArray[Any], frame: FrameHeader, instance: Instance, dataset: FileDataset, window: Window | None
) -> npt.NDArray[np.uint8]:
    padding = padding_mask(stored, instance.padding)
    lut = instance.modality_lut
    values = (
        lut.look_up(stored).astype(np.float64)
        if lut is not None
        else stored.astype(np.float64) * frame.slope + frame.intercept
    )
    if padding is not None:
        values[padding] = np.nan
    values[~np.isfinite(values)] = np.nan
    invert = instance.format is not None and instance.format.photometric == "MONOCHROME1"
    invert |= text(dataset, "PresentationLUTShape").upper() == "INVERSE"
    if window is None:
        window = next((made for made in map(window_from, frame.windows) if made is not None), None)
    if window is None and frame.voi_luts:
        window = Window.of_table(0, frame.voi_luts[0])
    return (window or _automatic(values)).to_gray8(values, invert=invert)


def _automatic(values: npt.NDArray[np.float64]) -> Window:
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, AUTO_PERCENTILES) if known.size else (0.0, 1.0)
    if not high > low:
        low, high = float(low), float(low) + 1.0
    return Window((low + high) / 2, high - low, explanation="auto")

"""A small picture of a volume's middle slice, decoded on its own."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

from render.dicom.header import quiet_pydicom
from render.dicom.pixels import Codes, decode_layers
from render.dicom.plan import VolumePlan
from render.geometry import VolumeGeometry
from render.transfer import Window

LARGEST_SIDE_PX = 256


def middle_slice(plan: VolumePlan) -> npt.NDArray[np.uint8]:
    """Return the middle slice, 8-bit gray or RGB, with square pixels, at most `LARGEST_SIDE_PX` large.

    It stands as readers expect it, whichever way its rows run: front or head up, the patient's left or back at the
    right. It is shown through the source's first window or VOI LUT, else from the 1st to the 99th percentile of its
    values.

    Raises
    ------
    UnreadableFileError, CodecError
        If the slice can't be decoded.
    """
    middle = plan.shape[0] // 2
    codes = cast(Codes, np.empty((1, *plan.codes_shape[1:]), plan.values.dtype))
    with quiet_pydicom():
        decode_layers(plan.root, plan.layers[middle : middle + 1], plan.values, codes)
    if plan.values.is_color:
        return _upright(codes[0].astype(np.uint8, copy=False), plan.geometry)
    values = codes[0] * np.float64(plan.values.slope) + plan.values.intercept
    if plan.values.invalid_code is not None:
        values[codes[0] == plan.values.invalid_code] = np.nan
    window = next(iter(plan.info.voi), None) or _automatic(values)
    return _upright(window.to_gray8(values, invert=plan.info.inverted), plan.geometry)


def _upright(picture: npt.NDArray[np.uint8], geometry: VolumeGeometry) -> npt.NDArray[np.uint8]:
    """Turn a slice's picture so that x, else y, runs to the right and y, else -z, downwards (LPS), and resize it."""
    right, down, _ = geometry.patient_from_voxel[:3, :3].T
    along_right, along_down = int(np.abs(right).argmax()), int(np.abs(down).argmax())
    if along_right > along_down:
        picture = picture.swapaxes(0, 1)
        (right, along_right), (down, along_down) = (down, along_down), (right, along_right)
    if right[along_right] < 0:
        picture = picture[:, ::-1]
    if (down[along_down] < 0) != (along_down == 2):
        picture = picture[::-1]
    return resized(picture, float(np.linalg.norm(down) / np.linalg.norm(right)))


def _automatic(values: npt.NDArray[np.float64]) -> Window:
    known = values[np.isfinite(values)]
    if not known.size:
        return Window(0, 1)
    low, high = (float(value) for value in np.percentile(known, (1, 99)))
    return Window((low + high) / 2, max(high - low, 1e-6))


def resized(picture: npt.NDArray[np.uint8], aspect: float) -> npt.NDArray[np.uint8]:
    """Return a picture, gray or RGB, at most `LARGEST_SIDE_PX` large and with square pixels, by its nearest ones.

    Parameters
    ----------
    aspect
        How many times as far apart rows are as columns.
    """
    rows, columns = picture.shape[:2]
    height, width = rows * aspect, float(columns)
    scale = min(1.0, LARGEST_SIDE_PX / max(height, width))
    down = ((np.arange(max(1, round(height * scale))) + 0.5) / max(1, round(height * scale)) * rows).astype(int)
    right = ((np.arange(max(1, round(width * scale))) + 0.5) / max(1, round(width * scale)) * columns).astype(int)
    return picture[np.ix_(down, right)]

"""Whether an encoder gives what it was given: tried once, on small pictures that a CPU decodes."""

from __future__ import annotations

import imagecodecs
import numpy as np
import numpy.typing as npt

from render.backends.cuda.device import Device, PictureEncoder
from render.backends.cuda.drawing import Lane
from render.errors import DeviceEncoderError

QUALITY = 95
TOLERANCE = 8
"""Levels, at any pixel of a smooth picture: several times what quality 95 costs, a fraction of what a wrong order of
channels, a wrong stride or an offset costs."""
_ROWS, _COLUMNS = 60, 83  # neither a whole number of JPEG's blocks


def require_faithful(encoder: PictureEncoder, device: Device, lane: Lane) -> None:
    """Encode a gray and a coloured picture, and decode them on the CPU.

    Raises
    ------
    DeviceEncoderError
        If one of them is not what it was.
    """
    for channels in (1, 3):
        picture = _ramps(channels)
        buffer, source = device.allocate(picture.nbytes, lane.stream), device.pinned(picture.nbytes)
        np.copyto(source, picture.reshape(-1))
        device.upload(buffer, 0, source, lane.stream)
        payload = encoder.jpeg(buffer, (_ROWS, _COLUMNS, channels), QUALITY, lane.stream)
        what = "a gray picture" if channels == 1 else "a coloured picture"
        try:
            decoded = np.asarray(imagecodecs.jpeg8_decode(payload)).reshape(picture.shape)
        except Exception as error:  # whatever the codec raises: it is no JPEG of this picture
            raise DeviceEncoderError(f"{encoder.name}: {what} can't be decoded", device=device.name) from error
        off = int(np.abs(decoded.astype(np.int16) - picture).max())
        if off > TOLERANCE:
            raise DeviceEncoderError(f"{encoder.name}: {what} is off by {off} of 255 levels", device=device.name)


def _ramps(channels: int) -> npt.NDArray[np.uint8]:
    """Return smooth pictures in which every direction and every channel is another."""
    row, column = np.indices((_ROWS, _COLUMNS)) / (max(_ROWS, _COLUMNS) - 1)
    planes = (40 + 170 * column, 200 - 180 * row, 60 + 60 * (row + column))[:channels]
    return np.stack(planes, axis=-1).astype(np.uint8)

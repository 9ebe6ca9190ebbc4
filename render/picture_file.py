"""A Frame to a file: a picture or values by the file's ending, and its metadata as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from render.encoding import Encoding, encode
from render.errors import InvalidArgumentError
from render.frame import Frame
from render.volume import Volume

PICTURE_JPEG_QUALITY = 95
SUFFIXES = (".png", ".jpg", ".jpeg", ".tiff", ".tif", ".npy")


def check_suffix(path: Path) -> None:
    """Raise InvalidArgumentError unless the ending names a format, before anything is rendered."""
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidArgumentError(
            f"-o {path}: ending {path.suffix!r}; one of {', '.join(SUFFIXES)} needed", field="output"
        )


def check_writable(path: Path, option: str) -> None:
    """Raise InvalidArgumentError unless a file can be written at `path`, before anything is rendered.

    Nothing is made or changed; what happens later, such as a disk that fills, is told by the writing itself.
    """
    folder = path.parent
    if path.is_dir():
        problem = "a folder"
    elif not folder.is_dir():
        problem = f"no folder {str(folder)!r}"
    elif not os.access(path if path.exists() else folder, os.W_OK):
        problem = "can't be written (Permission denied)"
    else:
        return
    raise InvalidArgumentError(f"{option} {path}: {problem}", field=option.lstrip("-"))


def write_frame(frame: Frame, path: Path) -> None:
    """Write a frame in the format that the path's ending names.

    ``.png .jpg .tiff`` are what is seen, 8-bit gray through the window or RGB over black. ``.npy`` is values: float32,
    shape ``(H, W)``, modality units, NaN outside; of volume rendering uint8 ``(H, W, 4)``, RGBA premultiplied.

    Raises
    ------
    InvalidArgumentError
        If the ending names no format, or the file can't be written.
    """
    check_suffix(path)
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            with path.open("wb") as file:
                np.save(file, frame.pixels)
        elif suffix in (".tiff", ".tif"):
            import tifffile

            tifffile.imwrite(path, frame.picture(), compression="zlib", photometric=_photometric(frame))
        else:
            encoding = Encoding.PNG if suffix == ".png" else Encoding.JPEG
            path.write_bytes(encode(frame, encoding, jpeg_quality=PICTURE_JPEG_QUALITY).payload)
    except OSError as error:
        raise InvalidArgumentError(f"-o {path}: can't be written ({error.strerror})", field="output") from error


def write_metadata(frame: Frame, volume: Volume, path: Path) -> None:
    """Write what was drawn, and where its pixels lie in the patient, as JSON."""
    try:
        path.write_text(json.dumps(frame_metadata(frame, volume), indent=2) + "\n", "utf-8")
    except OSError as error:
        raise InvalidArgumentError(
            f"--metadata {path}: can't be written ({error.strerror})", field="metadata"
        ) from error


def frame_metadata(frame: Frame, volume: Volume) -> dict[str, Any]:
    """Return what `write_metadata` writes: lengths in mm, patient space (LPS), the window in modality units."""
    camera = frame.view.camera
    return {
        "top_left_mm": frame.plane.top_left_mm,
        "row_direction": frame.plane.row_direction,
        "column_direction": frame.plane.column_direction,
        "pixel_spacing_mm": frame.plane.pixel_spacing_mm,
        "viewport_px": [frame.view.viewport.width_px, frame.view.viewport.height_px],
        "viewpoint_position_mm": camera.position,
        "viewpoint_look_at_mm": camera.look_at,
        "viewpoint_up": camera.up,
        "window": {
            "center": frame.window.center,
            "width": frame.window.width,
            "function": frame.window.function.value,
        },
        "inverted": frame.inverted,
        "units": frame.units,
        "slab_mm": frame.slab_mm,
        "step_mm": frame.step_mm,
        "rendering_method": frame.view.rendering_method.value,
        "series_uid": volume.info.series_uid,
        "volume_id": volume.id,
        "volume_index": volume.info.volume_index,
        "volume_shape": volume.geometry.shape,
        "patient_from_voxel": volume.geometry.patient_from_voxel.tolist(),
        "lossy_source": frame.lossy_source,
        "warnings": volume.info.warnings,
        "timings_ms": dict(frame.timings_ms),
    }


def _photometric(frame: Frame) -> str:
    return "minisblack" if frame.color is None else "rgb"

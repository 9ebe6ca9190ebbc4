"""``voxelcast render`` beside SimpleITK's own resampling of the same series: two programs, one answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813 # what everybody calls it

from render import cli

WITHIN = 1.0
"""Modality units; the arithmetic of the two differs by float32 rounding and 14-bit weights, far below it."""
SHARE = 0.999
SIZE = (384, 320)

CAMERAS = {
    "axial": ["--orientation", "f"],
    "coronal": ["--orientation", "a"],
    "sagittal": ["--orientation", "l"],
    "oblique": ["position", (100, -200, 150), "look at", (5, 3, -7), "up", (0.1, 0.2, 1)],
    "double oblique": ["position", (-80, 60, 300), "look at", (-5, 13, 17), "up", (0, -1, 0.3)],
}


@pytest.fixture(scope="module", params=["petct_acrin_fusion/ct", "mr_head_t1_oblique_192"])
def series(request: pytest.FixtureRequest, real_data: Path) -> tuple[Path, sitk.Image]:
    """Return a folder and the image that SimpleITK makes of it."""
    folder = real_data / request.param
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return folder, sitk.Cast(reader.Execute(), sitk.sitkFloat32)


def camera_options(words: list[Any], center_mm: npt.NDArray[np.float64]) -> list[str]:
    """Return the command line's words for a camera that is given relative to the volume's centre."""
    if len(words) == 2:
        return words
    _, position, _, look_at, _, up = words
    vectors = {
        "--viewpointposition": center_mm + position,
        "--viewpointlookat": center_mm + look_at,
        "--viewpointup": up,
    }
    return [word for name, vector in vectors.items() for word in (name, ",".join(map(str, vector)))]


def resample(image: sitk.Image, said: dict[str, Any]) -> npt.NDArray[np.float32]:
    """Return SimpleITK's values at the pixels that the metadata tell of."""
    row, column = np.array(said["row_direction"]), np.array(said["column_direction"])
    down, right = said["pixel_spacing_mm"]
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize((*SIZE, 1))
    resampler.SetOutputOrigin(said["top_left_mm"])
    resampler.SetOutputSpacing((right, down, 1.0))
    resampler.SetOutputDirection(np.stack([row, column, np.cross(row, column)], axis=1).ravel().tolist())
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetDefaultPixelValue(float("nan"))
    return sitk.GetArrayFromImage(resampler.Execute(image))[0]


def agreement(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> float:
    """Return the share of pixels that are outside in both, or within tolerance."""
    return float(((np.isnan(ours) & np.isnan(theirs)) | (np.abs(ours - theirs) <= WITHIN)).mean())


@pytest.mark.data
@pytest.mark.parametrize("camera", CAMERAS)
def test_a_plane_equals_simpleitks(
    series: tuple[Path, sitk.Image], camera: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, image = series
    middle = [(n - 1) / 2 for n in image.GetSize()]
    center_mm = np.array(image.TransformContinuousIndexToPhysicalPoint(middle))
    options = ["--mpr", *camera_options(CAMERAS[camera], center_mm), "--viewport", f"{SIZE[0]},{SIZE[1]}"]
    plane, metadata = tmp_path / "plane.npy", tmp_path / "plane.json"
    words = ["voxelcast", "render", str(folder), *options, "-o", str(plane), "--metadata", str(metadata)]
    monkeypatch.setattr(sys, "argv", words)
    cli.main()
    ours, said = np.load(plane), json.loads(metadata.read_text())
    assert ours.shape == SIZE[::-1]
    assert np.isfinite(ours).mean() > 0.2
    assert agreement(ours, resample(image, said)) >= SHARE
    # Were half a voxel or a mirrored direction to pass, this test would say nothing.
    shift = np.array(said["row_direction"]) * image.GetSpacing()[0] / 2
    shifted = said | {"top_left_mm": (np.array(said["top_left_mm"]) + shift).tolist()}
    assert agreement(ours, resample(image, shifted)) < SHARE
    assert agreement(ours[:, ::-1], resample(image, said)) < SHARE

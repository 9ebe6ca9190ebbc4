"""Files that share a SOP Instance UID: copies are used once, contradictions are kept apart, and both are said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGLSLossless

from render.dicom.pixels import load_volume
from render.dicom.series import Series, select
from render.dicom.source import scan
from tests.dicom.synthetic import ramp, save, slice_dataset, write_series

COPIES = "are copies of others, with the same SOP Instance UID and pixels: each is used once"
APART = "have another's SOP Instance UID and place, but other bytes or attributes: kept apart"


def only_series(folder: Path) -> Series:
    (series,) = scan(folder).series
    assert len(series.paths) == sum(1 for path in folder.rglob("*") if path.is_file())
    return series


def test_copies_are_used_once_whatever_their_names_and_file_meta(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    (tmp_path / "copy").write_bytes(paths[1].read_bytes())
    sent = dcmread(paths[2])
    sent.file_meta.ImplementationVersionName = "ANOTHER"
    sent.save_as(tmp_path / "sent")
    series = only_series(tmp_path)
    assert series.warnings == (f"2 of 6 files {COPIES}",)
    (plan,) = series.volumes
    np.testing.assert_array_equal(load_volume(plan).codes, ramp((4, 6, 5)))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless])
def test_other_pixels_under_one_uid_are_another_volume(tmp_path: Path, syntax: str) -> None:
    write_series(tmp_path / "a", transfer_syntax=syntax)
    write_series(tmp_path / "b", ramp((4, 6, 5)) + 7, transfer_syntax=syntax)
    series = only_series(tmp_path)
    assert series.warnings[0] == f"4 of 8 files {APART}"
    found = sorted(int(load_volume(plan).codes[0, 0, 0]) for plan in series.volumes)
    assert found == [0, 7]
    assert len({plan.id for plan in series.volumes}) == 2
    for plan in series.volumes:
        first = int(load_volume(plan).codes[0, 0, 0])
        np.testing.assert_array_equal(load_volume(plan).codes, ramp((4, 6, 5)) + first)


@pytest.mark.parametrize("other", [{"RescaleSlope": 2, "RescaleIntercept": 0}, {"PixelPaddingValue": 3}])
def test_the_same_pixels_of_another_meaning_are_no_copy(tmp_path: Path, other: dict[str, Any]) -> None:
    write_series(tmp_path / "a")
    write_series(tmp_path / "b", **other)
    series = only_series(tmp_path)
    assert series.warnings[0] == f"4 of 8 files {APART}"
    assert [plan.shape for plan in series.volumes] == [(4, 6, 5)] * 2


@pytest.mark.parametrize("is_same_folder", [False, True])
def test_sets_that_contradict_one_another_are_not_mixed(tmp_path: Path, is_same_folder: bool) -> None:
    # Sizes and names order the slices of the two sets now this way and now that.
    noise = np.random.default_rng(4).integers(0, 900, (6, 20, 20)).astype(np.int16)
    noise[::2, 5:] = 0
    names = ["f", "a", "e", "b", "d", "c"]
    write_series(tmp_path / "a", noise, transfer_syntax=DeflatedExplicitVRLittleEndian, names=names)
    other = JPEGLSLossless if is_same_folder else DeflatedExplicitVRLittleEndian
    second = write_series(tmp_path / "b", noise[::-1] + 1000, transfer_syntax=other, names=names[::-1])
    if is_same_folder:
        for n, path in enumerate(second):
            path.rename(tmp_path / "a" / f"{'zA'[n % 2]}{n}")
    series = only_series(tmp_path)
    found = [load_volume(plan).codes for plan in series.volumes]
    assert sorted(int(codes.max() > 900) for codes in found) == [0, 1]
    for codes in found:
        np.testing.assert_array_equal(codes, noise[::-1] + 1000 if codes.max() > 900 else noise)


def test_of_one_contradicted_slice_the_stack_is_chosen_and_the_other_can_be(tmp_path: Path) -> None:
    write_series(tmp_path / "a")
    write_series(tmp_path / "b", ramp((1, 6, 5)) + 7)
    found = scan(tmp_path)
    assert select(found).shape == (4, 6, 5)
    assert f"1 of 5 files {APART}" in select(found).info.warnings
    assert load_volume(select(found, volume=1)).codes[0, 0, 0] in (0, 7)


def test_images_without_a_place_are_told_apart_too(tmp_path: Path) -> None:
    for n in range(2):
        dataset = slice_dataset(ramp((1, 6, 5))[0], "1.2.3.4.1", "1.2.3.4")
        dataset.NumberOfFrames = 2
        save(dataset, tmp_path / str(n), ramp((2, 6, 5)) + n, ExplicitVRLittleEndian)
    series = only_series(tmp_path)
    assert [plan.info.extra for plan in series.volumes] == [
        {"Image": frame, "repeat": copy} for frame in "12" for copy in "01"
    ]
    assert len({plan.id for plan in series.volumes}) == 4


def test_slices_that_share_a_uid_but_lie_elsewhere_are_all_used(tmp_path: Path) -> None:
    paths = write_series(tmp_path, ramp((4, 6, 5)), per_slice=[{"SOPInstanceUID": "1.2.3.4.1"}] * 4)
    (tmp_path / "copy.dcm").write_bytes(paths[1].read_bytes())
    series = only_series(tmp_path)
    assert [plan.shape for plan in series.volumes] == [(4, 6, 5)]
    assert series.warnings == (
        "3 of 5 files have another's SOP Instance UID, but lie elsewhere: all are used",
        f"1 of 5 files {COPIES}",
    )

"""Every file ends in one series or is skipped and said why; grouping splits what must not be one volume."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    ExplicitVRLittleEndian,
)

from render.dicom.source import scan
from render.errors import PathError, RenderCancelledError
from render.volume import PixelScale
from tests.dicom.synthetic import assert_accounted, positions_mm, ramp, write_series


class TestSources:
    def test_a_folder_is_searched_below_and_names_do_not_matter(self, tmp_path: Path) -> None:
        write_series(tmp_path / "a" / "b", names=["IM1", "x.txt", "3.jpg", "noext"])
        (tmp_path / "notes.md").write_text("# not an image\n" * 30)
        (tmp_path / "empty").touch()
        found = scan(tmp_path)
        assert [plan.shape for plan in found.volumes] == [(4, 6, 5)]
        assert {file.path: file.reason for file in found.skipped} == {
            "empty": "empty file",
            "notes.md": "not DICOM: no DICM marker at byte 128, no data set at byte 0",
        }
        assert_accounted(found, tmp_path)

    def test_a_single_file_is_a_scan_of_its_own(self, tmp_path: Path) -> None:
        paths = write_series(tmp_path)
        found = scan(paths[2])
        assert found.files == 1
        assert found.series[0].paths == ("slice002.dcm",)
        assert found.volumes[0].shape == (1, 6, 5)

    def test_no_such_path(self, tmp_path: Path) -> None:
        with pytest.raises(PathError, match=f"no such file or folder: {tmp_path}/gone"):
            scan(tmp_path / "gone")

    def test_symbolic_links_are_not_followed(self, tmp_path: Path) -> None:
        outside = write_series(tmp_path / "outside", uid="1.2.66")
        root = tmp_path / "root"
        write_series(root)
        (root / "link.dcm").symlink_to(outside[0])
        (root / "folder").symlink_to(tmp_path / "outside")
        found = scan(root)
        assert [series.uid for series in found.series] == ["1.2.3.4"]
        assert [(f.path, f.reason) for f in found.skipped] == [
            ("folder", "symbolic link: not followed"),
            ("link.dcm", "symbolic link: not followed"),
        ]

    def test_a_pipe_is_skipped_and_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert scan(tmp_path).skipped[0].reason == "not a regular file"

    def test_progress_counts_to_the_end_and_cancelling_ends_it(self, tmp_path: Path) -> None:
        write_series(tmp_path)
        calls: list[tuple[int, int]] = []
        scan(tmp_path, progress=lambda done, total: calls.append((done, total)))
        assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
        with pytest.raises(RenderCancelledError, match="after 1 of 4 files"):
            scan(tmp_path, cancelled=lambda: True)


class TestGrouping:
    def test_other_orientations_sizes_and_spacings_are_other_volumes(self, tmp_path: Path) -> None:
        uid = "1.2.5"
        write_series(tmp_path / "axial", uid=uid)
        write_series(
            tmp_path / "sagittal",
            ramp((3, 6, 5)),
            orientation=(0, 1, 0, 0, 0, -1),
            uid=uid + ".1",
            positions=positions_mm(3, (3, 0, 0)),
            SeriesInstanceUID=uid,
        )
        write_series(tmp_path / "large", ramp((2, 8, 5)), uid=uid + ".2", SeriesInstanceUID=uid)
        write_series(tmp_path / "coarse", ramp((2, 6, 5)), spacing=(0.9, 0.9), uid=uid + ".3", SeriesInstanceUID=uid)
        (series,) = scan(tmp_path).series
        shapes = [plan.shape for plan in series.volumes]
        assert shapes[:2] == [(4, 6, 5), (3, 6, 5)]
        assert sorted(shapes[2:]) == [(2, 6, 5), (2, 8, 5)]
        assert [plan.info.volume_index for plan in series.volumes] == [0, 1, 2, 3]

    def test_one_series_uid_of_two_patients_whose_names_begin_alike_is_two_series(self, tmp_path: Path) -> None:
        for name in ("Smith^A", "Smyth^B"):
            write_series(tmp_path / name, uid=f"1.2.7.{len(name)}", SeriesInstanceUID="1.2.7", PatientName=name)
        assert len(scan(tmp_path).series) == 2

    def test_a_localizer_is_no_part_of_the_stack(self, tmp_path: Path) -> None:
        write_series(tmp_path / "stack")
        write_series(
            tmp_path / "scout",
            ramp((1, 6, 5)),
            uid="1.2.3.4.9",
            SeriesInstanceUID="1.2.3.4",
            positions=positions_mm(1, origin=(-10, -20, 40)),
            ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        )
        (series,) = scan(tmp_path).series
        assert [(plan.shape[0], plan.is_localizer) for plan in series.volumes] == [(4, False), (1, True)]

    def test_phases_at_the_same_positions_are_volumes_in_their_order(self, tmp_path: Path) -> None:
        for phase in (10, 2):
            write_series(
                tmp_path / str(phase), uid=f"1.2.7.{phase}", SeriesInstanceUID="1.2.7", TemporalPositionIdentifier=phase
            )
        (series,) = scan(tmp_path).series
        assert [plan.shape for plan in series.volumes] == [(4, 6, 5), (4, 6, 5)]
        assert [plan.info.extra for plan in series.volumes] == [
            {"TemporalPositionIdentifier": "2"},
            {"TemporalPositionIdentifier": "10"},
        ]
        assert series.volumes[0].id != series.volumes[1].id

    def test_two_images_at_one_place_are_kept_apart_and_said(self, tmp_path: Path) -> None:
        write_series(tmp_path / "stack")
        write_series(tmp_path / "again", ramp((1, 6, 5)), uid="1.2.3.4.50", SeriesInstanceUID="1.2.3.4")
        (series,) = scan(tmp_path).series
        assert [plan.shape[0] for plan in series.volumes] == [4, 1]
        assert "1 positions hold up to 2 images that no attribute tells apart" in series.warnings[0]

    def test_an_image_without_a_place_has_pixel_coordinates_and_says_so(self, tmp_path: Path) -> None:
        write_series(tmp_path, ramp((2, 6, 5)), per_slice=[{"ImagePositionPatient": None}] * 2)
        (series,) = scan(tmp_path).series
        assert series.kind == "image"
        assert [plan.shape for plan in series.volumes] == [(1, 6, 5), (1, 6, 5)]
        assert series.warnings == ("no Image Position (Patient): shown in pixel coordinates",)

    @pytest.mark.parametrize(
        ("attributes", "kind", "reason"),
        [
            ({"PhotometricInterpretation": "HSV"}, "image", "HSV, 1 samples a pixel: no colour that is known"),
            (
                {"ImageType": ["DERIVED", "PRIMARY", "MOSAIC"]},
                "other",
                "mosaic of 5 x 6 pixels: no Siemens header",
            ),
            (
                {"PhotometricInterpretation": "PALETTE COLOR"},
                "other",
                "PALETTE COLOR without Red Palette Color Lookup Table Descriptor (4 files",
            ),
            (
                {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 2},
                "other",
                "Planar Configuration is 2; 0 and 1 are possible (4 files",
            ),
            ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "segmentation", "Segmentation Storage"),
        ],
    )
    def test_what_is_no_volume_has_a_kind_and_a_reason(
        self, tmp_path: Path, attributes: dict[str, object], kind: str, reason: str
    ) -> None:
        write_series(tmp_path, **attributes)
        (series,) = scan(tmp_path).series
        assert (series.kind, series.volumes) == (kind, ())
        assert reason in series.reason

    def test_what_of_a_series_is_no_image_is_said_beside_its_volume(self, tmp_path: Path) -> None:
        write_series(tmp_path)
        report = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33", "Modality": "SR"}
        write_series(tmp_path / "sr", ramp((2, 6, 5)), uid="1.2.9", SeriesInstanceUID="1.2.3.4", **report)
        (series,) = scan(tmp_path).series
        assert [plan.shape for plan in series.volumes] == [(4, 6, 5)]
        assert series.warnings == ("left out: Comprehensive SR Storage: not an image or a stack of images (2 files)",)
        assert_accounted(scan(tmp_path), tmp_path)

    def test_a_portal_image_is_an_image_with_the_spacing_of_its_plane(self, tmp_path: Path) -> None:
        bare = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "PixelSpacing": None}
        portal = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.1", "ImagePlanePixelSpacing": [0.4, 0.3]}
        write_series(tmp_path, ramp((1, 6, 5)), per_slice=[{**bare, **portal}], Modality="RTIMAGE")
        (series,) = scan(tmp_path).series
        assert series.kind == "image"
        assert series.volumes[0].geometry.spacing_mm[:2] == pytest.approx((0.3, 0.4))

    def test_the_aspect_ratio_serves_where_there_is_no_spacing(self, tmp_path: Path) -> None:
        bare = {"ImagePositionPatient": None, "PixelSpacing": None, "PixelAspectRatio": [2, 1]}
        write_series(tmp_path, ramp((1, 6, 5)), per_slice=[bare])
        assert scan(tmp_path).volumes[0].geometry.spacing_mm[:2] == (1.0, 2.0)

    @pytest.mark.parametrize(
        ("spacings", "scale"),
        [
            ({"PixelSpacing": [0.5, 0.5]}, PixelScale.PATIENT),
            ({"PixelSpacing": [0.4, 0.4], "ImagerPixelSpacing": [0.5, 0.5]}, PixelScale.PATIENT),
            ({"PixelSpacing": [0.5, 0.5], "ImagerPixelSpacing": [0.5, 0.5]}, PixelScale.DETECTOR),
            ({"PixelSpacing": None, "ImagerPixelSpacing": [0.5, 0.5]}, PixelScale.DETECTOR),
            ({"PixelSpacing": None, "NominalScannedPixelSpacing": [0.5, 0.5]}, PixelScale.UNKNOWN),
            ({"PixelSpacing": None, "PixelAspectRatio": [2, 1]}, PixelScale.UNKNOWN),
            ({"PixelSpacing": None}, PixelScale.UNKNOWN),
        ],
    )
    def test_it_is_said_what_lengths_are(self, tmp_path: Path, spacings: dict[str, Any], scale: PixelScale) -> None:
        bare = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
        write_series(tmp_path, ramp((1, 6, 5)), per_slice=[{**bare, **spacings}], Modality="DX")
        (plan,) = scan(tmp_path).volumes
        assert (plan.info.is_placed, plan.info.pixel_scale) == (False, scale)

    def test_a_stack_lies_in_the_patient(self, tmp_path: Path) -> None:
        write_series(tmp_path, ramp((3, 6, 5)))
        (plan,) = scan(tmp_path).volumes
        assert (plan.info.is_placed, plan.info.pixel_scale) == (True, PixelScale.PATIENT)


class TestIdentity:
    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(seed=st.integers(0, 2**32))
    def test_names_and_order_of_files_do_not_matter(self, tmp_path: Path, seed: int) -> None:
        chance = random.Random(seed)
        stored = ramp((6, 4, 5))
        names = [f"{chance.getrandbits(64):x}" for _ in stored]
        folder = tmp_path / str(seed)
        order = chance.sample(range(6), 6)
        write_series(
            folder,
            stored[order],
            positions=positions_mm(6)[order],
            names=names,
            per_slice=[{"SOPInstanceUID": f"1.2.3.4.{n}"} for n in order],
        )
        plan = scan(folder).volumes[0]
        expected = tmp_path / "reference"
        if not expected.exists():
            write_series(expected, stored, per_slice=[{"SOPInstanceUID": f"1.2.3.4.{n}"} for n in range(6)])
        reference = scan(expected).volumes[0]
        assert plan.id == reference.id
        np.testing.assert_array_equal(plan.geometry.patient_from_voxel, reference.geometry.patient_from_voxel)
        assert [s.instance.sop_instance_uid for s in plan.slices] == [f"1.2.3.4.{n}" for n in range(6)]

    def test_another_set_of_slices_is_another_volume(self, tmp_path: Path) -> None:
        paths = write_series(tmp_path)
        before = scan(tmp_path).volumes[0].id
        paths[0].unlink()
        assert scan(tmp_path).volumes[0].id != before


def test_the_json_has_the_documented_shape(tmp_path: Path) -> None:
    write_series(tmp_path, WindowCenter=40, WindowWidth=400, transfer_syntax=ExplicitVRLittleEndian)
    report = scan(tmp_path).to_json()
    assert set(report) == {"files", "series", "skipped"}
    (series,) = report["series"]
    assert series["kind"] == "volume"
    assert series["files"] == series["frames"] == 4
    (volume,) = series["volumes"]
    assert volume["shape"] == [4, 6, 5]
    assert volume["spacing_mm"] == pytest.approx([0.5, 0.8, 2.5])
    assert volume["units"] == "HU"
    assert volume["window"] == {"center": 40.0, "width": 400.0, "function": "linear"}
    assert np.array(volume["affine"]).shape == (4, 4)
    json.dumps(report)

"""Every file ends in one series or is skipped and said why; grouping splits what must not be one volume."""

from __future__ import annotations

import json
import os
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)

from render.dicom.pixels import load_volume
from render.dicom.series import select
from render.dicom.source import Scan, scan
from render.errors import PathError, RenderCancelledError
from tests.dicom.synthetic import positions_mm, ramp, save, slice_dataset, write_series


def assert_accounted(found: Scan, folder: Path) -> None:
    on_disk = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_symlink() or p.is_file())
    said = sorted([path for series in found.series for path in series.paths] + [f.path for f in found.skipped])
    assert said == on_disk
    assert found.files == len(on_disk)
    assert all(file.reason for file in found.skipped)
    assert all(series.reason for series in found.series if not series.volumes)


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


class TestBrokenFiles:
    def test_a_padding_byte_that_is_missing_loses_nothing(self, tmp_path: Path) -> None:
        stored = np.arange(45, dtype=np.uint8).reshape(3, 5, 3)
        for path in write_series(tmp_path, stored):
            content = path.read_bytes()
            assert content[-1] == 0
            path.write_bytes(content[:-1])
        (plan,) = scan(tmp_path).volumes
        np.testing.assert_array_equal(load_volume(plan).codes, stored)
        path.write_bytes(content[:-2])
        (series,) = scan(tmp_path).series
        assert "left out: truncated: pixel data of 16 bytes, 14 left (slice002.dcm)" in series.warnings

    @pytest.mark.parametrize("stated", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
    def test_a_data_set_of_another_encoding_than_is_stated_is_read_as_it_is(self, tmp_path: Path, stated: str) -> None:
        written = ({ImplicitVRLittleEndian, ExplicitVRLittleEndian} - {stated}).pop()
        for path in write_series(tmp_path, transfer_syntax=written):
            file = dcmread(path)
            content = path.read_bytes()
            data_set = content[content.index(b"\x08\x00\x16\x00") :]
            file.file_meta.TransferSyntaxUID = stated
            with path.open("wb") as out:
                out.write(b"\0" * 128 + b"DICM")
                write_file_meta_info(out, file.file_meta)
                out.write(data_set)
        (plan,) = scan(tmp_path).volumes
        np.testing.assert_array_equal(load_volume(plan).codes, ramp((4, 6, 5)))

    def test_whether_values_are_signed_is_not_guessed(self, tmp_path: Path) -> None:
        write_series(tmp_path, PixelRepresentation=None)
        (series,) = scan(tmp_path).series
        assert series.reason.startswith("PixelRepresentation is missing: signed or unsigned is not known (4 files, ")

    def test_a_truncated_slice_is_left_out_and_said_with_the_bytes(self, tmp_path: Path) -> None:
        paths = write_series(tmp_path)
        paths[3].write_bytes(paths[3].read_bytes()[:-7])
        (series,) = scan(tmp_path).series
        assert series.volumes[0].shape == (3, 6, 5)
        (warning,) = series.warnings
        assert warning == "left out: truncated: pixel data of 60 bytes, 53 left (slice003.dcm)"
        assert len(series.paths) == 4
        assert series.volumes[0].info.warnings == series.warnings

    def test_a_truncated_file_leaves_a_gap_of_invalid_voxels(self, tmp_path: Path) -> None:
        paths = write_series(tmp_path, ramp((7, 6, 5)), BitsStored=15, HighBit=14)
        paths[2].write_bytes(paths[2].read_bytes()[:-7])
        (series,) = scan(tmp_path).series
        assert series.warnings == (
            "left out: truncated: pixel data of 60 bytes, 53 left (slice002.dcm)",
            "a gap of over 1.5 times the median spacing of 2.50 mm, left empty: 32.50 to 37.50 mm along the normal",
        )
        volume = load_volume(series.volumes[0])
        assert volume.codes.dtype == np.int16
        expected = ramp((7, 6, 5)).astype(np.float32)
        expected[2] = np.nan
        np.testing.assert_array_equal(volume.values(), expected)

    def test_a_header_that_never_was_more_is_incomplete_and_says_what_it_lacks(self, tmp_path: Path) -> None:
        (path,) = write_series(tmp_path, ramp((1, 6, 5)), Rows=None, PixelRepresentation=None)
        file = dcmread(path)
        del file.PixelData
        file.save_as(path)
        (series,) = scan(tmp_path).series
        size = path.stat().st_size
        assert (
            series.reason
            == f"incomplete: the file ends at byte {size} without Rows, PixelRepresentation (slice000.dcm)"
        )

    def test_a_file_cut_within_its_header_is_truncated_wherever_the_cut_is(self, tmp_path: Path) -> None:
        paths = write_series(tmp_path)
        whole = paths[2].read_bytes()
        header = whole.index(struct.pack("<HH2s2xL", 0x7FE0, 0x0010, b"OW", 60))
        for length in range(whole.index(CTImageStorage.encode()) + len(CTImageStorage) + 1, header):
            paths[2].write_bytes(whole[:length])
            found = scan(tmp_path)
            said = [*(file.reason for file in found.skipped), *(w for series in found.series for w in series.warnings)]
            said += [series.reason for series in found.series]
            expected = (
                f"truncated: the file ends at byte {length}, within its header",
                f"incomplete: the file ends at byte {length} without ",
                "no pixel data (slice002.dcm)",
            )
            assert any(line.removeprefix("left out: ").startswith(expected) for line in said), (length, said)
            assert found.volumes[0].shape == (4, 6, 5)

    def test_many_damaged_files_do_not_fill_the_screen(self, tmp_path: Path) -> None:
        paths = write_series(tmp_path, ramp((30, 6, 5)))
        for n, path in enumerate(paths[:20], start=1):
            path.write_bytes(path.read_bytes()[:-n])
        (series,) = scan(tmp_path).series
        assert series.volumes[0].shape == (10, 6, 5)
        assert len(series.warnings) == 5
        assert series.warnings[-1] == "left out: 16 more reasons like these"

    def test_truncated_fragments_are_noticed_without_decoding(self, tmp_path: Path) -> None:
        (path,) = write_series(tmp_path, ramp((1, 6, 5)), transfer_syntax=JPEGLSLossless)
        path.write_bytes(path.read_bytes()[:-30])
        (series,) = scan(path).series
        assert series.kind == "other"
        assert series.reason.startswith("truncated: a fragment of ")

    def test_every_truncation_of_a_file_is_typed(self, tmp_path: Path) -> None:
        (path,) = write_series(tmp_path, ramp((1, 6, 5)))
        whole = path.read_bytes()
        for length in range(0, len(whole), 13):
            path.write_bytes(whole[:length])
            found = scan(tmp_path)
            assert_accounted(found, tmp_path)
            assert found.volumes == ()

    def test_a_length_that_lies_is_not_allocated(self, tmp_path: Path) -> None:
        (path,) = write_series(tmp_path, ramp((1, 6, 5)))
        whole = path.read_bytes()
        tag = struct.pack("<HH2s2xL", 0x7FE0, 0x0010, b"OW", 60)
        assert whole.count(tag) == 1
        path.write_bytes(whole.replace(tag, tag[:-4] + struct.pack("<L", 3 << 30)))
        (series,) = scan(tmp_path).series
        assert series.reason.startswith("truncated: pixel data of 3,221,225,472 bytes, 60 left")

    def test_a_lying_header_element_is_skipped_with_its_size(self, tmp_path: Path) -> None:
        (path,) = write_series(tmp_path, ramp((1, 6, 5)))
        whole = path.read_bytes()
        element = b"\x08\x00\x3e\x10LO\x04\x00ramp"
        assert whole.count(element) == 1
        path.write_bytes(whole.replace(element, b"\x08\x00\x40\x11SQ\0\0" + struct.pack("<L", 1 << 31)))
        found = scan(tmp_path)
        assert_accounted(found, tmp_path)
        assert not found.volumes

    def test_missing_pixel_data_and_odd_formats_have_their_reason(self, tmp_path: Path) -> None:
        (path,) = write_series(tmp_path, ramp((1, 6, 5)))
        dataset = dcmread(path)
        del dataset.PixelData
        dataset.save_as(path)
        assert scan(path).series[0].reason == "no pixel data (slice000.dcm)"
        (path,) = write_series(tmp_path, ramp((1, 6, 5)), Rows=600)
        assert scan(path).series[0].reason == "pixel data of 60 bytes, 6,000 needed (slice000.dcm)"
        (path,) = write_series(tmp_path, ramp((1, 6, 5)), BitsAllocated=12)
        reason = "Bits Allocated is 12 for PixelData; (1, 8, 16, 32) are possible (slice000.dcm)"
        assert scan(path).series[0].reason == reason

    @pytest.mark.parametrize(
        ("attributes", "reason"),
        [
            ({"PixelSpacing": [0, 1]}, "PixelSpacing is 0: not over 0"),
            ({"PixelSpacing": [1, -1]}, "PixelSpacing is -1: not over 0"),
            ({"PixelSpacing": [1]}, "PixelSpacing has 1 values, 2 needed"),
            ({"ImagePositionPatient": ["1e300", "0", "0"]}, "ImagePositionPatient is 1e+300: beyond 1e+06"),
            ({"ImageOrientationPatient": ["1e200", 0, 0, 0, 1, 0]}, "ImageOrientationPatient is 1e+200"),
            ({"ImageOrientationPatient": [0] * 6}, "direction cosines have lengths 0.0000 and 0.0000"),
        ],
    )
    def test_impossible_places_are_refused(self, tmp_path: Path, attributes: dict[str, object], reason: str) -> None:
        write_series(tmp_path, per_slice=[attributes] * 4)
        (series,) = scan(tmp_path).series
        assert (series.kind, series.volumes) == ("other", ())
        assert series.reason.startswith(reason)

    def test_deep_sequences_end_in_a_reason(self, tmp_path: Path) -> None:
        (path,) = write_series(tmp_path, ramp((1, 6, 5)))
        whole = path.read_bytes()
        pixels = whole.index(b"\xe0\x7f\x10\x00OW")
        item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
        opening = b"\x55\x00\x00\x10SQ\0\0\xff\xff\xff\xff" + item
        path.write_bytes(whole[:pixels] + opening * 20_000 + whole[pixels:])
        assert [f.reason for f in scan(path).skipped] == ["header can't be parsed: RecursionError"]

    def test_a_deflated_bomb_is_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("render.dicom.bounded.MAXIMUM_INFLATED_BYTES", 100_000)
        (path,) = write_series(tmp_path, ramp((1, 6, 5)), transfer_syntax=DeflatedExplicitVRLittleEndian)
        assert scan(path).volumes
        whole = path.read_bytes()
        engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        bomb = engine.compress(b"\0" * 1_000_000) + engine.flush()
        meta_bytes = 132 + 12 + int.from_bytes(whole[140:144], "little")
        path.write_bytes(whole[:meta_bytes] + bomb)
        assert [f.reason for f in scan(path).skipped] == ["deflated data set grows beyond 100,000 bytes"]

    def test_no_patient_data_in_what_is_said(self, tmp_path: Path) -> None:
        write_series(tmp_path, per_slice=[{}, {"WindowCenter": "12", "WindowWidth": "0.5"}, {}, {}])
        assert "Secret" not in json.dumps(scan(tmp_path).to_json())


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


class TestMultiFrame:
    def write(self, path: Path, phases: int, **attributes: object) -> None:
        """Write an enhanced object of 3 slices, whose frames alternate between phases."""
        stored = ramp((3 * phases, 6, 5))
        dataset = slice_dataset(stored[0], "1.2.3.4.1", "1.2.3.4")
        dataset.NumberOfFrames = len(stored)
        orientation, measures = Dataset(), Dataset()
        orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        measures.PixelSpacing, measures.SliceThickness = [0.8, 0.5], 2.5
        shared = Dataset()
        shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
        dataset.SharedFunctionalGroupsSequence = [shared]
        dataset.PerFrameFunctionalGroupsSequence = []
        for n in range(len(stored)):
            groups, place, content = Dataset(), Dataset(), Dataset()
            place.ImagePositionPatient = [0, 0, 2.5 * (n // phases)]
            content.DimensionIndexValues = [n // phases + 1, n % phases + 1]
            groups.PlanePositionSequence, groups.FrameContentSequence = [place], [content]
            dataset.PerFrameFunctionalGroupsSequence.append(groups)
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
        save(dataset, path, stored, ExplicitVRLittleEndian)

    def test_frames_make_a_volume(self, tmp_path: Path) -> None:
        self.write(tmp_path / "one", 1)
        plan = select(scan(tmp_path))
        np.testing.assert_array_equal(load_volume(plan).codes, ramp((3, 6, 5)))
        assert plan.geometry.spacing_mm == pytest.approx((0.5, 0.8, 2.5))

    def test_frames_at_one_position_are_told_apart_by_a_dimension(self, tmp_path: Path) -> None:
        self.write(tmp_path / "one", 2)
        (series,) = scan(tmp_path).series
        assert [plan.info.extra for plan in series.volumes] == [{"Dimension2": "1"}, {"Dimension2": "2"}]
        for phase, plan in enumerate(series.volumes):
            np.testing.assert_array_equal(load_volume(plan).codes, ramp((6, 6, 5))[phase::2])

    def test_directions_of_diffusion_tell_frames_apart_where_no_dimension_does(self, tmp_path: Path) -> None:
        self.write(tmp_path / "one", 2)
        file = dcmread(tmp_path / "one")
        for n, groups in enumerate(file.PerFrameFunctionalGroupsSequence):
            del groups.FrameContentSequence
            diffusion, direction = Dataset(), Dataset()
            direction.DiffusionGradientOrientation = [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]][n % 2]
            diffusion.DiffusionBValue, diffusion.DiffusionGradientDirectionSequence = 1000.0, [direction]
            groups.MRDiffusionSequence = [diffusion]
        file.save_as(tmp_path / "one")
        (series,) = scan(tmp_path).series
        assert [plan.info.extra for plan in series.volumes] == [
            {"DiffusionGradientOrientation": "0.0\\0.0\\1.0"},
            {"DiffusionGradientOrientation": "1.0\\0.0\\0.0"},
        ]
        np.testing.assert_array_equal(load_volume(series.volumes[1]).codes, ramp((6, 6, 5))[1::2])
        assert series.warnings == ()

    @pytest.mark.parametrize("by_slice", [0, 1])
    def test_times_of_frames_order_them_where_nothing_else_does(self, tmp_path: Path, by_slice: int) -> None:
        self.write(tmp_path / "one", 2)
        file = dcmread(tmp_path / "one")
        for n, groups in enumerate(file.PerFrameFunctionalGroupsSequence):
            (content,) = groups.FrameContentSequence
            del content.DimensionIndexValues
            # The second of each pair was acquired first.
            content.FrameAcquisitionDateTime = f"20200101120{1 - n % 2}0{by_slice * (n // 2)}.5"
        file.save_as(tmp_path / "one")
        (series,) = scan(tmp_path).series
        assert series.warnings == ()
        assert [len(plan.info.extra) for plan in series.volumes] == [1, 1]
        for plan, first in zip(series.volumes, (1, 0), strict=True):
            np.testing.assert_array_equal(load_volume(plan).codes, ramp((6, 6, 5))[first::2])

    def test_fewer_functional_groups_than_frames(self, tmp_path: Path) -> None:
        self.write(tmp_path / "one", 1, NumberOfFrames=2)
        (series,) = scan(tmp_path).series
        assert series.reason.startswith("3 per-frame functional groups for 2 frames (")

    @pytest.mark.parametrize(("modality", "kind", "name"), [("US", "cine", "Frame"), ("OT", "image", "Image")])
    def test_frames_without_a_place_are_images_of_their_own(
        self, tmp_path: Path, modality: str, kind: str, name: str
    ) -> None:
        self.write(tmp_path / "one", 1, SharedFunctionalGroupsSequence=[], Modality=modality)
        (series,) = scan(tmp_path).series
        assert (series.kind, series.frames) == (kind, 3)
        assert [plan.info.extra for plan in series.volumes] == [{name: "1"}, {name: "2"}, {name: "3"}]
        for plan, expected in zip(series.volumes, ramp((3, 6, 5)), strict=True):
            np.testing.assert_array_equal(load_volume(plan).codes, expected[None])

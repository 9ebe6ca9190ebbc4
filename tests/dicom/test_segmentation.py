"""Segmentations: voxels, millilitres, names and colours equal highdicom's; what spans no grid is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless

from render.dicom.header import quiet_pydicom
from render.dicom.ingest import Ingest
from render.dicom.instance import Instance
from render.dicom.reading import read_header
from render.dicom.segmentation import read_segmentation
from render.dicom.series import select
from render.dicom.source import scan
from render.errors import NotAVolumeError, SourceError, UnreadableFileError
from render.labels import LabelVolume
from tests.dicom.synthetic import AXIAL, save

SEGMENTATION, LABELMAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"


def instance(root: Path, name: str) -> Instance:
    with quiet_pydicom():
        header = read_header(root, name)
    assert isinstance(header, Instance)
    return header


def read(root: Path, name: str = "seg.dcm") -> LabelVolume:
    with quiet_pydicom():
        return read_segmentation(root, instance(root, name))


def item(**attributes: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def write(
    folder: Path,
    frames: npt.NDArray[np.uint8],
    depths_mm: list[float],
    numbers: list[int] | None = None,
    kind: str = "BINARY",
    syntax: str = ExplicitVRLittleEndian,
    measures: dict[str, Any] | None = None,
    **attributes: Any,
) -> None:
    """Write a SEG of frames, shape (n, rows, columns); without `numbers`, a label map."""
    dataset = item(
        SOPClassUID=SEGMENTATION if numbers else LABELMAP,
        SOPInstanceUID="1.2.3.1",
        SeriesInstanceUID="1.2.3",
        StudyInstanceUID="1.2",
        FrameOfReferenceUID="1.2.9",
        Modality="SEG",
        SegmentationType=kind if numbers else "LABELMAP",
        Rows=frames.shape[1],
        Columns=frames.shape[2],
        NumberOfFrames=len(frames),
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=1 if kind == "BINARY" and numbers else 8,
        BitsStored=1 if kind == "BINARY" and numbers else 8,
        HighBit=0 if kind == "BINARY" and numbers else 7,
        PixelRepresentation=0,
        MaximumFractionalValue=200,
    )
    described = sorted({*numbers}) if numbers else [n for n in np.unique(frames).tolist() if n]
    dataset.SegmentSequence = [
        item(SegmentNumber=n, SegmentLabel=f"part {n}", SegmentAlgorithmType="MANUAL") for n in described
    ]
    spacing = item(PixelSpacing=[0.8, 0.5], **({"SliceThickness": 2.5} if measures is None else measures))
    dataset.SharedFunctionalGroupsSequence = [
        item(PixelMeasuresSequence=[spacing], PlaneOrientationSequence=[item(ImageOrientationPatient=list(AXIAL))])
    ]
    groups = []
    for index, depth in enumerate(depths_mm):
        group = item(PlanePositionSequence=[item(ImagePositionPatient=[-10, -20, depth])])
        if numbers:
            group.SegmentIdentificationSequence = [item(ReferencedSegmentNumber=numbers[index])]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    pixels = np.packbits(frames.ravel(), bitorder="little") if dataset.BitsAllocated == 1 else frames
    if syntax == ExplicitVRBigEndian and dataset.BitsAllocated == 1:
        pixels = np.append(pixels, np.zeros(len(pixels) % 2, np.uint8)).view("<u2")  # written as words
    save(dataset, folder / "seg.dcm", pixels, syntax)


def noise(count: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 2, (count, 5, 7), dtype=np.uint8)


class TestBinary:
    def test_frames_are_bits_that_cross_bytes(self, tmp_path: Path) -> None:
        frames = noise(3)
        write(tmp_path, frames, [5, 0, 2.5], [1, 1, 1])
        labels = read(tmp_path)
        np.testing.assert_array_equal(labels.mask(1), frames[[1, 2, 0]].astype(bool))
        np.testing.assert_allclose(labels.geometry.to_patient([0, 0, 0]), [-10, -20, 0])
        assert labels.geometry.spacing_mm == pytest.approx((0.5, 0.8, 2.5))
        assert labels.volume_ml(1) == pytest.approx(frames.sum() * 0.8 * 0.5 * 2.5 / 1000)
        assert not labels.warnings

    def test_in_big_endian_words(self, tmp_path: Path) -> None:
        frames = noise(4)
        write(tmp_path, frames, [0, 2.5, 5, 7.5], [1, 1, 1, 1], syntax=ExplicitVRBigEndian)
        np.testing.assert_array_equal(read(tmp_path).mask(1), frames.astype(bool))

    def test_slices_without_a_frame_hold_nothing_and_are_said(self, tmp_path: Path) -> None:
        write(tmp_path, noise(3), [0, 2.5, 12.5], [1, 1, 1])
        labels = read(tmp_path)
        assert labels.geometry.shape == (6, 5, 7)
        assert not labels.mask(1)[2:5].any()
        assert labels.warnings == ("3 of 6 slices have no frame: nothing is segmented there",)

    def test_a_stated_spacing_counts_where_no_neighbours_are_there(self, tmp_path: Path) -> None:
        write(tmp_path, noise(2), [0, 5], [1, 1], measures={"SpacingBetweenSlices": 2.5})
        assert read(tmp_path).geometry.shape == (3, 5, 7)

    def test_and_not_where_the_positions_contradict_it(self, tmp_path: Path) -> None:
        write(tmp_path, noise(2), [0, 5], [1, 1], measures={"SpacingBetweenSlices": 3.0})
        assert read(tmp_path).geometry.shape == (2, 5, 7)

    def test_segments_that_overlap_are_kept_apart(self, tmp_path: Path) -> None:
        full, half = np.ones((5, 7), np.uint8), np.zeros((5, 7), np.uint8)
        half[:, :3] = 1
        write(tmp_path, np.stack([full, half, 1 - half]), [0, 0, 0], [1, 2, 3])
        labels = read(tmp_path)
        assert [segment.layer for segment in labels.segments] == [0, 1, 1]
        assert [labels.voxels(n) for n in (1, 2, 3)] == [35, 15, 20]

    def test_a_described_segment_without_frames_is_empty(self, tmp_path: Path) -> None:
        write(tmp_path, noise(1), [0], [1], SegmentSequence=[item(SegmentNumber=n) for n in (1, 7)])
        assert read(tmp_path).voxels(7) == 0

    def test_positions_off_any_grid_are_refused_with_the_figures(self, tmp_path: Path) -> None:
        write(tmp_path, noise(3), [0, 2.5, 6.25], [1, 1, 1])
        with pytest.raises(NotAVolumeError) as caught:
            read(tmp_path)
        assert caught.value.message == (
            "seg.dcm: frame 2 lies 0.625 mm off an even grid with 3.125 mm between slices, 0.062 mm allowed"
        )

    def test_a_position_that_lies_stretches_no_memory(self, tmp_path: Path) -> None:
        write(tmp_path, noise(3), [0, 0.02, 900_000], [1, 1, 1])
        with pytest.raises(NotAVolumeError, match=r"45,000,001 slices of 5 x 7: over 536,870,912 voxels"):
            read(tmp_path)

    @pytest.mark.parametrize(
        ("numbers", "change", "reason"),
        [
            ([1, 1], {}, "segment 1 has two frames at one position"),
            ([1, 2], {"SegmentSequence": [item(SegmentNumber=1)]},
             "frame 2 is of segment 2, which is not described"),
            ([1, 2], {"SegmentSequence": []}, "no segment is described"),
            ([1, 2], {"SegmentSequence": [item(SegmentNumber=1), item(SegmentNumber=1)]},
             "Segment Number 1 is out of range or there twice"),
            ([1, 2], {"SegmentationType": "GUESS"}, "Segmentation Type GUESS is none that is known"),
        ],
    )  # fmt: skip
    def test_what_contradicts_itself(
        self, tmp_path: Path, numbers: list[int], change: dict[str, Any], reason: str
    ) -> None:
        write(tmp_path, noise(2), [0, 0], numbers, **change)
        with pytest.raises(UnreadableFileError) as caught:
            read(tmp_path)
        assert caught.value.message == f"seg.dcm: {reason}"


class TestFractional:
    def test_half_and_more_is_in_and_the_volume_is_the_sum(self, tmp_path: Path) -> None:
        frames = np.array([[[0, 99, 100, 200, 255]]], np.uint8)
        write(tmp_path, frames, [0], [1], "FRACTIONAL")
        labels = read(tmp_path)
        np.testing.assert_array_equal(labels.mask(1), [[[0, 0, 1, 1, 1]]])
        np.testing.assert_array_equal(labels.fractions[1], [[[0, 99, 100, 200, 200]]])
        assert labels.volume_ml(1) == pytest.approx((99 + 100 + 200 + 200) / 200 * 0.8 * 0.5 * 2.5 / 1000)

    def test_compressed(self, tmp_path: Path) -> None:
        frames = np.arange(40, dtype=np.uint8).reshape(1, 5, 8)
        write(tmp_path, frames, [0], [1], "FRACTIONAL", RLELossless)
        np.testing.assert_array_equal(read(tmp_path).fractions[1], frames)


class TestLabelMap:
    def test_values_are_segment_numbers_and_0_and_padding_are_background(self, tmp_path: Path) -> None:
        frames = np.array([[[0, 1, 9]], [[3, 3, 9]]], np.uint8)
        write(
            tmp_path, frames, [0, 2.5], PixelPaddingValue=9, SegmentSequence=[item(SegmentNumber=n) for n in (0, 1, 3)]
        )
        labels = read(tmp_path)
        np.testing.assert_array_equal(labels.layers, [[[[0, 1, 0]], [[3, 3, 0]]]])
        assert [segment.number for segment in labels.segments] == [1, 3]

    def test_a_label_that_nothing_describes(self, tmp_path: Path) -> None:
        write(tmp_path, np.array([[[0, 4]]], np.uint8), [0], SegmentSequence=[item(SegmentNumber=1)])
        with pytest.raises(UnreadableFileError, match=r"^seg\.dcm: label 4 is no segment of 1$"):
            read(tmp_path)


def test_a_black_and_a_red_of_cielab(tmp_path: Path) -> None:
    described = [
        item(SegmentNumber=1, RecommendedDisplayCIELabValue=[0, 32896, 32896]),
        item(SegmentNumber=2, RecommendedDisplayCIELabValue=[34885, 53485, 50171]),
        item(SegmentNumber=3),
    ]
    write(tmp_path, noise(1), [0], [1], SegmentSequence=described)
    black, red, none = (segment.color for segment in read(tmp_path).segments)
    assert black == (0, 0, 0)
    assert red is not None
    np.testing.assert_allclose(red, (255, 0, 0), atol=1)
    assert none is None


NAMES = [
    "seg_and_rt/dcmqi/24x38x3/seg/label.seg",
    "seg_and_rt/dcmqi/liver.dcm",
    "seg_and_rt/dcmqi/partial_overlaps.dcm",
    "seg_and_rt/dcmqi/sparse-labelmap-noppv.dcm",
    "seg_and_rt/dcmqi/sparse-labelmap-ppv5.dcm",
    "seg_and_rt/dcmqi/sr-example/seg.dcm",
    "seg_and_rt/highdicom/seg_image_ct_binary.dcm",
    "seg_and_rt/highdicom/seg_image_ct_binary_fractional.dcm",
    "seg_and_rt/highdicom/seg_image_ct_binary_overlap.dcm",
    "seg_and_rt/highdicom/seg_image_ct_binary_single_frame.dcm",
    "seg_and_rt/highdicom/seg_image_ct_true_fractional.dcm",
    "enhanced_multiframe/dcmqi_legacy_converted/23x38x3/seg/label.seg",
    "petct_acrin_fusion/seg_on_ct",
    "petct_acrin_fusion/seg_on_pet_a",
    "petct_acrin_fusion/seg_on_pet_b",
]


@pytest.mark.data
class TestRealSegmentations:
    @pytest.mark.parametrize("name", NAMES)
    def test_voxels_places_and_millilitres_equal_highdicoms(self, real_data: Path, name: str) -> None:
        path = real_data / name
        if path.is_dir():
            (path,) = path.iterdir()
        ours = read(path.parent, path.name)
        theirs = highdicom.seg.segread(path)
        numbers = [n for n in theirs.segment_numbers if n > 0]
        volume = theirs.get_volume(
            segment_numbers=numbers, allow_missing_positions=True, rescale_fractional=False, combine_segments=False
        )
        if np.dot(volume.direction[:, 0], ours.geometry.patient_from_voxel[:3, 2]) < 0:
            volume = volume.flip_spatial(0)
        assert [segment.number for segment in ours.segments] == numbers
        assert volume.spatial_shape == ours.geometry.shape
        corner = np.array(volume.affine) @ [*np.subtract(volume.spatial_shape, 1), 1]
        ours_at = ours.geometry.to_patient([[0, 0, 0], np.subtract(ours.geometry.shape, 1)[::-1]])
        np.testing.assert_allclose(ours_at, [volume.affine[:3, 3], corner[:3]], atol=0.01)
        voxel_ml = math.prod(volume.spacing) / 1000
        for channel, segment in enumerate(ours.segments):
            stored = volume.array[..., channel]
            if segment.number in ours.fractions:
                np.testing.assert_array_equal(ours.fractions[segment.number], stored)
                assert ours.volume_ml(segment.number) == pytest.approx(stored.sum() / 255 * voxel_ml, rel=1e-5)
            else:
                np.testing.assert_array_equal(ours.mask(segment.number), stored != 0)
                assert ours.voxels(segment.number) > 0
                assert ours.volume_ml(segment.number) == pytest.approx(np.count_nonzero(stored) * voxel_ml, rel=1e-5)
            described = theirs.get_segment_description(segment.number)
            assert segment.label == described.segment_label
            assert segment.type == described.segmented_property_type.meaning
            assert segment.algorithm == described.algorithm_type.value
            lab = described.get("RecommendedDisplayCIELabValue")
            if lab is not None and segment.color is not None:
                expected = highdicom.color.CIELabColor.from_dicom_value(list(lab)).to_rgb()
                np.testing.assert_allclose(segment.color, expected, atol=1)

    def test_it_lies_on_the_ct_that_it_refers_to(self, real_data: Path) -> None:
        (path,) = (real_data / "petct_acrin_fusion" / "seg_on_ct").iterdir()
        labels = read(path.parent, path.name)
        ct = select(scan(real_data / "petct_acrin_fusion" / "ct"))
        assert labels.referenced_series == (ct.info.series_uid,)
        assert labels.frame_of_reference_uid == ct.info.frame_of_reference_uid
        first = ct.geometry.to_voxel(labels.geometry.to_patient([0, 0, 0]))
        np.testing.assert_allclose(first, np.rint(first), atol=0.02)
        # The segment is tissue: hardly any of it is air.
        known = {source.instance.sop_instance_uid for source in ct.slices}
        assert known.issuperset(labels.referenced_instances)

    def test_without_positions_it_lies_in_pixel_coordinates(self, real_data: Path) -> None:
        labels = read(real_data / "seg_and_rt" / "highdicom", "seg_image_cr_binary.dcm")
        assert (labels.is_placed, labels.geometry.shape) == (False, (1, 16, 16))
        assert labels.warnings == ("no positions: in pixel coordinates",)
        expected = highdicom.seg.segread(real_data / "seg_and_rt" / "highdicom" / "seg_image_cr_binary.dcm").pixel_array
        np.testing.assert_array_equal(labels.mask(1)[0], expected.astype(bool))

    def test_a_worker_reads_the_same(self, real_data: Path) -> None:
        root = real_data / "seg_and_rt" / "dcmqi"
        with Ingest(workers=1) as ingest:
            labels = ingest.segmentation(root, instance(root, "partial_overlaps.dcm"))
        assert [labels.voxels(n) for n in range(1, 6)] == [9602, 11888, 10743, 6693, 4713]

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("seg_and_rt/highdicom/seg_image_sm_dots.dcm",
             "segments the tiles of a whole slide image, which has no place in the patient"),
            ("seg_and_rt/highdicom/seg_image_sm_control_labelmap.dcm",
             "segments the tiles of a whole slide image, which has no place in the patient"),
            ("pydicom_test_files/liver_1frame.dcm", "3 per-frame functional groups for 1 frames"),
        ],
    )  # fmt: skip
    def test_what_is_refused_says_why(self, real_data: Path, name: str, reason: str) -> None:
        with pytest.raises(SourceError) as caught:
            read(real_data, name)
        assert caught.value.message == f"{name}: {reason}"

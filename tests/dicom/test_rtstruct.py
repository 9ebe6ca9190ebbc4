"""Contours become the voxels whose centres they enclose, on the grid that they were drawn on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from render.dicom.header import quiet_pydicom
from render.dicom.ingest import Ingest
from render.dicom.instance import Instance
from render.dicom.reading import read_header
from render.dicom.rtstruct import StructureSet, fill_polygons, rasterize, read_structures
from render.dicom.series import select
from render.dicom.source import scan
from render.errors import NotAVolumeError, UnreadableFileError
from render.geometry import VolumeGeometry

GRID = VolumeGeometry.from_axes((4, 20, 30), (-10, -20, 30), (0.5, 0, 0), (0, 0.8, 0), (0, 0, 2.5))
SQUARE = np.array([[2, 3], [12, 3], [12, 9], [2, 9]], np.float64)


def instance(root: Path, name: str) -> Instance:
    with quiet_pydicom():
        header = read_header(root, name)
    assert isinstance(header, Instance)
    return header


def read(root: Path, name: str = "rt.dcm") -> StructureSet:
    with quiet_pydicom():
        return read_structures(root, instance(root, name))


def item(**attributes: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def contour(polygon: npt.NDArray[np.float64], k: float, kind: str = "CLOSED_PLANAR") -> Dataset:
    """Return a contour with corners in (column, row) of `GRID`'s slice k."""
    points = GRID.to_patient(np.column_stack([polygon, np.full(len(polygon), k)]))
    return item(ContourGeometricType=kind, ContourData=[f"{x:.6f}" for x in points.ravel()])


def write(folder: Path, contours: list[list[Dataset]], uid: str = "1.2.9") -> None:
    dataset = item(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3",
        SOPInstanceUID="1.2.3.1",
        SeriesInstanceUID="1.2.3",
        StudyInstanceUID="1.2",
        Modality="RTSTRUCT",
        StructureSetROISequence=[
            item(
                ROINumber=n + 5,
                ROIName=f"organ {n}",
                ReferencedFrameOfReferenceUID=uid,
                ROIGenerationAlgorithm="MANUAL",
            )
            for n in range(len(contours))
        ],
        ROIContourSequence=[
            item(ReferencedROINumber=n + 5, ROIDisplayColor=[255, n, 0], ContourSequence=drawn)
            for n, drawn in enumerate(contours)
        ],
        RTROIObservationsSequence=[item(ReferencedROINumber=5, RTROIInterpretedType="ORGAN")],
    )
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    FileDataset("", dataset, preamble=b"\0" * 128, file_meta=meta).save_as(folder / "rt.dcm", enforce_file_format=True)


def is_inside(polygon: npt.NDArray[np.float64], x: float, y: float) -> bool:
    """Apply the even-odd rule, one edge at a time."""
    odd = False
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if (y0 <= y) != (y1 <= y) and x >= x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            odd = not odd
    return odd


class TestFilling:
    @given(st.lists(st.tuples(st.floats(-3, 15), st.floats(-3, 12)), min_size=3, max_size=9))
    def test_any_polygon_by_the_even_odd_rule(self, corners: list[tuple[float, float]]) -> None:
        polygon = np.array(corners)
        expected = [[is_inside(polygon, x, y) for x in range(12)] for y in range(9)]
        np.testing.assert_array_equal(fill_polygons([polygon], (9, 12)), expected)

    def test_neighbours_that_share_an_edge_share_no_pixel_and_leave_none_out(self) -> None:
        left, right = SQUARE.copy(), SQUARE.copy()
        left[:, 0], right[:, 0] = [2, 7, 7, 2], [7, 12, 12, 7]
        masks = [fill_polygons([polygon], (12, 15)) for polygon in (left, right, SQUARE)]
        assert not (masks[0] & masks[1]).any()
        np.testing.assert_array_equal(masks[0] | masks[1], masks[2])
        assert masks[2].sum() == 10 * 6

    def test_an_inner_contour_is_a_hole(self) -> None:
        inner = np.array([[5, 5], [8, 5], [8, 7], [5, 7]], np.float64)
        assert fill_polygons([SQUARE, inner], (12, 15)).sum() == 60 - 6

    def test_a_fine_circle_has_the_area_of_a_circle(self) -> None:
        angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
        circle = np.column_stack([150.3 + 100 * np.cos(angle), 140.7 + 100 * np.sin(angle)])
        assert fill_polygons([circle], (300, 300)).sum() == pytest.approx(np.pi * 100**2, rel=1e-3)


class TestStructures:
    def test_a_region_on_its_grid(self, tmp_path: Path) -> None:
        write(tmp_path, [[contour(SQUARE, 1), contour(SQUARE + 1, 2)], [contour(SQUARE + 2, 1)]])
        labels = rasterize(read(tmp_path), GRID, "1.2.9")
        one, two = labels.segments
        assert (one.number, one.label, one.type, one.algorithm) == (5, "organ 0", "ORGAN", "MANUAL")
        assert (one.color, two.color) == ((255, 0, 0), (255, 1, 0))
        assert (one.layer, two.layer) == (0, 1)  # they overlap
        assert [int(plane.sum()) for plane in labels.mask(5)] == [0, 60, 60, 0]
        np.testing.assert_array_equal(np.argwhere(labels.mask(5)[1])[[0, -1]], [[3, 2], [8, 11]])
        assert labels.volume_ml(5) == pytest.approx(120 * 0.5 * 0.8 * 2.5 / 1000)
        assert not labels.warnings

    def test_a_contour_between_slices_belongs_to_the_nearer(self, tmp_path: Path) -> None:
        write(tmp_path, [[contour(SQUARE, 1.4)]])
        assert [int(plane.sum()) for plane in rasterize(read(tmp_path), GRID).mask(5)] == [0, 60, 0, 0]

    def test_what_encloses_no_voxel_is_said(self, tmp_path: Path) -> None:
        askew = contour(SQUARE, 1)
        askew.ContourData[2] = "99"
        write(tmp_path, [[contour(SQUARE, 9), askew, contour(SQUARE[:1], 1, "POINT")]])
        labels = rasterize(read(tmp_path), GRID)
        assert labels.voxels(5) == 0
        assert labels.warnings == (
            "region 5: 1 of 2 contours are not parallel to the slices: left out",
            "region 5: 1 of 2 contours lie beyond the volume's slices: left out",
            "region 5: 1 contours are points or open lines: they enclose nothing",
        )

    def test_another_frame_of_reference_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path, [[contour(SQUARE, 1)]], uid="1.2.8")
        with pytest.raises(NotAVolumeError, match=r"^drawn in frame of reference 1\.2\.8, the volume lies in 1\.2\.9$"):
            rasterize(read(tmp_path), GRID, "1.2.9")

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (["1", "2"], "ContourData has 2 values: not three a point"),
            (["1", "2", "1e9"], "ContourData is beyond 1e+06 mm or not finite"),
        ],
    )
    def test_malformed_points(self, tmp_path: Path, data: list[str], reason: str) -> None:
        bad = item(ContourGeometricType="CLOSED_PLANAR", ContourData=data)
        write(tmp_path, [[bad]])
        with pytest.raises(UnreadableFileError) as caught:
            read(tmp_path)
        assert caught.value.message == f"rt.dcm: {reason}"


@pytest.mark.data
class TestRealStructures:
    def test_lungs_on_their_ct(self, real_data: Path) -> None:
        root = real_data / "seg_and_rt" / "lctsc_ct1_rtstruct"
        ct = select(scan(root))
        with Ingest(workers=1) as ingest:
            labels = ingest.structures(root, instance(root, "RT.dcm"), ct)
        assert [segment.label for segment in labels.segments] == [
            "SpinalCord",
            "Lung_R",
            "Lung_L",
            "Heart",
            "Esophagus",
        ]
        assert labels.segments[0].color == (242, 202, 48)
        assert labels.referenced_series == (ct.info.series_uid,)
        assert len(labels.referenced_instances) == 130
        # Only one slice of 130 is there: what lies beyond it is said.
        assert labels.voxels(1) > 0
        assert labels.warnings[0] == "region 1: 103 of 104 contours lie beyond the volume's slices: left out"

    def test_the_area_of_each_slice_is_that_of_its_contours(self, real_data: Path) -> None:
        root = real_data / "seg_and_rt" / "lctsc_ct1_rtstruct"
        structures = read(root, "RT.dcm")
        header = dcmread(root / "CT01.dcm", stop_before_pixels=True)
        down, right = header.PixelSpacing
        x, y, z = header.ImagePositionPatient
        grid = VolumeGeometry.from_axes((130, 512, 512), (x, y, z), (right, 0, 0), (0, down, 0), (0, 0, 3.0))
        labels = rasterize(structures, grid)
        assert not labels.warnings
        for roi in structures.rois:
            area_mm2 = 0.0
            for points in roi.contours:
                a, b = points[:, :2], np.roll(points[:, :2], -1, axis=0)
                area_mm2 += abs(float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum())) / 2
            assert labels.volume_ml(roi.number) == pytest.approx(area_mm2 * 3.0 / 1000, rel=0.02), roi.name

    def test_the_frame_of_reference_decides_and_not_the_series_it_names(self, real_data: Path) -> None:
        root = real_data / "seg_and_rt" / "rt_utils"
        ct = select(scan(root), series=dcmread(root / "ct_1.dcm").SeriesInstanceUID)
        with pytest.raises(NotAVolumeError, match=r"^drawn in frame of reference 1\.2\.826\."):
            rasterize(read(root, "rt.dcm"), ct.geometry, ct.info.frame_of_reference_uid)
        for name in ("invalid_reference_rt.dcm", "non_existent_reference_rt.dcm"):
            labels = rasterize(read(root, name), ct.geometry, ct.info.frame_of_reference_uid)
            assert [labels.voxels(n) > 0 for n in (1, 2, 3, 4)] == [True] * 4
            assert labels.warnings[0] == "region 1: 1 of 3 contours lie beyond the volume's slices: left out"

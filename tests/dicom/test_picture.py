"""Pictures of single frames: colours of every photometric interpretation, gray with its window, overlays in place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut, pixel_array
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from render.dicom.header import quiet_pydicom
from render.dicom.ingest import Ingest
from render.dicom.instance import Instance
from render.dicom.picture import Picture, read_picture
from render.dicom.pixels import load_volume
from render.dicom.reading import read_header
from render.dicom.series import select
from render.dicom.source import scan
from render.errors import CodecError, NotAVolumeError
from tests.dicom.synthetic import save, slice_dataset

RGB = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [128, 128, 128]]], np.uint8)
# BT.601 full range, from the definitions of PS3.3 C.7.6.3.1.2.
YBR = np.array([[[76, 85, 255], [150, 44, 21]], [[29, 255, 107], [128, 128, 128]]], np.uint8)


def instance(root: Path, name: str) -> Instance:
    with quiet_pydicom():
        header = read_header(root, name)
    assert isinstance(header, Instance)
    return header


def picture(root: Path, name: str = "image.dcm", number: int = 1) -> Picture:
    with quiet_pydicom():
        return read_picture(root, instance(root, name), number)


def write(folder: Path, pixels: npt.NDArray[Any], syntax: str = ExplicitVRLittleEndian, **attributes: Any) -> None:
    """Write one image; samples in a last axis of 3 are interleaved, unless the attributes say otherwise."""
    dataset = slice_dataset(pixels[..., 0] if pixels.ndim == 3 else pixels, "1.2.3.1", "1.2.3")
    if pixels.ndim == 3:
        dataset.SamplesPerPixel, dataset.PlanarConfiguration, dataset.PhotometricInterpretation = 3, 0, "RGB"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    save(dataset, folder / "image.dcm", pixels, syntax)


class TestColour:
    def test_rgb_interleaved_and_planar(self, tmp_path: Path) -> None:
        write(tmp_path, RGB)
        np.testing.assert_array_equal(picture(tmp_path).pixels, RGB)
        planes = np.ascontiguousarray(RGB.transpose(2, 0, 1))
        dataset = slice_dataset(RGB[..., 0], "1.2.3.1", "1.2.3")
        dataset.SamplesPerPixel, dataset.PlanarConfiguration, dataset.PhotometricInterpretation = 3, 1, "RGB"
        save(dataset, tmp_path / "image.dcm", planes, ExplicitVRLittleEndian)
        np.testing.assert_array_equal(picture(tmp_path).pixels, RGB)

    def test_ybr_full(self, tmp_path: Path) -> None:
        write(tmp_path, YBR, PhotometricInterpretation="YBR_FULL")
        np.testing.assert_allclose(picture(tmp_path).pixels.astype(int), RGB, atol=2)

    def test_ybr_full_422_shares_chrominance_between_neighbours(self, tmp_path: Path) -> None:
        write(tmp_path, YBR, PhotometricInterpretation="YBR_FULL")
        dataset = slice_dataset(YBR[..., 0], "1.2.3.1", "1.2.3")
        dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
        dataset.PhotometricInterpretation = "YBR_FULL_422"
        packed = np.array([[76, 76, 85, 255], [29, 29, 255, 107]], np.uint8)
        save(dataset, tmp_path / "image.dcm", packed, ExplicitVRLittleEndian)
        shown = picture(tmp_path).pixels.astype(int)
        np.testing.assert_allclose(shown, [[RGB[0, 0]] * 2, [RGB[1, 0]] * 2], atol=2)

    def test_16_bits_are_cut_to_8(self, tmp_path: Path) -> None:
        write(tmp_path, RGB.astype(np.uint16) << 8 | 0xFF)
        np.testing.assert_array_equal(picture(tmp_path).pixels, RGB)

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
    def test_a_palette_of_16_bits(self, tmp_path: Path, syntax: str) -> None:
        order = "<u2" if syntax == ExplicitVRLittleEndian else ">u2"
        palette: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
        for n, colour in enumerate(("Red", "Green", "Blue")):
            palette[f"{colour}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
            palette[f"{colour}PaletteColorLookupTableData"] = (RGB.reshape(4, 3)[:, n].astype(order) * 257).tobytes()
        write(tmp_path, np.array([[0, 1], [2, 3]], np.uint16), syntax, **palette)
        np.testing.assert_array_equal(picture(tmp_path).pixels, RGB)

    def test_a_palette_that_is_missing(self, tmp_path: Path) -> None:
        write(tmp_path, np.zeros((2, 2), np.uint8), PhotometricInterpretation="PALETTE COLOR")
        with pytest.raises(NotAVolumeError, match=r"^image\.dcm: PALETTE COLOR without Red Palette Color Lookup Table"):
            picture(tmp_path)

    def test_a_palette_without_its_entries(self, tmp_path: Path) -> None:
        described = {"RedPaletteColorLookupTableDescriptor": [4, 0, 16]}
        write(tmp_path, np.zeros((2, 2), np.uint8), PhotometricInterpretation="PALETTE COLOR", **described)
        with pytest.raises(CodecError, match=r"^image\.dcm: palette can't be applied: "):
            picture(tmp_path)

    def test_a_colour_space_that_is_not_known(self, tmp_path: Path) -> None:
        write(tmp_path, RGB, PhotometricInterpretation="HSV")
        with pytest.raises(CodecError, match=r"^image\.dcm: photometric interpretation HSV: no colour that is known$"):
            picture(tmp_path)

    def test_an_icc_profile_is_noted(self, tmp_path: Path) -> None:
        write(tmp_path, RGB)
        assert not picture(tmp_path).has_icc_profile
        write(tmp_path, RGB, ICCProfile=bytes(128))
        assert picture(tmp_path).has_icc_profile


class TestGray:
    def test_the_sources_first_window(self, tmp_path: Path) -> None:
        write(tmp_path, np.array([[0, 50, 100, 200]], np.uint16), WindowCenter=[50, 1], WindowWidth=[100, 1],
              VOILUTFunction="LINEAR_EXACT")  # fmt: skip
        np.testing.assert_array_equal(picture(tmp_path).pixels, [[0, 128, 255, 255]])

    def test_its_voi_lut_where_it_has_no_window(self, tmp_path: Path) -> None:
        item = Dataset()
        item.add_new("LUTDescriptor", "US", [3, 10, 8])
        item.add_new("LUTData", "US", [200, 0, 100])
        write(tmp_path, np.array([[0, 10, 11, 12]], np.uint16), VOILUTSequence=[item])
        np.testing.assert_array_equal(picture(tmp_path).pixels, [[200, 200, 0, 100]])

    @pytest.mark.parametrize(
        "inverse", [{"PhotometricInterpretation": "MONOCHROME1"}, {"PresentationLUTShape": "INVERSE"}]
    )
    def test_inverted_once(self, tmp_path: Path, inverse: dict[str, str]) -> None:
        write(tmp_path, np.array([[0, 100]], np.uint16), WindowCenter=50, WindowWidth=100,
              VOILUTFunction="LINEAR_EXACT", **inverse)  # fmt: skip
        np.testing.assert_array_equal(picture(tmp_path).pixels, [[255, 0]])

    def test_padding_is_black_and_takes_no_part_in_the_automatic_window(self, tmp_path: Path) -> None:
        stored = np.linspace(1000, 1200, 500).astype(np.uint16).reshape(5, 100)
        stored[0, :10] = 65535
        write(tmp_path, stored, PixelPaddingValue=65535)
        shown = picture(tmp_path).pixels
        np.testing.assert_array_equal(shown[0, :10], 0)
        assert shown.max() == 255
        assert 110 < np.median(shown) < 145

    def test_what_can_not_be_shown_says_why(self, tmp_path: Path) -> None:
        write(tmp_path, np.zeros((2, 2), np.uint8))
        with pytest.raises(NotAVolumeError, match=r"^image\.dcm: no frame 2 of 1$"):
            picture(tmp_path, number=2)


class TestOverlays:
    def test_bits_are_packed_lowest_first_and_cut_at_the_image(self, tmp_path: Path) -> None:
        write(tmp_path, np.zeros((3, 4), np.uint8))
        path = tmp_path / "image.dcm"
        dataset = dcmread(path)
        bits = np.array([[1, 0, 1], [0, 1, 1]], bool)
        for element, vr, value in (
            (0x10, "US", 2), (0x11, "US", 3), (0x40, "CS", "G"), (0x50, "SS", [0, 3]), (0x100, "US", 1),
            (0x102, "US", 0), (0x1500, "LO", "ruler"),
            (0x3000, "OW", np.packbits(bits, bitorder="little").tobytes() + b"\0"),
        ):  # fmt: skip
            dataset.add_new((0x6002, element), vr, value)
        dataset.save_as(path)
        (overlay,) = picture(tmp_path).overlays
        assert (overlay.group, overlay.kind, overlay.label, overlay.origin) == (0x6002, "G", "ruler", (0, 3))
        np.testing.assert_array_equal(overlay.planes, bits[None])
        np.testing.assert_array_equal(overlay.on_image(3, 4), [[0, 0, 0, 1], [0] * 4, [0] * 4])

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
    def test_planes_in_bits_that_hold_no_value(self, tmp_path: Path, syntax: str) -> None:
        values = np.array([[5, 4095], [0, 7]], np.uint16)
        plane = np.array([[1, 0], [0, 1]], bool)
        write(tmp_path, values | plane.astype(np.uint16) << 13, syntax, BitsStored=12, HighBit=11,
              WindowCenter=2048, WindowWidth=4096)  # fmt: skip
        path = tmp_path / "image.dcm"
        dataset = dcmread(path)
        for element, vr, value in ((0x10, "US", 2), (0x11, "US", 2), (0x40, "CS", "R"), (0x100, "US", 16),
                                   (0x102, "US", 13)):  # fmt: skip
            dataset.add_new((0x6000, element), vr, value)
        dataset.save_as(path)
        shown = picture(tmp_path)
        np.testing.assert_array_equal(shown.overlays[0].planes, plane[None])
        assert shown.pixels[0, 0] < 3  # the plane's bit is none of the sample's

    def test_too_few_bits_are_said(self, tmp_path: Path) -> None:
        write(tmp_path, np.zeros((3, 4), np.uint8))
        path = tmp_path / "image.dcm"
        dataset = dcmread(path)
        for element, vr, value in ((0x10, "US", 9000), (0x11, "US", 9000), (0x3000, "OW", b"\0\0")):
            dataset.add_new((0x6000, element), vr, value)
        dataset.save_as(path)
        shown = picture(tmp_path)
        assert shown.overlays == ()
        assert shown.warnings == ("overlay 6000 left out: 2 bytes for 1 planes of 9000 x 9000 bits",)


@pytest.mark.data
class TestRealPictures:
    def test_one_pattern_in_eight_encodings_looks_alike(self, real_data: Path) -> None:
        root = real_data / "codecs_ct_and_colour" / "colour_test_pattern"
        exact = picture(root, "TestPattern_RGB.dcm").pixels.astype(int)
        for path in root.iterdir():
            off = np.abs(picture(root, path.name).pixels - exact)
            is_lossy = "Baseline" in path.name or "Near" in path.name
            is_palette = "Palette" in path.name  # 256 of its colours
            assert off.mean() < (3 if is_lossy else 6 if is_palette else 1e-9), path.name

    def test_colours_equal_pydicoms(self, real_data: Path) -> None:
        root = real_data / "pydicom_test_files"
        shown = 0
        for path in sorted(root.glob("SC_*.dcm")):
            header = instance(root, path.name)
            if header.defect or header.format is None or header.transfer_syntax.startswith("1.2.840.10008.1.2.4"):
                continue
            expected = pixel_array(dcmread(path), index=0).astype(np.int64) >> (header.format.bits_stored - 8)
            np.testing.assert_allclose(picture(root, path.name).pixels, expected, atol=1, err_msg=path.name)
            shown += 1
        assert shown >= 9

    def test_jpeg_of_rgb_components_is_not_transformed(self, real_data: Path) -> None:
        # A pink tissue slide, with and without the Adobe segment that says so.
        root = real_data / "pydicom_test_files"
        for name in ("SC_jpeg_no_color_transform.dcm", "SC_jpeg_no_color_transform_2.dcm"):
            mean = picture(root, name).pixels.reshape(-1, 3).mean(0)
            assert mean.min() > 230, name

    def test_luts_equal_pydicoms(self, real_data: Path) -> None:
        root = real_data / "codecs_ct_and_colour" / "luts"
        modality, voi = root / "mlut_18.dcm", root / "vlut_04.dcm"
        dataset = dcmread(modality)
        expected = apply_modality_lut(dataset.pixel_array, dataset)
        volume = load_volume(select(scan(modality)))
        np.testing.assert_array_equal(volume.values()[0], expected)
        dataset = dcmread(voi)
        (lut,) = select(scan(voi)).info.voi_luts
        np.testing.assert_array_equal(lut.look_up(dataset.pixel_array), apply_voi_lut(dataset.pixel_array, dataset))
        shown = picture(root, "vlut_04.dcm").pixels
        assert (shown.min(), shown.max()) == (0, 255)

    def test_an_overlay_outside_the_image(self, real_data: Path) -> None:
        shown = picture(real_data / "odd_and_broken_series" / "fo_dicom", "OutOfBoundsOverlay.dcm")
        first, second = (overlay.on_image(788, 1318) for overlay in shown.overlays)
        assert [overlay.label for overlay in shown.overlays] == ["First reference mark", "First target mark"]
        assert 0 < first.sum() < 201
        assert 0 < second.sum() < 201

    def test_a_worker_shows_the_same(self, real_data: Path) -> None:
        root = real_data / "codecs_ct_and_colour"
        header = instance(root, "us_multiframe/US-PAL-8-10x-echo")
        with Ingest(workers=1) as ingest:
            shown = ingest.picture(root, header, 10)
        with quiet_pydicom():
            np.testing.assert_array_equal(shown.pixels, read_picture(root, header, 10).pixels)
        assert shown.pixels.shape == (430, 600, 3)

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("fo_dicom/genFile.dcm", "JPEG Baseline (Process 1): frame 1 can't be decoded: "
             "imagecodecs: codestream without a frame header"),
            ("fo_dicom/GH1146.dcm", "pixel data of 0 bytes, 524,288 needed"),
            ("fo_dicom/GH1376.dcm", "Explicit VR Little Endian pixel data of undefined length"),
            ("fo_dicom/GH340.dcm", "Bits Allocated is 12 for PixelData; (1, 8, 16, 32) are possible"),
            ("dcm4che/3gb-bulk-data-truncated", "truncated: pixel data of 3,221,225,472 bytes, 98,080 left"),
        ],
    )  # fmt: skip
    def test_what_is_refused_says_why(self, real_data: Path, name: str, reason: str) -> None:
        with pytest.raises((CodecError, NotAVolumeError)) as caught:
            picture(real_data / "odd_and_broken_series", name)
        assert caught.value.message == f"{name}: {reason}"

    def test_a_frame_of_another_size_within_a_cine(self, real_data: Path) -> None:
        root = real_data / "odd_and_broken_series" / "fo_dicom"
        assert picture(root, "multiframe.dcm").pixels.shape == (240, 240, 3)
        with pytest.raises(CodecError, match=r"frame 140 can't be decoded: .*codestream of 121 x 55 pixels, 240 x 240"):
            picture(root, "multiframe.dcm", 140)

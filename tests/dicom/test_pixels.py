"""Stored values become codes and modality values exactly, padding becomes no value, in every transfer syntax."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless

from render.dicom.pixels import load_volume
from render.dicom.series import select
from render.dicom.source import scan
from render.errors import CodecError, NotAVolumeError, RenderCancelledError, UnreadableFileError
from render.transfer import Window, WindowFunction
from render.volume import Volume
from tests.dicom.synthetic import LOSSLESS, NATIVE, positions_mm, ramp, write_series


def load(folder: Path, **options: object) -> Volume:
    return load_volume(select(scan(folder)), **options)  # type: ignore[arg-type]


def lut_item(descriptor: list[int], data: bytes) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", descriptor)
    item.add_new("LUTData", "OW", data)
    return item


class TestTransferSyntaxes:
    @pytest.mark.parametrize("syntax", LOSSLESS)
    @pytest.mark.parametrize("dtype", ["int16", "uint16"])
    def test_lossless_16_bits_are_equal_to_the_bit(self, tmp_path: Path, syntax: str, dtype: str) -> None:
        stored = ramp((3, 17, 23)).astype(dtype)
        stored[0, 0, :4] = [0, 1, 40_000 if dtype == "uint16" else -30_000, np.iinfo(dtype).max]
        write_series(tmp_path, stored, transfer_syntax=syntax)
        volume = load(tmp_path)
        assert volume.codes.dtype == np.int16
        np.testing.assert_array_equal(volume.values(), stored)

    @pytest.mark.parametrize("syntax", [s for s in LOSSLESS if s not in NATIVE])
    def test_8_bits(self, tmp_path: Path, syntax: str) -> None:
        stored = ramp((2, 17, 23), "uint8")
        write_series(tmp_path, stored, transfer_syntax=syntax)
        np.testing.assert_array_equal(load(tmp_path).values(), stored)

    def test_one_volume_may_mix_transfer_syntaxes(self, tmp_path: Path) -> None:
        stored = ramp((2, 6, 5))
        places = positions_mm(2)
        write_series(tmp_path / "a", stored[:1], positions=places[:1], transfer_syntax=JPEGLSLossless)
        write_series(
            tmp_path / "b",
            stored[1:],
            positions=places[1:],
            transfer_syntax=ExplicitVRBigEndian,
            per_slice=[{"SOPInstanceUID": "1.2.3.4.2"}],
        )
        np.testing.assert_array_equal(load(tmp_path).codes, stored)


class TestStoredBits:
    def test_12_signed_bits_are_extended_and_bits_above_are_not_the_samples(self, tmp_path: Path) -> None:
        values = np.array([[[-2048, -1, 0, 2047]]], np.int16)
        stored = ((values.view(np.uint16) & 0x0FFF) | 0x5000).astype(np.uint16)
        write_series(tmp_path, stored, BitsStored=12, HighBit=11, PixelRepresentation=1)
        np.testing.assert_array_equal(load(tmp_path).codes, values)

    def test_a_sample_that_starts_above_bit_0(self, tmp_path: Path) -> None:
        values = np.array([[[0, 1, 4095]]], np.uint16)
        write_series(tmp_path, ((values << 4) | 0x9).astype(np.uint16), BitsStored=12, HighBit=15)
        np.testing.assert_array_equal(load(tmp_path).codes, values)

    def test_unsigned_16_bits_are_stored_offset(self, tmp_path: Path) -> None:
        write_series(tmp_path, np.array([[[0, 65535]]], np.uint16), RescaleSlope=2, RescaleIntercept=-5)
        volume = load(tmp_path)
        np.testing.assert_array_equal(volume.codes, [[[-32768, 32767]]])
        np.testing.assert_array_equal(volume.values(), [[[-5, 131065]]])

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_float_pixels(self, tmp_path: Path, dtype: str) -> None:
        stored = np.array([[[0.1, -3e10, np.nan, np.inf]]], dtype)
        write_series(tmp_path, stored)
        volume = load(tmp_path)
        assert volume.codes.dtype == np.float32
        np.testing.assert_array_equal(volume.codes[0, 0, :2], stored[0, 0, :2].astype(np.float32))
        assert np.isnan(volume.codes[0, 0, 2:]).all()

    def test_32_bits_are_float32_and_say_when_that_rounds(self, tmp_path: Path) -> None:
        write_series(tmp_path / "small", np.array([[[1, 1 << 24]]], np.uint32))
        write_series(tmp_path / "large", np.array([[[1, (1 << 24) + 1]]], np.uint32))
        small, large = load(tmp_path / "small"), load(tmp_path / "large")
        np.testing.assert_array_equal(small.codes, [[[1, 1 << 24]]])
        assert small.info.warnings[1:] == ("32-bit pixels are held as float32",)
        assert large.info.warnings[2:] == (
            "stored values up to 16,777,217 are rounded to float32, exact up to 16,777,216",
        )


class TestRescale:
    def test_a_uniform_rescale_is_kept_beside_the_codes(self, tmp_path: Path) -> None:
        stored = ramp((3, 4, 5))
        write_series(tmp_path, stored, RescaleSlope="0.5", RescaleIntercept="-1024")
        volume = load(tmp_path)
        assert (volume.slope, volume.intercept, volume.codes.dtype) == (0.5, -1024.0, np.int16)
        np.testing.assert_array_equal(volume.codes, stored)

    def test_slopes_of_their_own_give_exact_float32_values(self, tmp_path: Path) -> None:
        stored = ramp((3, 4, 5))
        slopes = [0.378841, 1.25, 7.1]
        write_series(
            tmp_path,
            stored,
            Modality="PT",
            Units="BQML",
            per_slice=[{"RescaleSlope": slope, "RescaleIntercept": 0} for slope in slopes],
        )
        volume = load(tmp_path)
        expected = (stored * np.array(slopes)[:, None, None]).astype(np.float32)
        np.testing.assert_array_equal(volume.codes, expected)
        assert (volume.slope, volume.intercept, volume.info.units) == (1.0, 0.0, "Bq/ml")

    def test_a_slope_of_0_is_refused(self, tmp_path: Path) -> None:
        write_series(tmp_path, RescaleSlope=0, RescaleIntercept=0)
        assert scan(tmp_path).series[0].reason == "RescaleSlope is 0 (4 files, the first slice000.dcm)"

    def test_a_modality_lut_maps_and_clamps(self, tmp_path: Path) -> None:
        item = Dataset()
        item.LUTDescriptor = [3, 10, 16]
        item["LUTDescriptor"].VR = "US"
        item.LUTData = [100, 60_000, 7]
        item["LUTData"].VR = "US"
        write_series(tmp_path, np.array([[[0, 10, 11, 12, 99]]], np.uint16), ModalityLUTSequence=[item])
        volume = load(tmp_path)
        assert volume.codes.dtype == np.int16
        np.testing.assert_array_equal(volume.values(), [[[100, 100, 60_000, 7, 7]]])

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
    def test_a_modality_lut_as_bytes_from_a_negative_value_on(self, tmp_path: Path, syntax: str) -> None:
        order = "<u2" if syntax == ExplicitVRLittleEndian else ">u2"
        item = lut_item([3, 65534, 16], np.array([100, 300, 7], order).tobytes())
        stored = np.array([[[-9, -2, -1, 0, 9]]], np.int16)
        write_series(tmp_path, stored, transfer_syntax=syntax, ModalityLUTSequence=[item])
        np.testing.assert_array_equal(load(tmp_path).values(), [[[100, 100, 300, 7, 7]]])

    def test_a_modality_lut_of_single_bytes(self, tmp_path: Path) -> None:
        item = lut_item([4, 0, 8], bytes([9, 8, 7, 6]))
        write_series(tmp_path, np.array([[[0, 3]]], np.uint16), ModalityLUTSequence=[item])
        np.testing.assert_array_equal(load(tmp_path).values(), [[[9, 6]]])

    def test_a_modality_lut_shorter_than_announced(self, tmp_path: Path) -> None:
        item = lut_item([256, 0, 16], bytes(100))
        write_series(tmp_path, np.array([[[0, 3]]], np.uint16), ModalityLUTSequence=[item])
        assert scan(tmp_path).series[0].reason == ("ModalityLUTSequence has 50 entries, 256 announced (slice000.dcm)")

    def test_voi_luts_that_all_slices_have(self, tmp_path: Path) -> None:
        item = lut_item([3, 65534, 10], np.array([0, 1023, 512], "<u2").tobytes())
        item.LUTExplanation = "BONE"
        write_series(tmp_path / "all", VOILUTSequence=[item], RescaleIntercept=-1024, RescaleSlope=1)
        (lut,) = load(tmp_path / "all").info.voi_luts
        assert (lut.first, lut.bits, lut.explanation) == (-2, 10, "BONE")
        np.testing.assert_array_equal(lut.look_up([-2, -1, 0]), [0, 1023, 512])
        write_series(tmp_path / "one", per_slice=[{"VOILUTSequence": [item]}, {}, {}, {}])
        assert load(tmp_path / "one").info.voi_luts == ()

    def test_a_malformed_voi_lut_is_none(self, tmp_path: Path) -> None:
        write_series(tmp_path, VOILUTSequence=[lut_item([256, 0, 16], bytes(100))])
        assert load(tmp_path).info.voi_luts == ()

    def test_monochrome1_is_inverted_on_display_only(self, tmp_path: Path) -> None:
        write_series(tmp_path, PhotometricInterpretation="MONOCHROME1")
        volume = load(tmp_path)
        assert volume.info.inverted
        np.testing.assert_array_equal(volume.codes, ramp((4, 6, 5)))


class TestPadding:
    def test_padding_is_compared_before_the_rescale(self, tmp_path: Path) -> None:
        stored = np.array([[[-2000, -976, 0]]], np.int16)
        write_series(tmp_path, stored, RescaleSlope=1, RescaleIntercept=-1024, PixelPaddingValue=-2000)
        values = load(tmp_path).values()
        assert np.isnan(values[0, 0, 0])
        np.testing.assert_array_equal(values[0, 0, 1:], [-2000, -1024])

    def test_without_a_padded_voxel_there_is_no_invalid_code(self, tmp_path: Path) -> None:
        write_series(tmp_path, PixelPaddingValue=-2000)
        assert load(tmp_path).invalid_code is None

    @pytest.mark.parametrize(("value", "limit"), [(3, 5), (5, 3)])
    def test_a_range_is_padding_to_both_ends(self, tmp_path: Path, value: int, limit: int) -> None:
        write_series(
            tmp_path,
            np.arange(8, dtype=np.int16).reshape(1, 2, 4),
            PixelPaddingValue=value,
            PixelPaddingRangeLimit=limit,
        )
        volume = load(tmp_path)
        np.testing.assert_array_equal(np.isnan(volume.values()).ravel(), [0, 0, 0, 1, 1, 1, 0, 0])
        assert volume.invalid_code == 3

    def test_a_value_written_unsigned_for_signed_pixels(self, tmp_path: Path) -> None:
        write_series(tmp_path, np.array([[[-2000, 5]]], np.int16), PixelPaddingValue=63536 - 65536)
        path = tmp_path / "slice000.dcm"
        data = path.read_bytes()
        assert data.count(b"\x28\x00\x20\x01SS") == 1
        path.write_bytes(data.replace(b"\x28\x00\x20\x01SS", b"\x28\x00\x20\x01US"))
        np.testing.assert_array_equal(np.isnan(load(tmp_path).values()), [[[True, False]]])

    def test_a_value_written_unsigned_in_the_bits_stored(self, tmp_path: Path) -> None:
        stored = (np.array([[[-2048, 5]]]) & 0xFFF).astype(np.uint16)
        write_series(tmp_path, stored, BitsStored=12, HighBit=11, PixelRepresentation=1, PixelPaddingValue=0x800)
        np.testing.assert_array_equal(np.isnan(load(tmp_path).values()), [[[True, False]]])

    @pytest.mark.parametrize(("dtype", "prefix"), [("float32", "Float"), ("float64", "DoubleFloat")])
    def test_padding_of_floats(self, tmp_path: Path, dtype: str, prefix: str) -> None:
        padding = {f"{prefix}PixelPaddingValue": -1000.5, f"{prefix}PixelPaddingRangeLimit": -999.0}
        write_series(tmp_path, np.array([[[-1001, -1000.5, -999, -998]]], dtype), **padding)
        np.testing.assert_array_equal(np.isnan(load(tmp_path).values()), [[[False, True, True, False]]])

    def test_nan_as_padding_of_floats(self, tmp_path: Path) -> None:
        write_series(tmp_path, np.array([[[np.nan, 3]]], np.float32), FloatPixelPaddingValue=float("nan"))
        np.testing.assert_array_equal(load(tmp_path).values(), [[[np.nan, 3]]])

    def test_padding_of_unsigned_16_bits(self, tmp_path: Path) -> None:
        write_series(tmp_path, np.array([[[0, 65535, 7]]], np.uint16), PixelPaddingValue=65535)
        np.testing.assert_array_equal(np.isnan(load(tmp_path).values()), [[[False, True, False]]])

    def test_slices_with_paddings_of_their_own(self, tmp_path: Path) -> None:
        write_series(
            tmp_path,
            np.full((2, 1, 2), [1, 2], np.int16),
            per_slice=[{"PixelPaddingValue": 1}, {"PixelPaddingValue": 2}],
        )
        np.testing.assert_array_equal(load(tmp_path).values(), [[[np.nan, 2]], [[1, np.nan]]])

    def test_padding_under_slopes_of_their_own_is_nan(self, tmp_path: Path) -> None:
        write_series(
            tmp_path,
            np.full((2, 1, 2), [1, 2], np.int16),
            PixelPaddingValue=1,
            per_slice=[{"RescaleSlope": s, "RescaleIntercept": 0} for s in (2, 3)],
        )
        volume = load(tmp_path)
        np.testing.assert_array_equal(volume.codes, [[[np.nan, 4]], [[np.nan, 6]]])
        assert volume.invalid_code is None


class TestInfo:
    def test_windows_that_all_slices_have(self, tmp_path: Path) -> None:
        common = {"WindowCenter": [40, 0], "WindowWidth": [400, 0.5], "WindowCenterWidthExplanation": ["SOFT", "THIN"]}
        write_series(tmp_path, per_slice=[common] * 4)
        info = load(tmp_path).info
        assert info.windows == (Window(40, 400, WindowFunction.LINEAR, "SOFT"),)
        assert info.warnings == ("VOI window 0/0.5 LINEAR is invalid and left out",)

    def test_windows_that_differ_are_left_to_the_statistics(self, tmp_path: Path) -> None:
        write_series(tmp_path, per_slice=[{"WindowCenter": 10 * n, "WindowWidth": 100} for n in range(4)])
        assert load(tmp_path).info.windows == ()

    def test_the_window_function_is_kept(self, tmp_path: Path) -> None:
        write_series(tmp_path, WindowCenter=1, WindowWidth=0.5, VOILUTFunction="LINEAR_EXACT")
        assert load(tmp_path).info.windows == (Window(1, 0.5, WindowFunction.LINEAR_EXACT),)

    @pytest.mark.parametrize(
        ("attributes", "units"),
        [
            ({"Modality": "CT"}, "HU"),
            ({"Modality": "CT", "RescaleType": "US"}, ""),
            ({"Modality": "MR"}, ""),
            ({"Modality": "PT", "Units": "CNTS"}, "counts"),
        ],
    )
    def test_units(self, tmp_path: Path, attributes: dict[str, str], units: str) -> None:
        write_series(tmp_path, **attributes)
        assert load(tmp_path).info.units == units

    @pytest.mark.parametrize(
        ("function", "expected"),
        [
            ("LINEAR", WindowFunction.LINEAR),
            ("SIGMOID", WindowFunction.SIGMOID),
            ("", WindowFunction.LINEAR),
        ],
    )
    def test_each_function_that_dicom_has(self, tmp_path: Path, function: str, expected: WindowFunction) -> None:
        write_series(tmp_path, WindowCenter=40, WindowWidth=400, VOILUTFunction=function)
        info = load(tmp_path).info
        assert info.windows == (Window(40, 400, expected),)
        assert info.warnings == ()

    def test_an_unknown_function_is_said(self, tmp_path: Path) -> None:
        write_series(tmp_path, WindowCenter=40, WindowWidth=400, VOILUTFunction="CUBIC")
        info = load(tmp_path).info
        assert info.windows == (Window(40, 400, WindowFunction.LINEAR),)
        assert info.warnings == ("VOI LUT function of window 40/400 is unknown: LINEAR is used",)

    def test_a_lossy_source_says_so(self, tmp_path: Path) -> None:
        write_series(tmp_path / "lossless")
        write_series(tmp_path / "lossy", per_slice=[{}, {"LossyImageCompression": "01"}, {}, {}])
        assert not load(tmp_path / "lossless").info.lossy_source
        assert load(tmp_path / "lossy").info.lossy_source


class TestLoading:
    def test_progress_and_threads_give_the_same_volume(self, tmp_path: Path) -> None:
        write_series(tmp_path, ramp((9, 6, 5)))
        calls: list[tuple[int, int]] = []
        one = load(tmp_path, threads=1)
        many = load(tmp_path, threads=4, progress=lambda done, total: calls.append((done, total)))
        np.testing.assert_array_equal(one.codes, many.codes)
        assert calls[-1] == (9, 9)
        assert calls == sorted(calls)

    def test_cancelling(self, tmp_path: Path) -> None:
        write_series(tmp_path)
        with pytest.raises(RenderCancelledError, match=r"load given up after \d of 4 slices"):
            load(tmp_path, cancelled=lambda: True)

    def test_a_file_that_changed_or_went_after_the_scan(self, tmp_path: Path) -> None:
        paths = write_series(tmp_path)
        plan = select(scan(tmp_path))
        os.utime(paths[1], ns=(0, 0))
        with pytest.raises(UnreadableFileError, match=r"^slice001\.dcm: has changed since it was scanned$"):
            load_volume(plan)
        paths[1].unlink()
        with pytest.raises(UnreadableFileError, match=r"^slice001\.dcm: can't be read: No such file"):
            load_volume(plan)

    def test_a_corrupt_codestream_names_file_and_syntax_in_one_line(self, tmp_path: Path) -> None:
        paths = write_series(tmp_path, ramp((2, 17, 23)), transfer_syntax=JPEG2000Lossless)
        data = paths[1].read_bytes()
        at = data.index(b"\xff\x4f\xff\x51")
        paths[1].write_bytes(data[:at] + b"\0" * 16 + data[at + 16 :])
        with pytest.raises(CodecError) as caught:
            load(tmp_path)
        assert caught.value.message.startswith("slice001.dcm: JPEG 2000 Image Compression (Lossless Only): frame 1")
        assert "\n" not in caught.value.message

    def test_a_codestream_of_another_size_is_refused(self, tmp_path: Path) -> None:
        write_series(tmp_path, ramp((1, 17, 23)), transfer_syntax=JPEGLSLossless, Rows=16)
        with pytest.raises(NotAVolumeError, match="codestream of 17 x 23 pixels, 16 x 23 by the header"):
            load(tmp_path)

    def test_an_unknown_transfer_syntax_is_named(self, tmp_path: Path) -> None:
        (path,) = write_series(tmp_path, ramp((1, 6, 5)))
        data = path.read_bytes()
        uid = ExplicitVRLittleEndian.encode() + b"\0"
        assert data.count(uid) == 1
        path.write_bytes(data.replace(uid, b"1.2.840.10008.9.9.9\0"))
        assert scan(tmp_path).series[0].reason == "no decoder for transfer syntax 1.2.840.10008.9.9.9 (slice000.dcm)"

"""What is broken, lies or lacks something is left out and said why; nothing is guessed, and nothing runs away."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)

from render.dicom.pixels import load_volume
from render.dicom.source import scan
from tests.dicom.synthetic import assert_accounted, ramp, write_series


def test_a_padding_byte_that_is_missing_loses_nothing(tmp_path: Path) -> None:
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
def test_a_data_set_of_another_encoding_than_is_stated_is_read_as_it_is(tmp_path: Path, stated: str) -> None:
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


def test_whether_values_are_signed_is_not_guessed(tmp_path: Path) -> None:
    write_series(tmp_path, PixelRepresentation=None)
    (series,) = scan(tmp_path).series
    assert series.reason.startswith("PixelRepresentation is missing: signed or unsigned is not known (4 files, ")


def test_a_truncated_slice_is_left_out_and_said_with_the_bytes(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    paths[3].write_bytes(paths[3].read_bytes()[:-7])
    (series,) = scan(tmp_path).series
    assert series.volumes[0].shape == (3, 6, 5)
    (warning,) = series.warnings
    assert warning == "left out: truncated: pixel data of 60 bytes, 53 left (slice003.dcm)"
    assert len(series.paths) == 4
    assert series.volumes[0].info.warnings == series.warnings


def test_a_truncated_file_leaves_a_gap_of_invalid_voxels(tmp_path: Path) -> None:
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


def test_a_header_that_never_was_more_is_incomplete_and_says_what_it_lacks(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, ramp((1, 6, 5)), Rows=None, PixelRepresentation=None)
    file = dcmread(path)
    del file.PixelData
    file.save_as(path)
    (series,) = scan(tmp_path).series
    size = path.stat().st_size
    assert series.reason == f"incomplete: the file ends at byte {size} without Rows, PixelRepresentation (slice000.dcm)"


def test_a_file_cut_within_its_header_is_truncated_wherever_the_cut_is(tmp_path: Path) -> None:
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


def test_many_damaged_files_do_not_fill_the_screen(tmp_path: Path) -> None:
    paths = write_series(tmp_path, ramp((30, 6, 5)))
    for n, path in enumerate(paths[:20], start=1):
        path.write_bytes(path.read_bytes()[:-n])
    (series,) = scan(tmp_path).series
    assert series.volumes[0].shape == (10, 6, 5)
    assert len(series.warnings) == 5
    assert series.warnings[-1] == "left out: 16 more reasons like these"


def test_truncated_fragments_are_noticed_without_decoding(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, ramp((1, 6, 5)), transfer_syntax=JPEGLSLossless)
    path.write_bytes(path.read_bytes()[:-30])
    (series,) = scan(path).series
    assert series.kind == "other"
    assert series.reason.startswith("truncated: a fragment of ")


def test_every_truncation_of_a_file_is_typed(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, ramp((1, 6, 5)))
    whole = path.read_bytes()
    for length in range(0, len(whole), 13):
        path.write_bytes(whole[:length])
        found = scan(tmp_path)
        assert_accounted(found, tmp_path)
        assert found.volumes == ()


def test_a_length_that_lies_is_not_allocated(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, ramp((1, 6, 5)))
    whole = path.read_bytes()
    tag = struct.pack("<HH2s2xL", 0x7FE0, 0x0010, b"OW", 60)
    assert whole.count(tag) == 1
    path.write_bytes(whole.replace(tag, tag[:-4] + struct.pack("<L", 3 << 30)))
    (series,) = scan(tmp_path).series
    assert series.reason.startswith("truncated: pixel data of 3,221,225,472 bytes, 60 left")


def test_a_lying_header_element_is_skipped_with_its_size(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, ramp((1, 6, 5)))
    whole = path.read_bytes()
    element = b"\x08\x00\x3e\x10LO\x04\x00ramp"
    assert whole.count(element) == 1
    path.write_bytes(whole.replace(element, b"\x08\x00\x40\x11SQ\0\0" + struct.pack("<L", 1 << 31)))
    found = scan(tmp_path)
    assert_accounted(found, tmp_path)
    assert not found.volumes


def test_missing_pixel_data_and_odd_formats_have_their_reason(tmp_path: Path) -> None:
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
def test_impossible_places_are_refused(tmp_path: Path, attributes: dict[str, object], reason: str) -> None:
    write_series(tmp_path, per_slice=[attributes] * 4)
    (series,) = scan(tmp_path).series
    assert (series.kind, series.volumes) == ("other", ())
    assert series.reason.startswith(reason)


def test_deep_sequences_end_in_a_reason(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, ramp((1, 6, 5)))
    whole = path.read_bytes()
    pixels = whole.index(b"\xe0\x7f\x10\x00OW")
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    opening = b"\x55\x00\x00\x10SQ\0\0\xff\xff\xff\xff" + item
    path.write_bytes(whole[:pixels] + opening * 20_000 + whole[pixels:])
    assert [f.reason for f in scan(path).skipped] == ["header can't be parsed: RecursionError"]


def test_a_deflated_bomb_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render.dicom.bounded.MAXIMUM_INFLATED_BYTES", 100_000)
    (path,) = write_series(tmp_path, ramp((1, 6, 5)), transfer_syntax=DeflatedExplicitVRLittleEndian)
    assert scan(path).volumes
    whole = path.read_bytes()
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = engine.compress(b"\0" * 1_000_000) + engine.flush()
    meta_bytes = 132 + 12 + int.from_bytes(whole[140:144], "little")
    path.write_bytes(whole[:meta_bytes] + bomb)
    assert [f.reason for f in scan(path).skipped] == ["deflated data set grows beyond 100,000 bytes"]


def test_no_patient_data_in_what_is_said(tmp_path: Path) -> None:
    write_series(tmp_path, per_slice=[{}, {"WindowCenter": "12", "WindowWidth": "0.5"}, {}, {}])
    assert "Secret" not in json.dumps(scan(tmp_path).to_json())

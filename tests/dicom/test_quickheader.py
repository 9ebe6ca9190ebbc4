"""The quick reader gives what pydicom gives, or leaves the file to it."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from render.dicom.attributes import HEADER_TAGS
from render.dicom.header import quiet_pydicom
from render.dicom.quickheader import FIRST_BYTES, read_quickly
from tests.dicom.synthetic import ramp, write_series


def by_pydicom(content: bytes) -> tuple[FileDataset, int]:
    file = io.BytesIO(content)
    dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=HEADER_TAGS)
    return dataset, file.tell()


def assert_equal(quick: FileDataset, position: int, content: bytes) -> None:
    slow, expected_position = by_pydicom(content)
    assert {int(tag) for tag in quick.keys()} - {0x00080005} == {int(tag) for tag in slow.keys()} - {0x00080005}
    for element in slow:
        assert quick[element.tag].value == element.value, element.tag
    for name in ("TransferSyntaxUID", "MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID"):
        assert quick.file_meta.get(name) == slow.file_meta.get(name)
    assert quick.original_encoding == slow.original_encoding
    assert position == expected_position


def compare(content: bytes) -> bool:
    """Compare both readers; return whether the quick one read it."""
    quick = read_quickly(io.BytesIO(content))
    dataset = None if quick is None else quick.dataset()
    if quick is not None and dataset is not None:
        assert_equal(dataset, quick.pixels_at, content)
    return dataset is not None


@pytest.mark.parametrize(
    ("syntax", "is_read"),
    [(ExplicitVRLittleEndian, True), (ImplicitVRLittleEndian, True), (ExplicitVRBigEndian, False)],
)
def test_plain_files_are_read_as_pydicom_reads_them(tmp_path: Path, syntax: str, is_read: bool) -> None:
    (path,) = write_series(
        tmp_path,
        ramp((1, 6, 5)),
        transfer_syntax=syntax,
        SpecificCharacterSet="ISO_IR 192",
        SeriesDescription="Schädel",
        WindowCenter=["40", "600"],
        PixelPaddingValue=-2000,
        RescaleSlope="1.5",
    )
    with quiet_pydicom():
        assert compare(path.read_bytes()) is is_read


def test_a_character_set_belongs_to_its_file(tmp_path: Path) -> None:
    name = "Sch\xe4del"
    (latin,) = write_series(tmp_path / "a", ramp((1, 6, 5)), SpecificCharacterSet="ISO_IR 100", SeriesDescription=name)
    (greek,) = write_series(tmp_path / "b", ramp((1, 6, 5)), SpecificCharacterSet="ISO_IR 100", SeriesDescription=name)
    greek.write_bytes(greek.read_bytes().replace(b"ISO_IR 100", b"ISO_IR 126"))
    with quiet_pydicom():
        found = [read_quickly(io.BytesIO(path.read_bytes())) for path in (latin, greek)]
    datasets = [quick.dataset() for quick in found if quick is not None]
    assert [dataset.SeriesDescription for dataset in datasets if dataset is not None] == ["Schädel", "Schδdel"]


@pytest.mark.parametrize("is_undefined", [False, True])
def test_sequences_that_are_not_wanted_are_skipped_and_long_headers_read_on(tmp_path: Path, is_undefined: bool) -> None:
    (path,) = write_series(tmp_path, ramp((1, 6, 5)))
    dataset = dcmread(path)
    inner, outer = Dataset(), Dataset()
    inner.ReferencedSOPInstanceUID = "1.2.3"
    outer.ReferencedImageSequence = Sequence([inner])
    outer.RetrieveURI = "x" * (FIRST_BYTES + 100)
    dataset.SourceImageSequence = Sequence([outer, outer])
    for sequence in (dataset["SourceImageSequence"], outer["ReferencedImageSequence"]):
        sequence.is_undefined_length = is_undefined
        for item in sequence.value:
            item.is_undefined_length_sequence_item = is_undefined
    dataset.save_as(path)
    with quiet_pydicom():
        assert compare(path.read_bytes())


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_headers_are_left_to_pydicom_or_read_alike(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "slice000.dcm"
    if not path.exists():
        write_series(tmp_path, ramp((1, 6, 5)))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(content[: data.draw(st.integers(140, len(content)))])
    with quiet_pydicom():
        header = read_quickly(io.BytesIO(damaged))
        quick = None if header is None else header.dataset()
        if header is None or quick is None:
            return
        try:
            slow, position = by_pydicom(damaged)
            expected = {element.tag: element.value for element in slow}
        except Exception:
            return  # pydicom stumbles over what the quick reader skips
        if position == header.pixels_at:
            assert {tag: quick[tag].value for tag in expected if tag in quick} == {
                tag: value for tag, value in expected.items() if tag in quick
            }


@pytest.mark.data
def test_every_real_file_is_read_alike_and_most_are_plain(real_data: Path) -> None:
    read = total = 0
    with quiet_pydicom():
        for path in sorted(real_data.rglob("*")):
            if not path.is_file() or path.stat().st_size > 4 << 20:
                continue
            content = path.read_bytes()
            if content[128:132] == b"DICM":
                total += 1
                read += compare(content)
    assert total > 800
    assert read > 0.8 * total

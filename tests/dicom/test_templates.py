"""What is known from an earlier file of a series is what reading the file in full gives, whatever it holds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from render.dicom import header
from render.dicom.header import quiet_pydicom
from render.dicom.instance import Instance
from render.dicom.quickheader import QuickHeader
from render.dicom.reading import FileHeader, read_header
from render.dicom.templates import MOST_TEMPLATES, Templates
from tests.dicom.fuzz import damaged, sources
from tests.dicom.synthetic import ramp, write_series

MUTATED = 1500


class Counting(Templates):
    """Templates that count how often one was there."""

    def __init__(self) -> None:
        super().__init__()
        self.found = 0

    def find(self, header: QuickHeader) -> Instance | None:
        found = super().find(header)
        self.found += found is not None
        return found


class Without(Templates):
    """No templates: each file is read in full."""

    def find(self, header: QuickHeader) -> Instance | None:
        return None


Read = Callable[[Path], FileHeader]


@pytest.fixture
def templates(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    counting = Counting()
    monkeypatch.setattr(header, "_templates", counting)
    with quiet_pydicom():
        yield counting


def in_full(path: Path) -> FileHeader:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(header, "_templates", Without())
        return read_header(path.parent, path.name)


def by_template(path: Path) -> FileHeader:
    return read_header(path.parent, path.name)


def slices(folder: Path, syntax: str = ExplicitVRLittleEndian, **attributes: Any) -> list[Path]:
    count = 4
    each = [
        {
            "AcquisitionTime": f"10150{n}.25",
            "ContentTime": f"10150{n}",
            "AcquisitionNumber": n + 1,
            "TriggerTime": f"{n * 12.5:g}",
            "WindowCenter": [f"{40 + n}", "600"],
            "WindowWidth": [f"{400 + n}", "1600"],
        }
        for n in range(count)
    ]
    return write_series(folder, ramp((count, 6, 5)), transfer_syntax=syntax, per_slice=each, **attributes)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1, JPEGLSLossless, RLELossless]
)
def test_slices_after_the_first_are_read_by_template_and_alike(
    tmp_path: Path, templates: Counting, syntax: str
) -> None:
    paths = slices(tmp_path, syntax, RescaleSlope="1", RescaleIntercept="-1024", PixelPaddingValue=-2000)
    read = [by_template(path) for path in paths]
    assert templates.found == len(paths) - 1
    assert read == [in_full(path) for path in paths]
    instances = [found for found in read if isinstance(found, Instance)]
    assert len({found.frames[0].position_mm for found in instances}) == len(paths)
    assert [found.frames[0].windows[0][:2] for found in instances] == [(40 + n, 400 + n) for n in range(len(paths))]
    assert [dict(found.frames[0].phase)["TriggerTime"] for found in instances] == ["0", "12.5", "25", "37.5"]


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("PatientID", "another"),
        ("SeriesInstanceUID", "1.2.3.5"),
        ("RescaleIntercept", "-1000"),
        ("PixelSpacing", ["0.8", "0.6"]),
        ("ImageOrientationPatient", ["1", "0", "0", "0", "0", "-1"]),
        ("PixelPaddingValue", -3000),
        ("EchoTime", "12"),
        ("InstanceNumber", None),
        ("ImagePositionPatient", None),
        ("ImagePositionPatient", ["0", "0"]),
        ("ImagePositionPatient", ["0", "0", "1e7"]),
        ("WindowCenter", "40"),
        ("WindowWidth", ""),
        ("AcquisitionTime", " "),
        ("AcquisitionTime", ["101500", "101501"]),
        ("SOPInstanceUID", "1.2.3.9"),
    ],
)
def test_a_slice_that_differs_in_anything_else_is_read_as_it_stands(
    tmp_path: Path, templates: Counting, attribute: str, value: object
) -> None:
    (usual,) = write_series(tmp_path / "a", ramp((1, 6, 5)), **USUAL)
    (other,) = write_series(tmp_path / "b", ramp((1, 6, 5)), **USUAL, per_slice=[{attribute: value}])
    by_template(usual)
    found = by_template(usual), by_template(other)
    assert found == (in_full(usual), in_full(other))
    assert {**vars_of(found[0]), **STAMP} != {**vars_of(found[1]), **STAMP}


def test_the_file_metas_uid_counts_where_the_data_set_has_none(tmp_path: Path, templates: Counting) -> None:
    paths = write_series(tmp_path)
    uid = b"\x08\x00\x18\x00UI\x0a\x00"
    for path in paths[1:]:
        content = path.read_bytes()
        at = content.index(uid)
        path.write_bytes(content[:at] + uid[:6] + b"\0\0" + content[at + 18 :])
    read = [by_template(path) for path in paths]
    assert read == [in_full(path) for path in paths]
    assert [getattr(found, "sop_instance_uid", "") for found in read] == [f"1.2.3.4.{n}" for n in range(1, 5)]


USUAL: dict[str, Any] = {
    "RescaleSlope": "1",
    "RescaleIntercept": "-1024",
    "PixelPaddingValue": -2000,
    "EchoTime": "10",
    "WindowCenter": ["40", "600"],
    "WindowWidth": ["400", "1600"],
    "AcquisitionTime": "101500",
    "SeriesDescription": "head",
}
STAMP = {"size_bytes": 0, "modified_ns": 0, "path": "", "extent": None}


def vars_of(found: FileHeader) -> dict[str, Any]:
    return {name: getattr(found, name) for name in found.__dataclass_fields__}


def test_a_slice_that_is_cut_or_lies_is_refused_with_its_reason(tmp_path: Path, templates: Counting) -> None:
    first, cut, lossy, _ = slices(tmp_path, JPEGLSLossless)
    content = cut.read_bytes()
    cut.write_bytes(content[:-30])
    content = bytearray(lossy.read_bytes())
    at = content.index(b"\xff\xf7")
    content[at + 5 : at + 7] = b"\x12\x34"
    lossy.write_bytes(content)
    for path in (first, cut, lossy):
        assert by_template(path) == in_full(path)
    assert templates.found == 2
    defects = [getattr(by_template(path), "defect", None) for path in (first, cut, lossy)]
    assert defects[0] == ""
    assert str(defects[1]).startswith("truncated")
    assert str(defects[2]).startswith("codestream of 4660 x 5 pixels, 6 x 5 by the header")


def test_pet_multi_frames_and_damaged_files_are_no_templates(tmp_path: Path, templates: Counting) -> None:
    pet = write_series(tmp_path / "pet", ramp((2, 6, 5)), Modality="PT", AcquisitionTime="101500")
    frames = write_series(tmp_path / "frames", ramp((2, 6, 5)), NumberOfFrames=2, Rows=3)
    short = write_series(tmp_path / "short", ramp((2, 6, 5)), Rows=60)
    for path in (*pet, *frames, *short):
        assert by_template(path) == in_full(path)
    assert templates.found == 0


def test_templates_are_bounded(tmp_path: Path, templates: Counting) -> None:
    (path,) = write_series(tmp_path, ramp((1, 6, 5)), SeriesDescription="number 000")
    content = path.read_bytes()
    for n in range(MOST_TEMPLATES + 20):
        path.write_bytes(content.replace(b"number 000", b"number %03d" % n))
        by_template(path)
    assert len(templates._instances) == 20


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_own_values_of_any_kind_are_read_alike(tmp_path: Path, templates: Counting, data: st.DataObject) -> None:
    path = tmp_path / "slice000.dcm"
    if not path.exists():
        write_series(tmp_path, ramp((1, 6, 5)), InstanceNumber=100, AcquisitionTime="101500.25", WindowCenter="40.5")
        by_template(path)
    content = path.read_bytes()
    characters = st.sampled_from(b"0123456789.-+eE\\ \0_nafi:/A\xe9")
    for tag in (b"\x08\x00\x18\x00UI", b"\x20\x00\x13\x00IS", b"\x20\x00\x32\x00DS", b"\x08\x00\x32\x00TM"):
        at = content.index(tag) + 8
        length = int.from_bytes(content[at - 2 : at], "little")
        if data.draw(st.booleans()):
            value = bytes(data.draw(st.lists(characters, max_size=20)))
        else:
            value = bytearray(content[at : at + length])
            value[data.draw(st.integers(0, length - 1))] = data.draw(characters)
        content = content[: at - 2] + len(value).to_bytes(2, "little") + bytes(value) + content[at + length :]
    other = tmp_path / "other.dcm"
    other.write_bytes(content)
    assert same(by_template(other), in_full(other))


def same(one: FileHeader, other: FileHeader) -> bool:
    # Python's == of numbers takes -0.0 for 0.0, and no NaN for itself.
    return repr(one) == repr(other)


@pytest.mark.data
def test_every_real_file_is_read_alike_by_templates(real_data: Path, templates: Counting) -> None:
    total = 0
    for path in sorted(real_data.rglob("*")):
        if path.is_file():
            total += 1
            assert same(by_template(path), in_full(path)), path.name
    assert total > 1000
    # Most files are slices of a series, of CT or MR.
    assert templates.found > 300


@pytest.mark.data
def test_damaged_real_files_are_read_alike_by_templates(real_data: Path, tmp_path: Path, templates: Counting) -> None:
    chance = random.Random(6)
    files = sources(real_data)
    for path in files:
        by_template(path)
    known = templates.found
    path = tmp_path / "damaged"
    for n in range(MUTATED):
        source = chance.choice(files)
        path.write_bytes(damaged(source.read_bytes(), chance))
        assert same(by_template(path), in_full(path)), (source.name, n)
    assert templates.found > known + 50

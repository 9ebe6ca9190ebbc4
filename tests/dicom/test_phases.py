"""Images that share positions are told apart by what they say of themselves, and named by it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from render.dicom.diffusion import private_b_value
from render.dicom.pixels import load_volume
from render.dicom.source import scan
from tests.dicom.synthetic import positions_mm, ramp, write_series


def write_phases(folder: Path, phases: list[Mapping[str, Any]], slices: int = 3) -> None:
    """Write one series whose phases differ in attributes; the stored values of phase n are the ramp plus 100 n."""
    for n, attributes in enumerate(phases):
        write_series(
            folder / str(n),
            ramp((slices, 6, 5)) + np.int16(100 * n),
            uid=f"1.2.7.{n}",
            SeriesInstanceUID="1.2.7",
            **attributes,
        )


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("EchoNumbers", [1, 2]),
        ("EchoTime", ["2.4", "12.1"]),
        ("TemporalPositionIdentifier", [2, 10]),
        ("DiffusionBValue", [0.0, 1000.0]),
        ("StackID", ["1", "2"]),
        ("ConvolutionKernel", ["B30f", "B70f"]),
        ("KVP", ["80", "140"]),
        ("FlipAngle", ["5", "15"]),
        ("TriggerTime", ["0", "30.5"]),
        ("AcquisitionNumber", [1, 2]),
        ("ImageType", [["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]]),
    ],
)
def test_one_attribute_tells_two_volumes_apart(tmp_path: Path, keyword: str, values: list[Any]) -> None:
    write_phases(tmp_path, [{keyword: value} for value in reversed(values)])
    (series,) = scan(tmp_path).series
    assert [list(plan.info.extra) for plan in series.volumes] == [[keyword]] * 2
    assert series.warnings == ()
    for plan, expected in zip(series.volumes, (1, 0), strict=True):
        np.testing.assert_array_equal(load_volume(plan).codes, ramp((3, 6, 5)) + 100 * expected)


def test_two_attributes_together_tell_six_volumes_apart(tmp_path: Path) -> None:
    write_phases(
        tmp_path, [{"EchoTime": echo, "TemporalPositionIdentifier": time} for echo in ("3", "9") for time in (1, 2, 3)]
    )
    (series,) = scan(tmp_path).series
    assert [tuple(plan.info.extra.values()) for plan in series.volumes] == [
        (time, echo) for time in ("1", "2", "3") for echo in ("3", "9")
    ]
    assert {plan.shape for plan in series.volumes} == {(3, 6, 5)}


def test_stacks_at_other_positions_are_other_volumes_all_the_same(tmp_path: Path) -> None:
    for n in (0, 1):
        write_series(
            tmp_path / str(n),
            uid=f"1.2.7.{n}",
            SeriesInstanceUID="1.2.7",
            StackID=str(n),
            positions=positions_mm(4, origin=(0, 0, 100.0 * n)),
        )
    (series,) = scan(tmp_path).series
    assert [plan.shape for plan in series.volumes] == [(4, 6, 5)] * 2
    assert series.warnings == ()


def test_a_number_that_each_slice_has_of_its_own_tells_nothing_apart(tmp_path: Path) -> None:
    write_series(tmp_path, per_slice=[{"TemporalPositionIdentifier": n} for n in range(4)])
    assert [plan.shape for plan in scan(tmp_path).volumes] == [(4, 6, 5)]


def test_heart_phases_whose_times_differ_by_slice_are_ordered_by_them(tmp_path: Path) -> None:
    for n, delay in enumerate((30.5, 0.0, 61.0)):
        write_series(
            tmp_path / str(n),
            ramp((3, 6, 5)) + np.int16(100 * n),
            uid=f"1.2.7.{n}",
            SeriesInstanceUID="1.2.7",
            per_slice=[{"TriggerTime": f"{delay + 0.1 * k:g}"} for k in range(3)],
        )
    (series,) = scan(tmp_path).series
    assert [plan.info.extra for plan in series.volumes] == [{"TriggerTime order": str(n)} for n in range(3)]
    assert series.warnings == ()
    np.testing.assert_array_equal(load_volume(series.volumes[0]).codes, ramp((3, 6, 5)) + 100)


def test_single_images_in_time_are_a_cine(tmp_path: Path) -> None:
    write_phases(tmp_path, [{"TriggerTime": str(n * 40)} for n in range(5)], slices=1)
    (series,) = scan(tmp_path).series
    assert (series.kind, len(series.volumes)) == ("cine", 5)
    assert [plan.info.extra["TriggerTime"] for plan in series.volumes] == ["0", "40", "80", "120", "160"]


def test_a_scout_marked_by_its_frame_type_stays_out_of_the_stack(tmp_path: Path) -> None:
    write_series(tmp_path / "stack")
    write_series(
        tmp_path / "scout",
        ramp((1, 6, 5)),
        uid="1.2.3.4.9",
        SeriesInstanceUID="1.2.3.4",
        positions=positions_mm(1, origin=(-10, -20, 40)),
        ImageType=["ORIGINAL", "PRIMARY", "SCOUT"],
    )
    (series,) = scan(tmp_path).series
    assert [(plan.shape[0], plan.is_localizer) for plan in series.volumes] == [(4, False), (1, True)]


@pytest.mark.parametrize(
    ("creator", "name", "tag", "vr", "value", "expected"),
    [
        (0x00190010, "SIEMENS MR HEADER", 0x0019100C, "IS", "800", "800"),
        (0x00190010, "SIEMENS MR HEADER", 0x0019100C, "UN", b"1000", "1000"),
        (0x20010010, "Philips Imaging DD 001", 0x20011003, "FL", 600.0, "600"),
        (0x20010010, "Philips Imaging DD 001", 0x20011003, "UN", b"\x00\x00\x16D", "600"),
        (0x00430010, "GEMS_PARM_01", 0x00431039, "IS", ["1000000700", "8", "0", "0"], "700"),
        (0x00430010, "GEMS_PARM_01", 0x00431039, "UN", b"1000000700\\8\\0\\0", "700"),
        (0x00190010, "SOMEONE ELSE", 0x0019100C, "IS", "800", ""),
        (0x00190010, "SIEMENS MR HEADER", 0x0019100C, "LO", "b", ""),
    ],
)
def test_private_b_values(creator: int, name: str, tag: int, vr: str, value: Any, expected: str) -> None:
    dataset = Dataset()
    dataset.add_new(creator, "LO", name)
    dataset.add_new(tag, vr, value)
    assert private_b_value(dataset) == expected


def test_a_private_b_value_tells_volumes_apart(tmp_path: Path) -> None:
    write_phases(tmp_path, [{}, {}])
    from pydicom import dcmread

    for n, value in enumerate(("1000", "0")):
        for path in (tmp_path / str(n)).iterdir():
            dataset = dcmread(path)
            dataset.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", value)
            dataset.save_as(path)
    (series,) = scan(tmp_path).series
    assert [plan.info.extra for plan in series.volumes] == [{"DiffusionBValue": "0"}, {"DiffusionBValue": "1000"}]


def test_kernels_are_told_apart_where_their_slices_lie_elsewhere_too(tmp_path: Path) -> None:
    for n, kernel in enumerate(("B30f", "B70f")):
        write_series(
            tmp_path / str(n),
            ramp((4, 6, 5)),
            positions=positions_mm(4, origin=(0, 0, 0.7 * n)),
            uid=f"1.2.7.{n}",
            SeriesInstanceUID="1.2.7",
            ConvolutionKernel=kernel,
        )
    (series,) = scan(tmp_path).series
    assert [(plan.shape, plan.info.extra) for plan in series.volumes] == [
        ((4, 6, 5), {"ConvolutionKernel": "B30f"}),
        ((4, 6, 5), {"ConvolutionKernel": "B70f"}),
    ]
    assert series.warnings == ()


class TestInterleavedAcquisitions:
    def write(self, folder: Path, offset_mm: float, step_mm: float = 2.5) -> None:
        for n, (origin, step) in enumerate(((0.0, 2.5), (offset_mm, step_mm))):
            write_series(
                folder / str(n),
                ramp((4, 6, 5)) + np.int16(100 * n),
                positions=positions_mm(4, (0, 0, step), (0, 0, origin)),
                uid=f"1.2.7.{n}",
                SeriesInstanceUID="1.2.7",
                AcquisitionNumber=n + 2,
            )

    def test_that_lie_between_one_another_are_kept_apart(self, tmp_path: Path) -> None:
        self.write(tmp_path, 1.1)
        (series,) = scan(tmp_path).series
        assert [plan.info.extra for plan in series.volumes] == [{"AcquisitionNumber": "2"}, {"AcquisitionNumber": "3"}]
        for n, plan in enumerate(series.volumes):
            np.testing.assert_array_equal(load_volume(plan).codes, ramp((4, 6, 5)) + 100 * n)
        assert series.warnings == (
            "slices of 2 acquisitions lie between one another's: kept apart by Acquisition Number",
        )

    def test_that_fill_one_anothers_gaps_evenly_are_one_stack(self, tmp_path: Path) -> None:
        self.write(tmp_path, 1.25)
        assert [plan.shape for plan in scan(tmp_path).volumes] == [(8, 6, 5)]

    def test_that_follow_one_another_are_one_stack(self, tmp_path: Path) -> None:
        self.write(tmp_path, 10.0)
        assert [plan.shape for plan in scan(tmp_path).volumes] == [(8, 6, 5)]

    def test_that_follow_with_another_step_are_resampled_together(self, tmp_path: Path) -> None:
        self.write(tmp_path, 10.0, 2.0)
        (series,) = scan(tmp_path).series
        assert len(series.volumes) == 1
        assert series.warnings[0].startswith("spacing varies 2.0 to 2.5 mm")

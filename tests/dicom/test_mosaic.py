"""Siemens mosaics are stacks of their tiles, where the private header says how many and which way."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from render.dicom.frames import FrameHeader, PixelFormat
from render.dicom.mosaic import CSA_IMAGE, CSA_SERIES, SLICES_IN_MOSAIC, read_tiles
from render.dicom.pixels import load_volume
from render.dicom.source import scan
from render.errors import UnreadableFileError

ROWS, COLUMNS, ACROSS, COUNT = 6, 4, 3, 7
SPACING = (0.8, 0.5)
SHEET = PixelFormat("PixelData", ROWS * ACROSS, COLUMNS * ACROSS, 1, "MONOCHROME2", 16, 16, 15, True, 0)
FIRST = np.array([-1.0, -2.4, 30.0])
"""Position of the first tile's first pixel: its slice is 4 x 6 pixels around (0, 0)."""


def sheet_frame(orientation: Sequence[float] = (1, 0, 0, 0, 1, 0)) -> FrameHeader:
    row, column = np.array(orientation, float).reshape(2, 3)
    corner = FIRST - row * 0.5 * COLUMNS * (ACROSS - 1) / 2 - column * 0.8 * ROWS * (ACROSS - 1) / 2
    return FrameHeader(1, tuple(corner), tuple(orientation), SPACING, 2.0, 1.0, 0.0, (), ())


def csa(elements: dict[str, list[str]]) -> bytes:
    """Return a CSA header of version 2."""
    data = b"SV10\x04\x03\x02\x01" + struct.pack("<LL", len(elements), 77)
    for name, values in elements.items():
        data += name.encode().ljust(64, b"\0") + struct.pack("<L4sLLL", len(values), b"IS\0\0", 6, len(values), 77)
        for value in values:
            item = value.encode() + b"\0"
            data += struct.pack("<4L", len(item), len(item), 77, len(item)) + item.ljust(-(-len(item) // 4) * 4, b"\0")
    return data


def protocol(first: Sequence[float], last: Sequence[float], count: int = COUNT) -> bytes:
    lines = [f"sSliceArray.lSize = {count}"]
    for n, place in ((0, first), (count - 1, last)):
        lines += [
            f"sSliceArray.asSlice[{n}].sPosition.d{axis} = {x}"
            for axis, x in zip(("Sag", "Cor", "Tra"), place, strict=True)
            if x
        ]
    return b"\x00\x01### ASCCONV BEGIN ###\n" + "\n".join(lines).encode() + b"\n### ASCCONV END ###\0"


def private(**elements: object) -> Dataset:
    dataset = Dataset()
    for name, value in elements.items():
        if name == "spacing":
            dataset.SpacingBetweenSlices = value
        elif name == "count":
            dataset.add_new(SLICES_IN_MOSAIC, "US", value)
        else:
            dataset.add_new({"image": CSA_IMAGE, "series": CSA_SERIES}[name], "OB", value)
    return dataset


IMAGE = csa({"EchoLinePosition": [], "NumberOfImagesInMosaic": ["7"], "SliceNormalVector": ["0", "0", "1"]})


def test_tiles_lie_around_the_sheets_centre_and_are_stacked_along_the_normal() -> None:
    frames, tiles = read_tiles(private(image=IMAGE, spacing=2.5), sheet_frame(), SHEET)
    assert len(frames) == len(tiles) == COUNT
    for n, frame in enumerate(frames):
        np.testing.assert_allclose(frame.position_mm, np.add(FIRST, [0, 0, 2.5 * n]))
    assert [(tile.row, tile.column) for tile in tiles[:4]] == [(0, 0), (0, 4), (0, 8), (6, 0)]


def test_the_normal_of_the_header_may_be_against_that_of_rows_and_columns() -> None:
    image = csa({"NumberOfImagesInMosaic": ["7"], "SliceNormalVector": ["0", "0", "-1"]})
    frames, _ = read_tiles(private(image=image, spacing=2.5), sheet_frame(), SHEET)
    assert frames[1].position_mm is not None
    assert frames[1].position_mm[2] == pytest.approx(27.5)


@pytest.mark.parametrize(("first", "last", "sign"), [((0, 0, 30), (0, 0, 45), 1), ((0, 0, 15), (0, 0, 30), -1)])
def test_without_it_the_sheets_own_place_tells_which_end_of_the_protocol_it_begins_with(
    first: Sequence[float], last: Sequence[float], sign: int
) -> None:
    frames, _ = read_tiles(private(series=protocol(first, last)), sheet_frame(), SHEET)
    for n, frame in enumerate(frames):
        np.testing.assert_allclose(frame.position_mm, np.add(FIRST, [0, 0, 2.5 * n * sign]))


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        (private(), "mosaic of 12 x 18 pixels: no Siemens header says how many slices it holds"),
        (private(count=7, spacing=2.5), "no Siemens header says to which side its slices are stacked"),
        (private(image=IMAGE), "without Spacing Between Slices"),
        (private(count=20, spacing=2.5), "does not divide into 5 x 5 tiles of 20 slices"),
        (
            private(image=IMAGE, spacing=3.0, series=protocol((0, 0, 30), (0, 0, 45))),
            "its slices are 3.000 mm apart by Spacing Between Slices, 2.500 mm by the protocol",
        ),
        (private(image=IMAGE[:90], spacing=2.5), "no Siemens header says how many slices it holds"),
        (private(image=csa({"NumberOfImagesInMosaic": ["-7"]})), "no Siemens header says how many slices it holds"),
    ],
)
def test_what_is_not_known_is_refused(dataset: Dataset, reason: str) -> None:
    with pytest.raises(UnreadableFileError) as caught:
        read_tiles(dataset, sheet_frame(), SHEET)
    assert caught.value.message.endswith(reason)


@pytest.mark.data
class TestRealMosaics:
    def test_the_private_header_and_the_protocol_agree(self, real_data: Path) -> None:
        folder = real_data / "codecs_same_pixels_mr"
        (series,) = scan(folder / "1.dcm").series
        (plan,) = series.volumes
        assert plan.shape == (35, 64, 64)
        dataset = dcmread(folder / "1.dcm")
        text = dataset[CSA_SERIES].value.decode("latin-1")
        for n in (0, 34):
            center = plan.geometry.to_patient([32, 32, n])
            expected = [
                next((float(line.split("=")[1]) for line in text.splitlines() if line.startswith(name)), 0.0)
                for name in (f"sSliceArray.asSlice[{n}].sPosition.d{axis}" for axis in ("Sag", "Cor", "Tra"))
            ]
            np.testing.assert_allclose(center, expected, atol=1e-3)

    def test_nine_encodings_are_nine_equal_volumes(self, real_data: Path) -> None:
        (series,) = scan(real_data / "codecs_same_pixels_mr").series
        assert [plan.shape for plan in series.volumes] == [(35, 64, 64)] * 9
        first = load_volume(series.volumes[0])
        for plan in series.volumes[1:]:
            np.testing.assert_array_equal(load_volume(plan).codes, first.codes)
            np.testing.assert_array_equal(plan.geometry.patient_from_voxel, first.geometry.patient_from_voxel)

    def test_a_sheet_that_begins_at_the_protocols_end(self, real_data: Path) -> None:
        (series,) = scan(real_data / "odd_and_broken_series" / "d2n_siemens_mosaic").series
        assert [plan.shape for plan in series.volumes] == [(50, 80, 80)] * 2
        plan = series.volumes[0]
        # Its first and last tile lie where the protocol has the centres of slices 50 and 1; slices ascend in a volume.
        ends = plan.geometry.to_patient([[40, 40, 0], [40, 40, 49]])
        np.testing.assert_allclose(
            ends, [[-1.513475754, -20.56062043, -59.85445753], [-1.446935604, 7.71821632, 88.39246272]], atol=1e-3
        )
        sheet = dcmread(plan.root / plan.slices[0].instance.path).pixel_array
        np.testing.assert_array_equal(load_volume(plan).codes[49], sheet[:80, :80])

"""Volumes of one series on one grid are phases of one entry: listed once, each opened by its own id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from render.catalog import Catalog
from render.dicom.ingest import Ingest
from tests.dicom.synthetic import positions_mm, ramp, write_series
from tests.dicom.test_colour_volumes import write_colour


@pytest.fixture(scope="module")
def ingest() -> Iterator[Ingest]:
    with Ingest(1) as made:
        yield made


def catalog_of(folder: Path, ingest: Ingest) -> Catalog:
    catalog = Catalog([folder], ingest)
    assert catalog.wait_until_scanned(30)
    return catalog


def write_times(folder: Path, times: int, **attributes: object) -> None:
    for time in range(times):
        write_series(
            folder,
            ramp((4, 6, 5)) + time,
            uid="1.2.3.4",
            names=[f"t{time}s{n}.dcm" for n in range(4)],
            per_slice=[{"SOPInstanceUID": f"1.2.{time}.{n}"} for n in range(4)],
            TemporalPositionIdentifier=time + 1,
            Modality="MR",
            **attributes,
        )


def test_times_of_a_series_are_one_entry_with_phases(tmp_path: Path, ingest: Ingest) -> None:
    write_times(tmp_path, 3)
    with catalog_of(tmp_path, ingest) as catalog:
        entries = catalog.entries()
        (listed,) = [entry for entry in entries if entry.is_listed]
        assert [phase.label for phase in listed.phases] == [f"TemporalPositionIdentifier {n}" for n in (1, 2, 3)]
        assert [phase.volume_id for phase in listed.phases] == [entry.volume_id for entry in entries]
        assert all(entry.phases == listed.phases for entry in entries)
        for n, phase in enumerate(listed.phases):
            volume = catalog.loader(catalog.entry(phase.volume_id))(lambda done, total: None, lambda: False)
            np.testing.assert_array_equal(volume.codes, ramp((4, 6, 5)) + n)


def test_a_volume_on_a_grid_of_its_own_is_an_entry_of_its_own(tmp_path: Path, ingest: Ingest) -> None:
    write_times(tmp_path, 2)
    write_series(
        tmp_path,
        uid="1.2.3.4",
        names=[f"far{n}.dcm" for n in range(4)],
        positions=positions_mm(4, origin=(0, 0, 500)),
        per_slice=[{"SOPInstanceUID": f"1.2.9.{n}"} for n in range(4)],
        TemporalPositionIdentifier=9,
        Modality="MR",
    )
    with catalog_of(tmp_path, ingest) as catalog:
        listed = [entry for entry in catalog.entries() if entry.is_listed]
        assert sorted(len(entry.phases) for entry in listed) == [0, 2]


def test_series_are_not_phases_of_one_another(tmp_path: Path, ingest: Ingest) -> None:
    write_series(tmp_path / "a", uid="1.2.1")
    write_series(tmp_path / "b", uid="1.2.2")
    with catalog_of(tmp_path, ingest) as catalog:
        assert [(entry.is_listed, entry.phases) for entry in catalog.entries()] == [(True, ()), (True, ())]


@pytest.mark.parametrize(
    ("stated", "expected_ms"),
    [
        ({"FrameTime": "40"}, 40.0),
        ({"FrameTimeVector": ["0", "66.5", "70"]}, 66.5),
        ({"CineRate": 25}, 40.0),
        ({"FrameTime": "0", "RecommendedDisplayFrameRate": 50}, 20.0),
        ({"FrameTime": "-3", "CineRate": 0}, 0.0),
    ],
)
def test_a_cine_knows_its_pace(tmp_path: Path, ingest: Ingest, stated: dict[str, object], expected_ms: float) -> None:
    write_colour(tmp_path / "a.dcm", np.zeros((3, 4, 6, 3), np.uint8), **stated)
    with catalog_of(tmp_path, ingest) as catalog:
        (listed,) = [entry for entry in catalog.entries() if entry.is_listed]
        assert [phase.label for phase in listed.phases] == ["Frame 1", "Frame 2", "Frame 3"]
        assert listed.info.phase_ms == pytest.approx(expected_ms)

"""A volume that is watched while it loads: the order of its slices, and each state of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.dicom import growing as module
from render.dicom.growing import ChunkOrder
from render.dicom.ingest import Ingest
from render.dicom.pixels import load_volume
from render.dicom.series import select
from render.dicom.shared_memory import Curtain, SharedMemory
from render.dicom.source import scan
from render.growth import Growth, Span, Wanted, joined
from render.volume import Volume
from tests.dicom.synthetic import ramp, write_series


@pytest.fixture(scope="module")
def ingest() -> Iterator[Ingest]:
    with Ingest(1) as ingest:
        yield ingest


def chunks_of(count: int, size: int = 8) -> list[Span]:
    return [(n * size, (n + 1) * size) for n in range(count)]


def test_the_middle_comes_first_and_then_outward() -> None:
    order = [start // 8 for start, _ in ChunkOrder(chunks_of(5), Wanted())]
    assert order == [2, 1, 3, 0, 4]


def test_what_a_view_shows_jumps_the_queue_and_then_what_is_beside_it() -> None:
    wanted = Wanted()
    order = ChunkOrder(chunks_of(9), wanted)
    assert next(order) == (32, 40)
    wanted.ask((60, 62), 72)
    assert [next(order)[0] // 8 for _ in range(3)] == [7, 8, 6]
    wanted.ask((0, 70), 72)  # all of them is no wish
    assert next(order)[0] // 8 == 5


@given(
    st.integers(1, 30),
    st.lists(st.tuples(st.integers(0, 29), st.integers(1, 4)), max_size=6),
)
def test_each_chunk_comes_once_whatever_is_wanted(count: int, wishes: list[tuple[int, int]]) -> None:
    wanted = Wanted()
    order = ChunkOrder(chunks_of(count), wanted)
    got = []
    for chunk in order:
        got.append(chunk)
        if wishes:
            first, length = wishes.pop()
            wanted.ask((first, first + length), count * 8)
    assert sorted(got) == chunks_of(count)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("columns", [512, 37])
def test_a_curtain_hides_what_is_not_written_and_nothing_else(dtype: str, columns: int) -> None:
    marker = np.dtype(dtype).type(-5)
    written = np.arange(12 * 40 * columns).reshape(12, 40, columns).astype(dtype)
    with SharedMemory(written.nbytes) as memory:
        codes = np.frombuffer(memory.map(), dtype).reshape(written.shape)
        theirs = np.frombuffer(memory.map(), dtype).reshape(written.shape)
        curtain = Curtain(memory, codes, marker)
        for first in (0, 4, 8):
            curtain.cover(first, first + 4)
        assert (codes == marker).all()
        theirs[4:8] = written[4:8]
        curtain.uncover(4, 8)
        np.testing.assert_array_equal(codes[4:8], written[4:8])
        assert (codes[:4] == marker).all()
        assert (codes[8:] == marker).all()
        curtain.close()
        codes[4:8] = 0  # what is uncovered is one memory
        assert not theirs[4:8].any()


def test_each_state_has_what_has_arrived_and_marks_the_rest(
    ingest: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIRST_AFTER_S", "INTERVAL_S", "INTERVAL_FACTOR", "WISH_INTERVAL_S"):
        monkeypatch.setattr(module, name, 0.0)
    write_series(tmp_path, ramp((50, 64, 128)))  # slices of whole pages
    plan = select(scan(tmp_path))
    expected = load_volume(plan)
    states: list[tuple[int, int]] = []
    there = np.zeros(50, np.bool_)

    def grown(volume: Volume, slices: Sequence[Span]) -> None:
        for first, last in slices:
            there[first:last] = True
        states.append((volume.revision, volume.missing_slices))
        assert volume.missing_slices == 50 - there.sum() > 0
        assert volume.codes.shape == expected.codes.shape
        np.testing.assert_array_equal(volume.codes[there], expected.codes[there])
        assert (volume.codes[~there] == volume.invalid_code).all()
        assert there[24:26].all()  # the first one shows the middle

    volume, rest = ingest.grow(plan, None, None, Growth(grown))
    assert len(states) >= 2
    assert [revision for revision, _ in states] == list(range(1, len(states) + 1))
    assert volume.revision == len(states) + 1
    assert (volume.missing_slices, volume.invalid_code) == (0, expected.invalid_code)
    np.testing.assert_array_equal(volume.codes, expected.codes)
    assert sum(last - first for first, last in rest) == (~there).sum()


def test_a_load_that_is_quick_is_not_shown_in_part(ingest: Ingest, tmp_path: Path) -> None:
    write_series(tmp_path, ramp((4, 6, 5)))
    states: list[Volume] = []
    volume, rest = ingest.grow(select(scan(tmp_path)), None, None, Growth(lambda volume, _: states.append(volume)))
    assert (states, volume.revision, tuple(rest)) == ([], 1, ((0, 4),))


def test_spans_that_touch_are_joined() -> None:
    assert joined([(8, 16), (0, 8), (20, 24)]) == ((0, 16), (20, 24))

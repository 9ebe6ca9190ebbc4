"""Worker processes read and decode as this process does; one that dies costs one load a typed error."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless

from render.dicom import ingest as module
from render.dicom.ingest import Ingest
from render.dicom.pixels import load_volume
from render.dicom.series import select
from render.dicom.source import scan
from render.dicom.tasks import DecodeSlices, without_frames
from render.dicom.worker import NICENESS
from render.errors import CodecError, DrainingError, RenderCancelledError, UnreadableFileError
from tests.dicom.synthetic import ramp, write_series


@pytest.fixture(scope="module")
def ingest() -> Iterator[Ingest]:
    with Ingest(2) as ingest:
        yield ingest


def kill_workers(ingest: Ingest) -> None:
    for worker in list(ingest._running):
        os.kill(worker._process.pid, signal.SIGSEGV)


def memory_files() -> int:
    return sum("memfd:voxelcast" in line for line in Path("/proc/self/maps").read_text().splitlines())


def test_scan_and_load_equal_those_in_this_process(ingest: Ingest, tmp_path: Path) -> None:
    write_series(tmp_path, ramp((70, 6, 5)), transfer_syntax=JPEG2000Lossless, PixelPaddingValue=0)
    (tmp_path / "notes.txt").write_text("no image")
    calls: list[tuple[int, int]] = []
    found = ingest.scan(tmp_path, lambda done, total: calls.append((done, total)))
    assert found.to_json() == scan(tmp_path).to_json()
    assert calls[-1] == (71, 71)
    calls.clear()
    volume = ingest.load(select(found), lambda done, total: calls.append((done, total)))
    expected = load_volume(select(found))
    np.testing.assert_array_equal(volume.codes, expected.codes)
    assert (volume.id, volume.invalid_code) == (expected.id, 0)
    assert calls[-1] == (70, 70)
    assert calls == sorted(calls)


def test_workers_give_way_to_frames(ingest: Ingest, tmp_path: Path) -> None:
    write_series(tmp_path, ramp((3, 6, 5)))
    ingest.scan(tmp_path)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert ingest._running
    for worker in ingest._running:
        assert os.getpriority(os.PRIO_PROCESS, worker._process.pid) == min(own + NICENESS, 19)


def test_the_memory_goes_with_the_volume(ingest: Ingest, tmp_path: Path) -> None:
    write_series(tmp_path)
    plan = select(scan(tmp_path))
    gc.collect()  # of what earlier tests have left
    before = memory_files(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        volume = ingest.load(plan)
        assert memory_files() == before[0] + 1
        del volume
        gc.collect()
        assert (memory_files(), len(os.listdir("/proc/self/fd"))) == before


def test_a_worker_that_dies_costs_that_load_an_error_and_is_replaced(tmp_path: Path) -> None:
    write_series(tmp_path, ramp((40, 6, 5)))
    plan = select(scan(tmp_path))
    with Ingest(1) as ingest:
        with pytest.raises(CodecError, match=r"the decoder died \(SIGSEGV\) in slices \d+ to \d+ of 40"):
            ingest.load(plan, lambda done, total: kill_workers(ingest))
        np.testing.assert_array_equal(ingest.load(plan).codes, ramp((40, 6, 5)))


def test_a_file_that_kills_its_reader_is_skipped_and_the_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_series(tmp_path)
    call = module.WorkerProcess.call

    def die_of_slice_2(worker: module.WorkerProcess, task: module.ReadHeaders, *rest: float) -> object:
        if "slice002.dcm" in task.names:
            worker.kill()
        return call(worker, task, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module.WorkerProcess, "call", die_of_slice_2)
    with Ingest(1) as ingest:
        found = ingest.scan(tmp_path)
    assert [(f.path, f.reason) for f in found.skipped] == [("slice002.dcm", "the decoder died (SIGKILL)")]
    assert found.files == len(paths)
    assert found.series[0].frames == 3


def test_a_decoder_that_hangs_is_ended(tmp_path: Path) -> None:
    write_series(tmp_path, ramp((1, 6, 5)))
    plan = select(scan(tmp_path))
    with Ingest(1, task_seconds=0.0) as ingest, pytest.raises(CodecError, match="did not answer within 0 s in slices"):
        ingest.load(plan)


def test_more_memory_than_a_worker_may_take_is_a_typed_error(tmp_path: Path) -> None:
    stored = np.zeros((1, 6000, 6000), np.int16)
    write_series(tmp_path, stored, transfer_syntax=JPEG2000Lossless)
    plan = select(scan(tmp_path))
    with Ingest(1, memory_bytes=200 << 20) as ingest, pytest.raises(CodecError) as caught:
        ingest.load(plan)
    assert "\n" not in caught.value.message


def test_errors_of_the_worker_arrive_as_they_are(ingest: Ingest, tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    plan = select(scan(tmp_path))
    paths[2].unlink()
    with pytest.raises(UnreadableFileError, match=r"^slice002\.dcm: can't be read"):
        ingest.load(plan)


def test_cancelling_a_load_leaves_the_workers_usable(ingest: Ingest, tmp_path: Path) -> None:
    write_series(tmp_path, ramp((40, 6, 5)))
    plan = select(scan(tmp_path))
    with pytest.raises(RenderCancelledError, match=r"load given up after \d+ of 40 slices"):
        ingest.load(plan, cancelled=lambda: True)
    assert ingest.load(plan).codes.shape == (40, 6, 5)


def test_loads_from_several_threads(ingest: Ingest, tmp_path: Path) -> None:
    volumes = [ramp((20, 6, 5)) + n for n in range(4)]
    for n, stored in enumerate(volumes):
        write_series(tmp_path / str(n), stored.astype(np.int16), uid=f"1.2.3.{n}")
    plans = [select(scan(tmp_path / str(n))) for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for stored, volume in zip(volumes, pool.map(ingest.load, plans), strict=True):
            np.testing.assert_array_equal(volume.codes, stored)


def test_closing_wakes_a_load_that_has_tasks_queued(tmp_path: Path) -> None:
    write_series(tmp_path, ramp((60, 6, 5)))
    plan = select(scan(tmp_path))
    ingest = Ingest(2)  # four tasks of eight slices are handed over at first: two of them wait
    errors: list[BaseException] = []

    def load() -> None:
        try:
            ingest.load(plan, lambda done, total: ingest.close())
        except BaseException as error:
            errors.append(error)

    loading = threading.Thread(target=load, daemon=True)
    loading.start()
    loading.join(60)
    assert [type(error) for error in errors] == [DrainingError]


def test_closing_ends_what_is_running_and_what_comes_after(tmp_path: Path) -> None:
    write_series(tmp_path, ramp((40, 6, 5)))
    plan = select(scan(tmp_path))
    ingest = Ingest(1)
    closing: list[threading.Thread] = []

    def close_meanwhile(done: int, total: int) -> None:
        if not closing:
            closing.append(threading.Thread(target=ingest.close))
            closing[0].start()

    def load_until_closed() -> None:
        while True:
            ingest.load(plan, close_meanwhile)

    with pytest.raises(DrainingError, match="ingest is closed"):
        load_until_closed()
    closing[0].join()
    with pytest.raises(DrainingError):
        ingest.load(plan)
    ingest.close()


@pytest.mark.data
def test_a_task_for_a_slice_of_many_frames_is_small(real_data: Path) -> None:
    (path,) = (real_data / "enhanced_multiframe" / "siemens_xa30_t1_96frames").iterdir()
    plan = select(scan(path))
    layers = without_frames(plan.layers)
    sent = len(pickle.dumps(DecodeSlices(plan.root, layers[:1], plan.values, plan.shape, 0)))
    assert sent < len(pickle.dumps(plan.layers[:1])) / 5
    with Ingest(workers=2) as ingest:
        np.testing.assert_array_equal(ingest.load(plan).codes, load_volume(plan).codes)

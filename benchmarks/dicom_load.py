"""A long series from its files to pictures, through the engine, as `benchmarks.dicom` has it: each time a process anew.

The process says that it is ready, with kernels compiled and a renderer, and waits; told to go on, it opens the folder
with workers that have not been started yet. It is a process of its own since caches and workers of an earlier run
would help, and so that its memory, and that of its workers, can be told from outside.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRLittleEndian

from benchmarks.subjects import torso
from render.backends.cpu import CpuRenderer, compile_kernels
from render.catalog import Catalog
from render.demo import torso_volume
from render.dicom.ingest import Ingest
from render.engine import Engine
from render.frame import Frame
from render.initial_views import initial_views
from render.residency import VolumeCache
from render.server import settle
from render.view import View
from tests.dicom.synthetic import write_series

FIRST_PICTURE_LIMIT_S = 3.0
MEMORY_ALLOWANCE_BYTES = 200 << 20
"""Beyond the volume and one slice a worker."""

APART_MM = 0.5
BUDGET_BYTES = 16 << 30
SAMPLE_S = 0.05
WATCH_S = 0.002
OTHER_S = 0.02
"""Between two frames of the other session."""

ALONE_FRAMES = 60


def write_long_series(folder: Path, slices: int, *, real: Path | None, native: bool) -> str:
    """Write a series of so many slices, each of which is a real one in its own place, and return what they are of.

    Parameters
    ----------
    folder
        Made for it. The names' order is not the slices'.
    real
        A series whose slices are repeated, headers and all; the demo torso's if None.
    native
        Uncompressed; else as the real ones are.
    """
    names = [f"IM{n * 7919 % slices:06}" for n in range(slices)]  # a prime: each number once, unless it divides
    if real is None:
        codes = torso_volume((min(slices, 100), 512, 512)).codes
        stored: npt.NDArray[Any] = codes[np.arange(slices) * len(codes) // slices]
        places = [(0.0, 0.0, n * APART_MM) for n in range(slices)]
        write_series(folder, stored, positions=places, names=names)
        return "demo_torso"
    folder.mkdir(parents=True)
    for n, dataset in enumerate(_in_order(real, slices, native)):
        uid = f"{dataset.SeriesInstanceUID[:40].rstrip('.')}.{n + 1}"
        x, y, _ = dataset.ImagePositionPatient
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
        dataset.InstanceNumber = n + 1
        dataset.ImagePositionPatient = [x, y, f"{n * APART_MM:g}"]
        dataset.SliceLocation = f"{n * APART_MM:g}"
        dataset.save_as(folder / names[n], enforce_file_format=True)
    return f"{real.parent.name}/{real.name}"


def _in_order(real: Path, slices: int, native: bool) -> list[FileDataset]:
    """Return a real series' slices from its first to its last, repeated to so many; they share their pixels."""
    datasets = sorted(map(dcmread, real.iterdir()), key=lambda dataset: float(dataset.ImagePositionPatient[2]))
    if native:
        for dataset in datasets:
            dataset.decompress(generate_instance_uid=False)
            assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    return [datasets[n * len(datasets) // slices] for n in range(slices)]


def progressive(folder: Path, slices: int, threads: int, *, real: Path | None, native: bool) -> dict[str, Any]:
    """Write the series and open it in three processes: alone, beside another session, and for its memory."""
    subject = write_long_series(folder, slices, real=real, native=native)
    os.sync()  # what has yet to go to the disk would compete with reading
    alone = _opened(folder, threads)
    beside = _opened(folder, threads, "--beside")
    memory = _opened(folder, threads, memory=True)
    return {
        "subject": subject,
        "native": native,
        "slices": slices,
        "file_bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "first_picture_limit_s": FIRST_PICTURE_LIMIT_S,
        "met": all(row["first_picture_s"] < FIRST_PICTURE_LIMIT_S for row in alone["opened"]),
        "rows": alone["opened"],
        "beside": {**beside["opened"][0], **beside["other"]},
        "memory": memory["memory"],
    }


def _opened(folder: Path, threads: int, *options: str, memory: bool = False) -> dict[str, Any]:
    """Have a process of its own open the folder, and return what it says."""
    command = [sys.executable, "-m", "benchmarks.dicom_load", str(folder), "--threads", str(threads), *options]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"benchmarks.dicom_load ended with status {process.wait()}")
        sampler = _MemorySampler(process.pid) if memory else None
        process.stdin.write("go\n")
        process.stdin.close()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        if sampler is not None:
            answer["memory"] = sampler.end(answer["voxel_bytes"], threads * answer["slice_bytes"])
    return answer


class _MemorySampler:
    """What a process and its workers take together at their peak (Linux).

    Their own memory is their share of it (PSS), so that libraries count once. Shared memory is what has been allocated
    of it, whether anybody has it mapped at that moment or not.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = self._peak = self._now()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self, voxel_bytes: int, slice_bytes: int) -> dict[str, Any]:
        """Return the figures of a volume of so many bytes, one slice a worker being `slice_bytes` together."""
        self._ended.set()
        self._thread.join()
        above = sum(self._peak) - sum(self._before) - voxel_bytes
        limit = slice_bytes + MEMORY_ALLOWANCE_BYTES
        return {
            "voxel_bytes": voxel_bytes,
            "own_bytes": self._peak[0] - self._before[0],
            "shared_above_voxels_bytes": self._peak[1] - self._before[1] - voxel_bytes,
            "above_voxels_bytes": above,
            "limit_bytes": limit,
            "met": above <= limit,
        }

    def _run(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            now = self._now()
            # Of each on its own: together they are at most this.
            self._peak = max(self._peak[0], now[0]), max(self._peak[1], now[1])

    def _now(self) -> tuple[int, int]:
        """Return bytes of their own, and shared ones."""
        own = mapped = 0
        allocated: dict[int, int] = {}
        children = Path(f"/proc/{self._pid}/task").glob("*/children")
        for pid in [self._pid, *(int(pid) for file in children for pid in _lines(file)[0].split())]:
            shares = dict(line.split()[:2] for line in _lines(Path(f"/proc/{pid}/smaps_rollup"))[1:])
            shared = int(shares.get("Pss_Shmem:", 0)) << 10
            own += (int(shares.get("Pss:", 0)) << 10) - shared
            mapped += shared
            with contextlib.suppress(OSError):  # it has ended, or closed it
                for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                    if os.readlink(descriptor).startswith("/memfd:"):
                        status = descriptor.stat()
                        allocated[status.st_ino] = status.st_blocks * 512
        return own, max(mapped, sum(allocated.values()))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii").splitlines() or [""]
    except OSError:  # it has ended
        return [""]


async def opened(folder: Path, threads: int, *, beside: bool) -> dict[str, Any]:
    """Open a folder's one volume twice, with workers not yet started and then with those, and say how long it took."""
    renderer = CpuRenderer(threads)
    compile_kernels()
    settle()  # as a server does
    other_volume = torso((64, 128, 128)).volume
    cache = VolumeCache(renderer, BUDGET_BYTES)
    with Ingest(threads) as ingest:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        began = time.perf_counter()
        with Catalog([folder], ingest) as catalog:
            engine = Engine(renderer, cache, catalog)
            other = _Other(engine)
            if beside:
                await engine.add(other_volume)
                await other.start(other_volume.id)
            rows = [await _open(engine, folder, "not started", began)]
            if beside:
                await other.stop()
            else:
                rows.append(await _open(engine, folder, "started", time.perf_counter()))
            shape = catalog.entry(rows[0].pop("volume_id")).geometry.shape
            for row in rows[1:]:
                del row["volume_id"]
            said = {
                "opened": rows,
                "voxel_bytes": int(np.prod(shape)) * 2,
                "slice_bytes": int(np.prod(shape[1:])) * 2,
                **({"other": await other.figures()} if beside else {}),
            }
            await engine.close()
            await cache.close()
    renderer.close()
    return said


async def _open(engine: Engine, folder: Path, workers: str, began: float) -> dict[str, Any]:
    async with _longest_gap() as gap:
        volume_id = await engine.resolve(str(folder))
        catalogued = time.perf_counter()
        lease = await engine.open(volume_id, holder="benchmark", in_part=True)
        description = engine.describe(lease)
        view = next(named.view for named in description.initial_views if named.name == "axial")
        first = await engine.render(view, {volume_id: lease})
        shown = time.perf_counter()
        whole = await engine.open(volume_id, holder="benchmark, whole")
        complete = time.perf_counter()
        longest = gap()
    last = await engine.render(view, {volume_id: whole})
    for each in (lease, whole):
        each.release()
    await engine.cache.discard(volume_id)
    return {
        "volume_id": volume_id,
        "workers": workers,
        "catalogue_s": round(catalogued - began, 3),
        "first_picture_s": round(shown - began, 3),
        "complete_s": round(complete - began, 3),
        "missing_slices": first.missing_slices,
        "same_picture": _values(first) == _values(last) and bool(np.isfinite(first.values).any()),
        "longest_loop_gap_ms": round(1e3 * longest, 1),
    }


def _values(frame: Frame) -> bytes:
    assert frame.values is not None
    return frame.values.tobytes()


@contextlib.asynccontextmanager
async def _longest_gap() -> AsyncIterator[Callable[[], float]]:
    """Watch how late the event loop is at its latest, in s: nothing goes out to any session meanwhile."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(WATCH_S)
            longest = max(longest, time.perf_counter() - asked - WATCH_S)

    watching = asyncio.create_task(watch())
    try:
        yield lambda: longest
    finally:
        watching.cancel()


class _Other:
    """Another session, which looks at a small volume all the while."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ms: list[float] = []

    async def start(self, volume_id: str) -> None:
        self._lease = await self._engine.open(volume_id, holder="another session")
        volume = self._lease.resident.volume
        self._view: View = initial_views(volume)[0].view
        self._drawing = asyncio.create_task(self._draw(None))

    async def stop(self) -> None:
        self._drawing.cancel()
        await asyncio.wait([self._drawing])
        self._during, self._ms = self._ms, []

    async def figures(self) -> dict[str, Any]:
        await self._draw(ALONE_FRAMES)
        return {
            "other_frames": len(self._during),
            "other_median_ms": round(float(np.median(self._during)), 1),
            "other_worst_ms": round(max(self._during), 1),
            "other_alone_median_ms": round(float(np.median(self._ms)), 1),
            "other_alone_worst_ms": round(max(self._ms), 1),
        }

    async def _draw(self, count: int | None) -> None:
        while count is None or len(self._ms) < count:
            asked = time.perf_counter()
            await self._engine.render(self._view, {self._lease.volume_id: self._lease})
            self._ms.append(1e3 * (time.perf_counter() - asked))
            await asyncio.sleep(OTHER_S)


def main() -> int:
    """Open a folder when told to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dicom_load", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--beside", action="store_true")
    options = parser.parse_args()
    print(json.dumps(asyncio.run(opened(options.folder, options.threads, beside=options.beside))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

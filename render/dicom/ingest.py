"""Scanning and loading in other processes: a codec that crashes costs one load a typed error, and nothing else.

Workers are started fresh (never forked: gRPC) and write voxels straight into memory shared with this process. That
memory is anonymous: it has no name that could be left behind, whoever dies, and no limit at ``/dev/shm``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TypeAlias, TypeVar, cast

import numpy as np

from render.dicom.changes import KnownFolder
from render.dicom.growing import Growing
from render.dicom.instance import Instance, SkippedFile
from render.dicom.picture import Picture
from render.dicom.pixels import Cancelled, Codes, Progress, SliceReport, finish
from render.dicom.plan import VolumePlan
from render.dicom.reading import FileHeader
from render.dicom.shared_memory import SharedMemory
from render.dicom.source import Scan, scan
from render.dicom.tasks import CardReport, DecodeSlices, ReadHeaders, ReadLabels, ReadPicture, Task, without_frames
from render.dicom.worker_process import WorkerDiedError, WorkerProcess
from render.errors import CodecError, DrainingError, RenderCancelledError, VoxelcastError
from render.growth import Growth, Span
from render.labels import LabelVolume
from render.memory import available_cores
from render.transfer import Window
from render.volume import Volume

logger = logging.getLogger(__name__)

WORKER_MEMORY_BYTES = 2 << 30
"""Private memory of one worker. A decoded slice of 4096 x 4096 float64 values is a sixteenth of it."""

TASK_SECONDS = 120.0
"""A worker that has not answered by then hangs: a task is a few slices or a few dozen headers."""

CARD_WORKERS = 2
"""Each that decodes on a card has a CUDA context there, of some hundreds of megabytes."""

HEADERS_A_TASK = 32
"""Small enough that progress moves, cancelling is quick and both cores end together."""

Result = TypeVar("Result")
Chunk: TypeAlias = tuple[int, int]


class Ingest:
    """A pool of worker processes. Its methods block; call them from threads, as many as you like at a time.

    Parameters
    ----------
    workers
        Processes; as many as there are cores for this one if None. They start when first needed, and give way to
        threads that draw.
    memory_bytes
        Private memory that one worker may take.
    task_seconds
        After this long a worker that does not answer is ended.
    card
        Where `CARD_WORKERS` of the workers may decode, as `render.dicom.card_codecs` says; None for nowhere but here.

    Attributes
    ----------
    card
        That number.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        memory_bytes: int = WORKER_MEMORY_BYTES,
        task_seconds: float = TASK_SECONDS,
        card: int | None = None,
    ) -> None:
        self.workers = workers or available_cores()
        self._memory_bytes = memory_bytes
        self._task_seconds = task_seconds
        self.card = card
        self._pool = ThreadPoolExecutor(self.workers, "ingest")
        self._own = threading.local()  # each thread of the pool drives one worker
        self._lock = threading.Lock()
        self._running: set[WorkerProcess] = set()
        self._is_closed = False
        self._on_card = CardReport()

    @property
    def on_card(self) -> CardReport:
        """What has become of decoding on the card, in all workers; nothing before the first has answered."""
        return self._on_card

    def __enter__(self) -> Ingest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers. What is being scanned or loaded ends with DrainingError."""
        with self._lock:
            self._is_closed = True
            running = set(self._running)
        for worker in running:
            worker.kill()
        # Not cancel_futures: it tells nobody who waits. What is queued ends at once, since no worker starts any more.
        self._pool.shutdown()
        for worker in running:
            worker.close()

    def scan(
        self,
        path: str | os.PathLike[str],
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
        known: KnownFolder | None = None,
    ) -> Scan:
        """Scan as `render.dicom.source.scan` does, with the headers read by the workers.

        A file that kills its worker is skipped, and said. What is `known` of an earlier scan of the path is not
        read.
        """
        if os.path.isdir(path):
            self._wake()
        return scan(path, progress=progress, cancelled=cancelled, read=self._read_headers, known=known)

    def load(self, plan: VolumePlan, progress: Progress | None = None, cancelled: Cancelled | None = None) -> Volume:
        """Load a volume; its codes are in memory that the workers have written to and that nobody else knows of.

        Parameters
        ----------
        progress
            Called from this thread with (slices done, slices).
        cancelled
            Asked whenever a few slices are done.

        Raises
        ------
        UnreadableFileError
            If a file is gone or has changed since the scan.
        CodecError
            If a slice can't be decoded, or its worker died of it.
        RenderCancelledError
            If `cancelled` said so.
        DrainingError
            If the ingest has been closed.
        """
        return self._load(plan, progress, cancelled, None)[0]

    def grow(
        self, plan: VolumePlan, progress: Progress | None, cancelled: Cancelled | None, growth: Growth
    ) -> tuple[Volume, tuple[Span, ...]]:
        """Load as `load` does, but tell of the volume as its slices arrive, in the order that is wanted.

        Returns
        -------
        volume
            Whole.
        slices
            That have arrived since `growth` was told the last time.
        """
        return self._load(plan, progress, cancelled, growth)

    def _load(
        self, plan: VolumePlan, progress: Progress | None, cancelled: Cancelled | None, growth: Growth | None
    ) -> tuple[Volume, tuple[Span, ...]]:
        total = plan.shape[0]
        layers = without_frames(plan.layers)
        chunks = plan.chunks(self.workers)
        reports: list[SliceReport] = []
        with SharedMemory(plan.estimated_bytes) as memory, contextlib.ExitStack() as stack:

            def decode(chunk: Chunk) -> tuple[Chunk, list[SliceReport]]:
                start, stop = chunk
                task = DecodeSlices(plan.root, layers[start:stop], plan.values, plan.codes_shape, start)
                try:
                    return chunk, cast(list[SliceReport], self._call(task, memory.descriptor))
                except WorkerDiedError as error:
                    raise CodecError(f"{error.message} in slices {start + 1} to {stop} of {total}") from error

            codes = cast(Codes, np.frombuffer(memory.map(), plan.values.dtype).reshape(plan.codes_shape))
            growing = None
            if growth is not None and not plan.values.is_color:  # a colour image has no code for what is missing
                growing = stack.enter_context(Growing(plan, memory, codes, growth))
            for chunk, done in self._map(decode, chunks if growing is None else growing.ordered(chunks)):
                reports += done
                if progress is not None:
                    progress(len(reports), total)
                if cancelled is not None and cancelled():
                    raise RenderCancelledError(f"load given up after {len(reports)} of {total} slices")
                if growing is not None:
                    growing.add(chunk)
        volume = finish(plan, codes, reports)
        if growing is None:
            return volume, ((0, total),)
        return replace(volume, revision=growing.revision), growing.news

    def picture(self, root: Path, instance: Instance, number: int = 1, window: Window | None = None) -> Picture:
        """Decode one frame for display, as `render.dicom.picture.read_picture` does.

        Raises
        ------
        NotAVolumeError, UnreadableFileError, CodecError
            As `read_picture`; CodecError also if the worker died of it.
        DrainingError
            If the ingest has been closed.
        """
        return cast(Picture, self._run(ReadPicture(root, instance, number, window)))

    def segmentation(self, root: Path, instance: Instance) -> LabelVolume:
        """Read a SEG as `render.dicom.segmentation.read_segmentation` does.

        Raises
        ------
        NotAVolumeError, UnreadableFileError, CodecError
            As `read_segmentation`; CodecError also if the worker died of it.
        DrainingError
            If the ingest has been closed.
        """
        return cast(LabelVolume, self._run(ReadLabels(root, instance)))

    def structures(self, root: Path, instance: Instance, plan: VolumePlan) -> LabelVolume:
        """Read an RTSTRUCT's contours on the grid of a volume, as `render.dicom.rtstruct.rasterize` does.

        Raises
        ------
        NotAVolumeError, UnreadableFileError, CodecError
            As `read_structures` and `rasterize`; CodecError also if the worker died of it.
        DrainingError
            If the ingest has been closed.
        """
        task = ReadLabels(root, instance, plan.geometry, plan.info.frame_of_reference_uid)
        return cast(LabelVolume, self._run(task))

    def _run(self, task: Task) -> object:
        """Have a worker do a task while this thread waits."""
        try:
            future = self._pool.submit(self._call, task)
        except RuntimeError:
            raise DrainingError("ingest is closed") from None
        return future.result()

    def _read_headers(self, root: Path, names: Sequence[str]) -> Iterator[FileHeader]:
        def read(chunk: Chunk) -> list[FileHeader]:
            part = tuple(names[slice(*chunk)])
            try:
                return cast(list[FileHeader], self._call(ReadHeaders(root, part)))
            except CodecError as error:
                if len(part) == 1:
                    return [SkippedFile(part[0], error.message)]
            # One of these files did it: read each on its own, so that the others are not lost.
            return [result for n in range(*chunk) for result in read((n, n + 1))]

        starts = range(0, len(names), HEADERS_A_TASK)
        chunks = [(start, min(start + HEADERS_A_TASK, len(names))) for start in starts]
        for results in self._map(read, chunks):
            yield from results

    def _wake(self) -> None:
        """Have all workers start: they import what they need while the files of a folder are listed."""
        with contextlib.suppress(RuntimeError):  # closed: who comes next is told
            for _ in range(self.workers):
                self._pool.submit(self._own_worker)

    def _map(self, work: Callable[[Chunk], Result], chunks: Iterable[Chunk]) -> Iterator[Result]:
        """Yield the results as they come. Few tasks wait at a time, so that concurrent callers take turns."""
        ahead = iter(chunks)
        pending: set[Future[Result]] = set()
        try:
            while True:
                for chunk in islice(ahead, 2 * self.workers - len(pending)):
                    try:
                        pending.add(self._pool.submit(work, chunk))
                    except RuntimeError:
                        raise DrainingError("ingest is closed") from None
                if not pending:
                    return
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in pending:
                future.cancel()
            wait(pending)  # they write to memory that the caller is about to let go

    def _call(self, task: Task, descriptor: int | None = None) -> object:
        """Have this thread's worker do a task; raise the error that it answers."""
        worker = self._own_worker()
        try:
            answer = worker.call(task, descriptor, self._task_seconds)
        except WorkerDiedError:
            self._own.worker = None
            with self._lock:
                self._running.discard(worker)
                is_closed = self._is_closed
            worker.close()
            if is_closed:
                raise DrainingError("ingest is closed") from None
            raise
        self._note(worker.on_card)
        if isinstance(answer, VoxelcastError):
            raise answer
        return answer

    def _note(self, report: CardReport) -> None:
        """Remember what a worker found of its card, and say once what it can't do there."""
        if report == CardReport():
            return
        with self._lock:
            before = self._on_card
            news = tuple(each for each in report.fallbacks if each not in before.fallbacks)
            self._on_card = CardReport(report.decoder or before.decoder, before.fallbacks + news)
        for fallback in news:
            logger.warning("cuda:%s: %s", self.card, fallback)

    def _own_worker(self) -> WorkerProcess:
        """Return this thread's worker, started if there is none."""
        worker = cast("WorkerProcess | None", getattr(self._own, "worker", None))
        if worker is None:
            worker = self._own.worker = self._start()
        return worker

    def _start(self) -> WorkerProcess:
        with self._lock:
            if self._is_closed:
                raise DrainingError("ingest is closed")
            takes_card = sum(worker.card is not None for worker in self._running) < CARD_WORKERS
            worker = WorkerProcess(self._memory_bytes, self.card if takes_card else None)
            self._running.add(worker)
            return worker

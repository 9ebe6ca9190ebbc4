"""Progress on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

BAR_CHARACTERS = 28
PLAIN_STEP_PERCENT = 25


class Progress:
    """Say what is being done and how far it is.

    Parameters
    ----------
    stream
        Where to; stderr by default, since stdout is for results.

    Notes
    -----
    May be called from any thread.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._on_terminal = self._stream.isatty()
        self._percents: dict[str, int] = {}
        self._stage = ""
        self._has_bar = False
        self._lock = threading.Lock()

    def __call__(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Report that `done` of `total` of a stage are done; a total of 0 where it can't be told.

        Stages may overlap: kernels compile while a volume loads.
        """
        percent = 100 * done // total if total else 0
        with self._lock:
            told = self._percents.get(stage)
            if told is not None and percent <= told:
                return
            if self._on_terminal:
                self._draw_bar(stage, done, total, percent)
            elif told is None or percent >= told + PLAIN_STEP_PERCENT or percent == 100:
                self._stream.write(f"{stage} {done}/{total}\n" if total else f"{stage}\n")
            else:
                return
            self._stream.flush()
            self._percents[stage] = percent

    def _draw_bar(self, stage: str, done: int, total: int, percent: int) -> None:
        if self._percents.get(self._stage) == 100:
            self._end_line()
        filled = BAR_CHARACTERS * percent // 100
        bar = f" [{'=' * filled}{' ' * (BAR_CHARACTERS - filled)}] {done}/{total}" if total else ""
        self._stream.write(f"\r\033[K{stage}{bar}")
        self._stage = stage
        self._has_bar = True

    def _end_line(self) -> None:
        if self._has_bar:
            self._stream.write("\n")
            self._stream.flush()
        self._has_bar = False

    @contextlib.contextmanager
    def beneath(self) -> Iterator[None]:
        """Within this, others may write lines to the same terminal: a bar has ended its own."""
        with self._lock:
            self._end_line()
            yield

    def close(self) -> None:
        """End the line of a bar; the same stages may begin anew."""
        with self._lock:
            self._end_line()
            self._percents.clear()
            self._stage = ""


class LogBeneath(logging.StreamHandler[TextIO]):
    """Writes the log where a `Progress` writes, never into the line of its bar."""

    def __init__(self, progress: Progress, stream: TextIO | None = None) -> None:
        super().__init__(stream or sys.stderr)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record on a line of its own."""
        with self._progress.beneath():
            super().emit(record)

"""A worker process as `render.dicom.ingest` sees it: started fresh, asked over a socket, and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from pathlib import Path
from typing import cast

import render
from render.dicom.tasks import CardReport, Task
from render.errors import CodecError


class WorkerDiedError(CodecError):
    """The worker is gone: a codec crashed, ran out of memory, or hung."""


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Block SIGINT in this thread, and thereby in the processes that it starts, from their first instruction.

    Ctrl+C reaches the whole process group, a worker that is still importing too: the server ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class WorkerProcess:
    """One process and the socket to it.

    Parameters
    ----------
    memory_bytes
        Private memory that it may take.
    card
        Where it may decode; None for nowhere.

    Attributes
    ----------
    on_card
        What it has found of its card so far.
    """

    def __init__(self, memory_bytes: int, card: int | None = None) -> None:
        self.card, self.on_card = card, CardReport()
        limits = str(memory_bytes), str(-1 if card is None else card)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            package_parent = str(Path(render.__file__).resolve().parents[1])
            with _without_interrupts():
                self._process = subprocess.Popen(
                    # -P: what lies in the current folder is not imported.
                    [sys.executable, "-P", "-m", "render.dicom.worker", str(theirs.fileno()), *limits],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env={
                        **os.environ,
                        "PYTHONPATH": os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH")])),
                    },
                )
            self._connection = Connection(ours.detach())

    def call(self, task: Task, descriptor: int | None, seconds: float) -> object:
        """Send a task and wait for its answer; WorkerDiedError if there is none."""
        try:
            self._connection.send(task)
            if descriptor is not None:
                send_handle(self._connection, descriptor, self._process.pid)
            if self._connection.poll(seconds):
                answer, self.on_card = self._connection.recv()
                return cast(object, answer)
        except (EOFError, OSError):
            raise WorkerDiedError(f"the decoder died ({self._death()})") from None
        self.kill()
        raise WorkerDiedError(f"the decoder did not answer within {seconds:g} s")

    def kill(self) -> None:
        """End the process; a thread that waits for it gets WorkerDiedError."""
        self._process.kill()

    def close(self) -> None:
        """Wait for the killed process and close the socket."""
        self._process.kill()
        self._process.wait()
        self._connection.close()

    def _death(self) -> str:
        code = self._process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"

"""The lanes' probe in a process of its own, before this one trusts it.

LLVM does not raise where it can't translate something for a CPU: it ends the process. So does an instruction that the
CPU says it has and has not. A server must not die of it but draw on scalars, so that the first start with a set of
kernels lets another process compile and run the probe; its kernel is cached, and a mark beside it spares the next
start the trial.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from render.backends.cpu.kernel_cache import PROVED, cache_directory

CODE = """
import resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import render.backends.cpu.operations
"""
PATIENCE_S = 300.0
"""The probe compiles in seconds; where it never ends, that is no better than if it crashed."""
IN_TRIAL = "VOXELCAST_IN_TRIAL"


class ProbeCrashError(Exception):
    """The probe ended the process that tried it, or never ended."""


def ensure_survival(width: int) -> None:
    """Let another process compile and run the probe, unless it has been done for this set of kernels. Blocks.

    What it raises there it will raise here as well, so that only the end of a process is a result.

    Parameters
    ----------
    width
        Of the lanes.

    Raises
    ------
    ProbeCrashError
        If that process did not end by itself.
    """
    directory = cache_directory(width)
    if IN_TRIAL in os.environ or not sys.executable or (directory is not None and (directory / PROVED).exists()):
        return
    environment = {**os.environ, IN_TRIAL: "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", CODE],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProbeCrashError(f"did not end within {PATIENCE_S:g} s") from None
    if done.returncode < 0:
        raise ProbeCrashError(f"{_signal_name(-done.returncode)}{_last_words(done.stderr)}")
    if done.returncode == 0 and directory is not None:
        _mark(directory)


def _mark(directory: Path) -> None:
    with contextlib.suppress(OSError):  # the next start tries again
        (directory / PROVED).touch(mode=0o600)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_words(stderr: bytes) -> str:
    """Return what LLVM says before it ends a process."""
    lines = stderr.decode(errors="replace").splitlines()
    said = next((line.strip() for line in lines if line.startswith("LLVM ERROR")), "")
    return f", {said[:150]}" if said else ""

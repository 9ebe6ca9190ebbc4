"""The server of the stream's benchmark: ``python -m benchmarks.stream_server``, in a process of its own.

The real one, as ``voxelcast demo`` runs it, but with a torso of any shape and with its kernels compiled beforehand; it
says on standard output where it is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.still import StillRenderer
from render import server
from render.backends.cpu import compile_kernels
from render.config import Settings
from render.demo import torso_volume
from render.server import Addresses, serve

STOP_SECONDS = 20.0


@dataclass
class ServerProcess:
    """A server that answers; ends with the context.

    Attributes
    ----------
    port
        Of the websocket, on 127.0.0.1.
    volume_id
        What it shows.
    said
        All that it said.
    """

    port: int
    volume_id: str
    said: dict[str, Any]
    _process: subprocess.Popen[str]

    @classmethod
    def start(cls, arguments: Sequence[str]) -> Self:
        """Start ``python -m`` with these arguments and wait until it says where it is, in one line of JSON.

        Raises
        ------
        RuntimeError
            If it ends instead.
        """
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
        )
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                said = json.loads(line)
                return cls(said["port"], said["volume_id"], said, process)
        raise RuntimeError(f"{arguments[0]} ended with status {process.wait()}")

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def resident_bytes(self) -> int:
        """What the process holds in memory; 0 where the system does not say."""
        try:
            lines = Path(f"/proc/{self._process.pid}/status").read_text("utf-8").splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS")), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def start_server(shape: tuple[int, int, int], threads: int, *, still: bool = False) -> ServerProcess:
    """Start Voxelcast with a torso of this shape, resident; `still` for a renderer that draws nothing."""
    arguments = ["benchmarks.stream_server", "--shape", *map(str, shape), "--threads", str(threads)]
    return ServerProcess.start([*arguments, *(["--still"] if still else [])])


def main() -> int:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream_server", description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--still", action="store_true", help="draw nothing: see benchmarks.still")
    options = parser.parse_args()
    if options.still:
        choose = server.choose
        server.choose = lambda *args, **kw: replace(choose(*args, **kw), renderer=StillRenderer())
    settings = Settings(http_port=0, grpc_port=0, threads=options.threads, device="cpu")
    volume = torso_volume(tuple(options.shape))

    async def prepare(engine: object) -> None:
        if not options.still:
            await asyncio.to_thread(compile_kernels)
        await engine.add(volume)  # type: ignore[attr-defined]
        await engine.open(volume.id, holder="benchmark")  # type: ignore[attr-defined]

    def announce(addresses: Addresses) -> None:
        print(json.dumps({"port": addresses.http_port, "volume_id": volume.id}), flush=True)

    return asyncio.run(serve(settings, report=lambda *_: None, prepare=prepare, announce=announce))


if __name__ == "__main__":
    sys.exit(main())

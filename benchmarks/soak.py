"""Clients that come and go for a long time: ``python -m benchmarks.soak [--minutes 10 | --hours H] [--json FILE]``.

Sixteen clients at a time connect to a server in a process of its own, move planes and a shaded volume, hide, share and
watch, acknowledge late or never, and leave by a close, by vanishing, or by a break after which they come back with
their token. What the server holds is counted while nobody is there, after a first round and at the end: memory,
threads (by the name of their pool, all of which are filled before the first count), tasks and file descriptors must be
back, and every session that rested must have got its final frame.
Ends with status 1 where something has grown.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import ctypes
import gc
import json
import os
import random
import re
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

CLIENTS = 16
ROUND_S = 20.0
"""Of the first round, before the baseline: pools and caches fill. Shorter where the whole is."""
QUIET_TIMEOUT_S = 30.0
SETTLE_TIMEOUT_S = 60.0
MEMORY_SHARE, MEMORY_BYTES = 0.05, 16 << 20
"""Memory may be larger by this share and these bytes: allocators keep some."""
SHAPE = (48, 96, 96)
PANES = ("axial", "3d")
_NUMBER = re.compile(r"[-_]\d+(?:_\d+)?")


async def serve() -> None:
    """Serve a small torso; answer each line on standard input with what the process holds."""
    from render.backends.cpu import compile_kernels
    from render.blocking import run_unstoppable
    from render.config import Settings
    from render.demo import torso_volume
    from render.server import running
    from render.stream import registry

    registry.RESUME_SECONDS = 5.0  # what is kept for those who may come back is not to count as growth
    await asyncio.to_thread(compile_kernels, lambda name, done, total: None)
    volume = torso_volume(SHAPE)
    settings = Settings(http_port=0, grpc_port=0, threads=2, device="cpu")
    async with running(settings, lambda stage, done, total: None) as (engine, addresses):
        await engine.add(volume)
        lease = await engine.open(volume.id, holder="soak")
        await run_unstoppable(_fill_pools, "fill-pools")
        print(json.dumps({"port": addresses.http_port}), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            gc.collect()
            with contextlib.suppress(OSError, AttributeError):
                ctypes.CDLL(None).malloc_trim(0)
            print(json.dumps(_held(engine.status().cache.pinned_bytes)), flush=True)
        lease.release()


def _held(pinned_bytes: int) -> dict[str, Any]:
    status = Path("/proc/self/status").read_text("utf-8").splitlines()
    resident = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS"))
    return {
        "memory_bytes": resident,
        "threads": dict(sorted(collections.Counter(_kind(thread) for thread in threading.enumerate()).items())),
        "tasks": len(asyncio.all_tasks()),
        "file_descriptors": len(os.listdir("/proc/self/fd")),
        "pinned_bytes": pinned_bytes,
        "connections": sum(1 for task in asyncio.all_tasks() if "run_asgi" in repr(task.get_coro())),
    }


def _kind(thread: threading.Thread) -> str:
    """Return a thread's name without its number, which is that of its pool."""
    return _NUMBER.sub("", thread.name)


def _fill_pools() -> None:
    """Begin all threads of all pools: they begin them one by one, as they are needed, and late ones would look lost."""
    for pool in [found for found in gc.get_objects() if type(found) is ThreadPoolExecutor and not found._shutdown]:
        all_there = threading.Barrier(pool._max_workers)
        for task in [pool.submit(all_there.wait) for _ in range(pool._max_workers)]:
            task.result()


class Guest:
    """One client of the many: speaks the protocol as docs/protocol.md says."""

    def __init__(self, socket: ClientConnection, chance: random.Random) -> None:
        self._socket = socket
        self._chance = chance
        self.revisions: dict[str, int] = {}
        self._views: dict[str, Any] = {}
        self._settled: dict[str, int] = {}
        self.resume_token = ""
        self.share_id = ""
        self.errors: list[str] = []
        self.frames = 0
        self.is_slow = chance.random() < 0.2
        self.described = asyncio.Event()
        self.changed = asyncio.Event()

    async def send(self, **message: Any) -> None:
        """Send a ClientMessage."""
        await self._socket.send(json.dumps(message))

    async def read(self) -> None:
        """Take what comes, until the socket closes; acknowledge late where slow."""
        with contextlib.suppress(ConnectionClosed):
            async for data in self._socket:
                if isinstance(data, str):
                    await self._take(json.loads(data))
                    continue
                (length,) = struct.unpack_from("<I", data)
                header = json.loads(data[4 : 4 + length])
                if header["chunk_index"] + 1 < header["chunk_count"]:
                    continue
                self.frames += 1
                if self.is_slow:
                    await asyncio.sleep(self._chance.uniform(0, 0.2))
                if header["quality"] == "FRAME_QUALITY_FINAL":
                    self._settled[header["view_id"]] = header["view_revision"]
                    self.changed.set()
                await self.send(acknowledge={"view_id": header["view_id"], "sequence": header["sequence"]})

    async def _take(self, message: dict[str, Any]) -> None:
        if "welcome" in message:
            self.resume_token = message["welcome"]["resume_token"]
            await self.send(open_volume={"volume_id": message["welcome"]["volumes"][0]["volume_id"]})
        elif "volume_opened" in message:
            for named in message["volume_opened"]["volume"]["initial_views"]:
                self._views[named["name"]] = named["view"]
            self.described.set()
        elif "error" in message:
            self.errors.append(message["error"]["message"])
        elif "sharing" in message:
            self.share_id = message["sharing"]["share_id"]
            self.changed.set()

    async def hello(self, resume_token: str = "") -> None:
        """Begin."""
        await self.send(hello={"protocol_version": 1, "client": "soak", "resume_token": resume_token})
        await self.described.wait()

    async def move(self, steps: int) -> None:
        """Set views, some ten a second."""
        for _ in range(steps):
            name = self._chance.choice(PANES)
            view = self._views[name]
            side = self._chance.choice((128, 256))
            view["viewport"] = {"width_px": side, "height_px": side}
            view["camera"]["look_at"]["x"] = self._chance.uniform(-40, 40)
            self.revisions[name] = self.revisions.get(name, 0) + 1
            await self.send(set_view={"view_id": name, "revision": self.revisions[name], "view": view})
            await asyncio.sleep(self._chance.uniform(0, 0.2))

    async def show_all(self) -> None:
        """Set each of the volume's initial views once."""
        for name, view in self._views.items():
            view["viewport"] = {"width_px": 256, "height_px": 256}
            self.revisions[name] = 1
            await self.send(set_view={"view_id": name, "revision": 1, "view": view})

    async def rest(self) -> None:
        """Wait until every view has its final frame."""
        async with asyncio.timeout(SETTLE_TIMEOUT_S):
            while any(self._settled.get(name) != revision for name, revision in self.revisions.items()):
                self.changed.clear()
                await self.changed.wait()


class Party:
    """Guests that come and go until a time, and what happened to them."""

    def __init__(self, port: int, seed: int) -> None:
        self._url = f"ws://127.0.0.1:{port}/stream"
        self._chance = random.Random(seed)
        self._share_ids: collections.deque[str] = collections.deque(maxlen=4)
        self.counts: collections.Counter[str] = collections.Counter()
        self.errors: collections.Counter[str] = collections.Counter()

    async def go_on(self, seconds: float, clients: int) -> None:
        """Keep so many guests there."""
        end = time.monotonic() + seconds

        async def place() -> None:
            while time.monotonic() < end:
                await self._visit()

        await asyncio.gather(*(place() for _ in range(clients)))

    async def _visit(self) -> None:
        chance = random.Random(self._chance.random())
        token = ""
        revisions: dict[str, int] = {}
        for _ in range(2):
            async with self._guest(chance) as guest:
                guest.revisions = revisions  # who comes back goes on counting
                await guest.hello(token)
                self.counts["sessions"] += 1
                self.counts["resumed"] += bool(token)
                token, revisions = guest.resume_token, guest.revisions
                how = chance.choice(("rest", "rest", "vanish", "break", "hide", "share", "watch"))
                if how == "watch" and self._share_ids:
                    await guest.send(watch={"share_id": chance.choice(self._share_ids)})
                    await asyncio.sleep(chance.uniform(0.2, 2))
                else:
                    await guest.move(chance.randint(1, 20))
                if how == "share":
                    await guest.send(share={})
                    await guest.rest()
                    self._share_ids.append(guest.share_id)
                elif how == "hide":
                    await guest.send(set_visibility={"visible": False})
                    await guest.move(3)
                    await guest.send(set_visibility={"visible": True})
                    await guest.rest()
                elif how == "rest":
                    await guest.rest()
                if how in ("vanish", "break"):
                    guest._socket.transport.abort()
                self.counts[how] += 1
                self.errors.update(guest.errors)
                if how != "break":
                    return

    @contextlib.asynccontextmanager
    async def _guest(self, chance: random.Random) -> Any:
        async with connect(self._url, max_size=None, proxy=None, compression=None) as socket:
            guest = Guest(socket, chance)
            reading = asyncio.create_task(guest.read())
            try:
                yield guest
            finally:
                await socket.close()
                await reading


class Host:
    """The server's process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak", "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self.pid = self._process.pid
        self.port: int = json.loads(self._stdout.readline())["port"]

    def held(self) -> dict[str, Any]:
        """Ask what the process holds, once the last session has ended."""
        limit = time.monotonic() + QUIET_TIMEOUT_S
        while True:
            self._stdin.write("\n")
            self._stdin.flush()
            held: dict[str, Any] = json.loads(self._stdout.readline())
            if held["connections"] == 0 or time.monotonic() > limit:
                return held
            time.sleep(0.2)

    def close(self) -> None:
        """End it."""
        self._stdin.close()
        self._process.wait(30)
        self._stdout.close()


def grown(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what is more than it was, a line each; threads by the name of their pool."""
    limit = before["memory_bytes"] * (1 + MEMORY_SHARE) + MEMORY_BYTES
    lines = [f"memory_bytes: {before['memory_bytes']} to {after['memory_bytes']}"] * (after["memory_bytes"] > limit)
    for name in sorted({*before["threads"], *after["threads"]}):
        counts = before["threads"].get(name, 0), after["threads"].get(name, 0)
        if counts[1] > counts[0]:
            lines.append(f"threads {name}: {counts[0]} to {counts[1]}")
    for name in ("tasks", "file_descriptors", "pinned_bytes", "connections"):
        if after[name] > before[name]:
            lines.append(f"{name}: {before[name]} to {after[name]}")
    return lines


def soak(seconds: float, clients: int, seed: int) -> dict[str, Any]:
    """Return what the server held before and after, what has grown, and how many came."""
    host = Host()
    try:
        party = Party(host.port, seed)
        asyncio.run(party.go_on(min(ROUND_S, seconds / 2), clients))
        before = host.held()
        asyncio.run(party.go_on(seconds, clients))
        after = host.held()
    finally:
        host.close()
    return {
        "seconds": seconds,
        "clients": clients,
        "seed": seed,
        "before": before,
        "after": after,
        "grown": grown(before, after),
        "visits": dict(party.counts),
        "errors": dict(party.errors),
    }


def main() -> int:
    """Run, print, and say whether something has grown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--hours", type=float, help="instead of minutes")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
        return 0
    seconds = options.hours * 3600 if options.hours is not None else options.minutes * 60
    result = soak(seconds, options.clients, options.seed)
    text = json.dumps(result, indent=2)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", "utf-8")
    return 1 if result["grown"] else 0


if __name__ == "__main__":
    sys.exit(main())

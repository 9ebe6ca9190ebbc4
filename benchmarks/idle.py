"""What sessions cost that do nothing: ``python -m benchmarks.idle [--sessions 20] [--seconds 60] [--json FILE]``.

So many clients show four views of a small torso on a server in a process of its own, each at rest with its final frame.
Then they say nothing but what the page says, a ping every 25 s, and the server's processor time is counted. Ends with
status 1 where it is more than the limit, or where a frame came.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from benchmarks.soak import Guest, Host

PING_S = 25.0
"""Of the page; the server's own come at the same pace."""
LIMIT_PERCENT = 0.5
"""Of one core."""
AFTERMATH_S = 3.0
"""After the last frame, until counting begins."""


def processor_seconds(pid: int) -> float:
    """Return what a process has taken so far, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def rest(pid: int, port: int, sessions: int, seconds: float) -> dict[str, Any]:
    """Let sessions rest; return what was measured."""
    async with contextlib.AsyncExitStack() as stack:
        guests = []
        for number in range(sessions):
            url = f"ws://127.0.0.1:{port}/stream"
            socket = await stack.enter_async_context(connect(url, max_size=None, proxy=None, compression=None))
            guest = Guest(socket, random.Random(number))
            guest.is_slow = False
            stack.callback(asyncio.create_task(guest.read()).cancel)
            await guest.hello()
            await guest.show_all()
            guests.append(guest)
        for guest in guests:
            await guest.rest()
        await asyncio.sleep(AFTERMATH_S)
        frames, taken, begun = sum(guest.frames for guest in guests), processor_seconds(pid), time.monotonic()

        async def ping(guest: Guest) -> None:
            await asyncio.sleep(random.uniform(0, PING_S))
            while True:
                await guest.send(ping={})
                await asyncio.sleep(PING_S)

        pinging = [asyncio.create_task(ping(guest)) for guest in guests]
        await asyncio.sleep(seconds)
        for task in pinging:
            task.cancel()
        passed = time.monotonic() - begun
        return {
            "sessions": sessions,
            "seconds": round(passed, 1),
            "frames": sum(guest.frames for guest in guests) - frames,
            "processor_percent": round(100 * (processor_seconds(pid) - taken) / passed, 3),
        }


def main() -> int:
    """Measure, print, and say whether it is too much."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    host = Host()
    try:
        result = asyncio.run(rest(host.pid, host.port, options.sessions, options.seconds))
    finally:
        host.close()
    text = json.dumps(result, indent=2)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", "utf-8")
    return 1 if result["frames"] or result["processor_percent"] > LIMIT_PERCENT else 0


if __name__ == "__main__":
    sys.exit(main())

"""``voxelcast demo``: a procedural torso, or the DICOM at a path, resident before the address is printed."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from render.blocking import run_blocking
from render.commands.options import run_server, server_options
from render.errors import RenderCancelledError

if TYPE_CHECKING:
    from render.commands.progress import Progress
    from render.engine import Engine


@click.command("demo", help="Serve a procedural torso CT, or the DICOM at PATH, and print the address to open.")
@click.argument("path", required=False, type=click.Path(path_type=Path, exists=True))
@server_options
def command(path: Path | None, **options: Any) -> None:
    """Make or load one volume, keep it resident, serve."""
    if path is None:
        run_server(options, (), _make_torso)
    else:
        run_server(options, (path,), _load(path))


async def _make_torso(engine: Engine, progress: Progress) -> None:
    from render.demo import torso_volume

    give_up = threading.Event()

    def told(share: float) -> None:
        if give_up.is_set():
            raise RenderCancelledError("the torso was given up")
        progress("making the torso", round(100 * share), 100)

    with ThreadPoolExecutor(1, "demo-torso") as pool:
        volume = await run_blocking(pool, lambda: torso_volume(progress=told), give_up)
    volume_id = await engine.add(volume)
    await _open_first(engine, volume_id, progress)


def _load(path: Path) -> Callable[[Engine, Progress], Awaitable[None]]:
    absolute = str(path.absolute())

    async def prepare(engine: Engine, progress: Progress) -> None:
        progress("reading headers")
        volume_id = await engine.resolve(absolute, largest=True)
        await _open_first(engine, volume_id, progress)

    return prepare


async def _open_first(engine: Engine, volume_id: str, progress: Progress) -> None:
    await engine.open(volume_id, holder="demo", progress=progress)  # never released: it stays resident
    engine.first_volume_id = volume_id

"""``voxelcast serve``: the volumes below one or more folders."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from render.commands.options import run_server, server_options

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from render.commands.progress import Progress
    from render.engine import Engine


@click.command("serve", help="Serve the volumes below one or more folders, in a browser and over gRPC.")
@click.argument("roots", nargs=-1, type=click.Path(path_type=Path, exists=True), metavar="ROOT...")
@server_options
def command(roots: tuple[Path, ...], **options: Any) -> None:
    """Serve; the roots are scanned in the background."""
    run_server(options, roots, _prepare)


async def _prepare(engine: Engine, progress: Progress) -> None:
    if not engine.catalog.roots:
        logger.warning("no ROOT was given: there is nothing to show but what clients upload")
        return
    progress("scanning the roots in the background")

"""Options that ``serve`` and ``demo`` share."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from render.blocking import leave
from render.commands.progress import LogBeneath, Progress

if TYPE_CHECKING:
    from render.engine import Engine

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--host", help="Address to bind. Default: 127.0.0.1; beyond loopback a token is needed."),
    click.option("--http-port", type=int, help="Of the page and its websocket; 0 picks a free one. Default: 8080."),
    click.option("--grpc-port", type=int, help="Of gRPC; 0 picks a free one. Default: 50051."),
    click.option("--rescan", type=float, metavar="SECONDS", help="Between looks for new files; 0: none. Default: 30."),
    click.option("--memory-budget", metavar="BYTES", help="For resident volumes, as 8GiB. Default: half the memory."),
    click.option("--host-memory", metavar="BYTES", help="For volumes of cards, decoded. Default: half the memory."),
    click.option(
        "--device", metavar="DEVICE", help="auto, cpu, cuda (all cards) or cuda:N. Default: auto, cards first."
    ),
    click.option("--threads", type=click.IntRange(1), help="That render. Default: the cores there are."),
    click.option("--token", help="What clients must present; others can read a command line: better --token-file."),
    click.option("--token-file", type=click.Path(path_type=Path), help="Its first line is what clients must present."),
    click.option(
        "--tls-cert", type=click.Path(path_type=Path), help="PEM: the certificate and its chain. Needs a key."
    ),
    click.option("--tls-key", type=click.Path(path_type=Path), help="PEM: the private key of --tls-cert."),
    click.option("--allow-host", multiple=True, metavar="NAME", help="Host header accepted besides loopback's names."),
    click.option("--allow-origin", multiple=True, metavar="URL", help="Page origin accepted besides the server's own."),
    click.option("--config", type=click.Path(path_type=Path), help="TOML file with any of these settings."),
)


def server_options(command: Command) -> Command:
    """Add the options of a server to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def run_server(
    options: dict[str, Any],
    roots: tuple[Path, ...],
    prepare: Callable[[Engine, Progress], Awaitable[None]],
) -> None:
    """Serve `roots` with what the options say until interrupted, and exit.

    Prints the page's address on a line of its own on stdout once `prepare` is through, and gRPC's on stderr.
    """
    from render.config import load_settings

    options["rescan_seconds"] = options.pop("rescan")
    options["memory_budget_bytes"] = options.pop("memory_budget")
    options["host_memory_bytes"] = options.pop("host_memory")
    settings = load_settings(options.pop("config"), roots=roots, **options)
    progress = Progress()
    form = "%(asctime)s %(levelname)s %(name)s %(message)s"
    logging.basicConfig(level=logging.INFO, handlers=[LogBeneath(progress)], format=form)
    from render.server import Addresses, serve

    def announce(addresses: Addresses) -> None:
        progress.close()
        print(addresses.page, flush=True)
        print(f"gRPC on {addresses.host}:{addresses.grpc_port}; Ctrl+C ends", file=sys.stderr, flush=True)

    status = asyncio.run(
        serve(settings, report=progress, prepare=lambda engine: prepare(engine, progress), announce=announce)
    )
    progress.close()
    leave(status)

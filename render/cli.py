"""The command line: ``voxelcast serve | demo | inspect | render | doctor``.

Commands import what they need when they run: ``voxelcast --help`` loads neither numba nor gRPC.
"""

from __future__ import annotations

import importlib
import sys

import click

from render import __version__
from render.blocking import leave
from render.errors import AmbiguousSeriesError, VoxelcastError

COMMANDS = {
    "serve": "Serve the volumes below one or more folders.",
    "demo": "Serve a procedural torso, or the DICOM at a path, and print the address to open.",
    "inspect": "Say what is below a path: series, volumes, what is refused and why.",
    "render": "Render one picture, or its values, to a file.",
    "doctor": "Say what this installation runs on: CPU, SIMD lanes, kernel cache, codecs, device.",
}


class LazyGroup(click.Group):
    """A group whose commands live in ``render.commands`` and load when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"render.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=LazyGroup)
@click.version_option(__version__, prog_name="voxelcast")
def cli() -> None:
    """Medical volumes resident beside the processor; MPR, MIP and 3D frames on demand."""


def main() -> None:
    """Run the command line; every expected error is one line on stderr and exit status 1."""
    try:
        cli.main(prog_name="voxelcast", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except VoxelcastError as error:
        print(f"voxelcast: {error.message}", file=sys.stderr)
        if isinstance(error, AmbiguousSeriesError):
            candidates = error.details.get("candidates", ())
            if isinstance(candidates, list | tuple):
                for candidate in candidates:
                    print(f"  --{candidate}", file=sys.stderr)
        leave(1)
    except (click.Abort, KeyboardInterrupt):
        leave(130)


if __name__ == "__main__":
    main()

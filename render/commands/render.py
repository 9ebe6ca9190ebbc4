"""``voxelcast render``: one picture, or its values, to a file, without a server. It speaks PS3.18's words."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from render.commands.progress import Progress
from render.errors import InvalidArgumentError
from render.view import Orientation, RenderingMethod
from render.volumetric import DEFAULT_VIEWPORT, VolumetricRequest, parse_vector, parse_viewport, parse_window

T = TypeVar("T")


def _parsed(parse: Callable[[str], T]) -> Callable[[click.Context, click.Parameter, str | None], T | None]:
    """Return a callback whose errors are click's: a word that can't be read is wrong usage."""

    def callback(ctx: click.Context, param: click.Parameter, text: str | None) -> T | None:
        try:
            return None if text is None else parse(text)
        except InvalidArgumentError as error:
            if error.details:  # it was read, but is out of range
                raise
            raise click.BadParameter(error.message) from None

    return callback


def _device(ctx: click.Context, param: click.Parameter, text: str) -> str:
    from render.config import DEVICE_PATTERN

    if DEVICE_PATTERN.fullmatch(text) is None:
        raise click.BadParameter(f"{text!r}: auto, cpu, cuda or cuda:N needed")
    return text


_METHODS = click.Choice([method.value for method in RenderingMethod])
_ORIENTATIONS = click.Choice([orientation.value for orientation in Orientation])


@click.command("render", help="Render one picture of the DICOM at PATH, or its values, to a file.")
@click.argument("path", type=click.Path(path_type=Path, readable=False))
@click.option("--mpr", "is_mpr", is_flag=True, help="A plane through the volume.")
@click.option("--3d", "is_3d", is_flag=True, help="The whole volume from outside.")
@click.option(
    "--renderingmethod",
    type=_METHODS,
    help="Default: average_ip for --mpr; for --3d volume_rendered, of PET an inverted maximum_ip.",
)
@click.option("--orientation", type=_ORIENTATIONS, help="The side viewed. Default: f for --mpr, a for --3d.")
@click.option("--viewpointposition", callback=_parsed(parse_vector), metavar="X,Y,Z", help="LPS mm.")
@click.option("--viewpointlookat", callback=_parsed(parse_vector), metavar="X,Y,Z", help="LPS mm; an MPR contains it.")
@click.option("--viewpointup", callback=_parsed(parse_vector), metavar="X,Y,Z", help="Upwards in the picture.")
@click.option("--mprslab", type=float, metavar="MM", help="Thickness of the plane. Default: thin.")
@click.option("--viewport", callback=_parsed(parse_viewport), metavar="W,H", help="Pixels. Default: 512,512.")
@click.option("--window", callback=_parsed(parse_window), metavar="C,W,FUNCTION", help="linear, linear-exact, sigmoid.")
@click.option("--preset", help="Transfer function of volume_rendered, by name.")
@click.option("--shift", type=float, metavar="UNITS", help="Moves the preset along the values: CT-Bone by 200.")
@click.option("--series", help="Where PATH has several: a Series Instance UID, or a Series Number that one has.")
@click.option("--volume", type=click.IntRange(0), help="Which volume of the series, from 0.")
@click.option("--device", default="auto", callback=_device, metavar="DEVICE", help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(1), help="Default: the cores there are.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help=".png .jpg .tiff .npy")
@click.option("--metadata", type=click.Path(path_type=Path), help="Where the pixels lie, and what was drawn, as JSON.")
def command(path: Path, output: Path, metadata: Path | None, device: str, threads: int | None, **options: Any) -> None:
    """Scan, load, render, write."""
    from render.picture_file import check_suffix, check_writable, write_frame, write_metadata

    if options["is_mpr"] == options.pop("is_3d"):
        raise click.UsageError("one of --mpr and --3d is needed" + (", not both" if options["is_mpr"] else ""))
    check_suffix(output)
    check_writable(output, "-o")
    if metadata is not None:
        check_writable(metadata, "--metadata")
    from render.dicom.pixels import load_volume
    from render.dicom.series import select
    from render.dicom.source import scan

    progress = Progress()
    found = scan(path, progress=lambda done, total: progress("reading headers", done, total))
    plan = select(found, series=options["series"], volume=options["volume"])
    # Before the load: a bad camera should not cost a minute.
    view = request_of(options).view(plan.id, plan.geometry, plan.info)
    volume = load_volume(plan, progress=lambda done, total: progress("decoding slices", done, total), threads=threads)
    progress("rendering")
    from render.backends.choice import choose

    with contextlib.closing(choose(device, threads=threads, cards=1)) as choice:
        renderer = choice.renderer
        frame = renderer.render(view, {volume.id: renderer.upload(volume)})
    progress.close()
    write_frame(frame, output)
    if metadata is not None:
        write_metadata(frame, volume, metadata)


def request_of(options: dict[str, Any]) -> VolumetricRequest:
    """Return what the options ask for; a plane is axial unless told otherwise."""
    is_mpr = options["is_mpr"]
    method, side = options["renderingmethod"], options["orientation"]
    return VolumetricRequest(
        is_mpr=is_mpr,
        viewport=options["viewport"] or DEFAULT_VIEWPORT,
        rendering_method=RenderingMethod(method) if method else None,
        orientation=Orientation(side) if side else None,
        viewpoint_position=options["viewpointposition"],
        viewpoint_look_at=options["viewpointlookat"],
        viewpoint_up=options["viewpointup"],
        default_orientation=Orientation.FEET if is_mpr else Orientation.ANTERIOR,
        slab_mm=options["mprslab"],
        window=options["window"],
        preset=options["preset"],
        shift=options["shift"],
    )

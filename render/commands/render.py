"""``voxelcast render``: one picture, or its values, to a file, without a server. It speaks PS3.18's words."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from render.commands.progress import Progress
from render.errors import InvalidArgumentError
from render.initial_views import whole_volume_method
from render.transfer import Window, WindowFunction, load_preset
from render.view import (
    Camera,
    Layer,
    Orientation,
    RenderingMethod,
    Vector,
    View,
    Viewport,
    fitted_camera,
    oriented_camera,
)

if TYPE_CHECKING:
    from render.geometry import VolumeGeometry
    from render.volume import VolumeInfo

DEFAULT_VIEWPORT = Viewport(512, 512)


def _numbers(count: int) -> Callable[[click.Context, click.Parameter, str | None], tuple[float, ...] | None]:
    def parse(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[float, ...] | None:
        if text is None:
            return None
        try:
            numbers = tuple(float(part) for part in text.split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != count:
            raise click.BadParameter(f"{text!r}: {count} numbers with commas between them needed")
        return numbers

    return parse


def _device(ctx: click.Context, param: click.Parameter, text: str) -> str:
    from render.config import DEVICE_PATTERN

    if DEVICE_PATTERN.fullmatch(text) is None:
        raise click.BadParameter(f"{text!r}: auto, cpu, cuda or cuda:N needed")
    return text


def _viewport(ctx: click.Context, param: click.Parameter, text: str | None) -> Viewport:
    if text is None:
        return DEFAULT_VIEWPORT
    try:
        width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r}: width,height in pixels needed") from None
    return Viewport(width, height)


def _window(ctx: click.Context, param: click.Parameter, text: str | None) -> Window | None:
    if text is None:
        return None
    try:
        center, width, function = text.split(",")
        return Window(float(center), float(width), WindowFunction(function.strip().lower()))
    except ValueError:
        raise click.BadParameter(f"{text!r}: center,width,linear|linear-exact|sigmoid needed") from None


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
@click.option("--viewpointposition", callback=_numbers(3), metavar="X,Y,Z", help="LPS mm.")
@click.option("--viewpointlookat", callback=_numbers(3), metavar="X,Y,Z", help="LPS mm; an MPR contains it.")
@click.option("--viewpointup", callback=_numbers(3), metavar="X,Y,Z", help="Upwards in the picture.")
@click.option("--mprslab", type=float, metavar="MM", help="Thickness of the plane. Default: thin.")
@click.option("--viewport", callback=_viewport, metavar="W,H", help="Pixels. Default: 512,512.")
@click.option("--window", callback=_window, metavar="C,W,FUNCTION", help="linear, linear-exact or sigmoid.")
@click.option("--preset", help="Transfer function of volume_rendered, by name.")
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
    view = build_view(plan.id, plan.geometry, plan.info, options)
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


def build_view(volume_id: str, geometry: VolumeGeometry, info: VolumeInfo, options: dict[str, Any]) -> View:
    """Return the View that the options ask for.

    Raises
    ------
    InvalidArgumentError
        For options that exclude each other.
    InvalidViewError
        For a camera or viewport that can't be drawn.
    """
    is_mpr = options["is_mpr"]
    method, invert = (RenderingMethod.AVERAGE_IP, False) if is_mpr else whole_volume_method(info)
    preset = options["preset"]
    if options["renderingmethod"]:
        method, invert = RenderingMethod(options["renderingmethod"]), False
    elif preset is not None and not is_mpr:
        method, invert = RenderingMethod.VOLUME_RENDERED, False
    slab_mm = options["mprslab"]
    if slab_mm is not None and not is_mpr:
        raise InvalidArgumentError("--mprslab is for --mpr", field="mprslab")
    if slab_mm is not None and not (math.isfinite(slab_mm) and slab_mm > 0):
        raise InvalidArgumentError(f"--mprslab {slab_mm:g}: over 0 needed", field="mprslab")
    if preset is not None and method is not RenderingMethod.VOLUME_RENDERED:
        raise InvalidArgumentError("--preset is for --renderingmethod volume_rendered", field="preset")
    layer = Layer(volume_id, options["window"], None if preset is None else load_preset(preset), invert=invert)
    camera = _camera(geometry, options, Orientation.FEET if is_mpr else Orientation.ANTERIOR)
    slab = (slab_mm or 0.0) if is_mpr else None
    return View(camera, options["viewport"], (layer,), method, slab)


def _camera(geometry: VolumeGeometry, options: dict[str, Any], default: Orientation) -> Camera:
    viewport: Viewport = options["viewport"]
    position: Vector | None = options["viewpointposition"]
    look_at: Vector | None = options["viewpointlookat"]
    up: Vector | None = options["viewpointup"]
    if position is None and look_at is None and up is None:
        orientation = Orientation(options["orientation"]) if options["orientation"] else default
        return oriented_camera(orientation, geometry, viewport)
    if options["orientation"]:
        raise InvalidArgumentError("--orientation excludes --viewpoint...", field="orientation")
    fallback = oriented_camera(Orientation.ANTERIOR, geometry, viewport, look_at=look_at)
    return fitted_camera(
        geometry,
        viewport,
        position=fallback.position if position is None else position,
        look_at=fallback.look_at if look_at is None else look_at,
        up=fallback.up if up is None else up,
    )

"""``voxelcast inspect``: what is below a path."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from render.commands.progress import Progress
from render.errors import InvalidArgumentError, SourceError, UnreadableFileError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from render.dicom.plan import VolumePlan
    from render.dicom.series import Series
    from render.dicom.source import Scan

VOLUMES_SHOWN = 12
"""Volumes of one series that the table lists: a cine has hundreds."""

MISSING_SHOWN = 10


@click.command("inspect", help="Say what is below PATH: series, volumes, what is refused and why.")
@click.argument("path", type=click.Path(path_type=Path, readable=False))
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON on stdout.")
@click.option(
    "--thumbnails",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write a picture of each series' middle slice into this folder, which is made.",
)
@click.option("--identify", is_flag=True, help="Show patient names, ids and birth dates, which are left out otherwise.")
def command(path: Path, as_json: bool, thumbnails: Path | None, identify: bool) -> None:
    """Scan a path and print what was found; without ``--identify`` nothing printed but file names may tell who it is.

    PATH is a folder, a file, a ZIP archive, a DICOMDIR or a NIfTI file. What may not be read makes the exit status 1,
    after all else has been printed.
    """
    from render.dicom.contents import describe_labels
    from render.dicom.identity import read_identity
    from render.dicom.source import scan

    progress = Progress()
    found = scan(path, progress=lambda done, total: progress("reading headers", done, total))
    pictures = _write_thumbnails(found, thumbnails, progress) if thumbnails is not None else {}
    progress.close()
    patients = [read_identity(found.root, series.paths[0]) for series in found.series] if identify else []
    labels = {
        n: described
        for n, series in enumerate(found.series)
        if (described := [one for o in series.objects if (one := describe_labels(found.root, o, found.volumes))])
    }
    if not as_json:
        click.echo(_table(found, patients, pictures, labels))
        _check_all_read(found)
        return
    report = found.to_json()
    for series, patient in zip(report["series"], patients, strict=False):
        series["patient"] = patient
    for n, picture in pictures.items():
        report["series"][n]["thumbnail"] = picture
    for n, described in labels.items():
        report["series"][n]["labels"] = described
    click.echo(json.dumps(report, indent=2))
    _check_all_read(found)


def _check_all_read(found: Scan) -> None:
    """Raise UnreadableFileError if something may not be read: what was printed lacks it."""
    denied = [_printable(file.path) for file in found.skipped if file.is_denied]
    if denied:
        more = f" and {len(denied) - 1} more" if len(denied) > 1 else ""
        raise UnreadableFileError(f"permission denied: {found.root / denied[0]}{more} may not be read")


def _write_thumbnails(found: Scan, folder: Path, progress: Progress) -> dict[int, str]:
    """Write a picture a series; return by the series' place what was written, or why nothing was."""
    import imagecodecs

    said: dict[int, str] = {}
    shown = [n for n, series in enumerate(found.series) if series.volumes or series.kind in ("image", "cine")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for done, n in enumerate(shown, start=1):
            path = folder / f"series{n + 1:03}.png"
            try:
                picture = _picture(found, found.series[n])
            except SourceError as error:
                said[n] = f"no picture: {error.message}"
            else:
                path.write_bytes(imagecodecs.png_encode(picture))
                said[n] = path.name
            progress("drawing thumbnails", done, len(shown))
    except OSError as error:
        raise InvalidArgumentError(
            f"--thumbnails {folder}: can't be written ({error.strerror})", field="thumbnails"
        ) from error
    return said


def _picture(found: Scan, series: Series) -> npt.NDArray[np.uint8]:
    from render.dicom.header import quiet_pydicom
    from render.dicom.picture import read_picture
    from render.dicom.thumbnail import middle_slice, resized

    if series.volumes:
        return middle_slice(series.volumes[0])
    image = series.objects[0]
    with quiet_pydicom():
        picture = read_picture(found.root, image, image.number_of_frames // 2 + 1)
    return resized(picture.pixels, picture.aspect)


def _table(
    found: Scan,
    patients: Sequence[Mapping[str, str]],
    pictures: Mapping[int, str],
    labels: Mapping[int, Sequence[Mapping[str, Any]]],
) -> str:
    lines = [f"{found.files} files, {len(found.series)} series, {len(found.skipped)} skipped", ""]
    width = max((len(series.kind) for series in found.series), default=0)
    for n, series in enumerate(found.series):
        lines += _series_lines(series, width)
        lines += [line for described in labels.get(n, ()) for line in _label_lines(described)]
        if patients:
            lines.append("    patient " + ", ".join(f"{name} {value or '-'}" for name, value in patients[n].items()))
        if n in pictures:
            lines.append(f"    thumbnail {pictures[n]}")
    if found.missing:
        lines += ["", f"missing, {len(found.missing)} files that a DICOMDIR lists:"]
        lines += [f"    {path}" for path in found.missing[:MISSING_SHOWN]]
        lines += ["    ..."] * (len(found.missing) > MISSING_SHOWN)
    if found.skipped:
        lines += ["", "skipped:"]
        lines += [f"    {file.path}: {file.reason}" for file in found.skipped]
    return "\n".join(map(_printable, lines))


def _printable(line: str) -> str:
    """Replace what would steer the terminal or can't be written to it: names and descriptions come from anywhere."""
    return "".join(character if character.isprintable() else "?" for character in line)


def _series_lines(series: Series, width: int) -> list[str]:
    number = "-" if series.series_number is None else series.series_number
    what = f"{series.kind:{width}}  {series.modality or '-':4} {len(series.paths):5} files"
    lines = [f"series {number:>6}  {what}  {series.description}".rstrip(), f"    uid {series.uid}"]
    lines += [_volume_line(plan) for plan in series.volumes[:VOLUMES_SHOWN]]
    if len(series.volumes) > VOLUMES_SHOWN:
        lines.append(f"    ... {len(series.volumes) - VOLUMES_SHOWN} more volumes")
    if series.reason:
        lines.append(f"    no volume: {series.reason}")
    return [*lines, *(f"    note: {warning}" for warning in series.warnings)]


def _label_lines(described: Mapping[str, Any]) -> list[str]:
    if "reason" in described:
        return [f"    labels can't be read: {described['reason']}"]
    lines = [f"    labels of series {uid}" for uid in described["referenced_series"] or ["(not said)"]]
    for segment in described["segments"]:
        sizes = [f"{segment[key]} {key}" for key in ("contours", "voxels") if segment.get(key) is not None] + [
            f"{ml:.3f} ml" for ml in [segment["ml"]] if ml is not None
        ]
        lines.append(f"    segment {segment['number']}: {segment['name']}, {', '.join(sizes)}")
    return [*lines, *(f"    note: {warning}" for warning in described["warnings"])]


def _volume_line(plan: VolumePlan) -> str:
    shape = " x ".join(str(n) for n in plan.shape[::-1])
    spacing = " x ".join(f"{mm:.3f}" for mm in plan.geometry.spacing_mm)
    phase = "".join(f", {name} {value}" for name, value in plan.info.extra.items())
    units = plan.info.units or "no unit"
    return f"    volume {plan.info.volume_index}: {shape}, {spacing} mm, {units}{phase}, id {plan.id}"

"""``voxelcast inspect``: what is below a path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from render.commands.progress import Progress


@click.command("inspect", help="Say what is below PATH: series, volumes, what is refused and why.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON on stdout.")
def command(path: Path, as_json: bool) -> None:
    """Scan a path and print what was found; nothing printed identifies a patient."""
    from render.dicom.source import scan

    progress = Progress()
    found = scan(path, progress=lambda done, total: progress("reading headers", done, total))
    progress.close()
    report = found.to_json()
    click.echo(json.dumps(report, indent=2) if as_json else _table(report))


def _table(report: dict[str, Any]) -> str:
    lines = [f"{report['files']} files, {len(report['series'])} series, {len(report['skipped'])} skipped", ""]
    kind_width = max((len(series["kind"]) for series in report["series"]), default=0)
    for series in report["series"]:
        number = "-" if series["series_number"] is None else series["series_number"]
        what = f"{series['kind']:{kind_width}}  {series['modality'] or '-':4} {series['files']:5} files"
        lines += [f"series {number:>6}  {what}  {series['description']}".rstrip(), f"    uid {series['uid']}"]
        for volume in series["volumes"]:
            shape = " x ".join(str(n) for n in volume["shape"][::-1])
            spacing = " x ".join(f"{mm:.3f}" for mm in volume["spacing_mm"])
            units = volume["units"] or "no unit"
            lines.append(f"    volume {volume['index']}: {shape}, {spacing} mm, {units}, id {volume['id']}")
        if series["reason"]:
            lines.append(f"    refused: {series['reason']}")
        lines += [f"    note: {warning}" for warning in series["warnings"]]
    if report["skipped"]:
        lines += ["", "skipped:"]
        lines += [f"    {skipped['path']}: {skipped['reason']}" for skipped in report["skipped"]]
    return "\n".join(lines)

"""The table of all shared series, as docs/real-series.md has it: ``python -m tests.dicom.table FOLDER > ...``."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from render.dicom.plan import VolumePlan
from render.dicom.series import Series
from render.dicom.source import Scan, scan

LONGEST_CELL = 400

HEAD = """\
# Real series

What `voxelcast inspect` says of every folder of the real series that the tests run on, written by a test that fails
when it is not what is committed. To write it anew: `python -m tests.dicom.table FOLDER > docs/real-series.md`.

Shapes are columns x rows x slices. A volume that is one of several is named by what tells it from the others.
"""

AGAINST_THE_FACTS = """\
## Read against the facts of each folder

All else agrees with the README of its folder. These do not, and are faults there or matters of words:

- `ct_gantry_tilt_philips_media`: spacing along the normal is 2.371 mm, where the table step of 2.5 mm is oblique to
  it: both are right. The nested DIRFILEs list the same images as the DICOMDIR, so nothing is missing twice.
- `odd_and_broken_series`: "6 files on 4 positions" is a folder of 2 files on 2 positions here
  (`d2n_too_few_and_duplicates`). `no_preamble_dicm_in_data` ends at byte 862, before any pixels.
- `odd_and_broken_series/d2n_siemens_mosaic`: 50 slices by the protocol, whose centres are those of the tiles to
  1 micrometre. The artificial pixels fill all 64 tiles, and dcm2niix guesses 64.
- `odd_and_broken_series/fo_dicom/GH177...`: one of the two can't be read, as stated.
- `odd_and_broken_series/fo_dicom/GH1339.dcm` is not unreadable, nor is `..._jpeg_2k_lossless_too_short.dcm` in
  `enhanced_multiframe`: they lack only the delimiter after the last fragment, for want of which pydicom finds no data
  set. All pixels are there; those of the latter equal the other encodings' to the bit.
- `odd_and_broken_series/fo_dicom/charset/chrSQEncoding*.dcm` and `pydicom_test_files/{UN_sequence,priv_SQ}.dcm` hold
  a few elements of a header and never were images: they are skipped as incomplete.
- `pydicom_test_files/no_meta.dcm` begins one byte before its data set: no reader finds an element in it.
- `pydicom_test_files/dicomdirtests`: the four CT images of one series lie 1.2 to 202.5 mm apart, two pairs: no stack.
- `nifti/volumes/pval.LH.nii.gz` is 27307 x 1 x 6 on disk, the 163,842 points of a surface.
"""


def render_table(root: Path) -> str:
    """Return the page for all folders below `root`."""
    lines = [HEAD]
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        lines += [*_folder(folder.name, scan(folder)), ""]
    return "\n".join([*lines, AGAINST_THE_FACTS])


def _folder(name: str, found: Scan) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    yield f"{found.files} files, {len(found.series)} series, {len(found.skipped)} skipped."
    yield ""
    yield "| where | files | series | volumes | notes and refusals |"
    yield "| --- | --- | --- | --- | --- |"
    for series in sorted(found.series, key=lambda series: series.paths):
        what = " ".join(filter(None, (series.kind, series.modality)))
        said = [*([f"no volume: {series.reason}"] if series.reason else []), *series.warnings]
        yield f"| {_where(series)} | {len(series.paths)} | {what} | {_volumes(series)} | {_cell('; '.join(said))} |"
    if found.skipped:
        yield ""
        yield "| skipped | reason |"
        yield "| --- | --- |"
        for where, reason in _skipped(found):
            yield f"| {where} | {_cell(reason)} |"
    if found.missing:
        yield ""
        yield f"Missing, and listed in a DICOMDIR: {len(found.missing)} files, the first `{found.missing[0]}`."


def _where(series: Series) -> str:
    if len(series.paths) == 1:
        return _path(series.paths[0])
    folders = {str(PurePosixPath(path).parent) for path in series.paths}
    return ", ".join(_path(folder + "/") for folder in sorted(folders)[:3]) + (", ..." if len(folders) > 3 else "")


def _path(path: str) -> str:
    # UIDs as names fill the page and tell nothing.
    parts = [part if len(part) <= 48 else part[:22] + "..." + part[-12:] for part in path.split("/")]
    return f"`{'/'.join(parts)}`"


def _volumes(series: Series) -> str:
    counts: Counter[str] = Counter()
    names: dict[str, list[str]] = defaultdict(list)
    for plan in series.volumes:
        counts[_volume(plan)] += 1
        names[_volume(plan)].append(" ".join(f"{name} {value}" for name, value in plan.info.extra.items()))
    cells = []
    for volume, count in counts.items():
        labels = [name for name in names[volume] if name]
        named = f" ({labels[0]} to {labels[-1]})" if len(labels) > 1 else f" ({labels[0]})" if labels else ""
        cells.append((f"{count} of " if count > 1 else "") + volume + named)
    return "; ".join(cells)


def _volume(plan: VolumePlan) -> str:
    shape = " x ".join(str(n) for n in plan.shape[::-1])
    spacing = " x ".join(f"{mm:.3f}" for mm in plan.geometry.spacing_mm)
    sheared = ", sheared" if plan.geometry.is_sheared else ""
    return f"{shape}, {spacing} mm{sheared}, {plan.info.units or 'no unit'}"


def _skipped(found: Scan) -> Iterable[tuple[str, str]]:
    """Yield files by reason: those of one reason together."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for file in found.skipped:
        by_reason[file.reason].append(file.path)
    for reason, paths in by_reason.items():
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        yield ", ".join(map(_path, paths[:3])) + more, reason


def _cell(text: str) -> str:
    text = text.replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= LONGEST_CELL else text[:LONGEST_CELL] + "..."


if __name__ == "__main__":
    sys.stdout.write(render_table(Path(sys.argv[1])))

"""Real files, damaged in every way that has been thought of: ``python -m tests.dicom.fuzz FOLDER [COUNT] [SECONDS]``.

Each is scanned in this process, loaded by a worker, shown as a picture and read as labels where it may hold some.
Whatever is in it, there are typed errors only, the scan's
process does not die, and no memory is taken for a length that lies. A codec may take a worker with it: that is a
CodecError, and counted.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from render.dicom.header import quiet_pydicom
from render.dicom.ingest import Ingest
from render.dicom.instance import Instance
from render.dicom.kinds import special_kind
from render.dicom.reading import read_header
from render.dicom.source import scan
from render.errors import VoxelcastError
from render.geometry import VolumeGeometry
from render.volume import VolumeInfo

LARGEST_SOURCE_BYTES = 600_000
HEADER_BYTES = 6000
LARGEST_VOLUME_BYTES = 64 << 20
"""Loaded at most: what a file can have is told by its own bytes, so nothing larger comes of the small ones here."""

LYING_LENGTHS = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\xff\xff", b"\xfe\xff\xff\xff")
ROWS, COLUMNS, FRAMES = b"\x28\x00\x10\x00", b"\x28\x00\x11\x00", b"\x28\x00\x08\x00"
NESTED = b"\x55\x00\x00\x10SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"


def sources(folder: Path) -> list[Path]:
    """Return the files that are small enough to be damaged many times over."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".md", ".txt"))
    return sorted(path for path in found if path.stat().st_size < LARGEST_SOURCE_BYTES)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return a damaged copy: flipped bits, an early end, lengths that lie, a huge image, deep sequences, a shift."""
    data = bytearray(content)
    head = min(len(data), HEADER_BYTES)
    how = chance.randrange(7) if head > 8 else 1
    if how in (0, 6):
        # Within the header, or anywhere: mostly in the pixels, so that codecs see damage too.
        reach = head if how == 0 else len(data)
        for _ in range(chance.randrange(1, 30)):
            data[chance.randrange(reach)] ^= 1 << chance.randrange(8)
    elif how == 1:
        del data[chance.randrange(len(data) + 1) :]
    elif how == 2:
        for _ in range(chance.randrange(1, 4)):
            at, length = chance.randrange(head - 4), chance.choice(LYING_LENGTHS)
            data[at : at + len(length)] = length
    elif how == 3:
        for element, value in ((ROWS, b"\xff\xff"), (COLUMNS, b"\xff\xff"), (FRAMES, b"99")):
            if (at := data.find(element)) > 0 and chance.random() < 0.8:
                data[at + 8 : at + 10] = value
    elif how == 4:
        at = max(data.find(ROWS), 0)
        data[at:at] = NESTED * chance.choice((5, 100, 3000))
    else:
        at, start = chance.randrange(head), chance.randrange(head)
        data[at:at] = data[start : start + chance.randrange(400)]
    return bytes(data)


def run(files: Sequence[Path], count: int, seconds: float, seed: int, ingest: Ingest) -> Counter[str]:
    """Damage, scan and load files until there are `count` or the time is over; return how they ended.

    Raises
    ------
    Exception
        Anything but a typed error: the file's name, the seed and the number are in its notes.
    """
    chance = random.Random(seed)
    ends: Counter[str] = Counter()
    until = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "damaged")
        for n in range(count):
            if time.monotonic() > until:
                break
            source = chance.choice(files)
            path.write_bytes(damaged(source.read_bytes(), chance))
            ends["files"] += 1
            try:
                ends[_end(path, ingest)] += 1
                for end in _object_ends(path, ingest):
                    ends[end] += 1
            except Exception as error:
                error.add_note(f"{source.name}, seed {seed}, file {n}")
                raise
    return ends


def _end(path: Path, ingest: Ingest) -> str:
    try:
        found = scan(path)
        json.dumps(found.to_json())
        accounted = len(found.skipped) + sum(len(series.paths) for series in found.series)
        if accounted != found.files:
            raise AssertionError(f"{accounted} of {found.files} files accounted for")
        if not found.volumes:
            return "refused"
        plan = found.volumes[0]
        if plan.estimated_bytes > LARGEST_VOLUME_BYTES:
            raise AssertionError(f"a volume of {plan.estimated_bytes:,} bytes from {path.stat().st_size:,}")
        ingest.load(plan)
    except VoxelcastError as error:
        return _name(error)
    return "loaded"


def _name(error: VoxelcastError) -> str:
    if error.message.startswith("ingest failed"):  # what a worker makes of an error that is not typed
        raise AssertionError(error.message)
    return "a worker died" if "decoder died" in error.message else type(error).__name__


def _object_ends(path: Path, ingest: Ingest) -> Iterator[str]:
    """Show the file's first and last frame and read its labels, whatever the scan made of it."""
    with quiet_pydicom():
        header = read_header(path.parent, path.name)
    if not isinstance(header, Instance):
        return
    kind = special_kind(header)
    tasks: list[tuple[str, Callable[[], object]]] = []
    if header.format is not None:
        numbers = sorted({1, max(header.number_of_frames, 1)})
        tasks += [("picture", partial(ingest.picture, path.parent, header, number)) for number in numbers]
    if kind == "segmentation":
        tasks.append(("labels", partial(ingest.segmentation, path.parent, header)))
    if kind == "rtstruct":
        tasks.append(("labels", partial(ingest.structures, path.parent, header, _Plan())))
    for name, task in tasks:
        try:
            task()
        except VoxelcastError as error:
            yield f"{name}: {_name(error)}"
        else:
            yield name


class _Plan:
    """A volume that contours might have been drawn on: that of a thorax."""

    geometry = VolumeGeometry.from_axes((16, 64, 64), (-250, -480, -640), (8, 0, 0), (0, 8, 0), (0, 0, 16))
    info = VolumeInfo()


if __name__ == "__main__":
    folder, count, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    with Ingest() as ingest:
        ends = run(sources(folder), count, seconds, int(time.time()), ingest)
    own, workers = (resource.getrusage(who).ru_maxrss >> 10 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    counts = ", ".join(f"{name} {number:,}" for name, number in ends.most_common())
    print(f"{counts}; peak {own} MB, of a worker {workers} MB")

"""Frames within encapsulated pixel data (PS3.5 A.4): by offset table where there is one, else by their fragments.

An Extended Offset Table needs no reading: where there is one, each frame is one fragment (PS3.5 A.4).
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from typing import BinaryIO
from weakref import WeakKeyDictionary

from render.dicom.extent import PixelExtent

_ITEM = (0xFFFE, 0xE000)
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP")
"""How a codestream begins: JPEG and JPEG-LS, JPEG 2000, JPEG 2000 within JP2 boxes."""


@dataclass(frozen=True, slots=True)
class _Fragment:
    """Where a fragment's bytes lie in the file."""

    at: int
    length: int


class FrameIndexError(ValueError):
    """Fragments can't be assigned to frames: the counts."""


_indexes: WeakKeyDictionary[BinaryIO, tuple[PixelExtent, int, list[list[_Fragment]]]] = WeakKeyDictionary()
"""Of files that are open now, so that a file's fragments are walked once and not for each frame."""


def read_frame(file: BinaryIO, extent: PixelExtent, frames: int, index: int) -> bytes:
    """Return the codestream of frame `index`, from 0.

    Raises
    ------
    FrameIndexError
        If it can't be told which fragments belong to the frame.
    """
    known = _indexes.get(file)
    if known is None or known[:2] != (extent, frames):
        known = _indexes[file] = extent, frames, _index(file, extent, frames)
    parts = []
    for fragment in known[2][index]:
        file.seek(fragment.at)
        parts.append(file.read(fragment.length))
    return b"".join(parts)


def _index(file: BinaryIO, extent: PixelExtent, frames: int) -> list[list[_Fragment]]:
    file.seek(extent.offset)
    _, _, table_length = struct.unpack("<HHL", file.read(8))
    # Of a table that is longer than one offset a frame, nothing is asked.
    table = file.read(table_length) if table_length == 4 * frames else b""
    first = extent.offset + 8 + table_length
    fragments = _walk(file, first, extent.fragments)
    if frames == 1:
        return [fragments]
    if len(fragments) == frames:
        return [[fragment] for fragment in fragments]
    starts = {fragment.at - 8 - first: n for n, fragment in enumerate(fragments)}
    offsets = struct.unpack(f"<{len(table) // 4}L", table)
    begins = [starts.get(offset, -1) for offset in offsets]
    if not begins or begins[0] != 0 or any(a >= b for a, b in itertools.pairwise(begins)):
        begins = [n for n, fragment in enumerate(fragments) if _begins_image(file, fragment)]
    if len(begins) != frames or begins[0] != 0:
        raise FrameIndexError(f"{len(fragments)} fragments for {frames} frames, and no offset table that fits")
    return [fragments[a:b] for a, b in zip(begins, [*begins[1:], len(fragments)], strict=True)]


def _walk(file: BinaryIO, at: int, count: int) -> list[_Fragment]:
    fragments = []
    for _ in range(count):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or struct.unpack_from("<HH", head) != _ITEM:
            raise FrameIndexError(f"no fragment at byte {at:,}")
        length = struct.unpack_from("<L", head, 4)[0]
        fragments.append(_Fragment(at + 8, length))
        at += 8 + length
    return fragments


def _begins_image(file: BinaryIO, fragment: _Fragment) -> bool:
    file.seek(fragment.at)
    return file.read(6).startswith(_STARTS)

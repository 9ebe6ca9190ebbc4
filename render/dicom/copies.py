"""Files that share a SOP Instance UID: copies of one image, or images that only claim to be the same.

Copies hold the same pixels with the same meaning; each image is used once. Whatever else shares a UID is kept, since
nothing tells which of them is the right one.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from render.dicom.access import PixelFiles
from render.dicom.extent import PixelExtent
from render.dicom.instance import Instance
from render.errors import UnreadableFileError

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Distinct:
    """Images of a series without copies.

    Attributes
    ----------
    images
        In the order that they were given in.
    copies
        How many were left out.
    contradicting
        How many of those kept have another's UID and place, but not its content.
    elsewhere
        How many of those kept have another's UID, and lie elsewhere.
    """

    images: tuple[Instance, ...]
    copies: int
    contradicting: int
    elsewhere: int


def without_copies(root: Path, images: Sequence[Instance]) -> Distinct:
    """Leave out all but the first of equal images. Only files that share a UID, and so far seem equal, are read."""
    same_uid: dict[str, list[Instance]] = defaultdict(list)
    for instance in images:
        same_uid[instance.sop_instance_uid].append(instance)
    left_out: set[str] = set()
    contradicting = elsewhere = 0
    for uid, members in same_uid.items():
        if not uid or len(members) == 1:
            continue
        places: set[Hashable] = set()
        for kept in _first_of_each(root, members, left_out):
            place = tuple((frame.position_mm, frame.orientation) for frame in kept.frames[:1])
            contradicting += place in places
            elsewhere += bool(places) and place not in places
            places.add(place)
    kept_images = tuple(instance for instance in images if instance.path not in left_out)
    return Distinct(kept_images, len(left_out), contradicting, elsewhere)


def _first_of_each(root: Path, members: Sequence[Instance], left_out: set[str]) -> list[Instance]:
    """Return the first of each content; the paths of the others go to `left_out`."""
    alike: dict[Hashable, list[Instance]] = defaultdict(list)
    for instance in members:
        alike[_header_of(instance)].append(instance)
    firsts = []
    for candidates in alike.values():
        if len(candidates) == 1:
            firsts += candidates
            continue
        seen: set[bytes] = set()
        with PixelFiles(root) as files:
            for instance in candidates:
                digest = _digest(files, instance)
                if digest is not None and digest in seen:
                    left_out.add(instance.path)
                    continue
                firsts.append(instance)
                if digest is not None:
                    seen.add(digest)
    return firsts


def _header_of(instance: Instance) -> Instance:
    """Return all that is known of an image but where it is stored."""
    extent = instance.extent
    return replace(
        instance,
        path="",
        size_bytes=0,
        modified_ns=0,
        extent=extent and PixelExtent(0, extent.length, extent.fragments),
    )


def _digest(files: PixelFiles, instance: Instance) -> bytes | None:
    """Hash the stored pixels; None where they can't be read, which is no proof of being equal to anything."""
    extent = instance.extent
    assert extent is not None
    try:
        file = files.open(instance)
        file.seek(extent.offset)
        content, left = hashlib.blake2b(digest_size=32), extent.length
        while block := file.read(_BLOCK_BYTES if left is None else min(_BLOCK_BYTES, left)):
            content.update(block)
            left = None if left is None else left - len(block)
    except (UnreadableFileError, OSError):
        return None
    return content.digest()

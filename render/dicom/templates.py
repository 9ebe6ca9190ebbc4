"""Headers of one series differ in a few elements: these are read of each file, the rest is known from an earlier one.

A template is an instance that was read in full, found again by the bytes of all elements that a scan reads but those
few. Only values that are written plainly are taken this way, and a file is a template only if it gives its own
instance again; whatever is not so is read in full.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import replace
from typing import TypeAlias

from pydicom.datadict import dictionary_VR
from pydicom.tag import Tag

from render.dicom.access import Stamp
from render.dicom.attributes import LARGEST_LENGTH_MM
from render.dicom.extent import PixelExtent
from render.dicom.frames import Floats
from render.dicom.instance import Instance
from render.dicom.mosaic import is_mosaic
from render.dicom.quickheader import QuickHeader

MOST_TEMPLATES = 256
"""Kept at a time: more than a study has series, echoes and b-values together."""

LARGEST_TEMPLATE_BYTES = 32 << 10
"""Of the elements by which one is found."""

_PHASE_KEYWORDS = ("AcquisitionNumber", "AcquisitionTime", "ContentTime", "TriggerTime")

_OWN = {
    int(tag): (keyword, dictionary_VR(tag))
    for keyword in (
        "SOPInstanceUID",
        "InstanceNumber",
        "ImagePositionPatient",
        "WindowCenter",
        "WindowWidth",
        *_PHASE_KEYWORDS,
    )
    for tag in (Tag(keyword),)
}
"""What differs from slice to slice: keyword and VR, by tag. SUV needs some of it, so that PET has no templates."""

_META_OF_FILE = frozenset({0x00020000, 0x00020003})
"""The group's length and the SOP Instance UID, which counts only where the data set has none."""

_DECIMAL = rb" *-?[0-9]{1,20}(?:\.[0-9]{0,20})?(?:[eE][-+]?[0-9]{1,2})? *"
_PLAIN = {
    "UI": re.compile(rb"[0-9.]{1,64}\0?"),
    "IS": re.compile(rb" *(?:0|-?[1-9][0-9]{0,8}) *"),
    "DS": re.compile(_DECIMAL + rb"(?:\\" + _DECIMAL + rb"){0,15}"),
    "TM": re.compile(rb"[0-9]{2,6}(?:\.[0-9]{1,6})? ?"),
}
"""Values that have one meaning, whoever reads them."""

Key: TypeAlias = Hashable


class Templates:
    """Instances by the elements that other files of their series share with them."""

    def __init__(self) -> None:
        self._instances: dict[Key, Instance] = {}

    def find(self, header: QuickHeader) -> Instance | None:
        """Return an instance whose header says the same but for what differs from slice to slice."""
        return self._instances.get(_key(header))

    def keep(self, header: QuickHeader, instance: Instance) -> None:
        """Let an instance that was read in full be a template, if it is one that can be."""
        extent = instance.extent
        if (
            extent is None
            or instance.defect
            or instance.number_of_frames != 1
            or len(instance.frames) != 1
            or instance.pet is not None
            or is_mosaic(instance.image_type)
            or sum(len(value) for _, value in header.elements.values()) > LARGEST_TEMPLATE_BYTES
        ):
            return
        stamp = Stamp(instance.size_bytes, instance.modified_ns)
        if instance_like(instance, header, instance.path, stamp, extent) != instance:
            return
        if len(self._instances) >= MOST_TEMPLATES:
            self._instances.clear()
        self._instances[_key(header)] = instance


def _key(header: QuickHeader) -> Key:
    """Return all that must be equal: tags, VRs and values, of those in `_OWN` whether they have a value at all."""
    return (
        header.implicit,
        tuple((tag, vr) if tag in _OWN and value else (tag, vr, value) for tag, (vr, value) in header.elements.items()),
        tuple((tag, value) for tag, value in header.meta.items() if tag not in _META_OF_FILE),
    )


def instance_like(
    template: Instance, header: QuickHeader, relative: str, stamp: Stamp, extent: PixelExtent
) -> Instance | None:
    """Return a file's instance, as reading it in full gives it.

    Parameters
    ----------
    template
        As `Templates.find` gives it for `header`.
    relative, stamp, extent
        The file's own.

    Returns
    -------
    Instance or None
        None if one of its own values is not written plainly.
    """
    own: dict[str, bytes] = {}
    for tag, (keyword, expected) in _OWN.items():
        if tag in header.elements:
            vr, value = header.elements[tag]
            if value:
                if vr not in ("", expected) or not _PLAIN[expected].fullmatch(value):
                    return None
                own[keyword] = value
    position = _floats(own.get("ImagePositionPatient"))
    if "SOPInstanceUID" not in own or (
        position and (len(position) != 3 or max(map(abs, position)) > LARGEST_LENGTH_MM)
    ):
        return None
    frame = template.frames[0]
    centers, widths = _floats(own.get("WindowCenter")), _floats(own.get("WindowWidth"))
    if not len(centers) == len(widths) == len(frame.windows):
        return None
    phase = {name: own[name].decode("ascii").strip(" ") for name in _PHASE_KEYWORDS if name in own}
    return replace(
        template,
        path=relative,
        size_bytes=stamp.size_bytes,
        modified_ns=stamp.modified_ns,
        sop_instance_uid=own["SOPInstanceUID"].decode("ascii").rstrip("\0"),
        instance_number=int(own["InstanceNumber"]) if "InstanceNumber" in own else None,
        extent=extent,
        frames=(
            replace(
                frame,
                position_mm=position or None,
                windows=tuple(
                    (center, width, function, explanation)
                    for center, width, (_, _, function, explanation) in zip(centers, widths, frame.windows, strict=True)
                ),
                phase=tuple((name, phase.get(name, value)) for name, value in frame.phase),
            ),
        ),
    )


def _floats(value: bytes | None) -> Floats:
    return tuple(map(float, value.split(b"\\"))) if value else ()

"""What a series is when it is no volume, told from its SOP Class."""

from __future__ import annotations

from pydicom import config
from pydicom.uid import UID

from render.dicom.colour import PALETTE, RGB_AND_YBR
from render.dicom.dose import RT_DOSE
from render.dicom.instance import Instance

_STORAGE = "1.2.840.10008.5.1.4.1.1."

_RT_IMAGE = _STORAGE + "481.1"

_KINDS = (
    # (SOP Class UID or, with a trailing dot, its start; kind). The first that matches counts.
    (_STORAGE + "66.4", "segmentation"),
    (_STORAGE + "66.7", "segmentation"),
    (_STORAGE + "66.5", "segmentation"),
    (_STORAGE + "66.6", "tractography"),
    (_STORAGE + "66.", "registration"),
    (_STORAGE + "67", "real_world_value_mapping"),
    (RT_DOSE, "rtdose"),
    (_STORAGE + "481.3", "rtstruct"),
    (_STORAGE + "481.5", "rtplan"),
    (_STORAGE + "481.", "radiotherapy"),
    (_STORAGE + "88.", "document"),
    (_STORAGE + "104.", "document"),
    (_STORAGE + "11.", "presentation"),
    (_STORAGE + "9.", "waveform"),
    (_STORAGE + "91.1", "annotation"),
    (_STORAGE + "77.1.6", "microscopy"),
)


_NEW_CLASSES = {_STORAGE + "66.7": "Label Map Segmentation Storage"}
"""SOP Classes that pydicom does not know by name yet."""


def special_kind(instance: Instance) -> str:
    """Return the kind of an object that is never a plain image or stack, or an empty string."""
    if instance.sop_class_uid in (RT_DOSE, _RT_IMAGE) and (instance.format is not None or instance.defect):
        return ""  # planes of dose are a volume like others, and a portal image is an image
    for uid, kind in _KINDS:
        if instance.sop_class_uid == uid or (uid.endswith(".") and instance.sop_class_uid.startswith(uid)):
            return kind
    return "" if instance.format is not None or instance.defect else "other"


def special_reason(instance: Instance) -> str:
    """Say why an object of a special kind is not shown."""
    # Not validated: a broken UID is said as it stands, not warned of.
    uid = UID(instance.sop_class_uid, validation_mode=config.IGNORE)
    name = _NEW_CLASSES.get(uid, uid.name) if uid else "no SOP Class UID"
    if special_kind(instance) == "microscopy":
        return f"{name}: tiles of a slide, which are not put together"
    return f"{name}: not an image or a stack of images" if instance.format else f"{name}: holds no pixels"


def refused_kind(instance: Instance) -> str:
    """Return the kind of an image that is not shown as a volume: cine, image or other."""
    pixels = instance.format
    if instance.defect or pixels is None or not pixels.is_color:
        return "other"
    is_cine = any(name == "Frame" for frame in instance.frames[:1] for name, _ in frame.phase)
    return "cine" if is_cine else "image"


def refusal(instance: Instance) -> str:
    """Say why an image can't be a slice, or return an empty string."""
    pixels = instance.format
    if instance.defect:
        return instance.defect
    if pixels is None:
        return "no pixels"
    if pixels.is_color:
        if pixels.element != "PixelData" or pixels.bits_allocated not in (8, 16, 32):
            return f"{pixels.photometric} of {pixels.bits_allocated} bits in {pixels.element}: no colour that is known"
        known = PALETTE if pixels.samples == 1 else RGB_AND_YBR if pixels.samples == 3 else ()
        if pixels.photometric not in known:
            return f"{pixels.photometric}, {pixels.samples} samples a pixel: no colour that is known"
    return ""

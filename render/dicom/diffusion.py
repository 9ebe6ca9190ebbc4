"""The b-value of classic MR images, which older software has in private attributes only."""

from __future__ import annotations

import math
import struct

from pydicom.dataset import Dataset

_PRIVATE = (
    # (private creator's tag and what it must say, the b-value's tag)
    (0x00190010, "SIEMENS MR HEADER", 0x0019100C),
    (0x20010010, "Philips Imaging DD 001", 0x20011003),
    (0x00430010, "GEMS_PARM_01", 0x00431039),
)

DIFFUSION_TAGS = tuple(tag for creator, _, value in _PRIVATE for tag in (creator, value))

_GE_OFFSET = 1e9  # GE adds this to the b-values of some directions


def private_b_value(dataset: Dataset) -> str:
    """Return the b-value in s/mm2 as text, or an empty string where no known private attribute has one."""
    for creator, name, tag in _PRIVATE:
        if creator in dataset and tag in dataset and str(dataset[creator].value).strip() == name:
            value = _number(dataset[tag].value)
            if value is not None and value >= 0:
                return f"{value % _GE_OFFSET:g}"
    return ""


def _number(value: object) -> float | None:
    if isinstance(value, list | tuple) or (hasattr(value, "__iter__") and not isinstance(value, str | bytes)):
        value = next(iter(value), None)
    if isinstance(value, bytes) and len(value) == 4 and not value.strip(b" \0").isdigit():
        (value,) = struct.unpack("<f", value)  # Philips's FL, read as unknown
    try:
        text = value.decode("ascii") if isinstance(value, bytes) else str(value)
        number = float(text.split("\\")[0].strip(" \0"))
    except (ValueError, UnicodeDecodeError):
        return None
    return number if math.isfinite(number) else None

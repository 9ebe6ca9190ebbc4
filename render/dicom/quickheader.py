"""The header of a plain little endian file, read several times faster than pydicom does.

A scan reads thousands of headers, most of whose elements are skipped or say the same in each. One pass over the bytes
finds the few that are wanted; what was converted once is not converted again. Whatever is not plain (undefined
lengths in what is wanted, a truncated element, another encoding) is left to pydicom, which then also says what is
wrong: this reader never raises and never guesses.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from render.dicom.attributes import HEADER_TAGS

FIRST_BYTES = 32 << 10
"""Read first; most headers end within it."""

LARGEST_HEADER_BYTES = 1 << 20
"""Headers that do not end within this are left to pydicom: those of multi-frame objects."""

_META_START = 132
_CHARACTER_SET = 0x00080005
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_WANTED = frozenset({int(tag) for tag in HEADER_TAGS} | {_CHARACTER_SET})
_LONG_FORM = {vr.encode(): vr for vr in ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")}
_SHORT_FORM = {vr.encode(): vr for vr in "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()}
_CACHED = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI", "US", "SS", "UL", "FL", "FD"})
_CACHED_BYTES = 256
_CACHED_ELEMENTS = 16_384
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DEEPEST = 16

Elements: TypeAlias = dict[int, tuple[str, bytes]]
"""VR, empty in an implicit data set, and value of each element, by tag."""

_tag_and_length = struct.Struct("<HHL").unpack_from
_explicit = struct.Struct("<HH2sH").unpack_from
_long = struct.Struct("<L").unpack_from


class _NotPlainError(Exception):
    """To be read by pydicom."""


@dataclass(frozen=True, slots=True)
class QuickHeader:
    """What a scan wants of a plain file, as it stands there.

    Attributes
    ----------
    meta
        All file meta information.
    elements
        Those of the data set that are wanted, ascending.
    implicit
        Whether the data set's VRs are implicit.
    pixels_at
        Where the pixel element begins, bytes.
    """

    meta: Elements
    elements: Elements
    implicit: bool
    pixels_at: int

    def dataset(self) -> FileDataset | None:
        """Return it as ``pydicom.dcmread`` gives it with the same elements; None if a value can't be converted."""
        character_set = self.elements[_CHARACTER_SET][1] if _CHARACTER_SET in self.elements else b""
        try:
            meta = {BaseTag(tag): _element(tag, vr, value, False, b"") for tag, (vr, value) in self.meta.items()}
            elements = {
                BaseTag(tag): _element(tag, vr, value, self.implicit, character_set)
                for tag, (vr, value) in self.elements.items()
            }
        except (ValueError, TypeError, AttributeError, NotImplementedError, LookupError):
            return None
        dataset = FileDataset(
            "",
            elements,
            file_meta=FileMetaDataset(meta),
            is_implicit_VR=self.implicit,
            is_little_endian=True,
        )
        dataset.set_original_encoding(self.implicit, True)
        return dataset


def read_quickly(file: BinaryIO) -> QuickHeader | None:
    """Read the elements that a scan wants.

    Parameters
    ----------
    file
        With a preamble and file meta information, standing at its start; afterwards it stands anywhere.

    Returns
    -------
    QuickHeader or None
        None if the file is not plain.
    """
    data = file.read(FIRST_BYTES)
    while True:
        is_whole = len(data) < FIRST_BYTES
        try:
            return _read(data)
        except (_NotPlainError, struct.error, IndexError):
            # Perhaps the header goes on beyond what was read.
            if is_whole or len(data) >= LARGEST_HEADER_BYTES:
                return None
        more = file.read(len(data) * 3)
        if not more:
            return None
        data += more


def _read(data: bytes) -> QuickHeader:
    meta, at, _ = _elements(data, _META_START, implicit=False, group=2)
    syntax = _text(meta, 0x00020010)
    if not syntax or syntax in (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian):
        raise _NotPlainError
    implicit = syntax == ImplicitVRLittleEndian
    looks_explicit = data[at + 4 : at + 6].isalpha() and data[at + 4 : at + 6].isupper()
    if implicit == looks_explicit:
        raise _NotPlainError
    found, at, has_pixels = _elements(data, at, implicit=implicit, group=None)
    if not has_pixels:
        raise _NotPlainError  # an object without pixels, or one that is cut: not worth a second way
    return QuickHeader(meta, found, implicit, at)


def _text(elements: Elements, tag: int) -> str:
    return elements[tag][1].decode("ascii", "replace").strip(" \0") if tag in elements else ""


def _elements(data: bytes, at: int, *, implicit: bool, group: int | None) -> tuple[Elements, int, bool]:
    """Walk over elements up to the pixels, or to the end of a group.

    Returns
    -------
    found
        VR and value of those wanted; all of a group.
    at
        Where the next element begins.
    has_pixels
        Whether that is the pixel element.
    """
    found: Elements = {}
    size = len(data)
    before = 0
    while True:
        high, low, vr_bytes, short = _explicit(data, at)
        tag = high << 16 | low
        if group is not None and high != group:
            return found, at, False
        if tag in _PIXELS:
            return found, at, True
        if tag <= before:
            raise _NotPlainError  # elements ascend: this is no data set, or not where it is looked for
        before = tag
        if implicit:
            vr, length, start = "", _long(data, at + 4)[0], at + 8
        elif vr_bytes in _SHORT_FORM:
            vr, length, start = _SHORT_FORM[vr_bytes], short, at + 8
        elif vr_bytes in _LONG_FORM:
            vr, length, start = _LONG_FORM[vr_bytes], _long(data, at + 8)[0], at + 12
        else:
            raise _NotPlainError
        is_wanted = group is not None or tag in _WANTED
        if length == _UNDEFINED:
            # Of unknown VR it is an implicit sequence, whatever the syntax (PS3.5 6.2.2).
            if is_wanted or vr not in ("SQ", "UN", ""):
                raise _NotPlainError
            at = _after_sequence(data, start, implicit or vr == "UN", 0)
            continue
        at = start + length
        if at > size:
            raise _NotPlainError
        if is_wanted:
            found[tag] = (vr, data[start:at])


def _after_sequence(data: bytes, at: int, implicit: bool, depth: int) -> int:
    """Return where the sequence of undefined length whose items begin at `at` ends."""
    if depth > _DEEPEST:
        raise _NotPlainError
    while True:
        high, low, length = _tag_and_length(data, at)
        tag = high << 16 | low
        at += 8
        if tag == _SEQUENCE_END:
            return at
        if tag != _ITEM:
            raise _NotPlainError
        at = at + length if length != _UNDEFINED else _after_item(data, at, implicit, depth)


def _after_item(data: bytes, at: int, implicit: bool, depth: int) -> int:
    while True:
        high, low, vr, short = _explicit(data, at)
        tag = high << 16 | low
        if tag == _ITEM_END:
            return at + 8
        is_sequence = implicit
        if implicit:
            length, at = _long(data, at + 4)[0], at + 8
        elif vr in _SHORT_FORM:
            length, at = short, at + 8
        elif vr in _LONG_FORM:
            length, at, is_sequence = _long(data, at + 8)[0], at + 12, vr in (b"SQ", b"UN")
        else:
            raise _NotPlainError
        if length != _UNDEFINED:
            at += length
        elif is_sequence:
            at = _after_sequence(data, at, implicit or vr == b"UN", depth + 1)
        else:
            raise _NotPlainError


def _element(tag: int, vr: str, value: bytes, implicit: bool, character_set: bytes) -> DataElement | RawDataElement:
    if implicit and not vr and dictionary_has_tag(tag):
        vr = dictionary_VR(tag)
    if vr in _CACHED and len(value) <= _CACHED_BYTES and not (tag >> 16) & 1 and tag != _CHARACTER_SET:
        return _converted(tag, vr, value, character_set)
    # pydicom converts it when it is asked for: it knows private dictionaries, sequences and ambiguous VRs.
    return RawDataElement(BaseTag(tag), None if implicit else vr, len(value), value, 0, implicit, True)


@functools.lru_cache(_CACHED_ELEMENTS)
def _converted(tag: int, vr: str, value: bytes, character_set: bytes) -> DataElement:
    """Return an element's value; shared by all files that have it, so nobody may change it."""
    context = FileDataset("", {}, is_implicit_VR=False, is_little_endian=True)
    if character_set:
        context[_CHARACTER_SET] = convert_raw_data_element(
            RawDataElement(BaseTag(_CHARACTER_SET), "CS", len(character_set), character_set, 0, False, True)
        )
    context._dict[BaseTag(tag)] = RawDataElement(BaseTag(tag), vr, len(value), value, 0, False, True)
    return context[BaseTag(tag)]

"""One DICOM file's header as plain values: what grouping, geometry and decoding need, and nothing else.

Pixel data are not read, but their extent is checked against the file's size, so that a truncated file is known
before anybody counts on its slice. A length that lies costs a typed error, never an allocation.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import pydicom
import pydicom.config
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from render.dicom.attributes import (
    ENCAPSULATED_SYNTAXES,
    HEADER_KEYWORDS,
    LOSSY_SYNTAXES,
    MEDIA_DIRECTORY,
    NATIVE_SYNTAXES,
    integer,
    optional_integer,
    text,
    texts,
)
from render.dicom.extent import PIXEL_ELEMENTS, PixelExtent, find_pixels, measure
from render.dicom.frames import (
    FrameHeader,
    ModalityLut,
    PixelFormat,
    read_format,
    read_frame,
    read_modality_lut,
    read_padding,
)
from render.dicom.multiframe import frame_text, read_frames
from render.errors import UnreadableFileError

MAXIMUM_INFLATED_BYTES = 1 << 30
"""A deflated data set may not grow beyond this: the largest single images are a tenth of it."""

SMALL_READ_BYTES = 4096
"""Reads up to this size may come back short at a file's end, as the parser expects; larger ones are checked first."""

_FILE_META_START = 132
_FOREIGN_MAGIC = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"PK\x03\x04": "a ZIP archive, not opened",
    b"%PDF": "a PDF document",
    b"NRRD": "an NRRD volume",
    b"\x1f\x8b": "a gzip file, not opened",
}


@dataclass(frozen=True, slots=True)
class Instance:
    """One DICOM file. Holds no patient data: ``patient_key`` is a hash that tells patients apart within a scan.

    Attributes
    ----------
    path
        Below the scanned root, POSIX separators.
    size_bytes, modified_ns
        As scanned: a load refuses a file that has changed since.
    format
        None for objects without pixels.
    padding
        Lowest and highest stored value that is no tissue.
    frames
        Empty for multi-frame objects whose frames have no place in the patient: cine, for one.
    defect
        Why the pixels can't be used although the header could be read; empty if they can.
    """

    path: str
    size_bytes: int
    modified_ns: int
    sop_instance_uid: str
    sop_class_uid: str
    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    patient_key: str
    transfer_syntax: str
    modality: str
    description: str
    series_number: int | None
    instance_number: int | None
    image_type: tuple[str, ...]
    units: str
    rescale_type: str
    lossy: bool
    format: PixelFormat | None = None
    extent: PixelExtent | None = None
    number_of_frames: int = 0
    padding: tuple[int, int] | None = None
    modality_lut: ModalityLut | None = None
    frames: tuple[FrameHeader, ...] = ()
    defect: str = ""


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file that belongs to no series, and why."""

    path: str
    reason: str


class BoundedFile(io.RawIOBase):
    """A binary file whose `read` refuses lengths that reach past its end, instead of allocating them.

    Attributes
    ----------
    is_overrun
        Whether the end lay within something that was read or skipped: the file has been cut short there.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__()
        self._file = file
        self.size = size
        self.is_overrun = False

    def read(self, size: int = -1, /) -> bytes:
        """Read `size` bytes.

        Raises
        ------
        UnreadableFileError
            If more than `SMALL_READ_BYTES` are asked for and the file hasn't as many left.
        """
        if size > SMALL_READ_BYTES and size > (left := self.size - self._file.tell()):
            raise UnreadableFileError(f"truncated: a header element of {size:,} bytes, {max(left, 0):,} left")
        data = self._file.read(size)
        self.is_overrun |= 0 < len(data) < size
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Seek as the file beneath does."""
        position = self._file.seek(offset, whence)
        self.is_overrun |= position > self.size
        return position

    def tell(self) -> int:
        """Position in bytes."""
        return self._file.tell()


@contextlib.contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom from validating values and from warning of every file: what matters is checked here.

    Python's warning filters belong to the process, so enter it in one place around a whole scan or load.
    """
    before = pydicom.config.settings.reading_validation_mode
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        pydicom.config.settings.reading_validation_mode = before


def read_header(root: Path, relative: str) -> Instance | SkippedFile:
    """Read one file's header, within `quiet_pydicom`. Never raises for what a file holds: it is skipped, and why."""
    try:
        with open(root / relative, "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size == 0:
                return SkippedFile(relative, "empty file")
            return _parse(file, relative, status)
    except UnreadableFileError as error:
        return SkippedFile(relative, error.message)
    except OSError as error:
        return SkippedFile(relative, f"can't be read: {error.strerror or 'data set is malformed'}")
    except Exception as error:  # pydicom raises whatever the bytes lead to, and its text may quote patient data
        return SkippedFile(relative, f"header can't be parsed: {type(error).__name__}")


def open_data(path: Path, transfer_syntax: str) -> BinaryIO:
    """Open a file so that `PixelExtent.offset` holds: the file itself, or its inflated data set.

    Raises
    ------
    UnreadableFileError
        If a deflated data set can't be inflated, or grows beyond `MAXIMUM_INFLATED_BYTES`.
    """
    file = open(path, "rb")
    if transfer_syntax != DeflatedExplicitVRLittleEndian:
        return file
    with file:
        _read_file_meta(file)
        return io.BytesIO(_inflate(file.read()))


def _parse(file: BinaryIO, relative: str, status: os.stat_result) -> Instance | SkippedFile:
    start = file.read(1024)
    has_marker = start[128:132] == b"DICM"
    if not has_marker and (foreign := _foreign(start)):
        return SkippedFile(relative, f"not DICOM: {foreign}")
    stream, size = file, status.st_size
    is_cut = False
    if has_marker and DeflatedExplicitVRLittleEndian.encode() in start:
        dataset, stream, size = _read_deflated(file)
    else:
        file.seek(0)
        bounded = BoundedFile(file, size)
        try:
            dataset = pydicom.dcmread(
                cast(BinaryIO, bounded), stop_before_pixels=True, force=True, specific_tags=list(HEADER_KEYWORDS)
            )
            is_cut = bounded.is_overrun
            if is_cut and len(dataset):
                del dataset[max(dataset.keys())]  # the element that was cut has a part of its value
        except UnreadableFileError:
            if has_marker:
                raise
            return SkippedFile(relative, "not DICOM: no DICM marker at byte 128, no data set at byte 0")
    meta = dataset.file_meta
    sop_class = text(dataset, "SOPClassUID") or text(meta, "MediaStorageSOPClassUID")
    if sop_class == MEDIA_DIRECTORY:
        return SkippedFile(relative, "DICOMDIR: lists files, holds no image itself")
    # Cut between two elements, an image lacks what each image must have.
    is_complete = all(name in dataset for name in ("SeriesInstanceUID", "Rows", "BitsAllocated", "PixelRepresentation"))
    is_cut |= not is_complete and _name(sop_class).endswith("Image Storage")
    cut = f"truncated: the file ends at byte {size:,}, within its header"
    if is_cut and has_marker and "SeriesInstanceUID" not in dataset:
        return SkippedFile(relative, cut)
    if not sop_class and "Rows" not in dataset and "SeriesInstanceUID" not in dataset:
        return SkippedFile(relative, "not a DICOM object: no SOP Class UID, Series Instance UID or Rows")
    syntax = _transfer_syntax(dataset)
    pixels = _Pixels()
    try:
        pixels.read(dataset, syntax, stream, size)
    except UnreadableFileError as error:
        pixels.defect = error.message
    if is_cut and pixels.extent is None:
        pixels.defect = cut
    patient = "\0".join(text(dataset, name) for name in ("PatientID", "PatientName", "PatientBirthDate"))
    return Instance(
        path=relative,
        size_bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
        sop_instance_uid=text(dataset, "SOPInstanceUID") or text(meta, "MediaStorageSOPInstanceUID"),
        sop_class_uid=sop_class,
        series_uid=text(dataset, "SeriesInstanceUID"),
        study_uid=text(dataset, "StudyInstanceUID"),
        frame_of_reference_uid=text(dataset, "FrameOfReferenceUID"),
        patient_key=hashlib.sha256(patient.encode("utf-8", "surrogatepass")).hexdigest()[:16],
        transfer_syntax=str(syntax),
        modality=text(dataset, "Modality"),
        description=text(dataset, "SeriesDescription"),
        series_number=optional_integer(dataset, "SeriesNumber"),
        instance_number=optional_integer(dataset, "InstanceNumber"),
        image_type=texts(dataset, "ImageType"),
        units=text(dataset, "Units").upper(),
        rescale_type=text(dataset, "RescaleType")
        or frame_text(dataset, "PixelValueTransformationSequence", "RescaleType"),
        lossy=text(dataset, "LossyImageCompression") == "01" or syntax in LOSSY_SYNTAXES,
        format=pixels.format,
        extent=pixels.extent,
        number_of_frames=pixels.number_of_frames,
        padding=pixels.padding,
        modality_lut=pixels.modality_lut,
        frames=pixels.frames,
        defect=pixels.defect,
    )


class _Pixels:
    """What of the pixels could be read, up to the first defect."""

    format: PixelFormat | None = None
    extent: PixelExtent | None = None
    number_of_frames = 0
    padding: tuple[int, int] | None = None
    modality_lut: ModalityLut | None = None
    frames: tuple[FrameHeader, ...] = ()
    defect = ""

    def read(self, dataset: FileDataset, syntax: UID, stream: BinaryIO, size: int) -> None:
        element = find_pixels(stream, dataset.original_encoding)
        if element is None:
            if "Rows" in dataset and "BitsAllocated" in dataset:
                self.format = read_format(dataset, "PixelData")
                raise UnreadableFileError("no pixel data")
            return
        name, length = element
        self.extent = measure(stream, size, length)
        self.format = read_format(dataset, name)
        self.number_of_frames = max(integer(dataset, "NumberOfFrames", 1), 1)
        if "PerFrameFunctionalGroupsSequence" in dataset:
            self.frames = read_frames(dataset, self.number_of_frames)
        elif self.number_of_frames == 1:
            self.frames = (read_frame(dataset),)
        self.padding = read_padding(dataset, self.format)
        self.modality_lut = read_modality_lut(dataset)
        needed = self.format.bytes_of(self.number_of_frames)
        if syntax not in NATIVE_SYNTAXES and syntax not in ENCAPSULATED_SYNTAXES:
            raise UnreadableFileError(f"no decoder for transfer syntax {syntax.name}")
        if self.extent.length is None:
            if syntax in NATIVE_SYNTAXES:
                raise UnreadableFileError(f"{syntax.name} pixel data of undefined length")
            if self.extent.fragments < self.number_of_frames:
                raise UnreadableFileError(
                    f"truncated: {self.extent.fragments} fragments of pixel data for {self.number_of_frames} frames"
                )
        elif syntax not in NATIVE_SYNTAXES:
            raise UnreadableFileError(f"{syntax.name} pixel data are not encapsulated")
        elif self.extent.length < needed:
            raise UnreadableFileError(f"pixel data of {self.extent.length:,} bytes, {needed:,} needed")


def _foreign(start: bytes) -> str:
    """Name what a file without marker plainly is; empty where it may be a data set without a preamble."""
    for magic, name in _FOREIGN_MAGIC.items():
        if start.startswith(magic):
            return name
    if start[344:348] in (b"n+1\0", b"ni1\0") or start[4:8] in (b"n+2\0", b"ni2\0"):
        return "a NIfTI volume"
    # A bare data set starts with a command, file meta or identifying group, in either byte order.
    if start[:2] in (b"\x00\x00", b"\x02\x00", b"\x08\x00", b"\x00\x08") and len(start) >= 8:
        return ""
    return "no DICM marker at byte 128, no data set at byte 0"


def _read_deflated(file: BinaryIO) -> tuple[FileDataset, BinaryIO, int]:
    """Read a deflated file's header; return it with the inflated stream, which stands at the pixels, and its size."""
    meta = _read_file_meta(file)
    inflated = _inflate(file.read())
    stream = io.BytesIO(inflated)
    parsed = read_dataset(
        cast(BinaryIO, BoundedFile(stream, len(inflated))),
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, vr, length: (tag.group, tag.element) in PIXEL_ELEMENTS,
        specific_tags=[Tag(name) for name in HEADER_KEYWORDS],
    )
    dataset = FileDataset("", parsed, file_meta=meta, is_implicit_VR=False, is_little_endian=True)
    dataset.set_original_encoding(False, True)
    return dataset, stream, len(inflated)


def _read_file_meta(file: BinaryIO) -> FileMetaDataset:
    """Read the file meta group and stand at the first byte after it."""
    file.seek(_FILE_META_START)

    def is_data(tag: BaseTag, vr: str | None, length: int) -> bool:
        return tag.group != 2

    meta: Dataset = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=is_data)
    file.seek(_FILE_META_START + 12 + integer(meta, "FileMetaInformationGroupLength"))
    return FileMetaDataset(meta)


def _inflate(data: bytes) -> bytes:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        result = engine.decompress(data, MAXIMUM_INFLATED_BYTES)
    except zlib.error as error:
        raise UnreadableFileError("deflated data set can't be inflated") from error
    if engine.unconsumed_tail:
        raise UnreadableFileError(f"deflated data set grows beyond {MAXIMUM_INFLATED_BYTES:,} bytes")
    if not engine.eof:
        raise UnreadableFileError(f"truncated: deflated data set ends after {len(data):,} bytes")
    return result


def _name(sop_class: str) -> str:
    # Not validated: a broken UID has no name, and nobody is warned of it.
    return str(UID(sop_class, validation_mode=pydicom.config.IGNORE).name)


def _transfer_syntax(dataset: FileDataset) -> UID:
    stated = text(dataset.file_meta, "TransferSyntaxUID")
    if stated:
        return UID(stated)
    implicit, little = dataset.original_encoding
    if not little:
        return ExplicitVRBigEndian
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian

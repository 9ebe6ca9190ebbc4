"""One DICOM file's header as plain values: what grouping, geometry and decoding need, and nothing else.

Pixel data are not read, but their extent is checked against the file's size, so that a truncated file is known
before anybody counts on its slice. A length that lies costs a typed error, never an allocation.
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO, NamedTuple, cast

import pydicom
import pydicom.config
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from render.dicom.access import Stamp
from render.dicom.attributes import (
    HEADER_TAGS,
    LOSSY_SYNTAXES,
    MEDIA_DIRECTORY,
    integer,
    optional_integer,
    text,
    texts,
    values,
)
from render.dicom.bounded import BoundedFile, is_bare_data_set, read_bare, read_deflated
from render.dicom.diffusion import private_b_value
from render.dicom.dose import RT_DOSE, dose_units, read_dose_planes
from render.dicom.extent import PixelExtent, find_pixels, measure
from render.dicom.frames import (
    FrameHeader,
    PixelFormat,
    read_format,
    read_frame,
    read_modality_lut,
    read_padding,
)
from render.dicom.instance import Concatenation, Instance, SkippedFile, Tile
from render.dicom.media import MediaDirectory, read_directory
from render.dicom.mosaic import MOSAIC_TAGS, is_mosaic, read_tiles
from render.dicom.multiframe import read_frames
from render.dicom.pixel_check import check_pixels
from render.dicom.plainframes import frame_ms, read_plain_frames
from render.dicom.quickheader import QuickHeader, read_quickly
from render.dicom.suv import read_pet
from render.dicom.templates import Templates, instance_like
from render.errors import UnreadableFileError
from render.lookup import LookupTable

_START_BYTES = 1024
_OF_EACH_IMAGE = ("SeriesInstanceUID", "Rows", "BitsAllocated", "PixelRepresentation")

_templates = Templates()


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


def parse(file: BinaryIO, relative: str, stamp: Stamp) -> Instance | SkippedFile | MediaDirectory:
    """Read the header of a file that may be DICOM, within `quiet_pydicom`.

    Raises
    ------
    UnreadableFileError
        If it is truncated or malformed.
    Exception
        Whatever the bytes lead pydicom to: callers must expect all kinds.
    """
    start = file.read(_START_BYTES)
    file.seek(0)
    has_marker = start[128:132] == b"DICM" and not is_bare_data_set(start)
    if has_marker and DeflatedExplicitVRLittleEndian.encode() in start:
        return _interpret(_DataSet(*read_deflated(file)), file, relative, stamp)
    quick = read_quickly(file) if has_marker else None
    if quick is not None and (known := _like_earlier(quick, file, relative, stamp)) is not None:
        return known
    if quick is not None and (converted := quick.dataset()) is not None:
        file.seek(quick.pixels_at)
        found = _interpret(_DataSet(converted, file, stamp.size_bytes), file, relative, stamp)
        if isinstance(found, Instance):
            _templates.keep(quick, found)
        return found
    file.seek(0)
    bounded = BoundedFile(file, stamp.size_bytes)
    try:
        if start[128:132] == b"DICM" and not has_marker:
            dataset = read_bare(bounded)
        else:
            dataset = pydicom.dcmread(
                cast(BinaryIO, bounded), stop_before_pixels=True, force=True, specific_tags=HEADER_TAGS
            )
        if bounded.is_overrun and len(dataset):
            del dataset[max(dataset.keys())]  # the element that was cut has a part of its value
    except UnreadableFileError:
        if has_marker:
            raise
        return SkippedFile(relative, "not DICOM: no DICM marker at byte 128, no data set at byte 0")
    read = _DataSet(dataset, file, stamp.size_bytes, has_marker, bounded.is_overrun)
    return _interpret(read, file, relative, stamp)


def _like_earlier(quick: QuickHeader, file: BinaryIO, relative: str, stamp: Stamp) -> Instance | None:
    """Return what is known from an earlier file of the series; None where this one must be read in full."""
    template = _templates.find(quick)
    if template is None:
        return None
    assert template.format is not None
    file.seek(quick.pixels_at)
    try:
        element = find_pixels(file, (quick.implicit, True))
        if element is None or element[0] != template.format.element:
            return None
        extent = measure(file, stamp.size_bytes, element[1])
        check_pixels(template.format, 1, extent, UID(template.transfer_syntax), file, stamp.size_bytes)
    except UnreadableFileError:
        return None
    return instance_like(template, quick, relative, stamp, extent)


class _DataSet(NamedTuple):
    """A file's elements, and the stream that they are from, which stands at the pixel element, with its size."""

    elements: FileDataset
    stream: BinaryIO
    size: int
    has_marker: bool = True
    is_cut: bool = False


def _interpret(read: _DataSet, file: BinaryIO, relative: str, stamp: Stamp) -> Instance | SkippedFile | MediaDirectory:
    """Make of a data set what it is."""
    dataset, stream, size, has_marker, is_cut = read
    meta = dataset.file_meta
    sop_class = text(dataset, "SOPClassUID") or text(meta, "MediaStorageSOPClassUID")
    if sop_class == MEDIA_DIRECTORY:
        return read_directory(file, relative, stamp.size_bytes)
    if not sop_class and "Rows" not in dataset and "SeriesInstanceUID" not in dataset:
        return SkippedFile(relative, "not a DICOM object: no SOP Class UID, Series Instance UID or Rows")
    syntax = _transfer_syntax(dataset)
    pixels = _Pixels()
    try:
        pixels.read(dataset, syntax, stream, size)
        if is_mosaic(texts(dataset, "ImageType")):
            pixels.divide(_private_elements(file, stamp.size_bytes))
    except UnreadableFileError as error:
        pixels.defect = error.message
    cut = f"truncated: the file ends at byte {size:,}, within its header"
    lacks = [name for name in _OF_EACH_IMAGE if not values(dataset, name)]
    if not is_cut and lacks and not pixels.is_there and _name(sop_class).endswith("Image Storage"):
        # Cut between two elements, or never more than a header: nothing tells.
        is_cut, cut = True, f"incomplete: the file ends at byte {size:,} without {', '.join(lacks)}"
    if is_cut and has_marker and "SeriesInstanceUID" not in dataset:
        return SkippedFile(relative, cut)
    if is_cut and pixels.extent is None:
        pixels.defect = cut
    patient = "\0".join(text(dataset, name) for name in ("PatientID", "PatientName", "PatientBirthDate"))
    return Instance(
        path=relative,
        size_bytes=stamp.size_bytes,
        modified_ns=stamp.modified_ns,
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
        units=dose_units(dataset) if sop_class == RT_DOSE else text(dataset, "Units").upper(),
        lossy=text(dataset, "LossyImageCompression") == "01" or syntax in LOSSY_SYNTAXES,
        format=pixels.format,
        extent=pixels.extent,
        number_of_frames=pixels.number_of_frames,
        padding=pixels.padding,
        modality_lut=pixels.modality_lut,
        frames=pixels.frames,
        tiles=pixels.tiles,
        frame_ms=frame_ms(dataset),
        pet=read_pet(dataset) if text(dataset, "Modality") == "PT" else None,
        concatenation=_concatenation(dataset),
        defect=pixels.defect,
    )


def _concatenation(dataset: Dataset) -> Concatenation | None:
    """Return which part of a concatenation a file is (PS3.3 C.7.6.16.2.2.4); None where it is whole."""
    uid = text(dataset, "ConcatenationUID")
    number = optional_integer(dataset, "InConcatenationNumber")
    if not uid or number is None:
        return None
    return Concatenation(uid, number, optional_integer(dataset, "InConcatenationTotalNumber"))


class _Pixels:
    """What of the pixels could be read, up to the first defect."""

    format: PixelFormat | None = None
    extent: PixelExtent | None = None
    number_of_frames = 0
    padding: tuple[float, float] | None = None
    modality_lut: LookupTable | None = None
    frames: tuple[FrameHeader, ...] = ()
    tiles: tuple[Tile, ...] = ()
    defect = ""
    is_there = False

    def read(self, dataset: FileDataset, syntax: UID, stream: BinaryIO, size: int) -> None:
        element = find_pixels(stream, dataset.original_encoding)
        if element is None:
            if "Rows" in dataset and "BitsAllocated" in dataset:
                self.format = read_format(dataset, "PixelData")
                raise UnreadableFileError("no pixel data")
            return
        self.is_there = True
        name, length = element
        self.extent = measure(stream, size, length)
        self.format = read_format(dataset, name)
        self.number_of_frames = max(integer(dataset, "NumberOfFrames", 1), 1)
        if "PerFrameFunctionalGroupsSequence" in dataset:
            self.frames = read_frames(dataset, self.number_of_frames)
        else:
            frame = read_frame(dataset, self.format)
            if b_value := "" if values(dataset, "DiffusionBValue") else private_b_value(dataset):
                frame = replace(frame, phase=(("DiffusionBValue", b_value), *frame.phase))
            is_single = self.number_of_frames == 1
            if text(dataset, "SOPClassUID") == RT_DOSE:
                self.frames = read_dose_planes(dataset, frame, self.number_of_frames)
            else:
                self.frames = (frame,) if is_single else read_plain_frames(dataset, frame, self.number_of_frames)
        self.padding = read_padding(dataset, self.format)
        self.modality_lut = read_modality_lut(dataset, self.format)
        check_pixels(self.format, self.number_of_frames, self.extent, syntax, stream, size)

    def divide(self, private: Dataset) -> None:
        """Make the one frame of a mosaic its slices."""
        if self.format is not None and len(self.frames) == 1:
            self.frames, self.tiles = read_tiles(private, self.frames[0], self.format)


def _private_elements(file: BinaryIO, size: int) -> Dataset:
    """Read those of a mosaic; they are large, so no other file's are read."""
    file.seek(0)
    bounded = cast(BinaryIO, BoundedFile(file, size))
    return pydicom.dcmread(bounded, stop_before_pixels=True, force=True, specific_tags=list(MOSAIC_TAGS))


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

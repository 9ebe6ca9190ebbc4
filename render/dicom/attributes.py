"""Which attributes are read, and typed access to them: a malformed value is an error that names the attribute."""

from __future__ import annotations

import functools
import math
from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pydicom.valuerep import PersonName

from render.dicom.diffusion import DIFFUSION_TAGS
from render.errors import UnreadableFileError

PHASE_KEYWORDS = (
    "EchoNumbers",
    "EchoTime",
    "InversionTime",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "StackID",
    "CardiacCyclePosition",
    "NominalPercentageOfCardiacPhase",
    "TriggerTime",
    "ImageType",
    "ConvolutionKernel",
    "KVP",
    "FlipAngle",
    "SliceThickness",
    "AcquisitionNumber",
    "FrameReferenceTime",
    "ContrastBolusAgent",
    "AcquisitionTime",
    "ContentTime",
)
"""What may tell images at one position apart, the most telling first."""

FRAME_PHASE_KEYWORDS = (
    "EffectiveEchoTime",
    "NominalCardiacTriggerDelayTime",
    "FrameType",
    "EnergyWindow",
    "Detector",
    "RRInterval",
    "TimeSlot",
    *(f"Dimension{n}" for n in range(1, 10)),
    "TemporalPositionTimeOffset",
    "FrameReferenceDateTime",
    "FrameAcquisitionDateTime",
)
"""The same for frames of an enhanced object, beside those above; Dimension n is a Dimension Index Value."""

GE_PET_CREATOR, GE_SCAN_TIME = 0x00090010, 0x0009100D
PHILIPS_PET_CREATOR, PHILIPS_SUV_SCALE, PHILIPS_ACTIVITY_SCALE = 0x70530010, 0x70531000, 0x70531009
"""Private elements of PET images: who reserved the block, and those that SUV needs."""

PET_ATTRIBUTES: tuple[str | int, ...] = (
    "CorrectedImage",
    "DecayCorrection",
    "SUVType",
    "PatientWeight",
    "SeriesDate",
    "SeriesTime",
    "AcquisitionDate",
    "ActualFrameDuration",
    "RadiopharmaceuticalInformationSequence",
    GE_PET_CREATOR,
    GE_SCAN_TIME,
    PHILIPS_PET_CREATOR,
    PHILIPS_SUV_SCALE,
    PHILIPS_ACTIVITY_SCALE,
)
"""What SUV needs, beside what is read of any image."""

FRAME_ATTRIBUTES = (
    "FrameTime",
    "FrameTimeVector",
    "CineRate",
    "RecommendedDisplayFrameRate",
    "SpacingBetweenSlices",
    "DetectorInformationSequence",
    "SliceVector",
    "EnergyWindowVector",
    "DetectorVector",
    "RRIntervalVector",
    "TimeSlotVector",
    "GridFrameOffsetVector",
    "DoseGridScaling",
    "DoseUnits",
)
"""What tells and places the frames of an object without functional groups."""

HEADER_KEYWORDS: tuple[str | int, ...] = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "Modality",
    "SeriesDescription",
    "SeriesNumber",
    "InstanceNumber",
    "Units",
    "RescaleType",
    "LossyImageCompression",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "ImagePlanePixelSpacing",
    "NominalScannedPixelSpacing",
    "PixelAspectRatio",
    "SequenceOfUltrasoundRegions",
    "ConcatenationUID",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PlanarConfiguration",
    "RedPaletteColorLookupTableDescriptor",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "FloatPixelPaddingValue",
    "FloatPixelPaddingRangeLimit",
    "DoubleFloatPixelPaddingValue",
    "DoubleFloatPixelPaddingRangeLimit",
    "WindowCenter",
    "WindowWidth",
    "WindowCenterWidthExplanation",
    "VOILUTFunction",
    "VOILUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    *PHASE_KEYWORDS,
    *PET_ATTRIBUTES,
    *FRAME_ATTRIBUTES,
    *DIFFUSION_TAGS,
)
"""All that a scan reads of a file, by keyword or tag."""

HEADER_TAGS: list[BaseTag | int] = [Tag(name) for name in HEADER_KEYWORDS]

LARGEST_LENGTH_MM = 1e6
"""A kilometre: larger than any scanner, small enough that no arithmetic on it overflows."""

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"

JPEG_RETIRED_EXTENDED = UID("1.2.840.10008.1.2.4.53")
JPEG_RETIRED_PROGRESSIVE = UID("1.2.840.10008.1.2.4.55")
"""Retired, lossy: spectral selection (processes 6 and 8) and full progression (10 and 12)."""

LOSSY_SYNTAXES = frozenset(
    {JPEGBaseline8Bit, JPEGExtended12Bit, JPEG_RETIRED_EXTENDED, JPEG_RETIRED_PROGRESSIVE, JPEGLSNearLossless}
)
"""Always lossy. JPEG 2000 (.91) and HTJ2K (.203) may be either: (0028,2110) says."""

NATIVE_SYNTAXES = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)

ENCAPSULATED_SYNTAXES = frozenset(
    {
        RLELossless,
        JPEGBaseline8Bit,
        JPEGExtended12Bit,
        JPEG_RETIRED_EXTENDED,
        JPEG_RETIRED_PROGRESSIVE,
        JPEGLossless,
        JPEGLosslessSV1,
        JPEGLSLossless,
        JPEGLSNearLossless,
        JPEG2000Lossless,
        JPEG2000,
        HTJ2KLossless,
        HTJ2KLosslessRPCL,
        HTJ2K,
    }
)
"""Those that `render.dicom.codecs` decodes."""


@functools.cache
def _tag_of(keyword: str) -> BaseTag:
    return Tag(keyword)


def values(dataset: Dataset, keyword: str) -> list[Any]:
    """Return all values of an attribute; an empty list where it is absent or empty."""
    found = dataset.get(_tag_of(keyword))
    element = None if found is None else found.value
    if element is None or element == "":
        return []
    if isinstance(element, str | bytes | PersonName) or not hasattr(element, "__iter__"):
        return [element]
    return [value for value in element if value is not None and value != ""]


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return all values as stripped text."""
    return tuple(str(value).strip().rstrip("\0") for value in values(dataset, keyword))


def text(dataset: Dataset, keyword: str) -> str:
    """Return the first value as text, or an empty string."""
    return next(iter(texts(dataset, keyword)), "")


def floats(dataset: Dataset, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
    """Return finite numbers, None where there are none.

    Raises
    ------
    UnreadableFileError
        If they are not numbers, not finite, or not `count` of them. The value is not quoted: it may be anything.
    """
    found = values(dataset, keyword)
    if not found:
        return None
    try:
        numbers = tuple(float(value) for value in found)
    except (TypeError, ValueError) as error:
        raise UnreadableFileError(f"{keyword} is not a number") from error
    if not all(map(math.isfinite, numbers)):
        raise UnreadableFileError(f"{keyword} is not finite")
    if count is not None and len(numbers) != count:
        raise UnreadableFileError(f"{keyword} has {len(numbers)} values, {count} needed")
    return numbers


def lengths(dataset: Dataset, keyword: str, count: int, *, positive: bool = False) -> tuple[float, ...] | None:
    """Return numbers that place pixels: lengths in mm, or direction cosines.

    Raises
    ------
    UnreadableFileError
        As `floats`; also beyond `LARGEST_LENGTH_MM`, or where one must be over 0 and is not.
    """
    numbers = floats(dataset, keyword, count)
    if numbers is None:
        return None
    if (largest := max(map(abs, numbers))) > LARGEST_LENGTH_MM:
        raise UnreadableFileError(f"{keyword} is {largest:g}: beyond {LARGEST_LENGTH_MM:g}")
    if positive and (least := min(numbers)) <= 0:
        raise UnreadableFileError(f"{keyword} is {least:g}: not over 0")
    return numbers


def integer(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    """Return one integer.

    Raises
    ------
    UnreadableFileError
        If it is missing without a default, not one value, or not an integer.
    """
    numbers = floats(dataset, keyword, 1)
    if numbers is None:
        if default is None:
            raise UnreadableFileError(f"{keyword} is missing")
        return default
    if not numbers[0].is_integer():
        raise UnreadableFileError(f"{keyword} is {numbers[0]:g}, not an integer")
    return int(numbers[0])


def optional_integer(dataset: Dataset, keyword: str) -> int | None:
    """Return one integer, or None where it is absent or malformed: for what only labels."""
    try:
        numbers = floats(dataset, keyword)
    except UnreadableFileError:
        return None
    return int(numbers[0]) if numbers and numbers[0].is_integer() else None

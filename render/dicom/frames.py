"""Frames and pixel layout of one data set: format, modality LUT, padding, and one `FrameHeader` a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pydicom.dataset import Dataset, FileDataset

from render.dicom.attributes import PHASE_KEYWORDS, floats, integer, lengths, text, texts, values
from render.dicom.luts import read_luts
from render.errors import UnreadableFileError
from render.lookup import LookupTable

Floats: TypeAlias = tuple[float, ...]

WindowValues: TypeAlias = tuple[float, float, str, str]
"""Centre, width, VOI LUT Function, explanation."""


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How pixels are stored: equal for all slices of a volume.

    Attributes
    ----------
    element
        ``PixelData``, ``FloatPixelData`` or ``DoubleFloatPixelData``.
    """

    element: str
    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    planar: int

    @property
    def is_color(self) -> bool:
        """Whether a pixel is a colour, not a value."""
        return self.samples > 1 or not self.photometric.startswith("MONOCHROME")

    def bytes_of(self, frames: int) -> int:
        """Bytes of that many uncompressed frames; single bits are packed across frames."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return (frames * self.rows * self.columns * samples * self.bits_allocated + 7) // 8


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """One frame: where it lies and what its numbers mean.

    Attributes
    ----------
    number
        From 1, as DICOM counts.
    position_mm, orientation
        Image Position and Orientation (Patient), LPS; None where absent.
    spacing_mm
        Pixel Spacing: (between rows, between columns); None where absent.
    phase
        What may tell frames at one position apart: (keyword, value) pairs of `PHASE_KEYWORDS`.
    voi_luts
        VOI LUTs of modality values.
    rescale_type
        Rescale Type: HU, or what else the values are.
    spacing_from
        The attribute that `spacing_mm` is from; empty where it is None.
    """

    number: int
    position_mm: Floats | None
    orientation: Floats | None
    spacing_mm: Floats | None
    thickness_mm: float
    slope: float
    intercept: float
    windows: tuple[WindowValues, ...]
    phase: tuple[tuple[str, str], ...]
    voi_luts: tuple[LookupTable, ...] = ()
    rescale_type: str = ""
    spacing_from: str = "PixelSpacing"


_REGION_2D, _CENTIMETRES = 1, 3
_LARGEST_REGION_CM = 10.0
"""Of one pixel: what is larger is no calibration."""


def read_format(dataset: Dataset, element: str) -> PixelFormat:
    """Read the Image Pixel Module.

    Raises
    ------
    UnreadableFileError
        If an attribute is missing, malformed, or contradicts another.
    """
    rows, columns = integer(dataset, "Rows"), integer(dataset, "Columns")
    if rows < 1 or columns < 1:
        raise UnreadableFileError(f"{rows} rows x {columns} columns")
    allocated = integer(dataset, "BitsAllocated")
    is_integer = element == "PixelData"
    permitted = {"PixelData": (1, 8, 16, 32), "FloatPixelData": (32,), "DoubleFloatPixelData": (64,)}[element]
    if allocated not in permitted:
        raise UnreadableFileError(f"Bits Allocated is {allocated} for {element}; {permitted} are possible")
    stored = integer(dataset, "BitsStored", allocated) if is_integer else allocated
    high = integer(dataset, "HighBit", stored - 1) if is_integer else stored - 1
    if not 1 <= stored <= high + 1 <= allocated:
        raise UnreadableFileError(f"Bits Stored {stored}, High Bit {high} do not fit into {allocated} bits")
    samples = integer(dataset, "SamplesPerPixel", 1)
    photometric = text(dataset, "PhotometricInterpretation").upper() or ("MONOCHROME2" if samples == 1 else "RGB")
    if is_integer and samples == 1 and allocated > 8 and not values(dataset, "PixelRepresentation"):
        raise UnreadableFileError("PixelRepresentation is missing: signed or unsigned is not known")
    planar = integer(dataset, "PlanarConfiguration", 0)
    if samples > 1 and planar not in (0, 1):
        raise UnreadableFileError(f"Planar Configuration is {planar}; 0 and 1 are possible")
    if photometric == "PALETTE COLOR" and not values(dataset, "RedPaletteColorLookupTableDescriptor"):
        raise UnreadableFileError("PALETTE COLOR without Red Palette Color Lookup Table Descriptor")
    return PixelFormat(
        element=element,
        rows=rows,
        columns=columns,
        samples=samples,
        photometric=photometric,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high,
        signed=is_integer and integer(dataset, "PixelRepresentation", 0) == 1,
        planar=planar,
    )


def read_padding(dataset: Dataset, pixels: PixelFormat) -> tuple[float, float] | None:
    """Return the lowest and highest stored value that is padding (PS3.3 C.7.5.1.1.2), or None.

    Writers confuse the VR (US for signed pixels): the value is brought into the range of the stored type.
    """
    prefix = pixels.element.removesuffix("PixelData")
    try:
        first = floats(dataset, f"{prefix}PixelPaddingValue")
        limit = floats(dataset, f"{prefix}PixelPaddingRangeLimit") or first
    except UnreadableFileError:
        if prefix:  # NaN, for one: it is no value anyway
            return None
        raise
    if first is None or limit is None:
        return None
    if prefix:
        return min(first[0], limit[0]), max(first[0], limit[0])
    ends = sorted(_as_stored(int(end), pixels) for end in (first[0], limit[0]))
    return ends[0], ends[1]


def read_modality_lut(dataset: FileDataset, pixels: PixelFormat) -> LookupTable | None:
    """Return the Modality LUT, or None where there is none.

    Raises
    ------
    UnreadableFileError
        As `read_luts`.
    """
    tables = read_luts(
        dataset, "ModalityLUTSequence", signed=pixels.signed, little_endian=dataset.original_encoding[1] is not False
    )
    return next(iter(tables), None)


def read_voi_luts(dataset: Dataset, *, signed: bool, little_endian: bool) -> tuple[LookupTable, ...]:
    """Return the VOI LUTs; where one is malformed there are none, as values do not depend on them."""
    try:
        return read_luts(dataset, "VOILUTSequence", signed=signed, little_endian=little_endian)
    except UnreadableFileError:
        return ()


def read_frame(dataset: FileDataset, pixels: PixelFormat) -> FrameHeader:
    """Read the single frame of a classic image.

    Raises
    ------
    UnreadableFileError
        If a number that geometry or values depend on is malformed.
    """
    spacing, spacing_from = _spacing(dataset)
    slope = floats(dataset, "RescaleSlope", 1) or (1.0,)
    intercept = floats(dataset, "RescaleIntercept", 1) or (0.0,)
    if slope[0] == 0:
        raise UnreadableFileError("RescaleSlope is 0")
    return FrameHeader(
        number=1,
        position_mm=lengths(dataset, "ImagePositionPatient", 3),
        orientation=lengths(dataset, "ImageOrientationPatient", 6),
        spacing_mm=spacing,
        thickness_mm=read_thickness(dataset),
        slope=slope[0],
        intercept=intercept[0],
        windows=read_windows(dataset),
        phase=tuple((name, "\\".join(texts(dataset, name))) for name in PHASE_KEYWORDS if values(dataset, name)),
        voi_luts=read_voi_luts(
            dataset,
            signed=pixels.signed or intercept[0] < 0,
            little_endian=dataset.original_encoding[1] is not False,
        ),
        rescale_type=text(dataset, "RescaleType"),
        spacing_from=spacing_from,
    )


def read_windows(dataset: Dataset) -> tuple[WindowValues, ...]:
    """Return the VOI windows as they stand; malformed ones are no windows."""
    try:
        centers, widths = floats(dataset, "WindowCenter") or (), floats(dataset, "WindowWidth") or ()
    except UnreadableFileError:
        return ()
    function = text(dataset, "VOILUTFunction").upper() or "LINEAR"
    explanations = texts(dataset, "WindowCenterWidthExplanation")
    return tuple(
        (center, width, function, explanations[n] if n < len(explanations) else "")
        for n, (center, width) in enumerate(zip(centers, widths, strict=False))
    )


def _spacing(dataset: Dataset) -> tuple[Floats | None, str]:
    """Return the spacing, and the attribute that it is from.

    Pixel Spacing comes first, unless it repeats what a projection has at its detector; then that, then the aspect ratio
    of the pixels, columns being 1 mm apart.
    """
    at_detector = _positive(dataset, "ImagerPixelSpacing")
    spacing = lengths(dataset, "PixelSpacing", 2, positive=True)
    if spacing is not None:
        return spacing, "ImagerPixelSpacing" if spacing == at_detector else "PixelSpacing"
    if (spacing := _region_spacing(dataset)) is not None:
        return spacing, "SequenceOfUltrasoundRegions"
    for keyword in ("ImagerPixelSpacing", "ImagePlanePixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
        if (spacing := _positive(dataset, keyword)) is not None:
            return ((spacing[0] / spacing[1], 1.0) if keyword == "PixelAspectRatio" else spacing), keyword
    return None, ""


def _positive(dataset: Dataset, keyword: str) -> Floats | None:
    """Return two lengths; malformed ones are none."""
    try:
        return lengths(dataset, keyword, 2, positive=True)
    except UnreadableFileError:
        return None


def _region_spacing(dataset: Dataset) -> Floats | None:
    """Return the calibration of an ultrasound image's 2D regions (PS3.3 C.8.5.5), in mm, if all of them agree."""
    found = set()
    for region in values(dataset, "SequenceOfUltrasoundRegions"):
        try:
            is_plane = integer(region, "RegionSpatialFormat", 0) == _REGION_2D
            units = [integer(region, f"PhysicalUnits{axis}Direction", 0) for axis in "XY"]
            steps = [abs((floats(region, f"PhysicalDelta{axis}", 1) or (0.0,))[0]) for axis in "YX"]
        except UnreadableFileError:
            continue
        if is_plane and units == [_CENTIMETRES] * 2 and all(0 < step < _LARGEST_REGION_CM for step in steps):
            found.add((10 * steps[0], 10 * steps[1]))
    return found.pop() if len(found) == 1 else None


def read_thickness(dataset: Dataset) -> float:
    """Return Slice Thickness, or 0 where it is absent or malformed: it only gives a lone slice its depth."""
    try:
        numbers = lengths(dataset, "SliceThickness", 1, positive=True)
    except UnreadableFileError:
        return 0.0
    return numbers[0] if numbers else 0.0


def _as_stored(value: int, pixels: PixelFormat) -> int:
    span = 1 << pixels.bits_allocated
    value %= span
    if not pixels.signed:
        return value
    if value >= span // 2:
        return value - span
    # 2048 is -2048 where 12 bits are stored: no pixel can be 2048.
    half = 1 << (pixels.bits_stored - 1)
    return value - 2 * half if half <= value < 2 * half else value

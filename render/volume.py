"""A volume: voxels on a grid in patient space, and what the numbers mean."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from render.errors import InvalidArgumentError
from render.geometry import VolumeGeometry
from render.lookup import LookupTable
from render.transfer import Window


class VoxelType(enum.Enum):
    """How a voxel's code is stored. The values are the wire's names."""

    INT16 = "int16"
    FLOAT32 = "float32"
    RGB8 = "rgb8"
    LABEL8 = "label8"
    LABEL16 = "label16"


class PixelScale(enum.Enum):
    """What a millimetre between pixels is. The values are the wire's names."""

    PATIENT = "patient"
    DETECTOR = "detector"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class VolumeInfo:
    """What is known of a volume besides its voxels. Nothing in here identifies a patient.

    Attributes
    ----------
    modality
        DICOM Modality: CT, MR, PT, ...; empty if unknown.
    units
        Of the modality values: ``HU``, ``Bq/ml``, ``SUVbw``; empty if arbitrary.
    description
        Series Description, as it came.
    study_uid, series_uid, frame_of_reference_uid
        DICOM UIDs; empty for a volume that came as voxels.
    volume_index
        Which volume of its series, from 0.
    windows
        The source's own, then none: automatic ones come from the statistics.
    voi_luts
        The source's VOI LUTs, of modality values as the source has them: an alternative to `windows`.
    suv_factor
        For PET in SUVbw: what the source's values were multiplied by to give these; None where units are its own.
    source_units
        The source's own unit, where `units` is another.
    inverted
        MONOCHROME1: shown inverted, values untouched.
    lossy_source
        Compressed lossily before it came here (0028,2110, or by its transfer syntax).
    is_placed
        The grid lies in the patient; else it is the image's own, x along rows and y down columns, and no side is known.
    pixel_scale
        Of lengths in the images: the patient's, those at the detector of a projection, which are larger, or unknown,
        where columns are 1 apart.
    slice_thickness_mm
        Slice Thickness, or 0 if unknown.
    phase_ms
        From this volume to the next of its series where they are frames of a cine; 0 if unknown.
    warnings
        What the reader should know: one sentence each, with the measured values.
    extra
        What tells it from the other volumes of its series: attribute and value.
    """

    modality: str = ""
    units: str = ""
    description: str = ""
    study_uid: str = ""
    series_uid: str = ""
    frame_of_reference_uid: str = ""
    series_number: int | None = None
    volume_index: int = 0
    windows: tuple[Window, ...] = ()
    voi_luts: tuple[LookupTable, ...] = ()
    suv_factor: float | None = None
    source_units: str = ""
    inverted: bool = False
    lossy_source: bool = False
    is_placed: bool = True
    pixel_scale: PixelScale = PixelScale.PATIENT
    slice_thickness_mm: float = 0.0
    phase_ms: float = 0.0
    warnings: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def voi(self) -> tuple[Window, ...]:
        """What the source offers to show its values by: its windows, then its VOI LUTs."""
        return (*self.windows, *(Window.of_table(n, table) for n, table in enumerate(self.voi_luts)))


@dataclass(frozen=True, eq=False)
class Volume:
    """Codes on a grid. ``value = slope * code + intercept`` in modality units.

    Parameters
    ----------
    id
        A hash of the content's identity (SOP Instance UIDs and frames, or the bytes): the same after a restart.
    geometry
        Where the voxels lie.
    codes
        int16 or float32, C-contiguous, shape ``(K, J, I)``. Unsigned 16-bit sources are stored minus 32768. A colour
        image: uint8, shape ``(K, J, I, 3)``, red, green and blue.
    slope, intercept
        Codes to modality values; 1 and 0 for float32. A uniform rescale is kept here, never baked in.
    invalid_code
        The int16 code that marks a voxel without a value (padding, gaps, slices not loaded yet), or None where
        every voxel is valid. In float32 it is NaN, or an infinity, and this is None.
    info
        What the source says of it.
    revision
        Counts up with each batch of slices that arrives; 1 for a volume that came whole.
    missing_slices
        That have not arrived yet: their voxels are invalid, and they may be written to at any time.

    Raises
    ------
    InvalidArgumentError
        If shape, dtype or slope do not fit.
    """

    id: str
    geometry: VolumeGeometry
    codes: npt.NDArray[np.int16] | npt.NDArray[np.float32] | npt.NDArray[np.uint8]
    slope: float = 1.0
    intercept: float = 0.0
    invalid_code: int | None = None
    info: VolumeInfo = field(default_factory=VolumeInfo)
    revision: int = 1
    missing_slices: int = 0

    def __post_init__(self) -> None:
        if self.codes.shape != self.geometry.shape + (3,) * self.is_color:
            raise InvalidArgumentError(
                f"voxels of shape {self.codes.shape} on a grid of shape {self.geometry.shape}", field="codes"
            )
        if self.codes.dtype not in (np.int16, np.float32, np.uint8):
            raise InvalidArgumentError(
                f"voxels of dtype {self.codes.dtype}: int16, float32, or uint8 for colour needed", field="codes"
            )
        if not self.codes.flags.c_contiguous:
            raise InvalidArgumentError("voxels are not C-contiguous", field="codes")
        if not (np.isfinite(self.slope) and np.isfinite(self.intercept) and self.slope != 0):
            raise InvalidArgumentError(
                f"rescale slope {self.slope:g}, intercept {self.intercept:g}: finite, slope not 0",
                field="slope",
            )
        if self.invalid_code is not None and self.codes.dtype != np.int16:
            raise InvalidArgumentError("invalid_code is for int16; float32 has NaN", field="invalid_code")

    @property
    def is_color(self) -> bool:
        """Whether it is a colour image, whose voxels are red, green and blue."""
        return self.codes.dtype == np.uint8

    @property
    def voxel_type(self) -> VoxelType:
        """How the codes are stored."""
        if self.is_color:
            return VoxelType.RGB8
        return VoxelType.INT16 if self.codes.dtype == np.int16 else VoxelType.FLOAT32

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels."""
        return int(self.codes.nbytes)

    def values(self) -> npt.NDArray[np.float32]:
        """All voxels in modality units, float32, shape as `codes`; NaN where invalid. Slow: for tests and export."""
        result = (self.codes.astype(np.float64) * self.slope + self.intercept).astype(np.float32)
        if self.invalid_code is not None:
            result[self.codes == self.invalid_code] = np.nan
        if self.codes.dtype == np.float32:
            result[~np.isfinite(self.codes)] = np.nan
        return result

"""What a scan keeps of one file: plain values, and no patient data."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field

from render.dicom.extent import PixelExtent
from render.dicom.frames import FrameHeader, PixelFormat
from render.dicom.suv import PetHeader
from render.lookup import LookupTable

NIFTI_LITTLE, NIFTI_BIG = "nifti-little", "nifti-big"
NIFTI_LITTLE_GZIP, NIFTI_BIG_GZIP = "nifti-little-gzip", "nifti-big-gzip"
"""What stands for a transfer syntax where the voxels are a NIfTI file's, by byte order."""

NIFTI = frozenset({NIFTI_LITTLE, NIFTI_BIG, NIFTI_LITTLE_GZIP, NIFTI_BIG_GZIP})

STREAMED = frozenset({NIFTI_LITTLE_GZIP, NIFTI_BIG_GZIP})
"""Encodings that are inflated from the start, whichever part is needed."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a frame: a mosaic's sheet holds many slices.

    Attributes
    ----------
    row, column
        Of its first pixel, from 0.
    rows, columns
        Its size.
    """

    row: int
    column: int
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Concatenation:
    """Which part of a multi-frame object that was cut into several files a file is, from 1; `total` may be unknown."""

    uid: str
    number: int
    total: int | None


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
        One each frame, or each tile of a mosaic; those of a cine, for one, have no place in the patient.
    tiles
        Where the slices of a mosaic are on its sheet; empty for all else.
    frame_ms
        From one frame of a cine to the next; 0 if unknown.
    pet
        What SUV needs; None but for PET.
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
    lossy: bool
    format: PixelFormat | None = None
    extent: PixelExtent | None = None
    number_of_frames: int = 0
    padding: tuple[float, float] | None = None
    modality_lut: LookupTable | None = None
    frames: tuple[FrameHeader, ...] = ()
    tiles: tuple[Tile, ...] = ()
    frame_ms: float = 0.0
    concatenation: Concatenation | None = None
    pet: PetHeader | None = field(default=None, repr=False)
    defect: str = ""

    @property
    def is_stream(self) -> bool:
        """Whether its pixels can only be reached by reading all that lies before them."""
        return self.transfer_syntax in STREAMED


SYMBOLIC_LINK = "symbolic link: not followed"
"""Why a link is skipped."""


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file that belongs to no series, and why; of a DICOMDIR also what it lists that is not there."""

    path: str
    reason: str
    missing: tuple[str, ...] = ()

    @property
    def is_denied(self) -> bool:
        """Whether it is there, but may not be read."""
        return self.reason.endswith(os.strerror(errno.EACCES))

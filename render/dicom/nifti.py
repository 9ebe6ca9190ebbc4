"""NIfTI-1 and NIfTI-2: headers, places and slices, read without another library.

The format is one fixed header and raw voxels; the checks of lengths and the slice-wise reading that loading needs are
most of the work, and are ours in any case. Source: nifti1.h and nifti2.h of nifti.nimh.nih.gov. NIfTI's world is RAS
(+x right, +y front); patient space here is LPS, so x and y change their signs.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from render.dicom.access import Stamp, open_file
from render.dicom.extent import PixelExtent
from render.dicom.frames import PixelFormat
from render.dicom.instance import NIFTI_BIG, NIFTI_BIG_GZIP, NIFTI_LITTLE, NIFTI_LITTLE_GZIP, Instance, SkippedFile
from render.errors import CodecError, UnreadableFileError

GZIP_MAGIC = b"\x1f\x8b"

MAXIMUM_VOLUMES = 10_000
"""Volumes of one file: ten times the longest functional series."""

MAXIMUM_DEFLATE_RATIO = 1032
"""Deflate can't do better: a header that asks for more voxels than this makes possible lies."""

SURFACE_VALUES = frozenset(10 * 4**n + 2 for n in range(5, 9))
"""Points of the spheres (divided icosahedra) that FreeSurfer stores values of in volumes of one row."""

MAXIMUM_TAIL_BLOCKS = 64
"""Megabytes after the last voxel that are inflated to reach the checksum."""

_BLOCK_BYTES = 1 << 20
_HEADER_BYTES = 544  # of NIfTI-2, the larger one
_SCALAR, _COLOUR, _COMPLEX = "scalar", "colour", "complex"
_TYPES = {
    # code: (name, kind, bytes of a voxel)
    2: ("uint8", _SCALAR, 1),
    4: ("int16", _SCALAR, 2),
    8: ("int32", _SCALAR, 4),
    16: ("float32", _SCALAR, 4),
    32: ("complex64", _COMPLEX, 8),
    64: ("float64", _SCALAR, 8),
    128: ("RGB24", _COLOUR, 3),
    256: ("int8", _SCALAR, 1),
    512: ("uint16", _SCALAR, 2),
    768: ("uint32", _SCALAR, 4),
    1024: ("int64", _SCALAR, 8),
    1280: ("uint64", _SCALAR, 8),
    1792: ("complex128", _COMPLEX, 16),
    2304: ("RGBA32", _COLOUR, 4),
}
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}


@dataclass(frozen=True, slots=True)
class NiftiFile:
    """A NIfTI file, or a pair of header and image.

    Attributes
    ----------
    path, data_path
        Of the header and of the voxels, below the scanned root; the same in a single file.
    image
        As an instance of ``volumes * K`` frames; None where there is a defect.
    volumes
        The product of all dimensions after the third.
    patient_from_voxel
        Rows of the affine from voxel to LPS mm.
    window
        Centre and width by ``cal_min`` and ``cal_max``; None where they are not set.
    warnings
        What to say of the header.
    defect
        Why it can't be shown; empty if it can.
    """

    path: str
    data_path: str
    shape: tuple[int, int, int] = (1, 1, 1)
    volumes: int = 1
    image: Instance | None = None
    patient_from_voxel: tuple[tuple[float, ...], ...] = ()
    slope: float = 1.0
    intercept: float = 0.0
    window: tuple[float, float] | None = None
    warnings: tuple[str, ...] = ()
    defect: str = ""


def is_nifti(start: bytes) -> bool:
    """Say whether a file that starts so has a NIfTI header."""
    return start[344:348] in (b"n+1\0", b"ni1\0") or start[4:8] in (b"n+2\0", b"ni2\0")


def read_nifti(root: Path, relative: str, file: BinaryIO, stamp: Stamp) -> NiftiFile | SkippedFile:
    """Read the header of a NIfTI file, deflated or not, and check that its voxels are there.

    Raises
    ------
    UnreadableFileError
        If it is truncated.
    OSError
        If it can't be read.
    """
    is_gzip = file.read(2) == GZIP_MAGIC
    file.seek(0)
    start = _inflate_start(file) if is_gzip else file.read(_HEADER_BYTES)
    if not is_nifti(start):
        return SkippedFile(relative, "not DICOM: a gzip file that holds no NIfTI volume")
    data_path = relative
    header = _Header(start)
    if header.is_pair:
        found = _open_image(root, relative)
        if found is None:
            return NiftiFile(relative, relative, defect=f"{Path(relative).stem}.img, which has the voxels, is missing")
        file, stamp, data_path = found
    with file:
        file.seek(0)
        is_gzip = file.read(2) == GZIP_MAGIC if header.is_pair else is_gzip
        digest = hashlib.sha256(start)
        file.seek(0)
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    try:
        return header.describe(relative, data_path, stamp, is_gzip, digest.hexdigest())
    except UnreadableFileError as error:
        return NiftiFile(relative, data_path, defect=error.message)


def read_slice(file: BinaryIO, image: Instance, number: int) -> npt.NDArray[Any]:
    """Read one slice, shape (J, I), or (J, I, samples) where voxels are colours.

    Parameters
    ----------
    file
        As `render.dicom.access.PixelFiles` opens it.
    number
        From 0: volume * K + slice.

    Raises
    ------
    CodecError
        If the voxels end before it, or can't be inflated.
    """
    assert image.format is not None
    assert image.extent is not None
    dtype = _dtype(image.format, image.transfer_syntax)
    shape = (image.format.rows, image.format.columns) + (image.format.samples,) * image.format.is_color
    length = math.prod(shape) * dtype.itemsize
    try:
        file.seek(image.extent.offset + number * length)
        data = file.read(length)
        if image.is_stream and number == image.number_of_frames - 1:
            # The checksum is compared at the stream's end, which may lie a little further.
            for _ in range(MAXIMUM_TAIL_BLOCKS):
                if not file.read(_BLOCK_BYTES):
                    break
    except (EOFError, zlib.error, OSError) as error:
        raise CodecError(f"voxels of slice {number + 1} can't be read: truncated or damaged") from error
    if len(data) < length:
        raise CodecError(f"truncated: the voxels of slice {number + 1} have {len(data):,} of {length:,} bytes")
    return np.frombuffer(data, dtype).reshape(shape)


def _dtype(pixels: PixelFormat, transfer_syntax: str) -> np.dtype[Any]:
    kind = "f" if pixels.element != "PixelData" else "i" if pixels.signed else "u"
    order = ">" if transfer_syntax in (NIFTI_BIG, NIFTI_BIG_GZIP) else "<"
    return np.dtype(f"{order}{kind}{pixels.bits_allocated // 8}")


def _inflate_start(file: BinaryIO) -> bytes:
    try:
        with gzip.GzipFile(fileobj=file) as inflated:
            return inflated.read(_HEADER_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableFileError("not DICOM: a gzip file that can't be inflated") from error


def _open_image(root: Path, header: str) -> tuple[BinaryIO, Stamp, str] | None:
    stem = header.removesuffix(".gz").removesuffix(".hdr").removesuffix(".HDR")
    for suffix in (".img", ".img.gz", ".IMG"):
        try:
            return *open_file(root, stem + suffix), stem + suffix
        except (OSError, UnreadableFileError):
            continue
    return None


class _Header:
    """The fields of a header of either version."""

    def __init__(self, start: bytes) -> None:
        is_second = start[4:6] == b"n+" or start[4:6] == b"ni"
        self.is_pair = b"ni" in (start[344:346], start[4:6])
        size = 540 if is_second else 348
        if len(start) < size:
            raise UnreadableFileError(f"truncated: a NIfTI header of {len(start)} bytes, {size} needed")
        self._order = "<" if struct.unpack_from("<i", start)[0] == size else ">"
        self._start = start
        if is_second:
            self.dim = self._get("8q", 16)
            (self.datatype,), (self.offset,) = self._get("h", 12), self._get("q", 168)
            self.pixdim, (self.slope, self.intercept) = self._get("8d", 104), self._get("2d", 176)
            self.cal_max, self.cal_min = self._get("2d", 192)
            self.qform_code, self.sform_code = self._get("2i", 344)
            self.quaternion, self.rows = self._get("6d", 352), self._get("12d", 400)
            (self.units,) = self._get("i", 500)
        else:
            self.dim = self._get("8h", 40)
            (self.datatype,), (self.offset,) = self._get("h", 70), self._get("f", 108)
            self.pixdim, (self.slope, self.intercept) = self._get("8f", 76), self._get("2f", 112)
            self.cal_max, self.cal_min = self._get("2f", 124)
            self.qform_code, self.sform_code = self._get("2h", 252)
            self.quaternion, self.rows = self._get("6f", 256), self._get("12f", 280)
            (self.units,) = self._get("b", 123)

    def _get(self, layout: str, offset: int) -> tuple[Any, ...]:
        return struct.unpack_from(self._order + layout, self._start, offset)

    def describe(self, path: str, data_path: str, stamp: Stamp, is_gzip: bool, digest: str) -> NiftiFile:
        """Check all that the voxels' meaning and place depend on.

        Raises
        ------
        UnreadableFileError
            If the header contradicts itself, the file or what can be shown.
        """
        shape, volumes = self._sizes()
        if self.datatype not in _TYPES:
            raise UnreadableFileError(f"NIfTI datatype {self.datatype}: unknown")
        name, kind, itemsize = _TYPES[self.datatype]
        if kind == _COMPLEX:
            raise UnreadableFileError(f"{name} voxels: {kind} is not rendered")
        if not (math.isfinite(self.offset) and 0 <= self.offset < 1 << 40):
            raise UnreadableFileError(f"vox_offset is {self.offset:g}")
        offset = int(self.offset) if self.is_pair else max(int(self.offset), 348)
        length = math.prod(shape) * volumes * itemsize
        available = stamp.size_bytes * MAXIMUM_DEFLATE_RATIO if is_gzip else stamp.size_bytes - offset
        if length > available:
            at_most = "at most " if is_gzip else ""
            raise UnreadableFileError(f"truncated: voxels of {length:,} bytes, {at_most}{max(available, 0):,} there")
        affine, warnings = self._affine()
        if name == "RGBA32":
            warnings += ("RGBA32 voxels: their alpha is not drawn",)
        is_scaled = math.isfinite(self.slope) and math.isfinite(self.intercept) and self.slope != 0
        has_window = math.isfinite(self.cal_max - self.cal_min) and self.cal_max > self.cal_min
        if self._order == "<":
            syntax = NIFTI_LITTLE_GZIP if is_gzip else NIFTI_LITTLE
        else:
            syntax = NIFTI_BIG_GZIP if is_gzip else NIFTI_BIG
        uid = f"nifti-{digest[:32]}"
        image = Instance(
            path=data_path,
            size_bytes=stamp.size_bytes,
            modified_ns=stamp.modified_ns,
            sop_instance_uid=uid,
            sop_class_uid="",
            series_uid=uid,
            study_uid="",
            frame_of_reference_uid="",
            patient_key="",
            transfer_syntax=syntax,
            modality="",
            description=Path(path).name.removesuffix(".gz").rpartition(".")[0],
            series_number=None,
            instance_number=None,
            image_type=(),
            units="",
            lossy=False,
            format=_format(name, kind, shape, itemsize),
            extent=PixelExtent(offset, length),
            number_of_frames=shape[0] * volumes,
        )
        return NiftiFile(
            path,
            data_path,
            shape,
            volumes,
            image,
            tuple(tuple(row) for row in affine.tolist()),
            self.slope if is_scaled else 1.0,
            self.intercept if is_scaled else 0.0,
            ((self.cal_max + self.cal_min) / 2, self.cal_max - self.cal_min) if has_window else None,
            warnings,
        )

    def _sizes(self) -> tuple[tuple[int, int, int], int]:
        count = self.dim[0]
        if not 1 <= count <= 7 or min(self.dim[1 : count + 1]) < 1:
            raise UnreadableFileError(f"dim is {', '.join(map(str, self.dim))}: no sizes of a volume")
        sizes = [*self.dim[1 : count + 1], 1, 1]
        columns, rows, slices = sizes[:3]
        if sorted((columns, rows, slices))[1] == 1:
            raise UnreadableFileError(f"{columns} x {rows} x {slices} values in a row: no image")
        if 1 in (columns, rows, slices) and columns * rows * slices in SURFACE_VALUES:
            raise UnreadableFileError(f"{columns} x {rows} x {slices} values: those of a surface's points, no image")
        volumes = math.prod(sizes[3:])
        if volumes > MAXIMUM_VOLUMES:
            raise UnreadableFileError(f"{volumes:,} volumes in one file: over {MAXIMUM_VOLUMES:,}")
        return (slices, rows, columns), volumes

    def _affine(self) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
        """Return the affine from voxel to LPS mm: method 3 (sform) over 2 (qform) over 1 (spacing alone)."""
        said: tuple[str, ...] = ()
        if self.sform_code > 0:
            affine = np.vstack([np.reshape(self.rows, (3, 4)), [0, 0, 0, 1]]).astype(np.float64)
        elif self.qform_code > 0:
            affine = self._affine_of_quaternion()
        else:
            affine = np.diag([*self._spacing(), 1.0])
            said = ("neither sform nor qform: the voxel axes are taken for right, front and head, from 0",)
        if not np.isfinite(affine).all():
            raise UnreadableFileError("the affine from voxel to space is not finite")
        affine[:3] *= _MM_PER_UNIT.get(self.units & 7, 1.0)
        affine[:2] *= -1
        return affine, said

    def _spacing(self) -> list[float]:
        # An axis of one voxel may have no spacing.
        axes = range(1, 4)
        return [abs(self.pixdim[n]) or float(n > self.dim[0] or self.dim[n] == 1) for n in axes]

    def _affine_of_quaternion(self) -> npt.NDArray[np.float64]:
        b, c, d, *origin = self.quaternion
        a = math.sqrt(max(1 - b * b - c * c - d * d, 0.0))
        length = math.sqrt(a * a + b * b + c * c + d * d)
        a, b, c, d = a / length, b / length, c / length, d / length
        turn = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        affine = np.eye(4)
        affine[:3, :3] = turn * self._spacing() * np.array([1, 1, -1 if self.pixdim[0] < 0 else 1])
        affine[:3, 3] = origin
        return affine


def _format(name: str, kind: str, shape: tuple[int, int, int], itemsize: int) -> PixelFormat:
    if kind == _COLOUR:
        return PixelFormat("PixelData", shape[1], shape[2], itemsize, "RGB", 8, 8, 7, False, 0)
    element = {"float32": "FloatPixelData", "float64": "DoubleFloatPixelData"}.get(name, "PixelData")
    bits = itemsize * 8
    return PixelFormat(element, shape[1], shape[2], 1, "MONOCHROME2", bits, bits, bits - 1, name.startswith("int"), 0)

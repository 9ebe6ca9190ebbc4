"""Small DICOM series with any geometry, pixel type and transfer syntax, written file by file; what a scan owes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from render.dicom.source import Scan

ENCODERS: Mapping[str, Callable[[npt.NDArray[Any]], bytes]] = {
    JPEGLSLossless: imagecodecs.jpegls_encode,
    JPEG2000Lossless: lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k"),
    HTJ2KLossless: imagecodecs.htj2k_encode,
    JPEGLosslessSV1: imagecodecs.ljpeg_encode,
}
NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
LOSSLESS = (*NATIVE, RLELossless, *ENCODERS)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def ramp(shape: tuple[int, int, int], dtype: str = "int16") -> npt.NDArray[Any]:
    """Voxels that are all different: slice * 1000 + row * 10 + column."""
    k, j, i = np.indices(shape)
    return np.asarray(k * 1000 + j * 10 + i).astype(dtype)


def positions_mm(
    count: int,
    step: Sequence[float] = (0.0, 0.0, 2.5),
    origin: Sequence[float] = (-10.0, -20.0, 30.0),
) -> npt.NDArray[np.float64]:
    """Positions of evenly stacked slices, LPS mm, shape (count, 3)."""
    return np.array(origin, np.float64) + np.arange(count)[:, None] * np.array(step, np.float64)


def write_series(
    folder: Path,
    stored: npt.NDArray[Any] | None = None,
    *,
    positions: npt.ArrayLike | None = None,
    orientation: Sequence[float] = AXIAL,
    spacing: Sequence[float] = (0.8, 0.5),
    uid: str = "1.2.3.4",
    names: Sequence[str] | None = None,
    transfer_syntax: str = ExplicitVRLittleEndian,
    per_slice: Sequence[Mapping[str, Any]] = (),
    **attributes: Any,
) -> list[Path]:
    """Write one file a slice and return the paths, in the order of `stored`.

    Parameters
    ----------
    stored
        Stored values, shape (K, J, I).
    per_slice
        Attributes of single slices, by keyword; None deletes one.
    attributes
        Attributes of all slices.
    """
    stored = ramp((4, 6, 5)) if stored is None else stored
    folder.mkdir(parents=True, exist_ok=True)
    places = np.asarray(positions_mm(len(stored)) if positions is None else positions, np.float64)
    paths = []
    for n, pixels in enumerate(stored):
        dataset = slice_dataset(pixels, f"{uid}.{n + 1}", uid)
        dataset.InstanceNumber = n + 1
        dataset.ImagePositionPatient = [f"{x:.10g}" for x in places[n]]
        dataset.ImageOrientationPatient = [f"{x:.10g}" for x in orientation]
        dataset.PixelSpacing = list(spacing)
        for keyword, value in {**attributes, **(per_slice[n] if per_slice else {})}.items():
            if value is None:
                del dataset[keyword]
            else:
                setattr(dataset, keyword, value)
        path = folder / (names[n] if names else f"slice{n:03}.dcm")
        save(dataset, path, pixels, transfer_syntax)
        paths.append(path)
    return paths


def slice_dataset(pixels: npt.NDArray[Any], sop_uid: str, series_uid: str) -> Dataset:
    """Return a CT image without pixel data and without a place."""
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = sop_uid
    dataset.StudyInstanceUID = "1.2.3"
    dataset.SeriesInstanceUID = series_uid
    dataset.FrameOfReferenceUID = "1.2.9"
    dataset.PatientID = "phantom"
    dataset.PatientName = "Secret^Name"
    dataset.Modality = "CT"
    dataset.SeriesNumber = 7
    dataset.SeriesDescription = "ramp"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = pixels.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.SliceThickness = 2.5
    return dataset


def save(dataset: Dataset, path: Path, pixels: npt.NDArray[Any], transfer_syntax: str) -> None:
    """Add the pixel data in a transfer syntax, and write the file."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = transfer_syntax
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    is_little = transfer_syntax != ExplicitVRBigEndian
    implicit = transfer_syntax == ImplicitVRLittleEndian
    file = FileDataset(
        str(path), dataset, preamble=b"\0" * 128, file_meta=meta, is_implicit_VR=implicit, is_little_endian=is_little
    )
    if pixels.dtype.kind == "f":
        keyword = {4: "FloatPixelData", 8: "DoubleFloatPixelData"}[pixels.itemsize]
        setattr(file, keyword, pixels.tobytes())
        for name in ("BitsStored", "HighBit", "PixelRepresentation"):
            delattr(file, name)
    elif transfer_syntax in ENCODERS:
        unsigned = pixels.view(f"u{pixels.itemsize}")
        source = pixels if transfer_syntax in (JPEG2000Lossless, HTJ2KLossless) else unsigned
        file.PixelData = encapsulate([bytes(ENCODERS[transfer_syntax](np.ascontiguousarray(source)))])
    else:
        raw = pixels.astype(pixels.dtype.newbyteorder("<" if is_little else ">")).tobytes()
        file.PixelData = raw + b"\0" * (len(raw) % 2)
        file["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    if transfer_syntax == RLELossless:
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.compress(RLELossless, generate_instance_uid=False)
    file.save_as(path, enforce_file_format=True)


def assert_accounted(found: Scan, folder: Path) -> None:
    """Assert that every file of a folder is in a series or was skipped, with a reason."""
    on_disk = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_symlink() or p.is_file())
    said = sorted([path for series in found.series for path in series.paths] + [f.path for f in found.skipped])
    assert said == on_disk
    assert found.files == len(on_disk)
    assert all(file.reason for file in found.skipped)
    assert all(series.reason for series in found.series if not series.volumes)

"""From a plan to voxels: decode each slice, mark padding, and keep or apply the rescale.

Padding is compared on stored values, before any rescale (PS3.3 C.7.5.1.1.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from render.dicom.access import PixelFiles
from render.dicom.codecs import decode
from render.dicom.colour import PALETTE_KEYWORDS, to_rgb8
from render.dicom.elements import naming, read_elements
from render.dicom.header import quiet_pydicom
from render.dicom.instance import NIFTI
from render.dicom.nifti import read_slice
from render.dicom.plan import VolumePlan
from render.dicom.slices import Layer, SliceSource
from render.dicom.values import EXACT_FLOAT32_INTEGER, ValuePlan
from render.errors import CodecError, RenderCancelledError, UnreadableFileError
from render.memory import available_cores
from render.volume import Volume

Codes: TypeAlias = npt.NDArray[np.int16] | npt.NDArray[np.float32] | npt.NDArray[np.uint8]

Progress: TypeAlias = Callable[[int, int], None]
Cancelled: TypeAlias = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class SliceReport:
    """What was found while a slice was decoded.

    Attributes
    ----------
    padded
        Voxels that are padding or not finite.
    largest
        Largest magnitude of a stored integer.
    """

    padded: int
    largest: int


def load_volume(
    plan: VolumePlan,
    progress: Progress | None = None,
    threads: int | None = None,
    cancelled: Cancelled | None = None,
) -> Volume:
    """Load a volume in this process, with a thread pool: codecs release the GIL.

    Parameters
    ----------
    plan
        From `render.dicom.source.scan`.
    progress
        Called from this thread with (slices done, slices).
    threads
        As many as there are processors if None.
    cancelled
        Asked between slices.

    Raises
    ------
    UnreadableFileError
        If a file is gone or has changed since the scan.
    CodecError
        If a slice can't be decoded.
    RenderCancelledError
        If `cancelled` said so.
    """
    codes: Codes = np.empty(plan.codes_shape, plan.values.dtype)
    reports: list[SliceReport] = []
    with quiet_pydicom(), ThreadPoolExecutor(threads or available_cores(), "decode") as pool:
        chunks = plan.chunks(threads or available_cores())
        layers = plan.layers
        pending = {
            pool.submit(decode_layers, plan.root, layers[start:stop], plan.values, codes[start:stop])
            for start, stop in chunks
        }
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                reports += [report for future in done for report in future.result()]
                if progress is not None:
                    progress(len(reports), plan.shape[0])
                if cancelled is not None and cancelled():
                    raise RenderCancelledError(f"load given up after {len(reports)} of {plan.shape[0]} slices")
        finally:
            for future in pending:
                future.cancel()
    return finish(plan, codes, reports)


def decode_layers(root: Path, layers: Sequence[Layer], values: ValuePlan, out: Codes) -> list[SliceReport]:
    """Decode consecutive slices of the grid into `out`, shape (slices, rows, columns), within `quiet_pydicom`.

    Raises
    ------
    UnreadableFileError, CodecError
        As `load_volume`.
    """
    with PixelFiles(root) as files:
        return [_decode_layer(files, layer, values, codes) for layer, codes in zip(layers, out, strict=True)]


def _decode_layer(files: PixelFiles, layer: Layer, values: ValuePlan, out: Codes) -> SliceReport:
    """Decode one slice of the grid: a file's, a mix of two, or a gap.

    Codes are mixed linearly and rounded; where either is invalid, the mix is.
    """
    invalid = np.nan if values.invalid_code is None else values.invalid_code
    if layer.lower is None:
        out[...] = invalid
        return SliceReport(out.size, 0)
    lower = decode_slice(files, layer.lower, values, out)
    if layer.upper is None:
        return lower
    above: Codes = np.empty_like(out)
    upper = decode_slice(files, layer.upper, values, above)
    is_float = out.dtype == np.float32
    unknown = (np.isnan(out) | np.isnan(above)) if is_float else (out == invalid) | (above == invalid)
    mixed = out * np.float32(1 - layer.fraction) + above * np.float32(layer.fraction)
    np.copyto(out, mixed if is_float else np.rint(mixed), casting="unsafe")
    if unknown.any():
        out[unknown] = invalid
    return SliceReport(int(unknown.sum()), max(lower.largest, upper.largest))


def decode_slice(files: PixelFiles, source: SliceSource, values: ValuePlan, out: Codes) -> SliceReport:
    """Decode one slice into `out`, shape (rows, columns), within `quiet_pydicom`.

    Raises
    ------
    UnreadableFileError, CodecError
        As `load_volume`; the message names the file, relative to `root`.
    """
    stored = read_stored(files, source)
    if values.is_color:
        pixels, instance = source.pixels, source.instance
        with naming(instance):
            palette = read_elements(files.root, instance, PALETTE_KEYWORDS) if pixels.samples == 1 else None
            out[...] = to_rgb8(stored, pixels, instance.transfer_syntax, palette)
        return SliceReport(0, 0)
    padding = padding_mask(stored, source.instance.padding)
    if values.dtype == "int16":
        _to_int16(stored, source, values, out)
        if padding is not None and values.invalid_code is not None:
            out[padding] = values.invalid_code
        padded = 0 if padding is None or values.invalid_code is None else int(padding.sum())
    else:
        _to_float32(stored, source, values.factor, out)
        if padding is not None:
            out[padding] = np.nan
        padded = int(np.isnan(out).sum())
    is_integer = stored.dtype.kind in "iu"
    return SliceReport(padded, max(abs(int(stored.min())), abs(int(stored.max()))) if is_integer else 0)


def read_stored(files: PixelFiles, source: SliceSource) -> npt.NDArray[Any]:
    """Return a slice's stored values, shape (rows, columns), in the machine's byte order.

    Raises
    ------
    UnreadableFileError, CodecError
        As `load_volume`.
    """
    instance = source.instance
    assert instance.format is not None
    assert instance.extent is not None
    try:
        file = files.open(instance)
        if instance.transfer_syntax in NIFTI:
            return _native(read_slice(file, instance, source.frame.number - 1))
        stored = decode(
            file,
            instance.transfer_syntax,
            instance.format,
            instance.extent,
            instance.number_of_frames,
            source.frame.number - 1,
        )
    except OSError as error:
        raise UnreadableFileError(f"{instance.path}: can't be read: {error.strerror}") from error
    except CodecError as error:
        raise CodecError(f"{instance.path}: {error.message}", **error.details) from error
    if source.tile is not None:
        row, column = source.tile.row, source.tile.column
        stored = stored[row : row + source.tile.rows, column : column + source.tile.columns]
    return _native(stored)


def _native(stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return stored if stored.dtype.isnative else stored.astype(stored.dtype.newbyteorder("="))


def finish(plan: VolumePlan, codes: Codes, reports: Iterable[SliceReport]) -> Volume:
    """Make the volume of decoded codes, shape ``(K, J, I)``, and the reports of all its slices."""
    reports = list(reports)
    info = plan.info
    largest = max((report.largest for report in reports), default=0)
    if plan.values.dtype == "float32" and largest > EXACT_FLOAT32_INTEGER:
        warning = f"stored values up to {largest:,} are rounded to float32, exact up to {EXACT_FLOAT32_INTEGER:,}"
        info = replace(info, warnings=(*info.warnings, warning))
    is_padded = any(report.padded for report in reports)
    return Volume(
        id=plan.id,
        geometry=plan.geometry,
        codes=codes,
        slope=plan.values.slope,
        intercept=plan.values.intercept,
        invalid_code=plan.values.invalid_code if is_padded else None,
        info=info,
    )


def padding_mask(stored: npt.NDArray[Any], padding: tuple[float, float] | None) -> npt.NDArray[np.bool_] | None:
    """Return which stored values are padding, given its lowest and highest; None where none can be."""
    if padding is None:
        return None
    low, high = padding
    if stored.dtype.kind == "f":
        return np.asarray((stored >= low) & (stored <= high))
    limits = np.iinfo(stored.dtype)
    if high < limits.min or low > limits.max:
        return None
    if low == high:
        return np.asarray(stored == low)
    return np.asarray((stored >= max(low, limits.min)) & (stored <= min(high, limits.max)))


def _to_int16(stored: npt.NDArray[Any], source: SliceSource, values: ValuePlan, out: npt.NDArray[Any]) -> None:
    lut = source.instance.modality_lut
    if lut is not None:
        stored = lut.look_up(stored)
    if values.offset:
        np.subtract(stored, values.offset, out=out, dtype=np.int32, casting="unsafe")
        return
    if stored.dtype == np.uint16 and (highest := int(stored.max())) > np.iinfo(np.int16).max:
        pixels = source.instance.format
        bits = pixels.bits_stored if pixels is not None else 0
        raise CodecError(f"{source.instance.path}: a stored value of {highest} in {bits}-bit pixels")
    np.copyto(out, stored, casting="unsafe")


def _to_float32(stored: npt.NDArray[Any], source: SliceSource, factor: float, out: npt.NDArray[Any]) -> None:
    lut = source.instance.modality_lut
    if lut is not None:
        np.copyto(out, lut.look_up(stored), casting="unsafe")
        return
    values = (stored.astype(np.float64) * source.frame.slope + source.frame.intercept) * factor
    # Beyond float32's range is infinite: like infinities in the source, it is no value that can be drawn.
    with np.errstate(over="ignore"):
        np.copyto(out, values, casting="unsafe")
    out[~np.isfinite(out)] = np.nan

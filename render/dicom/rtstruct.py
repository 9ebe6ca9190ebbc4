"""RTSTRUCT objects: contours in patient space, and the voxels of a grid that they enclose."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from render.dicom.attributes import LARGEST_LENGTH_MM, floats, integer, text, values
from render.dicom.elements import naming, read_elements
from render.dicom.instance import Instance
from render.errors import NotAVolumeError, UnreadableFileError
from render.geometry import VolumeGeometry
from render.labels import LabelVolume, LayerStack, Segment

Points: TypeAlias = npt.NDArray[np.float64]

PLANE_TOLERANCE = 0.1
"""A contour is parallel to the slices if its points leave their mean slice by no more than this, in slices."""

CLOSED = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"})
"""Contours that enclose voxels; others are points and lines."""

_CROSSINGS_AT_ONCE = 1 << 21

_TAGS = (
    "FrameOfReferenceUID",
    "StructureSetROISequence",
    "ROIContourSequence",
    "RTROIObservationsSequence",
    "ReferencedFrameOfReferenceSequence",
)


@dataclass(frozen=True, eq=False)
class Roi:
    """One region of interest.

    Attributes
    ----------
    contours
        Closed ones, LPS mm, each of shape (points, 3).
    others
        Number of contours that are not closed.
    frame_of_reference_uid
        Of the contours' coordinates; empty where the object does not say.
    """

    number: int
    name: str
    type: str
    algorithm: str
    color: tuple[int, int, int] | None
    contours: tuple[Points, ...]
    others: int
    frame_of_reference_uid: str


@dataclass(frozen=True, eq=False)
class StructureSet:
    """All regions of an RTSTRUCT.

    Attributes
    ----------
    referenced_series, referenced_instances
        UIDs of the images that were contoured, as far as the object says.
    """

    rois: tuple[Roi, ...]
    referenced_series: tuple[str, ...]
    referenced_instances: tuple[str, ...]


def read_structures(root: Path, instance: Instance) -> StructureSet:
    """Read the contours, within `quiet_pydicom`.

    Parameters
    ----------
    root
        The folder that the instance's path is below.

    Raises
    ------
    UnreadableFileError
        If the file is gone, has changed or is malformed; the message names it.
    """
    if instance.defect:
        raise UnreadableFileError(f"{instance.path}: {instance.defect}")
    dataset = read_elements(root, instance, _TAGS)
    with naming(instance):
        return _read(dataset)


def rasterize(structures: StructureSet, geometry: VolumeGeometry, frame_of_reference_uid: str = "") -> LabelVolume:
    """Return which voxels of a grid lie within each region: those whose centres do.

    Contours of one region on one slice are combined by exclusive or, so that an inner one is a hole. A contour that
    lies between two slices belongs to the nearer one.

    Parameters
    ----------
    geometry
        Of the volume that was contoured.
    frame_of_reference_uid
        The volume's; empty if unknown, and then not compared.

    Raises
    ------
    NotAVolumeError
        If no region lies in this frame of reference.
    """
    uids = sorted({roi.frame_of_reference_uid for roi in structures.rois if roi.frame_of_reference_uid})
    fits = [
        roi
        for roi in structures.rois
        if not (roi.frame_of_reference_uid and frame_of_reference_uid)
        or roi.frame_of_reference_uid == frame_of_reference_uid
    ]
    if structures.rois and not fits:
        raise NotAVolumeError(f"drawn in frame of reference {uids[0]}, the volume lies in {frame_of_reference_uid}")
    layers = LayerStack(geometry.shape)
    segments, warnings = [], []
    if len(fits) < len(structures.rois):
        left = len(structures.rois) - len(fits)
        warnings.append(f"{left} of {len(structures.rois)} regions lie in another frame of reference: left out")
    for value, roi in enumerate(fits, start=1):
        slices, said = _fill(roi, geometry)
        warnings += said
        segments.append(
            Segment(
                number=roi.number,
                label=roi.name,
                layer=layers.add(value, slices),
                value=value,
                type=roi.type,
                algorithm=roi.algorithm,
                color=roi.color,
            )
        )
    return LabelVolume(
        geometry=geometry,
        layers=layers.finish(),
        segments=tuple(segments),
        frame_of_reference_uid=frame_of_reference_uid or (uids[0] if uids else ""),
        referenced_series=structures.referenced_series,
        referenced_instances=structures.referenced_instances,
        warnings=tuple(warnings),
    )


def _fill(roi: Roi, geometry: VolumeGeometry) -> tuple[dict[int, npt.NDArray[np.bool_]], list[str]]:
    """Return a region's pixels by slice index, and what could not be filled."""
    by_slice: dict[int, list[Points]] = defaultdict(list)
    askew = outside = 0
    for contour in roi.contours:
        voxel = geometry.to_voxel(contour)  # (i, j, k)
        k = round(float(voxel[:, 2].mean()))
        if np.ptp(voxel[:, 2]) > 2 * PLANE_TOLERANCE:
            askew += 1
        elif not 0 <= k < geometry.shape[0]:
            outside += 1
        else:
            by_slice[k].append(voxel[:, :2])
    total = len(roi.contours)
    said = [
        f"region {roi.number}: {count} of {total} contours {what}: left out"
        for count, what in ((askew, "are not parallel to the slices"), (outside, "lie beyond the volume's slices"))
        if count
    ]
    if roi.others:
        said.append(f"region {roi.number}: {roi.others} contours are points or open lines: they enclose nothing")
    return {k: fill_polygons(polygons, geometry.shape[1:]) for k, polygons in by_slice.items()}, said


def fill_polygons(polygons: Sequence[Points], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return which pixel centres are within an odd number of polygons.

    A centre on an edge belongs to one of its sides only, so that polygons that share the edge share no pixel.

    Parameters
    ----------
    polygons
        Corners as (column, row), a pixel's centre at its integer index; the last joins the first.
    shape
        Rows and columns.
    """
    rows, columns = shape
    toggles = np.zeros((rows, columns + 1), np.int32)
    for polygon in polygons:
        start, end = polygon, np.roll(polygon, -1, axis=0)
        # An edge crosses the centres of rows from its lower end, up to but without its upper end.
        low = np.clip(np.ceil(np.minimum(start[:, 1], end[:, 1])), 0, rows).astype(np.int64)
        high = np.clip(np.ceil(np.maximum(start[:, 1], end[:, 1])), 0, rows).astype(np.int64)
        crossed = np.flatnonzero(high > low)
        at_once = max(_CROSSINGS_AT_ONCE // max(rows, 1), 1)
        for part in (crossed[n : n + at_once] for n in range(0, len(crossed), at_once)):
            counts = high[part] - low[part]
            edge = np.repeat(part, counts)
            row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + low[edge]
            fraction = (row - start[edge, 1]) / (end[edge, 1] - start[edge, 1])
            column = start[edge, 0] + fraction * (end[edge, 0] - start[edge, 0])
            np.add.at(toggles, (row, np.clip(np.ceil(column), 0, columns).astype(np.int64)), 1)
    return np.asarray(np.cumsum(toggles[:, :columns], axis=1) % 2 == 1)


def _read(dataset: Dataset) -> StructureSet:
    contours = {integer(item, "ReferencedROINumber"): item for item in values(dataset, "ROIContourSequence")}
    kinds = {
        integer(item, "ReferencedROINumber"): text(item, "RTROIInterpretedType")
        for item in values(dataset, "RTROIObservationsSequence")
    }
    rois = []
    for item in values(dataset, "StructureSetROISequence"):
        number = integer(item, "ROINumber")
        drawn = contours.get(number, Dataset())
        closed, others = [], 0
        for contour in values(drawn, "ContourSequence"):
            if text(contour, "ContourGeometricType").upper() in CLOSED:
                closed.append(_points(contour))
            else:
                others += 1
        rois.append(
            Roi(
                number=number,
                name=text(item, "ROIName"),
                type=kinds.get(number, ""),
                algorithm=text(item, "ROIGenerationAlgorithm"),
                color=_color(drawn),
                contours=tuple(closed),
                others=others,
                frame_of_reference_uid=text(item, "ReferencedFrameOfReferenceUID"),
            )
        )
    if not rois:
        raise UnreadableFileError("no region of interest is described")
    series = [
        referenced
        for frame in values(dataset, "ReferencedFrameOfReferenceSequence")
        for study in values(frame, "RTReferencedStudySequence")
        for referenced in values(study, "RTReferencedSeriesSequence")
    ]
    return StructureSet(
        rois=tuple(rois),
        referenced_series=tuple(text(item, "SeriesInstanceUID") for item in series),
        referenced_instances=tuple(
            text(image, "ReferencedSOPInstanceUID") for item in series for image in values(item, "ContourImageSequence")
        ),
    )


def _points(contour: Dataset) -> Points:
    """Return Contour Data, shape (points, 3). They are many: read from their text at once where it is at hand."""
    element = contour.get_item("ContourData") if "ContourData" in contour else None
    if isinstance(element, RawDataElement) and isinstance(element.value, bytes):
        try:
            numbers = np.array(element.value.strip(b" \0").split(b"\\"), np.float64)
        except ValueError as error:
            raise UnreadableFileError("ContourData is not a number") from error
    else:
        numbers = np.array(floats(contour, "ContourData") or (), np.float64)
    if not len(numbers) or len(numbers) % 3:
        raise UnreadableFileError(f"ContourData has {len(numbers)} values: not three a point")
    if not np.isfinite(numbers).all() or np.abs(numbers).max() > LARGEST_LENGTH_MM:
        raise UnreadableFileError(f"ContourData is beyond {LARGEST_LENGTH_MM:g} mm or not finite")
    return numbers.reshape(-1, 3)


def _color(item: Dataset) -> tuple[int, int, int] | None:
    try:
        found = floats(item, "ROIDisplayColor", 3)
    except UnreadableFileError:
        return None
    if found is None:
        return None
    red, green, blue = (min(max(int(channel), 0), 255) for channel in found)
    return red, green, blue

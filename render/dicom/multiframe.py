"""Frames of an enhanced multi-frame object, from its functional groups (PS3.3 C.7.6.16)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydicom.dataset import Dataset

from render.dicom.attributes import PHASE_KEYWORDS, floats, lengths, text, texts, values
from render.dicom.frames import FrameHeader, read_thickness, read_windows
from render.dicom.plainframes import frame_name
from render.errors import UnreadableFileError

_PHASE_GROUPS = (
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("FrameContentSequence", "StackID"),
    ("TemporalPositionSequence", "TemporalPositionTimeOffset"),
    ("FrameContentSequence", "FrameReferenceDateTime"),
    ("FrameContentSequence", "FrameAcquisitionDateTime"),
    ("MREchoSequence", "EffectiveEchoTime"),
    ("MRDiffusionSequence", "DiffusionBValue"),
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
    ("MRImageFrameTypeSequence", "FrameType"),
    ("CTImageFrameTypeSequence", "FrameType"),
    ("PETFrameTypeSequence", "FrameType"),
    ("CTReconstructionSequence", "ConvolutionKernel"),
)


def read_frames(dataset: Dataset, count: int) -> tuple[FrameHeader, ...]:
    """Read all frames. Where the functional groups place not all of them in the patient, none is placed.

    Raises
    ------
    UnreadableFileError
        If there are not as many functional groups as frames, or a number in them is malformed.
    """
    per_frame = values(dataset, "PerFrameFunctionalGroupsSequence")
    shared = next(iter(values(dataset, "SharedFunctionalGroupsSequence")), Dataset())
    if len(per_frame) != count:
        raise UnreadableFileError(f"{len(per_frame)} per-frame functional groups for {count} frames")
    common = tuple((name, "\\".join(texts(dataset, name))) for name in PHASE_KEYWORDS if values(dataset, name))
    frames = tuple(_read_frame(n, (groups, shared), common) for n, groups in enumerate(per_frame, start=1))
    if all(frame.position_mm and frame.orientation and frame.spacing_mm for frame in frames):
        return frames
    name = frame_name(dataset)
    return tuple(
        replace(frame, position_mm=None, orientation=None, phase=(*frame.phase, (name, str(frame.number))))
        for frame in frames
    )


def _read_frame(number: int, groups: Sequence[Dataset], common: tuple[tuple[str, str], ...]) -> FrameHeader:
    measures = _group(groups, "PixelMeasuresSequence")
    transformation = _group(groups, "PixelValueTransformationSequence")
    slope = floats(transformation, "RescaleSlope", 1) or (1.0,)
    intercept = floats(transformation, "RescaleIntercept", 1) or (0.0,)
    if slope[0] == 0:
        raise UnreadableFileError("RescaleSlope is 0")
    spacing = lengths(measures, "PixelSpacing", 2, positive=True)
    return FrameHeader(
        number=number,
        position_mm=lengths(_group(groups, "PlanePositionSequence"), "ImagePositionPatient", 3),
        orientation=lengths(_group(groups, "PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        spacing_mm=spacing,
        thickness_mm=read_thickness(measures),
        slope=slope[0],
        intercept=intercept[0],
        windows=read_windows(_group(groups, "FrameVOILUTSequence")),
        phase=(*_phase(groups), *common),
        rescale_type=text(transformation, "RescaleType"),
        spacing_from="PixelSpacing" if spacing is not None else "",
    )


def _phase(groups: Sequence[Dataset]) -> tuple[tuple[str, str], ...]:
    found = []
    for sequence, keyword in _PHASE_GROUPS:
        if value := "\\".join(texts(_group(groups, sequence), keyword)):
            found.append((keyword, value))
    direction = _group([_group(groups, "MRDiffusionSequence")], "DiffusionGradientDirectionSequence")
    if cosines := texts(direction, "DiffusionGradientOrientation"):
        found.append(("DiffusionGradientOrientation", "\\".join(cosines)))
    # Whatever the dimensions are, those that are no position tell frames at one position apart.
    indices = texts(_group(groups, "FrameContentSequence"), "DimensionIndexValues")
    found += [(f"Dimension{n}", value) for n, value in enumerate(indices, start=1)]
    return tuple(found)


def _group(groups: Sequence[Dataset], sequence: str) -> Dataset:
    """Return the functional group macro: the frame's own, else the shared one, else an empty one."""
    for group in groups:
        if items := values(group, sequence):
            item: Dataset = items[0]
            return item
    return Dataset()

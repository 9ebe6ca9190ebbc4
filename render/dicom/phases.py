"""Slices that share positions, told apart: echoes, b-values, times, heart phases, or copies of one slice.

Each part is a volume of its own, with a named index: the attribute and its value.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import numpy as np

from render.dicom.attributes import FRAME_PHASE_KEYWORDS, PHASE_KEYWORDS
from render.dicom.slices import SliceSource
from render.dicom.stack import directions
from render.dicom.tolerances import same_position_mm

Slices: TypeAlias = list[SliceSource]

ALWAYS_APART = (
    "Dose",
    "StackID",
    "EchoNumbers",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "DiffusionBValue",
    "ConvolutionKernel",
    "EnergyWindow",
    "Detector",
    "RRInterval",
    "TimeSlot",
)
"""Slices that differ in one of these are of different volumes, wherever they lie."""

ORDERED = (
    "TriggerTime",
    "NominalCardiacTriggerDelayTime",
    "NominalPercentageOfCardiacPhase",
    "FrameReferenceTime",
    "TemporalPositionTimeOffset",
    "FrameReferenceDateTime",
    "AcquisitionNumber",
    "AcquisitionTime",
    "ContentTime",
    "FrameAcquisitionDateTime",
)
"""What orders the images at one position, although each position has its own values: a heart phase's trigger times
differ a little from slice to slice."""

TIME_KEYWORDS = frozenset(
    {*ORDERED, "TemporalPositionIdentifier", "TemporalPositionIndex", "CardiacCyclePosition", "TimeSlot", "Frame"}
    - {"AcquisitionNumber"}
)
"""Named indices that are times: images of one place that differ in one are a cine."""


@dataclass(frozen=True)
class Phase:
    """Slices of one volume.

    Attributes
    ----------
    index
        What tells it from the others of its series: attribute and value. Empty where it is alone.
    warnings
        What to say of the split.
    """

    slices: Slices
    index: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def split_phases(slices: Slices) -> list[Phase]:
    """Split slices of one orientation and format until no two of a part share a position.

    First by the attributes that always mean another volume; then by the first that tells those at one position apart;
    then by the order that times give; at last by Instance Number, which is said.
    """
    return [
        phase
        for part in _split_by_all(Phase(slices), ALWAYS_APART)
        for phase in _split_until_single(part, (*PHASE_KEYWORDS, *FRAME_PHASE_KEYWORDS))
    ]


def _split_by_all(phase: Phase, keywords: Sequence[str]) -> list[Phase]:
    phases = [phase]
    for keyword in keywords:
        split = []
        for known in phases:
            parts = _by_value(known.slices, keyword)
            # Where each slice has a value of its own, it is a number of slices, whatever it is called.
            is_numbering = len(parts) == len(known.slices) and multiplicity(known.slices) == 1
            split += [known] if len(parts) == 1 or is_numbering else _named(known, keyword, parts)
        phases = split
    return phases


def _split_until_single(phase: Phase, keywords: Sequence[str]) -> list[Phase]:
    count = multiplicity(phase.slices)
    if count == 1:
        return [phase]
    for n, keyword in enumerate(keywords):
        parts = _by_value(phase.slices, keyword)
        # A phase has its slice at each position, so there are no more phases than images at one position.
        if 1 < len(parts) <= count and all(multiplicity(part) < count for part in parts.values()):
            return [
                single
                for part in _named(phase, keyword, parts)
                for single in _split_until_single(part, keywords[n + 1 :])
            ]
    return _split_by_rank(phase, count)


def _split_by_rank(phase: Phase, count: int) -> list[Phase]:
    clusters = at_one_position(phase.slices)
    if all(len(cluster) == count for cluster in clusters):
        for keyword in ORDERED:
            if all(len(_by_value(cluster, keyword)) == count for cluster in clusters):
                return _ranked(phase, clusters, keyword, partial(_value_order, keyword), ())
    doubled = sum(len(cluster) > 1 for cluster in clusters)
    warning = (
        f"{doubled} positions hold up to {count} images that no attribute tells apart: "
        "kept as separate volumes by Instance Number"
    )
    return _ranked(phase, clusters, "repeat", lambda s: s.instance.instance_number or 0, (warning,))


def _ranked(
    phase: Phase,
    clusters: Sequence[Slices],
    name: str,
    key: Callable[[SliceSource], object],
    warnings: tuple[str, ...],
) -> list[Phase]:
    """Make the n-th images of all positions a part; `name` is said with n, since the values differ."""
    ranks: dict[int, Slices] = defaultdict(list)
    for cluster in clusters:
        ordered = sorted(cluster, key=lambda s: (key(s), *_origin(s)))
        for rank, source in enumerate(ordered):
            ranks[rank].append(source)
    label = name if name == "repeat" else f"{name} order"
    return [
        Phase(members, {**phase.index, label: str(rank)}, (*phase.warnings, *warnings))
        for rank, members in ranks.items()
    ]


def _origin(source: SliceSource) -> tuple[str, str, str, str, int]:
    """Return what images of one repetition have alike, the strongest first: repetitions are not to be mixed."""
    instance = source.instance
    folder = instance.path.rpartition("/")[0]
    return folder, instance.transfer_syntax, instance.sop_instance_uid, instance.path, source.frame.number


def _named(phase: Phase, keyword: str, parts: Mapping[str, Slices]) -> list[Phase]:
    ordered = sorted(parts.items(), key=lambda item: natural(item[0]))
    return [Phase(part, {**phase.index, keyword: value}, phase.warnings) for value, part in ordered]


def value_of(source: SliceSource, keyword: str) -> str:
    """Return what a slice has for one of its phase attributes; empty where it has none."""
    return next((value for name, value in source.frame.phase if name == keyword), "")


def _by_value(slices: Slices, keyword: str) -> dict[str, Slices]:
    parts: dict[str, Slices] = defaultdict(list)
    for source in slices:
        parts[value_of(source, keyword)].append(source)
    return parts


def multiplicity(slices: Slices) -> int:
    """Return how many slices there are at the position that has the most."""
    return max(len(cluster) for cluster in at_one_position(slices))


def at_one_position(slices: Slices) -> list[Slices]:
    """Cluster slices whose positions coincide."""
    _, _, normal = directions(slices[0].frame)
    tolerance = same_position_mm(slices[0].frame.spacing_mm or (1.0, 1.0))
    positions = np.array([source.frame.position_mm for source in slices], np.float64)
    depth = positions @ normal
    clusters: list[Slices] = []
    anchors: list[int] = []
    for n in np.lexsort((*positions.T, depth)):
        for cluster, anchor in zip(reversed(clusters), reversed(anchors), strict=True):
            if depth[n] - depth[anchor] > tolerance:
                clusters.append([slices[n]])
                anchors.append(int(n))
                break
            if np.linalg.norm(positions[n] - positions[anchor]) <= tolerance:
                cluster.append(slices[n])
                break
        else:
            clusters.append([slices[n]])
            anchors.append(int(n))
    return clusters


def _value_order(keyword: str, source: SliceSource) -> tuple[float, str]:
    return natural(value_of(source, keyword))


def natural(value: str) -> tuple[float, str]:
    """Sort numbers by value, before text."""
    try:
        return float(value), value
    except ValueError:
        return float("inf"), value

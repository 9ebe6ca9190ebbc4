"""Volumes of one series that can be shown in one another's place: times, echoes, b-values, frames of a cine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from render.descriptions import Phase
from render.dicom.plan import VolumePlan

SAME_GRID_MM = 0.01
"""Affines that differ by no more are one grid: the same as for two slices at one position."""


def phases_of(plans: Sequence[VolumePlan]) -> list[tuple[Phase, ...]]:
    """Return for each volume of a series all that share its grid and the kind of its index, in their order.

    Empty for a volume that is alone: without an index, or on a grid of its own.
    """
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for n, plan in enumerate(plans):
        groups[_kind(plan) if plan.info.extra else n].append(n)
    found: list[tuple[Phase, ...]] = [()] * len(plans)
    for members in groups.values():
        while members:
            grid = plans[members[0]].geometry.patient_from_voxel
            near = [n for n in members if np.abs(plans[n].geometry.patient_from_voxel - grid).max() <= SAME_GRID_MM]
            phases = tuple(Phase(plans[n].id, _label(plans[n])) for n in near)
            for n in near if len(near) > 1 else ():
                found[n] = phases
            members = [n for n in members if n not in near]
    return found


def _kind(plan: VolumePlan) -> Hashable:
    info = plan.info
    # Images that lie nowhere share a grid whatever they are of: two clips are two cines, and so are two detectors.
    is_numbered = not {"Frame", "Image"}.isdisjoint(info.extra)
    clip = plan.slices[0].instance.path, *(info.extra.get(name) for name in ("EnergyWindow", "Detector"))
    return (
        clip if is_numbered else "",
        plan.shape,
        tuple(info.extra),
        info.units,
        info.frame_of_reference_uid,
        plan.values.is_color,
        plan.is_localizer,
    )


def _label(plan: VolumePlan) -> str:
    return ", ".join(f"{name} {value}" for name, value in plan.info.extra.items())

"""Reference pictures, drawn once for all renderers and ways to sample: they cost more than what they judge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest

from render.view import View
from render.volume import Volume
from tests.backends import conformance, scenes
from tests.reference import Reference, render_reference


class _Content:
    """A volume as a key: what it is made of, not which object it is."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        geometry = volume.geometry.patient_from_voxel.tobytes()
        codes = (volume.codes.shape, volume.codes.dtype.str, volume.codes.tobytes())
        self._key = (volume.id, geometry, codes, volume.slope, volume.intercept, volume.invalid_code)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Content) and self._key == other._key


@cache
def _drawn(view: View, content: _Content, step_factor: float) -> Reference:
    return render_reference(view, content.volume, step_factor=step_factor)


def remembered_reference(view: View, volume: Volume, *, step_factor: float = 1.0) -> Reference:
    """`tests.reference.render_reference` of a whole picture."""
    return _drawn(view, _Content(volume), step_factor)


@contextmanager
def remembering() -> Iterator[pytest.MonkeyPatch]:
    """Let the conformance tests take their references from here; yields the patch."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (conformance, scenes):
            patch.setattr(module, "render_reference", remembered_reference)
        yield patch


@contextmanager
def judging_by(bound: Any) -> Iterator[None]:
    """Let the conformance tests judge by the ``compare`` and ``value_tolerance`` of a module; and as `remembering`."""
    with remembering() as patch:
        for module in (conformance, scenes):
            patch.setattr(module, "compare", bound.compare)
        patch.setattr(conformance, "value_tolerance", bound.value_tolerance)
        yield

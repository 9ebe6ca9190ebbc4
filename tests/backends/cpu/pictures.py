"""The same scenes drawn by kernels of another kind, in a process of its own, and how far the pictures may be apart."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from render.backends.cpu import CpuRenderer
from render.frame import Frame
from render.view import View
from render.volume import Volume
from tests import phantoms
from tests.backends.scenes import draw, holes_of, make_view, slanted_camera
from tests.phantoms import FLOAT32, GRIDS, INT16, INT16_PADDED, Storage

ROOT = Path(__file__).resolve().parents[3]
STORAGES = {"int16": INT16, "int16_padded": INT16_PADDED, "float32": FLOAT32}
PROJECTIONS = ("orthographic", "perspective")
SLANTED_GRIDS = ("oblique", "sheared")
ROUNDOFF = 2.0**-24
"""Of float32, relative."""

DRAW = """
import sys
import numpy as np
from tests.backends.cpu.pictures import pictures
from render.backends.cpu import operations
np.savez(sys.argv[1], width=operations.WIDTH, **dict(pictures(*(names.split(",") for names in sys.argv[2:4]))))
"""


def scene(work: str, stored: str, where: str, projection: str) -> tuple[Volume, View]:
    """Return a volume that has a corner without values if it can have one, and a view of it."""
    storage: Storage = STORAGES[stored]
    volume = phantoms.blobs(GRIDS[where], storage, holes=holes_of(storage))
    return volume, make_view(volume, work, slanted_camera(volume.geometry, projection))


def pictures(works: Sequence[str], storages: Sequence[str]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Draw every scene of some works on what this process has; the names are `scene`'s arguments."""
    renderer = CpuRenderer(2)
    for names in itertools.product(works, storages, SLANTED_GRIDS, PROJECTIONS):
        frame = draw(renderer, *scene(*names))
        yield "|".join(names), frame.values if frame.color is None else frame.color
    renderer.close()


def python(code: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, since the kernels' set is chosen once."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def load(path: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(path) as drawn:
        return dict(drawn)


def tolerance(volume: Volume, view: View) -> float:
    """Derive how far two pictures of values may be apart if nothing but the rounding of coordinates differs.

    A sample's voxel coordinate is ``corner + columns + rows + (lattice + k) * step``. On lanes each of the three sums
    is fused and rounded once; the corner, the pixel's steps and the ray's step are rounded beforehand. On scalars the
    corner is each pixel's own, and the product is rounded before the sum. In perspective the step is the quotient of a
    sum and a length, which are rounded six times more. So at most 16 roundings on either side, each of a number no
    larger than the way from the eye, or the picture's plane, to the far end of the volume in voxels: `reach`.

    A sample changes by no more than the greatest step between neighbouring voxels times that, along each axis. For
    int16 the weight along x may then round to the next of its 2**14 steps. What is added up and interpolated on the
    way rounds in float32: 8 roundings in a sample, and one for each sample of a mean, of numbers up to the greatest.
    """
    geometry = volume.geometry
    eye = np.array(view.camera.position)
    reach = np.abs(geometry.to_voxel(geometry.corners_mm) - geometry.to_voxel(eye)).max()
    values = volume.values().astype(np.float64)
    steps = [np.nanmax(np.abs(np.diff(values, axis=axis))) for axis in range(3)]
    offset = 32 * ROUNDOFF * reach
    quantum = 2.0**-14 if volume.codes.dtype == np.int16 else 0.0
    samples = 2 * geometry.diagonal_mm / geometry.smallest_spacing_mm
    return float(offset * sum(steps) + quantum * steps[2] + (8 + samples) * ROUNDOFF * np.nanmax(np.abs(values)))


def values_agree(got: npt.NDArray[Any], wanted: npt.NDArray[Any], allowed: float) -> bool:
    """Whether all pixels are within `allowed`, but for one in a thousand.

    A sample within a rounding of a face is inside for the one and outside for the other, and may be a ray's only one.
    """
    both = np.isnan(got) & np.isnan(wanted)
    return bool((both | (np.abs(got - wanted) <= allowed)).mean() >= 0.999)


def same(frame: Frame, wanted: npt.NDArray[Any], volume: Volume) -> bool:
    """Whether a frame is the picture that other kernels drew of the same scene, which must show something."""
    if frame.color is None:
        assert np.isfinite(wanted).mean() > 0.2
        assert frame.values is not None
        return values_agree(frame.values, wanted, tolerance(volume, frame.view))
    assert (wanted[..., 3] > 0).mean() > 0.2
    # A packet of lanes goes on until all its rays are opaque, one ray until it is itself: at most one step of 8 bits.
    # What differs by a rounding may be rounded to the next step, and pick the next entry of a table, far less than one.
    return bool(np.abs(frame.color.astype(int) - wanted).max() <= 2)

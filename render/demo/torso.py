"""The demonstration volume: a torso in CT, made by rule, the same every time.

Nothing in it comes from a patient. Its parts are in `render.demo.anatomy`, `render.demo.skeleton` and
`render.demo.vessels`; here they are put on a grid, slice block by slice block.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from render.demo.anatomy import FIELDS, Points
from render.demo.shapes import Axes, CoarseField, FloatArray, Layers, Structure, Taps, blend
from render.demo.skeleton import skeleton
from render.demo.vessels import soft_structures
from render.errors import InvalidArgumentError
from render.geometry import VolumeGeometry
from render.memory import available_cores
from render.transfer import Window
from render.volume import Volume, VolumeInfo

EXTENT_MM = (384.0, 384.0, 375.0)
"""Width, depth and height of the volume, voxel faces included, whatever its shape."""

VERSION = 1
"""Part of the volume's id: up with every change of what the voxels hold."""

AIR_HU = -1000.0
NOISE_HU = 9.0
"""Standard deviation in a single voxel, as a standard reconstruction of a chest has it."""

_NODE_MM = (3.0, 3.0, 3.75)
_NODE_PLANES_AT_ONCE = 4
_SLICES_AT_ONCE = 10


def torso_volume(
    shape: tuple[int, int, int] = (300, 512, 512), *, progress: Callable[[float], None] | None = None
) -> Volume:
    """Make the demonstration CT.

    Parameters
    ----------
    shape
        ``(K, J, I)``. The same torso fills any grid, so that a small one is a coarse one.
    progress
        Called with the finished share, 0 to 1, from the calling thread. What it raises ends the work at the next
        block of slices, and is raised from here.

    Returns
    -------
    Volume
        int16 HU, about 0.75 x 0.75 x 1.25 mm in the default shape, centred on 0, axes along the patient's.

    Raises
    ------
    InvalidArgumentError
        If a side is under 8 or over 2048 voxels.
    """
    if len(shape) != 3 or not all(8 <= n <= 2048 for n in shape):
        raise InvalidArgumentError(f"demo volume shape {shape}: three sizes of 8 to 2048 needed", field="shape")
    spacing = [extent / n for extent, n in zip(EXTENT_MM, shape[::-1], strict=True)]
    axes = Axes(*(_centers(n, step) for n, step in zip(shape[::-1], spacing, strict=True)))
    nodes = Axes(*(_centers(round(e / s) + 3, s) for e, s in zip(EXTENT_MM, _NODE_MM, strict=True)))
    fields = _coarse_fields(nodes)
    structures = [*soft_structures(fields["lungs"].at), *skeleton()]
    painter = _Painter(axes, nodes, fields, structures)

    codes = np.empty(shape, np.int16)
    starts = range(0, shape[0], _SLICES_AT_ONCE)
    with concurrent.futures.ThreadPoolExecutor(available_cores(), "demo") as pool:
        blocks = [pool.submit(painter.paint, codes, start) for start in starts]
        try:
            for done, block in enumerate(blocks, 1):
                block.result()
                if progress is not None:
                    progress(done / len(starts))
        finally:
            for block in blocks:
                block.cancel()
    geometry = VolumeGeometry.from_axes(
        shape,
        [axes.x[0], axes.y[0], axes.z[0]],
        [spacing[0], 0, 0],
        [0, spacing[1], 0],
        [0, 0, spacing[2]],
    )
    return Volume(
        f"demo-torso-v{VERSION}-{shape[0]}x{shape[1]}x{shape[2]}",
        geometry,
        codes,
        info=VolumeInfo(
            modality="CT",
            units="HU",
            description="Procedural torso",
            windows=(
                Window(50, 400, explanation="Mediastinum"),
                Window(-600, 1500, explanation="Lung"),
                Window(400, 1800, explanation="Bone"),
            ),
            slice_thickness_mm=spacing[2],
        ),
    )


def _centers(count: int, step_mm: float) -> FloatArray:
    return ((np.arange(count) - (count - 1) / 2) * step_mm).astype(np.float32)


def _coarse_fields(nodes: Axes) -> dict[str, CoarseField]:
    shape = (len(nodes.z), len(nodes.y), len(nodes.x))
    distances = {name: np.empty(shape, np.float32) for name, _, _ in FIELDS}

    def evaluate(start: int) -> None:
        # A few planes at a time: the temporaries stay in the processor's cache.
        planes = slice(start, start + _NODE_PLANES_AT_ONCE)
        points = Points(*nodes.open_grid((planes, slice(None), slice(None))))
        for name, field, _ in FIELDS:
            distances[name][planes] = field(points)

    with concurrent.futures.ThreadPoolExecutor(available_cores(), "demo") as pool:
        list(pool.map(evaluate, range(0, len(nodes.z), _NODE_PLANES_AT_ONCE)))
    return {name: CoarseField(distance, nodes) for name, distance in distances.items()}


class _Painter:
    """Paints blocks of slices; any number at a time."""

    def __init__(self, axes: Axes, nodes: Axes, fields: dict[str, CoarseField], structures: list[Structure]) -> None:
        self._axes = axes
        self._fields: list[tuple[str, CoarseField, Layers]] = [
            (name, fields[name], layers) for name, _, layers in FIELDS
        ]
        self._structures = structures
        self._to_x = Taps.between(axes.x, nodes.x)
        self._to_y = Taps.between(axes.y, nodes.y)
        generator = np.random.default_rng(20240229)
        self._noise = _smooth_noise(generator, 2 * max(256, len(axes.x), len(axes.y)))
        self._offsets = generator.integers(0, 256, (len(axes.z), 2))

    def paint(self, codes: npt.NDArray[np.int16], start: int) -> None:
        """Paint `_SLICES_AT_ONCE` slices from `start`."""
        block = slice(start, min(start + _SLICES_AT_ONCE, len(codes)))
        axes = Axes(self._axes.x, self._axes.y, self._axes.z[block])
        hu = np.full((len(axes.z), len(axes.y), len(axes.x)), np.float32(AIR_HU))
        for offset, z in enumerate(axes.z):
            for name, field, layers in self._fields:
                found = field.slice(float(z), self._to_x, self._to_y)
                if found is None:
                    continue
                window, distance = found
                blend(hu[offset][window], distance, layers)
                if name == "lungs":
                    self._texture_lungs(hu[offset][window], distance, window[0])
        for structure in self._structures:
            structure.paint(hu, axes)
        for offset in range(len(axes.z)):
            row, column = self._offsets[start + offset]
            hu[offset] += self._noise[row : row + len(axes.y), column : column + len(axes.x)]
        codes[block] = np.clip(np.rint(hu), -1024, 3071)

    def _texture_lungs(self, hu: FloatArray, distance: FloatArray, rows: slice) -> None:
        """Denser towards the back, on which the patient lies."""
        inside = np.clip(-distance / 4, 0, 1)
        hu += inside * (self._axes.y[rows, None] * np.float32(0.35))


def _smooth_noise(generator: np.random.Generator, side: int) -> FloatArray:
    """Noise with the grain of a CT's kernel, standard deviation `NOISE_HU`, shape (side, side)."""
    noise = generator.standard_normal((side, side), np.float32)
    for axis in (0, 1):
        noise = noise + np.float32(0.6) * (np.roll(noise, 1, axis) + np.roll(noise, -1, axis))
    result: FloatArray = noise * np.float32(NOISE_HU / noise.std())
    return result

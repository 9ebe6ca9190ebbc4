"""The same texts on scalars: they draw what the lanes draw, and stand in where the lanes can't be had."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from render.backends.cpu import CpuRenderer, operations
from render.view import View
from render.volume import Volume
from tests import phantoms
from tests.backends.scenes import WORKS, draw, make_view, slanted_camera
from tests.phantoms import FLOAT32, GRIDS, INT16, Storage

ROOT = Path(__file__).resolve().parents[3]
STORAGES = {"int16": INT16, "float32": FLOAT32}
PROJECTIONS = ("orthographic", "perspective")
SLANTED_GRIDS = ("oblique", "sheared")
ROUNDOFF = 2.0**-24
"""Of float32, relative."""

DRAW = """
import sys
import numpy as np
from tests.backends.cpu.test_scalars import pictures
from render.backends.cpu import operations
np.savez(sys.argv[1], width=operations.WIDTH, **dict(pictures(sys.argv[2].split(","))))
"""


def scene(work: str, stored: str, where: str, projection: str) -> tuple[Volume, View]:
    storage: Storage = STORAGES[stored]
    volume = phantoms.blobs(GRIDS[where], storage)
    return volume, make_view(volume, work, slanted_camera(volume.geometry, projection))


def pictures(works: list[str]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Draw every scene of some works on what this process has; the names are `scene`'s arguments."""
    renderer = CpuRenderer(2)
    for names in itertools.product(works, STORAGES, SLANTED_GRIDS, PROJECTIONS):
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


@pytest.fixture(scope="module")
def on_scalars(tmp_path_factory: pytest.TempPathFactory) -> dict[str, npt.NDArray[Any]]:
    target = tmp_path_factory.mktemp("scalars") / "pictures.npz"
    python(DRAW, target, ",".join(WORKS), VOXELCAST_LANES="1")
    drawn = load(target)
    assert drawn.pop("width") == 1
    return drawn


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
    values = volume.codes.astype(np.float64) * volume.slope + volume.intercept
    steps = [np.abs(np.diff(values, axis=axis)).max() for axis in range(3)]
    offset = 32 * ROUNDOFF * reach
    quantum = 2.0**-14 if volume.codes.dtype == np.int16 else 0.0
    samples = 2 * geometry.diagonal_mm / geometry.smallest_spacing_mm
    return float(offset * sum(steps) + quantum * steps[2] + (8 + samples) * ROUNDOFF * np.abs(values).max())


def agree(got: npt.NDArray[Any], wanted: npt.NDArray[Any], allowed: float) -> bool:
    """Whether all pixels are within `allowed`, but for one in a thousand.

    A sample within a rounding of a face is inside for the one and outside for the other, and may be a ray's only one.
    """
    both = np.isnan(got) & np.isnan(wanted)
    return bool((both | (np.abs(got - wanted) <= allowed)).mean() >= 0.999)


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("where", SLANTED_GRIDS)
@pytest.mark.parametrize("stored", STORAGES)
@pytest.mark.parametrize("work", WORKS)
def test_lanes_change_nothing(
    on_scalars: dict[str, npt.NDArray[Any]],
    on_lanes: CpuRenderer,
    work: str,
    stored: str,
    where: str,
    projection: str,
) -> None:
    volume, view = scene(work, stored, where, projection)
    frame = draw(on_lanes, volume, view)
    wanted = on_scalars["|".join((work, stored, where, projection))]
    if frame.color is None:
        assert np.isfinite(wanted).mean() > 0.2
        assert agree(frame.values, wanted, tolerance(volume, view))
        return
    assert (wanted[..., 3] > 0).mean() > 0.2
    # A packet of lanes goes on until all its rays are opaque, one ray until it is itself: at most one step of 8 bits.
    # What differs by a rounding may be rounded to the next step, and pick the next entry of a table, far less than one.
    assert np.abs(frame.color.astype(int) - wanted).max() <= 2


@pytest.fixture(scope="module")
def on_lanes() -> Iterator[CpuRenderer]:
    renderer = CpuRenderer(2)
    yield renderer
    renderer.close()


WRONG_WEIGHT = """
import numpy as np
from render.backends.cpu import operations, sampling

@operations.inline
def weight(codes, fraction):
    return operations.weight(codes, fraction * np.float32(1 - 2**-7))

sampling.weight = weight
"""


def test_a_weight_that_is_wrong_by_a_128th_is_noticed(tmp_path: Path, on_lanes: CpuRenderer) -> None:
    target = tmp_path / "pictures.npz"
    # Kernels that are wrong go into a cache of their own.
    python(WRONG_WEIGHT + DRAW, target, "thin", VOXELCAST_LANES="1", XDG_CACHE_HOME=str(tmp_path))
    drawn = load(target)
    drawn.pop("width")
    assert len(drawn) == 8
    for name, got in drawn.items():
        volume, view = scene(*name.split("|"))
        assert not agree(got, draw(on_lanes, volume, view).values, tolerance(volume, view)), name


FALL_BACK = """
import json, logging, sys
records = []
handler = logging.Handler()
handler.emit = lambda record: records.append([record.levelname, record.getMessage()])
logging.getLogger().addHandler(handler)
from render.backends.cpu import CpuRenderer
from render.commands.doctor import examine, lines_of
from tests.backends.cpu.test_scalars import draw, scene
first, second = CpuRenderer(1), CpuRenderer(1)
picture = draw(first, *scene("thin", "int16", "oblique", "orthographic")).values
examined = examine()
print(json.dumps({
    "lanes": first.simd_lanes, "kernels": first.kernel_set, "seen": float((picture == picture).mean()),
    "records": records, "simd": examined["simd"], "line": lines_of(examined)[4],
}))
first.close()
second.close()
"""
NO_INTRINSICS = """
import numba.extending
del numba.extending.intrinsic
"""
NO_OVERLOADS = """
import numba.extending
numba.extending.overload = lambda *args, **options: lambda function: function
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            NO_INTRINSICS,
            "SIMD lanes do not compile: ImportError: cannot import name 'intrinsic' from 'numba.extending'",
        ),
        (NO_OVERLOADS, "SIMD lanes do not compile: TypingError: "),
    ],
    ids=["import", "probe"],
)
def test_where_lanes_can_not_be_had_scalars_draw_and_it_is_said_once(tmp_path: Path, change: str, said: str) -> None:
    # A cache of its own: a probe that is found in one compiles nothing.
    environment = {"VOXELCAST_LANES": "", "XDG_CACHE_HOME": str(tmp_path)}
    found = json.loads(python(change + FALL_BACK, **environment).stdout)
    assert (found["lanes"], found["kernels"]) == (1, "scalars")
    assert found["seen"] > 0.2
    ((level, line),) = found["records"]
    assert level == "WARNING"
    assert said in line
    assert "\n" not in line
    assert "/" not in line
    assert found["simd"]["is_fallback"]
    assert found["line"].startswith("simd          none, scalar kernels: " + said)


def test_lanes_that_compute_wrong_numbers_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from render.backends.cpu import probe  # not above: the scripts import this module where there are no lanes

    monkeypatch.delenv("VOXELCAST_LANES", raising=False)
    assert operations.choose().name == "lanes"
    monkeypatch.setattr(probe, "expected", lambda *arrays: arrays[0])
    chosen = operations.choose()
    assert (chosen.name, chosen.is_fallback, chosen["WIDTH"]) == ("scalars", True, 1)
    assert chosen.reason == "SIMD lanes compute wrong numbers"


def test_scalars_that_are_asked_for_are_no_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXELCAST_LANES", "1")
    chosen = operations.choose()
    assert (chosen.name, chosen.is_fallback, chosen.reason) == ("scalars", False, "VOXELCAST_LANES=1")

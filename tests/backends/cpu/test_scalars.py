"""The same texts on scalars: they draw what the lanes draw, and stand in where the lanes can't be had."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pytest

from render.backends.cpu import CpuRenderer, operations, trial
from tests.backends.cpu.pictures import (
    DRAW,
    PROJECTIONS,
    SLANTED_GRIDS,
    STORAGES,
    load,
    python,
    same,
    scene,
    tolerance,
    values_agree,
)
from tests.backends.scenes import WORKS, draw


@pytest.fixture(scope="module")
def on_scalars(tmp_path_factory: pytest.TempPathFactory) -> dict[str, npt.NDArray[Any]]:
    target = tmp_path_factory.mktemp("scalars") / "pictures.npz"
    python(DRAW, target, ",".join(WORKS), ",".join(STORAGES), VOXELCAST_LANES="1")
    drawn = load(target)
    assert drawn.pop("width") == 1
    return drawn


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
    wanted = on_scalars["|".join((work, stored, where, projection))]
    assert same(draw(on_lanes, volume, view), wanted, volume)


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
    python(WRONG_WEIGHT + DRAW, target, "thin", ",".join(STORAGES), VOXELCAST_LANES="1", XDG_CACHE_HOME=str(tmp_path))
    drawn = load(target)
    drawn.pop("width")
    assert len(drawn) == 12
    for name, got in drawn.items():
        volume, view = scene(*name.split("|"))
        assert not values_agree(got, draw(on_lanes, volume, view).values, tolerance(volume, view)), name


FALL_BACK = """
import json, logging, sys
records = []
handler = logging.Handler()
handler.emit = lambda record: records.append([record.levelname, record.getMessage()])
logging.getLogger().addHandler(handler)
from render.backends.cpu import CpuRenderer
from render.commands.doctor import examine, lines_of
from tests.backends.cpu.pictures import draw, scene
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
    # And no trial: another process than this has its lanes.
    environment = {"VOXELCAST_LANES": "", "XDG_CACHE_HOME": str(tmp_path), trial.IN_TRIAL: "1"}
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

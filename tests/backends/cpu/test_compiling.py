"""That kernels are compiled in order and kept, and found again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from render.backends.cpu import compiling

ROOT = Path(__file__).resolve().parents[3]

DRAW = """
import sys
import numpy as np
from render.backends.cpu import CpuRenderer, operations
from tests.backends.cpu.scenes import WORKS, body, view_of
renderer = CpuRenderer(2)
volume = body(holes=True)
resident = {volume.id: renderer.upload(volume)}
pictures = {}
for work in sys.argv[2].split(","):
    for perspective in (False, True):
        frame = renderer.render(view_of(volume, work, perspective=perspective), resident)
        pictures[f"{work} {perspective}"] = frame.values if frame.color is None else frame.color
np.savez(sys.argv[1], width=operations.WIDTH, **pictures)
renderer.close()
"""


def draw_elsewhere(target: Path, works: str, **environment: str) -> dict[str, np.ndarray]:
    """Draw in a process of its own, since kernels are compiled or found once in a process."""
    run = subprocess.run(
        [sys.executable, "-c", DRAW, str(target), works],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    with np.load(target) as pictures:
        return dict(pictures)


def test_no_place_for_a_cache_is_no_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    places = dict.fromkeys(("XDG_CACHE_HOME", "HOME", "TMPDIR", "TEMP", "TMP"), str(blocked / "below"))
    got = draw_elsewhere(tmp_path / "pictures.npz", "thin", **places)
    assert np.isfinite(got["thin False"]).any()


def test_kernels_are_kept_and_found_again(tmp_path: Path) -> None:
    def files() -> dict[str, int]:
        return {str(p): p.stat().st_mtime_ns for p in tmp_path.rglob("*.nb[ci]")}

    draw_elsewhere(tmp_path / "a.npz", "thin", XDG_CACHE_HOME=str(tmp_path))
    first = files()
    assert any("thin" in name for name in first)
    assert all(name.startswith(str(tmp_path / "voxelcast" / "kernels-")) for name in first)
    draw_elsewhere(tmp_path / "b.npz", "thin", XDG_CACHE_HOME=str(tmp_path))
    assert files() == first
    for name in first:
        Path(name).write_bytes(b"damaged")
    got = draw_elsewhere(tmp_path / "c.npz", "thin", XDG_CACHE_HOME=str(tmp_path))
    assert np.isfinite(got["thin False"]).any()


def test_progress_names_every_kernel_in_the_order_of_need() -> None:
    told: list[tuple[str, int, int]] = []
    compiling.compile_kernels(lambda *args: told.append(args))
    names = [name for name, _, _ in told]
    assert names == [*compiling.KERNELS, ""]
    in_order = ["thin_int16", "enlarge_values", "composite_shaded_int16", "thin_float32"]
    assert sorted(in_order, key=names.index) == in_order
    assert [done for _, done, _ in told] == list(range(len(told)))
    assert all(kernel.is_ready for kernel in compiling.KERNELS.values())

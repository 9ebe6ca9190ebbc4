"""The client stays light: a notebook that imports it does not load the server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "import json, sys, voxelcast; print(json.dumps(sorted(sys.modules)))"


def test_no_module_of_the_server_is_imported() -> None:
    output = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'client'}"},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    modules = json.loads(output)
    ours = {name for name in modules if name.partition(".")[0] == "render"}
    assert {name for name in ours if name not in ("render", "render.v1") and not name.startswith("render.v1.")} == set()
    assert "render.v1.render_service_pb2" in ours
    heavy = {"numba", "imagecodecs", "pydicom", "starlette", "uvicorn", "pydantic", "click", "prometheus_client"}
    assert heavy.isdisjoint(modules)

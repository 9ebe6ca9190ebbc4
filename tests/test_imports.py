"""The domain stays light: a client of its types pays for no server and no compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"cupy", "grpc", "starlette", "websockets", "numba", "uvicorn", "pydicom", "imagecodecs"}


@pytest.mark.parametrize("module", ["errors", "geometry", "volume", "view", "transfer", "frame"])
def test_the_domain_imports_nothing_heavy(module) -> None:
    program = f"import sys, render.{module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert "numpy" in loaded or module == "errors"
    assert not loaded & HEAVY


def test_the_proto_folder_is_no_package() -> None:
    """An ``__init__.py`` there would shadow Google's own ``proto``."""
    assert (ROOT / "proto").is_dir()
    assert not list((ROOT / "proto").rglob("__init__.py"))

"""docs/deployment.md names every setting there is, and its unit is one that systemd takes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from render.config import Settings, flag_of

PAGE = (Path(__file__).parents[1] / "docs" / "deployment.md").read_text("utf-8")


def test_the_table_of_settings_is_whole() -> None:
    rows = re.findall(r"^\| (.*?) \| (`VOXELCAST_.*?) \|", PAGE, re.MULTILINE)
    documented = {variable: option for option, cell in rows for variable in re.findall(r"`(VOXELCAST_\w+)`", cell)}
    assert set(documented) == {f"VOXELCAST_{name.upper()}" for name in Settings.model_fields}
    for name in Settings.model_fields:
        assert flag_of(name) in documented[f"VOXELCAST_{name.upper()}"]


def unit() -> str:
    start = PAGE.index("    [Unit]")
    block = re.split(r"^(?=\S)", PAGE[start:], maxsplit=1, flags=re.MULTILINE)[0]
    return textwrap.dedent(block)


def verify(text: str, tmp_path: Path) -> str:
    """Return what systemd has to say of a unit whose program is there."""
    file = tmp_path / "voxelcast.service"
    file.write_text(text.replace("/opt/voxelcast/bin/voxelcast", sys.executable))
    return subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False).stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    assert verify(unit(), tmp_path) == ""
    assert "ProtectHomme" in verify(unit().replace("ProtectHome", "ProtectHomme"), tmp_path)

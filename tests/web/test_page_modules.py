"""The page's modules under Node, without a browser."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.web.conftest import missing

pytestmark = pytest.mark.browser

TESTS = sorted(Path(__file__).with_name("js").glob("*.test.mjs"))
OLDEST_NODE = (20, 19)
"""Before it a plain .js file is no module."""


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest) -> str:
    executable = shutil.which("node")
    if executable is None:
        missing(request, "no Node: apt-get install nodejs")
    told = subprocess.run([executable, "--version"], capture_output=True, text=True, check=True).stdout
    major, minor, _ = told.strip().removeprefix("v").split(".")
    if (int(major), int(minor)) < OLDEST_NODE:
        missing(request, f"Node {told.strip()} is too old: {OLDEST_NODE[0]}.{OLDEST_NODE[1]} needed")
    return executable


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name.removesuffix(".test.mjs"))
def test_module(node: str, path: Path) -> None:
    done = subprocess.run([node, "--test", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    # Node calls a file without tests a passed test.
    assert "# pass 0" not in done.stdout
    assert "# fail 0" in done.stdout

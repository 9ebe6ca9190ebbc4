"""Loading takes the volume, a slice a thread, and little more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import JPEGLSLossless

from benchmarks.dicom import MEMORY_ALLOWANCE_BYTES
from tests.dicom.synthetic import write_series


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the kernel's figures of a process")
def test_a_load_holds_no_second_volume(tmp_path: Path) -> None:
    # 300 MB: a copy of it would be over the allowance.
    flat = np.broadcast_to(np.arange(512, dtype=np.int16), (600, 512, 512))
    write_series(tmp_path, flat, transfer_syntax=JPEGLSLossless)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.dicom", "--load", str(tmp_path), "--threads", "2"],
        capture_output=True, text=True, check=True, timeout=120, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    answer = json.loads(done.stdout)
    assert answer["volume_bytes"] == 600 << 19
    assert answer["volume_bytes"] <= answer["peak_bytes"]
    assert answer["peak_bytes"] <= answer["volume_bytes"] + 2 * answer["slice_bytes"] + MEMORY_ALLOWANCE_BYTES

"""A bounded run of the fuzzer; the long one is ``python -m tests.dicom.fuzz``."""

from __future__ import annotations

from pathlib import Path

import pytest

from render.dicom.ingest import Ingest
from tests.dicom.fuzz import run, sources


@pytest.mark.data
def test_damaged_files_end_in_typed_errors(real_data: Path) -> None:
    with Ingest(1) as ingest:
        ends = run(sources(real_data), 500, 60, seed=20, ingest=ingest)
    assert ends["files"] == 500
    # Damage that does nothing, or that nothing survives, would show nothing.
    assert ends["refused"] > 100
    assert ends["loaded"] > 20
    assert ends["picture"] > 50
    assert ends["labels"] > 0

"""docs/real-series.md is what the scan says today."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dicom.table import render_table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "real-series.md"


@pytest.mark.data
def test_the_committed_table_is_what_inspect_says(real_data: Path) -> None:
    assert PAGE.read_text("utf-8") == render_table(real_data)

"""What DICOM calls padding is no tissue all the way: in no window or maximum, and outside where it is drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from render.backends.base import default_window
from render.backends.cpu import CpuRenderer
from render.dicom.pixels import load_volume
from render.dicom.series import select
from render.dicom.source import scan
from render.initial_views import initial_views
from render.view import RenderingMethod, Viewport
from tests.dicom.synthetic import write_series


@pytest.mark.parametrize("slopes", [(1, 1), (1, 2)])  # held as int16 and as float32
def test_a_padded_border_takes_no_part_in_windows_and_maxima(tmp_path: Path, slopes: tuple[int, int]) -> None:
    stored = np.full((8, 16, 16), 100, np.int16)
    stored[:, 4:12, 4:12] = np.arange(64).reshape(8, 8)
    stored[:, :3] = 5000
    per_slice = [{"RescaleSlope": slopes[n % 2], "RescaleIntercept": 0} for n in range(8)]
    write_series(
        tmp_path, stored, Modality="MR", PixelPaddingValue=4000, PixelPaddingRangeLimit=6000, per_slice=per_slice
    )
    volume = load_volume(select(scan(tmp_path)))
    assert volume.codes.dtype == (np.int16 if slopes == (1, 1) else np.float32)
    renderer = CpuRenderer(threads=1)
    try:
        resident = renderer.upload(volume)
        largest = 100.0 * max(slopes)
        assert (resident.statistics.minimum, resident.statistics.maximum) == (0, largest)
        window = default_window(volume.info, resident.statistics)
        assert window.center + window.width / 2 <= largest
        axial = next(named.view for named in initial_views(volume, Viewport(40, 40)))
        view = replace(axial, rendering_method=RenderingMethod.MAXIMUM_IP, slab_mm=None)
        values = renderer.render(view, {volume.id: resident}).values
    finally:
        renderer.close()
    assert values is not None
    assert np.nanmax(values) <= largest
    # 3 of 16 rows are padding, and a sample beside one is outside too.
    known = np.isfinite(values)
    height = known.any(axis=1).sum() / known.any(axis=0).sum()
    assert height == pytest.approx(12.5 * 0.8 / (16 * 0.5), rel=0.1)

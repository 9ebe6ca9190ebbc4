"""A volume's statistics from a histogram of its codes, which each renderer counts by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from render.backends.base import Statistics
from render.volume import Volume

HISTOGRAM_BINS = 65536
HISTOGRAM_VOXELS = 8_000_000
"""Of a larger volume every second, third, ... row is counted: the percentiles' error is far below a window's step."""


def histogram_stride(voxels: int) -> int:
    """Return which rows of a volume are counted: every how many-th."""
    return max(1, voxels // HISTOGRAM_VOXELS)


def histogram_per_bin(code_range: tuple[float, float]) -> float:
    """Return bins per code of a float32 histogram that starts at the least code; 0 if there is but one."""
    span = code_range[1] - code_range[0]
    return 0.0 if span == 0 or not np.isfinite(span) else (HISTOGRAM_BINS - 1) / span


def statistics_of(counts: npt.NDArray[Any], code_range: tuple[float, float], volume: Volume) -> Statistics:
    """Return a volume's statistics; percentiles to within a 65,536th of the range.

    Parameters
    ----------
    counts
        What the kernel `histogram` counted, shape (HISTOGRAM_BINS,).
    code_range
        Least and greatest valid code; descending if there is none.
    volume
        For its type, its invalid code and what the codes mean.
    """
    minimum, maximum = code_range
    if minimum > maximum:
        return Statistics(0.0, 0.0, 0.0, 0.0)
    if volume.codes.dtype == np.int16:
        first, per_bin = int(minimum) + 32768, 1.0
        total = counts[first : int(maximum) + 32769].astype(np.int64)
        total[0] = 0
        if volume.invalid_code is not None and minimum <= volume.invalid_code <= maximum:
            total[volume.invalid_code - int(minimum)] = 0
    else:
        total, per_bin = counts.astype(np.int64), histogram_per_bin(code_range) or 1.0
    cumulated = np.cumsum(total)
    low = high = minimum
    if cumulated[-1]:
        bins = (int(np.searchsorted(cumulated, cumulated[-1] * part)) for part in (0.01, 0.99))
        low, high = (minimum + each / per_bin for each in bins)
    low, high = min(max(low, minimum), maximum), min(high, maximum)
    ends = sorted(code * volume.slope + volume.intercept for code in (minimum, maximum))
    middle = sorted(code * volume.slope + volume.intercept for code in (low, high))
    return Statistics(ends[0], ends[1], middle[0], middle[1])

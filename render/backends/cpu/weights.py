"""How voxels are weighted, whatever the kernels are built on.

Along x an int16 volume is interpolated in integers whose weights have `WEIGHT_BITS` bits: as exact as a float32
coordinate of a few hundred voxels. Such values are `weight_unit` times too large until the end of a ray.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

WEIGHT_BITS = 14
WEIGHT_ONE = 1 << WEIGHT_BITS
MAX_VOXELS = 2**31 - 1
"""What an int32 index reaches."""


def weight_unit(dtype: npt.DTypeLike) -> float:
    """How many times too large a sample of codes of this type is."""
    return float(WEIGHT_ONE) if np.dtype(dtype) == np.int16 else 1.0

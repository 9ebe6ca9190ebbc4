"""Recommended Display CIELab Value: to the sRGB that its writer meant.

By the standard, white is the profile connection space's D50. All writers that are known (dcmqi through DCMTK, pixelmed,
highdicom) convert sRGB with its own D65 as white, and only so do 3D Slicer's colours come back as they were.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_WHITE_D65 = np.array([0.95047, 1.0, 1.08883])
_SRGB_FROM_XYZ = np.array(
    [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.9692660, 1.8760108, 0.0415560],
        [0.0556434, -0.2040259, 1.0572252],
    ]
)


def srgb_from_dicom_lab(value: Sequence[float]) -> tuple[int, int, int]:
    """Convert a CIELab value as DICOM encodes it (PS3.3 C.10.7.1.1) to 8-bit sRGB.

    Parameters
    ----------
    value
        Three of 0 to 65535: L* from 0 to 100, a* and b* from -128 to 127.
    """
    lightness = value[0] / 65535 * 100
    a, b = (component / 65535 * 255 - 128 for component in value[1:3])
    y = (lightness + 16) / 116
    f = np.array([y + a / 500, y, y - b / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * _WHITE_D65
    linear = np.clip(_SRGB_FROM_XYZ @ xyz, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = (int(channel) for channel in np.rint(encoded * 255))
    return red, green, blue

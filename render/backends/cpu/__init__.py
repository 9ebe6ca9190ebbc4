"""The CPU renderer: numba on SIMD lanes."""

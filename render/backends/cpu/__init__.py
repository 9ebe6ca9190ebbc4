"""The CPU renderer: numba on SIMD lanes.

`CpuRenderer` draws; `compile_kernels` compiles what it will need, in the background, before it is needed.
"""

from render.backends.cpu.compiling import compile_kernels
from render.backends.cpu.renderer import CpuRenderer

__all__ = ["CpuRenderer", "compile_kernels"]

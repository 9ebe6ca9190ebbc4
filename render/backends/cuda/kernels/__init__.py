"""The kernels' text, and the contract by which they are launched.

Building
--------
A module is one ``.cu`` file (`KERNELS`) for one type of code and one way to sample. `source` gives its text with the
headers in place, so that a compiler needs no include path and a cache that hashes the text misses nothing;
`options` gives the compiler's options, the choices among them::

    cupy.RawModule(code=source("values"), options=options("int16", texture=False), backend="nvrtc")

All kernels are ``extern "C"`` and use no shared memory, no warp votes and no synchronisation: a thread decides for its
own ray, and rays of one warp (8 x 4 pixels) decide alike because they are neighbours.

Arguments
---------
In the order of the kernel's own text, with exactly its types: ``int`` is ``np.int32``, ``long long`` ``np.int64``,
``double`` ``np.float64``, ``float`` ``np.float32``; a texture or surface object is its number as ``np.uint64``, 0 where
the module is built without. CuPy passes a Python int or float as 64 bits, so neither is given. `Parameters` is what
`render.backends.cuda.parameters.plan_frame` fills, given as ``plan.parameters.reshape(1)``: CuPy copies a structured
NumPy array of one element by value. For a thin view of an int16 volume with exact sampling::

    thin = module.get_function("thin")
    grid, block = launch_grid(width, rows), (BLOCK_THREADS,)
    arguments = plan.parameters.reshape(1), codes, np.uint64(0), flags, out, np.int32(top), np.int32(top + rows)
    thin(grid, block, arguments)

`tests/backends/cuda/shim_renderer.py` is a complete renderer by this contract, on the host.

Sampling
--------
``texture=False`` reads linear memory in float32 arithmetic: for everything final, lossless or a measured value.
``texture=True`` samples by the texture unit, whose weights have 8 fractional bits: for interactive frames. A texture
object has: linear filter, clamped addressing on all axes, coordinates not normalised; over int16 volumes a CUDA array
of **uint16**, read as normalised float, which `texels` fills (so it needs the flag for surface load and store); over
float32 volumes one of float32, read as it is. Texture kernels read linear memory too, next to invalid voxels.
A sample by texture is off by at most ``2**-9`` times five of the greatest differences of neighbours along i, three
along j and one along k, all within its cell, and half a code for int16: an H100 rounds each texel's weight, and returns
16-bit formats in 16 bits. A CUDA array has at most 16,384 voxels a side; a larger volume is sampled exactly.

Pictures: `values`, `color`
---------------------------
Blocks of 128 threads in one dimension; a grid of `launch_grid` ``(columns of 16 pixels, rows of 8)``. A launch draws
rows ``row_from`` to ``row_to - 1``; `out` is always the whole picture. So a long frame is cut into bands, which may be
dropped between launches. What is not drawn is not written. `counts`, set to 0 before the first band, has `COUNT_PLACES`
pairs of 64-bit counters: samples that were interpolated, and samples that lie along the rays within the volume. The sum
over the places counts.

- `thin`: one sample a ray. float32, modality units, NaN outside. `flags`: of the fine level.
- `extreme`: maximum or minimum. Bounds: the `high` arrays of the two levels where `Parameters.sign` is 1, else `low`.
- `mean`.
- `composite`, `composite_shaded`: uint8 RGBA, premultiplied. `fine_flags` and `coarse_flags` are what `visible` wrote
  for the transfer function in use; `table` is `render.backends.cuda.parameters.table_entries`, valid for one step
  length. A new transfer function uploads its table and the cumulated counts and runs `visible` on two levels; a new
  window uploads nothing.

Uploads: `upload`
-----------------
Blocks of 128 threads in one dimension, as many as there are bricks, cells or voxels to do.

1. Copy slices in any chunks. `bricks` for the layers of 8 slices that are complete; `texels` for the slices.
2. When all are there: level 0 is what `bricks` wrote; `halve` makes each next level of the one before, until one
   brick is left (`render.backends.cuda.grid.levels`). `widen` of each level gives what the picture kernels take, and
   is all that stays (`render.backends.cuda.grid.grid_nbytes`). The last level's single brick is the volume's range and
   says whether it holds invalid voxels, or nothing else (EMPTY).
3. `histogram` over that range, and `render.backends.histogram.statistics_of` on the host.

A volume that grows begins with `mark` and `bricks` over all of it, and keeps what `bricks` wrote. Slices that arrive
are copied, their layers' bricks and texels made anew, and 2 and 3 done for the state that this is. Frames of the states
before read the same voxels meanwhile: they may see a slice that their bricks do not know.

The flags' bits: VISIBLE 1, INVALID 2 (holds invalid voxels), EMPTY 4 (holds no valid one).

Ceilings: `ceilings`
--------------------
What a card can do at most, for `benchmarks.cuda`; no frame uses them.

Shown pixels: `picture`
-----------------------
One thread a pixel of the result, blocks of 128 in one dimension. `gray8` equals `Window.to_gray8` (its sigmoid to one
level, where ``exp`` differs in the last bit), and `gray8_by_table` does for a VOI LUT; `join_channels` makes RGBA of a
colour image's channels as `render.backends.channels` does; `rgb` drops alpha, which over black is all there is to do;
`shrink` averages blocks of pixels, as `render.encoding.pictures.shrink` does;
`enlarge_values` and `enlarge_color` bring a picture of `Quality.ray_stride` to the viewport.
"""

from __future__ import annotations

import functools
import importlib.resources
import re

KERNELS: dict[str, tuple[str, ...]] = {
    "values": ("thin", "extreme", "mean"),
    "color": ("composite", "composite_shaded"),
    "upload": ("mark", "bricks", "widen", "halve", "histogram", "visible", "texels"),
    "ceilings": ("sample_rate", "read_rate"),
    "picture": ("gray8", "gray8_by_table", "join_channels", "rgb", "shrink", "enlarge_values", "enlarge_color"),
}
"""File to the kernels in it."""

BLOCK_THREADS = 128
"""Threads of every kernel's block, one dimension."""
_BLOCK_WIDTH, _BLOCK_HEIGHT = 16, 8
COUNT_PLACES = 256
"""Of ``rays.cuh``: pairs of counters that blocks spread their samples over."""
COUNT_BYTES = COUNT_PLACES * 2 * 8

_INCLUDE = re.compile(r'^#include "([a-z]+\.cuh)"$', re.MULTILINE)


def text(file_name: str) -> str:
    """Return one file as it is."""
    return (importlib.resources.files(__name__) / file_name).read_text("utf-8")


@functools.cache
def source(module: str) -> str:
    """Return the text of a module of `KERNELS`, each header that it includes in place of its first mention."""
    seen: set[str] = set()

    def expand(file_name: str) -> str:
        def include(match: re.Match[str]) -> str:
            if match[1] in seen:
                return ""
            seen.add(match[1])
            return expand(match[1])

        return _INCLUDE.sub(include, text(file_name).replace("#pragma once\n", ""))

    return expand(f"{module}.cu")


def options(dtype: str = "int16", *, texture: bool = False) -> tuple[str, ...]:
    """Return NVRTC's options for a module.

    Parameters
    ----------
    dtype
        ``int16`` or ``float32``: the volume's codes. Of no effect on `picture`.
    texture
        Sample by the texture unit. Of no effect on `upload` and `picture`.
    """
    return ("--std=c++17", f"-DVOXELCAST_INT16={int(dtype == 'int16')}", f"-DVOXELCAST_TEXTURE={int(texture)}")


def launch_grid(width: int, rows: int) -> tuple[int, int]:
    """Return the grid (x, y) of a picture kernel that draws `rows` rows of `width` pixels."""
    return -(-width // _BLOCK_WIDTH), -(-rows // _BLOCK_HEIGHT)


def launch_blocks(count: int) -> tuple[int]:
    """Return the grid of a kernel that does `count` things, one a thread."""
    return (-(-count // BLOCK_THREADS),)

"""The kernels on the host: compiled by g++ with a small stand-in for CUDA, called as a driver would call them."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import render.backends.cuda.kernels as kernels

SHIM = Path(__file__).parent / "shim"
KERNELS = Path(kernels.__file__).parent
NAMES = [name for names in kernels.KERNELS.values() for name in names]
# No contraction: what the kernels want fused they say; what they want unfused is an intrinsic on a card.
FLAGS = "-std=c++17 -O2 -march=native -ffp-contract=off -shared -fPIC -Wall -Wextra -Werror".split()
FLAGS += ["-Wno-unknown-pragmas", "-Wno-unused-parameter"]


class HostArray(ctypes.Structure):
    """A 3D CUDA array; its address stands for a texture or a surface object."""

    _fields_ = (("texels", ctypes.c_void_p), ("size", ctypes.c_int32 * 3), ("is_uint16", ctypes.c_int32))


class Kernels:
    """All kernels for one type of code and one way to sample.

    Arguments are NumPy values of exactly the kernel's types: a scalar or 0-d structured array by value, an array of
    one dimension or more by its address.
    """

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))
        self.library.take_reads.restype = ctypes.c_longlong

    def argument_bytes(self, name: str) -> list[int]:
        """Sizes of a kernel's arguments, as the host compiler has them."""
        sizes = (ctypes.c_int * 32)()
        count = self.library[f"measure_{name}"](sizes)
        return list(sizes[:count])

    def take_reads(self) -> int:
        """Return how many voxels and texels were read since the last call."""
        return int(self.library.take_reads())

    def launch(self, name: str, grid: tuple[int, ...], *arguments: Any) -> None:
        """Run a kernel to its end, in blocks of the kernels' own size."""
        assert min(grid) > 0
        held = [by_value(argument) for argument in arguments]
        expected = self.argument_bytes(name)
        assert [value.nbytes for value in held] == expected, (name, [value.nbytes for value in held], expected)
        pointers = (ctypes.c_void_p * len(held))(*(value.ctypes.data for value in held))
        three = (ctypes.c_uint * 3)(*grid, *(1,) * (3 - len(grid)))
        block = (ctypes.c_uint * 3)(kernels.BLOCK_THREADS, 1, 1)
        self.library[f"launch_{name}"](three, block, pointers)


def by_value(argument: Any) -> np.ndarray:
    """Return what a kernel is given for an argument, as an array that owns it."""
    if isinstance(argument, np.ndarray) and argument.ndim:
        assert argument.flags.c_contiguous
        return np.array(argument.ctypes.data, np.uint64)
    assert isinstance(argument, np.generic | np.ndarray), f"{argument!r}: a NumPy value needed, for its exact type"
    return np.array(argument)


def build(directory: Path, dtype: str, *, texture: bool, defines: tuple[str, ...] = ()) -> Kernels:
    """Compile the kernels, with more ``-D`` options if need be, or take what was compiled of the same text before.

    Skips the test where there is no g++.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile the kernels for the host with")
    options = [option for option in kernels.options(dtype, texture=texture) if option.startswith("-D")]
    command = [compiler, *FLAGS, *options, *defines, f"-I{KERNELS}", "-include", str(SHIM / "cuda_on_host.hpp")]
    library = directory / f"kernels_{key_of(command)}.so"
    if not library.exists():
        own = directory / f"{library.name}.{os.getpid()}"  # others may be building the same
        done = subprocess.run([*command, str(SHIM / "launch.cpp"), "-o", str(own)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        own.replace(library)
    return Kernels(library)


@functools.cache
def sources_digest(compiler: str) -> bytes:
    """Return what all builds depend on: the kernels, the shim, the compiler and the processor that it builds for."""
    digest = hashlib.sha256(platform.processor().encode())
    files = sorted([*KERNELS.glob("*.cu"), *KERNELS.glob("*.cuh"), *SHIM.glob("*.?pp")])
    for path in files:
        digest.update(path.name.encode() + path.read_bytes())
    target = subprocess.run([compiler, "-march=native", "-Q", "--help=target"], capture_output=True, check=True)
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True)
    digest.update(target.stdout + version.stdout)
    return digest.digest()


def key_of(command: list[str]) -> str:
    """Name what a build is made of."""
    return hashlib.sha256(sources_digest(command[0]) + "\0".join(command).encode()).hexdigest()[:24]

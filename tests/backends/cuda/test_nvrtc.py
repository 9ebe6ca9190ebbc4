"""Every kernel compiles for every kind of card, without a warning."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from render.backends.cuda.kernels import KERNELS, options, source
from tests.backends.cuda.nvrtc import ARCHITECTURES, CompilationError, Compiled, Nvrtc, Usage, library_path, usage_in

VARIANTS = [
    *(
        (module, dtype, texture)
        for module in ("values", "color", "ceilings")
        for dtype in ("int16", "float32")
        for texture in (0, 1)
    ),
    *(("upload", dtype, 0) for dtype in ("int16", "float32")),
    ("picture", "int16", 0),
]


CUPYS_OWN = ("-ftz=true", "--device-as-default-execution-space")
"""CuPy compiles with these besides."""


@pytest.fixture(scope="module")
def nvrtc() -> Nvrtc:
    path = library_path()
    if path is None:
        pytest.skip("no NVRTC: the wheel nvidia-cuda-nvrtc is for Linux and Windows only")
    return Nvrtc(path)


@pytest.fixture(scope="module")
def compiling(nvrtc, request) -> Iterator[Callable[[str, str, int, str], Future[Compiled]]]:
    """Compile what the tests that were chosen ask for, on all cores: the compiler holds no lock of Python's."""

    def compile_it(module: str, dtype: str, texture: int, architecture: str) -> Compiled:
        wanted = (*options(dtype, texture=bool(texture)), *CUPYS_OWN)
        return nvrtc.compile(source(module), f"{module}.cu", wanted, architecture)

    asked = [
        tuple(item.callspec.params[name] for name in ("module", "dtype", "texture", "architecture"))
        for item in request.session.items
        if item.path == request.path and "architecture" in getattr(getattr(item, "callspec", None), "params", ())
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {key: pool.submit(compile_it, *key) for key in asked}
        yield lambda *key: running[key]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("module", "dtype", "texture"), VARIANTS, ids=lambda v: {0: "exact", 1: "texture"}.get(v, str(v))
)
def test_a_module_compiles_without_a_warning(compiling, module, dtype, texture, architecture) -> None:
    compiled = compiling(module, dtype, texture, architecture).result()
    assert compiled.messages == ""
    assert compiled.cubin[:4] == b"\x7fELF"
    assert compiled.usage is not None
    assert set(compiled.usage) == set(KERNELS[module])
    for name, usage in compiled.usage.items():
        assert usage.spill_store_bytes == usage.spill_load_bytes == 0, (name, usage)
        # Four blocks of 128 threads or more on a multiprocessor with 65,536 registers.
        assert usage.registers <= 128, (name, usage)


def test_a_warning_is_seen(nvrtc) -> None:
    text = 'extern "C" __global__ void idle() { int unused; }'
    assert "unused" in nvrtc.compile(text, "idle.cu", (), "sm_90").messages


def test_an_error_is_told(nvrtc) -> None:
    with pytest.raises(CompilationError, match="nowhere"):
        nvrtc.compile('extern "C" __global__ void lost() { nowhere(); }', "lost.cu", (), "sm_90")


def test_a_report_without_kernels_has_no_usage() -> None:
    assert usage_in("ptxas info    : 0 bytes gmem\n") is None


def test_spills_are_read_from_the_report() -> None:
    report = (
        "ptxas info    : Compiling entry function 'mean' for 'sm_90'\n"
        "ptxas info    : Function properties for mean\n"
        "ptxas         .     16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads\n"
        "ptxas info    : Used 32 registers, used 0 barriers, 16 bytes cumulative stack size\n"
    )
    assert usage_in(report) == {"mean": Usage(32, 16, 8, 12)}

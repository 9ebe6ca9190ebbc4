"""The kernels on other CPUs than this one: the same pictures where it can run them, else the assembly."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy.typing as npt
import pytest

from render.backends.cpu import CpuRenderer
from tests.backends.cpu.pictures import DRAW, PROJECTIONS, SLANTED_GRIDS, load, python, same, scene
from tests.backends.scenes import WORKS, draw

pytestmark = pytest.mark.timeout(600)  # the first test waits for all hosts' kernels

SOME_WORKS = ("thin", "max", "color_shaded")
INT16, FLOAT32 = ("int16", "int16_padded"), ("float32",)


@dataclass(frozen=True)
class Host:
    """A CPU, by the environment variables that make one of this."""

    environment: dict[str, str]
    width: int = 8
    kept: tuple[str, ...] = ()
    works: tuple[str, ...] = tuple(WORKS)
    storages: tuple[str, ...] = INT16


# Between them every method and type of voxels with each set of instructions; all on one would take minutes.
# Without NUMBA_CPU_FEATURES numba adds this host's features to the CPU that is named, and nothing is tested.
HOSTS = {
    "haswell": Host({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"}, kept=("extreme_int16",)),
    "sandybridge": Host(
        {"NUMBA_CPU_NAME": "sandybridge", "NUMBA_CPU_FEATURES": ""}, storages=FLOAT32, kept=("extreme_float32",)
    ),
    "generic": Host({"NUMBA_CPU_NAME": "generic"}, storages=INT16 + FLOAT32, kept=("extreme_int16",)),
    "portable": Host(
        {"NUMBA_CPU_NAME": "generic", "VOXELCAST_PORTABLE": "1"},
        works=("thin", "color_shaded"),
        kept=("thin_int16", "composite_shaded_int16"),
    ),
    "sixteen": Host({"VOXELCAST_LANES": "16"}, width=16, works=SOME_WORKS),
}
AVX512 = {
    "NUMBA_CPU_NAME": "icelake-server",
    "NUMBA_CPU_FEATURES": "+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx2,+fma",
}

KEEP = """
from pathlib import Path
from render.backends.cpu.compiling import KERNELS
for name in sys.argv[4:]:
    KERNELS[name].compile()
    (assembly,) = KERNELS[name]._compiled.inspect_asm().values()
    (text,) = KERNELS[name]._compiled.inspect_llvm().values()
    path = Path(sys.argv[1])
    path.with_suffix(f".{name}.s").write_text(assembly)
    path.with_suffix(f".{name}.ll").write_text(text)
"""
# Code for a CPU that this one is not may be compiled but not run, so not probed.
ONLY_COMPILE = """
import sys, types
sys.modules["render.backends.cpu.probe"] = types.SimpleNamespace(lanes_work=lambda: True)
"""


@dataclass(frozen=True)
class Compiled:
    """What a process has left: its pictures, and some kernels' texts."""

    path: Path

    def pictures(self) -> dict[str, npt.NDArray[Any]]:
        return load(self.path)

    def assembly(self, kernel: str) -> str:
        return self.path.with_suffix(f".{kernel}.s").read_text()

    def intermediate(self, kernel: str) -> str:
        return self.path.with_suffix(f".{kernel}.ll").read_text()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Compiled]:
    """Compile and draw for all hosts, as many at a time as there are cores; in a cache of their own."""
    folder = tmp_path_factory.mktemp("hosts")
    common = {"VOXELCAST_LANES": "", "XDG_CACHE_HOME": str(folder / "cache")}

    def make(name: str) -> Compiled:
        target = folder / f"{name}.npz"
        if name == "avx512":
            python(ONLY_COMPILE + KEEP, target, "", "", "extreme_int16", **{**common, **AVX512})
        else:
            host = HOSTS[name]
            python(
                DRAW + KEEP,
                target,
                ",".join(host.works),
                ",".join(host.storages),
                *host.kept,
                **{**common, **host.environment},
            )
        return Compiled(target)

    names = [*HOSTS, "avx512"]
    with ThreadPoolExecutor(min(os.cpu_count() or 1, len(names))) as processes:
        return dict(zip(names, processes.map(make, names), strict=True))


@pytest.fixture(scope="module")
def renderer() -> Iterator[CpuRenderer]:
    renderer = CpuRenderer(2)
    yield renderer
    renderer.close()


@pytest.mark.parametrize(
    ("name", "work"), [(name, work) for name, host in HOSTS.items() for work in host.works], ids=str
)
def test_other_hosts_draw_the_same(compiled: dict[str, Compiled], renderer: CpuRenderer, name: str, work: str) -> None:
    pictures = compiled[name].pictures()
    assert pictures["width"] == HOSTS[name].width
    for stored in HOSTS[name].storages:
        for where in SLANTED_GRIDS:
            for projection in PROJECTIONS:
                volume, view = scene(work, stored, where, projection)
                wanted = pictures["|".join((work, stored, where, projection))]
                assert same(draw(renderer, volume, view), wanted, volume), (stored, where, projection)


@pytest.mark.skipif(not llvm.get_process_triple().startswith("x86_64"), reason="the hosts are x86-64 CPUs")
@pytest.mark.parametrize(
    ("name", "kernel", "has", "lacks"),
    [
        ("haswell", "extreme_int16", ["ymm", "vfmadd", "vroundps", r"vpmaddwd\t.*ymm"], ["zmm"]),
        ("sandybridge", "extreme_float32", ["ymm", "vroundps"], ["vfmadd", r"vpaddd\t.*ymm", "zmm"]),
        ("generic", "extreme_int16", ["xmm", r"\tpmaddwd"], ["ymm", "roundps", "pmulld", "vpmaddwd"]),
        ("portable", "thin_int16", ["xmm"], ["ymm", "roundps", "pmaddwd"]),
        ("avx512", "extreme_int16", [r"vpmaddwd\t.*zmm", r"vfmadd\S*\t.*zmm", r"vrndscaleps\t.*zmm"], []),
    ],
)
def test_each_host_gets_its_own_instructions(
    compiled: dict[str, Compiled], name: str, kernel: str, has: list[str], lacks: list[str]
) -> None:
    assembly = compiled[name].assembly(kernel)
    assert [each for each in has if not re.search(each, assembly)] == []
    assert [each for each in lacks if re.search(each, assembly)] == []


def blocks(assembly: str) -> list[str]:
    """Cut assembly at its labels."""
    return re.split(r"^\.LBB\S+:.*$", assembly, flags=re.MULTILINE)


@pytest.mark.skipif(not llvm.get_process_triple().startswith("x86_64"), reason="the hosts are x86-64 CPUs")
def test_a_sample_takes_four_loads_a_ray_and_no_more(compiled: dict[str, Compiled]) -> None:
    """Pairs along x come in one 32-bit load, by intent: a lane's gather of AVX2 costs as much."""
    samples = [block for block in blocks(compiled["haswell"].assembly("extreme_int16")) if block.count("vpmaddwd") == 4]
    assert len(samples) == 4  # near a face, plain, and of single rays: a full vector, and the last
    for block in samples:
        assert "gather" not in block
        assert len(pair_loads(block)) == 4 * 8


def pair_loads(block: str) -> list[str]:
    return re.findall(r"(?:vmovd|vpinsrd)\t[^\n%]*\(%(?!rsp)", block)  # no voxel is on the stack


@pytest.mark.skipif(not llvm.get_process_triple().startswith("x86_64"), reason="the hosts are x86-64 CPUs")
def test_sixteen_rays_share_the_rows_of_a_box(compiled: dict[str, Compiled]) -> None:
    """One 128-bit load a row, 16 of them and for a large box 8 more, and look-ups in registers."""
    parts = blocks(compiled["avx512"].assembly("extreme_int16"))
    boxed = [block for block in parts if re.search(r"vperm[it]2w", block)]
    assert sorted(len(re.findall(r"vperm[it]2w", block)) for block in boxed) == [8, 12]
    rows = r"(?:vmovdqu\w*|vinserti128|vinserti32x4)\t[^\n%]*\(%[^\n]*%[xy]mm"
    assert sum(len(re.findall(rows, block)) for block in boxed) == 16 + 8
    assert not any("gather" in block or pair_loads(block) for block in boxed)
    # Rays near a face, single rays (a full vector, and the last), and those beside the box have four loads each.
    for sums, count in ((4, 3), (0, 1)):
        apart = [block for block in parts if block.count("vpmaddwd") == sums and len(pair_loads(block)) == 4 * 16]
        assert len(apart) == count


def cross_compile(text: str, triple: str, cpu: str) -> str:
    """Return the assembly of a kernel for a machine of another kind."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
    text = re.sub(r"^target triple.*$", f'target triple = "{triple}"', text, flags=re.MULTILINE)
    text = re.sub(r"^target datalayout.*$", f'target datalayout = "{machine.target_data}"', text, flags=re.MULTILINE)
    # numba's own reference counting, in which LLVM has put x86's atomics by now.
    declared = "declare void @NRT_decref(ptr)"
    text = re.sub(r"^define [^\n]*@NRT_decref\(.*?^\}", declared, text, flags=re.MULTILINE | re.DOTALL)
    assert "llvm.x86" not in text.split(declared)[0]
    module = llvm.parse_assembly(text)
    module.verify()
    return str(machine.emit_assembly(module))


@pytest.mark.parametrize("kernel", ["thin_int16", "composite_shaded_int16"])
@pytest.mark.parametrize("cpu", ["generic", "neoverse-n1"])
def test_neon_computes_in_vectors(compiled: dict[str, Compiled], kernel: str, cpu: str) -> None:
    assembly = cross_compile(compiled["portable"].intermediate(kernel), "aarch64-linux-gnu", cpu)
    for instruction in (r"\tfmla\tv\d+\.4s", r"\tmla\tv\d+\.4s", r"\tld1\t", r"\tldr\tq"):
        assert re.search(instruction, assembly), instruction
    assert not re.search(r"\tbl\t(floorf|ceilf|fmaf|sqrtf)\b", assembly)


@pytest.mark.skipif(not llvm.get_process_triple().startswith("x86_64"), reason="these kernels are made for x86-64")
def test_kernels_with_x86_instructions_are_not_taken_for_portable(compiled: dict[str, Compiled]) -> None:
    with pytest.raises(AssertionError):
        cross_compile(compiled["generic"].intermediate("extreme_int16"), "aarch64-linux-gnu", "generic")

"""A probe that ends its process ends another one than this."""

from __future__ import annotations

from pathlib import Path

import pytest

from render.backends.cpu import kernel_cache, operations, trial
from render.backends.cpu.kernel_cache import PROVED
from render.backends.cpu.trial import ProbeCrashError, ensure_survival

WIDTH = 8

IMPOSSIBLE = """
from llvmlite import binding, ir
binding.initialize_native_target()
binding.initialize_native_asmprinter()
vector = ir.VectorType(ir.FloatType(), 16)
module = ir.Module()
kind = ir.FunctionType(vector, [vector, vector, ir.VectorType(ir.IntType(32), 16)])
builder = ir.IRBuilder(ir.Function(module, kind, "run").append_basic_block())
wanted = ir.Function(module, ir.FunctionType(vector, [vector, ir.IntType(32), vector, ir.IntType(16), ir.IntType(32)]),
                     "llvm.x86.avx512.mask.rndscale.ps.512")
first, second, _ = builder.function.args
constant = ir.Constant(ir.IntType(32), 4)
builder.ret(builder.call(wanted, [first, constant, second, ir.Constant(ir.IntType(16), -1), constant]))
machine = binding.Target.from_default_triple().create_target_machine(cpu="x86-64")
machine.emit_assembly(binding.parse_assembly(str(module)))
"""
"""Asks LLVM for an instruction that the CPU it is told of does not have."""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where kernels are kept in this test; the next start's process would begin with nothing known either."""
    monkeypatch.setattr(kernel_cache, "cache_candidates", lambda: [tmp_path / "cache"])
    monkeypatch.setattr(kernel_cache, "_directories", {})
    monkeypatch.delenv(trial.IN_TRIAL, raising=False)
    found = kernel_cache.cache_directory(WIDTH)
    assert found is not None
    return found


def test_a_trial_that_goes_well_is_not_made_again(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "CODE", "")
    ensure_survival(WIDTH)
    assert (directory / PROVED).exists()
    monkeypatch.setattr(trial, "CODE", "import os; os.abort()")
    ensure_survival(WIDTH)


def test_a_process_that_dies_is_told_by_its_signal_and_tried_again(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SIGABRT", "SIGILL"):
        monkeypatch.setattr(trial, "CODE", f"import os, signal; os.kill(os.getpid(), signal.{name})")
        with pytest.raises(ProbeCrashError, match=f"^{name}$"):
            ensure_survival(WIDTH)
    assert not (directory / PROVED).exists()


def test_what_llvm_says_last_is_told(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binding = pytest.importorskip("llvmlite.binding")
    if not binding.get_process_triple().startswith("x86_64"):
        pytest.skip("the instruction is x86-64's")
    monkeypatch.setattr(trial, "CODE", IMPOSSIBLE)
    with pytest.raises(ProbeCrashError, match=r"^SIGABRT, LLVM ERROR: .+"):
        ensure_survival(WIDTH)


def test_what_it_raises_is_left_to_this_process(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "CODE", "raise ValueError")
    ensure_survival(WIDTH)
    assert not (directory / PROVED).exists()


def test_one_that_never_ends_is_no_better(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "CODE", "import signal; signal.pause()")
    monkeypatch.setattr(trial, "PATIENCE_S", 0.2)
    with pytest.raises(ProbeCrashError, match="did not end"):
        ensure_survival(WIDTH)


def test_scalars_draw_where_the_lanes_would_end_the_process(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOXELCAST_LANES", raising=False)
    monkeypatch.setattr(trial, "CODE", "import os; os.abort()")
    chosen = operations.choose()
    assert (chosen.name, chosen.is_fallback) == ("scalars", True)
    assert chosen.reason == "SIMD lanes do not compile: ProbeCrashError: SIGABRT"


@pytest.mark.skipif(operations.KERNEL_SET.name != "lanes", reason="scalars were asked for")
def test_the_trial_leaves_the_probe_compiled(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(directory.parent.parent / "home"))
    monkeypatch.setattr(kernel_cache, "cache_candidates", lambda: [directory.parent.parent / "home" / "voxelcast"])
    monkeypatch.setattr(kernel_cache, "_directories", {})
    ensure_survival(operations.WIDTH)
    found = kernel_cache.cache_directory(operations.WIDTH)
    assert found is not None
    assert (found / PROVED).exists()
    assert [path.name.split("-")[0] for path in found.rglob("*.nbc")] == ["probe.probe"]

"""``voxelcast doctor``: that what it says is so, and that nothing it finds is an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numba
import pytest
from click.testing import CliRunner

from render import __version__
from render.backends.cpu import CpuRenderer, compiling, kernel_cache, operations
from render.backends.cuda import probe
from render.backends.cuda.probe import Found
from render.commands.doctor import command
from render.dicom import codecs
from render.errors import CodecError


def lines() -> dict[str, str]:
    """Run it, and return what it says by the label before it."""
    done = CliRunner().invoke(command)
    assert done.exit_code == 0
    return {line[:13].strip(): line[13:].strip() for line in done.output.splitlines()}


@pytest.fixture(autouse=True)
def _no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Found(reason="no NVIDIA driver")
    monkeypatch.setattr(probe, "probe", lambda: nothing)


def found() -> dict[str, Any]:
    done = CliRunner().invoke(command, ["--json"])
    assert done.exit_code == 0
    return dict(json.loads(done.output))


def test_json_is_what_the_renderer_says_of_itself() -> None:
    renderer = CpuRenderer()
    report = found()
    assert report["version"] == __version__
    assert (report["simd"]["lanes"], report["simd"]["kernels"]) == (renderer.simd_lanes, renderer.kernel_set)
    assert report["simd"]["reason"] == operations.KERNEL_SET.reason
    assert report["simd"]["bits"] == 32 * renderer.simd_lanes
    assert report["cpu"]["cores"] == report["device"]["threads"] == renderer.threads
    assert report["device"]["name"] == renderer.device
    assert report["numba"] == numba.__version__
    assert len(report["codecs"]["decoded"]) == 14
    assert report["codecs"]["missing"] == []
    assert report["cuda"]["usable"] is False
    assert report["cuda"]["reason"] == report["device"]["reason"]
    renderer.close()


def test_there_is_one_line_for_each() -> None:
    said = lines()
    assert list(said) == [
        "voxelcast",
        "python",
        "cpu",
        "cores",
        "simd",
        "numba",
        "kernel cache",
        "codecs",
        "cuda",
        "serve uses",
    ]
    assert all(said.values())
    assert "14 of 14 compressed transfer syntaxes" in said["codecs"]
    assert said["cuda"] == "none: no NVIDIA driver"
    assert said["serve uses"].startswith("cpu, ")


def test_it_counts_the_kernels_that_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_cache, "cache_candidates", lambda: [tmp_path / "cache"])
    monkeypatch.setattr(kernel_cache, "_directories", {})
    before = found()["kernel_cache"]
    assert before["compiled"] == 0
    assert before["kernels"] >= len(compiling.KERNELS)
    kept = compiling.KERNELS["enlarge_values"]
    compiling.Kernel(kept.name, kept._function, kept._signature).compile()
    elsewhere = Path(before["directory"]) / "cpu_of_another_installation"
    elsewhere.mkdir()
    (elsewhere / "kernels_resize.enlarge_values-88.py311.1.nbc").write_bytes(b"")
    after = found()["kernel_cache"]
    assert after == {**before, "compiled": 1}
    assert after["directory"].startswith(str(tmp_path))
    assert lines()["kernel cache"] == f"1 of {before['kernels']} kernels compiled, in {after['directory']}"


def test_no_place_for_kernels_and_a_codec_that_is_missing_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder_of = codecs.decoder_of

    def without_rle(syntax: str) -> Any:
        if syntax.endswith(".5"):
            raise CodecError("no decoder", transfer_syntax=syntax)
        return decoder_of(syntax)

    monkeypatch.setattr(codecs, "decoder_of", without_rle)
    monkeypatch.setattr(kernel_cache, "cache_directory", lambda width: None)
    report, said = found(), lines()
    assert report["kernel_cache"]["directory"] is None
    assert said["kernel cache"].startswith("none: ")
    assert report["codecs"]["missing"] == ["RLE Lossless"]
    assert said["codecs"].endswith("13 of 14 compressed transfer syntaxes, without RLE Lossless")

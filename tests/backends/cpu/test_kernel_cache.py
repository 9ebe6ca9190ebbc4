"""Where compiled kernels are kept, and which of them are removed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from render.backends.cpu import kernel_cache
from render.backends.cpu.kernel_cache import FORGOTTEN_S, KEPT, PROVED, UNUSED_S, prune, usable_directory


def test_a_directory_that_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert usable_directory(tmp_path, "key") == tmp_path / "kernels-key"
    tmp_path.chmod(0o777)
    assert usable_directory(tmp_path, "key") is None


def test_a_missing_directory_is_made(tmp_path: Path) -> None:
    made = usable_directory(tmp_path / "a" / "b", "key")
    assert made is not None
    assert made.is_dir()


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where this process may keep kernels, instead of the user's own cache."""
    candidates = [tmp_path / "first", tmp_path / "second", tmp_path / "third"]
    monkeypatch.setattr(kernel_cache, "cache_candidates", lambda: candidates)
    monkeypatch.setattr(kernel_cache, "_directories", {})
    return candidates


def test_the_first_place_that_works_is_taken(places: list[Path]) -> None:
    places[0].write_text("not a directory")
    found = kernel_cache.cache_directory(8)
    assert found is not None
    assert found.parent == places[1]
    assert not places[2].exists()


def test_widths_do_not_share_a_directory(places: list[Path]) -> None:
    assert kernel_cache.cache_directory(8) != kernel_cache.cache_directory(1)
    assert kernel_cache.cache_directory(1) == kernel_cache.cache_directory(1)


def test_the_key_follows_cpu_and_width(monkeypatch: pytest.MonkeyPatch) -> None:
    here = kernel_cache.cache_key(8)
    assert here == kernel_cache.cache_key(8)
    other_width = kernel_cache.cache_key(16)
    monkeypatch.setattr(kernel_cache.settings, "CPU_NAME", "another")
    assert len({here, other_width, kernel_cache.cache_key(8)}) == 3


def kernels(base: Path, number: int, age_s: float) -> Path:
    """Make a directory as an earlier version left it, last used so long ago."""
    directory = base / f"kernels-{number:016x}"
    inner = directory / "cpu_0123"
    inner.mkdir(parents=True)
    for name in ("sampling.thin-1.py311.nbi", "sampling.thin-1.py311.1.nbc", "x.nbc.tmp.0123456789abcdef"):
        (inner / name).write_bytes(b"kernel")
    (directory / PROVED).touch()
    used(directory, age_s)
    return directory


def used(directory: Path, age_s: float) -> None:
    when = time.time() - age_s
    os.utime(directory, (when, when))


def test_the_latest_few_stay(tmp_path: Path) -> None:
    old = [kernels(tmp_path, n, UNUSED_S * (2 + n)) for n in range(KEPT + 3)]
    current = kernels(tmp_path, 99, 0)
    prune(current)
    assert [d.name for d in old if d.exists()] == [d.name for d in old[: KEPT - 1]]
    assert len(list(current.rglob("*.nb[ci]"))) == 2


def test_the_current_stays_however_old_it_looks(tmp_path: Path) -> None:
    others = [kernels(tmp_path, n, UNUSED_S * 2) for n in range(KEPT - 1)]
    current = kernels(tmp_path, 99, UNUSED_S * 100)
    prune(current)
    assert all(d.exists() for d in [*others, current])


def test_what_was_used_just_now_stays_whatever_the_number(tmp_path: Path) -> None:
    busy = [kernels(tmp_path, n, UNUSED_S * 0.9) for n in range(KEPT * 2)]
    prune(kernels(tmp_path, 99, 0))
    assert all(d.exists() for d in busy)
    for directory in busy:
        used(directory, UNUSED_S * 1.1)
    prune(tmp_path / f"kernels-{99:016x}")
    assert sum(d.exists() for d in busy) == KEPT - 1


PRUNE = """
import sys
from pathlib import Path
from render.backends.cpu.kernel_cache import prune
prune(Path(sys.argv[1]))
"""


def test_what_was_forgotten_goes_however_few_there_are(tmp_path: Path) -> None:
    lately, forgotten = kernels(tmp_path, 1, FORGOTTEN_S * 0.99), kernels(tmp_path, 2, FORGOTTEN_S * 1.01)
    current = kernels(tmp_path, 99, FORGOTTEN_S * 2)
    prune(current)
    assert [d.exists() for d in (lately, forgotten, current)] == [True, False, True]


def test_two_processes_prune_what_both_share(tmp_path: Path) -> None:
    old = [kernels(tmp_path, n, FORGOTTEN_S * 2) for n in range(40)]
    shared = kernels(tmp_path, 98, 0)
    current = kernels(tmp_path, 99, 0)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    both = [
        subprocess.Popen([sys.executable, "-c", PRUNE, str(each)], env=environment, stderr=subprocess.PIPE)
        for each in (shared, current)
    ]
    for process in both:
        _, said = process.communicate(timeout=120)
        assert (process.returncode, said) == (0, b"")
    assert not any(d.exists() for d in old)
    assert all(len(list(d.rglob("*.nb[ci]"))) == 2 for d in (shared, current))


def test_what_is_not_ours_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_cache, "KEPT", 1)
    named_otherwise = tmp_path / "kernels-of-corn"
    named_otherwise.mkdir()
    (named_otherwise / "a.nbc").write_text("not a kernel")
    elsewhere = kernels(tmp_path / "elsewhere", 1, UNUSED_S * 9)
    link = tmp_path / f"kernels-{2:016x}"
    link.symlink_to(elsewhere)
    file = tmp_path / f"kernels-{3:016x}"
    file.write_text("a file")
    noted = kernels(tmp_path, 4, 0)
    (noted / "cpu_0123" / "notes.txt").write_text("mine")
    through = noted / "cpu_0123" / "linked"
    through.symlink_to(elsewhere)
    gone = kernels(tmp_path, 5, UNUSED_S * 9)
    for path in (named_otherwise, file, noted):
        used(path, UNUSED_S * 9)
    prune(kernels(tmp_path, 99, 0))
    assert not gone.exists()
    assert (named_otherwise / "a.nbc").exists()
    assert link.is_symlink()
    assert len(list(elsewhere.rglob("*.nbc"))) == 1
    assert file.read_text() == "a file"
    assert (noted / "cpu_0123" / "notes.txt").read_text() == "mine"
    assert not list(noted.rglob("*.nbi"))


def test_a_folder_that_others_may_write_to_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_cache, "KEPT", 1)
    shared = kernels(tmp_path, 1, 0)
    shared.chmod(0o777)
    used(shared, UNUSED_S * 9)
    prune(kernels(tmp_path, 99, 0))
    assert len(list(shared.rglob("*.nb[ci]"))) == 2


def test_failing_to_prune_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_cache, "KEPT", 1)
    old = kernels(tmp_path, 1, UNUSED_S * 9)

    def refuse(*args: Any, **options: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(kernel_cache.os, "unlink", refuse)
    prune(kernels(tmp_path, 99, 0))
    assert old.exists()
    prune(tmp_path / "gone" / "kernels-0")


def test_use_marks_a_directory_and_prunes_its_neighbours(places: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    mine = usable_directory(places[0], kernel_cache.cache_key(8))
    assert mine is not None
    used(mine, UNUSED_S * 50)
    old = [kernels(places[0], n, UNUSED_S * 9) for n in range(KEPT + 1)]
    assert kernel_cache.cache_directory(8) == mine
    assert time.time() - mine.stat().st_mtime < UNUSED_S
    assert sum(d.exists() for d in old) == KEPT - 1


def double(x: Any, out: Any) -> None:
    for n in range(x.size):
        out[n] = x[n] * 2


def test_a_cache_that_fails_is_said_once_and_does_not_matter(
    places: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    signature = numba.types.void(numba.float32[::1], numba.float32[::1])
    x, out = np.arange(3, dtype=np.float32), np.zeros(3, np.float32)
    kernel_cache.compile_function("double", double, signature, 8)(x, out)
    np.testing.assert_array_equal(out, x * 2)
    (data,) = places[0].rglob("*.nbc")
    data.write_bytes(b"damaged")
    assert not caplog.records
    out[:] = 0
    kernel_cache.compile_function("double", double, signature, 8)(x, out)
    np.testing.assert_array_equal(out, x * 2)
    (record,) = caplog.records
    assert record.getMessage().startswith("kernel double was compiled without the cache")


def test_a_fault_of_the_text_is_raised(places: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    def wrong(x: Any) -> None:
        x.nothing_of_the_sort()

    with pytest.raises(numba.core.errors.NumbaError):
        kernel_cache.compile_function("wrong", wrong, numba.types.void(numba.float32[::1]), 8)
    assert not caplog.records

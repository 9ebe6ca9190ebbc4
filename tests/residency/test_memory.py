"""What memory there is, and how a budget is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from render import memory
from render.errors import StartupError
from render.memory import default_budget_bytes, parse_bytes


class TestMemory:
    @pytest.mark.parametrize(
        ("text", "count"),
        [
            ("1073741824", 1 << 30),
            ("8GiB", 8 << 30),
            (" 500 MB ", 500_000_000),
            ("1.5g", 1_500_000_000),
            ("64kib", 64 << 10),
            ("2T", 2 * 10**12),
        ],
    )
    def test_sizes(self, text: str, count: int) -> None:
        assert parse_bytes(text, "--x") == count

    @pytest.mark.parametrize("text", ["", "GiB", "-1", "8 apples", "8iB", "0", "0.1", "1e9", "nan", "8GiBB"])
    def test_what_is_no_size(self, text: str) -> None:
        with pytest.raises(StartupError, match="--memory-budget"):
            parse_bytes(text, "--memory-budget")

    def test_default_is_at_most_half_of_the_machine(self) -> None:
        assert 0 < default_budget_bytes() < 1 << 50

    @pytest.mark.parametrize(
        ("membership", "files", "limit"),
        [
            ("0::/a/b\n", {"a/memory.max": "300", "a/b/memory.max": "max"}, 300),
            ("0::/a/b\n", {"a/memory.max": "300", "a/b/memory.max": "200"}, 200),
            ("0::/\n", {"memory.max": "77"}, 77),
            ("0::/host/path\n", {"memory.max": "88"}, 88),
            ("0::/\n", {"memory.max": "max"}, None),
            ("0::/\n", {}, None),
            ("4:cpu,memory:/x\n0::/\n", {"memory/x/memory.limit_in_bytes": "55"}, 55),
            ("4:memory:/docker/abc\n", {"memory/memory.limit_in_bytes": "66"}, 66),
            ("4:memory:/x\n0::/\n", {"memory/x/memory.limit_in_bytes": "55", "unified/memory.max": "44"}, 44),
            ("3:cpuset:/x\n", {"memory/x/memory.limit_in_bytes": "55"}, None),
        ],
    )
    def test_cgroup_limits(self, tmp_path: Path, membership: str, files: dict[str, str], limit: int | None) -> None:
        (tmp_path / "cgroup").write_text(membership)
        for name, text in files.items():
            (tmp_path / "sys" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "sys" / name).write_text(text + "\n")
        assert memory.cgroup_limit_bytes(tmp_path / "cgroup", tmp_path / "sys") == limit

    def test_no_cgroups_at_all(self, tmp_path: Path) -> None:
        assert memory.cgroup_limit_bytes(tmp_path / "none", tmp_path) is None

    def test_default_respects_the_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(memory, "cgroup_limit_bytes", lambda: 1000)
        assert default_budget_bytes() == 500

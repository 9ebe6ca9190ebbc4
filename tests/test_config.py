from __future__ import annotations

import os
from pathlib import Path

import pytest

from render.config import DEFAULT_HTTP_PORT, Settings, load_settings
from render.errors import StartupError
from render.memory import default_budget_bytes


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"VOXELCAST_{name.upper()}", raising=False)


def test_command_line_over_environment_over_file_over_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "voxelcast.toml"
    file.write_text('http_port = 1001\ngrpc_port = 1002\nthreads = 3\nmemory_budget_bytes = "2GiB"\n')
    monkeypatch.setenv("VOXELCAST_GRPC_PORT", "2002")
    monkeypatch.setenv("VOXELCAST_THREADS", "4")
    settings = load_settings(file, threads=5, http_port=None)
    assert (settings.http_port, settings.grpc_port, settings.threads) == (1001, 2002, 5)
    assert settings.memory_budget_bytes == 2 << 30
    assert load_settings(None).http_port == DEFAULT_HTTP_PORT


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"http_port": 70000}, "--http-port"),
        ({"grpc_port": -1}, "--grpc-port"),
        ({"memory_budget_bytes": "lots"}, "--memory-budget"),
        ({"memory_budget_bytes": "0"}, "--memory-budget"),
        ({"threads": -2}, "--threads"),
        ({"threads": 0}, "--threads"),
        ({"roots": "[1"}, "ROOT: a JSON list of texts"),
        ({"allow_host": "[1]"}, "--allow-host: a JSON list of texts"),
        ({"roots": [7]}, r"^ROOT: "),
    ],
)
def test_a_bad_setting_is_one_line_that_names_the_flag(given: dict[str, object], named: str) -> None:
    with pytest.raises(StartupError, match=named) as caught:
        load_settings(None, **given)
    assert "\n" not in caught.value.message


def test_a_file_with_an_unknown_name_or_no_toml_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "voxelcast.toml"
    file.write_text("http_prot = 1001\n")
    with pytest.raises(StartupError, match=r"^--config: no setting 'http_prot'$"):
        load_settings(file)
    file.write_text("http_port =")
    with pytest.raises(StartupError, match="--config"):
        load_settings(file)
    with pytest.raises(StartupError, match="no file"):
        load_settings(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("roots", "expected"),
    [
        ("/srv", ["/srv"]),
        (os.pathsep.join(["/srv/a b", "/data", ""]), ["/srv/a b", "/data"]),
        ('["/srv", "/data"]', ["/srv", "/data"]),
        ("", []),
    ],
)
def test_roots_from_the_environment(monkeypatch: pytest.MonkeyPatch, roots: str, expected: list[str]) -> None:
    monkeypatch.setenv("VOXELCAST_ROOTS", roots)
    assert load_settings(None, roots=()).roots == tuple(map(Path, expected))
    assert load_settings(None, roots=(Path("/given"),)).roots == (Path("/given"),)


def test_names_from_the_environment_and_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXELCAST_ALLOW_HOST", "a.example, b.example:8080")
    monkeypatch.setenv("VOXELCAST_ALLOW_ORIGIN", '["https://a.example"]')
    file = tmp_path / "voxelcast.toml"
    file.write_text('roots = ["/srv"]\n')
    settings = load_settings(file)
    assert settings.allow_host == ("a.example", "b.example:8080")
    assert settings.allow_origin == ("https://a.example",)
    assert settings.roots == (Path("/srv"),)


def test_a_token_file_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"--token-file: no such file: .*absent"):
        load_settings(None, token_file=tmp_path / "absent").read_token()
    with pytest.raises(StartupError, match=r"--token-file: can't be read \(Is a directory\)"):
        load_settings(None, token_file=tmp_path).read_token()
    (tmp_path / "latin").write_bytes(b"\xe4" * 20)
    with pytest.raises(StartupError, match="--token-file: not UTF-8"):
        load_settings(None, token_file=tmp_path / "latin").read_token()


def test_beyond_loopback_a_token_is_needed(tmp_path: Path) -> None:
    for host in ("127.0.0.1", "127.3.2.1", "localhost", "::1"):
        assert load_settings(None, host=host).read_token() is None
    for host in ("0.0.0.0", "::", "192.0.2.7", "a.example"):
        with pytest.raises(StartupError, match="--token-file"):
            load_settings(None, host=host).read_token()
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\nnot this\n")
    assert load_settings(None, host="0.0.0.0", token_file=token).read_token() == "0123456789abcdef"


def test_a_token_by_itself_is_shown_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(None, host="0.0.0.0", token="0123456789abcdef")
    assert settings.read_token() == "0123456789abcdef"
    assert "0123456789abcdef" not in repr(settings)
    with pytest.raises(StartupError, match="--token: a token of 5 characters") as caught:
        load_settings(None, token="short").read_token()
    assert "short" not in caught.value.message
    with pytest.raises(StartupError, match="--token and --token-file: one of them"):
        load_settings(None, token="0123456789abcdef", token_file=tmp_path / "token").read_token()
    monkeypatch.setenv("VOXELCAST_TOKEN", "fedcba9876543210")
    assert load_settings(None).read_token() == "fedcba9876543210"


@pytest.mark.parametrize("text", ["", "short", "sixteen chars\x07 no", "sechzehn Zeichen ß"])
def test_a_token_that_can_be_guessed_or_sent_wrongly_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text + "\n", "utf-8")
    with pytest.raises(StartupError, match="--token-file") as caught:
        load_settings(None, token_file=file).read_token()
    assert not text or text not in caught.value.message


def test_the_hosts_memory_is_a_size_of_its_own(tmp_path: Path) -> None:
    settings = load_settings(None, memory_budget_bytes="1GiB", host_memory_bytes="64MiB")
    assert (settings.memory_budget_bytes, settings.host_memory_bytes) == (1 << 30, 64 << 20)
    assert load_settings(None).host_memory_bytes == default_budget_bytes()
    with pytest.raises(StartupError, match=r"^--host-memory 'much': a size such as"):
        load_settings(None, host_memory_bytes="much")
    file = tmp_path / "settings.toml"
    file.write_text("host_memory_bytes = 0")
    with pytest.raises(StartupError, match=r"^--host-memory: "):
        load_settings(file)

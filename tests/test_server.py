"""The server as a user starts it: ``voxelcast demo`` in a process of its own."""

from __future__ import annotations

import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from voxelcast import Client

STARTUP_SECONDS = 60.0


class Started:
    """A ``voxelcast`` process whose output is read as it comes."""

    def __init__(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-c", "from render.cli import main; main()", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: queue.Queue[str] = queue.Queue()
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read_stdout, daemon=True),
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_stdout(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put("")

    def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        self.errors.extend(line.rstrip("\n") for line in self.process.stderr)

    def address(self) -> str:
        """Wait for the line with the page's address."""
        line = self.lines.get(timeout=STARTUP_SECONDS)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", line), (line, self.errors)
        return line

    def stop(self) -> int:
        """Send SIGTERM; return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        for reader in self._readers:
            reader.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return status


@pytest.fixture
def demo(small_series: Path) -> Iterator[Started]:
    started = Started("demo", small_series, "--http-port", "0", "--grpc-port", "0")
    yield started
    if started.process.poll() is None:
        started.stop()


def test_it_serves_the_page_health_and_grpc_and_ends_on_sigterm(demo: Started) -> None:
    address = demo.address()
    with urllib.request.urlopen(f"{address}/healthz", timeout=10) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert b"<html" in answer.read()
    with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
        assert b"voxelcast_" in answer.read()
    said = next(line for line in demo.errors if line.startswith("gRPC on "))
    target = said.removeprefix("gRPC on ").split(";")[0]
    with Client(target) as client:
        (entry,) = client.volumes()
        with client.open(entry.volume_id) as volume:
            assert volume.render().shape == (512, 512)
    assert demo.stop() == 0
    assert not [line for line in demo.errors if "Traceback" in line]


def test_what_it_is_doing_is_said_in_plain_lines(demo: Started) -> None:
    demo.address()
    demo.stop()
    assert any("decoding" in line for line in demo.errors)
    assert not any("\r" in line or "\033" in line for line in demo.errors)


@pytest.mark.parametrize("flag", ["--http-port", "--grpc-port"])
def test_a_port_in_use_is_one_line_that_names_the_flag(small_series: Path, flag: str) -> None:
    other = {"--http-port": "--grpc-port", "--grpc-port": "--http-port"}[flag]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        started = Started("demo", small_series, flag, port, other, "0")
        assert started.process.wait(STARTUP_SECONDS) == 1
        started.stop()
    said = [line for line in started.errors if line.startswith("voxelcast: ")]
    assert len(said) == 1
    assert flag in said[0]
    assert port in said[0]
    assert not [line for line in started.errors if "Traceback" in line]


def test_a_path_without_dicom_ends_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    started = Started("demo", tmp_path, "--http-port", "0", "--grpc-port", "0")
    assert started.process.wait(STARTUP_SECONDS) == 1
    started.stop()
    assert len([line for line in started.errors if line.startswith("voxelcast: ")]) == 1

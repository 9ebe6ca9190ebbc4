"""The server as a user starts it: ``voxelcast demo`` in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from render.config import Settings
from render.server import running
from tests.dicom.synthetic import ramp, write_series
from voxelcast import Client

STARTUP_SECONDS = 60.0


class Started:
    """A ``voxelcast`` process whose output is read as it comes."""

    def __init__(self, *arguments: str | Path, **environment: str) -> None:
        command = [sys.executable, "-c", "from render.cli import main; main()", *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
            start_new_session=True,  # a process group of its own, as a terminal gives it
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.errors: list[str] = []
        self.told: queue.Queue[str] = queue.Queue()
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
        for line in self.process.stderr:
            self.errors.append(line.rstrip("\n"))
            self.told.put(self.errors[-1])
        self.told.put("")

    def address(self) -> str:
        """Wait for the line with the page's address."""
        line = self.lines.get(timeout=STARTUP_SECONDS)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", line), (line, self.errors)
        return line

    def wait_until_told(self, words: str) -> None:
        """Wait for a line on stderr that holds these words."""
        while line := self.told.get(timeout=STARTUP_SECONDS):
            if words in line:
                return
        pytest.fail(f"never said {words!r}: {self.errors}")

    def interrupt(self, number: signal.Signals) -> None:
        """Send a signal to the whole process group, as a terminal does."""
        os.killpg(self.process.pid, number)

    def stop(self) -> int:
        """Send SIGTERM; return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end; return the exit status."""
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
    with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
        assert b'voxelcast_grpc_seconds_count{method="Render",status="OK"} 1.0' in answer.read()
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
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "notes.txt").write_text("nothing")
    cold = str(tmp_path / "cache")
    started = Started("demo", tmp_path / "series", "--http-port", "0", "--grpc-port", "0", XDG_CACHE_HOME=cold)
    assert started.wait() == 1
    said = [line for line in started.errors if line.startswith("voxelcast: ")]
    assert said == ["voxelcast: no DICOM in 1 file: not DICOM: no DICM marker at byte 128, no data set at byte 0"]
    assert not any("compiling kernels 18/18" in line for line in started.errors), "it waits for no kernel"


@pytest.mark.parametrize(
    ("stage", "number"), [("compiling kernels", signal.SIGINT), ("making the torso", signal.SIGTERM)]
)
def test_a_cold_demo_stops_when_it_is_interrupted(tmp_path: Path, stage: str, number: signal.Signals) -> None:
    started = Started("demo", "--http-port", "0", "--grpc-port", "0", XDG_CACHE_HOME=str(tmp_path))
    started.wait_until_told(stage)
    started.interrupt(number)
    assert started.wait() == 128 + number
    assert started.lines.get(timeout=10) == "", "no address was printed"
    assert "making the torso 100/100" not in started.errors
    assert not [line for line in started.errors if "Traceback" in line or "WARNING" in line]


def test_ctrl_c_while_headers_are_scanned_is_quiet(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    write_series(folder, ramp((400, 6, 5)))
    started = Started("serve", folder, "--http-port", "0", "--grpc-port", "0", XDG_CACHE_HOME=str(tmp_path / "cache"))
    started.wait_until_told("scanning the roots")
    started.interrupt(signal.SIGINT)
    assert started.wait() in (0, 130)  # the address may have been printed, or not yet
    assert not [line for line in started.errors if re.search("Traceback|WARNING|KeyboardInterrupt", line)]


@pytest.fixture
def noise_demo(tmp_path: Path) -> Iterator[Started]:
    """Serve what deflates badly."""
    write_series(tmp_path / "series", np.random.default_rng(5).integers(0, 4000, (12, 64, 64), dtype=np.uint16))
    started = Started("demo", tmp_path / "series", "--http-port", "0", "--grpc-port", "0")
    yield started
    if started.process.poll() is None:
        started.stop()


def test_on_sigterm_clients_are_told_readyz_turns_and_a_frame_in_flight_ends(noise_demo: Started) -> None:
    address = noise_demo.address()
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)  # what is not read waits at the server
        plain.connect(("127.0.0.1", int(address.rpartition(":")[2])))
        url = f"ws{address.removeprefix('http')}/stream"
        with connect(url, sock=plain, max_size=None, max_queue=1, compression=None) as client:
            header, begun = first_chunk_of_a_large_frame(client)
            assert header["chunk_count"] > 6, "most of it is still at the server"
            noise_demo.interrupt(signal.SIGTERM)
            while "draining" not in waiting_for(address):
                pass
            received = read_to_the_end(client)
            assert client.close_code == 1001
    assert any("draining" in json.loads(text) for text in received if isinstance(text, str))
    payload = b"".join([begun, *(frame_of(data)[1] for data in received if isinstance(data, bytes))])
    assert (len(payload), zlib.crc32(payload)) == (header["payload_bytes"], header["payload_crc32"])
    assert noise_demo.wait() == 0
    assert not [line for line in noise_demo.errors if "Traceback" in line]


def first_chunk_of_a_large_frame(client: ClientConnection) -> tuple[dict[str, Any], bytes]:
    client.send(json.dumps({"hello": {"protocol_version": 1}}))
    (volume,) = json.loads(client.recv())["welcome"]["volumes"]
    client.send(json.dumps({"open_volume": {"volume_id": volume["volume_id"]}}))
    message: dict[str, Any] = {}
    while "volume_opened" not in message:
        message = json.loads(client.recv())
    view = message["volume_opened"]["volume"]["initial_views"][0]["view"]
    view["viewport"] = {"width_px": 3000, "height_px": 3000}
    client.send(json.dumps({"set_view": {"view_id": "large", "revision": 1, "view": view}}))
    while True:
        header, payload = frame_of(client.recv())
        if header["quality"] == "FRAME_QUALITY_FINAL":
            return header, payload
        client.send(json.dumps({"acknowledge": {"view_id": "large", "sequence": header["sequence"]}}))


def read_to_the_end(client: ClientConnection) -> list[str | bytes]:
    received: list[str | bytes] = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            received.append(client.recv())
    return received


def frame_of(data: str | bytes) -> tuple[dict[str, Any], bytes]:
    assert isinstance(data, bytes), data
    (length,) = struct.unpack_from("<I", data)
    return json.loads(data[4 : 4 + length]), data[4 + length :]


def waiting_for(address: str) -> list[str]:
    """Return what /readyz waits for: kernels too, where they have not been compiled yet."""
    answer = httpx.get(f"{address}/readyz")
    assert (answer.status_code == 200) == (not answer.json()["waiting_for"])
    return answer.json()["waiting_for"]


def test_a_second_signal_ends_a_server_that_drains(demo: Started) -> None:
    demo.address()
    demo.wait_until_told("gRPC on ")
    target = next(line for line in demo.errors if line.startswith("gRPC on ")).split()[2].rstrip(";")
    with grpc.insecure_channel(target) as channel:
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        next(watching)  # a call in flight: the server gives it five seconds to end
        demo.interrupt(signal.SIGTERM)
        demo.wait_until_told("draining")
        demo.interrupt(signal.SIGTERM)
        assert demo.wait() == 143


def test_what_stays_is_left_out_of_collections_and_what_comes_is_not() -> None:
    script = """
import gc, weakref
from render.server import settle
class Node: pass
def ring():
    node = Node(); node.self = node
    return weakref.ref(node)
before = ring()
settle()
after = ring()
counted = gc.get_freeze_count()
gc.collect()
print(counted > 10_000, before() is None, after() is None)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["True", "True", "True"]


def test_a_server_tells_once_that_all_is_loaded() -> None:
    stages: list[str] = []
    settled = asyncio.Event()

    def loaded() -> None:
        stages.append("loaded")
        settled.set()

    async def start() -> None:
        settings = Settings(http_port=0, grpc_port=0, threads=2, device="cpu")
        async with running(settings, lambda stage, done, total: stages.append(stage), loaded):
            await asyncio.wait_for(settled.wait(), STARTUP_SECONDS)

    asyncio.run(start())
    assert stages.count("loaded") == 1
    assert stages[-1] == "loaded"
    assert "compiling kernels" in stages

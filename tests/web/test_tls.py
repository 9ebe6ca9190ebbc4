"""The whole server behind TLS: page, websocket and gRPC with one certificate."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import subprocess
import warnings
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from render.config import Settings, load_settings
from render.errors import StartupError
from render.server import Addresses, running
from tests.stream.engines import gradient_volume, view_message
from tests.web.client import Client
from voxelcast import AsyncClient, UnauthenticatedError

TOKEN = "a token that is long enough"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a certificate for localhost, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost".split()
    options += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, *options], check=True, capture_output=True)
    return certificate, key


@contextlib.asynccontextmanager
async def started(pem: tuple[Path, Path]) -> AsyncIterator[Addresses]:
    settings = Settings(http_port=0, grpc_port=0, threads=2, token=TOKEN, tls_cert=pem[0], tls_key=pem[1])
    async with running(settings, lambda stage, done, total: None) as (engine, addresses):
        await engine.add(gradient_volume())
        yield addresses


async def test_page_stream_and_grpc_speak_tls_and_nothing_else(pem: tuple[Path, Path]) -> None:
    trusting = ssl.create_default_context(cafile=str(pem[0]))
    async with started(pem) as addresses:
        assert addresses.page == f"https://127.0.0.1:{addresses.http_port}"
        async with httpx.AsyncClient(verify=trusting, trust_env=False) as http:
            assert (await http.get(f"{addresses.page}/healthz")).status_code == 200
            assert (await http.get(f"{addresses.page}/readyz")).status_code == 401
        url = f"wss://127.0.0.1:{addresses.http_port}/stream"
        async with connect(url, ssl=trusting, proxy=None, origin=addresses.page, max_size=None) as socket:  # type: ignore[arg-type]
            client = Client(socket)
            await client.hello(token=TOKEN)
            await client.set_view("a", 1, view_message())
            await client.final("a", 1)
        address = f"localhost:{addresses.grpc_port}"
        async with AsyncClient(address, token=TOKEN, ca_file=pem[0]) as grpc_client:
            assert [volume.volume_id for volume in await grpc_client.volumes()] == ["vol"]
        async with AsyncClient(address, token="another that is long enough", ca_file=pem[0]) as grpc_client:
            with pytest.raises(UnauthenticatedError):
                await grpc_client.volumes()
        # Plain text finds nobody.
        reader, writer = await asyncio.open_connection("127.0.0.1", addresses.http_port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert not (await reader.read(100)).startswith(b"HTTP")
        writer.close()


async def test_older_than_tls_1_2_is_refused(pem: tuple[Path, Path]) -> None:
    old = ssl.create_default_context(cafile=str(pem[0]))
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    new = ssl.create_default_context(cafile=str(pem[0]))
    new.maximum_version = ssl.TLSVersion.TLSv1_2
    async with started(pem) as addresses:
        for port in (addresses.http_port, addresses.grpc_port):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.open_connection("127.0.0.1", port, ssl=old)
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=new)
            writer.close()
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                await writer.wait_closed()


def test_what_is_no_certificate_and_its_key_is_one_line(pem: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = pem
    other = tmp_path / "other.pem"
    other.write_text("not PEM\n")
    locked = tmp_path / "locked.pem"
    openssl = shutil.which("openssl")
    assert openssl is not None
    arguments = ["pkcs8", "-topk8", "-in", str(key), "-out", str(locked), "-passout", "pass:secret"]
    subprocess.run([openssl, *arguments], check=True, capture_output=True)
    assert load_settings(None).read_tls() is None
    for files, named in (
        ({"tls_cert": certificate}, "both are needed"),
        ({"tls_key": key}, "both are needed"),
        ({"tls_cert": tmp_path / "absent", "tls_key": key}, "--tls-cert: no such file"),
        ({"tls_cert": certificate, "tls_key": tmp_path}, r"--tls-key: can't be read"),
        ({"tls_cert": certificate, "tls_key": other}, "no certificate and its key"),
        ({"tls_cert": other, "tls_key": key}, "no certificate and its key"),
        ({"tls_cert": key, "tls_key": certificate}, "no certificate and its key"),
        ({"tls_cert": certificate, "tls_key": locked}, "passphrase"),
    ):
        with pytest.raises(StartupError, match=named) as caught:
            load_settings(None, **files).read_tls()
        assert "\n" not in caught.value.message

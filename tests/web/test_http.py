"""The routes beside the stream."""

from __future__ import annotations

import logging
from pathlib import Path

import httpx
import pytest

from render.errors import StartupError
from render.web.app import Compiling
from render.web.security import token_check
from render.web.serve import serve_http
from tests.stream.engines import view_message
from tests.web.client import served


async def get(url: str, path: str, **options: object) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        return await client.get(path, **options)  # type: ignore[arg-type]


async def test_the_page_is_served_with_headers_that_keep_it_to_itself() -> None:
    async with served() as server:
        response = await get(server.url, "/")
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/html")
        assert "default-src 'self'" in response.headers["content-security-policy"]
        assert "unsafe" not in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-cache"
        again = await get(server.url, "/", headers={"If-None-Match": response.headers["etag"]})
        assert again.status_code == 304


async def test_scripts_have_the_type_that_modules_need() -> None:
    async with served() as server:
        response = await get(server.url, "/stream.js")
        assert response.headers["content-type"].startswith(("text/javascript", "application/javascript"))


@pytest.mark.parametrize("path", ["/nothing", "/../pyproject.toml", "/%2e%2e/pyproject.toml", "/..%2fpyproject.toml"])
async def test_nothing_else_is_served(path: str) -> None:
    async with served() as server:
        response = await get(server.url, path)
        assert response.status_code == 404
        assert response.json()["message"] == "Not Found"


async def test_how_far_compiling_is() -> None:
    parts = [Compiling(7, 20, 12.5), None]
    async with served(compiling=lambda: parts.pop(0)) as server:
        response = await get(server.url, "/progress")
        assert response.json() == {"compiling": {"done": 7, "total": 20, "seconds": 12.5}}
        assert response.headers["cache-control"] == "no-store"
        assert (await get(server.url, "/progress")).json() == {"compiling": None}


async def test_alive_and_ready() -> None:
    missing = ["kernels"]
    async with served(waiting_for=lambda: missing) as server:
        assert (await get(server.url, "/healthz")).json()["alive"] is True
        response = await get(server.url, "/readyz")
        assert (response.status_code, response.json()) == (503, {"ready": False, "waiting_for": ["kernels"]})
        missing.clear()
        response = await get(server.url, "/readyz")
        assert (response.status_code, response.json()) == (200, {"ready": True, "waiting_for": []})
        await server.sessions.drain(1)
        assert (await get(server.url, "/readyz")).json()["waiting_for"] == ["draining"]
        assert (await get(server.url, "/healthz")).status_code == 200


async def test_metrics_count_what_was_sent() -> None:
    async with served() as server:
        async with server.client() as client:
            await client.hello()
            await client.set_view("a", 1, view_message())
            await client.final("a", 1)
            await client.set_view("b", 1, view_message("nowhere"))
            await client.text("error")
            response = await get(server.url, "/metrics")
        assert response.headers["content-type"].startswith("text/plain")
        lines = response.text.splitlines()
        assert "voxelcast_sessions 1.0" in lines
        assert 'voxelcast_frames_total{encoding="values_deflate",quality="final"} 1.0' in lines
        assert 'voxelcast_errors_total{reason="VOLUME_NOT_FOUND"} 1.0' in lines
        assert 'voxelcast_volumes{device="cpu",state="resident"} 1.0' in lines
        ours = server.engine.renderer
        lanes = f'voxelcast_simd_lanes{{device="cpu",kernels="{ours.kernel_set}"}} {float(ours.simd_lanes)}'
        assert lanes in lines
        (sent,) = [line for line in lines if line.startswith("voxelcast_frame_bytes_total ")]
        assert float(sent.split()[1]) > 100


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.2", "localhost:x", "", "[::2]:80"])
@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics"])
async def test_a_foreign_host_is_refused_everywhere(host: str, path: str) -> None:
    async with served() as server:
        response = await get(server.url, path, headers={"Host": host})
        assert response.status_code == 421


async def test_loopback_names_and_listed_hosts_are_served() -> None:
    async with served(allowed_hosts=["Viewer.example", "other.example:81"]) as server:
        for host in ("localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]", "[::1]:80", "viewer.example:443"):
            assert (await get(server.url, "/healthz", headers={"Host": host})).status_code == 200, host
        assert (await get(server.url, "/healthz", headers={"Host": "other.example:81"})).status_code == 200
        assert (await get(server.url, "/healthz", headers={"Host": "other.example:82"})).status_code == 421


async def test_pages_of_other_sites_may_not_ask_and_listed_ones_may_read_the_answer() -> None:
    token = {"Authorization": "Bearer correct horse battery"}
    async with served(allowed_origins=["https://viewer.example"], token="correct horse battery") as server:
        for origin in ("https://evil.example", "null", "http://localhost:1", "https://viewer.example.evil.example"):
            for path in ("/", "/healthz", "/readyz", "/progress", "/metrics"):
                response = await get(server.url, path, headers={"Origin": origin, **token})
                assert response.status_code == 403
                assert "access-control-allow-origin" not in response.headers
        own = await get(server.url, "/healthz", headers={"Origin": server.url})
        assert own.status_code == 200
        assert "access-control-allow-origin" not in own.headers
        listed = {"Origin": "https://viewer.example"}
        response = await get(server.url, "/readyz", headers={**listed, **token})
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "https://viewer.example"
        assert "Origin" in response.headers["vary"]
        assert (await get(server.url, "/readyz", headers=listed)).status_code == 401
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
            asked = await client.options(
                "/readyz", headers={**listed, "Access-Control-Request-Headers": "authorization"}
            )
        assert asked.status_code == 204
        assert asked.headers["access-control-allow-headers"] == "Authorization"


@pytest.mark.parametrize(
    ("site", "destination", "status"),
    [
        ("cross-site", "image", 403),
        ("cross-site", "iframe", 403),
        ("cross-site", "empty", 403),
        ("cross-site", "document", 200),
        ("same-origin", "image", 200),
        ("same-site", "image", 200),
        ("none", "document", 200),
    ],
)
async def test_pages_of_other_sites_may_link_but_not_embed(site: str, destination: str, status: int) -> None:
    async with served(allowed_origins=["https://viewer.example"]) as server:
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": destination}
        for path in ("/", "/healthz"):
            assert (await get(server.url, path, headers=headers)).status_code == status
        listed = {**headers, "Origin": "https://viewer.example"}
        assert (await get(server.url, "/healthz", headers=listed)).status_code == 200


async def test_the_token_guards_all_but_the_page_and_healthz() -> None:
    async with served(token="correct horse battery") as server:
        for path in ("/", "/healthz"):
            assert (await get(server.url, path)).status_code == 200
        for path in ("/metrics", "/readyz", "/progress"):
            for authorization in ("", "Bearer", "Bearer wrong", "Basic correct horse battery", "correct horse battery"):
                response = await get(server.url, path, headers={"Authorization": authorization})
                assert response.status_code == 401
                assert response.headers["www-authenticate"] == "Bearer"
                assert response.json()["reason"] == "UNAUTHENTICATED"
            right = await get(server.url, path, headers={"Authorization": "Bearer correct horse battery"})
            assert right.status_code == 200
            assert right.headers["cache-control"] == "no-store"


def test_without_a_token_anybody_may_come() -> None:
    token_check(None)("whatever")


async def test_a_port_in_use_is_an_error_that_names_the_flag() -> None:
    async with served() as server:
        with pytest.raises(StartupError, match=rf"^--http-port {server.port}: already in use on 127\.0\.0\.1$"):
            await serve_http(lambda *_: None, "127.0.0.1", server.port)  # type: ignore[arg-type, return-value]


async def test_an_address_of_nobody_is_an_error_that_names_the_flag() -> None:
    with pytest.raises(StartupError, match=r"^--host no\.such\.host\.invalid: no such address$"):
        await serve_http(lambda *_: None, "no.such.host.invalid", 0)  # type: ignore[arg-type, return-value]


async def test_no_log_line_holds_a_query(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with served() as server:
            await get(server.url, "/healthz?token=hidden-in-the-query")
            async with server.client(path="/stream?token=hidden-in-the-query") as client:
                await client.hello()
    ours = [r for r in caplog.records if not r.name.startswith(("httpx", "httpcore", "websockets.client"))]
    assert not [r for r in ours if "hidden-in-the-query" in r.getMessage()]


async def test_a_stopped_server_frees_its_port(tmp_path: Path) -> None:
    async with served() as server:
        port = server.port
    again = await serve_http(lambda *_: None, "127.0.0.1", port)  # type: ignore[arg-type, return-value]
    assert again.port == port
    await again.stop(1)

"""Messages that no client sends: each is answered by an error or a close code, and the other sessions go on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import random
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from render.web import serve
from tests.stream.engines import view_message
from tests.web.client import Client, served, view_json

GOOD_VIEW = view_json(view_message())


async def fate(client: Client) -> tuple[int | None, str]:
    """Return the close code and the reason of the error before it; or None and the error, if the session goes on."""
    with contextlib.suppress(ConnectionClosed):
        await client.send(list_volumes={})
        await client.text("volume_list")
        return None, next((text["error"]["reason"] for text in client.texts if "error" in text), "")
    errors = [text["error"]["reason"] for text in client.texts if "error" in text]
    return client.socket.close_code, errors[-1] if errors else ""


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ("", 1007, "PROTOCOL"),
        ("{", 1007, "PROTOCOL"),
        ("[]", 1002, "PROTOCOL"),
        ("null", 1007, "PROTOCOL"),
        ("7", 1007, "PROTOCOL"),
        ("NaN", 1007, "PROTOCOL"),
        ("[" * 50_000, 1007, "PROTOCOL"),
        ('{"a":' * 20_000, 1007, "PROTOCOL"),
        ('{"no_such_message": {}}', 1007, "PROTOCOL"),
        ('{"set_view": 3}', 1007, "PROTOCOL"),
        ('{"set_view": {"revision": -1}}', 1007, "PROTOCOL"),
        ('{"set_view": {"revision": 1e30}}', 1007, "PROTOCOL"),
        ('{"set_view": {"revision": 1.5}}', 1007, "PROTOCOL"),
        ('{"set_view": {}, "close_view": {}}', 1007, "PROTOCOL"),
        ('{"close_view": {"view_id": "\\ud800"}}', 1007, "PROTOCOL"),
        ("{}", 1002, "PROTOCOL"),
        ('{"hello": {"protocol_version": 1}}', 1002, "PROTOCOL"),
        (b"\x00\x01binary", 1003, "PROTOCOL"),
        (b"", 1003, "PROTOCOL"),
        ('{"set_view": {"view_id": "a"}}', None, "INVALID_ARGUMENT"),
        ('{"set_view": {"view_id": "a", "revision": 1}}', None, "INVALID_VIEW"),
        ('{"open_volume": {}}', None, "INVALID_ARGUMENT"),
        ('{"open_volume": {"volume_id": "../../etc/passwd"}}', None, "VOLUME_NOT_FOUND"),
        ('{"close_view": {"view_id": "never opened"}}', None, ""),
        ('{"ping": {}}', None, ""),
        ('{"ping": {"payload": "echo"}}', 1007, "PROTOCOL"),
        ('{"acknowledge": {"view_id": "a", "sequence": 4294967295}}', None, ""),
    ],
)
async def test_each_has_its_answer(message: str | bytes, code: int | None, reason: str) -> None:
    async with served() as server, server.client() as client:
        await client.hello()
        await client.socket.send(message)
        if reason == "VOLUME_NOT_FOUND":  # the catalog is asked in a task of its own
            assert (await client.text("error"))["reason"] == reason
        else:
            assert await fate(client) == (code, reason)
        async with server.client() as other:
            await other.hello()


def with_changes(**changes: Any) -> dict[str, Any]:
    view: dict[str, Any] = json.loads(json.dumps(GOOD_VIEW))
    for path, value in changes.items():
        *folders, name = path.split("__")
        part = view
        for folder in folders:
            part = part[folder]
        part[name] = value
    return view


@pytest.mark.parametrize(
    "view",
    [
        with_changes(camera__position__x="NaN"),
        with_changes(camera__position__x="Infinity"),
        with_changes(camera__position__x=1e300),
        with_changes(camera__up={"x": 0, "y": 0, "z": 0}),
        with_changes(camera__parallel_scale_mm=0),
        with_changes(camera__parallel_scale_mm="-Infinity"),
        with_changes(viewport__width_px=100_000),
        with_changes(viewport__height_px=0),
        with_changes(slab_mm=-1),
        with_changes(slab_mm="NaN"),
        with_changes(rendering_method=77),
        with_changes(rendering_method=0),
        with_changes(layers=[]),
        with_changes(layers=GOOD_VIEW["layers"] * 2),
        with_changes(layers=[{"volume_id": "vol", "opacity": "NaN"}]),
        with_changes(layers=[{"volume_id": "vol", "window": {"center": 0, "width": -1}}]),
        with_changes(layers=[{"volume_id": "vol", "transfer_function": {"preset": "no such"}}]),
        with_changes(clip={}),
    ],
)
async def test_a_view_that_cannot_be_drawn_names_what_is_wrong_and_the_next_one_is_drawn(view: dict[str, Any]) -> None:
    async with served() as server, server.client() as client:
        await client.hello()
        await client.send(set_view={"view_id": "a", "revision": 1, "view": view})
        error = await client.text("error")
        assert error["reason"] in ("INVALID_VIEW", "INVALID_ARGUMENT", "UNSUPPORTED")
        assert (error["view_id"], error["revision"]) == ("a", 1)
        assert "\n" not in error["message"]
        await client.set_view("a", 2, view_message())
        await client.final("a", 2)


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nHost: loc", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /"]
)
async def test_a_head_that_does_not_come_closes_the_connection(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "HEAD_SECONDS", 0.05)
    async with served() as server, server.client() as client:
        await client.hello()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        answer = await reader.read()
        assert (b" 200 " in answer) == (b"healthz" in sent)
        writer.close()
        # Who had sent a head before may take its time.
        await client.send(ping={})
        await client.text("pong")


async def test_a_head_without_an_end_is_refused() -> None:
    async with served() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with contextlib.suppress(ConnectionError):
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
            for _ in range(64):
                writer.write(b"X-Filler: " + b"x" * 1000 + b"\r\n")
                await writer.drain()
            assert b" 400 " in await reader.read(100)
        writer.close()


async def test_too_large_a_message_is_refused_with_its_size() -> None:
    async with served() as server, server.client() as client:
        await client.socket.send("x" * ((16 << 10) + 1))
        assert await fate(client) == (1009, "PROTOCOL")
    async with served() as server, server.client() as client:
        await client.hello()
        await client.socket.send("x" * ((256 << 10) + 1))
        assert (await fate(client))[0] == 1009


async def raw_stream(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET /stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def test_a_message_of_a_gigabyte_is_refused_by_its_header_alone() -> None:
    async with served() as server:
        reader, writer = await raw_stream(server.port)
        # FIN and text; masked, and 64 bits of length. Not one byte of the message follows.
        writer.write(bytes([0x81, 0x80 | 127]) + struct.pack(">Q", 1 << 30) + b"mask")
        frame = await reader.readexactly(4)
        assert frame[0] == 0x88
        assert struct.unpack(">H", frame[2:4]) == (1009,)
        writer.close()


async def test_fragments_that_add_up_to_a_gigabyte_are_refused_too() -> None:
    async with served() as server:
        reader, writer = await raw_stream(server.port)
        part = bytes(64 << 10)
        with contextlib.suppress(ConnectionError):
            for index in range(16):
                opcode = 0x01 if index == 0 else 0x00
                writer.write(bytes([opcode, 0x80 | 127]) + struct.pack(">Q", len(part)) + bytes(4) + part)
                await writer.drain()
        frame = await reader.readexactly(4)
        assert struct.unpack(">H", frame[2:4]) == (1009,)
        writer.close()


async def test_hundreds_of_damaged_messages_harm_nobody_else() -> None:
    random_source = random.Random(7)
    good = json.dumps({"set_view": {"view_id": "a", "revision": 9, "view": GOOD_VIEW}})
    async with served() as server, server.client() as bystander:
        await bystander.hello()
        await bystander.set_view("a", 1, view_message())
        await bystander.final("a", 1)
        seen = set()
        for _ in range(300):
            text = list(good)
            for _ in range(random_source.randint(1, 4)):
                index = random_source.randrange(len(text))
                text[index] = random_source.choice(['"', "{", "}", "-", "9", "e", "\\", "\x00", "é", "null", ""])
            async with server.client() as client:
                await client.hello()
                await client.socket.send("".join(text))
                code, _ = await fate(client)
                assert code in (None, 1002, 1007), (code, "".join(text))
                seen.add(code)
        assert seen >= {None, 1007}
        await bystander.set_view("a", 2, view_message(z_mm=30))
        await bystander.final("a", 2)
        await server.until(lambda: server.sessions.count == 1)


HOSTILE_MESSAGES = 10_000


def _value(chance: random.Random, depth: int = 0) -> Any:
    """Return any JSON, some of it far outside of what a field may hold."""
    kind = chance.randrange(9 if depth < 3 else 6)
    if kind == 0:
        return chance.choice([None, True, False, "", "NaN", "Infinity", "\u0000", "\U0001f9e0", "../..", "é" * 300])
    if kind <= 2:
        return chance.choice([0, -1, 1, 2**31, 2**32, 2**64, -(2**63), 1e308, -0.0, 1e-300, 0.1])
    if kind <= 5:
        return chance.choice(["axial", "vol", "RENDERING_METHOD_AVERAGE_IP", "9" * 40, "x" * chance.randrange(200)])
    if kind == 6:
        return [_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {_name(chance): _value(chance, depth + 1) for _ in range(chance.randrange(5))}


def _name(chance: random.Random) -> str:
    names = "hello set_view close_view acknowledge set_visibility list_volumes open_volume share watch drive view_id"
    more = " revision view camera position viewport width_px layers volume_id x sequence share_id visible token nothing"
    return chance.choice((names + more).split())


def _hostile(chance: random.Random) -> str | bytes:
    """Return a message that an honest client does not send: noise, wrong types, damaged or absurd views."""
    match chance.randrange(5):
        case 0:
            return chance.randbytes(chance.randrange(1, 200))
        case 1:
            return chance.randbytes(chance.randrange(1, 200)).decode("latin-1")
        case 2:
            return json.dumps({_name(chance): _value(chance)})
        case 3:
            view = json.loads(json.dumps(GOOD_VIEW))
            part = view
            while (name := chance.choice(sorted(part))) and isinstance(part[name], dict) and chance.random() < 0.7:
                part = part[name]
            part[name] = _value(chance)
            return json.dumps({"set_view": {"view_id": "a", "revision": chance.randrange(2**32), "view": view}})
        case _:
            text = json.dumps({"set_view": {"view_id": "a", "revision": 9, "view": GOOD_VIEW}})
            start = chance.randrange(len(text))
            return text[:start] + text[start + chance.randrange(40) :]


async def test_ten_thousand_hostile_messages_harm_nobody_else() -> None:
    chance = random.Random(2026)
    fates: Counter[tuple[int | None, str]] = Counter()
    resident: list[int] = []
    async with served() as server, server.client() as bystander:
        await bystander.hello()
        sent, revision = 0, 0
        while sent < HOSTILE_MESSAGES:
            async with server.client() as client:
                if chance.random() < 0.9:
                    await client.hello()
                # One that is closed for a message is not asked the next: several go at once.
                for _ in range(chance.randrange(1, 60)):
                    sent += 1
                    with contextlib.suppress(ConnectionClosed):
                        await client.socket.send(_hostile(chance))
                    if client.socket.close_code is not None:
                        break
                fates[await fate(client)] += 1
            if sent // 1000 > revision:
                revision = sent // 1000
                await bystander.set_view("a", revision, view_message(z_mm=10 + revision))
                await bystander.final("a", revision)
                gc.collect()
                resident.append(resident_bytes())
        assert {code for code, _ in fates} <= {None, 1002, 1003, 1007, 1008, 1009}
        assert {code for code, _ in fates} >= {1002, 1003, 1007}
        assert all(reason for code, reason in fates if code is not None), "closed without a word"
        await server.until(lambda: server.sessions.count == 1)
        assert [entry.pinned_by for entry in server.engine.status().cache.entries] == [("session-1",)]
    # The first thousands warm allocators and caches up.
    assert resident[-1] < resident[2] + (24 << 20), resident


def resident_bytes() -> int:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS"))


async def test_who_vanishes_in_the_middle_leaves_nothing_behind() -> None:
    async with served() as server, server.client() as bystander:
        await bystander.hello()
        await bystander.set_view("a", 1, view_message())
        await bystander.final("a", 1)
        for _ in range(20):
            async with server.client() as client:
                await client.hello()
                await client.set_view("3d", 1, view_message(color=True, size_px=256))
                client.socket.transport.abort()
        await server.until(lambda: server.sessions.count == 1)
        (entry,) = server.engine.status().cache.entries
        assert entry.pinned_by == ("session-1",)


async def test_who_asks_but_does_not_read_is_not_read_either() -> None:
    async with served() as server:
        reader, writer = await raw_stream(server.port)

        def text(message: dict[str, Any]) -> bytes:
            data = json.dumps(message).encode()
            return bytes([0x81, 0x80 | len(data)]) + bytes(4) + data

        writer.write(text({"hello": {"protocol_version": 1}}))
        # The allowance of messages ends it, or the kernel's buffers do: in no case are answers heaped up.
        writer.write(text({"drive": {}}) * 3000)
        async with server.client() as other:
            await other.hello()
            await other.set_view("a", 1, view_message())
            await other.final("a", 1)
        writer.transport.abort()
        await server.until(lambda: server.sessions.count == 0)
        del reader

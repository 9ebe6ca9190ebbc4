"""A card behind the engine: what the metrics and the doctor say of it, and what a session gets when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from render import server
from render.backends import choice as choice_module
from render.backends.choice import Choice, choose
from render.backends.cuda import cupy_device, probe
from render.backends.cuda.probe import Card, Found
from render.backends.cuda.renderer import CudaRenderer
from render.commands.doctor import examine, lines_of, lines_of_cuda
from render.config import Settings
from render.encoding import Encoding, encode
from render.engine import Engine
from render.errors import DeviceLostError
from render.frame import PictureRequest
from render.residency import VolumeCache
from render.stream.registry import SessionRegistry
from render.web.metrics import Metrics
from tests import phantoms
from tests.backends.cuda.fake_device import FakeDevice
from tests.backends.scenes import make_view, slanted_camera
from tests.phantoms import GRIDS, INT16

ONE = Found("13.1", "13.0", "14.2.0", (Card(0, "Card", 10 << 30, 20 << 30),))


class OneVolume:
    """A catalog of one volume, as much of it as a lease needs."""

    def __init__(self) -> None:
        self.volume = phantoms.blobs(GRIDS["oblique"], INT16)
        self.nbytes, self.dtype_bytes = self.volume.nbytes, 2
        self.ingest = None

    def entry(self, volume_id: str) -> Any:
        return self

    def loader(self, entry: Any) -> Any:
        return lambda progress, cancelled: self.volume

    def take_changed(self, volume_id: str) -> bool:
        return False


def engine_on(renderer: CudaRenderer) -> Engine:
    catalog: Any = OneVolume()
    engine = Engine(renderer, VolumeCache(renderer, 1 << 30), catalog)
    engine.choice = Choice(renderer, "auto", "because", 1 << 30)
    return engine


async def test_a_volume_is_opened_drawn_and_evicted_and_the_metrics_say_so(host_kernels) -> None:
    device = FakeDevice(host_kernels)
    engine = engine_on(CudaRenderer(device, 1 << 30))
    metrics = Metrics(engine, SessionRegistry())
    lease = await engine.open("blobs", holder="test")
    volume = lease.resident.volume
    view = make_view(volume, "color", slanted_camera(volume.geometry))
    frame = await engine.render(view, {"blobs": lease})
    assert frame.color.any()
    told = metrics.text().decode()
    assert 'voxelcast_device_info{asked="auto",device="cuda:0",reason="because"} 1.0' in told
    assert 'voxelcast_device_lost{device="cuda:0"} 0.0' in told
    assert f'voxelcast_device_memory_bytes{{device="cuda:0",kind="used"}} {float(device.used)}' in told
    assert device.used > 2 * volume.nbytes
    del frame
    lease.release()
    await engine.cache.discard("blobs")
    assert device.used == 0
    assert (
        f'voxelcast_device_memory_bytes{{device="cuda:0",kind="held"}} {float(device.kept)}' in metrics.text().decode()
    )
    await engine.close()
    await engine.cache.close()


async def test_a_card_that_is_lost_is_told_and_the_server_goes_on(host_kernels) -> None:
    device = FakeDevice(host_kernels)
    engine = engine_on(CudaRenderer(device, 1 << 30))
    metrics = Metrics(engine, SessionRegistry())
    lease = await engine.open("blobs", holder="test")
    view = make_view(lease.resident.volume, "color", slanted_camera(lease.resident.volume.geometry))
    device.fail_launch, device.sticks = 1, True
    for _ in range(2):
        with pytest.raises(DeviceLostError):
            await engine.render(view, {"blobs": lease})
    assert 'voxelcast_device_lost{device="cuda:0"} 1.0' in metrics.text().decode()
    lease.release()
    await engine.close()
    await engine.cache.close()


def test_the_doctor_says_what_card_there_is_and_that_it_would_be_used(host_kernels, monkeypatch) -> None:
    monkeypatch.setattr(probe, "probe", lambda: ONE)
    monkeypatch.setattr(cupy_device, "CupyDevice", lambda index: FakeDevice(host_kernels))
    report = examine()
    assert report["cuda"]["usable"] is True
    assert report["device"]["name"] == "cuda:0"
    said = "\n".join(lines_of(report))
    assert "driver for CUDA 13.1; CuPy 14.2.0; built for CUDA 13.0; cuda:0 Card, 10.00 GiB free of 20.00 GiB" in said
    assert "cuda:0: a card that is none draws what the CPU draws" in said
    assert "encodes by    an encoder that is none" in said
    assert "decodes by    on the CPU: nvImageCodec " in said


def test_the_doctor_says_why_a_card_is_not_used(host_kernels, monkeypatch) -> None:
    monkeypatch.setattr(probe, "probe", lambda: ONE)
    monkeypatch.setattr(cupy_device, "CupyDevice", lambda index: FakeDevice(host_kernels, fail_launch=1))
    report = examine()
    assert report["device"]["name"] == "cpu"
    assert "cuda:0 failed its self-test: " in "\n".join(lines_of(report))


def test_the_doctor_names_a_card_that_does_not_answer() -> None:
    found = Found("13.1", "13.0", "14.2.0", (Card(0, "Card", 10 << 30, 20 << 30), Card(1, "", 0, 0, "ECC")))
    said = lines_of_cuda(found.as_json())
    assert said.endswith("; cuda:0 Card, 10.00 GiB free of 20.00 GiB; cuda:1 does not answer: ECC")


def test_a_budget_of_the_servers_own_is_the_cards(host_kernels) -> None:
    choice = choose("cuda", find=lambda: ONE, open_device=lambda index: FakeDevice(host_kernels))
    assert choice.budget_bytes == 8 << 30


@pytest.mark.parametrize("has_encoder", [True, False])
async def test_a_jpeg_of_the_engine_is_made_on_the_card(host_kernels, has_encoder) -> None:
    device = FakeDevice(host_kernels, has_encoder=has_encoder)
    engine = engine_on(CudaRenderer(device, 1 << 30))
    lease = await engine.open("blobs", holder="test")
    view = make_view(lease.resident.volume, "color", slanted_camera(lease.resident.volume.geometry))
    frame = await engine.render(view, {"blobs": lease}, picture=PictureRequest(90, 2))
    assert frame.color is None
    assert frame.shown is not None
    assert (frame.shown.jpeg is not None) == has_encoder
    told = Metrics(engine, SessionRegistry()).text().decode()
    said = device.encoders[0].name if has_encoder else "pictures are encoded on the CPU: nvImageCodec is not installed"
    assert f'voxelcast_encoder_info{{device="cuda:0",encoder="{said}"}} 1.0' in told
    plain = await engine.render(view, {"blobs": lease})
    assert plain.shown is None
    payloads = {encode(each, Encoding.JPEG, jpeg_quality=90, divisor=2).payload for each in (frame, plain)}
    assert len(payloads) == 1
    lease.release()
    await engine.close()
    await engine.cache.close()


@pytest.mark.parametrize("asked", ["cuda", "cpu"])
async def test_a_server_on_a_card_compiles_nothing_for_the_cpu(host_kernels, monkeypatch, asked) -> None:
    begun = []

    def compile_kernels(preparation: server.Preparation) -> Coroutine[Any, Any, None]:
        begun.append(preparation)
        return asyncio.sleep(0)

    monkeypatch.setattr(server.Preparation, "compile_kernels", compile_kernels)
    monkeypatch.setattr(choice_module, "probe", lambda: ONE)
    monkeypatch.setattr(cupy_device, "CupyDevice", lambda index: FakeDevice(host_kernels))
    settings = Settings(http_port=0, grpc_port=0, threads=1, device=asked)
    async with server.running(settings, lambda stage, done, total: None) as (engine, _):
        assert engine.renderer.device == ("cpu" if asked == "cpu" else "cuda:0")
        assert len(begun) == (asked == "cpu")

"""Which renderer is chosen, and what is said where a card is not."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import numpy as np
import pytest

from render.backends.choice import CARD_SHARE, choose, close_renderer
from render.backends.cpu.renderer import CpuRenderer
from render.backends.cuda import selftest
from render.backends.cuda.frames import Sampling
from render.backends.cuda.probe import MIN_FREE_BYTES, Card, Found, probe
from render.backends.cuda.renderer import CudaRenderer
from render.config import load_settings
from render.errors import DeviceError, StartupError
from render.memory import default_budget_bytes
from tests.backends.cuda.fake_cupy import NO_DEVICE, fake_cupy, fake_cupy_of
from tests.backends.cuda.fake_device import FakeDevice

FREE = 10 << 30
ONE = Found("13.1", "13.0", "14.2.0", (Card(0, "Card", FREE, FREE),))


def found_with(**answers: Any) -> Found:
    return probe(lambda name: None, lambda name: fake_cupy(**answers))


def no_driver(name: str) -> None:
    raise OSError(f"{name}: cannot open shared object file")


def no_cupy(name: str) -> None:
    raise ImportError("No module named 'cupy'")


def refusing(index: int) -> FakeDevice:
    raise DeviceError(f"cuda:{index} failed starting: cudaErrorDevicesUnavailable")


# What is found


def test_a_card_is_found() -> None:
    found = found_with()
    assert found == Found("13.1", "13.0", "14.2.0", (Card(0, "Card", 70 << 30, 80 << 30),))
    assert found.as_json()["usable"] is True


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (probe(no_driver), "no NVIDIA driver"),
        (probe(lambda name: None, no_cupy), "CuPy can't be imported: No module named 'cupy'"),
        (found_with(driver=0), "driver does not answer"),
        (found_with(driver=12040), "driver is for CUDA 12.4, CuPy for 13.0: update the driver"),
        (found_with(count=RuntimeError("cudaErrorInsufficientDriver: too old")), "cudaErrorInsufficientDriver"),
        (found_with(count=RuntimeError("cudaErrorSystemNotReady: yet\nmore")), "cudaErrorSystemNotReady: yet$"),
        (found_with(count=NO_DEVICE), "no card"),
        (found_with(count=0), "no card"),
        (found_with(nvrtc=RuntimeError("libnvrtc.so.13: not found")), "NVRTC, .* libnvrtc.so.13"),
        (found_with(memory=RuntimeError("")), "cuda:0 does not answer: RuntimeError"),
        (found_with(memory=(200 << 20, 80 << 30)), "cuda:0 has 200.00 MiB free of 80.00 GiB: 512.00 MiB needed"),
    ],
)
def test_what_is_missing_is_said_and_the_cpu_renders(found: Found, reason: str, caplog) -> None:
    assert found.as_json()["usable"] is False
    with (
        caplog.at_level(logging.INFO, "render.backends.choice"),
        contextlib.closing(choose("auto", threads=1, find=lambda: found, open_device=refusing)) as choice,
    ):
        assert choice.renderer.device == "cpu"
        assert choice.budget_bytes == default_budget_bytes()
        assert len(caplog.records) == 1
        assert choice.reason in caplog.records[0].getMessage()
        assert "\n" not in choice.reason
    with pytest.raises(StartupError, match=f"^--device cuda: .*{reason}"):
        choose("cuda", find=lambda: found, open_device=refusing)


def test_without_a_driver_cupy_is_not_imported() -> None:
    asked: list[str] = []
    probe(no_driver, asked.append)
    assert asked == []


def test_the_driver_of_this_machine_is_asked_without_an_error() -> None:
    found = probe()
    assert found.reason or found.cards


# CUDA_VISIBLE_DEVICES

ROOMY, FULL = (70 << 30, 80 << 30), (200 << 20, 80 << 30)
CARDS = {"GPU-aa01": (b"first", ROOMY), "GPU-ab02": (b"second", ROOMY), "GPU-cc03": (b"third", ROOMY)}


def found_among(cards: dict[str, Any], wanted: str | None, monkeypatch: pytest.MonkeyPatch) -> Found:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if wanted is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", wanted)
    return probe(lambda name: None, lambda name: fake_cupy_of(cards, wanted))


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (None, ["first", "second", "third"]),
        ("1", ["second"]),
        ("2,0", ["third", "first"]),
        ("GPU-ab", ["second"]),
        ("GPU-cc03,0", ["third", "first"]),
        ("1,-1,0", ["second"]),
        ("0,7,1", ["first"]),
    ],
)
def test_cards_are_those_that_are_visible_in_that_order(host_kernels, wanted, names, monkeypatch) -> None:
    found = found_among(CARDS, wanted, monkeypatch)
    assert [card.name for card in found.cards] == names
    assert [card.index for card in found.cards] == list(range(len(names)))

    def open_device(index: int) -> FakeDevice:
        return FakeDevice(host_kernels, name=f"cuda:{index}", description=found.cards[index].name)

    with contextlib.closing(choose("cuda", find=lambda: found, open_device=open_device)) as choice:
        assert [seat.renderer.device for seat in choice.seats] == [f"cuda:{n}" for n in range(len(names))]
        assert [seat.renderer.description for seat in choice.seats] == names
    last = len(names) - 1
    with contextlib.closing(choose(f"cuda:{last}", find=lambda: found, open_device=open_device)) as choice:
        assert (choice.device, choice.renderer.description) == (f"cuda:{last}", names[-1])
    with pytest.raises(StartupError, match=f"no such card among the {len(names)} that are visible"):
        choose(f"cuda:{len(names)}", find=lambda: found, open_device=open_device)


@pytest.mark.parametrize("wanted", ["", "-1", "GPU-zz", "GPU-a", "NoDevFiles"])
def test_a_value_that_leaves_no_card_is_named(wanted, monkeypatch) -> None:
    found = found_among(CARDS, wanted, monkeypatch)
    assert found.reason == f"CUDA_VISIBLE_DEVICES={wanted!r} leaves no card"
    with contextlib.closing(choose("auto", threads=1, find=lambda: found)) as choice:
        assert (choice.device, choice.reason) == ("cpu", found.reason)


def test_a_driver_without_a_card_is_told_apart_from_that(monkeypatch) -> None:
    assert found_among({}, None, monkeypatch).reason == "the driver has no card"


def test_a_card_that_is_full_or_fails_costs_no_other(host_kernels, monkeypatch) -> None:
    cards = {"GPU-1": (b"full", FULL), "GPU-2": (b"broken", RuntimeError("ECC")), "GPU-3": (b"good", ROOMY)}
    found = found_among(cards, None, monkeypatch)
    assert found.reason == ""
    assert [card.reason[:22] for card in found.cards] == ["cuda:0 has 200.00 MiB ", "cuda:1 does not answer", ""]
    opened = []

    def open_device(index: int) -> FakeDevice:
        opened.append(index)
        return FakeDevice(host_kernels, name=f"cuda:{index}")

    with contextlib.closing(choose("auto", find=lambda: found, open_device=open_device)) as choice:
        assert choice.device == "cuda:2"
    assert opened == [2]


# What is chosen


def test_auto_takes_a_card_that_draws_what_the_cpu_draws(host_kernels, caplog) -> None:
    device = FakeDevice(host_kernels)
    with caplog.at_level(logging.INFO, "render.backends.choice"):
        choice = choose("auto", find=lambda: ONE, open_device=lambda index: device)
    assert isinstance(choice.renderer, CudaRenderer)
    assert choice.budget_bytes == int(CARD_SHARE * FREE)
    assert "draws what the CPU draws" in caplog.text
    assert {program.texture for program in device.programs} == {False, True}
    assert device.used == 0
    choice.close()
    assert device.is_closed


def test_a_card_that_draws_something_else_is_not_taken(host_kernels) -> None:
    class Wrong(FakeDevice):
        def download(self, buffer, target, stream) -> None:
            super().download(buffer, target, stream)
            if target.nbytes == 64 * 48 * 4:
                stream.pending.append(lambda: np.copyto(target, np.roll(target, 64 * 4 * 3)))

    device = Wrong(host_kernels)
    with contextlib.closing(choose("auto", threads=1, find=lambda: ONE, open_device=lambda index: device)) as choice:
        assert choice.renderer.device == "cpu"
        assert "failed its self-test: a plane equals the CPU's at" in choice.reason
    assert device.is_closed
    with pytest.raises(StartupError, match="failed its self-test"):
        choose("cuda:0", find=lambda: ONE, open_device=lambda index: Wrong(host_kernels))


@pytest.mark.parametrize("fails", ["fail_launch", "starts", "lost"])
def test_a_card_that_fails_is_not_taken(host_kernels, fails) -> None:
    def open_device(index: int) -> FakeDevice:
        if fails == "starts":
            return refusing(index)
        return FakeDevice(host_kernels, fail_launch=1, sticks=fails == "lost")

    with contextlib.closing(choose("auto", threads=1, find=lambda: ONE, open_device=open_device)) as choice:
        assert choice.renderer.device == "cpu"
        assert "cudaError" in choice.reason


THREE = Found(
    "13.1",
    "13.0",
    "14.2.0",
    tuple(Card(n, "Card", free, FREE) for n, free in enumerate((1 << 30, 4 << 30, MIN_FREE_BYTES - 1))),
)


@pytest.mark.parametrize(
    ("asked", "cards", "opened"),
    [("auto", None, [1, 0]), ("cuda", None, [1, 0]), ("cuda:0", None, [0]), ("auto", 1, [1])],
)
def test_all_cards_with_room_the_most_first_or_the_one_that_is_named(host_kernels, asked, cards, opened) -> None:
    devices: dict[int, FakeDevice] = {}

    def open_device(index: int) -> FakeDevice:
        devices[index] = FakeDevice(host_kernels, name=f"cuda:{index}")
        return devices[index]

    choice = choose(asked, budget_bytes=1 << 30, cards=cards, find=lambda: THREE, open_device=open_device)
    assert list(devices) == opened
    assert choice.device == ", ".join(f"cuda:{n}" for n in opened)
    assert [seat.budget_bytes for seat in choice.seats] == [{0: int(0.8 * (1 << 30)), 1: 1 << 30}[n] for n in opened]
    assert choice.host_budget_bytes == default_budget_bytes()
    choice.close()
    assert all(device.is_closed for device in devices.values())


def test_cards_that_can_not_be_had_by_name(host_kernels) -> None:
    for asked, why in (("cuda:2", r"cuda:2 has 51[12]\.\d\d MiB free"), ("cuda:7", "no such card among the 3")):
        with pytest.raises(StartupError, match=f"--device {asked}: {why}"):
            choose(asked, find=lambda: THREE, open_device=lambda index: FakeDevice(host_kernels))


def test_a_card_that_fails_is_left_out_and_the_others_are_taken(host_kernels) -> None:
    def open_device(index: int) -> FakeDevice:
        return FakeDevice(host_kernels, name=f"cuda:{index}", fail_launch=index == 1)

    with contextlib.closing(choose("cuda", find=lambda: THREE, open_device=open_device)) as choice:
        assert choice.device == "cuda:0"
        assert "draws what the CPU draws; cuda:1 failed its self-test: " in choice.reason


def test_the_cpu_takes_over_within_the_hosts_memory(host_kernels) -> None:
    choice = choose("auto", host_bytes=12345, find=lambda: ONE, open_device=lambda index: FakeDevice(host_kernels))
    assert choice.fallback is not None
    seat = choice.fallback()
    assert (seat.renderer.device, seat.budget_bytes) == ("cpu", 12345)
    close_renderer(seat.renderer)
    choice.close()


def test_a_budget_that_is_given_is_kept_within_the_card(host_kernels) -> None:
    for given, taken in ((1 << 30, 1 << 30), (1 << 40, int(CARD_SHARE * FREE))):
        choice = choose(
            "cuda", budget_bytes=given, find=lambda: ONE, open_device=lambda index: FakeDevice(host_kernels)
        )
        assert choice.budget_bytes == taken


def test_cpu_asks_for_no_card() -> None:
    def find() -> Found:
        raise AssertionError("asked")

    with contextlib.closing(choose("cpu", threads=1, budget_bytes=12345, find=find)) as choice:
        assert (choice.renderer.device, choice.budget_bytes, choice.reason) == ("cpu", 12345, "--device cpu")
        # Its memory is the host's: nothing is kept a second time, and there is nothing to fall back from.
        assert (choice.host_budget_bytes, choice.fallback) == (None, None)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:12"])
def test_devices_that_can_be_named(device) -> None:
    assert load_settings(None, device=device).device == device


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "cuda:x", "CUDA", "cuda:1,2", "cpu "])
def test_devices_that_can_not(device) -> None:
    with pytest.raises(StartupError, match=r"^--device: .*auto, cpu, cuda or cuda:N needed"):
        load_settings(None, device=device)


# The self-test


@pytest.mark.parametrize("sampling", Sampling)
def test_the_self_test_passes_for_both_ways_to_sample(host_kernels, sampling) -> None:
    renderer = CudaRenderer(FakeDevice(host_kernels), 1 << 30, sampling=sampling)
    with contextlib.closing(CpuRenderer(1)) as judge:
        assert selftest.disagreement(renderer, judge) == ""


def test_nothing_is_not_equal(host_kernels) -> None:
    class Blank(FakeDevice):
        def download(self, buffer, target, stream) -> None:
            super().download(buffer, target, stream)
            if target.nbytes == 64 * 48 * 4:
                stream.pending.append(lambda: np.copyto(target, 0xFF))  # NaN everywhere

    with contextlib.closing(CpuRenderer(1)) as judge:
        assert "at 0.0% of its pixels" in selftest.disagreement(CudaRenderer(Blank(host_kernels), 1 << 30), judge)

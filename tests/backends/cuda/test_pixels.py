"""Page-locked memory that frames' pixels are handed out in."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from render.backends.cuda.pixels import SMALLEST_BYTES, PixelMemory
from render.backends.cuda.renderer import CudaRenderer
from render.errors import DeviceError, DeviceMemoryError
from tests import phantoms
from tests.backends.cuda.fake_device import FakeDevice
from tests.backends.scenes import make_view, slanted_camera
from tests.phantoms import GRIDS, INT16


@pytest.fixture
def device(host_kernels) -> FakeDevice:
    return FakeDevice(host_kernels)


def test_what_is_lent_comes_back_with_the_last_view_of_it(device) -> None:
    memory = PixelMemory(device)
    lent = memory.lend(100_000)
    assert lent.nbytes == 100_000
    assert memory.lent_bytes == 1 << 17
    corner = lent.view(np.float32).reshape(100, 250)[:3, :3]
    del lent
    gc.collect()
    assert memory.lent_bytes == 1 << 17
    del corner
    gc.collect()
    assert memory.lent_bytes == 0


def test_sizes_are_few_and_hold_what_was_asked_for(device) -> None:
    for nbytes, size in (
        (1, SMALLEST_BYTES),
        (SMALLEST_BYTES, SMALLEST_BYTES),
        (SMALLEST_BYTES + 1, 2 * SMALLEST_BYTES),
    ):
        memory = PixelMemory(device)
        lent = memory.lend(nbytes)
        assert (lent.nbytes, memory.lent_bytes) == (nbytes, size)


def test_there_is_an_end_to_it(device) -> None:
    memory = PixelMemory(device, 2 * SMALLEST_BYTES)
    lent = [memory.lend(4), memory.lend(4)]
    assert memory.lend(4) is None
    assert memory.lent_bytes == 2 * SMALLEST_BYTES
    del lent[0]
    gc.collect()
    assert memory.lend(4) is not None


def test_what_could_not_be_pinned_is_not_lent(device) -> None:
    memory = PixelMemory(device)
    device.lost = True
    with pytest.raises(DeviceError):
        memory.lend(4)
    assert memory.lent_bytes == 0


def test_a_machine_that_locks_no_more_is_no_error(device, monkeypatch) -> None:
    def refuse(nbytes: int) -> None:
        raise DeviceMemoryError("none left", device="cuda:0")

    memory = PixelMemory(device)
    monkeypatch.setattr(device, "pinned", refuse)
    assert memory.lend(4) is None
    assert memory.lent_bytes == 0


@pytest.mark.parametrize("limit_bytes", [0, 2 * SMALLEST_BYTES])
@pytest.mark.parametrize("work", ["thin", "color"])
def test_frames_that_are_kept_keep_their_pixels(device, work, limit_bytes) -> None:
    """Whether in memory of their own, or, beyond the limit, copied: later frames write into neither."""
    renderer = CudaRenderer(device, 1 << 29)
    renderer._frames._memory = memory = PixelMemory(device, limit_bytes)
    volume = phantoms.blobs(GRIDS["oblique"], INT16)
    resident = renderer.upload(volume)
    frames = []
    for turn in range(4):
        camera = slanted_camera(volume.geometry)
        view = make_view(volume, work, camera, (20 + turn, 20))
        frame = renderer.render(view, {volume.id: resident})
        frames.append((frame, frame.pixels.copy()))
        assert frame.pixels.flags.writeable
    assert memory.lent_bytes == limit_bytes
    for frame, pixels in frames:
        np.testing.assert_array_equal(frame.pixels, pixels)
    del frame, frames
    gc.collect()
    assert memory.lent_bytes == 0

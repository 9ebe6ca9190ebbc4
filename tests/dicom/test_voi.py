"""What the source offers to show its values by is applied as pydicom applies it: windows of all functions, VOI LUTs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_voi_lut, apply_windowing

from render.backends.cpu import CpuRenderer
from render.dicom.ingest import Ingest
from render.dicom.series import select
from render.dicom.source import scan
from render.errors import InvalidArgumentError, InvalidViewError
from render.frame import Frame
from render.transfer import Window, WindowFunction
from render.view import Layer, Orientation, RenderingMethod, View, Viewport, oriented_camera
from render.volume import Volume
from tests.dicom.synthetic import write_series
from tests.dicom.test_pixels import lut_item


def gray(pixels: np.ndarray, largest: float) -> np.ndarray:
    """Scale what pydicom gives from its output range to 8 bits."""
    return np.floor(pixels.astype(np.float64) / largest * 255 + 0.5).astype(np.uint8)


@pytest.fixture
def renderer() -> Iterator[CpuRenderer]:
    with contextlib.closing(CpuRenderer(1)) as made:
        yield made


def drawn(renderer: CpuRenderer, volume: Volume, window: Window | None) -> Frame:
    _, rows, columns = volume.geometry.shape
    viewport = Viewport(columns, rows)
    camera = oriented_camera(Orientation.FEET, volume.geometry, viewport)
    view = View(camera, viewport, (Layer(volume.id, window),), RenderingMethod.AVERAGE_IP)
    return renderer.render(view, {volume.id: renderer.upload(volume)})


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(40.0, 400.0), (-600.5, 1500.25), (0.0, 2.0)])
def test_windows_are_pydicoms(function: str, center: float, width: float) -> None:
    values = np.arange(-2048, 2048, dtype=np.int16)
    dataset = Dataset()
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsStored, dataset.PixelRepresentation = 16, 1
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = center, width, function
    # pydicom's output spans the range of the stored values.
    with np.errstate(over="ignore"):
        expected = (apply_windowing(values, dataset) + 32768.0) / 65535
    ours = Window(center, width, WindowFunction[function]).apply(values)
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    other = WindowFunction.SIGMOID if function != "SIGMOID" else WindowFunction.LINEAR
    assert np.abs(Window(center, width, other).apply(values) - expected).max() > 1e-2


def test_a_voi_lut_is_drawn_as_pydicom_applies_it(tmp_path: Path, renderer: CpuRenderer) -> None:
    pixels = np.arange(64, dtype=np.int16).reshape(8, 8) * 3
    entries = (np.linspace(0, 1, 90) ** 3 * 1023).astype(np.uint16)
    table = lut_item([len(entries), 20, 10], entries.astype("<u2").tobytes())
    (path,) = write_series(tmp_path, pixels[None], spacing=(1, 1), VOILUTSequence=[table])
    dataset = pydicom.dcmread(path)
    with Ingest(1) as ingest:
        volume = ingest.load(select(ingest.scan(tmp_path)))
    frame = drawn(renderer, volume, None)
    values = frame.values.astype(np.int16)
    expected = gray(apply_voi_lut(values, dataset), 1023)
    assert frame.window.function is WindowFunction.VOI_LUT
    np.testing.assert_array_equal(frame.picture(), expected)
    # A window that the reader chooses takes its place; one that is not there is refused.
    assert (drawn(renderer, volume, Window(0, 100)).picture() != expected).any()
    named = Window(1, 1, WindowFunction.VOI_LUT, voi_lut=0)
    np.testing.assert_array_equal(drawn(renderer, volume, named).picture(), expected)
    with pytest.raises(InvalidViewError, match="voi_lut 1: the volume has 1 VOI LUTs"):
        drawn(renderer, volume, Window(1, 1, WindowFunction.VOI_LUT, voi_lut=1))


def test_windows_come_before_voi_luts_and_all_can_be_chosen(tmp_path: Path) -> None:
    table = lut_item([2, 0, 8], np.array([0, 255], "<u2").tobytes())
    table.LUTExplanation = "SHARP"
    write_series(
        tmp_path,
        WindowCenter=[40, 400],
        WindowWidth=[400, 1500],
        WindowCenterWidthExplanation=["SOFT", "BONE"],
        VOILUTSequence=[table],
    )
    voi = select(scan(tmp_path)).info.voi
    assert [(w.function.value, w.explanation) for w in voi] == [
        ("linear", "SOFT"),
        ("linear", "BONE"),
        ("voi-lut", "SHARP"),
    ]


def test_a_window_of_another_function_has_no_table() -> None:
    with pytest.raises(InvalidArgumentError, match="linear with a table"):
        Window(1, 2, WindowFunction.LINEAR, voi_lut=1)


@pytest.mark.data
def test_the_real_voi_lut(real_data: Path, renderer: CpuRenderer) -> None:
    with Ingest(1) as ingest:
        path = real_data / "codecs_ct_and_colour/luts/vlut_04.dcm"
        volume = ingest.load(select(ingest.scan(path)))
    frame = drawn(renderer, volume, None)
    table = volume.info.voi_luts[0]
    expected = apply_voi_lut(frame.values.astype(np.int32), pydicom.dcmread(path), prefer_lut=True)
    assert frame.window.function is WindowFunction.VOI_LUT
    np.testing.assert_array_equal(frame.picture(), gray(expected, (1 << table.bits) - 1))

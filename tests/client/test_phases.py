"""What the client says of phases, colour images and VOI LUTs is what the server says."""

from __future__ import annotations

import numpy as np
import pytest

from render.lookup import LookupTable
from render.service.convert.views import view_from_proto, window_to_proto
from render.transfer import Window as ServerWindow
from render.v1 import volume_pb2
from tests.client.fake_service import FakeService
from voxelcast import Client, InvalidArgumentError, Phase, VoiLut, Window, convert


@pytest.fixture
def summary() -> volume_pb2.VolumeSummary:
    return volume_pb2.VolumeSummary(
        volume_id="a",
        voxel_type=volume_pb2.VOXEL_TYPE_RGB8,
        phases=[volume_pb2.Phase(volume_id=name, label=f"Frame {n}") for n, name in enumerate("ab", start=1)],
        phase_ms=40,
    )


def test_a_summary_has_its_phases(summary: volume_pb2.VolumeSummary) -> None:
    ours = convert.summary_from_proto(summary)
    assert ours.phases == (Phase("a", "Frame 1"), Phase("b", "Frame 2"))
    assert (ours.voxel_type, ours.phase_ms) == ("rgb8", 40)


def test_a_view_of_a_phase_differs_in_nothing_else(client: Client) -> None:
    view = client.open("head").axial().with_window(40, 400).inverted()
    other = view.of_phase(Phase("b", ""))
    assert other.volume_id == "b"
    assert (other.layers[0].window, other.layers[0].invert) == (Window(40, 400), True)
    assert (other.camera, other.viewport) == (view.camera, view.viewport)


def test_a_phase_that_is_not_there(client: Client, service: FakeService) -> None:
    volume = client.open("head")
    assert volume.phases == ()
    with pytest.raises(InvalidArgumentError, match="phase 0: the series has 0"):
        volume.open_phase(0)


def test_a_voi_lut_gives_the_servers_gray() -> None:
    table = LookupTable(-20, 10, (np.linspace(0, 1, 90) ** 3 * 1023).astype("<u2").tobytes(), "CUBE")
    theirs = ServerWindow.of_table(2, table)
    message = window_to_proto(theirs, with_table=True)
    ours = convert.window_from_proto(message)
    assert (ours.function, ours.voi_lut, ours.explanation, type(ours.table)) == ("voi-lut", 2, "CUBE", VoiLut)
    values = np.array([-99, -20, -0.5, 0.5, 1.5, 33.3, 69, 1e6, np.nan])
    for invert in (False, True):
        np.testing.assert_array_equal(ours.to_gray8(values, invert=invert), theirs.to_gray8(values, invert=invert))


def test_a_voi_lut_without_its_table_says_where_to_get_it() -> None:
    window = Window(0, 1, "voi-lut", voi_lut=1)
    with pytest.raises(InvalidArgumentError, match="take it from the volume's description"):
        window.to_gray8([0])


def test_a_request_names_a_voi_lut_by_its_number(client: Client) -> None:
    view = client.open("head").axial().with_window(Window(3, 5, "voi-lut", voi_lut=1))
    layer = view_from_proto(convert.view_to_proto(view)).layers[0]
    assert layer.window is not None
    assert (layer.window.function.value, layer.window.voi_lut, layer.window.table) == ("voi-lut", 1, None)

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.descriptions import Residency, VolumeSummary
from render.encoding import Encoding, encode
from render.errors import InvalidArgumentError, InvalidViewError, UnsupportedError, VoxelcastError
from render.frame import Frame, Quality
from render.geometry import VolumeGeometry
from render.service.convert.frames import encoding_from_proto, frame_header
from render.service.convert.views import (
    transfer_function_from_proto,
    transfer_function_to_proto,
    view_from_proto,
    view_to_proto,
    window_from_proto,
)
from render.service.convert.volumes import (
    geometry_from_proto,
    geometry_to_proto,
    summary_to_proto,
    voxel_type_from_proto,
)
from render.transfer import Shading, TransferFunction, Window, WindowFunction, load_preset, preset_names
from render.v1 import frame_pb2, view_pb2, volume_pb2
from render.view import Camera, Layer, RenderingMethod, View, Viewport
from render.volume import VoxelType
from tests.fakes import make_view

finite = st.floats(-1e5, 1e5)
windows = st.builds(Window, finite, st.floats(1, 1e5), st.sampled_from(WindowFunction))
unit = st.floats(0, 1)
shadings = st.builds(Shading, unit, unit, unit, st.floats(0, 100))
values = st.lists(finite, min_size=1, max_size=5).map(sorted)
curves = st.one_of(
    st.sampled_from(preset_names()).map(load_preset),
    st.builds(
        TransferFunction,
        values.flatmap(lambda xs: st.tuples(*(st.tuples(st.just(x), unit) for x in xs))),
        values.flatmap(lambda xs: st.tuples(*(st.tuples(st.just(x), unit, unit, unit) for x in xs))),
        st.none() | shadings,
    ),
)


@st.composite
def views(draw: Any) -> View:
    method = draw(st.sampled_from(RenderingMethod))
    least = 0.001 if method is RenderingMethod.VOLUME_RENDERED else 0.0
    orthographic = draw(st.booleans())
    camera = Camera(
        draw(st.tuples(finite, finite, st.just(-2e5))),
        draw(st.tuples(finite, finite, finite)),
        (0, 1, 0) if draw(st.booleans()) else (1, 2, 0.5),
        parallel_scale_mm=draw(st.floats(0.01, 1e5)) if orthographic else None,
        fov_deg=None if orthographic else draw(st.floats(1, 100)),
    )
    size = st.integers(1, 4096)
    return View(
        camera,
        Viewport(draw(size), draw(size), draw(st.booleans()), draw(st.booleans())),
        (
            Layer(
                draw(st.text(min_size=1, max_size=8)),
                draw(st.none() | windows),
                draw(st.none() | curves),
                draw(unit),
                draw(st.booleans()),
            ),
        ),
        method,
        draw(st.none() | st.floats(least, 500)),
    )


@given(views())
def test_a_view_survives_the_wire(view: View) -> None:
    wire = view_to_proto(view).SerializeToString()
    assert view_from_proto(view_pb2.View.FromString(wire)) == view


@given(curves, finite)
def test_a_shift_moves_the_curve(curve: TransferFunction, shift: float) -> None:
    message = transfer_function_to_proto(curve)
    message.shift = shift
    moved = transfer_function_from_proto(message)
    assert [v for v, _ in moved.opacity_points] == [v + shift for v, _ in curve.opacity_points]
    if abs(shift) > 1 and curve.name:
        assert transfer_function_to_proto(moved).WhichOneof("source") == "piecewise"


def test_presets_travel_by_name() -> None:
    assert transfer_function_to_proto(load_preset("CT-AAA")).preset == "CT-AAA"


def test_a_window_without_a_function_is_linear_exact() -> None:
    window = window_from_proto(view_pb2.Window(center=1, width=0.5, explanation="ignored"))
    assert window == Window(1, 0.5, WindowFunction.LINEAR_EXACT)


def wire_view() -> view_pb2.View:
    return view_to_proto(make_view())


def broken(change: str) -> view_pb2.View:
    message = wire_view()
    layer = message.layers[0]
    match change:
        case "camera":
            message.ClearField("camera")
        case "viewport":
            message.ClearField("viewport")
        case "look_at":
            message.camera.ClearField("look_at")
        case "projection":
            message.camera.ClearField("parallel_scale_mm")
        case "method":
            message.rendering_method = 0
        case "unknown method":
            message.rendering_method = 99  # type: ignore[assignment]
        case "nan position":
            message.camera.position.x = math.nan
        case "infinite position":
            message.camera.position.x = math.inf
        case "zero up":
            message.camera.up.CopyFrom(view_pb2.Vector3())
        case "parallel up":
            message.camera.up.CopyFrom(view_pb2.Vector3(z=1))
        case "100,000 px":
            message.viewport.width_px = 100_000
        case "0 px":
            message.viewport.height_px = 0
        case "nan slab":
            message.slab_mm = math.nan
        case "negative slab":
            message.slab_mm = -1
        case "thin volume rendering":
            message.rendering_method = view_pb2.RENDERING_METHOD_VOLUME_RENDERED
        case "no layer":
            del message.layers[:]
        case "no volume":
            layer.volume_id = ""
        case "nan opacity":
            layer.opacity = math.nan
        case "two layers":
            message.layers.add().volume_id = "b"
        case "clip":
            message.clip.SetInParent()
        case "window width":
            layer.window.width = 0
        case "nan window":
            layer.window.width, layer.window.center = 1, math.nan
        case "window function":
            layer.window.width, layer.window.function = 1, 77  # type: ignore[assignment]
        case "no curve":
            layer.transfer_function.SetInParent()
        case "unknown preset":
            layer.transfer_function.preset = "CT-Nothing" * 100
        case "no points":
            layer.transfer_function.piecewise.SetInParent()
        case "nan shift":
            layer.transfer_function.preset, layer.transfer_function.shift = "CT-AAA", math.nan
        case "nan shading":
            piecewise = layer.transfer_function.piecewise
            piecewise.opacity_points.add()
            piecewise.color_points.add()
            piecewise.shading.ambient = math.nan
        case _:
            raise AssertionError(change)
    return message


@pytest.mark.parametrize(
    ("change", "kind", "match"),
    [
        ("camera", InvalidViewError, "camera"),
        ("viewport", InvalidViewError, "viewport"),
        ("look_at", InvalidViewError, "look_at"),
        ("projection", InvalidViewError, "exactly one"),
        ("method", InvalidViewError, "rendering_method 0"),
        ("unknown method", InvalidViewError, "rendering_method 99"),
        ("nan position", InvalidViewError, "nan"),
        ("infinite position", InvalidViewError, "inf"),
        ("zero up", InvalidViewError, "up"),
        ("parallel up", InvalidViewError, "up"),
        ("100,000 px", InvalidViewError, "width_px 100000: 1 to 4096"),
        ("0 px", InvalidViewError, "height_px 0"),
        ("nan slab", InvalidViewError, "slab_mm nan"),
        ("negative slab", InvalidViewError, "slab_mm -1"),
        ("thin volume rendering", InvalidViewError, "volume_rendered"),
        ("no layer", InvalidViewError, "layers"),
        ("no volume", InvalidViewError, "volume_id"),
        ("nan opacity", InvalidViewError, "opacity nan"),
        ("two layers", UnsupportedError, "2 layers"),
        ("clip", UnsupportedError, "clip"),
        ("window width", InvalidArgumentError, "width 0"),
        ("nan window", InvalidArgumentError, "nan"),
        ("window function", InvalidArgumentError, "77"),
        ("no curve", InvalidArgumentError, "preset and piecewise"),
        ("unknown preset", InvalidArgumentError, "CT-Nothing"),
        ("no points", InvalidArgumentError, "0 points"),
        ("nan shift", InvalidArgumentError, "shift nan"),
        ("nan shading", InvalidArgumentError, "shading"),
    ],
)
def test_a_bad_view_is_refused_by_name(change: str, kind: type[VoxelcastError], match: str) -> None:
    with pytest.raises(kind, match=match) as caught:
        view_from_proto(broken(change))
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400
    assert caught.value.details["field"]


def test_the_unbroken_view_is_accepted() -> None:
    assert view_from_proto(wire_view()) == make_view()


def test_geometry_survives_the_wire() -> None:
    geometry = VolumeGeometry.from_axes((2, 3, 4), (1, 2, 3), (0.5, 0.1, 0), (0, 0.5, 0), (0, 0.3, 2))
    message = geometry_to_proto(geometry)
    assert (message.columns, message.rows, message.slices) == (4, 3, 2)
    back = geometry_from_proto(message)
    assert back.shape == geometry.shape
    np.testing.assert_array_equal(back.patient_from_voxel, geometry.patient_from_voxel)


@pytest.mark.parametrize("numbers", [[], [1.0] * 15, [math.nan] * 16, [0.0] * 16])
def test_a_bad_geometry_is_refused(numbers: list[float]) -> None:
    message = volume_pb2.VolumeGeometry(columns=1, rows=1, slices=1, patient_from_voxel=numbers)
    with pytest.raises(InvalidArgumentError, match="patient_from_voxel"):
        geometry_from_proto(message)


def test_unspecified_enums_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="encoding 0"):
        encoding_from_proto(frame_pb2.FRAME_ENCODING_UNSPECIFIED)
    with pytest.raises(InvalidArgumentError, match="voxel_type 0"):
        voxel_type_from_proto(volume_pb2.VOXEL_TYPE_UNSPECIFIED)
    assert voxel_type_from_proto(volume_pb2.VOXEL_TYPE_FLOAT32) is VoxelType.FLOAT32


def test_every_enum_of_the_wire_has_its_counterpart() -> None:
    encodings = {encoding_from_proto(n) for n in frame_pb2.FrameEncoding.values() if n}
    assert encodings == set(Encoding)


def make_frame(quality: Quality = Quality(), missing_slices: int = 0) -> Frame:  # noqa: B008 -- frozen
    view = make_view(width=3, height=2)
    return Frame(
        view,
        7,
        3,
        view.plane,
        Window(40, 400, WindowFunction.SIGMOID),
        values=np.arange(6, dtype=np.float32).reshape(2, 3),
        units="HU",
        inverted=True,
        step_mm=0.25,
        slab_mm=0.0,
        quality=quality,
        missing_slices=missing_slices,
        timings_ms={"queue": 1.0, "render": 2.0},
    )


def test_header_says_what_was_rendered() -> None:
    frame = make_frame()
    encoded = encode(frame, Encoding.VALUES_FLOAT32)
    header = frame_header(frame, encoded, view_id="v", sequence=4, epoch=2, queue_ms=0.5, chunk_count=3)
    assert (header.view_id, header.sequence, header.epoch) == ("v", 4, 2)
    assert (header.view_revision, header.volume_revision) == (7, 3)
    assert (header.width_px, header.height_px, header.payload_bytes, header.chunk_count) == (3, 2, 24, 3)
    assert header.encoding == frame_pb2.FRAME_ENCODING_VALUES_FLOAT32
    assert header.quality == frame_pb2.FRAME_QUALITY_FINAL
    assert header.payload_crc32 == encoded.crc32 != 0
    assert window_from_proto(header.window) == frame.window
    assert (header.units, header.inverted, header.lossless, header.jpeg_quality) == ("HU", True, True, 0)
    assert (header.step_mm, header.ray_stride) == (0.25, 1)
    assert header.HasField("slab_mm")
    assert header.plane.pixel_spacing_down_mm == frame.plane.pixel_spacing_mm[0]
    assert (header.timings.queue_ms, header.timings.render_ms) == (1.5, 2.0)


def test_the_whole_volume_has_no_slab() -> None:
    frame = Frame(**{**make_frame().__dict__, "slab_mm": None})
    assert not frame_header(frame, encode(frame, Encoding.PNG)).HasField("slab_mm")


@pytest.mark.parametrize(
    ("quality", "missing", "encoding", "view_id", "is_final"),
    [
        (Quality(), 0, Encoding.PNG, "v", True),
        (Quality(), 0, Encoding.JPEG, "", True),
        (Quality(), 0, Encoding.JPEG, "v", False),
        (Quality(2, 1.0), 0, Encoding.PNG, "v", False),
        (Quality(1, 2.0), 0, Encoding.PNG, "", False),
        (Quality(), 5, Encoding.PNG, "", False),
    ],
)
def test_final_is_the_best_there_is(
    quality: Quality, missing: int, encoding: Encoding, view_id: str, is_final: bool
) -> None:
    frame = make_frame(quality, missing)
    header = frame_header(frame, encode(frame, encoding), view_id=view_id)
    assert (header.quality == frame_pb2.FRAME_QUALITY_FINAL) is is_final


def test_stray_bytes_in_names_do_not_break_the_list() -> None:
    summary = VolumeSummary(
        "id",
        "CT",
        "caf\udce9",
        "1.2",
        "1.3",
        None,
        0,
        "scans/caf\udce9",
        (2, 3, 4),
        (1, 1, 2),
        48,
        Residency.SOURCE,
        False,
        VoxelType.INT16,
    )
    message = summary_to_proto(summary)
    assert (message.description, message.path) == ("caf?", "scans/caf?")
    assert not message.HasField("series_number")
    assert message.SerializeToString()

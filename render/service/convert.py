"""Between the wire's messages and the domain's values, in both directions, and nowhere else.

What comes from the wire is checked here as far as the domain types can't: fields that are absent, enums that are
unspecified or unknown, oneofs without a choice. The rest is left to the types, which name field and value.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from render.descriptions import EngineStatus, Residency, VolumeDescription, VolumeSummary
from render.encoding import EncodedFrame, Encoding
from render.errors import InvalidArgumentError, InvalidViewError
from render.geometry import VolumeGeometry
from render.service.status import wire_text
from render.transfer import Shading, TransferFunction, Window, WindowFunction, load_preset, preset_names
from render.v1 import frame_pb2, render_service_pb2, view_pb2, volume_pb2
from render.view import Camera, Clip, ImagePlane, Layer, RenderingMethod, Vector, View, Viewport
from render.volume import VoxelType

if TYPE_CHECKING:
    from render.frame import Frame

_METHODS = {method: getattr(view_pb2, f"RENDERING_METHOD_{method.name}") for method in RenderingMethod}
_METHOD_OF = {number: method for method, number in _METHODS.items()}
_FUNCTIONS = {function: getattr(view_pb2, f"WINDOW_FUNCTION_{function.name}") for function in WindowFunction}
_FUNCTION_OF = {number: function for function, number in _FUNCTIONS.items()}
_FUNCTION_OF[view_pb2.WINDOW_FUNCTION_UNSPECIFIED] = WindowFunction.LINEAR_EXACT
_VOXEL_TYPES = {kind: getattr(volume_pb2, f"VOXEL_TYPE_{kind.name}") for kind in VoxelType}
_VOXEL_TYPE_OF = {number: kind for kind, number in _VOXEL_TYPES.items()}
_RESIDENCIES = {state: getattr(volume_pb2, f"RESIDENCY_{state.name}") for state in Residency}
_ENCODINGS = {encoding: getattr(frame_pb2, f"FRAME_ENCODING_{encoding.name}") for encoding in Encoding}
_ENCODING_OF = {number: encoding for encoding, number in _ENCODINGS.items()}


def vector_to_proto(vector: Vector) -> view_pb2.Vector3:
    """Write a point or direction."""
    x, y, z = vector
    return view_pb2.Vector3(x=x, y=y, z=z)


def _vector(message: view_pb2.Vector3) -> Vector:
    return message.x, message.y, message.z


def window_from_proto(message: view_pb2.Window) -> Window:
    """Read a window; what the source calls it is not taken from requests.

    Raises
    ------
    InvalidArgumentError
        For a width that is out of range, numbers that are not finite, or an unknown function.
    """
    function = _FUNCTION_OF.get(message.function)
    if function is None:
        raise InvalidArgumentError(f"window.function {message.function}: no such function", field="window.function")
    voi_lut = message.voi_lut if function is WindowFunction.VOI_LUT else 0
    return Window(message.center, message.width, function, voi_lut=voi_lut)


def window_to_proto(window: Window, *, with_table: bool = False) -> view_pb2.Window:
    """Write a window; a VOI LUT's table, which is large, only where it is described."""
    message = view_pb2.Window(
        center=window.center,
        width=window.width,
        function=_FUNCTIONS[window.function],
        explanation=wire_text(window.explanation),
        voi_lut=window.voi_lut,
    )
    if with_table and window.table is not None:
        table = window.table
        message.table.CopyFrom(view_pb2.VoiLut(first=table.first, bits=table.bits, entries=table.data))
    return message


def transfer_function_from_proto(message: view_pb2.TransferFunction) -> TransferFunction:
    """Read a preset or a piecewise transfer function, moved by its shift.

    Raises
    ------
    InvalidArgumentError
        If neither is given, the preset is unknown, or a number is out of its range.
    """
    source = message.WhichOneof("source")
    if source is None:
        raise InvalidArgumentError(
            "transfer_function: one of preset and piecewise is needed", field="transfer_function"
        )
    if not math.isfinite(message.shift):
        raise InvalidArgumentError(
            f"transfer_function.shift {message.shift}: not finite", field="transfer_function.shift"
        )
    if source == "preset":
        curve = load_preset(message.preset[:64])
    else:
        piecewise = message.piecewise
        curve = TransferFunction(
            tuple((point.value, point.opacity) for point in piecewise.opacity_points),
            tuple((point.value, point.red, point.green, point.blue) for point in piecewise.color_points),
            _shading(piecewise.shading) if piecewise.HasField("shading") else None,
        )
    return curve.shifted(message.shift) if message.shift else curve


def _shading(message: view_pb2.Shading) -> Shading:
    numbers = (message.ambient, message.diffuse, message.specular, message.shininess)
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise InvalidArgumentError(f"shading {numbers}: finite numbers, not below 0, needed", field="shading")
    return Shading(*numbers)


def transfer_function_to_proto(curve: TransferFunction) -> view_pb2.TransferFunction:
    """Write a transfer function: by name where it is a preset as it stands, else by its points."""
    if curve.name in preset_names() and curve == load_preset(curve.name):
        return view_pb2.TransferFunction(preset=curve.name)
    shading = None
    if curve.shading is not None:
        shading = view_pb2.Shading(
            ambient=curve.shading.ambient,
            diffuse=curve.shading.diffuse,
            specular=curve.shading.specular,
            shininess=curve.shading.shininess,
        )
    piecewise = view_pb2.PiecewiseTransferFunction(
        opacity_points=[view_pb2.OpacityPoint(value=value, opacity=a) for value, a in curve.opacity_points],
        color_points=[view_pb2.ColorPoint(value=v, red=r, green=g, blue=b) for v, r, g, b in curve.color_points],
        shading=shading,
    )
    return view_pb2.TransferFunction(piecewise=piecewise)


def view_from_proto(message: view_pb2.View) -> View:
    """Read a View.

    Raises
    ------
    InvalidViewError, InvalidArgumentError
        For a part that is missing or out of range.
    UnsupportedError
        For several layers, or a clip.
    """
    for name in ("camera", "viewport"):
        if not message.HasField(name):
            raise InvalidViewError(f"view.{name} is missing", field=name)
    method = _METHOD_OF.get(message.rendering_method)
    if method is None:
        raise InvalidViewError(
            f"rendering_method {message.rendering_method}: one of 1 to {max(_METHOD_OF)} needed",
            field="rendering_method",
        )
    return View(
        _camera(message.camera),
        Viewport(
            message.viewport.width_px,
            message.viewport.height_px,
            message.viewport.flip_horizontal,
            message.viewport.flip_vertical,
        ),
        tuple(_layer(layer) for layer in message.layers),
        method,
        message.slab_mm if message.HasField("slab_mm") else None,
        Clip(_vector(message.clip.minimum_mm), _vector(message.clip.maximum_mm)) if message.HasField("clip") else None,
    )


def _camera(message: view_pb2.Camera) -> Camera:
    for name in ("position", "look_at", "up"):
        if not message.HasField(name):
            raise InvalidViewError(f"camera.{name} is missing", field=f"camera.{name}")
    projection = message.WhichOneof("projection")
    return Camera(
        _vector(message.position),
        _vector(message.look_at),
        _vector(message.up),
        parallel_scale_mm=message.parallel_scale_mm if projection == "parallel_scale_mm" else None,
        fov_deg=message.fov_deg if projection == "fov_deg" else None,
    )


def _layer(message: view_pb2.Layer) -> Layer:
    if not message.volume_id:
        raise InvalidViewError("layers.volume_id is missing", field="layers.volume_id")
    return Layer(
        message.volume_id,
        window_from_proto(message.window) if message.HasField("window") else None,
        transfer_function_from_proto(message.transfer_function) if message.HasField("transfer_function") else None,
        message.opacity if message.HasField("opacity") else 1.0,
        message.invert,
    )


def view_to_proto(view: View) -> view_pb2.View:
    """Write a View."""
    camera = view.camera
    message = view_pb2.View(
        camera=view_pb2.Camera(
            position=vector_to_proto(camera.position),
            look_at=vector_to_proto(camera.look_at),
            up=vector_to_proto(camera.up),
        ),
        viewport=view_pb2.Viewport(
            width_px=view.viewport.width_px,
            height_px=view.viewport.height_px,
            flip_horizontal=view.viewport.flip_horizontal,
            flip_vertical=view.viewport.flip_vertical,
        ),
        rendering_method=_METHODS[view.rendering_method],
        slab_mm=view.slab_mm,
        layers=[_layer_to_proto(layer) for layer in view.layers],
    )
    if camera.parallel_scale_mm is not None:
        message.camera.parallel_scale_mm = camera.parallel_scale_mm
    elif camera.fov_deg is not None:
        message.camera.fov_deg = camera.fov_deg
    return message


def _layer_to_proto(layer: Layer) -> view_pb2.Layer:
    curve = layer.transfer_function
    return view_pb2.Layer(
        volume_id=layer.volume_id,
        window=None if layer.window is None else window_to_proto(layer.window),
        transfer_function=None if curve is None else transfer_function_to_proto(curve),
        opacity=layer.opacity,
        invert=layer.invert,
    )


def geometry_from_proto(message: volume_pb2.VolumeGeometry) -> VolumeGeometry:
    """Read a volume's grid.

    Raises
    ------
    InvalidArgumentError
        If there are not 16 numbers, or they make no grid.
    """
    if len(message.patient_from_voxel) != 16:
        raise InvalidArgumentError(
            f"patient_from_voxel: {len(message.patient_from_voxel)} numbers; 16 needed", field="patient_from_voxel"
        )
    affine = np.array(message.patient_from_voxel, np.float64).reshape(4, 4)
    return VolumeGeometry((message.slices, message.rows, message.columns), affine)


def geometry_to_proto(geometry: VolumeGeometry) -> volume_pb2.VolumeGeometry:
    """Write a volume's grid."""
    slices, rows, columns = geometry.shape
    return volume_pb2.VolumeGeometry(
        columns=columns, rows=rows, slices=slices, patient_from_voxel=geometry.patient_from_voxel.ravel().tolist()
    )


def voxel_type_from_proto(number: int) -> VoxelType:
    """Read a voxel type.

    Raises
    ------
    InvalidArgumentError
        If it is unspecified or unknown.
    """
    kind = _VOXEL_TYPE_OF.get(number)
    if kind is None:
        raise InvalidArgumentError(f"voxel_type {number}: one of 1 to {max(_VOXEL_TYPE_OF)} needed", field="voxel_type")
    return kind


def summary_to_proto(summary: VolumeSummary) -> volume_pb2.VolumeSummary:
    """Write a volume of a list."""
    slices, rows, columns = summary.shape
    return volume_pb2.VolumeSummary(
        volume_id=summary.volume_id,
        modality=wire_text(summary.modality),
        description=wire_text(summary.description),
        study_uid=wire_text(summary.study_uid),
        series_uid=wire_text(summary.series_uid),
        series_number=summary.series_number,
        volume_index=summary.volume_index,
        path=wire_text(summary.path),
        columns=columns,
        rows=rows,
        slices=slices,
        spacing_mm=summary.spacing_mm,
        bytes=summary.bytes,
        residency=_RESIDENCIES[summary.residency],
        opens_first=summary.opens_first,
        voxel_type=_VOXEL_TYPES[summary.voxel_type],
        phases=[volume_pb2.Phase(volume_id=phase.volume_id, label=wire_text(phase.label)) for phase in summary.phases],
        phase_ms=summary.phase_ms,
    )


def description_to_proto(description: VolumeDescription) -> volume_pb2.VolumeDescription:
    """Write a resident volume."""
    return volume_pb2.VolumeDescription(
        summary=summary_to_proto(description.summary),
        geometry=geometry_to_proto(description.geometry),
        voxel_type=_VOXEL_TYPES[description.voxel_type],
        slope=description.slope,
        intercept=description.intercept,
        units=wire_text(description.units),
        minimum_value=description.minimum_value,
        maximum_value=description.maximum_value,
        windows=[window_to_proto(window, with_table=True) for window in description.windows],
        default_window=window_to_proto(description.default_window, with_table=True),
        default_preset=description.default_preset,
        inverted=description.inverted,
        lossy_source=description.lossy_source,
        warnings=[wire_text(warning) for warning in description.warnings],
        revision=description.revision,
        initial_views=[
            volume_pb2.NamedView(name=named.name, view=view_to_proto(named.view)) for named in description.initial_views
        ],
    )


def encoding_from_proto(number: int) -> Encoding:
    """Read an encoding.

    Raises
    ------
    InvalidArgumentError
        If it is unspecified or unknown.
    """
    encoding = _ENCODING_OF.get(number)
    if encoding is None:
        raise InvalidArgumentError(f"encoding {number}: one of 1 to {max(_ENCODING_OF)} needed", field="encoding")
    return encoding


def plane_to_proto(plane: ImagePlane) -> frame_pb2.ImagePlane:
    """Write where a picture's pixels lie."""
    down_mm, right_mm = plane.pixel_spacing_mm
    return frame_pb2.ImagePlane(
        top_left_mm=vector_to_proto(plane.top_left_mm),
        row_direction=vector_to_proto(plane.row_direction),
        column_direction=vector_to_proto(plane.column_direction),
        pixel_spacing_down_mm=down_mm,
        pixel_spacing_right_mm=right_mm,
    )


def frame_header(
    frame: Frame,
    encoded: EncodedFrame,
    *,
    view_id: str = "",
    sequence: int = 0,
    epoch: int = 0,
    queue_ms: float = 0.0,
    chunk_index: int = 0,
    chunk_count: int = 1,
) -> frame_pb2.FrameHeader:
    """Write what a frame is, and what was actually rendered.

    On a stream (where there is a `view_id`) a frame whose encoding is lossy is of interactive quality, however well
    it was rendered: its final one is still to come.
    """
    is_final = frame.is_final and (encoded.lossless or not view_id)
    return frame_pb2.FrameHeader(
        view_id=view_id,
        sequence=sequence,
        epoch=epoch,
        view_revision=frame.view_revision,
        volume_revision=frame.volume_revision,
        encoding=_ENCODINGS[encoded.encoding],
        quality=frame_pb2.FRAME_QUALITY_FINAL if is_final else frame_pb2.FRAME_QUALITY_INTERACTIVE,
        width_px=encoded.width_px,
        height_px=encoded.height_px,
        payload_bytes=len(encoded.payload),
        payload_crc32=encoded.crc32,
        chunk_index=chunk_index,
        chunk_count=chunk_count,
        value_slope=encoded.value_slope,
        value_intercept=encoded.value_intercept,
        units=wire_text(frame.units),
        window=window_to_proto(frame.window),
        inverted=frame.inverted,
        lossless=encoded.lossless,
        jpeg_quality=encoded.jpeg_quality,
        lossy_source=frame.lossy_source,
        rendering_method=_METHODS[frame.view.rendering_method],
        slab_mm=frame.slab_mm,
        step_mm=frame.step_mm,
        ray_stride=frame.quality.ray_stride,
        plane=plane_to_proto(frame.plane),
        missing_slices=frame.missing_slices,
        timings=frame_pb2.StageTimings(
            queue_ms=queue_ms + frame.timings_ms.get("queue", 0.0),
            render_ms=frame.timings_ms.get("render", 0.0),
            encode_ms=encoded.encode_ms,
        ),
    )


def status_to_proto(
    status: EngineStatus, *, server_version: str, sessions: int
) -> render_service_pb2.GetStatusResponse:
    """Write what is resident, and who pins it."""
    cache = status.cache
    return render_service_pb2.GetStatusResponse(
        server_version=server_version,
        devices=[
            render_service_pb2.DeviceStatus(
                name=place.device,
                description=f"{place.description}; out of use: {place.lost}" if place.lost else place.description,
                budget_bytes=place.budget_bytes,
                resident_bytes=place.resident_bytes,
                pinned_bytes=place.pinned_bytes,
            )
            for place in cache.places
        ],
        volumes=[
            render_service_pb2.ResidentStatus(
                volume_id=entry.volume_id,
                device=entry.device,
                residency=_RESIDENCIES[entry.state],
                bytes=entry.bytes,
                pinned_by=entry.pinned_by,
                idle_seconds=entry.idle_seconds,
            )
            for entry in cache.entries
        ],
        sessions=sessions,
        presets=status.presets,
        uptime_seconds=status.uptime_seconds,
    )

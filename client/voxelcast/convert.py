"""Between the client's types and the wire's: the only place that knows both."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from render.v1 import frame_pb2, render_service_pb2, stream_pb2, view_pb2, volume_pb2
from voxelcast.appearance import Shading, TransferFunction, VoiLut, Window, WindowFunction
from voxelcast.camera import Camera, Viewport
from voxelcast.descriptions import (
    DeviceStatus,
    LoadProgress,
    Phase,
    Residency,
    ResidentStatus,
    ServerStatus,
    Sharing,
    VolumeDescription,
    VolumeSummary,
)
from voxelcast.errors import InvalidArgumentError, ProtocolError
from voxelcast.frames import Content, Encoding, Frame
from voxelcast.geometry import ImagePlane, Vector, VolumeGeometry
from voxelcast.views import Layer, RenderingMethod, View, check_view

_METHODS: dict[RenderingMethod, view_pb2.RenderingMethod] = {
    "volume_rendered": view_pb2.RENDERING_METHOD_VOLUME_RENDERED,
    "maximum_ip": view_pb2.RENDERING_METHOD_MAXIMUM_IP,
    "minimum_ip": view_pb2.RENDERING_METHOD_MINIMUM_IP,
    "average_ip": view_pb2.RENDERING_METHOD_AVERAGE_IP,
}
_METHOD_NAMES = {code: name for name, code in _METHODS.items()}

_FUNCTIONS: dict[WindowFunction, view_pb2.WindowFunction] = {
    "linear": view_pb2.WINDOW_FUNCTION_LINEAR,
    "linear-exact": view_pb2.WINDOW_FUNCTION_LINEAR_EXACT,
    "sigmoid": view_pb2.WINDOW_FUNCTION_SIGMOID,
    "voi-lut": view_pb2.WINDOW_FUNCTION_VOI_LUT,
}
_FUNCTION_NAMES = {code: name for name, code in _FUNCTIONS.items()}

# For pictures of values, and for volume renderings.
_ENCODINGS: dict[Encoding, tuple[frame_pb2.FrameEncoding, frame_pb2.FrameEncoding | None]] = {
    "values": (frame_pb2.FRAME_ENCODING_VALUES_FLOAT32, frame_pb2.FRAME_ENCODING_RGBA8),
    "uint16": (frame_pb2.FRAME_ENCODING_VALUES_UINT16, None),
    "deflate": (frame_pb2.FRAME_ENCODING_VALUES_DEFLATE, frame_pb2.FRAME_ENCODING_RGBA_DEFLATE),
    "png": (frame_pb2.FRAME_ENCODING_PNG, frame_pb2.FRAME_ENCODING_PNG),
    "jpeg": (frame_pb2.FRAME_ENCODING_JPEG, frame_pb2.FRAME_ENCODING_JPEG),
}


def encoding_to_proto(encoding: Encoding, view: View) -> frame_pb2.FrameEncoding:
    """Return the wire's encoding for a view.

    Raises
    ------
    InvalidArgumentError
        If there is no such encoding, or not for this kind of picture.
    """
    if encoding not in _ENCODINGS:
        raise InvalidArgumentError(f"encoding {encoding!r}: one of {', '.join(_ENCODINGS)} needed")
    code = _ENCODINGS[encoding][view.is_color]
    if code is None:
        raise InvalidArgumentError(f"encoding {encoding!r}: not for a volume rendering")
    return code


def view_to_proto(view: View) -> view_pb2.View:
    """Return the wire's View.

    Raises
    ------
    InvalidArgumentError
        If a number does not fit into its field, or a word is none of the choices.
    TypeError
        If it is no View.
    """
    check_view(view)
    if view.rendering_method not in _METHODS:
        raise InvalidArgumentError(f"rendering method {view.rendering_method!r}: one of {', '.join(_METHODS)} needed")
    camera, viewport = view.camera, view.viewport
    try:
        return view_pb2.View(
            camera=view_pb2.Camera(
                position=_vector_to_proto(camera.position),
                look_at=_vector_to_proto(camera.look_at),
                up=_vector_to_proto(camera.up),
                parallel_scale_mm=camera.parallel_scale_mm,
                fov_deg=camera.fov_deg,
            ),
            viewport=view_pb2.Viewport(
                width_px=viewport.width_px,
                height_px=viewport.height_px,
                flip_horizontal=viewport.flip_horizontal,
                flip_vertical=viewport.flip_vertical,
            ),
            slab_mm=view.slab_mm,
            rendering_method=_METHODS[view.rendering_method],
            layers=[_layer_to_proto(layer) for layer in view.layers],
        )
    except (TypeError, ValueError) as error:  # protobuf's own check of ranges: a negative width, say
        raise InvalidArgumentError(f"view: {error}") from None


def view_from_proto(message: view_pb2.View) -> View:
    """Return a View that came from the server."""
    camera, viewport = message.camera, message.viewport
    orthographic = camera.WhichOneof("projection") == "parallel_scale_mm"
    return View(
        Camera(
            vector_from_proto(camera.position),
            vector_from_proto(camera.look_at),
            vector_from_proto(camera.up),
            parallel_scale_mm=camera.parallel_scale_mm if orthographic else None,
            fov_deg=None if orthographic else camera.fov_deg,
        ),
        Viewport(
            viewport.width_px or Viewport.width_px,
            viewport.height_px or Viewport.height_px,
            viewport.flip_horizontal,
            viewport.flip_vertical,
        ),
        tuple(_layer_from_proto(layer) for layer in message.layers),
        _method_from_proto(message.rendering_method),
        message.slab_mm if message.HasField("slab_mm") else None,
    )


def geometry_to_proto(geometry: VolumeGeometry) -> volume_pb2.VolumeGeometry:
    """Return the wire's geometry."""
    slices, rows, columns = geometry.shape
    return volume_pb2.VolumeGeometry(
        columns=columns, rows=rows, slices=slices, patient_from_voxel=geometry.patient_from_voxel.ravel().tolist()
    )


def geometry_from_proto(message: volume_pb2.VolumeGeometry) -> VolumeGeometry:
    """Return a volume's geometry."""
    if len(message.patient_from_voxel) != 16:
        raise ProtocolError(f"geometry with {len(message.patient_from_voxel)} numbers, not 16")
    return VolumeGeometry(
        (message.slices, message.rows, message.columns), np.reshape(message.patient_from_voxel, (4, 4))
    )


def summary_from_proto(message: volume_pb2.VolumeSummary) -> VolumeSummary:
    """Return a volume as it stands in a list."""
    i_mm, j_mm, k_mm = message.spacing_mm if len(message.spacing_mm) == 3 else (0.0, 0.0, 0.0)
    return VolumeSummary(
        volume_id=message.volume_id,
        modality=message.modality,
        description=message.description,
        study_uid=message.study_uid,
        series_uid=message.series_uid,
        series_number=message.series_number if message.HasField("series_number") else None,
        volume_index=message.volume_index,
        path=message.path,
        shape=(message.slices, message.rows, message.columns),
        spacing_mm=(i_mm, j_mm, k_mm),
        nbytes=message.bytes,
        residency=_residency_from_proto(message.residency),
        voxel_type=_voxel_type_from_proto(message.voxel_type),
        phases=tuple(Phase(phase.volume_id, phase.label) for phase in message.phases),
        phase_ms=message.phase_ms,
    )


def _voxel_type_from_proto(code: volume_pb2.VoxelType) -> str:
    return volume_pb2.VoxelType.Name(code).removeprefix("VOXEL_TYPE_").lower()


def description_from_proto(message: volume_pb2.VolumeDescription) -> VolumeDescription:
    """Return the description of a resident volume."""
    return VolumeDescription(
        id=message.summary.volume_id,
        geometry=geometry_from_proto(message.geometry),
        summary=summary_from_proto(message.summary),
        voxel_type=_voxel_type_from_proto(message.voxel_type),
        slope=message.slope,
        intercept=message.intercept,
        units=message.units,
        values_range=(message.minimum_value, message.maximum_value),
        windows=tuple(window_from_proto(window) for window in message.windows),
        default_window=window_from_proto(message.default_window) if message.HasField("default_window") else None,
        default_preset=message.default_preset,
        inverted=message.inverted,
        lossy_source=message.lossy_source,
        warnings=tuple(message.warnings),
        revision=message.revision,
        initial_views={named.name: view_from_proto(named.view) for named in message.initial_views},
    )


def progress_from_proto(message: volume_pb2.LoadProgress) -> LoadProgress:
    """Return how far a load is."""
    return LoadProgress(message.volume_id, message.stage, message.done, message.total)


def sharing_from_proto(message: stream_pb2.Sharing) -> Sharing:
    """Return who drives."""
    return Sharing(message.share_id, message.driving, message.driven, message.participants)


def status_from_proto(message: render_service_pb2.GetStatusResponse) -> ServerStatus:
    """Return what a server has and does."""
    return ServerStatus(
        message.server_version,
        tuple(
            DeviceStatus(d.name, d.description, d.budget_bytes, d.resident_bytes, d.pinned_bytes)
            for d in message.devices
        ),
        tuple(
            ResidentStatus(
                v.volume_id,
                v.device,
                _residency_from_proto(v.residency),
                v.bytes,
                tuple(v.pinned_by),
                v.idle_seconds,
            )
            for v in message.volumes
        ),
        message.sessions,
        tuple(message.presets),
        message.uptime_seconds,
    )


def frame_from_proto(header: frame_pb2.FrameHeader, array: npt.NDArray[Any], content: Content) -> Frame:
    """Return a Frame from its header and its decoded pixels."""
    plane = header.plane
    coded = header.encoding in (
        frame_pb2.FRAME_ENCODING_VALUES_UINT16,
        frame_pb2.FRAME_ENCODING_VALUES_DEFLATE,
    )
    return Frame(
        array,
        content,
        ImagePlane(
            vector_from_proto(plane.top_left_mm),
            vector_from_proto(plane.row_direction),
            vector_from_proto(plane.column_direction),
            (plane.pixel_spacing_down_mm, plane.pixel_spacing_right_mm),
        ),
        # A volume rendering has none that matters: its header may lack it.
        window_from_proto(header.window) if header.window.width > 0 else Window(0.5, 1.0),
        units=header.units,
        inverted=header.inverted,
        rendering_method=_method_from_proto(header.rendering_method),
        slab_mm=header.slab_mm if header.HasField("slab_mm") else None,
        step_mm=header.step_mm,
        is_final=header.quality == frame_pb2.FRAME_QUALITY_FINAL,
        lossless=header.lossless,
        jpeg_quality=header.jpeg_quality,
        lossy_source=header.lossy_source,
        view_id=header.view_id,
        view_revision=header.view_revision,
        volume_revision=header.volume_revision,
        sequence=header.sequence,
        missing_slices=header.missing_slices,
        value_step=abs(header.value_slope) if coded else 0.0,
        timings_ms={
            "queue": header.timings.queue_ms,
            "render": header.timings.render_ms,
            "encode": header.timings.encode_ms,
        },
    )


def window_from_proto(message: view_pb2.Window) -> Window:
    """Return a VOI window; a VOI LUT has its table where the server describes the volume."""
    table = message.table
    return Window(
        message.center,
        message.width,
        _FUNCTION_NAMES.get(message.function, "linear-exact"),
        message.explanation,
        message.voi_lut,
        VoiLut(table.first, table.bits, table.entries) if message.HasField("table") else None,
    )


def vector_from_proto(message: view_pb2.Vector3) -> Vector:
    """Return a point or direction, LPS mm."""
    return message.x, message.y, message.z


def _vector_to_proto(values: Vector) -> view_pb2.Vector3:
    return view_pb2.Vector3(x=values[0], y=values[1], z=values[2])


def _method_from_proto(code: int) -> RenderingMethod:
    try:
        return _METHOD_NAMES[cast(view_pb2.RenderingMethod, code)]
    except KeyError:
        raise ProtocolError(f"rendering method {code}: not known to this client") from None


def _residency_from_proto(code: int) -> Residency:
    names: dict[int, Residency] = {
        volume_pb2.RESIDENCY_SOURCE: "source",
        volume_pb2.RESIDENCY_HOST: "host",
        volume_pb2.RESIDENCY_LOADING: "loading",
        volume_pb2.RESIDENCY_RESIDENT: "resident",
    }
    return names.get(code, "unspecified")


def _layer_to_proto(layer: Layer) -> view_pb2.Layer:
    return view_pb2.Layer(
        volume_id=layer.volume_id,
        window=None if layer.window is None else _window_to_proto(layer.window),
        transfer_function=(
            None if layer.transfer_function is None else _transfer_function_to_proto(layer.transfer_function)
        ),
        opacity=layer.opacity,
        invert=layer.invert,
    )


def _layer_from_proto(message: view_pb2.Layer) -> Layer:
    return Layer(
        message.volume_id,
        window_from_proto(message.window) if message.HasField("window") else None,
        _transfer_function_from_proto(message.transfer_function) if message.HasField("transfer_function") else None,
        message.opacity if message.HasField("opacity") else 1.0,
        message.invert,
    )


def _window_to_proto(window: Window) -> view_pb2.Window:
    if window.function not in _FUNCTIONS:
        raise InvalidArgumentError(f"window function {window.function!r}: one of {', '.join(_FUNCTIONS)} needed")
    return view_pb2.Window(
        center=window.center, width=window.width, function=_FUNCTIONS[window.function], voi_lut=window.voi_lut
    )


def _transfer_function_to_proto(transfer: TransferFunction) -> view_pb2.TransferFunction:
    if transfer.preset:
        return view_pb2.TransferFunction(preset=transfer.preset, shift=transfer.shift)
    shading = transfer.shading
    return view_pb2.TransferFunction(
        piecewise=view_pb2.PiecewiseTransferFunction(
            opacity_points=[view_pb2.OpacityPoint(value=v, opacity=a) for v, a in transfer.opacity_points],
            color_points=[view_pb2.ColorPoint(value=v, red=r, green=g, blue=b) for v, r, g, b in transfer.color_points],
            shading=None
            if shading is None
            else view_pb2.Shading(
                ambient=shading.ambient,
                diffuse=shading.diffuse,
                specular=shading.specular,
                shininess=shading.shininess,
            ),
        ),
        shift=transfer.shift,
    )


def _transfer_function_from_proto(message: view_pb2.TransferFunction) -> TransferFunction:
    if message.WhichOneof("source") == "preset":
        return TransferFunction(message.preset, shift=message.shift)
    piecewise = message.piecewise
    shading = piecewise.shading
    return TransferFunction(
        opacity_points=tuple((p.value, p.opacity) for p in piecewise.opacity_points),
        color_points=tuple((p.value, p.red, p.green, p.blue) for p in piecewise.color_points),
        shading=Shading(shading.ambient, shading.diffuse, shading.specular, shading.shininess)
        if piecewise.HasField("shading")
        else None,
        shift=message.shift,
    )

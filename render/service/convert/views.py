"""Views and their parts: cameras, layers, windows, transfer functions."""

from __future__ import annotations

import math

from render.errors import InvalidArgumentError, InvalidViewError
from render.service.status import wire_text
from render.transfer import Shading, TransferFunction, Window, WindowFunction, load_preset, preset_names
from render.v1 import view_pb2
from render.view import Camera, Clip, Layer, RenderingMethod, Vector, View, Viewport

METHODS = {method: getattr(view_pb2, f"RENDERING_METHOD_{method.name}") for method in RenderingMethod}
_METHOD_OF = {number: method for method, number in METHODS.items()}
_FUNCTIONS = {function: getattr(view_pb2, f"WINDOW_FUNCTION_{function.name}") for function in WindowFunction}
_FUNCTION_OF = {number: function for function, number in _FUNCTIONS.items()}
_FUNCTION_OF[view_pb2.WINDOW_FUNCTION_UNSPECIFIED] = WindowFunction.LINEAR_EXACT


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
        rendering_method=METHODS[view.rendering_method],
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

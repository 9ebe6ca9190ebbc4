from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RenderingMethod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RENDERING_METHOD_UNSPECIFIED: _ClassVar[RenderingMethod]
    RENDERING_METHOD_VOLUME_RENDERED: _ClassVar[RenderingMethod]
    RENDERING_METHOD_MAXIMUM_IP: _ClassVar[RenderingMethod]
    RENDERING_METHOD_MINIMUM_IP: _ClassVar[RenderingMethod]
    RENDERING_METHOD_AVERAGE_IP: _ClassVar[RenderingMethod]

class WindowFunction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WINDOW_FUNCTION_UNSPECIFIED: _ClassVar[WindowFunction]
    WINDOW_FUNCTION_LINEAR: _ClassVar[WindowFunction]
    WINDOW_FUNCTION_LINEAR_EXACT: _ClassVar[WindowFunction]
    WINDOW_FUNCTION_SIGMOID: _ClassVar[WindowFunction]
    WINDOW_FUNCTION_VOI_LUT: _ClassVar[WindowFunction]
RENDERING_METHOD_UNSPECIFIED: RenderingMethod
RENDERING_METHOD_VOLUME_RENDERED: RenderingMethod
RENDERING_METHOD_MAXIMUM_IP: RenderingMethod
RENDERING_METHOD_MINIMUM_IP: RenderingMethod
RENDERING_METHOD_AVERAGE_IP: RenderingMethod
WINDOW_FUNCTION_UNSPECIFIED: WindowFunction
WINDOW_FUNCTION_LINEAR: WindowFunction
WINDOW_FUNCTION_LINEAR_EXACT: WindowFunction
WINDOW_FUNCTION_SIGMOID: WindowFunction
WINDOW_FUNCTION_VOI_LUT: WindowFunction

class Vector3(_message.Message):
    __slots__ = ("x", "y", "z")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    z: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., z: _Optional[float] = ...) -> None: ...

class Camera(_message.Message):
    __slots__ = ("position", "look_at", "up", "parallel_scale_mm", "fov_deg")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    LOOK_AT_FIELD_NUMBER: _ClassVar[int]
    UP_FIELD_NUMBER: _ClassVar[int]
    PARALLEL_SCALE_MM_FIELD_NUMBER: _ClassVar[int]
    FOV_DEG_FIELD_NUMBER: _ClassVar[int]
    position: Vector3
    look_at: Vector3
    up: Vector3
    parallel_scale_mm: float
    fov_deg: float
    def __init__(self, position: _Optional[_Union[Vector3, _Mapping]] = ..., look_at: _Optional[_Union[Vector3, _Mapping]] = ..., up: _Optional[_Union[Vector3, _Mapping]] = ..., parallel_scale_mm: _Optional[float] = ..., fov_deg: _Optional[float] = ...) -> None: ...

class Viewport(_message.Message):
    __slots__ = ("width_px", "height_px", "flip_horizontal", "flip_vertical")
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    FLIP_HORIZONTAL_FIELD_NUMBER: _ClassVar[int]
    FLIP_VERTICAL_FIELD_NUMBER: _ClassVar[int]
    width_px: int
    height_px: int
    flip_horizontal: bool
    flip_vertical: bool
    def __init__(self, width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., flip_horizontal: bool = ..., flip_vertical: bool = ...) -> None: ...

class VoiLut(_message.Message):
    __slots__ = ("first", "bits", "entries")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    BITS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    first: int
    bits: int
    entries: bytes
    def __init__(self, first: _Optional[int] = ..., bits: _Optional[int] = ..., entries: _Optional[bytes] = ...) -> None: ...

class Window(_message.Message):
    __slots__ = ("center", "width", "function", "explanation", "voi_lut", "table")
    CENTER_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    VOI_LUT_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    center: float
    width: float
    function: WindowFunction
    explanation: str
    voi_lut: int
    table: VoiLut
    def __init__(self, center: _Optional[float] = ..., width: _Optional[float] = ..., function: _Optional[_Union[WindowFunction, str]] = ..., explanation: _Optional[str] = ..., voi_lut: _Optional[int] = ..., table: _Optional[_Union[VoiLut, _Mapping]] = ...) -> None: ...

class OpacityPoint(_message.Message):
    __slots__ = ("value", "opacity")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    OPACITY_FIELD_NUMBER: _ClassVar[int]
    value: float
    opacity: float
    def __init__(self, value: _Optional[float] = ..., opacity: _Optional[float] = ...) -> None: ...

class ColorPoint(_message.Message):
    __slots__ = ("value", "red", "green", "blue")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    RED_FIELD_NUMBER: _ClassVar[int]
    GREEN_FIELD_NUMBER: _ClassVar[int]
    BLUE_FIELD_NUMBER: _ClassVar[int]
    value: float
    red: float
    green: float
    blue: float
    def __init__(self, value: _Optional[float] = ..., red: _Optional[float] = ..., green: _Optional[float] = ..., blue: _Optional[float] = ...) -> None: ...

class Shading(_message.Message):
    __slots__ = ("ambient", "diffuse", "specular", "shininess")
    AMBIENT_FIELD_NUMBER: _ClassVar[int]
    DIFFUSE_FIELD_NUMBER: _ClassVar[int]
    SPECULAR_FIELD_NUMBER: _ClassVar[int]
    SHININESS_FIELD_NUMBER: _ClassVar[int]
    ambient: float
    diffuse: float
    specular: float
    shininess: float
    def __init__(self, ambient: _Optional[float] = ..., diffuse: _Optional[float] = ..., specular: _Optional[float] = ..., shininess: _Optional[float] = ...) -> None: ...

class PiecewiseTransferFunction(_message.Message):
    __slots__ = ("opacity_points", "color_points", "shading")
    OPACITY_POINTS_FIELD_NUMBER: _ClassVar[int]
    COLOR_POINTS_FIELD_NUMBER: _ClassVar[int]
    SHADING_FIELD_NUMBER: _ClassVar[int]
    opacity_points: _containers.RepeatedCompositeFieldContainer[OpacityPoint]
    color_points: _containers.RepeatedCompositeFieldContainer[ColorPoint]
    shading: Shading
    def __init__(self, opacity_points: _Optional[_Iterable[_Union[OpacityPoint, _Mapping]]] = ..., color_points: _Optional[_Iterable[_Union[ColorPoint, _Mapping]]] = ..., shading: _Optional[_Union[Shading, _Mapping]] = ...) -> None: ...

class TransferFunction(_message.Message):
    __slots__ = ("preset", "piecewise", "shift")
    PRESET_FIELD_NUMBER: _ClassVar[int]
    PIECEWISE_FIELD_NUMBER: _ClassVar[int]
    SHIFT_FIELD_NUMBER: _ClassVar[int]
    preset: str
    piecewise: PiecewiseTransferFunction
    shift: float
    def __init__(self, preset: _Optional[str] = ..., piecewise: _Optional[_Union[PiecewiseTransferFunction, _Mapping]] = ..., shift: _Optional[float] = ...) -> None: ...

class Layer(_message.Message):
    __slots__ = ("volume_id", "window", "transfer_function", "opacity", "invert")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_FUNCTION_FIELD_NUMBER: _ClassVar[int]
    OPACITY_FIELD_NUMBER: _ClassVar[int]
    INVERT_FIELD_NUMBER: _ClassVar[int]
    volume_id: str
    window: Window
    transfer_function: TransferFunction
    opacity: float
    invert: bool
    def __init__(self, volume_id: _Optional[str] = ..., window: _Optional[_Union[Window, _Mapping]] = ..., transfer_function: _Optional[_Union[TransferFunction, _Mapping]] = ..., opacity: _Optional[float] = ..., invert: bool = ...) -> None: ...

class Clip(_message.Message):
    __slots__ = ("minimum_mm", "maximum_mm")
    MINIMUM_MM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_MM_FIELD_NUMBER: _ClassVar[int]
    minimum_mm: Vector3
    maximum_mm: Vector3
    def __init__(self, minimum_mm: _Optional[_Union[Vector3, _Mapping]] = ..., maximum_mm: _Optional[_Union[Vector3, _Mapping]] = ...) -> None: ...

class View(_message.Message):
    __slots__ = ("camera", "viewport", "slab_mm", "rendering_method", "layers", "clip")
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    VIEWPORT_FIELD_NUMBER: _ClassVar[int]
    SLAB_MM_FIELD_NUMBER: _ClassVar[int]
    RENDERING_METHOD_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    CLIP_FIELD_NUMBER: _ClassVar[int]
    camera: Camera
    viewport: Viewport
    slab_mm: float
    rendering_method: RenderingMethod
    layers: _containers.RepeatedCompositeFieldContainer[Layer]
    clip: Clip
    def __init__(self, camera: _Optional[_Union[Camera, _Mapping]] = ..., viewport: _Optional[_Union[Viewport, _Mapping]] = ..., slab_mm: _Optional[float] = ..., rendering_method: _Optional[_Union[RenderingMethod, str]] = ..., layers: _Optional[_Iterable[_Union[Layer, _Mapping]]] = ..., clip: _Optional[_Union[Clip, _Mapping]] = ...) -> None: ...

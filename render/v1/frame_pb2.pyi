from render.v1 import view_pb2 as _view_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FrameEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FRAME_ENCODING_UNSPECIFIED: _ClassVar[FrameEncoding]
    FRAME_ENCODING_JPEG: _ClassVar[FrameEncoding]
    FRAME_ENCODING_PNG: _ClassVar[FrameEncoding]
    FRAME_ENCODING_VALUES_FLOAT32: _ClassVar[FrameEncoding]
    FRAME_ENCODING_VALUES_UINT16: _ClassVar[FrameEncoding]
    FRAME_ENCODING_VALUES_DEFLATE: _ClassVar[FrameEncoding]
    FRAME_ENCODING_RGBA8: _ClassVar[FrameEncoding]
    FRAME_ENCODING_RGBA_DEFLATE: _ClassVar[FrameEncoding]

class FrameQuality(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FRAME_QUALITY_UNSPECIFIED: _ClassVar[FrameQuality]
    FRAME_QUALITY_INTERACTIVE: _ClassVar[FrameQuality]
    FRAME_QUALITY_FINAL: _ClassVar[FrameQuality]
FRAME_ENCODING_UNSPECIFIED: FrameEncoding
FRAME_ENCODING_JPEG: FrameEncoding
FRAME_ENCODING_PNG: FrameEncoding
FRAME_ENCODING_VALUES_FLOAT32: FrameEncoding
FRAME_ENCODING_VALUES_UINT16: FrameEncoding
FRAME_ENCODING_VALUES_DEFLATE: FrameEncoding
FRAME_ENCODING_RGBA8: FrameEncoding
FRAME_ENCODING_RGBA_DEFLATE: FrameEncoding
FRAME_QUALITY_UNSPECIFIED: FrameQuality
FRAME_QUALITY_INTERACTIVE: FrameQuality
FRAME_QUALITY_FINAL: FrameQuality

class ImagePlane(_message.Message):
    __slots__ = ("top_left_mm", "row_direction", "column_direction", "pixel_spacing_down_mm", "pixel_spacing_right_mm")
    TOP_LEFT_MM_FIELD_NUMBER: _ClassVar[int]
    ROW_DIRECTION_FIELD_NUMBER: _ClassVar[int]
    COLUMN_DIRECTION_FIELD_NUMBER: _ClassVar[int]
    PIXEL_SPACING_DOWN_MM_FIELD_NUMBER: _ClassVar[int]
    PIXEL_SPACING_RIGHT_MM_FIELD_NUMBER: _ClassVar[int]
    top_left_mm: _view_pb2.Vector3
    row_direction: _view_pb2.Vector3
    column_direction: _view_pb2.Vector3
    pixel_spacing_down_mm: float
    pixel_spacing_right_mm: float
    def __init__(self, top_left_mm: _Optional[_Union[_view_pb2.Vector3, _Mapping]] = ..., row_direction: _Optional[_Union[_view_pb2.Vector3, _Mapping]] = ..., column_direction: _Optional[_Union[_view_pb2.Vector3, _Mapping]] = ..., pixel_spacing_down_mm: _Optional[float] = ..., pixel_spacing_right_mm: _Optional[float] = ...) -> None: ...

class StageTimings(_message.Message):
    __slots__ = ("queue_ms", "render_ms", "encode_ms")
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    RENDER_MS_FIELD_NUMBER: _ClassVar[int]
    ENCODE_MS_FIELD_NUMBER: _ClassVar[int]
    queue_ms: float
    render_ms: float
    encode_ms: float
    def __init__(self, queue_ms: _Optional[float] = ..., render_ms: _Optional[float] = ..., encode_ms: _Optional[float] = ...) -> None: ...

class FrameHeader(_message.Message):
    __slots__ = ("view_id", "sequence", "epoch", "view_revision", "volume_revision", "encoding", "quality", "width_px", "height_px", "payload_bytes", "payload_crc32", "chunk_index", "chunk_count", "value_slope", "value_intercept", "units", "window", "inverted", "lossless", "jpeg_quality", "lossy_source", "rendering_method", "slab_mm", "step_mm", "ray_stride", "plane", "missing_slices", "timings")
    VIEW_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    VIEW_REVISION_FIELD_NUMBER: _ClassVar[int]
    VOLUME_REVISION_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_CRC32_FIELD_NUMBER: _ClassVar[int]
    CHUNK_INDEX_FIELD_NUMBER: _ClassVar[int]
    CHUNK_COUNT_FIELD_NUMBER: _ClassVar[int]
    VALUE_SLOPE_FIELD_NUMBER: _ClassVar[int]
    VALUE_INTERCEPT_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    INVERTED_FIELD_NUMBER: _ClassVar[int]
    LOSSLESS_FIELD_NUMBER: _ClassVar[int]
    JPEG_QUALITY_FIELD_NUMBER: _ClassVar[int]
    LOSSY_SOURCE_FIELD_NUMBER: _ClassVar[int]
    RENDERING_METHOD_FIELD_NUMBER: _ClassVar[int]
    SLAB_MM_FIELD_NUMBER: _ClassVar[int]
    STEP_MM_FIELD_NUMBER: _ClassVar[int]
    RAY_STRIDE_FIELD_NUMBER: _ClassVar[int]
    PLANE_FIELD_NUMBER: _ClassVar[int]
    MISSING_SLICES_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    view_id: str
    sequence: int
    epoch: int
    view_revision: int
    volume_revision: int
    encoding: FrameEncoding
    quality: FrameQuality
    width_px: int
    height_px: int
    payload_bytes: int
    payload_crc32: int
    chunk_index: int
    chunk_count: int
    value_slope: float
    value_intercept: float
    units: str
    window: _view_pb2.Window
    inverted: bool
    lossless: bool
    jpeg_quality: int
    lossy_source: bool
    rendering_method: _view_pb2.RenderingMethod
    slab_mm: float
    step_mm: float
    ray_stride: int
    plane: ImagePlane
    missing_slices: int
    timings: StageTimings
    def __init__(self, view_id: _Optional[str] = ..., sequence: _Optional[int] = ..., epoch: _Optional[int] = ..., view_revision: _Optional[int] = ..., volume_revision: _Optional[int] = ..., encoding: _Optional[_Union[FrameEncoding, str]] = ..., quality: _Optional[_Union[FrameQuality, str]] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., payload_bytes: _Optional[int] = ..., payload_crc32: _Optional[int] = ..., chunk_index: _Optional[int] = ..., chunk_count: _Optional[int] = ..., value_slope: _Optional[float] = ..., value_intercept: _Optional[float] = ..., units: _Optional[str] = ..., window: _Optional[_Union[_view_pb2.Window, _Mapping]] = ..., inverted: bool = ..., lossless: bool = ..., jpeg_quality: _Optional[int] = ..., lossy_source: bool = ..., rendering_method: _Optional[_Union[_view_pb2.RenderingMethod, str]] = ..., slab_mm: _Optional[float] = ..., step_mm: _Optional[float] = ..., ray_stride: _Optional[int] = ..., plane: _Optional[_Union[ImagePlane, _Mapping]] = ..., missing_slices: _Optional[int] = ..., timings: _Optional[_Union[StageTimings, _Mapping]] = ...) -> None: ...

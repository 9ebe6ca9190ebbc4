from render.v1 import frame_pb2 as _frame_pb2
from render.v1 import stream_pb2 as _stream_pb2
from render.v1 import view_pb2 as _view_pb2
from render.v1 import volume_pb2 as _volume_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorDetail(_message.Message):
    __slots__ = ("reason", "figures")
    class FiguresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    reason: str
    figures: _containers.ScalarMap[str, str]
    def __init__(self, reason: _Optional[str] = ..., figures: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ListVolumesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListVolumesResponse(_message.Message):
    __slots__ = ("volumes", "scanning")
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    SCANNING_FIELD_NUMBER: _ClassVar[int]
    volumes: _containers.RepeatedCompositeFieldContainer[_volume_pb2.VolumeSummary]
    scanning: bool
    def __init__(self, volumes: _Optional[_Iterable[_Union[_volume_pb2.VolumeSummary, _Mapping]]] = ..., scanning: bool = ...) -> None: ...

class OpenVolumeRequest(_message.Message):
    __slots__ = ("volume_id", "path", "series", "volume_index", "in_part")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    VOLUME_INDEX_FIELD_NUMBER: _ClassVar[int]
    IN_PART_FIELD_NUMBER: _ClassVar[int]
    volume_id: str
    path: str
    series: str
    volume_index: int
    in_part: bool
    def __init__(self, volume_id: _Optional[str] = ..., path: _Optional[str] = ..., series: _Optional[str] = ..., volume_index: _Optional[int] = ..., in_part: bool = ...) -> None: ...

class OpenVolumeResponse(_message.Message):
    __slots__ = ("progress", "opened")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    OPENED_FIELD_NUMBER: _ClassVar[int]
    progress: _volume_pb2.LoadProgress
    opened: OpenedVolume
    def __init__(self, progress: _Optional[_Union[_volume_pb2.LoadProgress, _Mapping]] = ..., opened: _Optional[_Union[OpenedVolume, _Mapping]] = ...) -> None: ...

class OpenedVolume(_message.Message):
    __slots__ = ("volume", "lease_id", "lease_seconds", "missing_slices")
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MISSING_SLICES_FIELD_NUMBER: _ClassVar[int]
    volume: _volume_pb2.VolumeDescription
    lease_id: str
    lease_seconds: int
    missing_slices: int
    def __init__(self, volume: _Optional[_Union[_volume_pb2.VolumeDescription, _Mapping]] = ..., lease_id: _Optional[str] = ..., lease_seconds: _Optional[int] = ..., missing_slices: _Optional[int] = ...) -> None: ...

class DescribeVolumeRequest(_message.Message):
    __slots__ = ("volume_id",)
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    volume_id: str
    def __init__(self, volume_id: _Optional[str] = ...) -> None: ...

class DescribeVolumeResponse(_message.Message):
    __slots__ = ("volume", "missing_slices")
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    MISSING_SLICES_FIELD_NUMBER: _ClassVar[int]
    volume: _volume_pb2.VolumeDescription
    missing_slices: int
    def __init__(self, volume: _Optional[_Union[_volume_pb2.VolumeDescription, _Mapping]] = ..., missing_slices: _Optional[int] = ...) -> None: ...

class ReleaseVolumeRequest(_message.Message):
    __slots__ = ("lease_id",)
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    def __init__(self, lease_id: _Optional[str] = ...) -> None: ...

class ReleaseVolumeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UploadHeader(_message.Message):
    __slots__ = ("voxels", "instances")
    VOXELS_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    voxels: VoxelUpload
    instances: InstancesUpload
    def __init__(self, voxels: _Optional[_Union[VoxelUpload, _Mapping]] = ..., instances: _Optional[_Union[InstancesUpload, _Mapping]] = ...) -> None: ...

class VoxelUpload(_message.Message):
    __slots__ = ("geometry", "voxel_type", "slope", "intercept", "invalid_code", "modality", "units", "description")
    GEOMETRY_FIELD_NUMBER: _ClassVar[int]
    VOXEL_TYPE_FIELD_NUMBER: _ClassVar[int]
    SLOPE_FIELD_NUMBER: _ClassVar[int]
    INTERCEPT_FIELD_NUMBER: _ClassVar[int]
    INVALID_CODE_FIELD_NUMBER: _ClassVar[int]
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    geometry: _volume_pb2.VolumeGeometry
    voxel_type: _volume_pb2.VoxelType
    slope: float
    intercept: float
    invalid_code: int
    modality: str
    units: str
    description: str
    def __init__(self, geometry: _Optional[_Union[_volume_pb2.VolumeGeometry, _Mapping]] = ..., voxel_type: _Optional[_Union[_volume_pb2.VoxelType, str]] = ..., slope: _Optional[float] = ..., intercept: _Optional[float] = ..., invalid_code: _Optional[int] = ..., modality: _Optional[str] = ..., units: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class InstancesUpload(_message.Message):
    __slots__ = ("series",)
    SERIES_FIELD_NUMBER: _ClassVar[int]
    series: str
    def __init__(self, series: _Optional[str] = ...) -> None: ...

class UploadVolumeRequest(_message.Message):
    __slots__ = ("header", "chunk", "end_of_instance")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    END_OF_INSTANCE_FIELD_NUMBER: _ClassVar[int]
    header: UploadHeader
    chunk: bytes
    end_of_instance: bool
    def __init__(self, header: _Optional[_Union[UploadHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ..., end_of_instance: bool = ...) -> None: ...

class UploadVolumeResponse(_message.Message):
    __slots__ = ("opened",)
    OPENED_FIELD_NUMBER: _ClassVar[int]
    opened: OpenedVolume
    def __init__(self, opened: _Optional[_Union[OpenedVolume, _Mapping]] = ...) -> None: ...

class RenderRequest(_message.Message):
    __slots__ = ("view", "encoding", "jpeg_quality", "lease_id")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    JPEG_QUALITY_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    view: _view_pb2.View
    encoding: _frame_pb2.FrameEncoding
    jpeg_quality: int
    lease_id: str
    def __init__(self, view: _Optional[_Union[_view_pb2.View, _Mapping]] = ..., encoding: _Optional[_Union[_frame_pb2.FrameEncoding, str]] = ..., jpeg_quality: _Optional[int] = ..., lease_id: _Optional[str] = ...) -> None: ...

class RenderResponse(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: _frame_pb2.FrameHeader
    chunk: bytes
    def __init__(self, header: _Optional[_Union[_frame_pb2.FrameHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class StreamFramesRequest(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: _stream_pb2.ClientMessage
    def __init__(self, message: _Optional[_Union[_stream_pb2.ClientMessage, _Mapping]] = ...) -> None: ...

class StreamFramesResponse(_message.Message):
    __slots__ = ("message", "frame")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    message: _stream_pb2.ServerMessage
    frame: _stream_pb2.FrameMessage
    def __init__(self, message: _Optional[_Union[_stream_pb2.ServerMessage, _Mapping]] = ..., frame: _Optional[_Union[_stream_pb2.FrameMessage, _Mapping]] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeviceStatus(_message.Message):
    __slots__ = ("name", "description", "budget_bytes", "resident_bytes", "pinned_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    BUDGET_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    PINNED_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    budget_bytes: int
    resident_bytes: int
    pinned_bytes: int
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., budget_bytes: _Optional[int] = ..., resident_bytes: _Optional[int] = ..., pinned_bytes: _Optional[int] = ...) -> None: ...

class ResidentStatus(_message.Message):
    __slots__ = ("volume_id", "device", "residency", "bytes", "pinned_by", "idle_seconds")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    RESIDENCY_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    PINNED_BY_FIELD_NUMBER: _ClassVar[int]
    IDLE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    volume_id: str
    device: str
    residency: _volume_pb2.Residency
    bytes: int
    pinned_by: _containers.RepeatedScalarFieldContainer[str]
    idle_seconds: float
    def __init__(self, volume_id: _Optional[str] = ..., device: _Optional[str] = ..., residency: _Optional[_Union[_volume_pb2.Residency, str]] = ..., bytes: _Optional[int] = ..., pinned_by: _Optional[_Iterable[str]] = ..., idle_seconds: _Optional[float] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("server_version", "devices", "volumes", "sessions", "presets", "uptime_seconds")
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    PRESETS_FIELD_NUMBER: _ClassVar[int]
    UPTIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    server_version: str
    devices: _containers.RepeatedCompositeFieldContainer[DeviceStatus]
    volumes: _containers.RepeatedCompositeFieldContainer[ResidentStatus]
    sessions: int
    presets: _containers.RepeatedScalarFieldContainer[str]
    uptime_seconds: float
    def __init__(self, server_version: _Optional[str] = ..., devices: _Optional[_Iterable[_Union[DeviceStatus, _Mapping]]] = ..., volumes: _Optional[_Iterable[_Union[ResidentStatus, _Mapping]]] = ..., sessions: _Optional[int] = ..., presets: _Optional[_Iterable[str]] = ..., uptime_seconds: _Optional[float] = ...) -> None: ...

from render.v1 import view_pb2 as _view_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VoxelType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VOXEL_TYPE_UNSPECIFIED: _ClassVar[VoxelType]
    VOXEL_TYPE_INT16: _ClassVar[VoxelType]
    VOXEL_TYPE_FLOAT32: _ClassVar[VoxelType]
    VOXEL_TYPE_RGB8: _ClassVar[VoxelType]
    VOXEL_TYPE_LABEL8: _ClassVar[VoxelType]
    VOXEL_TYPE_LABEL16: _ClassVar[VoxelType]

class PixelScale(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PIXEL_SCALE_UNSPECIFIED: _ClassVar[PixelScale]
    PIXEL_SCALE_PATIENT: _ClassVar[PixelScale]
    PIXEL_SCALE_DETECTOR: _ClassVar[PixelScale]
    PIXEL_SCALE_UNKNOWN: _ClassVar[PixelScale]

class Residency(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESIDENCY_UNSPECIFIED: _ClassVar[Residency]
    RESIDENCY_SOURCE: _ClassVar[Residency]
    RESIDENCY_LOADING: _ClassVar[Residency]
    RESIDENCY_RESIDENT: _ClassVar[Residency]
    RESIDENCY_HOST: _ClassVar[Residency]
VOXEL_TYPE_UNSPECIFIED: VoxelType
VOXEL_TYPE_INT16: VoxelType
VOXEL_TYPE_FLOAT32: VoxelType
VOXEL_TYPE_RGB8: VoxelType
VOXEL_TYPE_LABEL8: VoxelType
VOXEL_TYPE_LABEL16: VoxelType
PIXEL_SCALE_UNSPECIFIED: PixelScale
PIXEL_SCALE_PATIENT: PixelScale
PIXEL_SCALE_DETECTOR: PixelScale
PIXEL_SCALE_UNKNOWN: PixelScale
RESIDENCY_UNSPECIFIED: Residency
RESIDENCY_SOURCE: Residency
RESIDENCY_LOADING: Residency
RESIDENCY_RESIDENT: Residency
RESIDENCY_HOST: Residency

class VolumeGeometry(_message.Message):
    __slots__ = ("columns", "rows", "slices", "patient_from_voxel")
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    SLICES_FIELD_NUMBER: _ClassVar[int]
    PATIENT_FROM_VOXEL_FIELD_NUMBER: _ClassVar[int]
    columns: int
    rows: int
    slices: int
    patient_from_voxel: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, columns: _Optional[int] = ..., rows: _Optional[int] = ..., slices: _Optional[int] = ..., patient_from_voxel: _Optional[_Iterable[float]] = ...) -> None: ...

class Phase(_message.Message):
    __slots__ = ("volume_id", "label")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    volume_id: str
    label: str
    def __init__(self, volume_id: _Optional[str] = ..., label: _Optional[str] = ...) -> None: ...

class VolumeSummary(_message.Message):
    __slots__ = ("volume_id", "modality", "description", "study_uid", "series_uid", "series_number", "volume_index", "path", "columns", "rows", "slices", "spacing_mm", "bytes", "residency", "opens_first", "voxel_type", "phases", "phase_ms")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    STUDY_UID_FIELD_NUMBER: _ClassVar[int]
    SERIES_UID_FIELD_NUMBER: _ClassVar[int]
    SERIES_NUMBER_FIELD_NUMBER: _ClassVar[int]
    VOLUME_INDEX_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    SLICES_FIELD_NUMBER: _ClassVar[int]
    SPACING_MM_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    RESIDENCY_FIELD_NUMBER: _ClassVar[int]
    OPENS_FIRST_FIELD_NUMBER: _ClassVar[int]
    VOXEL_TYPE_FIELD_NUMBER: _ClassVar[int]
    PHASES_FIELD_NUMBER: _ClassVar[int]
    PHASE_MS_FIELD_NUMBER: _ClassVar[int]
    volume_id: str
    modality: str
    description: str
    study_uid: str
    series_uid: str
    series_number: int
    volume_index: int
    path: str
    columns: int
    rows: int
    slices: int
    spacing_mm: _containers.RepeatedScalarFieldContainer[float]
    bytes: int
    residency: Residency
    opens_first: bool
    voxel_type: VoxelType
    phases: _containers.RepeatedCompositeFieldContainer[Phase]
    phase_ms: float
    def __init__(self, volume_id: _Optional[str] = ..., modality: _Optional[str] = ..., description: _Optional[str] = ..., study_uid: _Optional[str] = ..., series_uid: _Optional[str] = ..., series_number: _Optional[int] = ..., volume_index: _Optional[int] = ..., path: _Optional[str] = ..., columns: _Optional[int] = ..., rows: _Optional[int] = ..., slices: _Optional[int] = ..., spacing_mm: _Optional[_Iterable[float]] = ..., bytes: _Optional[int] = ..., residency: _Optional[_Union[Residency, str]] = ..., opens_first: bool = ..., voxel_type: _Optional[_Union[VoxelType, str]] = ..., phases: _Optional[_Iterable[_Union[Phase, _Mapping]]] = ..., phase_ms: _Optional[float] = ...) -> None: ...

class VolumeDescription(_message.Message):
    __slots__ = ("summary", "geometry", "voxel_type", "slope", "intercept", "units", "minimum_value", "maximum_value", "windows", "default_window", "default_preset", "inverted", "lossy_source", "warnings", "revision", "initial_views", "unplaced", "pixel_scale")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    GEOMETRY_FIELD_NUMBER: _ClassVar[int]
    VOXEL_TYPE_FIELD_NUMBER: _ClassVar[int]
    SLOPE_FIELD_NUMBER: _ClassVar[int]
    INTERCEPT_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_VALUE_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_VALUE_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_WINDOW_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_PRESET_FIELD_NUMBER: _ClassVar[int]
    INVERTED_FIELD_NUMBER: _ClassVar[int]
    LOSSY_SOURCE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    INITIAL_VIEWS_FIELD_NUMBER: _ClassVar[int]
    UNPLACED_FIELD_NUMBER: _ClassVar[int]
    PIXEL_SCALE_FIELD_NUMBER: _ClassVar[int]
    summary: VolumeSummary
    geometry: VolumeGeometry
    voxel_type: VoxelType
    slope: float
    intercept: float
    units: str
    minimum_value: float
    maximum_value: float
    windows: _containers.RepeatedCompositeFieldContainer[_view_pb2.Window]
    default_window: _view_pb2.Window
    default_preset: str
    inverted: bool
    lossy_source: bool
    warnings: _containers.RepeatedScalarFieldContainer[str]
    revision: int
    initial_views: _containers.RepeatedCompositeFieldContainer[NamedView]
    unplaced: bool
    pixel_scale: PixelScale
    def __init__(self, summary: _Optional[_Union[VolumeSummary, _Mapping]] = ..., geometry: _Optional[_Union[VolumeGeometry, _Mapping]] = ..., voxel_type: _Optional[_Union[VoxelType, str]] = ..., slope: _Optional[float] = ..., intercept: _Optional[float] = ..., units: _Optional[str] = ..., minimum_value: _Optional[float] = ..., maximum_value: _Optional[float] = ..., windows: _Optional[_Iterable[_Union[_view_pb2.Window, _Mapping]]] = ..., default_window: _Optional[_Union[_view_pb2.Window, _Mapping]] = ..., default_preset: _Optional[str] = ..., inverted: bool = ..., lossy_source: bool = ..., warnings: _Optional[_Iterable[str]] = ..., revision: _Optional[int] = ..., initial_views: _Optional[_Iterable[_Union[NamedView, _Mapping]]] = ..., unplaced: bool = ..., pixel_scale: _Optional[_Union[PixelScale, str]] = ...) -> None: ...

class NamedView(_message.Message):
    __slots__ = ("name", "view")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    name: str
    view: _view_pb2.View
    def __init__(self, name: _Optional[str] = ..., view: _Optional[_Union[_view_pb2.View, _Mapping]] = ...) -> None: ...

class LoadProgress(_message.Message):
    __slots__ = ("volume_id", "stage", "done", "total")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    volume_id: str
    stage: str
    done: int
    total: int
    def __init__(self, volume_id: _Optional[str] = ..., stage: _Optional[str] = ..., done: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

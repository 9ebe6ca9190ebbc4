from render.v1 import frame_pb2 as _frame_pb2
from render.v1 import view_pb2 as _view_pb2
from render.v1 import volume_pb2 as _volume_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Hello(_message.Message):
    __slots__ = ("protocol_version", "token", "resume_token", "client")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    token: str
    resume_token: str
    client: str
    def __init__(self, protocol_version: _Optional[int] = ..., token: _Optional[str] = ..., resume_token: _Optional[str] = ..., client: _Optional[str] = ...) -> None: ...

class SetView(_message.Message):
    __slots__ = ("view_id", "revision", "view")
    VIEW_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    view_id: str
    revision: int
    view: _view_pb2.View
    def __init__(self, view_id: _Optional[str] = ..., revision: _Optional[int] = ..., view: _Optional[_Union[_view_pb2.View, _Mapping]] = ...) -> None: ...

class CloseView(_message.Message):
    __slots__ = ("view_id",)
    VIEW_ID_FIELD_NUMBER: _ClassVar[int]
    view_id: str
    def __init__(self, view_id: _Optional[str] = ...) -> None: ...

class Acknowledge(_message.Message):
    __slots__ = ("view_id", "sequence")
    VIEW_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    view_id: str
    sequence: int
    def __init__(self, view_id: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class SetVisibility(_message.Message):
    __slots__ = ("visible",)
    VISIBLE_FIELD_NUMBER: _ClassVar[int]
    visible: bool
    def __init__(self, visible: bool = ...) -> None: ...

class ListVolumes(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class OpenVolume(_message.Message):
    __slots__ = ("volume_id", "in_part")
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    IN_PART_FIELD_NUMBER: _ClassVar[int]
    volume_id: str
    in_part: bool
    def __init__(self, volume_id: _Optional[str] = ..., in_part: bool = ...) -> None: ...

class Share(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Watch(_message.Message):
    __slots__ = ("share_id",)
    SHARE_ID_FIELD_NUMBER: _ClassVar[int]
    share_id: str
    def __init__(self, share_id: _Optional[str] = ...) -> None: ...

class Drive(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StopSharing(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Ping(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ClientMessage(_message.Message):
    __slots__ = ("hello", "set_view", "close_view", "acknowledge", "set_visibility", "list_volumes", "open_volume", "share", "watch", "drive", "ping", "stop_sharing")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    SET_VIEW_FIELD_NUMBER: _ClassVar[int]
    CLOSE_VIEW_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGE_FIELD_NUMBER: _ClassVar[int]
    SET_VISIBILITY_FIELD_NUMBER: _ClassVar[int]
    LIST_VOLUMES_FIELD_NUMBER: _ClassVar[int]
    OPEN_VOLUME_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    WATCH_FIELD_NUMBER: _ClassVar[int]
    DRIVE_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    STOP_SHARING_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    set_view: SetView
    close_view: CloseView
    acknowledge: Acknowledge
    set_visibility: SetVisibility
    list_volumes: ListVolumes
    open_volume: OpenVolume
    share: Share
    watch: Watch
    drive: Drive
    ping: Ping
    stop_sharing: StopSharing
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., set_view: _Optional[_Union[SetView, _Mapping]] = ..., close_view: _Optional[_Union[CloseView, _Mapping]] = ..., acknowledge: _Optional[_Union[Acknowledge, _Mapping]] = ..., set_visibility: _Optional[_Union[SetVisibility, _Mapping]] = ..., list_volumes: _Optional[_Union[ListVolumes, _Mapping]] = ..., open_volume: _Optional[_Union[OpenVolume, _Mapping]] = ..., share: _Optional[_Union[Share, _Mapping]] = ..., watch: _Optional[_Union[Watch, _Mapping]] = ..., drive: _Optional[_Union[Drive, _Mapping]] = ..., ping: _Optional[_Union[Ping, _Mapping]] = ..., stop_sharing: _Optional[_Union[StopSharing, _Mapping]] = ...) -> None: ...

class SessionLimits(_message.Message):
    __slots__ = ("max_views", "max_viewport_px", "max_message_bytes", "max_pixels")
    MAX_VIEWS_FIELD_NUMBER: _ClassVar[int]
    MAX_VIEWPORT_PX_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_PIXELS_FIELD_NUMBER: _ClassVar[int]
    max_views: int
    max_viewport_px: int
    max_message_bytes: int
    max_pixels: int
    def __init__(self, max_views: _Optional[int] = ..., max_viewport_px: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., max_pixels: _Optional[int] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("protocol_version", "server_version", "epoch", "resume_token", "limits", "presets", "volumes", "scanning")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    PRESETS_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    SCANNING_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    server_version: str
    epoch: int
    resume_token: str
    limits: SessionLimits
    presets: _containers.RepeatedScalarFieldContainer[str]
    volumes: _containers.RepeatedCompositeFieldContainer[_volume_pb2.VolumeSummary]
    scanning: bool
    def __init__(self, protocol_version: _Optional[int] = ..., server_version: _Optional[str] = ..., epoch: _Optional[int] = ..., resume_token: _Optional[str] = ..., limits: _Optional[_Union[SessionLimits, _Mapping]] = ..., presets: _Optional[_Iterable[str]] = ..., volumes: _Optional[_Iterable[_Union[_volume_pb2.VolumeSummary, _Mapping]]] = ..., scanning: bool = ...) -> None: ...

class VolumeList(_message.Message):
    __slots__ = ("volumes", "scanning")
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    SCANNING_FIELD_NUMBER: _ClassVar[int]
    volumes: _containers.RepeatedCompositeFieldContainer[_volume_pb2.VolumeSummary]
    scanning: bool
    def __init__(self, volumes: _Optional[_Iterable[_Union[_volume_pb2.VolumeSummary, _Mapping]]] = ..., scanning: bool = ...) -> None: ...

class VolumeOpened(_message.Message):
    __slots__ = ("volume", "missing_slices")
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    MISSING_SLICES_FIELD_NUMBER: _ClassVar[int]
    volume: _volume_pb2.VolumeDescription
    missing_slices: int
    def __init__(self, volume: _Optional[_Union[_volume_pb2.VolumeDescription, _Mapping]] = ..., missing_slices: _Optional[int] = ...) -> None: ...

class StreamError(_message.Message):
    __slots__ = ("reason", "message", "view_id", "volume_id", "revision")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    VIEW_ID_FIELD_NUMBER: _ClassVar[int]
    VOLUME_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    view_id: str
    volume_id: str
    revision: int
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., view_id: _Optional[str] = ..., volume_id: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class Draining(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Sharing(_message.Message):
    __slots__ = ("share_id", "driving", "driven", "participants")
    SHARE_ID_FIELD_NUMBER: _ClassVar[int]
    DRIVING_FIELD_NUMBER: _ClassVar[int]
    DRIVEN_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    share_id: str
    driving: bool
    driven: bool
    participants: int
    def __init__(self, share_id: _Optional[str] = ..., driving: bool = ..., driven: bool = ..., participants: _Optional[int] = ...) -> None: ...

class ViewSet(_message.Message):
    __slots__ = ("view_id", "revision", "view")
    VIEW_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    view_id: str
    revision: int
    view: _view_pb2.View
    def __init__(self, view_id: _Optional[str] = ..., revision: _Optional[int] = ..., view: _Optional[_Union[_view_pb2.View, _Mapping]] = ...) -> None: ...

class ViewClosed(_message.Message):
    __slots__ = ("view_id",)
    VIEW_ID_FIELD_NUMBER: _ClassVar[int]
    view_id: str
    def __init__(self, view_id: _Optional[str] = ...) -> None: ...

class Pong(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ServerMessage(_message.Message):
    __slots__ = ("welcome", "volume_list", "volume_opened", "load_progress", "error", "draining", "sharing", "view_set", "view_closed", "pong")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    VOLUME_LIST_FIELD_NUMBER: _ClassVar[int]
    VOLUME_OPENED_FIELD_NUMBER: _ClassVar[int]
    LOAD_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    SHARING_FIELD_NUMBER: _ClassVar[int]
    VIEW_SET_FIELD_NUMBER: _ClassVar[int]
    VIEW_CLOSED_FIELD_NUMBER: _ClassVar[int]
    PONG_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    volume_list: VolumeList
    volume_opened: VolumeOpened
    load_progress: _volume_pb2.LoadProgress
    error: StreamError
    draining: Draining
    sharing: Sharing
    view_set: ViewSet
    view_closed: ViewClosed
    pong: Pong
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., volume_list: _Optional[_Union[VolumeList, _Mapping]] = ..., volume_opened: _Optional[_Union[VolumeOpened, _Mapping]] = ..., load_progress: _Optional[_Union[_volume_pb2.LoadProgress, _Mapping]] = ..., error: _Optional[_Union[StreamError, _Mapping]] = ..., draining: _Optional[_Union[Draining, _Mapping]] = ..., sharing: _Optional[_Union[Sharing, _Mapping]] = ..., view_set: _Optional[_Union[ViewSet, _Mapping]] = ..., view_closed: _Optional[_Union[ViewClosed, _Mapping]] = ..., pong: _Optional[_Union[Pong, _Mapping]] = ...) -> None: ...

class FrameMessage(_message.Message):
    __slots__ = ("header", "payload")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    header: _frame_pb2.FrameHeader
    payload: bytes
    def __init__(self, header: _Optional[_Union[_frame_pb2.FrameHeader, _Mapping]] = ..., payload: _Optional[bytes] = ...) -> None: ...

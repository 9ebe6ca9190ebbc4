"""The Python client of Voxelcast: pictures of volumes that stay on the server.

A picture in five lines::

    from voxelcast import Client, View
    client = Client("localhost:50051")
    volume = client.open("petct_acrin_fusion/ct")
    picture = volume.render(View.axial(volume))

`picture` is a NumPy array: float32 modality values (HU for CT), NaN outside the volume. A volume rendering is
RGBA, uint8. `Volume.render_frame` also says where the pixels lie, and shows itself in a notebook.

`AsyncClient` is the same with ``await``. Patient space is DICOM's LPS in mm throughout; arrays of voxels are in
order (slice, row, column).
"""

from voxelcast.aio import AsyncClient
from voxelcast.aio_stream import AsyncStream
from voxelcast.aio_volume import AsyncVolume
from voxelcast.appearance import Shading, TransferFunction, VoiLut, Window
from voxelcast.camera import Camera, Viewport
from voxelcast.client import Client
from voxelcast.descriptions import (
    DeviceStatus,
    LoadProgress,
    Phase,
    ResidentStatus,
    ServerStatus,
    Sharing,
    VolumeDescription,
    VolumeSummary,
)
from voxelcast.errors import (
    AmbiguousSeriesError,
    BudgetExceededError,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    ProtocolError,
    RequestCancelledError,
    ResourceExhaustedError,
    ServerError,
    SourceError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedError,
    VoxelcastError,
)
from voxelcast.frames import Frame
from voxelcast.geometry import ImagePlane, VolumeGeometry
from voxelcast.stream import Stream
from voxelcast.views import Layer, View
from voxelcast.volume import Volume

__all__ = [
    "AmbiguousSeriesError",
    "AsyncClient",
    "AsyncStream",
    "AsyncVolume",
    "BudgetExceededError",
    "Camera",
    "Client",
    "DeadlineExceededError",
    "DeviceStatus",
    "Frame",
    "ImagePlane",
    "InvalidArgumentError",
    "Layer",
    "LoadProgress",
    "NotFoundError",
    "Phase",
    "ProtocolError",
    "RequestCancelledError",
    "ResidentStatus",
    "ResourceExhaustedError",
    "ServerError",
    "ServerStatus",
    "Shading",
    "Sharing",
    "SourceError",
    "Stream",
    "TransferFunction",
    "UnauthenticatedError",
    "UnavailableError",
    "UnsupportedError",
    "View",
    "Viewport",
    "VoiLut",
    "Volume",
    "VolumeDescription",
    "VolumeGeometry",
    "VolumeSummary",
    "VoxelcastError",
    "Window",
]

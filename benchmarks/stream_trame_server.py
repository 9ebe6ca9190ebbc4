"""The peer of the stream's benchmark: ``python -m benchmarks.stream_trame_server``, trame with trame-rca.

The same torso, drawn by VTK's quickest way on this machine, on as many threads:

- planes by `vtkImageReslice`, through a table of gray levels, to a gray JPEG, with no OpenGL at all;
- volume rendering by `vtkFixedPointVolumeRayCastMapper` or `vtkOpenGLGPUVolumeRayCastMapper` in a window off the
  screen, whichever draws more frames a second here; the mapper may leave out rays and samples to reach 30 a second
  (`AutoAdjustSampleDistances`), as VTK's interactors let it.

Everything else is trame-rca's own, with its defaults: `RcaViewAdapter`, its scheduler (30 frames a second, quality 50
while it moves, 90 at rest), its encoder, its websocket. The client's cameras come as interaction events. Each says its
revision, and the metadata of each picture says which revision it shows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import vtk
from trame.app import get_server
from trame_rca import module
from trame_rca.encoders import RcaImageEncoder
from trame_rca.rca import VtkRemoteControlledArea
from trame_rca.schedulers import RcaImageRenderScheduler
from trame_rca.view_adapter import RcaViewAdapter

from benchmarks.vtk_peer import RayCast, Scene, VtkPeer
from render.demo import torso_volume
from render.transfer import load_preset
from render.view import Camera, Layer, Orientation, RenderingMethod, View, Viewport, oriented_camera
from render.volume import Volume

AREA = "peer"
WINDOW_HU = (40.0, 400.0)
DESIRED_HZ = 30.0
TRIED_FRAMES = 5


class Planes:
    """Thin planes as gray pictures; an area of trame-rca."""

    encoder = "jpeg"
    peer = "vtkImageReslice"

    def __init__(self, volume: Volume, first: View, threads: int) -> None:
        self._reslice = VtkPeer(volume, threads).plane(first, 0.0, 1)
        center, width = WINDOW_HU
        levels = (np.arange(-32768, 32768) - center) / width + 0.5
        self._levels = (np.clip(levels, 0, 1) * 255 + 0.5).astype(np.uint8)

    def aim(self, view: View) -> None:
        """Set the next picture's plane."""
        self._reslice.aim(view)

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Draw."""
        self._reslice.draw()
        return self._levels[self._reslice.picture().astype(np.int32) + 32768]


class Volumes:
    """Volume renderings in a window; an area of trame-rca."""

    encoder = "turbo-jpeg"

    def __init__(self, volume: Volume, first: View, threads: int) -> None:
        tried = [self._tried(volume, first, threads, software) for software in (True, False)]
        self._seconds, self.peer, self._scene, self._area = min(tried, key=lambda each: each[0])

    def _tried(self, volume: Volume, first: View, threads: int, software: bool) -> tuple[float, str, Scene, Any]:
        peer = VtkPeer(volume, threads)
        drawn = peer.rays(first, 1.0) if software else peer.opengl(first, 1.0)
        scene: Scene = drawn._scene
        mapper = scene.volume.GetMapper()
        mapper.AutoAdjustSampleDistancesOn()
        interactor = vtk.vtkGenericRenderWindowInteractor()
        interactor.SetRenderWindow(scene.window)
        scene.window.SetDesiredUpdateRate(DESIRED_HZ)
        area = VtkRemoteControlledArea(scene.window)
        for _ in range(TRIED_FRAMES):  # in which the mapper finds its sample distances
            area.img_cols_rows  # noqa: B018
        begun = time.perf_counter()
        for _ in range(TRIED_FRAMES):
            area.img_cols_rows  # noqa: B018
        seconds = (time.perf_counter() - begun) / TRIED_FRAMES
        return seconds, RayCast.peer if software else "vtkOpenGLGPUVolumeRayCastMapper", scene, area

    def aim(self, view: View) -> None:
        """Set the next picture's camera."""
        self._scene.aim(view)

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Draw."""
        return self._area.img_cols_rows[0]  # type: ignore[no-any-return]


class Area:
    """What trame-rca asks for pictures and gives events to.

    Parameters
    ----------
    drawing
        Draws.
    first
        The view to change.
    """

    def __init__(self, drawing: Planes | Volumes, first: View) -> None:
        self._drawing = drawing
        self._view = first
        self._revision = 0
        self.revisions: dict[int, int] = {}  # by the picture's identity, until it is encoded

    @property
    def img_cols_rows(self) -> tuple[npt.NDArray[np.uint8], int, int]:
        """Draw the latest view."""
        picture = self._drawing.pixels()
        self.revisions[id(picture)] = self._revision
        return picture, picture.shape[1], picture.shape[0]

    def process_resize_event(self, width: int, height: int) -> None:
        """Keep the size: it is the benchmark's."""

    def process_interaction_event(self, event: dict[str, Any]) -> None:
        """Take a camera."""
        camera = Camera(tuple(event["position"]), tuple(event["look_at"]), tuple(event["up"]), event["scale"])
        self._view = replace(self._view, camera=camera)
        self._revision = event["revision"]
        self._drawing.aim(self._view)


class RevisionEncoder:
    """trame-rca's encoder, with the revision in the metadata."""

    def __init__(self, area: Area, name: str) -> None:
        self._area = area
        self._encoder = RcaImageEncoder(name)

    def encode(self, picture: Any, cols: int, rows: int, quality: int) -> tuple[bytes, dict[str, Any], int]:
        """Encode; on a thread of trame-rca's."""
        revision = self._area.revisions.pop(id(picture))
        content, meta, time_ms = self._encoder.encode(picture, cols, rows, quality)
        return content, {**meta, "revision": revision}, time_ms


def _first_view(volume: Volume, work: str, side_px: int) -> View:
    viewport = Viewport(side_px, side_px)
    if work == "mpr":
        camera = oriented_camera(Orientation.FEET, volume.geometry, viewport)
        return View(camera, viewport, (Layer(volume.id),), RenderingMethod.AVERAGE_IP, 0.0)
    camera = oriented_camera(Orientation.ANTERIOR, volume.geometry, viewport)
    layer = Layer(volume.id, transfer_function=load_preset("CT-AAA"))
    return View(camera, viewport, (layer,), RenderingMethod.VOLUME_RENDERED, None)


def main() -> int:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream_trame_server", description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--side-px", type=int, required=True)
    options = parser.parse_args()
    if not os.environ.get("DISPLAY"):
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")  # VTK's guess is X, which ends here
    volume = torso_volume(tuple(options.shape))
    first = _first_view(volume, options.work, options.side_px)
    drawing = (Planes if options.work == "mpr" else Volumes)(volume, first, options.threads)
    area = Area(drawing, first)
    sys.argv = sys.argv[:1]  # trame reads it too
    server = get_server()
    server.enable_module(module)

    async def ready(**_: Any) -> None:
        scheduler = RcaImageRenderScheduler(area, rca_encoder=drawing.encoder)
        scheduler._rca_encoder = RevisionEncoder(area, drawing.encoder)
        server.controller.rc_area_register(RcaViewAdapter(area, AREA, scheduler=scheduler))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: sys.exit(0))
        affine = volume.geometry.patient_from_voxel.tolist()
        said = {"port": server.port, "volume_id": volume.id, "peer": drawing.peer, "patient_from_voxel": affine}
        print(json.dumps(said), flush=True)

    server.controller.on_server_ready.add_task(ready)
    server.start(port=0, host="127.0.0.1", open_browser=False, show_connection_info=False, timeout=0)
    return 0


if __name__ == "__main__":
    sys.exit(main())

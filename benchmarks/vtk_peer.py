"""VTK drawing the same View: vtkImageReslice for planes and slabs, its ray casters for the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from render.transfer import TransferFunction
from render.view import RenderingMethod, View
from render.volume import Volume

NOTHING = -32768
ROUNDING = 1e-12
"""Of a unit vector's components."""


class VtkPeer:
    """VTK with a volume, ready to draw.

    Its renderers get the voxels as 16-bit modality values, on a grid with true spacing, and the volume's axes as a
    matrix. A sheared grid would go through `vtkImageReslice` only.

    Parameters
    ----------
    volume
        What to draw.
    threads
        Of each renderer.
    """

    def __init__(self, volume: Volume, threads: int) -> None:
        values = volume.codes.astype(np.float64) * volume.slope + volume.intercept
        self._values = np.clip(np.rint(np.nan_to_num(values)), -32768, 32767).astype(np.int16)
        affine = volume.geometry.patient_from_voxel
        self._lengths = np.linalg.norm(affine[:3, :3], axis=0)
        self._patient_from_grid = affine @ np.diag([*1 / self._lengths, 1.0])
        self._image = vtk.vtkImageData()
        self._image.SetDimensions(*volume.geometry.shape[::-1])
        self._image.SetSpacing(*self._lengths)
        self._image.GetPointData().SetScalars(numpy_to_vtk(self._values.reshape(-1)))
        self._threads = threads

    def plane(self, view: View, step_mm: float, samples: int) -> Resliced:
        """Return what draws a thin plane (`samples` 1) or a slab of so many."""
        return Resliced(self._image, self._patient_from_grid, view, step_mm, samples, self._threads)

    def rays(self, view: View, step_mm: float) -> RayCast:
        """Return what draws a MIP or a volume rendering, this view of it first; `aim` sets others."""
        return RayCast(self._scene(view), step_mm, self._threads)

    def opengl(self, view: View, step_mm: float) -> OpenGlRayCast:
        """Return what draws the same through OpenGL."""
        return OpenGlRayCast(self._scene(view), step_mm)

    def _scene(self, view: View) -> Scene:
        span = int(self._values.min()), int(self._values.max())
        return Scene(self._image, self._patient_from_grid, span, view)


class Resliced:
    """`vtkImageReslice`, linear.

    Its rays are parallel. A thin plane in perspective is the same picture all the same, since the samples lie on the
    plane; a slab in perspective is not: the peer takes as many samples, but of the parallel slab.

    Along the grid's axes, and only there, it centres an even number of samples half a step before the plane; it is
    given a plane so much further on, so that the pictures are the same.
    """

    peer = "vtkImageReslice"

    def __init__(
        self,
        image: Any,
        patient_from_grid: npt.NDArray[np.float64],
        view: View,
        step_mm: float,
        samples: int,
        threads: int,
    ) -> None:
        self._grid_from_patient = np.linalg.inv(patient_from_grid)
        self._filter = vtk.vtkImageReslice()
        self._filter.SetInputData(image)
        self._filter.SetInterpolationModeToLinear()
        self._filter.SetOutputDimensionality(2)
        self._filter.SetBackgroundLevel(NOTHING)
        self._filter.SetOutputOrigin(0, 0, 0)
        self._filter.SetOutputExtent(0, view.viewport.width_px - 1, 0, view.viewport.height_px - 1, 0, 0)
        self._filter.SetEnableSMP(False)
        self._filter.SetNumberOfThreads(threads)
        self._step_mm = step_mm
        self._samples = samples
        is_same = view.camera.fov_deg is None or samples == 1
        self.picture_is = "same" if is_same else "parallel slab"
        if samples > 1:
            self._filter.SetSlabNumberOfSlices(samples)
            if view.rendering_method is RenderingMethod.AVERAGE_IP:
                self._filter.SetSlabModeToMean()
            else:
                self._filter.SetSlabModeToMax()
        self.aim(view)
        self.draw()  # the warm-up

    def aim(self, view: View) -> None:
        """Set the next frame's plane."""
        plane = view.plane
        pose = np.eye(4)
        pose[:3, :3] = np.stack([plane.row_direction, plane.column_direction, view.camera.basis[2]], axis=1)
        pose[:3, 3] = plane.top_left_mm
        axes = self._grid_from_patient @ pose
        axes[:3, :3][np.abs(axes[:3, :3]) < ROUNDING] = 0  # VTK is faster along the axes, if they are so exactly
        if self._samples % 2 == 0 and np.count_nonzero(axes[:3, :3]) == 3:
            axes[:3, 3] += axes[:3, 2] * (self._step_mm / 2)
        matrix = vtk.vtkMatrix4x4()
        matrix.DeepCopy(axes.ravel().tolist())
        self._filter.SetResliceAxes(matrix)
        self._filter.SetOutputSpacing(plane.pixel_spacing_mm[1], plane.pixel_spacing_mm[0], self._step_mm or 1.0)

    def draw(self) -> None:
        """Draw it."""
        self._filter.Update()

    def picture(self) -> npt.NDArray[np.int16]:
        """Return the values last drawn, shape (H, W)."""
        output = self._filter.GetOutput()
        width, height, _ = output.GetDimensions()
        picture: npt.NDArray[np.int16] = vtk_to_numpy(output.GetPointData().GetScalars()).reshape(height, width)
        return picture


class Scene:
    """A volume before a camera, in a window off the screen; a mapper is still to be set.

    Parameters
    ----------
    image, patient_from_grid
        The volume.
    span
        Its least and greatest value.
    view
        Of its kind will all pictures be: a MIP, or a volume rendering with this transfer function.
    """

    def __init__(
        self, image: Any, patient_from_grid: npt.NDArray[np.float64], span: tuple[int, int], view: View
    ) -> None:
        self.image = image
        self.first = view
        appearance = vtk.vtkVolumeProperty()
        appearance.SetInterpolationTypeToLinear()
        if view.is_color:
            function = view.layers[0].transfer_function
            assert function is not None
            _set_curves(appearance, function)
        else:
            ramp, gray = vtk.vtkPiecewiseFunction(), vtk.vtkColorTransferFunction()
            for value, level in zip(span, (0.0, 1.0), strict=True):
                ramp.AddPoint(value, level)
                gray.AddRGBPoint(value, level, level, level)
            appearance.SetScalarOpacity(ramp)
            appearance.SetColor(gray)
        self.volume = vtk.vtkVolume()
        self.volume.SetProperty(appearance)
        matrix = vtk.vtkMatrix4x4()
        matrix.DeepCopy(patient_from_grid.ravel().tolist())
        self.volume.SetUserMatrix(matrix)
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetSize(view.viewport.width_px, view.viewport.height_px)
        self.window.AddRenderer(self.renderer)

    def show(self, mapper: Any, step_mm: float) -> None:
        """Draw with this mapper from now on, the first view at once: it computes normals, sizes its picture."""
        mapper.SetInputData(self.image)
        mapper.AutoAdjustSampleDistancesOff()
        mapper.SetImageSampleDistance(1)
        mapper.SetSampleDistance(step_mm)
        if not self.first.is_color:
            mapper.SetBlendModeToMaximumIntensity()
        self.volume.SetMapper(mapper)
        self.renderer.AddVolume(self.volume)
        self.aim(self.first)
        self.window.Render()

    def aim(self, view: View) -> None:
        """Set the next frame's camera."""
        camera = self.renderer.GetActiveCamera()
        camera.SetPosition(*view.camera.position)
        camera.SetFocalPoint(*view.camera.look_at)
        camera.SetViewUp(*view.camera.up)
        if view.camera.fov_deg is None:
            camera.ParallelProjectionOn()
            camera.SetParallelScale(view.camera.parallel_scale_mm)
        else:
            camera.ParallelProjectionOff()
            camera.SetViewAngle(view.camera.fov_deg)
        self.renderer.ResetCameraClippingRange()

    def picture(self) -> npt.NDArray[np.uint8]:
        """Return what the window shows, RGB, shape (H, W, 3)."""
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        output = grab.GetOutput()
        width, height, _ = output.GetDimensions()
        picture: npt.NDArray[np.uint8] = vtk_to_numpy(output.GetPointData().GetScalars()).reshape(height, width, -1)
        return picture[::-1]


class RayCast:
    """`vtkFixedPointVolumeRayCastMapper`, which works on the processor.

    Only its ray casting is timed, by the calls that VTK's own multi-block mapper makes; what it takes to bring
    the picture through OpenGL to a window, in software here, is not. Its samples begin where a ray enters the volume.
    """

    peer = "vtkFixedPointVolumeRayCastMapper"
    picture_is = "same view"

    def __init__(self, scene: Scene, step_mm: float, threads: int) -> None:
        self._scene = scene
        self._mapper = vtk.vtkFixedPointVolumeRayCastMapper()
        self._mapper.SetNumberOfThreads(threads)
        self._mapper.SetInteractiveSampleDistance(step_mm)
        scene.show(self._mapper, step_mm)

    def aim(self, view: View) -> None:
        """Set the next frame's camera."""
        self._scene.aim(view)

    def draw(self) -> None:
        """Cast the rays."""
        self._mapper.PerVolumeInitialization(self._scene.renderer, self._scene.volume)
        self._mapper.PerSubVolumeInitialization(self._scene.renderer, self._scene.volume, 0)
        self._mapper.RenderSubVolume()

    def picture(self) -> npt.NDArray[np.uint8]:
        """Return what a window shows of it, RGB, shape (H, W, 3)."""
        return self._scene.picture()


class OpenGlRayCast:
    """`vtkOpenGLGPUVolumeRayCastMapper`, on whatever OpenGL there is: software, on a machine without a card."""

    peer = "vtkOpenGLGPUVolumeRayCastMapper"

    def __init__(self, scene: Scene, step_mm: float) -> None:
        self._scene = scene
        mapper = vtk.vtkOpenGLGPUVolumeRayCastMapper()
        mapper.LockSampleDistanceToInputSpacingOff()
        scene.show(mapper, step_mm)

    @property
    def device(self) -> str:
        """Name OpenGL's renderer."""
        lines = self._scene.window.ReportCapabilities().splitlines()
        return next((line.partition(":")[2].strip() for line in lines if "renderer string" in line), "unknown")

    def aim(self, view: View) -> None:
        """Set the next frame's camera."""
        self._scene.aim(view)

    def draw(self) -> None:
        """Draw into the window, and wait until it is done."""
        self._scene.window.Render()
        self._scene.window.WaitForCompletion()

    def picture(self) -> npt.NDArray[np.uint8]:
        """Return what the window shows, RGB, shape (H, W, 3)."""
        return self._scene.picture()


def _set_curves(appearance: Any, function: TransferFunction) -> None:
    opacity, color = vtk.vtkPiecewiseFunction(), vtk.vtkColorTransferFunction()
    for value, alpha in function.opacity_points:
        opacity.AddPoint(value, alpha)
    for value, red, green, blue in function.color_points:
        color.AddRGBPoint(value, red, green, blue)
    appearance.SetScalarOpacity(opacity)
    appearance.SetScalarOpacityUnitDistance(1.0)
    appearance.SetColor(color)
    if function.shading is None:
        appearance.ShadeOff()
        return
    appearance.ShadeOn()
    appearance.SetAmbient(function.shading.ambient)
    appearance.SetDiffuse(function.shading.diffuse)
    appearance.SetSpecular(function.shading.specular)
    appearance.SetSpecularPower(function.shading.shininess)

"""Colour images as volumes: drawn pixel for pixel they are the decoded pixels, and what has no colour is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from render.backends.channels import ColorVolume
from render.backends.cpu import CpuRenderer
from render.dicom.header import quiet_pydicom
from render.dicom.ingest import Ingest
from render.dicom.picture import read_picture
from render.dicom.source import scan
from render.encoding import Encoding, encode
from render.encoding.pictures import decode_rgba
from render.errors import UnsupportedError, VolumeNotFoundError
from render.frame import Frame
from render.initial_views import acquisition_camera
from render.view import Layer, RenderingMethod, View, Viewport
from render.volume import Volume, VoxelType
from tests.dicom.synthetic import slice_dataset


@pytest.fixture
def renderer() -> Iterator[CpuRenderer]:
    with contextlib.closing(CpuRenderer(1)) as made:
        yield made


@pytest.fixture(scope="module")
def ingest() -> Iterator[Ingest]:
    with Ingest(1) as made:
        yield made


def drawn(renderer: CpuRenderer, volume: Volume, size: tuple[int, int] | None = None) -> Frame:
    _, rows, columns = volume.geometry.shape
    viewport = Viewport(*(size or (columns, rows)))
    view = View(
        acquisition_camera(volume.geometry, viewport), viewport, (Layer(volume.id),), RenderingMethod.AVERAGE_IP
    )
    resident = renderer.upload(volume)
    try:
        return renderer.render(view, {volume.id: resident})
    finally:
        renderer.release(resident)


def write_colour(path: Path, pixels: np.ndarray, **attributes: object) -> None:
    """Write an RGB image, or one of what `attributes` say; pixels of shape (frames, rows, columns, samples)."""
    dataset = slice_dataset(pixels[0, ..., 0], "1.2.5.1", "1.2.5")
    del dataset.FrameOfReferenceUID
    dataset.Modality = "US"
    dataset.NumberOfFrames = len(pixels)
    dataset.SamplesPerPixel = pixels.shape[3]
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    file = pydicom.dataset.FileDataset(str(path), dataset, preamble=b"\0" * 128, file_meta=Dataset())
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    file.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    raw = pixels.tobytes()
    file.PixelData = raw + b"\0" * (len(raw) % 2)
    file["PixelData"].VR = "OB"
    file.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("size", [None, (40, 31), (64, 64)])
def test_at_rest_one_pixel_a_voxel_is_what_was_decoded(
    tmp_path: Path, renderer: CpuRenderer, ingest: Ingest, size: tuple[int, int] | None
) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (1, 17, 23, 3), np.uint8)
    write_colour(tmp_path / "a.dcm", pixels)
    (series,) = ingest.scan(tmp_path).series
    assert (series.kind, series.reason) == ("image", "")
    volume = ingest.load(series.volumes[0])
    assert volume.voxel_type is VoxelType.RGB8
    np.testing.assert_array_equal(volume.codes, pixels)
    frame = drawn(renderer, volume, size)
    sent = encode(frame, Encoding.VALUES_DEFLATE)
    assert sent.encoding is Encoding.RGBA_DEFLATE
    assert sent.lossless
    shown = decode_rgba(sent.payload, sent.width_px, sent.height_px, deflated=True)
    inside = shown[..., 3] == 255
    assert inside.sum() == 17 * 23
    np.testing.assert_array_equal(shown[inside][:, :3].reshape(17, 23, 3), pixels[0])
    assert not shown[~inside].any()


def test_what_it_takes_is_told_beforehand_and_given_back(tmp_path: Path, renderer: CpuRenderer, ingest: Ingest) -> None:
    write_colour(tmp_path / "a.dcm", np.zeros((1, 480, 640, 3), np.uint8))
    (plan,) = ingest.scan(tmp_path).volumes
    volume = ingest.load(plan)
    resident = renderer.upload(volume)
    assert isinstance(resident, ColorVolume)
    assert plan.estimated_bytes == volume.nbytes == 480 * 640 * 3
    assert volume.nbytes < resident.nbytes <= renderer.estimate_bytes(plan.estimated_bytes, 1)
    renderer.release(resident)
    for part in resident.parts:
        with pytest.raises(VolumeNotFoundError), part.in_use():
            pass


def test_a_colour_image_is_not_volume_rendered(tmp_path: Path, renderer: CpuRenderer, ingest: Ingest) -> None:
    write_colour(tmp_path / "a.dcm", np.zeros((1, 4, 4, 3), np.uint8))
    volume = ingest.load(ingest.scan(tmp_path).volumes[0])
    viewport = Viewport(8, 8)
    view = View(
        acquisition_camera(volume.geometry, viewport),
        viewport,
        (Layer(volume.id),),
        RenderingMethod.VOLUME_RENDERED,
        None,
    )
    with pytest.raises(UnsupportedError, match="a colour image has no values"):
        renderer.render(view, {volume.id: renderer.upload(volume)})


def test_frames_in_time_are_a_cine_of_colours(tmp_path: Path, ingest: Ingest) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (3, 4, 6, 3), np.uint8)
    write_colour(tmp_path / "a.dcm", pixels, FrameTime=40)
    (series,) = ingest.scan(tmp_path).series
    assert series.kind == "cine"
    for n, plan in enumerate(series.volumes):
        assert dict(plan.info.extra) == {"Frame": str(n + 1)}
        np.testing.assert_array_equal(ingest.load(plan).codes, pixels[n : n + 1])


@pytest.mark.parametrize(("dtype", "stored"), [("u1", 8), ("u2", 12), ("u2", 16), ("u4", 32)])
def test_of_deeper_colours_the_highest_8_bits_are_shown(
    tmp_path: Path, ingest: Ingest, dtype: str, stored: int
) -> None:
    colours = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3) * 5
    depth = {"BitsStored": stored, "HighBit": stored - 1}
    write_colour(tmp_path / "a.dcm", colours.astype(dtype) << (stored - 8), **depth)
    (plan,) = scan(tmp_path).volumes
    np.testing.assert_array_equal(ingest.load(plan).codes, colours)


@pytest.mark.parametrize(
    ("attributes", "samples", "reason"),
    [
        ({"PhotometricInterpretation": "HSV"}, 3, "HSV, 3 samples a pixel: no colour that is known"),
        ({"PhotometricInterpretation": "CMYK"}, 4, "CMYK, 4 samples a pixel: no colour that is known"),
        ({"PhotometricInterpretation": "MONOCHROME2"}, 3, "MONOCHROME2, 3 samples a pixel: no colour that is known"),
        ({"PhotometricInterpretation": "RGB"}, 1, "RGB, 1 samples a pixel: no colour that is known"),
    ],
)
def test_no_colour_that_is_known(tmp_path: Path, attributes: dict[str, str], samples: int, reason: str) -> None:
    write_colour(tmp_path / "a.dcm", np.zeros((1, 4, 4, samples), np.uint8), **attributes)
    (series,) = scan(tmp_path).series
    assert (series.volumes, series.reason) == ((), reason)


@pytest.mark.data
def test_real_colour_images_equal_their_pictures(real_data: Path, renderer: CpuRenderer, ingest: Ingest) -> None:
    seen = set()
    found = scan(real_data / "codecs_ct_and_colour")
    for plan in found.volumes:
        if not plan.values.is_color:
            continue
        (source,) = plan.slices
        if source.frame.number > 2:
            continue
        with quiet_pydicom():
            picture = read_picture(plan.root, source.instance, source.frame.number)
        volume = ingest.load(plan)
        np.testing.assert_array_equal(volume.codes[0], picture.pixels, err_msg=source.instance.path)
        right_mm, down_mm, _ = plan.geometry.spacing_mm
        if right_mm != down_mm:
            continue  # a pixel of the screen is square
        frame = drawn(renderer, volume)
        np.testing.assert_array_equal(frame.color[..., :3], picture.pixels, err_msg=source.instance.path)
        assert (frame.color[..., 3] == 255).all()
        seen.add(source.pixels.photometric)
    assert {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "PALETTE COLOR"} <= seen

"""NIfTI: places by the standard's three methods, values by slope and type, and refusals that say why."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from render.backends.cpu.renderer import CpuRenderer
from render.dicom.ingest import Ingest
from render.dicom.pixels import load_volume
from render.dicom.series import Series
from render.dicom.source import scan
from render.errors import CodecError
from render.view import Layer, Orientation, RenderingMethod, View, Viewport, oriented_camera

CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280}
SFORM = np.array([[2.0, 0, 0, -10], [0, 3, 0, -20], [0, 0, 4, -30]])


def nifti(
    voxels: npt.NDArray[Any],
    *,
    version: int = 1,
    order: str = "<",
    sform: npt.NDArray[np.float64] | None = SFORM,
    qform: tuple[float, ...] | None = None,
    pixdim: tuple[float, ...] = (1, 2, 3, 4),
    slope: tuple[float, float] = (0, 0),
    units: int = 2,
    cal: tuple[float, float] = (0, 0),
    datatype: int | None = None,
    dim: tuple[int, ...] | None = None,
    magic: bytes = b"n+",
) -> bytes:
    """Return a NIfTI file of voxels of shape (..., K, J, I); `qform` is quatern_b, c, d and the offsets."""
    size, offset = (348, 352) if version == 1 else (540, 544)
    header = bytearray(offset)

    def put(at: int, layout: str, *values: float) -> None:
        struct.pack_into(order + layout, header, at, *values)

    first, second = version == 1, version == 2
    put(0, "i", size)
    sizes = dim or (voxels.ndim, *voxels.shape[::-1])
    sizes = (*sizes, *[1] * (8 - len(sizes)))
    put(*((40, "8h") if first else (16, "8q")), *sizes)
    put(70 if first else 12, "h", CODES[voxels.dtype.str[1:]] if datatype is None else datatype)
    put(*((76, "4f") if first else (104, "4d")), *pixdim)
    put(*((108, "f") if first else (168, "q")), 0 if magic == b"ni" else offset)
    put(*((112, "2f") if first else (176, "2d")), *slope)
    put(*((124, "2f") if first else (192, "2d")), *cal)
    put(*((123, "b") if first else (500, "i")), units)
    put(*((252, "2h") if first else (344, "2i")), int(qform is not None), int(sform is not None))
    put(*((256, "6f") if first else (352, "6d")), *(qform or [0] * 6))
    put(*((280, "12f") if first else (400, "12d")), *(np.zeros(12) if sform is None else sform.ravel()))
    put(344 if first else 4, "4s", magic + (b"1\0" if first else b"2\0"))  # type: ignore[arg-type]
    data = voxels.astype(voxels.dtype.newbyteorder(order)).tobytes()
    assert second or first
    return bytes(header) + (b"" if magic == b"ni" else data)


def series_of(path: Path, content: bytes) -> Series:
    path.write_bytes(content)
    (series,) = scan(path).series
    return series


def ramp(shape: tuple[int, ...], dtype: str = "i2") -> npt.NDArray[Any]:
    return np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)


@pytest.mark.parametrize("dtype", sorted(CODES))
@pytest.mark.parametrize(
    ("version", "order", "is_gzip"), [(1, "<", False), (1, ">", True), (2, "<", True), (2, ">", False)]
)
def test_every_type_version_and_order_gives_the_values(
    tmp_path: Path, dtype: str, version: int, order: str, is_gzip: bool
) -> None:
    voxels = ramp((3, 4, 5), dtype)
    content = nifti(voxels, version=version, order=order, slope=(0.5, -7))
    series = series_of(tmp_path / "x.nii.gz", gzip.compress(content) if is_gzip else content)
    (plan,) = series.volumes
    np.testing.assert_array_equal(load_volume(plan).values(), (voxels * 0.5 - 7).astype(np.float32))
    np.testing.assert_allclose(plan.geometry.to_patient([1, 1, 1]), (8, 17, -26))


def test_a_slope_of_0_scales_nothing_and_nan_is_invalid(tmp_path: Path) -> None:
    voxels = ramp((3, 4, 5), "f4")
    voxels[1, 2, 3] = np.nan
    (plan,) = series_of(tmp_path / "x.nii", nifti(voxels, slope=(0, 100))).volumes
    np.testing.assert_array_equal(load_volume(plan).codes, voxels)


def test_the_sform_counts_before_the_qform_and_that_before_the_spacing(tmp_path: Path) -> None:
    voxels, half = ramp((3, 4, 5)), np.sqrt(0.5)
    turned = (0.0, 0.0, half, 1.0, 2.0, 3.0)  # a quarter turn about the third axis
    both = series_of(tmp_path / "a.nii", nifti(voxels, qform=turned)).volumes[0]
    np.testing.assert_allclose(both.geometry.patient_from_voxel[:3], SFORM * [[-1], [-1], [1]])
    (quaternion,) = series_of(tmp_path / "b.nii", nifti(voxels, sform=None, qform=turned)).volumes
    np.testing.assert_allclose(
        quaternion.geometry.patient_from_voxel[:3], [[0, 3, 0, -1], [-2, 0, 0, -2], [0, 0, 4, 3]], atol=1e-6
    )
    neither = series_of(tmp_path / "c.nii", nifti(voxels, sform=None))
    np.testing.assert_allclose(neither.volumes[0].geometry.patient_from_voxel, np.diag([-2, -3, 4, 1]))
    assert neither.warnings == ("neither sform nor qform: the voxel axes are taken for right, front and head, from 0",)


def test_a_negative_qfac_turns_the_third_axis(tmp_path: Path) -> None:
    content = nifti(ramp((3, 4, 5)), sform=None, qform=(0, 0, 0, 0, 0, 0), pixdim=(-1, 2, 3, 4))
    (plan,) = series_of(tmp_path / "x.nii", content).volumes
    np.testing.assert_allclose(plan.geometry.patient_from_voxel, np.diag([-2, -3, -4, 1]))


@pytest.mark.parametrize(("units", "mm"), [(0, 1), (1, 1000), (2, 1), (3, 0.001), (2 | 8, 1)])
def test_lengths_are_mm_whatever_the_header_counts_in(tmp_path: Path, units: int, mm: float) -> None:
    sform = SFORM * 10 if units == 3 else SFORM
    (plan,) = series_of(tmp_path / "x.nii", nifti(ramp((3, 4, 5)), sform=sform * 100, units=units)).volumes
    scale = 1000 if units == 3 else 100
    np.testing.assert_allclose(plan.geometry.spacing_mm, np.array([2, 3, 4]) * scale * mm)


def test_a_sheared_sform_is_kept(tmp_path: Path) -> None:
    sform = SFORM.copy()
    sform[1, 2] = 1.5
    (plan,) = series_of(tmp_path / "x.nii", nifti(ramp((3, 4, 5)), sform=sform)).volumes
    assert plan.geometry.is_sheared
    np.testing.assert_allclose(plan.geometry.patient_from_voxel[:3, 2], (0, -1.5, 4))


def test_more_dimensions_are_volumes_with_a_named_index(tmp_path: Path) -> None:
    voxels = ramp((2, 3, 3, 4, 5))
    series = series_of(tmp_path / "x.nii.gz", gzip.compress(nifti(voxels)))
    assert [plan.info.extra for plan in series.volumes] == [{"Volume": str(n)} for n in range(1, 7)]
    assert len({plan.id for plan in series.volumes}) == 6
    for plan, expected in zip(series.volumes, voxels.reshape(6, 3, 4, 5), strict=True):
        np.testing.assert_array_equal(load_volume(plan, threads=2).codes, expected)


def test_workers_load_a_deflated_file(tmp_path: Path) -> None:
    voxels = ramp((7, 4, 5))
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(nifti(voxels)))
    with Ingest(2) as ingest:
        (plan,) = ingest.scan(tmp_path).volumes
        np.testing.assert_array_equal(ingest.load(plan).codes, voxels)


@pytest.mark.parametrize(("datatype", "samples"), [(128, 3), (2304, 4)])
@pytest.mark.parametrize("is_gzip", [False, True])
def test_colours_are_voxels_of_red_green_and_blue(tmp_path: Path, datatype: int, samples: int, is_gzip: bool) -> None:
    voxels = ramp((3, 4, 5, samples), "u1")
    content = nifti(voxels, datatype=datatype, dim=(3, 5, 4, 3))
    series = series_of(tmp_path / "x.nii", gzip.compress(content) if is_gzip else content)
    (plan,) = series.volumes
    assert plan.shape == (3, 4, 5)
    np.testing.assert_array_equal(load_volume(plan).codes, voxels[..., :3])
    assert series.warnings == (("RGBA32 voxels: their alpha is not drawn",) if samples == 4 else ())
    cut = series_of(tmp_path / "cut.nii", content[:-1])
    assert cut.reason == f"truncated: voxels of {60 * samples} bytes, {60 * samples - 1} there"


class TestPairs:
    @pytest.mark.parametrize("chosen", ["", "x.hdr", "x.img"])
    def test_header_and_image_are_one_series(self, tmp_path: Path, chosen: str) -> None:
        voxels = ramp((3, 4, 5))
        (tmp_path / "x.hdr").write_bytes(nifti(voxels, magic=b"ni"))
        (tmp_path / "x.img").write_bytes(voxels.tobytes())
        found = scan(tmp_path / chosen)
        (series,) = found.series
        assert (series.paths, found.files, found.skipped) == (("x.hdr", "x.img"), 2, ())
        np.testing.assert_array_equal(load_volume(series.volumes[0]).codes, voxels)

    def test_a_header_without_its_image_says_so(self, tmp_path: Path) -> None:
        series = series_of(tmp_path / "x.hdr", nifti(ramp((3, 4, 5)), magic=b"ni"))
        assert (series.kind, series.reason) == ("other", "x.img, which has the voxels, is missing")

    def test_an_image_that_is_a_link_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "root").mkdir()
        (tmp_path / "secret").write_bytes(ramp((3, 4, 5)).tobytes())
        (tmp_path / "root" / "x.hdr").write_bytes(nifti(ramp((3, 4, 5)), magic=b"ni"))
        (tmp_path / "root" / "x.img").symlink_to(tmp_path / "secret")
        found = scan(tmp_path / "root")
        assert found.volumes == ()
        assert [(file.path, file.reason) for file in found.skipped] == [("x.img", "symbolic link: not followed")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"datatype": 32}, "complex64 voxels: complex is not rendered"),
        ({"datatype": 7}, "NIfTI datatype 7: unknown"),
        ({"dim": (1, 60)}, "60 x 1 x 1 values in a row: no image"),
        ({"dim": (0, 5)}, "dim is 0, 5, 1, 1, 1, 1, 1, 1: no sizes of a volume"),
        ({"dim": (3, 5, -4, 3)}, "dim is 3, 5, -4, 3, 1, 1, 1, 1: no sizes of a volume"),
        ({"dim": (4, 5, 4, 3, 20_000)}, "20,000 volumes in one file: over 10,000"),
        ({"dim": (3, 500, 400, 300)}, "truncated: voxels of 120,000,000 bytes, 120 there"),
        ({"sform": np.zeros((3, 4))}, "patient_from_voxel: degenerate axes"),
        ({"sform": np.full((3, 4), np.inf)}, "the affine from voxel to space is not finite"),
        ({"sform": None, "qform": (0, 0, 0, 0, 0, 0), "pixdim": (1, 0, 3, 4)}, "patient_from_voxel: degenerate axes"),
    ],
)
def test_what_is_no_volume_says_why(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    series = series_of(tmp_path / "x.nii", nifti(ramp((3, 4, 5)), **changes))
    assert (series.kind, series.volumes) == ("other", ())
    assert series.reason.startswith(reason)


def test_values_of_a_surface_are_no_image(tmp_path: Path) -> None:
    series = series_of(tmp_path / "x.nii", nifti(ramp((6, 1, 1707), "u1")))
    assert series.reason == "1707 x 1 x 6 values: those of a surface's points, no image"


def test_a_deflated_file_can_not_ask_for_more_than_deflate_can_give(tmp_path: Path) -> None:
    content = gzip.compress(nifti(ramp((3, 4, 5)), dim=(3, 32_000, 32_000, 32_000)))
    assert series_of(tmp_path / "x.nii.gz", content).reason.startswith("truncated: voxels of 65,536,000,000,000 bytes")


def test_truncated_and_damaged_streams_are_typed(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    voxels = np.random.default_rng(3).integers(-2000, 2000, (6, 40, 50)).astype("i2")
    whole = gzip.compress(nifti(voxels))
    for broken in (whole[: len(whole) // 2], whole[:6000] + b"\xff" * 200 + whole[6200:]):
        path.write_bytes(broken)
        (plan,) = scan(path).volumes
        with pytest.raises(CodecError, match=r"^x\.nii\.gz: .*(truncated|damaged)"):
            load_volume(plan, threads=1)


def test_a_gzip_file_of_something_else_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"hello" * 300))
    (tmp_path / "y.gz").write_bytes(b"\x1f\x8b and nothing more of it")
    assert [file.reason for file in scan(tmp_path).skipped] == [
        "not DICOM: a gzip file that holds no NIfTI volume",
        "not DICOM: a gzip file that can't be inflated",
    ]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_headers_never_raise(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(nifti(ramp((3, 4, 5)), version=data.draw(st.sampled_from([1, 2]))))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "x.nii"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    found = scan(path)
    assert found.files == 1
    for plan in found.volumes[:3]:
        assert load_volume(plan, threads=1).geometry.shape == plan.shape


@pytest.mark.data
class TestRealFiles:
    def test_24_axis_orders_are_one_volume(self, real_data: Path) -> None:
        plans = scan(real_data / "nifti" / "orientations_24").volumes
        assert len(plans) == 24
        reference = canonical(plans[0])
        for plan in plans[1:]:
            voxels, affine = canonical(plan)
            np.testing.assert_array_equal(voxels, reference[0])
            np.testing.assert_allclose(affine, reference[1], atol=1e-4)

    def test_24_axis_orders_render_alike(self, real_data: Path) -> None:
        plans = scan(real_data / "nifti" / "orientations_24").volumes
        frames = []
        with contextlib.closing(CpuRenderer(2)) as renderer:
            for plan in plans:
                resident = renderer.upload(load_volume(plan))
                for name in (Orientation.FEET, Orientation.LEFT):
                    camera = oriented_camera(name, plan.geometry, Viewport(80, 80))
                    for method, slab_mm in ((RenderingMethod.AVERAGE_IP, 0.0), (RenderingMethod.MAXIMUM_IP, None)):
                        view = View(camera, Viewport(80, 80), (Layer(plan.id),), method, slab_mm)
                        frames.append(renderer.render(view, {plan.id: resident}).pixels)
                renderer.release(resident)
        first, *others = np.array(frames, np.float32).reshape(24, 4, 80, 80)
        assert np.nanmax(first) - np.nanmin(first) > 50
        for pictures in others:
            # A pixel on the very edge may fall to either side of it.
            assert (np.isnan(pictures) != np.isnan(first)).mean() < 0.005
            known = ~(np.isnan(pictures) | np.isnan(first))
            assert (np.abs(pictures - first)[known] < 0.05).mean() > 0.999

    def test_a_gantry_tilt_keeps_its_shear(self, real_data: Path) -> None:
        (plan,) = scan(real_data / "nifti" / "volumes" / "shear.nii.gz").volumes
        assert plan.geometry.is_sheared
        assert plan.shape == (54, 422, 306)
        values = load_volume(plan).values()
        assert (values.min(), values.max()) == (-1024, pytest.approx(789))

    def test_a_map_in_colour(self, real_data: Path) -> None:
        (plan,) = scan(real_data / "nifti" / "volumes" / "ct_perfusion.nii.gz").volumes
        codes = load_volume(plan).codes
        assert codes.shape == (15, 286, 256, 3)
        content = gzip.decompress((real_data / "nifti" / "volumes" / "ct_perfusion.nii.gz").read_bytes())
        assert codes.tobytes() == content[352 : 352 + codes.size]
        assert (codes[..., 0] != codes[..., 2]).any()

    def test_refusals_have_their_reason(self, real_data: Path) -> None:
        found = scan(real_data / "nifti")
        reasons = {Path(series.paths[0]).name: series.reason for series in found.series if series.reason}
        assert reasons == {
            "nifti1.hdr": "nifti1.img, which has the voxels, is missing",
            "complex.nii.gz": "complex64 voxels: complex is not rendered",
            "pval.LH.nii.gz": "27307 x 1 x 6 values: those of a surface's points, no image",
        }
        counts = {Path(series.paths[0]).name: len(series.volumes) for series in found.series if len(series.volumes) > 1}
        assert counts == {"pcasl.nii.gz": 10, "functional.nii": 20, "example_nifti2.nii.gz": 2}


def canonical(plan: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Return codes and affine with each axis along the patient axis that it is nearest to."""
    volume = load_volume(plan)
    codes, affine = volume.codes.transpose(2, 1, 0), plan.geometry.patient_from_voxel.copy()
    axes = min(
        itertools.permutations(range(3)), key=lambda axes: -sum(abs(affine[n, axis]) for n, axis in enumerate(axes))
    )
    codes, affine = codes.transpose(axes), affine[:, [*axes, 3]]
    for axis in range(3):
        if affine[axis, axis] < 0:
            codes = np.flip(codes, axis)
            affine[:3, 3] += affine[:3, axis] * (codes.shape[axis] - 1)
            affine[:3, axis] *= -1
    return codes, affine

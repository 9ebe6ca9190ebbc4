"""What the host fills in is what the kernels read."""

from __future__ import annotations

import ctypes
import dataclasses
import re

import numpy as np
import pytest

from render.backends import rays
from render.backends.cuda.grid import levels
from render.backends.cuda.kernels import KERNELS, launch_grid, source, text
from render.backends.cuda.parameters import (
    PARAMETERS,
    SHADED_MARGIN,
    SHADED_REACH,
    TABLE_ENTRY,
    plan_frame,
    table_entries,
    table_range,
)
from render.backends.tables import ENTRIES, transfer_tables
from render.frame import FINAL, Quality
from tests import phantoms
from tests.backends.cuda.host_shim import Kernels
from tests.backends.scenes import SOFT, WORKS, make_view, slanted_camera
from tests.phantoms import GRIDS, INT16, INT16_PADDED


def compiled_fields(kernels: Kernels) -> dict[str, tuple[int, int]]:
    """Offset and size of each field of the compiled struct."""
    name, offset, size = ctypes.c_char_p(), ctypes.c_int(), ctypes.c_int()
    pointers = [ctypes.byref(value) for value in (name, offset, size)]
    count = kernels.library.parameter_field(-1, *pointers)
    result = {}
    for n in range(count):
        kernels.library.parameter_field(n, *pointers)
        assert name.value is not None
        result[name.value.decode()] = (offset.value, size.value)
    return result


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("texture", [False, True], ids=["exact", "texture"])
def test_every_field_lies_where_the_kernel_reads_it(host_kernels, dtype, texture) -> None:
    kernels = host_kernels(dtype, texture)
    assert PARAMETERS.fields is not None
    expected = {name: (offset, field.itemsize) for name, (field, offset, *_) in PARAMETERS.fields.items()}
    assert compiled_fields(kernels) == expected
    assert kernels.library.parameter_bytes() == PARAMETERS.itemsize
    assert kernels.argument_bytes("thin")[0] == PARAMETERS.itemsize


def test_a_table_entry_is_as_large_as_the_kernels(host_kernels) -> None:
    assert host_kernels("int16", False).library.entry_bytes() == TABLE_ENTRY.itemsize == 8


def test_the_struct_declares_the_fields_in_the_same_order() -> None:
    body = text("parameters.cuh").partition("struct Parameters {")[2].partition("};")[0]
    declared = re.findall(r"(\w+)(?:\[\d+\])?[,;]", re.sub(r"//.*", "", body))
    assert tuple(declared) == PARAMETERS.names


@pytest.mark.parametrize("module", KERNELS)
def test_a_module_has_the_kernels_it_is_said_to_have(module, host_kernels) -> None:
    found = re.findall(r'extern "C" __global__ void (\w+)\(', source(module))
    assert tuple(found) == KERNELS[module]
    for name in found:
        assert host_kernels("int16", False).argument_bytes(name)


def test_a_source_needs_no_other_file_and_has_each_header_once() -> None:
    for module in KERNELS:
        assert "#include" not in source(module)
        assert source(module).count("struct Parameters {") == (module != "picture")


def test_an_argument_of_another_size_is_refused(host_kernels) -> None:
    """What a Python int would be to CuPy: 64 bits where the kernel takes 32."""
    kernels = host_kernels("int16", False)
    values, gray = np.zeros(4, np.float32), np.zeros(4, np.uint8)
    arguments = [values, gray, np.int64(4), np.float64(0), np.float64(1), np.int32(0), np.int32(0)]
    kernels.launch("gray8", (1,), *arguments)
    arguments[5] = np.int64(0)
    with pytest.raises(AssertionError, match="gray8"):
        kernels.launch("gray8", (1,), *arguments)


def test_each_view_has_its_kernel() -> None:
    volume = phantoms.blobs(GRIDS["oblique"], INT16_PADDED, holes=0.1)
    tables = transfer_tables(SOFT, 0.45, 1.0, 0.0, (-1000, 1000))
    kernels = {}
    for work in WORKS:
        view = make_view(volume, work, slanted_camera(volume.geometry))
        plan = plan_frame(view, volume, has_invalid=True, quality=FINAL, tables=tables)
        kernels[work] = plan.kernel
        assert plan.shape_px == (29, 37)
        assert int(plan.parameters["invalid_code"]) == -2000
    assert kernels == {
        "thin": "thin",
        "slab_max": "extreme",
        "slab_min": "extreme",
        "slab_mean": "mean",
        "max": "extreme",
        "min": "extreme",
        "mean": "mean",
        "color": "composite",
        "color_shaded": "composite_shaded",
    }


def test_each_field_of_the_block_has_its_value() -> None:
    """The block is filled in runs of one type: a value too many or too few would move all that follow."""
    volume = phantoms.blobs(GRIDS["oblique"], INT16_PADDED, holes=0.1)
    tables = transfer_tables(SOFT, 0.45, 1.0, 0.0, (-1000, 1000))
    view = make_view(volume, "color_shaded", slanted_camera(volume.geometry))
    camera = dataclasses.replace(view.camera, parallel_scale_mm=None, fov_deg=30.0)
    view = dataclasses.replace(view, camera=camera, layers=(dataclasses.replace(view.layers[0], opacity=0.75),))
    plan = plan_frame(view, volume, has_invalid=True, quality=FINAL, tables=tables)
    block, geometry = plan.parameters, volume.geometry
    p = rays.ray_parameters(geometry, camera, view.plane, plan.shape_px, plan.lattice)
    function = view.layers[0].transfer_function
    assert function is not None
    assert function.shading is not None
    axes = geometry.patient_from_voxel[:3, :3]
    probe = geometry.smallest_spacing_mm / 2 / np.linalg.norm(axes, axis=0)
    grid = levels(geometry.shape)
    fine, coarse = grid[plan.segments.fine], grid[plan.segments.coarse]
    expected = {
        **{name: p[at : at + 3] for name, at in (("origin", rays.ORIGIN), ("column", rays.COLUMN), ("row", rays.ROW))},
        **{name: p[at : at + 3] for name, at in (("step", rays.STEP), ("eye", rays.EYE), ("size", rays.SIZE))},
        "eye_right_mm": p[rays.EYE_RIGHT],
        "eye_down_mm": p[rays.EYE_DOWN],
        "spacing_right_mm": p[rays.SPACING_RIGHT],
        "spacing_down_mm": p[rays.SPACING_DOWN],
        "eye_distance2_mm2": p[rays.EYE_DISTANCE2],
        "step_mm": plan.lattice.step_mm,
        "lattice": p[rays.LATTICE],
        "first": p[rays.FIRST],
        "last": p[rays.LAST],
        "scale": volume.slope,
        "offset": volume.intercept,
        "sign": 1,
        **dict(zip(("table_low", "table_scale", "table_last"), table_range(tables), strict=True)),
        "layer_opacity": 0.75,
        "floor2": function.gradient_floor**2,
        **{name: getattr(function.shading, name) for name in ("ambient", "diffuse", "specular", "shininess")},
        "probe": probe,
        "gradient": (np.linalg.inv(axes).T * (volume.slope / (2 * probe))).ravel(),
        "ahead": p[rays.AHEAD : rays.AHEAD + 9],
        "margin": SHADED_MARGIN,
        "reach": SHADED_REACH,
        "fine_per_voxel": 1 / fine.size,
        "coarse_per_voxel": 1 / coarse.size,
        "perspective": 1,
        "width": 37,
        "height": 29,
        "invalid_code": -2000,
        "has_invalid": 1,
        "fine_grid": fine.shape[::-1],
        "coarse_grid": coarse.shape[::-1],
        "segment": plan.segments.samples,
        "coarse_segments": plan.segments.coarse_segments,
    }
    assert set(expected) == set(PARAMETERS.names or ())
    for name, value in expected.items():
        np.testing.assert_allclose(block[name], value, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(("work", "slope", "greatest"), [("max", 1, 1), ("max", -1, 0), ("min", 1, 0), ("min", -1, 1)])
def test_a_negative_slope_turns_greatest_into_least(work, slope, greatest) -> None:
    volume = dataclasses.replace(phantoms.blobs(GRIDS["oblique"], INT16), slope=float(slope))
    view = make_view(volume, work, slanted_camera(volume.geometry))
    assert plan_frame(view, volume, has_invalid=False, quality=FINAL).takes_greatest == bool(greatest)


def test_coarse_rays_are_fewer_and_their_steps_longer() -> None:
    volume = phantoms.blobs(GRIDS["oblique"], INT16)
    view = make_view(volume, "max", slanted_camera(volume.geometry))
    fine = plan_frame(view, volume, has_invalid=False, quality=FINAL)
    coarse = plan_frame(view, volume, has_invalid=False, quality=Quality(ray_stride=3, step_factor=2.0))
    assert coarse.shape_px == (10, 13)
    np.testing.assert_allclose(coarse.parameters["step"], 2 * fine.parameters["step"])
    np.testing.assert_allclose(coarse.parameters["row"], 3 * fine.parameters["row"])
    assert coarse.segments.samples < fine.segments.samples


def test_a_table_keeps_opacity_and_colour() -> None:
    tables = transfer_tables(SOFT, 0.5, 1.0, 0.0, (-1000, 2000))
    entries = table_entries(tables)
    assert entries.shape == (ENTRIES,)
    np.testing.assert_array_equal(entries["opacity"], tables.opacity)
    ends = np.array([entries["color"][0] >> 21, entries["color"][-1] >> 21]) / 2047
    np.testing.assert_allclose(ends, SOFT.color([-1000, 1500])[:, 0], atol=1 / 2047)


def test_a_grid_of_blocks_covers_the_rows() -> None:
    assert launch_grid(1, 1) == (1, 1)
    assert launch_grid(16, 8) == (1, 1)
    assert launch_grid(17, 9) == (2, 2)

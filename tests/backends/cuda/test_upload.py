"""What is made of a volume once, and of a transfer function once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from render.backends import histogram
from render.backends.base import Statistics
from render.backends.cuda import grid
from render.backends.cuda.parameters import table_range
from render.backends.tables import transfer_tables
from render.transfer import TransferFunction, load_preset
from render.volume import Volume
from tests import phantoms
from tests.backends.cuda.shim_renderer import EMPTY, INVALID, ShimRenderer, visible_flags
from tests.phantoms import FLOAT32, INT16, INT16_PADDED, INT16_RESCALED, Storage
from tests.phantoms import grid as geometry_of

VISIBLE = 1
STORAGES = {"int16": INT16, "int16_padded": INT16_PADDED, "float32": FLOAT32}


def volume_with_holes(shape: tuple[int, int, int], storage: Storage) -> Volume:
    """Noise with single holes, one large one, and all of a brick's neighbourhood without a value."""
    values = np.random.default_rng(7).normal(0, 400, shape)
    if storage is not INT16:
        values[np.random.default_rng(8).random(shape) < 0.002] = np.nan
        values[: shape[0] // 2, :17, :17] = np.nan
    if storage is FLOAT32:
        values[-1, -1, -1], values[-1, 0, 0] = np.inf, -np.inf  # no values either
    return phantoms.store("holes", geometry_of(shape, (1.0, 1.0, 1.0)), values, storage)


def valid_of(volume: Volume) -> np.ndarray:
    return ~np.isnan(volume.values())


@pytest.mark.parametrize("stored", STORAGES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 8, 8), (9, 17, 33), (40, 5, 70), (20, 41, 19)], ids=str)
def test_a_brick_bounds_itself_and_its_next_neighbours(host_kernels, stored, shape) -> None:
    volume = volume_with_holes(shape, STORAGES[stored])
    resident = ShimRenderer(host_kernels).upload(volume)
    valid = valid_of(volume)
    levels = grid.levels(shape)
    assert len(resident.levels) == len(levels)
    assert levels[-1].bricks == 1
    for level, bounds in zip(levels, resident.levels, strict=True):
        for n, (k, j, i) in enumerate(itertools.product(*map(range, level.shape))):
            box = tuple(slice(at * level.size, (at + 2) * level.size) for at in (k, j, i))
            codes = volume.codes[box][valid[box]]
            assert bounds.flags[n] & INVALID == (0 if valid[box].all() else INVALID)
            assert bounds.flags[n] & EMPTY == (0 if codes.size else EMPTY)
            if codes.size:
                assert (bounds.low[n], bounds.high[n]) == (codes.min(), codes.max())
            else:
                assert bounds.low[n] > bounds.high[n]


def test_extreme_codes_are_bounds_too(host_kernels) -> None:
    codes = np.array([[[-32768, 32767, 0]]], np.int16)
    volume = Volume("ends", geometry_of((1, 1, 3), (1.0, 1.0, 1.0)), codes)
    assert ShimRenderer(host_kernels).upload(volume).code_range == (-32768, 32767)


@pytest.mark.parametrize("storage", [INT16, INT16_RESCALED, INT16_PADDED, FLOAT32], ids=lambda s: s.dtype.__name__)
def test_statistics_are_those_of_the_valid_voxels(host_kernels, storage) -> None:
    volume = volume_with_holes((20, 41, 19), storage if storage is not INT16_RESCALED else INT16)
    if storage is INT16_RESCALED:
        volume = Volume("rescaled", volume.geometry, volume.codes, slope=-0.5, intercept=100.0)
    got = ShimRenderer(host_kernels).upload(volume).statistics
    values = volume.values()[valid_of(volume)]
    background = values.min() if volume.slope > 0 else values.max()
    inner = np.sort(values[values != background])
    assert (got.minimum, got.maximum) == (values.min(), values.max())
    low, high = (inner[int(part * (len(inner) - 1))] for part in (0.01, 0.99))
    assert abs(got.low - low) < 0.005 * np.ptp(values)
    assert abs(got.high - high) < 0.005 * np.ptp(values)


def test_statistics_of_nothing_and_of_one_value(host_kernels) -> None:
    where = geometry_of((3, 4, 5), (1.0, 1.0, 1.0))
    renderer = ShimRenderer(host_kernels)
    void = phantoms.store("void", where, np.full(where.shape, np.nan), FLOAT32)
    assert renderer.upload(void).statistics == Statistics(0.0, 0.0, 0.0, 0.0)
    flat = phantoms.store("flat", where, np.full(where.shape, 7.0), FLOAT32)
    assert renderer.upload(flat).statistics == Statistics(7.0, 7.0, 7.0, 7.0)


def test_a_large_volumes_rows_are_counted_by_stride(host_kernels, monkeypatch) -> None:
    monkeypatch.setattr(histogram, "HISTOGRAM_VOXELS", 1000)
    volume = volume_with_holes((20, 41, 19), INT16)
    stride = histogram.histogram_stride(volume.codes.size)
    assert stride == 15
    got = ShimRenderer(host_kernels).upload(volume).statistics
    counted = np.sort(volume.codes.reshape(-1, 19)[::stride].reshape(-1))
    counted = counted[counted != volume.codes.min()]
    assert got.low == counted[int(np.ceil(0.01 * counted.size)) - 1]


@pytest.mark.parametrize("stored", STORAGES)
@pytest.mark.parametrize("preset", ["CT-Bone", "CT-Lung", "a band"])
def test_a_brick_is_visible_where_a_code_of_its_range_has_opacity(host_kernels, stored, preset) -> None:
    band = TransferFunction(((100, 0.0), (101, 1.0), (102, 0.0)), ((0, 1.0, 1.0, 1.0),))
    function = band if preset == "a band" else load_preset(preset)
    volume = volume_with_holes((24, 24, 40), STORAGES[stored])
    volume.codes[12:, 8:, 8:] = (volume.codes[12:, 8:, 8:] * 0.02).astype(volume.codes.dtype)  # bricks of small ranges
    resident = ShimRenderer(host_kernels).upload(volume)
    tables = transfer_tables(function, 0.5, 1.0, 0.0, resident.code_range)
    table = table_range(tables)
    seen = set()
    for bounds in resident.levels:
        run = host_kernels(str(volume.codes.dtype), False)
        flags = visible_flags(run, bounds, tables.cumulated.astype(np.int32), table)
        for n, flag in enumerate(flags):
            assert flag & INVALID == bounds.flags[n] & INVALID
            entries = np.arange(tables.opacity.size)
            first, last = ((float(b[n]) - table[0]) * table[1] + 0.5 for b in (bounds.low, bounds.high))
            inside = (entries >= np.floor(first)) & (entries <= np.floor(last))
            near = (entries >= np.floor(first) - 2) & (entries <= np.floor(last) + 2)
            is_empty = bool(bounds.flags[n] & EMPTY)
            if not is_empty and (tables.opacity[inside] > 0).any():
                assert flag & VISIBLE
            if is_empty or not (tables.opacity[near] > 0).any():
                assert not flag & VISIBLE
            seen.add(bool(flag & VISIBLE))
    assert True in seen
    if preset != "CT-Bone":
        assert seen == {True, False}


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_texels_tell_every_code_apart(host_kernels, dtype) -> None:
    codes = np.linspace(-32768, 32767, 3 * 5 * 7).astype(dtype).reshape(3, 5, 7)
    volume = Volume("codes", geometry_of(codes.shape, (1.0, 1.0, 1.0)), codes)
    resident = ShimRenderer(host_kernels, texture=True).upload(volume)
    texels = resident.texels
    assert texels is not None
    expected = codes.astype(np.int32) + 32768 if dtype == "int16" else codes
    np.testing.assert_array_equal(texels, expected)
    assert len(np.unique(texels)) == codes.size


def test_levels_halve_until_one_brick_is_left() -> None:
    levels = grid.levels((20, 41, 190))
    assert [level.size for level in levels] == [8, 16, 32, 64, 128, 256]
    assert levels[0].shape == (3, 6, 24)
    assert levels[-1].shape == (1, 1, 1)
    assert grid.grid_nbytes((8, 8, 8), 2) == 5


def test_a_segment_fits_into_its_brick() -> None:
    levels = grid.levels((300, 300, 300))
    for along, reach in itertools.product((0.02, 0.5, 1.3, 7.0, 100.0), (0.0, 1.5)):
        got = grid.segments_of(levels, np.array([along, 0.0, along / 2]), reach)
        for level, samples in ((got.fine, got.samples), (got.coarse, got.samples * got.coarse_segments)):
            if level < len(levels) - 1:
                assert along * (samples - 1) + 2 * reach + grid.BOX_SLACK <= levels[level].size - 1
        assert got.samples >= 1
        assert got.coarse >= got.fine

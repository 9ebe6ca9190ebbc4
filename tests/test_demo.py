from __future__ import annotations

import numpy as np
import pytest

from render.demo import EXTENT_MM, NODULE_CENTER_MM, NODULE_RADIUS_MM, torso_volume
from render.demo import torso as torso_module
from render.errors import InvalidArgumentError, RenderCancelledError
from render.volume import Volume

SHAPE = (100, 96, 96)


@pytest.fixture(scope="module")
def torso() -> Volume:
    return torso_volume(SHAPE)


def hu_at(volume: Volume, point_mm: tuple[float, float, float]) -> float:
    """Mean of the voxels within 3 mm."""
    k, j, i = np.indices(volume.geometry.shape)
    distance = np.linalg.norm(volume.geometry.to_patient(np.stack([i, j, k], -1)) - point_mm, axis=-1)
    return float(volume.codes[distance < 3].mean())


def test_it_is_the_same_every_time(torso) -> None:
    again = torso_volume(SHAPE)
    assert again.id == torso.id
    np.testing.assert_array_equal(again.codes, torso.codes)


def test_grid_is_centred_and_along_the_patients_axes(torso) -> None:
    assert torso.codes.dtype == np.int16
    np.testing.assert_allclose(torso.geometry.center_mm, 0, atol=1e-4)
    np.testing.assert_allclose(np.ptp(torso.geometry.corners_mm, axis=0), EXTENT_MM, rtol=1e-6)
    assert np.all(np.diag(torso.geometry.patient_from_voxel)[:3] > 0)


@pytest.mark.parametrize(
    ("what", "point", "low", "high"),
    [
        ("air in front", (0, -170, 0), -1024, -980),
        ("right lung", (-60, 20, 20), -900, -300),
        ("left lung", (60, 20, 20), -900, -300),
        ("trachea", (0, 10, 120), -1010, -850),
        ("apex of the heart, on the left", (50, -48, -48), 60, 380),
        ("no heart on the right", (-70, -60, -30), -900, -600),
        ("descending aorta, left of the spine", (25, 35, 20), 340, 390),
        ("nothing like it on the right", (-25, 35, 20), -900, 60),
        ("liver, on the right", (-70, -10, -120), 70, 110),
        ("spleen, on the left", (100, 30, -100), 90, 135),
        ("vertebra", (0, 54, 40), 150, 500),
    ],
)
def test_organs_are_where_a_patient_has_them(torso, what, point, low, high) -> None:
    assert low < hu_at(torso, point) < high, what


def test_the_nodule_is_a_small_round_thing_in_the_lung() -> None:
    volume = torso_volume((150, 256, 256))
    k, j, i = np.indices((21, 21, 21)) - 10
    offsets = np.stack([i, j, k], -1) * 1.2
    index = np.rint(volume.geometry.to_voxel(np.add(NODULE_CENTER_MM, offsets))).astype(int)
    hu = volume.codes[index[..., 2], index[..., 1], index[..., 0]]
    radius = np.linalg.norm(offsets, axis=-1)
    assert hu[radius < 0.6 * NODULE_RADIUS_MM].min() > 0
    shell = hu[(radius > NODULE_RADIUS_MM + 1.5) & (radius < NODULE_RADIUS_MM + 4)]
    assert np.median(shell) < -700
    assert np.linalg.norm(NODULE_CENTER_MM) > 50


def test_progress_rises_to_one() -> None:
    heard: list[float] = []
    torso_volume((30, 16, 16), progress=heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


@pytest.mark.parametrize("shape", [(4, 64, 64), (64, 64, 4096), (64, 64)])
def test_a_shape_out_of_range_is_refused(shape) -> None:
    with pytest.raises(InvalidArgumentError, match="shape"):
        torso_volume(shape)


def test_what_progress_raises_ends_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    painted: list[int] = []
    paint = torso_module._Painter.paint

    def count(self: torso_module._Painter, codes: np.ndarray, start: int) -> None:
        painted.append(start)
        paint(self, codes, start)

    def give_up(share: float) -> None:
        raise RenderCancelledError("enough")

    monkeypatch.setattr(torso_module._Painter, "paint", count)
    monkeypatch.setattr(torso_module, "available_cores", lambda: 1)
    with pytest.raises(RenderCancelledError, match="enough"):
        torso_volume((600, 64, 64), progress=give_up)
    assert len(painted) < 60

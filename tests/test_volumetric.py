"""PS3.18's words become the View that they mean, or an error that says which word is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from render.errors import InvalidArgumentError
from render.geometry import VolumeGeometry
from render.transfer import WindowFunction, load_preset
from render.view import Orientation, RenderingMethod, View
from render.volume import VolumeInfo
from render.volumetric import VolumetricRequest, parse_vector, parse_viewport, parse_window

GEOMETRY = VolumeGeometry((24, 32, 40), np.diag([2.0, 2.0, 2.0, 1.0]))


def view(request: VolumetricRequest, modality: str = "CT") -> View:
    return request.view("vol", GEOMETRY, VolumeInfo(modality=modality))


def test_a_shift_moves_the_preset_along_the_values() -> None:
    layer = view(VolumetricRequest(False, preset="CT-Bone", shift=200)).layers[0]
    assert layer.transfer_function == load_preset("CT-Bone").shifted(200)
    assert layer.transfer_function != load_preset("CT-Bone")


def test_what_is_not_said_has_its_default() -> None:
    plane, whole = view(VolumetricRequest(True)), view(VolumetricRequest(False))
    assert (plane.rendering_method, plane.slab_mm) == (RenderingMethod.AVERAGE_IP, 0.0)
    assert (whole.rendering_method, whole.slab_mm) == (RenderingMethod.VOLUME_RENDERED, None)
    pet = view(VolumetricRequest(False), "PT")
    assert (pet.rendering_method, pet.layers[0].invert) == (RenderingMethod.MAXIMUM_IP, True)
    for front in (plane, whole):  # from the front onto the centre, the head up
        assert front.camera.look_at == pytest.approx((39, 31, 23))
        assert front.camera.position[1] < 0
        assert front.camera.up == (0, 0, 1)


def test_a_part_of_the_viewpoint_is_completed_by_the_front() -> None:
    camera = view(VolumetricRequest(True, viewpoint_look_at=(30, 20, 10))).camera
    assert camera.look_at == (30, 20, 10)
    assert (camera.position[0], camera.position[2]) == (30, 10)
    assert camera.position[1] < 20


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (VolumetricRequest(True, orientation=Orientation.LEFT, viewpoint_up=(0, 0, 1)), "orientation"),
        (VolumetricRequest(False, slab_mm=3.0), "mprslab"),
        (VolumetricRequest(True, slab_mm=0.0), "mprslab"),
        (VolumetricRequest(True, preset="CT-Bone"), "preset"),
        (VolumetricRequest(False, shift=1.0), "shift"),
        (VolumetricRequest(False, preset="CT-Bone", shift=float("inf")), "shift"),
    ],
)
def test_words_that_exclude_each_other(request_: VolumetricRequest, field: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        view(request_)
    assert caught.value.details["field"] == field


def test_words_are_read() -> None:
    assert parse_vector("1,-2.5, 3") == (1, -2.5, 3)
    window = parse_window("40,400,linear-exact")
    assert (window.center, window.width, window.function) == (40, 400, WindowFunction.LINEAR_EXACT)
    assert (parse_viewport("30,40").width_px, parse_viewport("30,40").height_px) == (30, 40)
    for parse, text in (
        (parse_vector, "1,2"),
        (parse_vector, "1,2,x"),
        (parse_window, "40,400"),
        (parse_window, "40,400,voi-lut"),
        (parse_window, "linear"),
        (parse_viewport, "30"),
        (parse_viewport, "30.5,4"),
    ):
        with pytest.raises(InvalidArgumentError, match="needed"):
            parse(text)  # type: ignore[operator]

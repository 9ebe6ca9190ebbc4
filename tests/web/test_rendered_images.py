"""Rendered instances, frames and thumbnails over DICOMweb."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
from pydicom import dcmread

from render.transfer import Window, WindowFunction
from tests.dicom.synthetic import positions_mm, ramp, write_series
from tests.web.test_rendered import CT, PNG, STORED, TOKEN, asking, shown, write_ct

THIRD = f"{CT}/instances/1.2.3.4.3"
LINEAR = WindowFunction.LINEAR


async def test_an_instance_through_a_window(tmp_path: Path) -> None:
    write_ct(tmp_path, WindowCenter="2050", WindowWidth="100")
    async with asking(tmp_path) as client:
        answer = await client.get(f"{THIRD}/rendered", headers=PNG)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        np.testing.assert_array_equal(
            imagecodecs.png_decode(answer.content), shown(STORED[2], Window(2050, 100, LINEAR))
        )
        words = {"window": "2085,200,linear-exact"}
        expected = shown(STORED[2], Window(2085, 200))
        for path in (f"{THIRD}/rendered", f"{THIRD}/frames/1/rendered"):
            answer = await client.get(path, params=words, headers=PNG)
            np.testing.assert_array_equal(imagecodecs.png_decode(answer.content), expected)
        answer = await client.get(f"{THIRD}/rendered", params={**words, "viewport": "5,4,2,3,-5,4"}, headers=PNG)
        np.testing.assert_array_equal(imagecodecs.png_decode(answer.content), expected[3:7, 6:1:-1])
        assert imagecodecs.png_decode(answer.content).shape == (4, 5)
        answer = await client.get(f"{THIRD}/rendered", params={"viewport": "40,40", "quality": "30"})
        assert imagecodecs.jpeg8_decode(answer.content).shape == (32, 40)

        for words, status, named in (
            ({"window": "1,2"}, 400, "window"),
            ({"viewport": "9,9,90,0,5,5"}, 400, "no pixel"),
            ({"viewport": "9"}, 400, "viewport"),
            ({"quality": "101"}, 400, "quality"),
            ({"annotation": "name"}, 400, "annotation"),
        ):
            answer = await client.get(f"{THIRD}/rendered", params=words)
            assert (answer.status_code, named in answer.json()["message"]) == (status, True), words
        answer = await client.get(f"{THIRD}/rendered", params={"annotation": "patient", "renderingmethod": "any"})
        assert answer.headers["warning"] == '299 voxelcast "annotation is not supported"'
        for path, status in (
            (f"{CT}/instances/1.2.3.4.9/rendered", 404),
            ("/dicomweb/studies/1.2.3/series/9/instances/1.2.3.4.3/rendered", 404),
            (f"{THIRD}/frames/2/rendered", 404),
            (f"{THIRD}/frames/0/rendered", 400),
            (f"{THIRD}/frames/1,2/rendered", 400),
        ):
            assert (await client.get(path)).status_code == status, path


async def test_frames_of_a_cine_are_named_one_by_one(tmp_path: Path) -> None:
    attributes = {"Modality": "XA", "PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 1030, "WindowWidth": 99}
    (path,) = write_series(tmp_path, ramp((1, 6, 5)), **attributes)
    dataset = dcmread(path)
    frames = ramp((3, 6, 5))
    dataset.NumberOfFrames, dataset.PixelData = 3, frames.tobytes()
    dataset.save_as(path)
    instance = f"{CT}/instances/{dataset.SOPInstanceUID}"
    async with asking(tmp_path) as client:
        words = {"window": "1030,100,linear-exact"}
        answer = await client.get(f"{instance}/frames/2/rendered", params=words, headers=PNG)
        np.testing.assert_array_equal(imagecodecs.png_decode(answer.content), 255 - shown(frames[1], Window(1030, 100)))
        answer = await client.get(f"{instance}/rendered")
        assert answer.status_code == 501
        assert "3 frames" in answer.json()["message"]
        middle = await client.get(f"{instance}/thumbnail", headers=PNG)
        same = await client.get(f"{instance}/frames/2/thumbnail", headers=PNG)
        assert middle.content == same.content
        assert middle.content != (await client.get(f"{instance}/frames/1/thumbnail", headers=PNG)).content


async def test_thumbnails_at_each_level_are_small_and_nameless(tmp_path: Path) -> None:
    write_ct(tmp_path, WindowCenter="2085", WindowWidth="200")
    async with asking(tmp_path, token=TOKEN) as client:
        path = f"{THIRD}/thumbnail"
        assert (await client.get(path)).status_code == 401
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        answers = [
            await client.get(f"{level}/thumbnail", params={"viewport": "20,20"}, headers=PNG)
            for level in ("/dicomweb/studies/1.2.3", CT, THIRD, f"{THIRD}/frames/1")
        ]
        for answer in answers:
            picture = imagecodecs.png_decode(answer.content)
            np.testing.assert_array_equal(picture, shown(STORED[2], Window(2085, 200, LINEAR)))
            assert b"Secret" not in answer.content
        answer = await client.get(path)
        assert answer.headers["content-type"] == "image/jpeg"
        assert imagecodecs.jpeg8_decode(answer.content).shape == (205, 256)
        assert (await client.get(path, params={"viewport": "9,9,0,0,3,3"})).status_code == 400
        assert (await client.get("/dicomweb/studies/9/thumbnail")).status_code == 404


async def test_two_files_of_one_uid_are_not_guessed_between(tmp_path: Path) -> None:
    write_ct(tmp_path / "a")
    write_series(tmp_path / "b", STORED + 1, positions=positions_mm(5, (0, 0, 2), (0, 0, 0)), spacing=(2, 2))
    async with asking(tmp_path) as client:
        answer = await client.get(f"{THIRD}/rendered")
    assert answer.status_code == 400
    assert "2 different files" in answer.json()["message"]


async def test_a_colour_image_is_shown_as_it_is(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, ramp((1, 6, 5)).astype("uint8"), Modality="US")
    dataset = dcmread(path)
    pixels = np.random.default_rng(1).integers(0, 256, (6, 5, 3), np.uint8)
    dataset.SamplesPerPixel, dataset.PlanarConfiguration, dataset.PhotometricInterpretation = 3, 0, "RGB"
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path)
    async with asking(tmp_path) as client:
        answer = await client.get(f"{CT}/instances/{dataset.SOPInstanceUID}/rendered", headers=PNG)
    np.testing.assert_array_equal(imagecodecs.png_decode(answer.content), pixels)

"""Rendered volumes over DICOMweb: PS3.18's words in, the exact picture out, and no word ignored that matters."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataset import Dataset
from starlette.exceptions import HTTPException
from starlette.requests import Request

from render.errors import RenderCancelledError
from render.transfer import Window, WindowFunction
from render.web.dicomweb import while_there
from render.web.rendered_query import negotiate
from tests.dicom.synthetic import positions_mm, ramp, write_series
from tests.web.client import served

TOKEN = "correct horse battery"
SHAPE = (5, 16, 20)
STORED = ramp(SHAPE)
CT = "/dicomweb/studies/1.2.3/series/1.2.3.4"
PNG = {"Accept": "image/png"}


def write_ct(folder: Path, **options: Any) -> None:
    """Write voxels of 2 mm, the first at the origin, all values different."""
    places = positions_mm(len(STORED), (0, 0, 2), (0, 0, 0))
    write_series(folder, STORED, positions=places, spacing=(2, 2), **options)


def age(folder: Path) -> None:
    """Give all files another time, whatever the clock's steps are."""
    for path in folder.iterdir():
        os.utime(path, ns=(10**18, 10**18))


@asynccontextmanager
async def asking(root: Path, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with served(roots=(root,), **options) as server:
        assert await asyncio.to_thread(server.engine.catalog.wait_until_scanned, 60)
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client:
            yield client


def shown(stored: npt.NDArray[Any], window: Window) -> npt.NDArray[np.uint8]:
    return window.to_gray8(stored.astype(float))


async def test_a_plane_at_one_pixel_a_voxel_is_the_slice_through_the_window(tmp_path: Path) -> None:
    write_ct(tmp_path)
    words = {"orientation": "f", "viewport": "20,16", "window": "2085,200,linear"}
    async with asking(tmp_path) as client:
        answer = await client.get(f"{CT}/renderedmpr", params=words, headers=PNG)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert answer.headers["vary"] == "Accept"
        assert answer.headers["cache-control"] == "no-store"
        expected = shown(STORED[2], Window(2085, 200, WindowFunction.LINEAR))
        assert 0 < expected.min() < expected.max() < 255
        np.testing.assert_array_equal(imagecodecs.png_decode(answer.content), expected)

        # From the front the head is up: the plane between rows 7 and 8, slices upwards.
        words = {"viewport": "20,5", "viewpointlookat": "19,14,4", "window": "2000,4400,linear-exact"}
        answer = await client.get("/dicomweb/studies/1.2.3/renderedmpr", params=words, headers=PNG)
        expected = shown(STORED[::-1, 7], Window(2000, 4400))
        np.testing.assert_array_equal(imagecodecs.png_decode(answer.content), expected)

        answer = await client.get(f"{CT}/rendered3d", params={"viewport": "40,30", "quality": "50"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert imagecodecs.jpeg8_decode(answer.content).shape == (30, 40, 3)
        maximum = {
            "renderingmethod": "maximum_ip",
            "viewport": "20,16",
            "orientation": "f",
            "window": "4000,600,linear",
        }
        answer = await client.get(f"{CT}/rendered3D", params=maximum, headers=PNG)
        picture = imagecodecs.png_decode(answer.content).astype(int)
        assert np.abs(picture - shown(STORED[-1], Window(4000, 600, WindowFunction.LINEAR))).max() <= 1


async def test_the_metadata_say_what_was_applied(tmp_path: Path) -> None:
    write_ct(tmp_path, WindowCenter="2085", WindowWidth="200")
    asked = {"renderedvolumetricmetadata": "yes"}
    async with asking(tmp_path) as client:
        answer = await client.get(f"{CT}/renderedmpr", params={**asked, "orientation": "f", "mprslab": "3"})
        assert answer.headers["content-type"] == "application/dicom+json"
        (item,) = answer.json()
        plane = Dataset.from_json(item)
        assert (plane.ReformattingOperationType, plane.RenderingMethod) == ("MPR", "AVERAGE_IP")
        assert plane.MPRSlabThickness == 3
        assert (plane.WindowCenter, plane.WindowWidth, plane.VOILUTFunction) == (2085, 200, "LINEAR")
        assert list(plane.ViewpointLookAtPoint) == pytest.approx([19, 15, 4])
        assert list(plane.ViewpointUpDirection) == [0, -1, 0]
        assert plane.ViewpointPosition[2] < 0
        assert (await client.get(f"{CT}/renderedmpr", params={**asked, "orientation": "f", "mprslab": "3"})).json() == [
            item
        ]
        # What it says is what a request may say: the same picture.
        names = {"viewpointposition": "ViewpointPosition", "viewpointlookat": "ViewpointLookAtPoint"}
        names["viewpointup"] = "ViewpointUpDirection"
        words = {word: ",".join(map(repr, map(float, plane[keyword].value))) for word, keyword in names.items()}
        pictures = [
            (await client.get(f"{CT}/renderedmpr", params={"mprslab": "3", **how}, headers=PNG)).content
            for how in (words, {"orientation": "f"}, {"orientation": "h"})
        ]
        assert pictures[0] == pictures[1] != pictures[2]

        whole = Dataset.from_json((await client.get(f"{CT}/rendered3d", params=asked)).json()[0])
        assert (whole.ReformattingOperationType, whole.RenderingMethod) == ("3D_RENDERING", "VOLUME_RENDERED")
        for absent in ("WindowCenter", "VOILUTFunction", "MPRSlabThickness"):
            assert absent not in whole


async def test_words_that_can_not_be_met_are_refused_and_unknown_ones_ignored(tmp_path: Path) -> None:
    write_ct(tmp_path)
    async with asking(tmp_path) as client:
        for words, status, named in (
            ({"orientation": "q"}, 400, "orientation"),
            ({"orientation": "f", "viewpointup": "0,0,1"}, 400, "orientation"),
            ({"viewpointup": "0,0,0"}, 400, "up"),
            ({"viewpointlookat": "1,2"}, 400, "viewpointlookat"),
            ({"viewpointlookat": "1,2,nan"}, 400, "finite"),
            ({"window": "40,400"}, 400, "window"),
            ({"window": "40,0,linear"}, 400, "window"),
            ({"window": "40,400,cubic"}, 400, "window"),
            ({"viewport": "0,10"}, 400, "viewport"),
            ({"viewport": "10,10,0,0,5,5"}, 400, "viewport"),
            ({"viewport": "5000,10"}, 400, "viewport"),
            ({"quality": "0"}, 400, "quality"),
            ({"quality": "high"}, 400, "quality"),
            ({"mprslab": "-1"}, 400, "mprslab"),
            ({"renderingmethod": "MAXIMUM_IP"}, 400, "renderingmethod"),
            ({"annotation": "name"}, 400, "annotation"),
            ({"annotation": ""}, 400, "annotation"),
            ({"renderedvolumetricmetadata": "no"}, 400, "renderedvolumetricmetadata"),
            ({"volumeinputreference": "a"}, 400, "volumeinputreference"),
            ({"volumeinputreference": "1.2.66"}, 400, "reference"),
            ([("window", "1,2,linear"), ("window", "3,4,linear")], 400, "window"),
            ({"animationrate": "10"}, 501, "animationrate"),
            ({"match": "SeriesInstanceUID=1"}, 501, "match"),
        ):
            answer = await client.get(f"{CT}/renderedmpr", params=words)
            assert answer.status_code == status, words
            assert named in answer.json()["message"], words
        assert (await client.get(f"{CT}/rendered3d", params={"mprslab": "3"})).status_code == 400
        answer = await client.get(f"{CT}/renderedmpr", params={"annotation": "patient,technique", "colour": "blue"})
        assert answer.status_code == 200
        assert answer.headers["warning"] == '299 voxelcast "annotation is not supported"'
        for path in ("/dicomweb/studies/1.2.4/rendered3d", "/dicomweb/studies/1.2.3/series/1/renderedmpr"):
            assert (await client.get(path)).status_code == 404
        # An instance is the target where it holds the volume; a slice of one is none.
        assert (await client.get(f"{CT}/instances/1.2.3.4.1/renderedmpr")).status_code == 404


async def test_the_picture_is_of_a_type_that_is_accepted(tmp_path: Path) -> None:
    write_ct(tmp_path)
    async with asking(tmp_path) as client:
        small = {"viewport": "8,8"}
        for accept, media in (("*/*", "image/jpeg"), ("image/*", "image/jpeg"), ("image/png", "image/png")):
            answer = await client.get(f"{CT}/rendered3d", params=small, headers={"Accept": accept})
            assert (answer.status_code, answer.headers["content-type"]) == (200, media)
        answer = await client.get(f"{CT}/rendered3d", params={**small, "accept": "image/png"})
        assert answer.headers["content-type"] == "image/png"
        answer = await client.get(f"{CT}/rendered3d", params=small, headers={"Accept": "application/dicom"})
        assert (answer.status_code, answer.json()["message"]) == (406, "Accept: image/jpeg or image/png needed")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("image/png;q=0.5, image/jpeg;q=0.4", "image/png"),
        ("image/png;q=0.5, */*", "image/jpeg"),
        ("IMAGE/PNG", "image/png"),
        ("image/jpeg;q=0, image/png;q=0.1", "image/png"),
        (None, None),
        ("", None),
        ("image/gif", None),
        ("image/png;q=many", None),
    ],
)
def test_negotiation(accept: str | None, chosen: str | None) -> None:
    if chosen is None:
        with pytest.raises(HTTPException) as caught:
            negotiate(accept, ("image/jpeg", "image/png"))
        assert caught.value.status_code == 406
    else:
        assert negotiate(accept, ("image/jpeg", "image/png")) == chosen


async def test_several_volumes_are_named_and_never_guessed(tmp_path: Path) -> None:
    write_ct(tmp_path / "a")
    write_ct(tmp_path / "b", uid="1.2.3.5", SeriesNumber=8)
    # Another patient's study of the same UIDs, by whoever made them.
    write_ct(tmp_path / "c", uid="1.2.3.4", PatientID="other", StudyInstanceUID="1.2.77")
    write_ct(tmp_path / "d", uid="1.2.3.4", PatientID="third", StudyInstanceUID="1.2.77")
    asked = {"viewport": "8,8"}
    async with asking(tmp_path) as client:
        answer = await client.get("/dicomweb/studies/1.2.3/rendered3d", params=asked)
        assert answer.status_code == 400
        candidates = answer.json()["candidates"]
        assert {each["series"] for each in candidates} == {"1.2.3.4", "1.2.3.5"}
        for each in candidates:
            words = {**asked, "volumeinputreference": each["volumeinputreference"]}
            assert (await client.get("/dicomweb/studies/1.2.3/rendered3d", params=words)).status_code == 200
        assert (await client.get(f"{CT}/rendered3d", params=asked)).status_code == 200
        answer = await client.get("/dicomweb/studies/1.2.77/series/1.2.3.4/rendered3d", params=asked)
        assert answer.status_code == 400
        assert "Secret" not in answer.text


async def test_a_series_that_is_replaced_is_shown_as_it_is_now(tmp_path: Path) -> None:
    write_ct(tmp_path)
    words = {"orientation": "f", "viewport": "20,16", "window": "2085,200,linear"}
    window = Window(2085, 200, WindowFunction.LINEAR)
    async with served(roots=(tmp_path,)) as server:
        assert await asyncio.to_thread(server.engine.catalog.wait_until_scanned, 60)
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client:
            before = await client.get(f"{CT}/renderedmpr", params=words, headers=PNG)
            np.testing.assert_array_equal(imagecodecs.png_decode(before.content), shown(STORED[2], window))
            write_series(tmp_path, STORED + 9, positions=positions_mm(5, (0, 0, 2), (0, 0, 0)), spacing=(2, 2))
            age(tmp_path)
            for _ in range(2):
                await asyncio.to_thread(server.engine.catalog.look_again)
            after = await client.get(f"{CT}/renderedmpr", params=words, headers=PNG)
            np.testing.assert_array_equal(imagecodecs.png_decode(after.content), shown(STORED[2] + 9, window))


async def test_answers_are_counted_by_resource_and_status(tmp_path: Path) -> None:
    write_ct(tmp_path)
    async with asking(tmp_path) as client:
        for words in ({"viewport": "8,8"}, {"viewport": "8,8"}, {"orientation": "q"}, {"animationrate": "1"}):
            await client.get(f"{CT}/rendered3d", params=words)
        await client.get(f"{CT}/renderedmpr", headers={"Accept": "image/gif"})
        await client.get("/dicomweb/studies/9/renderedmpr")
        lines = (await client.get("/metrics")).text.splitlines()
    for resource, status, count in (
        ("rendered3d", 200, 2),
        ("rendered3d", 400, 1),
        ("rendered3d", 501, 1),
        ("renderedmpr", 406, 1),
        ("renderedmpr", 404, 1),
    ):
        name = f'voxelcast_rendered_seconds_count{{resource="{resource}",status="{status}"}}'
        assert f"{name} {float(count)}" in lines
    assert not [line for line in lines if "1.2.3" in line]


async def test_what_an_archive_would_answer_is_told_not_to_be_here(tmp_path: Path) -> None:
    write_ct(tmp_path)
    async with asking(tmp_path, token=TOKEN) as client:
        assert (await client.get("/dicomweb/studies")).status_code == 401
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        for path in ("", "/", "/studies", CT.removeprefix("/dicomweb"), f"{CT.removeprefix('/dicomweb')}/rendered"):
            answer = await client.get(f"/dicomweb{path}")
            assert answer.status_code == 404
            assert "no search, no retrieval" in answer.json()["message"]
        assert (await client.post("/dicomweb/studies")).status_code == 405


async def test_the_token_is_asked_for_before_anything_is_told(tmp_path: Path) -> None:
    write_ct(tmp_path)
    async with asking(tmp_path, token=TOKEN) as client:
        for path in (f"{CT}/rendered3d", "/dicomweb/studies/9/rendered3d", f"{CT}/renderedmpr?orientation=q"):
            assert (await client.get(path)).status_code == 401
        answer = await client.get(
            f"{CT}/rendered3d", params={"viewport": "8,8"}, headers={"Authorization": f"Bearer {TOKEN}"}
        )
        assert answer.status_code == 200


async def test_what_is_not_read_yet_may_be_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ct(tmp_path)
    async with served(roots=(tmp_path,)) as server:
        assert await asyncio.to_thread(server.engine.catalog.wait_until_scanned, 60)
        monkeypatch.setattr(type(server.engine), "is_scanning", property(lambda engine: True))
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
            answer = await client.get("/dicomweb/studies/1.2.99/rendered3d")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"


async def test_work_is_given_up_when_its_client_has_gone() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    messages = [{"type": "http.request", "body": b""}, {"type": "http.disconnect"}]
    with pytest.raises(RenderCancelledError):
        await while_there(Request({"type": "http"}, receive), work())
    assert ended.is_set()

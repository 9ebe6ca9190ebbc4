"""The command line as a user types it: ``main`` with arguments, in this process."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import imagecodecs
import numpy as np
import pytest
from pydicom.uid import JPEGLSLossless

from render import cli
from render.commands import serve
from render.commands.progress import Progress
from render.errors import InvalidArgumentError, InvalidViewError
from tests.dicom.synthetic import ramp, write_series

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``voxelcast`` with arguments; returns exit status, stdout and stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["voxelcast", *map(str, arguments)])
        capsys.readouterr()
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return run


def test_help_lists_the_commands_and_loads_no_heavy_library() -> None:
    code = (
        "import sys; sys.argv = ['voxelcast', '--help']\n"
        "from render import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "assert not {'numba', 'grpc', 'pydicom', 'starlette'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("serve", "demo", "inspect", "render", "doctor"):
        assert name in done.stdout


def render_error(error: tuple[int, str, str]) -> str:
    """Return the one line that a failed command printed."""
    status, out, err = error
    assert status == 1
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("voxelcast: ")]
    assert len(lines) == 1
    assert "Traceback" not in err
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mpr", "--viewpointposition", "nan,0,0"], "finite"),
        (["--mpr", "--viewpointup", "0,0,0"], "no length"),
        (["--mpr", "--viewport", "100000,10"], "100000"),
        (["--mpr", "--orientation", "f", "--viewpointlookat", "0,0,0"], "excludes"),
        (["--mpr", "--mprslab", "-3"], "over 0"),
        (["--mpr", "--mprslab", "nan"], "over 0"),
        (["--3d", "--mprslab", "3"], "MPR"),
        (["--mpr", "--renderingmethod", "volume_rendered"], "slab"),
        (["--3d", "--preset", "CT-Nothing"], "CT-Bone"),
        (["--mpr", "--preset", "CT-Bone"], "volume_rendered"),
        (["--3d", "--shift", "200"], "none is given"),
        (["--3d", "--preset", "CT-Bone", "--shift", "nan"], "not finite"),
        (["--mpr", "--window", "40,0,linear"], "width 0"),
    ],
)
def test_a_bad_view_is_one_line(
    run: Run, small_series: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    line = render_error(run("render", small_series, *arguments, "-o", tmp_path / "out.png"))
    assert message in line
    assert not (tmp_path / "out.png").exists()


def test_bad_words_are_usage_errors(run: Run, small_series: Path, tmp_path: Path) -> None:
    for arguments in (
        ["-o", tmp_path / "x.png"],
        ["--mpr", "--window", "40,400", "-o", tmp_path / "x.png"],
        ["--mpr", "--viewpointup", "0,1", "-o", tmp_path / "x.png"],
        ["--mpr", "--orientation", "q", "-o", tmp_path / "x.png"],
        ["--mpr"],
        ["--mpr", "--3d", "-o", tmp_path / "x.png"],
        ["--mpr", "--threads", "0", "-o", tmp_path / "x.png"],
    ):
        status, _, err = run("render", small_series, *arguments)
        assert status == 2
        assert "Error" in err
    assert "one of --mpr and --3d is needed, not both" in run("render", small_series, "--3d", "--mpr", "-o", "x.png")[2]
    for command in ("serve", "demo"):
        status, _, err = run(command, small_series, "--threads", "0")
        assert status == 2
        assert "--threads" in err


def test_an_ending_that_names_no_format_is_refused_before_any_work(run: Run, tmp_path: Path) -> None:
    line = render_error(run("render", tmp_path / "absent", "--mpr", "-o", tmp_path / "out.bmp"))
    assert ".bmp" in line


@pytest.mark.parametrize("option", ["-o", "--metadata"])
def test_a_place_that_can_not_be_written_is_noticed_before_any_work(run: Run, tmp_path: Path, option: str) -> None:
    (tmp_path / "folder.png").mkdir()
    good = ["-o", tmp_path / "good.png"] if option == "--metadata" else []
    for place, message in (("gone/out.png", "no folder"), ("folder.png", "a folder")):
        error = run("render", tmp_path / "absent", "--mpr", *good, option, tmp_path / place)
        line = render_error(error)
        assert line.startswith(f"voxelcast: {option} {tmp_path / place}: ")
        assert message in line
    line = render_error(run("render", tmp_path / "absent", "--mpr", "-o", tmp_path / "good.png"))
    assert f"no such file or folder: {tmp_path / 'absent'}" in line
    assert not (tmp_path / "good.png").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to(run: Run, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    line = render_error(run("render", tmp_path / "absent", "--mpr", "-o", tmp_path / "locked" / "out.png"))
    assert "Permission denied" in line


def test_a_folder_without_dicom_and_a_path_that_is_not_there(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    render_error(run("render", tmp_path, "--mpr", "-o", tmp_path / "out.png"))
    render_error(run("render", tmp_path / "absent", "--mpr", "-o", tmp_path / "out.png"))


def test_every_format_and_its_metadata(run: Run, small_series: Path, tmp_path: Path) -> None:
    metadata = tmp_path / "plane.json"
    for ending in ("png", "jpg", "tiff", "npy"):
        file = tmp_path / f"plane.{ending}"
        status, _, err = run("render", small_series, "--mpr", "--viewport", "40,30", "-o", file, "--metadata", metadata)
        assert status == 0, err
    plane = np.load(tmp_path / "plane.npy")
    assert plane.shape == (30, 40)
    assert plane.dtype == np.float32
    assert np.isfinite(plane).any()
    said = json.loads(metadata.read_text())
    assert said["row_direction"] == pytest.approx([1, 0, 0])
    assert said["column_direction"] == pytest.approx([0, 1, 0])
    assert said["pixel_spacing_mm"][0] == said["pixel_spacing_mm"][1] > 0
    assert said["rendering_method"] == "average_ip"
    assert said["slab_mm"] == 0
    import imagecodecs
    import tifffile

    gray = imagecodecs.imread(tmp_path / "plane.png")
    window = said["window"]
    assert gray.shape == (30, 40)
    assert np.array_equal(tifffile.imread(tmp_path / "plane.tiff"), gray)
    from render.transfer import Window, WindowFunction

    expected = Window(window["center"], window["width"], WindowFunction(window["function"])).to_gray8(plane)
    assert np.array_equal(gray, expected)


def test_volume_rendering_to_values_is_rgba(run: Run, small_series: Path, tmp_path: Path) -> None:
    file = tmp_path / "volume.npy"
    status, _, err = run("render", small_series, "--3d", "--preset", "CT-Bone", "--viewport", "40,30", "-o", file)
    assert status == 0, err
    picture = np.load(file)
    assert picture.shape == (30, 40, 4)
    assert picture.dtype == np.uint8
    assert picture[..., 3].max() > 0


def test_inspect_names_the_volume_and_no_patient(run: Run, small_series: Path) -> None:
    status, out, _ = run("inspect", small_series, "--json")
    assert status == 0
    report = json.loads(out)
    assert [series["kind"] for series in report["series"]] == ["volume"]
    status, table, _ = run("inspect", small_series)
    assert status == 0
    (series,) = report["series"]
    assert series["uid"] in table
    assert "series      7  volume" in table
    assert f"id {series['volumes'][0]['id']}" in table
    for text in (out, table):
        assert "Secret^Name" not in text


def test_inspect_goes_on_where_something_may_not_be_read(
    run: Run, small_series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    write_series(root / "open", uid="1.2.1")
    write_series(root / "shut", uid="1.2.2")
    lstat = Path.lstat

    def denied(path: Path) -> os.stat_result:  # a folder that may be listed, but not entered; root may do anything
        if path.parent.name == "shut":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", denied)
    status, table, err = run("inspect", root)
    assert status == 1
    assert "uid 1.2.1" in table
    assert "    shut/slice000.dcm: can't be read: Permission denied" in table
    first = root / "shut" / "slice000.dcm"
    assert err.splitlines()[-1] == f"voxelcast: permission denied: {first} and 3 more may not be read"
    status, out, _ = run("inspect", root, "--json")
    assert status == 1
    assert [series["uid"] for series in json.loads(out)["series"]] == ["1.2.1"]


def test_a_way_that_may_not_be_gone_is_one_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, **_: object) -> os.stat_result:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "stat", denied)
    path = tmp_path / "shut" / "a.dcm"
    assert render_error(run("inspect", path)) == f"voxelcast: can't be read: {path}: Permission denied"


def test_serve_says_that_it_has_no_root(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    class Rooted:
        def __init__(self, *roots: Path) -> None:
            self.catalog = self
            self.roots = roots

    for roots, said in (
        ((), ["no ROOT was given: there is nothing to show but what clients upload"]),
        ((tmp_path,), []),
    ):
        caplog.clear()
        asyncio.run(serve._prepare(cast(Any, Rooted(*roots)), Progress(io.StringIO())))
        assert [record.getMessage() for record in caplog.records] == said


def test_the_columns_of_inspect_hold_the_longest_kind(run: Run, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", uid="1.2.1", SeriesNumber=2000)
    mapping = "1.2.840.10008.5.1.4.1.1.67"
    write_series(tmp_path / "rwvm", ramp((1, 6, 5)), uid="1.2.2", SOPClassUID=mapping, SeriesNumber=None)
    _, table, _ = run("inspect", tmp_path)
    heads = [line for line in table.splitlines() if line.startswith("series")]
    assert [head.split()[1:3] for head in heads] == [["2000", "volume"], ["-", "real_world_value_mapping"]]
    assert len({head.index("files") for head in heads}) == 1


def test_inspect_shows_who_it_is_only_when_asked(run: Run, small_series: Path) -> None:
    _, table, _ = run("inspect", small_series, "--identify")
    assert "    patient name Secret^Name, id phantom, birth_date -" in table
    _, out, _ = run("inspect", small_series, "--identify", "--json")
    (series,) = json.loads(out)["series"]
    assert series["patient"] == {"name": "Secret^Name", "id": "phantom", "birth_date": ""}


def test_inspect_draws_the_middle_slice_with_square_pixels(run: Run, small_series: Path, tmp_path: Path) -> None:
    _, table, _ = run("inspect", small_series, "--thumbnails", tmp_path / "new" / "pictures")
    assert "    thumbnail series001.png" in table
    picture = imagecodecs.png_decode((tmp_path / "new" / "pictures" / "series001.png").read_bytes())
    assert picture.shape == (64, 48)  # 40 rows of 0.8 mm, 48 columns of 0.5 mm
    assert picture[int(14 * 1.6), 30] == 255  # the ball
    assert picture[0, 0] == 0


def test_inspect_says_which_picture_it_could_not_draw(run: Run, tmp_path: Path) -> None:
    (path,) = write_series(tmp_path / "in", ramp((1, 6, 5)), transfer_syntax=JPEGLSLossless)
    content = bytearray(path.read_bytes())
    at = content.index(b"\xff\xda")
    content[at : at + 2] = b"\xff\xff"
    path.write_bytes(content)
    _, out, _ = run("inspect", tmp_path / "in", "--json", "--thumbnails", tmp_path / "out")
    (series,) = json.loads(out)["series"]
    assert series["thumbnail"].startswith("no picture: slice000.dcm: ")
    status, _, err = run("inspect", tmp_path / "in", "--thumbnails", path / "below")
    assert status == 1
    assert f"--thumbnails {path / 'below'}: can't be written" in err


@pytest.mark.data
def test_inspect_says_what_labels_there_are_and_of_what(run: Run, real_data: Path) -> None:
    folder = real_data / "petct_acrin_fusion" / "seg_on_ct"
    _, out, _ = run("inspect", folder, "--json")
    (series,) = json.loads(out)["series"]
    assert (series["kind"], series["reason"]) == (
        "segmentation",
        "Segmentation Storage: not an image or a stack of images",
    )
    (labels,) = series["labels"]
    segment, (referenced,) = labels["segments"][0], labels["referenced_series"]
    assert segment["voxels"] > 0
    _, table, _ = run("inspect", folder)
    assert f"    labels of series {referenced}\n" in table
    assert f"    segment 1: {segment['name']}, {segment['voxels']} voxels, {segment['ml']:.3f} ml" in table


@pytest.mark.data
def test_inspect_draws_colour(run: Run, real_data: Path, tmp_path: Path) -> None:
    path = real_data / "codecs_ct_and_colour" / "us_multiframe" / "DIRW0007"
    _, out, _ = run("inspect", path, "--json", "--thumbnails", tmp_path)
    (series,) = json.loads(out)["series"]
    assert (series["kind"], series["frames"], series["thumbnail"]) == ("cine", 65, "series001.png")
    picture = imagecodecs.png_decode((tmp_path / "series001.png").read_bytes())
    assert picture.shape[2] == 3
    assert max(picture.shape) == 256


def test_inspect_names_phases_and_does_not_list_hundreds(run: Run, tmp_path: Path) -> None:
    for n in range(15):
        write_series(
            tmp_path / str(n), ramp((1, 6, 5)), uid=f"1.2.7.{n}", SeriesInstanceUID="1.2.7", TriggerTime=str(n)
        )
    _, table, _ = run("inspect", tmp_path)
    assert ", TriggerTime 11, id " in table
    assert ", TriggerTime 12, id " not in table
    assert "    ... 3 more volumes" in table
    _, out, _ = run("inspect", tmp_path, "--json")
    (series,) = json.loads(out)["series"]
    assert [volume["phase"] for volume in series["volumes"]] == [{"TriggerTime": str(n)} for n in range(15)]


def test_errors_carry_their_class_in_both_directions() -> None:
    import pickle

    error = InvalidViewError("camera.up has no length", field="camera.up")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is InvalidViewError
    assert again.message == error.message
    assert again.details == {"field": "camera.up"}
    assert not isinstance(again, InvalidArgumentError)


@pytest.mark.data
def test_a_whole_pet_is_an_inverted_projection_unless_told_otherwise(run: Run, real_data: Path, tmp_path: Path) -> None:
    metadata = tmp_path / "view.json"
    options = ["--3d", "--viewport", "32,32", "-o", tmp_path / "pet.png", "--metadata", metadata]
    for words, method, inverted in (
        ([], "maximum_ip", True),
        (["--renderingmethod", "maximum_ip"], "maximum_ip", False),
        (["--preset", "MR-Default"], "volume_rendered", False),
    ):
        status, _, err = run("render", real_data / "petct_acrin_fusion" / "pet_ac", *options, *words)
        assert status == 0, err
        said = json.loads(metadata.read_text())
        assert (said["rendering_method"], said["inverted"]) == (method, inverted)


def test_the_module_is_the_command(tmp_path: Path) -> None:
    write_series(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "render.cli", "inspect", str(tmp_path), "--json"], capture_output=True, check=True
    )
    assert json.loads(done.stdout)["files"] == 4


def test_names_and_descriptions_do_not_steer_the_terminal(run: Run, tmp_path: Path) -> None:
    write_series(tmp_path, SeriesDescription="a\x1b[31mred")
    (tmp_path / "notes\x1b[2J.txt").write_text("x")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("x")
    status, table, _ = run("inspect", tmp_path)
    assert status == 0
    assert "\x1b" not in table
    assert "a?[31mred" in table
    assert "    notes?[2J.txt: not DICOM" in table
    assert "    ?.txt: not DICOM" in table
    assert len(json.loads(run("inspect", tmp_path, "--json")[1])["skipped"]) == 2

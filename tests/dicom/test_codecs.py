"""What a codestream announces is checked before a decoder may allocate it; corrupt ones raise, never crash."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from render.dicom.access import PixelFiles
from render.dicom.codecs import decode, decoder_of
from render.dicom.codestream import codestream_size, first_codestream_size
from render.dicom.extent import PixelExtent
from render.dicom.header import quiet_pydicom
from render.dicom.instance import Instance
from render.dicom.pixels import load_volume
from render.dicom.reading import read_header
from render.dicom.series import select
from render.dicom.source import scan
from render.errors import CodecError, NotAVolumeError
from tests.dicom.synthetic import ENCODERS, NATIVE, ramp, write_series


@pytest.mark.parametrize("syntax", ENCODERS)
def test_the_announced_size_is_that_of_the_image(syntax: str) -> None:
    stream = bytes(ENCODERS[syntax](ramp((1, 17, 23), "uint16")[0]))
    assert codestream_size(stream) == (17, 23)
    for length in range(24):
        assert codestream_size(stream[:length]) is None


def test_a_baseline_jpeg_with_its_tables_first() -> None:
    stream = imagecodecs.jpeg8_encode(np.zeros((17, 23, 3), np.uint8))
    assert codestream_size(stream) == (17, 23)
    assert codestream_size(b"\xff\xd8\xff" + stream[2:]) == (17, 23)


@pytest.mark.parametrize(("profile", "size"), [(60, (17, 23)), (5000, (17, 23)), (60_000, (17, 23)), (66_000, None)])
def test_a_size_behind_colour_profiles_is_found_as_far_as_is_searched(
    profile: int, size: tuple[int, int] | None
) -> None:
    jpeg = imagecodecs.jpeg8_encode(np.zeros((17, 23, 3), np.uint8))
    markers = b"".join(
        b"\xff\xe2" + (length + 2).to_bytes(2, "big") + bytes(length)
        for length in (min(60_000, profile), max(profile - 60_000, 0))
    )
    stream = jpeg[:2] + markers + jpeg[2:]
    start = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0" + len(stream).to_bytes(4, "little")
    assert first_codestream_size(io.BytesIO(start + stream), PixelExtent(0, None, 1)) == size


@pytest.mark.parametrize("stream", [b"", b"\xff", b"\0" * 100, b"\xff\xd8" + b"\xff" * 50, b"\xff\xd8\xff\xe0\0\0" * 9])
def test_what_is_no_codestream_announces_nothing(stream: bytes) -> None:
    assert codestream_size(stream) is None


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1])
def test_a_codestream_that_announces_a_huge_image_is_refused_before_it_is_decoded(
    tmp_path: Path, syntax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = write_series(tmp_path, ramp((1, 17, 23)), transfer_syntax=syntax)
    data = path.read_bytes()
    size = (23).to_bytes(4, "big") + (17).to_bytes(4, "big") if syntax == JPEG2000Lossless else b"\0\x11\0\x17"
    huge = b"\0\0\xff\xff\0\0\xff\xff" if syntax == JPEG2000Lossless else b"\xff\xff\xff\xff"
    at = data.index(size, data.index(b"\xe0\x7f\x10\x00"))
    plan = select(scan(tmp_path))
    status = path.stat()
    path.write_bytes(data[:at] + huge + data[at + len(huge) :])
    with pytest.raises(NotAVolumeError, match=r"codestream of 65535 x 65535 pixels, 17 x 23 by the header"):
        select(scan(tmp_path))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as a later frame's would, it comes to the decoder
    monkeypatch.setattr("render.dicom.codecs._CODECS", dict.fromkeys([syntax], pytest.fail))
    with pytest.raises(CodecError, match=r"codestream of 65535 x 65535 pixels, 17 x 23 expected"):
        load_volume(plan)


def test_rows_and_columns_that_rle_can_not_fill_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, ramp((1, 17, 23)), transfer_syntax=RLELossless)
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    rows, columns = b"\x28\0\x10\0US\x02\0", b"\x28\0\x11\0US\x02\0"
    for element in (rows, columns):
        at = data.index(element) + len(element)
        data = data[:at] + b"\xff\xff" + data[at + 2 :]
    path.write_bytes(data)
    (series,) = scan(tmp_path).series
    assert series.reason.startswith("RLE of at most ")
    assert "8,589,672,450 by the header" in series.reason


FUZZ = """
import io, random, sys
import numpy as np
from pydicom.encaps import encapsulate
from render.dicom import codecs
from render.dicom.extent import PixelExtent
from render.dicom.frames import PixelFormat
from render.dicom.header import quiet_pydicom
from render.errors import CodecError
syntax, path, seed, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
chance = random.Random(seed)
whole = open(path, "rb").read()
pixels = PixelFormat("PixelData", 64, 64, 1, "MONOCHROME2", 16, 16, 15, False, 0)
outcomes = set()
with quiet_pydicom():
    for n in range(rounds):
        data = bytearray(whole[: chance.randrange(1, len(whole))] if n % 3 == 0 else whole)
        for _ in range(chance.choice([1, 3, 30])):
            data[chance.randrange(min(len(data), chance.choice([80, len(data)])))] = chance.randrange(256)
        file = io.BytesIO(encapsulate([bytes(data)], has_bot=False))
        try:
            codecs.decode(file, syntax, pixels, PixelExtent(0, None, 1), 1, 0)
            outcomes.add("decoded")
        except CodecError:
            outcomes.add("refused")
print(sorted(outcomes))
"""


@pytest.mark.parametrize("syntax", [RLELossless, *ENCODERS])
def test_corrupt_codestreams_are_refused_and_crash_nothing(tmp_path: Path, syntax: str) -> None:
    """In a process of its own: a decoder that crashes should fail this test, not end the run."""
    image = (np.indices((1, 64, 64)).sum(0) * 37 % 4096).astype(np.uint16)
    (path,) = write_series(tmp_path, image, transfer_syntax=syntax)
    stream = tmp_path / "stream"
    stream.write_bytes(get_frame(dcmread(path).PixelData, 0, number_of_frames=1))
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, syntax, str(stream), "7", "900"],
        capture_output=True, text=True, timeout=120, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "['decoded', 'refused']"), done.stderr[-2000:]


class TestMissingCodec:
    @pytest.mark.parametrize(
        ("syntax", "library"),
        [(JPEGLSLossless, "JPEGLS"), (JPEG2000Lossless, "JPEG2K"), (JPEGLosslessSV1, "JPEG8")],
    )
    def test_it_is_named_with_what_to_install(
        self, tmp_path: Path, syntax: str, library: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_series(tmp_path, ramp((1, 17, 23)), transfer_syntax=syntax)
        decoder_of.cache_clear()
        monkeypatch.setattr(imagecodecs, library, type(library, (), {"available": False}))
        with pytest.raises(CodecError) as caught:
            load_volume(select(scan(tmp_path)))
        assert caught.value.message.endswith(
            f": the installed imagecodecs is built without {library}: pip install 'imagecodecs[all]'"
        )
        decoder_of.cache_clear()


@pytest.mark.parametrize(("vr", "expected"), [("OB", [1, 2, 3, 4]), ("OW", [2, 1, 4, 3])])
def test_bytes_in_big_endian_words_are_swapped_and_others_are_not(tmp_path: Path, vr: str, expected: list[int]) -> None:
    (path,) = write_series(tmp_path, np.array([[[1, 2, 3, 4]]], np.uint8), transfer_syntax=ExplicitVRBigEndian)
    data = path.read_bytes()
    at = data.index(b"\x7f\xe0\x00\x10") + 4
    path.write_bytes(data[:at] + vr.encode() + data[at + 2 :])
    np.testing.assert_array_equal(load_volume(select(scan(tmp_path))).values(), [[expected]])


@pytest.mark.data
def test_native_rle_and_deflated_frames_equal_pydicoms(real_data: Path) -> None:
    syntaxes = set()
    with quiet_pydicom(), PixelFiles(real_data) as files:
        for folder in ("codecs_ct_and_colour", "codecs_same_pixels_mr", "enhanced_multiframe", "pydicom_test_files"):
            for path in sorted((real_data / folder).rglob("*")):
                header = read_header(real_data, path.relative_to(real_data).as_posix()) if path.is_file() else None
                if not isinstance(header, Instance) or header.format is None or header.extent is None or header.defect:
                    continue
                if header.transfer_syntax not in {*NATIVE, RLELossless}:
                    continue
                last = header.number_of_frames - 1
                ours = decode(files.open(header), header.transfer_syntax, header.format, header.extent, last + 1, last)
                dataset = dcmread(path, force=True)
                dataset.file_meta.TransferSyntaxUID = header.transfer_syntax
                np.testing.assert_array_equal(ours, pixel_array(dataset, index=last, raw=True), path.name)
                syntaxes.add(header.transfer_syntax)
    assert syntaxes == {*NATIVE, RLELossless}


def test_a_codestream_that_states_no_size_is_not_believed_to_be_huge(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, ramp((1, 8, 8)), transfer_syntax=JPEG2000Lossless)
    content = path.read_bytes()
    siz = content.index(b"\xff\x4f\xff\x51")
    rows, columns = content.index(b"\x28\x00\x10\x00US") + 8, content.index(b"\x28\x00\x11\x00US") + 8
    damaged = bytearray(content)
    damaged[siz + 1] = 0
    path.write_bytes(damaged)
    assert scan(tmp_path).volumes  # within what may be
    damaged[rows : rows + 2] = damaged[columns : columns + 2] = b"\x00\xf0"
    path.write_bytes(damaged)
    (series,) = scan(tmp_path).series
    assert series.volumes == ()
    assert "codestream that states no size" in series.reason

"""What a codestream announces is checked before a decoder may allocate it; corrupt ones raise, never crash."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from render.dicom.codecs import codestream_size
from render.dicom.pixels import load_volume
from render.dicom.series import select
from render.dicom.source import scan
from render.errors import CodecError
from tests.dicom.synthetic import ENCODERS, ramp, write_series


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
    path.write_bytes(data[:at] + huge + data[at + len(huge) :])
    monkeypatch.setattr("render.dicom.codecs._CODECS", dict.fromkeys([syntax], pytest.fail))
    with pytest.raises(CodecError, match=r"codestream of 65535 x 65535 pixels, 17 x 23 expected"):
        load_volume(select(scan(tmp_path)))


FUZZ = """
import random, sys
from render.dicom.pixels import load_volume
from render.dicom.source import scan
from render.errors import CodecError
path, seed = sys.argv[1], int(sys.argv[2])
chance = random.Random(seed)
whole = open(path, "rb").read()
start = whole.index(b"\\xe0\\x7f\\x10\\x00") + 12
outcomes = set()
for _ in range(150):
    data = bytearray(whole)
    for _ in range(chance.choice([1, 3, 30])):
        data[chance.randrange(start, chance.choice([start + 80, len(data)]))] = chance.randrange(256)
    open(path, "wb").write(data)
    for plan in scan(path).volumes:
        try:
            load_volume(plan, threads=1)
            outcomes.add("loaded")
        except CodecError:
            outcomes.add("refused")
print(sorted(outcomes))
"""


@pytest.mark.parametrize("syntax", [RLELossless, *ENCODERS])
def test_corrupt_codestreams_are_refused_and_crash_nothing(tmp_path: Path, syntax: str) -> None:
    # In a process of its own: a decoder that crashes should fail this test, not end the run.
    noise = np.array([random.Random(n).randrange(4096) for n in range(40 * 40)], np.uint16).reshape(1, 40, 40)
    (path,) = write_series(tmp_path, noise, transfer_syntax=syntax)
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, str(path), "7"],
        capture_output=True, text=True, timeout=120, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "['loaded', 'refused']"), done.stderr[-2000:]

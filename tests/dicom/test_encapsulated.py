"""Each frame gets its own fragments, by offset table or without, and what can't be told apart is refused."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.encaps import encapsulate, encapsulate_extended

from render.dicom.encapsulated import FrameIndexError, read_frame
from render.dicom.extent import PixelExtent

SOI = b"\xff\xd8\xff\xe0"


class CountingFile(io.BytesIO):
    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(size)


def stored(data: bytes, fragments: int) -> tuple[io.BytesIO, PixelExtent]:
    return io.BytesIO(b"header" + data), PixelExtent(6, None, fragments)


@given(st.lists(st.binary(min_size=20, max_size=50), min_size=1, max_size=6), st.integers(1, 3), st.booleans())
def test_frames_in_fragments_come_back_whole(bodies: list[bytes], fragments: int, has_table: bool) -> None:
    frames = [SOI + body.replace(b"\xff", b"\0") for body in bodies]
    data = encapsulate(frames, fragments_per_frame=fragments, has_bot=has_table)
    count = data.count(b"\xfe\xff\x00\xe0") - 1
    file, extent = stored(data, count)
    for n, frame in enumerate(frames):
        assert read_frame(file, extent, len(frames), n).rstrip(b"\0") == frame.rstrip(b"\0")


def test_an_extended_offset_table_stands_beside_one_fragment_a_frame() -> None:
    data, offsets, lengths = encapsulate_extended([b"one!", b"three!"])
    assert (len(offsets), len(lengths)) == (16, 16)
    file, extent = stored(data, 2)
    assert read_frame(file, extent, 2, 1) == b"three!"


def test_a_table_that_lies_gives_way_to_the_codestreams_own_starts() -> None:
    data = bytearray(encapsulate([SOI + b"1111", SOI + b"2222"], fragments_per_frame=2))
    data[12:16] = (9999).to_bytes(4, "little")
    file, extent = stored(bytes(data), 4)
    assert read_frame(file, extent, 2, 1) == SOI + b"2222"


def test_fragments_that_nothing_tells_apart_are_refused() -> None:
    data = encapsulate([b"aaaabbbb", b"ccccdddd"], fragments_per_frame=2, has_bot=False)
    file, extent = stored(data, 4)
    with pytest.raises(FrameIndexError, match=r"^4 fragments for 2 frames, and no offset table that fits$"):
        read_frame(file, extent, 2, 0)


def test_fragments_are_walked_once_a_file() -> None:
    data = encapsulate([bytes([n]) * 8 for n in range(50)], has_bot=False)
    file = CountingFile(data)
    extent = PixelExtent(0, None, 50)
    read_frame(file, extent, 50, 0)
    before = file.reads
    assert read_frame(file, extent, 50, 49) == bytes([49]) * 8
    assert file.reads == before + 1

"""Reading within bounds: a length that lies costs a typed error, never an allocation."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import BinaryIO, cast

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from render.dicom.attributes import HEADER_TAGS, integer
from render.dicom.extent import PIXEL_ELEMENTS
from render.dicom.instance import STREAMED
from render.errors import UnreadableFileError

MAXIMUM_INFLATED_BYTES = 1 << 30
"""A deflated data set may not grow beyond this: the largest single images are a tenth of it."""

SMALL_READ_BYTES = 4096
"""Reads up to this size may come back short at a file's end, as the parser expects; larger ones are checked first."""

_FILE_META_START = 132


class BoundedFile(io.RawIOBase):
    """A binary file whose `read` refuses lengths that reach past its end, instead of allocating them.

    Attributes
    ----------
    is_overrun
        Whether the end lay within something that was read or skipped: the file has been cut short there.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__()
        self._file = file
        self.size = size
        self.is_overrun = False

    def read(self, size: int = -1, /) -> bytes:
        """Read `size` bytes.

        Raises
        ------
        UnreadableFileError
            If more than `SMALL_READ_BYTES` are asked for and the file hasn't as many left.
        """
        if size > SMALL_READ_BYTES and size > (left := self.size - self._file.tell()):
            raise UnreadableFileError(f"truncated: a header element of {size:,} bytes, {max(left, 0):,} left")
        data = self._file.read(size)
        self.is_overrun |= 0 < len(data) < size
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Seek as the file beneath does."""
        position = self._file.seek(offset, whence)
        self.is_overrun |= position > self.size
        return position

    def tell(self) -> int:
        """Position in bytes."""
        return self._file.tell()


def open_data(file: BinaryIO, transfer_syntax: str) -> BinaryIO:
    """Return what `PixelExtent.offset` counts in: the file itself, or its inflated data set.

    Raises
    ------
    UnreadableFileError
        If a deflated data set can't be inflated, or grows beyond `MAXIMUM_INFLATED_BYTES`.
    """
    if transfer_syntax in STREAMED:
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    if transfer_syntax != DeflatedExplicitVRLittleEndian:
        return file
    with file:
        _read_file_meta(file)
        return io.BytesIO(_inflate(file.read()))


def read_deflated(file: BinaryIO, tags: list[BaseTag | int] | None = HEADER_TAGS) -> tuple[FileDataset, BinaryIO, int]:
    """Read a deflated file's header; return it with the inflated stream, which stands at the pixels, and its size."""
    meta = _read_file_meta(file)
    inflated = _inflate(file.read())
    stream = io.BytesIO(inflated)
    dataset = read_bare(BoundedFile(stream, len(inflated)), tags)
    dataset.file_meta = meta
    return dataset, stream, len(inflated)


def is_bare_data_set(start: bytes) -> bool:
    """Say whether a file starts with an explicit little endian data set where others have a preamble.

    Some such files happen to have the letters of the DICM marker at byte 128.
    """
    return start[:2] == b"\x08\x00" and start[4:6].isalpha() and start[4:6].isupper()


def read_bare(file: BoundedFile, tags: list[BaseTag | int] | None = HEADER_TAGS) -> FileDataset:
    """Read the header of an explicit little endian data set without preamble; the file stands at its pixels then.

    Parameters
    ----------
    tags
        The elements to keep; all if None.
    """
    parsed = read_dataset(
        cast(BinaryIO, file),
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, vr, length: (tag.group, tag.element) in PIXEL_ELEMENTS,
        specific_tags=tags,
    )
    dataset = FileDataset("", parsed, file_meta=FileMetaDataset(), is_implicit_VR=False, is_little_endian=True)
    dataset.set_original_encoding(False, True)
    return dataset


def _read_file_meta(file: BinaryIO) -> FileMetaDataset:
    """Read the file meta group and stand at the first byte after it."""
    file.seek(_FILE_META_START)

    def is_data(tag: BaseTag, vr: str | None, length: int) -> bool:
        return tag.group != 2

    meta: Dataset = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=is_data)
    file.seek(_FILE_META_START + 12 + integer(meta, "FileMetaInformationGroupLength"))
    return FileMetaDataset(meta)


def _inflate(data: bytes) -> bytes:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        result = engine.decompress(data, MAXIMUM_INFLATED_BYTES)
    except zlib.error as error:
        raise UnreadableFileError("deflated data set can't be inflated") from error
    if engine.unconsumed_tail:
        raise UnreadableFileError(f"deflated data set grows beyond {MAXIMUM_INFLATED_BYTES:,} bytes")
    if not engine.eof:
        raise UnreadableFileError(f"truncated: deflated data set ends after {len(data):,} bytes")
    return result

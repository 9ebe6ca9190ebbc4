"""The process that parses headers and decodes pixels for `render.dicom.ingest`: ``python -m render.dicom.worker``.

It is started fresh, never forked, talks through the socket whose descriptor it is given, and has a memory limit: what
a malformed file does to it, it does to nobody else.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import sys
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle

import numpy as np

from render.dicom.header import quiet_pydicom
from render.dicom.reading import FileHeader, read_header
from render.dicom.tasks import CardReport, DecodeSlices, ReadHeaders, ReadLabels, ReadPicture, Task
from render.errors import CodecError, VoxelcastError

NICENESS = 10
"""While a volume is decoded, the frames that somebody waits for come first: these are as many processes as cores."""


def main() -> None:
    """Answer tasks until the other end closes the socket."""
    descriptor, limit_bytes, card = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    # Whoever starts us blocks SIGINT: Ctrl+C reaches the whole process group, but the server ends its workers.
    # Private memory only: the volume that is written to is shared and has its own budget.
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(NICENESS)
    if card >= 0:
        from render.dicom.card_codecs import report, use_card

        use_card(card)
    with Connection(descriptor) as connection, quiet_pydicom():
        with contextlib.suppress(EOFError, ConnectionError):  # the other end has gone
            while True:
                task = connection.recv()
                connection.send((_answer(task, connection, limit_bytes), report() if card >= 0 else CardReport()))


def _answer(task: Task, connection: Connection, limit_bytes: int) -> object:
    """Return the result, or the error, to be sent back."""
    try:
        if isinstance(task, ReadHeaders):
            return _read(task)
        if isinstance(task, DecodeSlices):
            return _decode(task, connection)
        return _picture(task) if isinstance(task, ReadPicture) else _labels(task)
    except VoxelcastError as error:
        return error
    except MemoryError:
        return CodecError(f"decoding needs more than {limit_bytes:,} bytes of memory", limit_bytes=limit_bytes)
    except Exception as error:  # whatever it is, the server hears of it as an error of this load
        return CodecError(f"ingest failed: {type(error).__name__}")


def _read(task: ReadHeaders) -> list[FileHeader]:
    return [read_header(task.root, name) for name in task.names]


def _decode(task: DecodeSlices, connection: Connection) -> object:
    descriptor = recv_handle(connection)
    # Imported on first use: scanning needs no codecs, and a worker should be ready soon.
    from render.dicom.pixels import decode_layers

    dtype = np.dtype(task.values.dtype)
    try:
        memory = mmap.mmap(descriptor, int(np.prod(task.shape)) * dtype.itemsize)
    finally:
        os.close(descriptor)
    codes = np.frombuffer(memory, dtype).reshape(task.shape)
    return decode_layers(task.root, task.layers, task.values, codes[task.first : task.first + len(task.layers)])


def _picture(task: ReadPicture) -> object:
    from render.dicom.picture import read_picture

    return read_picture(task.root, task.instance, task.number, task.window)


def _labels(task: ReadLabels) -> object:
    from render.dicom.rtstruct import rasterize, read_structures
    from render.dicom.segmentation import read_segmentation

    if task.geometry is None:
        return read_segmentation(task.root, task.instance)
    return rasterize(read_structures(task.root, task.instance), task.geometry, task.frame_of_reference_uid)


if __name__ == "__main__":
    main()

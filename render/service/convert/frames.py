"""Frames: how they are encoded, and the header that says what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from render.encoding import EncodedFrame, Encoding
from render.errors import InvalidArgumentError
from render.service.convert.views import METHODS, vector_to_proto, window_to_proto
from render.service.status import wire_text
from render.v1 import frame_pb2
from render.view import ImagePlane

if TYPE_CHECKING:
    from render.frame import Frame

_ENCODINGS = {encoding: getattr(frame_pb2, f"FRAME_ENCODING_{encoding.name}") for encoding in Encoding}
_ENCODING_OF = {number: encoding for encoding, number in _ENCODINGS.items()}


def encoding_from_proto(number: int) -> Encoding:
    """Read an encoding.

    Raises
    ------
    InvalidArgumentError
        If it is unspecified or unknown.
    """
    encoding = _ENCODING_OF.get(number)
    if encoding is None:
        raise InvalidArgumentError(f"encoding {number}: one of 1 to {max(_ENCODING_OF)} needed", field="encoding")
    return encoding


def plane_to_proto(plane: ImagePlane) -> frame_pb2.ImagePlane:
    """Write where a picture's pixels lie."""
    down_mm, right_mm = plane.pixel_spacing_mm
    return frame_pb2.ImagePlane(
        top_left_mm=vector_to_proto(plane.top_left_mm),
        row_direction=vector_to_proto(plane.row_direction),
        column_direction=vector_to_proto(plane.column_direction),
        pixel_spacing_down_mm=down_mm,
        pixel_spacing_right_mm=right_mm,
    )


def frame_header(
    frame: Frame,
    encoded: EncodedFrame,
    *,
    view_id: str = "",
    sequence: int = 0,
    epoch: int = 0,
    queue_ms: float = 0.0,
    chunk_index: int = 0,
    chunk_count: int = 1,
) -> frame_pb2.FrameHeader:
    """Write what a frame is, and what was actually rendered.

    On a stream (where there is a `view_id`) a frame whose encoding is lossy is of interactive quality, however well
    it was rendered: its final one is still to come.
    """
    is_final = frame.is_final and (encoded.lossless or not view_id)
    return frame_pb2.FrameHeader(
        view_id=view_id,
        sequence=sequence,
        epoch=epoch,
        view_revision=frame.view_revision,
        volume_revision=frame.volume_revision,
        encoding=_ENCODINGS[encoded.encoding],
        quality=frame_pb2.FRAME_QUALITY_FINAL if is_final else frame_pb2.FRAME_QUALITY_INTERACTIVE,
        width_px=encoded.width_px,
        height_px=encoded.height_px,
        payload_bytes=len(encoded.payload),
        payload_crc32=encoded.crc32,
        chunk_index=chunk_index,
        chunk_count=chunk_count,
        value_slope=encoded.value_slope,
        value_intercept=encoded.value_intercept,
        units=wire_text(frame.units),
        window=window_to_proto(frame.window),
        inverted=frame.inverted,
        lossless=encoded.lossless,
        jpeg_quality=encoded.jpeg_quality,
        lossy_source=frame.lossy_source,
        rendering_method=METHODS[frame.view.rendering_method],
        slab_mm=frame.slab_mm,
        step_mm=frame.step_mm,
        ray_stride=frame.quality.ray_stride,
        plane=plane_to_proto(frame.plane),
        missing_slices=frame.missing_slices,
        timings=frame_pb2.StageTimings(
            queue_ms=queue_ms + frame.timings_ms.get("queue", 0.0),
            render_ms=frame.timings_ms.get("render", 0.0),
            encode_ms=encoded.encode_ms,
        ),
    )

"""What one slice of a volume is made of: a frame of a file, a part of one, or a mix of two neighbours."""

from __future__ import annotations

from dataclasses import dataclass

from render.dicom.frames import FrameHeader, PixelFormat
from render.dicom.instance import Instance, Tile


@dataclass(frozen=True, slots=True)
class SliceSource:
    """Where one slice comes from: a frame of a file, or a tile of one.

    Attributes
    ----------
    frame
        Where the slice lies: for a tile, its own place, not its sheet's. ``frame.number`` is the frame in the file.
    """

    instance: Instance
    frame: FrameHeader
    tile: Tile | None = None

    @property
    def pixels(self) -> PixelFormat:
        """How the file stores its pixels: of the whole frame."""
        assert self.instance.format is not None
        return self.instance.format

    @property
    def rows(self) -> int:
        """Rows of the slice."""
        return self.tile.rows if self.tile is not None else self.pixels.rows

    @property
    def columns(self) -> int:
        """Columns of the slice."""
        return self.tile.columns if self.tile is not None else self.pixels.columns

    @property
    def identity(self) -> str:
        """The SOP Instance UID with the frame's number, and the tile's place where it is one."""
        tile = f"@{self.tile.row},{self.tile.column}" if self.tile is not None else ""
        return f"{self.instance.sop_instance_uid}#{self.frame.number}{tile}"


@dataclass(frozen=True, slots=True)
class Layer:
    """One slice of a volume's grid.

    Attributes
    ----------
    lower
        The slice that lies there; None within a gap, where all voxels are invalid.
    upper, fraction
        Where none does: the next one, and the weight it has, over 0 and under 1.
    """

    lower: SliceSource | None
    upper: SliceSource | None = None
    fraction: float = 0.0

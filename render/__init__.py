"""Voxelcast's server: volumes resident beside the processor that renders them, frames on demand."""

__version__ = "0.1.0"

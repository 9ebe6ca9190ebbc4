"""DICOM in: scan a path, group and prove its series, choose a volume, load it."""

from render.dicom.pixels import load_volume
from render.dicom.plan import VolumePlan
from render.dicom.select import select
from render.dicom.series import Series
from render.dicom.source import Scan, scan

__all__ = ["Scan", "Series", "VolumePlan", "load_volume", "scan", "select"]

"""DICOM in: scan a path, group and prove its series, choose a volume, load it."""

"""Who a file is of: read only when asked for, and kept nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pydicom

from render.dicom.access import open_file
from render.dicom.attributes import text
from render.dicom.bounded import BoundedFile
from render.dicom.header import quiet_pydicom
from render.errors import UnreadableFileError

IDENTIFYING = {"name": "PatientName", "id": "PatientID", "birth_date": "PatientBirthDate"}


def read_identity(root: Path, relative: str) -> dict[str, str]:
    """Return the patient's name, id and birth date as the file has them; empty text where it has none."""
    try:
        file, stamp = open_file(root, relative)
        with file, quiet_pydicom():
            dataset = pydicom.dcmread(
                cast("pydicom.fileutil.PathType", BoundedFile(file, stamp.size_bytes)),
                stop_before_pixels=True,
                force=True,
                specific_tags=["SpecificCharacterSet", *IDENTIFYING.values()],
            )
            return {name: text(dataset, keyword) for name, keyword in IDENTIFYING.items()}
    except (OSError, UnreadableFileError):
        return dict.fromkeys(IDENTIFYING, "")
    except Exception:  # pydicom raises whatever the bytes lead to; the scan has said what is wrong with the file
        return dict.fromkeys(IDENTIFYING, "")

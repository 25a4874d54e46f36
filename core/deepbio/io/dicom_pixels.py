"""The stored values of a DICOM file's frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["decoded"]


def decoded(file: Path, count: int) -> Any:
    """The stored values of a file's frames, (y, x) or (y, x, colour); colours as RGB."""
    import pydicom
    from pydicom.pixels import apply_color_lut, iter_pixels, pixel_array

    dataset = pydicom.dcmread(file)
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        frames = pixel_array(dataset)
        coloured = apply_color_lut(frames if count > 1 else frames[None], dataset)
        return coloured if coloured.dtype == np.uint8 else (coloured >> 8).astype(np.uint8)
    return iter_pixels(dataset) if count > 1 else [pixel_array(dataset)]

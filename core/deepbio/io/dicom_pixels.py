"""The stored values of a DICOM file's frames."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.errors import ImageError

__all__ = ["bits_below", "check_bits", "decoded"]


def bits_below(header: Any) -> int:
    """How many bits of a pixel's cell lie below its value: High Bit + 1 - Bits Stored, usually 0.

    Also 0 where the header contradicts itself (no room for the value in the cell).
    """
    stored, high = header.get("BitsStored"), header.get("HighBit")
    if stored is None or high is None or int(high) >= int(header.BitsAllocated):
        return 0
    return max(0, int(high) + 1 - int(stored))


def check_bits(file: Path, header: Any, syntax: str) -> None:
    """Refuse compressed pixels whose value is not in the lowest bits: codecs differ in what they give.

    Raises
    ------
    ImageError
        The message names the file.
    """
    from pydicom.uid import UID, RLELossless

    if bits_below(header) and syntax != RLELossless and UID(syntax).is_encapsulated:
        raise ImageError(
            f"'{file}' has compressed pixels ({UID(syntax).name}) whose values end at bit {header.HighBit} (High "
            f"Bit); expected bit {header.BitsStored - 1}, as {header.BitsStored} bits are stored.",
            "Decompress the file, or correct its High Bit.",
        )


def decoded(file: Path, count: int) -> Iterable[np.ndarray]:
    """The stored values of a file's frames, (y, x) or (y, x, colour); colours as RGB.

    Raises
    ------
    ImageError
        If values are above empty bits by the header, and these are not empty.
    """
    import pydicom
    from pydicom.pixels import apply_color_lut, iter_pixels, pixel_array

    dataset = pydicom.dcmread(file)
    below = bits_below(dataset)
    if below:  # pydicom takes the lowest bits: make them all up to the highest one, and move them below
        dataset.BitsStored = dataset.HighBit + 1
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        frames = _moved(file, pixel_array(dataset), below)
        coloured = apply_color_lut(frames if count > 1 else frames[None], dataset)
        return coloured if coloured.dtype == np.uint8 else (coloured >> 8).astype(np.uint8)
    stored = iter_pixels(dataset) if count > 1 else [pixel_array(dataset)]
    return (_moved(file, frame, below) for frame in stored)


def _moved(file: Path, cells: np.ndarray, below: int) -> np.ndarray:
    """Shift values down by the bits below them; the sign of signed ones is kept."""
    if not below:
        return cells
    if (cells & ((1 << below) - 1)).any():
        raise ImageError(
            f"'{file}' contradicts itself: by its header (High Bit) the lowest {below} bits of a pixel are no "
            "part of its value, but they are not empty.",
            "Export it again, or correct its High Bit.",
        )
    return cells >> below

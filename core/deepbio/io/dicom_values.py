"""What stored DICOM values mean where a slope does not say it: a table (Modality LUT), and the unit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.errors import ImageError

__all__ = ["ValueTable", "value_table", "value_unit"]

_UNSPECIFIED = "US"  # DICOM's code for a unit that is not said


@dataclass(frozen=True, eq=False)
class ValueTable:
    """A Modality LUT: what each stored value stands for.

    Attributes
    ----------
    first : int
        The stored value that the first entry is for; those below it have the first entry, too.
    values : ndarray of uint8, uint16 or int32, shape (n,)
        The entries; stored values beyond the last one have the last entry.

    Examples
    --------
    >>> ValueTable(-1, np.array([10, 20, 40], np.uint8)).apply(np.array([-5, -1, 0, 1, 7])).tolist()
    [10, 10, 20, 40, 40]
    """

    first: int
    values: np.ndarray

    def apply(self, stored: np.ndarray) -> np.ndarray:
        """Look stored integers of any shape up."""
        return self.values[np.clip(stored.astype(np.int64) - self.first, 0, len(self.values) - 1)]


def value_table(file: Path, header: Any) -> ValueTable | None:
    """The Modality LUT of a file; None where it has none.

    Raises
    ------
    ImageError
        If its entries are not as many as it promises.

    Notes
    -----
    PS3.3 C.11.1: the descriptor has the number of entries (0 for 65,536), the first stored value, which is
    signed as the pixels are, and the bits of an entry. Entries of 8 bits are one or two bytes each.
    """
    sequence = header.get("ModalityLUTSequence")
    if not sequence:
        return None
    count, first, bits = (int(number) for number in sequence[0].LUTDescriptor)
    count, first = count or 1 << 16, first % (1 << 16)
    if int(header.get("PixelRepresentation") or 0) and first >= 1 << 15:
        first -= 1 << 16
    values = _entries(header, sequence[0].LUTData, count, bits)
    if len(values) != count:
        raise ImageError(
            f"'{file}' maps its values by a table (Modality LUT) of {len(values)} entries; it promises {count}.",
            "Export it again, or with a rescale slope and intercept.",
        )
    return ValueTable(first, values)


def _entries(header: Any, data: Any, count: int, bits: int) -> np.ndarray:
    from pydicom.uid import UID

    if isinstance(data, bytes):
        order = (
            "<"
            if UID(header.file_meta.get("TransferSyntaxUID", "1.2.840.10008.1.2")).is_little_endian
            else ">"
        )
        if bits <= 8 and len(data) < 2 * count:
            return np.frombuffer(data, np.uint8)[:count]  # one byte more where they are odd
        return np.frombuffer(data, f"{order}u2").astype(np.uint8 if bits <= 8 else np.uint16)
    values = np.atleast_1d(np.array(data, np.int64))
    if bits <= 8 and len(values) == (count + 1) // 2 < count:  # two in each word
        return values.astype("<u2").view(np.uint8)[:count]
    return values.astype(np.int32 if values.min(initial=0) < 0 else np.uint16)


def value_unit(header: Any) -> str:
    """The unit of an image's values by DICOM's code (``"GY"``, ``"HU"``, ``"OD"``); empty where it is not said."""
    sequence = header.get("ModalityLUTSequence")
    unit = str(sequence[0].get("ModalityLUTType") or "") if sequence else str(header.get("DoseUnits") or "")
    return "" if unit == _UNSPECIFIED else unit

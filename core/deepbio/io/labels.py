"""What label maps need from every format: the smallest type that holds them."""

from __future__ import annotations

import numpy as np

from deepbio.errors import ImageError
from deepbio.image import LabelMap
from deepbio.io.arrays import iter_blocks

__all__ = ["label_type"]


def label_type(labels: LabelMap) -> tuple[np.dtype, int]:
    """Find the type that a label map is stored in, and its largest label, in one pass.

    Returns
    -------
    (dtype, int)
        uint16 up to 65,535, uint32 above.

    Raises
    ------
    ImageError
        If a label is negative or above 4,294,967,295.

    Examples
    --------
    >>> label_type(LabelMap(np.array([[0, 70000]])))
    (dtype('uint32'), 70000)
    """
    lowest, highest = 0, 0
    for block in iter_blocks(labels.array):
        lowest, highest = min(lowest, int(block.min())), max(highest, int(block.max()))
    if lowest < 0 or highest > np.iinfo(np.uint32).max:
        found = lowest if lowest < 0 else highest
        raise ImageError(f"The label map holds the label {found}; labels are 0 (background) to 4294967295.")
    return np.dtype(np.uint16 if highest <= np.iinfo(np.uint16).max else np.uint32), highest

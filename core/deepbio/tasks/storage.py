"""Arrays for results that may be larger than the memory."""

from __future__ import annotations

import math
import tempfile
from typing import Any

import numpy as np

from deepbio.errors import InputMismatch

__all__ = ["allocate"]

_IN_MEMORY = 2 * 2**30  # arrays of more bytes lie in a file that the system pages


def allocate(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros; in a temporary file, gone with the array, where they would fill the memory.

    Raises
    ------
    InputMismatch
        If there is no space for the file.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= _IN_MEMORY:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(prefix="deepbio-") as file:
        try:
            file.truncate(size)
        except OSError as error:
            raise InputMismatch(
                f"The result needs {size / 2**30:.1f} GiB in {tempfile.gettempdir()!r}: {error.strerror}.",
                "Make space there, or set TMPDIR to another folder.",
            ) from error
        return np.memmap(file, dtype, "r+", shape=shape)

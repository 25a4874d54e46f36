"""What SimpleITK does not tell of a NIfTI file: whether it is whole, and the time step where that is 0."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from deepbio.errors import ImageError
from deepbio.io.files import first_bytes

__all__ = ["check_nifti", "told_time_step"]

_CHUNK = 2**20
_TIME_STEP_AT = {348: ("f", 92), 540: ("d", 136)}  # size of the header -> type and place of pixdim[4]


def check_nifti(path: Path, *, pixels: bool) -> None:
    """Check that a NIfTI-1 or NIfTI-2 file has as many bytes as its header says.

    Parameters
    ----------
    path : Path
        A ``.nii`` or ``.nii.gz`` file.
    pixels : bool
        Whether to unpack a ``.nii.gz`` to its end, which also proves its checksum. Otherwise only
        the header of such a file is read.

    Raises
    ------
    ImageError
        If it is no NIfTI, is cut off or damaged, or has an axis of size 0.
    """
    packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            head = file.read(540)
            expected = _expected_bytes(path, head)
            if not packed:
                found = path.stat().st_size
            elif pixels:
                found = len(head)
                while chunk := file.read(_CHUNK):
                    found += len(chunk)
            else:
                found = expected
    except (EOFError, zlib.error) as error:
        raise ImageError(f"'{path}' is damaged or cut off: {error}.", "Copy or export it again.") from error
    except gzip.BadGzipFile as error:
        raise ImageError(
            f"'{path}' is not a gzip file: {first_bytes(path)}.", "Check the suffix, or copy it again."
        ) from error
    if found < expected:
        raise ImageError(
            f"'{path}' is cut off: its header promises {expected} bytes, it has {found}.",
            "Copy or export it again.",
        )


def told_time_step(path: Path) -> float:
    """The time step (``pixdim[4]``) as it stands in a header that :func:`check_nifti` found sound.

    SimpleITK makes 1 of a 0, which means that nobody knows.
    """
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        head = file.read(540)
    for order in "<>":
        size = struct.unpack_from(order + "i", head)[0]
        if size in _TIME_STEP_AT:
            kind, at = _TIME_STEP_AT[size]
            return float(struct.unpack_from(order + kind, head, at)[0])
    return 0.0


def _expected_bytes(path: Path, head: bytes) -> int:
    """Bytes of the whole file, unpacked, from the fields dim, bitpix and vox_offset of the header."""
    for order in "<>":
        size = struct.unpack_from(order + "i", head)[0] if len(head) >= 4 else 0
        if size == 348 and len(head) >= 348:
            dim = struct.unpack_from(order + "8h", head, 40)
            bits = struct.unpack_from(order + "h", head, 72)[0]
            start = int(struct.unpack_from(order + "f", head, 108)[0])
            break
        if size == 540 and len(head) >= 540:
            dim = struct.unpack_from(order + "8q", head, 16)
            bits = struct.unpack_from(order + "h", head, 14)[0]
            start = struct.unpack_from(order + "q", head, 168)[0]
            break
    else:
        short = len(head) < 348
        what = f"its header is cut off ({len(head)} bytes)" if short else first_bytes(path)
        raise ImageError(f"'{path}' is not a NIfTI image: {what}.", "Check the suffix, or copy it again.")
    sizes = dim[1 : dim[0] + 1]
    if not 1 <= dim[0] <= 7 or any(n < 1 for n in sizes):
        raise ImageError(f"'{path}' has an axis of size 0 or below (dim {dim}).", "Export it again.")
    return start + int(np.prod(sizes, dtype=object)) * bits // 8

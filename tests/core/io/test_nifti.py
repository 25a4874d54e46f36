"""Whether a NIfTI is whole."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from deepbio.errors import ImageError
from deepbio.io.nifti import check_nifti


def nifti(order: str, version: int, dim: tuple[int, ...] = (3, 11, 7, 5, 1, 1, 1, 1)) -> bytes:
    """A NIfTI of 16-bit zeros, as far as the check looks at it."""
    size = {1: 348, 2: 540}[version]
    head = bytearray(size + 4)
    struct.pack_into(order + "i", head, 0, size)
    if version == 1:
        struct.pack_into(order + "8h", head, 40, *dim)
        struct.pack_into(order + "h", head, 72, 16)
        struct.pack_into(order + "f", head, 108, len(head))
    else:
        struct.pack_into(order + "8q", head, 16, *dim)
        struct.pack_into(order + "h", head, 14, 16)
        struct.pack_into(order + "q", head, 168, len(head))
    return bytes(head) + bytes(2 * int(np.prod(np.abs(dim[1:4]))))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
def test_every_byte_counts(tmp_path: Path, version: int, order: str, packed: bool) -> None:
    content = nifti(order, version)
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    for cut, whole in ((0, True), (1, False), (500, False)):
        part = content[: len(content) - cut]
        path.write_bytes(gzip.compress(part) if packed else part)
        if whole:
            check_nifti(path, pixels=True)
            continue
        with pytest.raises(ImageError, match=f"promises {len(content)} bytes, it has {len(part)}"):
            check_nifti(path, pixels=True)


def test_a_wrong_checksum(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(nifti("<", 1)))
    packed[-6] ^= 1
    (tmp_path / "a.nii.gz").write_bytes(packed)
    check_nifti(tmp_path / "a.nii.gz", pixels=False)
    with pytest.raises(ImageError, match=r"a\.nii\.gz"):
        check_nifti(tmp_path / "a.nii.gz", pixels=True)


@pytest.mark.parametrize(
    "dim",
    [
        (3, 11, 0, 5, 1, 1, 1, 1),
        (3, 11, -7, 5, 1, 1, 1, 1),
        (0, 1, 1, 1, 1, 1, 1, 1),
        (9, 1, 1, 1, 1, 1, 1, 1),
    ],
)
def test_axes_of_size_zero(tmp_path: Path, dim: tuple[int, ...]) -> None:
    (tmp_path / "a.nii").write_bytes(nifti("<", 1, dim))
    with pytest.raises(ImageError, match="size 0"):
        check_nifti(tmp_path / "a.nii", pixels=False)


def test_a_short_header(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti("<", 1)[:200])
    with pytest.raises(ImageError, match="header is cut off"):
        check_nifti(tmp_path / "a.nii", pixels=False)

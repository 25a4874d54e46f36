"""Directories of a TIFF: every byte order and size, cut at every byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from deepbio.errors import ImageError
from deepbio.io.tiff_check import check_directories


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_a_cut_before_the_last_tag_is_seen(tmp_path: Path, order: str, big: bool) -> None:
    path = tmp_path / "a.tif"
    pixels = np.ones((3, 7, 11), np.uint8)
    tifffile.imwrite(
        path, pixels, byteorder=order, bigtiff=big, photometric="minisblack", metadata=None, resolution=(2, 3)
    )
    content = path.read_bytes()
    check_directories(path)
    with tifffile.TiffFile(path) as file:
        last = file.pages[2]
        end = max(tag.valueoffset + tag.valuebytecount for tag in last.tags.values())
    for size in range(17, end, 3):
        path.write_bytes(content[:size])
        with pytest.raises(ImageError, match="is promised, but not whole"):
            check_directories(path)

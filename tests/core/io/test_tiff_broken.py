"""TIFF that is cut off, damaged, contradicts itself or is none: an error that names the file, never wrong pixels."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from deepbio.errors import ImageError
from deepbio.io import read


def written(path: Path, **options: Any) -> bytes:
    pixels = np.random.default_rng(3).integers(1, 60000, (6, 40, 50)).astype(np.uint16)
    tifffile.imwrite(path, pixels, photometric="minisblack", **options)
    return path.read_bytes()


WAYS = {
    "plain": {"metadata": None},
    "strips": {"metadata": None, "rowsperstrip": 7},
    "deflated": {"metadata": None, "compression": "zlib"},
    "tiles": {"metadata": None, "compression": "zlib", "tile": (16, 16)},
    "big": {"metadata": None, "bigtiff": True},
    "imagej": {"imagej": True},
    "imagej deflated": {"imagej": True, "compression": "zlib"},
    "ome": {"ome": True},
    "ome deflated": {"ome": True, "compression": "zlib"},
    "shaped": {},
    "shaped deflated": {"compression": "zlib"},
}


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("part", [0.0005, 0.01, 0.2, 0.5, 0.8, 0.95, 0.99])
@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_is_cut_off_is_an_error(
    tmp_path: Path, caplog: Any, way: str, part: float, lazy: bool
) -> None:
    content = written(tmp_path / "whole.tif", **WAYS[way])
    path = tmp_path / "cut.tif"
    path.write_bytes(content[: max(1, int(len(content) * part))])
    with caplog.at_level(logging.DEBUG, "tifffile"), pytest.raises(ImageError, match=r"cut\.tif") as caught:
        read(path, lazy=lazy).numpy()
    assert caught.value.hint
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("way", ["deflated", "tiles", "imagej deflated"])
@pytest.mark.parametrize("lazy", [False, True])
def test_damaged_pixels_are_an_error(tmp_path: Path, way: str, lazy: bool) -> None:
    content = bytearray(written(tmp_path / "whole.tif", **WAYS[way]))
    with tifffile.TiffFile(tmp_path / "whole.tif") as file:
        offset, count = file.pages[2].dataoffsets[0], file.pages[2].databytecounts[0]
    content[offset + 2 : offset + count - 2] = bytes(count - 4)
    (tmp_path / "bad.tif").write_bytes(content)
    with pytest.raises(ImageError, match=r"bad\.tif.*page 3 cannot be unpacked"):
        read(tmp_path / "bad.tif", lazy=lazy).numpy()


def test_missing_tiles_are_not_zeros(tmp_path: Path) -> None:
    written(tmp_path / "a.tif", **WAYS["tiles"])
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        tags = file.pages[2].tags
        for name in ("TileOffsets", "TileByteCounts"):
            tags[name].overwrite((0, *tags[name].value[1:]))
    with pytest.raises(ImageError, match=r"a\.tif.*page 3 are not stored"):
        read(tmp_path / "a.tif")


OME = """<?xml version="1.0" encoding="UTF-8"?><OME
xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"
UUID="urn:uuid:1b2c0000-0000-4000-8000-000000000001"><Image ID="Image:0"><Pixels ID="Pixels:0"
DimensionOrder="XYZTC" Type="uint16" SizeX="50" SizeY="40" SizeZ="{z}" SizeC="1" SizeT="1"
PhysicalSizeX="{size}">
<Channel ID="Channel:0:0"/>{data}</Pixels></Image></OME>"""
ELSEWHERE = (
    '<TiffData FirstZ="6" IFD="0" PlaneCount="1"><UUID FileName="other.ome.tif">urn:uuid:2</UUID></TiffData>'
)


def ome_file(path: Path, **fields: Any) -> Path:
    xml = OME.format(**{"z": 6, "size": 0.5, "data": '<TiffData IFD="0" PlaneCount="6"/>', **fields})
    written(path, description=xml, metadata=None)
    return path


def test_an_ome_file_made_by_hand(tmp_path: Path) -> None:
    image = read(ome_file(tmp_path / "a.ome.tif"))
    assert (image.axes, image.grid.spacing) == ("ZYX", (1.0, 1.0, 0.5))


@pytest.mark.parametrize(
    "fields",
    [
        {"z": 7},
        {"z": 7, "data": '<TiffData IFD="0" PlaneCount="6"/>' + ELSEWHERE},
        {"data": '<TiffData IFD="9" PlaneCount="6"/>'},
        {"data": "</Broken>"},
        {"size": "wide"},
    ],
    ids=["a page", "a file", "an index", "the XML", "a number"],
)
def test_what_is_missing_or_wrong_in_ome_is_an_error(tmp_path: Path, fields: dict) -> None:
    with pytest.raises(ImageError, match=r"a\.ome\.tif"):
        read(ome_file(tmp_path / "a.ome.tif", **fields))


def test_pages_in_a_circle(tmp_path: Path) -> None:
    content = bytearray(written(tmp_path / "whole.tif", metadata=None))
    with tifffile.TiffFile(tmp_path / "whole.tif") as file:
        at = len(file.pages) and file.pages.next_page_offset
        first = file.pages[1].offset
    content[at : at + 4] = first.to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ImageError, match="circle"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"Hello, this is a text file\n", "begins with the text 'Hello, this is a text fi'"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "begins like a PNG image; rename it to"),
        (b"PK\x03\x04" + bytes(50), "begins like a zip archive"),
        (bytes(range(128, 200)), "begins with the bytes 80 81"),
        (b"II*\x00", "cut off|not a TIFF|damaged"),
        (b"II*\x00\x08\x00\x00\x00", "cut off|no image|damaged"),
        (b"II*\x00\xff\xff\xff\x00", "cut off|no image|damaged"),
    ],
)
def test_what_is_no_tiff(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ImageError, match=rf"a\.tif.*({words})"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_pixels(tmp_path: Path, dtype: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((7, 11), dtype))
    with pytest.raises(ImageError, match=rf"a\.tif.*{dtype}"):
        read(tmp_path / "a.tif")


def test_colours_that_are_neither_grey_nor_rgb(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((7, 11, 4), np.uint8), photometric="separated", planarconfig="contig"
    )
    with pytest.raises(ImageError, match="SEPARATED"):
        read(tmp_path / "a.tif")


def test_a_size_of_zero(tmp_path: Path) -> None:
    content = bytearray(written(tmp_path / "whole.tif", metadata=None))
    with tifffile.TiffFile(tmp_path / "whole.tif") as file:
        at = file.pages[0].tags["ImageLength"].valueoffset
    content[at : at + 4] = bytes(4)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.tif"):
        read(tmp_path / "a.tif")

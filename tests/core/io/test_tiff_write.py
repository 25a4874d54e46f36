"""Writing TIFF: what goes in comes out."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from deepbio.errors import ImageError, OutputError
from deepbio.image import RGB, Grid, Image, LabelMap, Table
from deepbio.io import read, read_labels, write
from deepbio.io.lut import label_colours
from deepbio.io.tiff_write import write as write_tiff

SIZES = {"T": 3, "C": 2, "Z": 5, "Y": 7, "X": 11}
AXES = ["YX", "ZYX", "TYX", "CYX", "TZYX", "CZYX", "TCYX", "TCZYX"]


def grid_for(axes: str, unit: str) -> Grid:
    if "Z" in axes:
        return Grid((5, 7, 11), (1.2, 0.8, 0.5), (-17.3, 42.9, 101.7), unit=unit)
    return Grid((7, 11), (0.8, 0.123456789), (-17.3, 0), unit=unit)


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif"])
@pytest.mark.parametrize("unit", ["pixel", "micrometer", "millimeter"])
@pytest.mark.parametrize("axes", AXES)
def test_images_come_back_equal(
    tmp_path: Path, rng: np.random.Generator, axes: str, unit: str, suffix: str
) -> None:
    pixels = rng.integers(-900, 4000, [SIZES[axis] for axis in axes]).astype(np.int16)
    channels = ("DAPI", "β-actin") if "C" in axes else ()
    image = Image(pixels, axes, grid_for(axes, unit), channels, 2.5 if "T" in axes else None)
    write(tmp_path / f"a{suffix}", image)
    back = read(tmp_path / f"a{suffix}")
    assert (back.axes, back.channels, back.frame_interval) == (axes, channels, image.frame_interval)
    assert back.grid == image.grid
    assert back.dtype == np.int16
    assert back.meta["notes"] == ()
    np.testing.assert_array_equal(back.array, pixels)


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif"])
@pytest.mark.parametrize("axes", ["YX", "ZYX", "TYX", "TZYX"])
@pytest.mark.parametrize("highest", [9, 70000])
def test_labels_come_back_equal(
    tmp_path: Path, rng: np.random.Generator, axes: str, highest: int, suffix: str
) -> None:
    pixels = rng.integers(0, highest + 1, [SIZES[axis] for axis in axes])
    pixels.flat[0] = highest
    labels = LabelMap(
        pixels, axes, grid_for(axes, "micrometer"), {1: "tumour", 2: "Größe"}, 60 if "T" in axes else None
    )
    path = tmp_path / f"a{suffix}"
    write(path, labels)
    back = read_labels(path)
    assert (back.axes, back.names, back.frame_interval) == (axes, labels.names, labels.frame_interval)
    assert back.grid == labels.grid
    np.testing.assert_array_equal(back.array, pixels)
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].dtype == (np.uint16 if highest < 65536 else np.uint32)
        assert file.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert file.pages[0].predictor == 1


def test_labels_show_in_colours_up_to_the_largest(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", LabelMap(np.array([[0, 3], [77, 1]])))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.imagej_metadata is not None
        assert (file.imagej_metadata["min"], file.imagej_metadata["max"]) == (0, 77)
        table = np.asarray(file.pages[0].tags["ColorMap"].value).reshape(3, 256)
    np.testing.assert_array_equal(table // 257, label_colours())


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif"])
def test_oblique_grids_come_back(tmp_path: Path, phantom: Image, flat_phantom: Image, suffix: str) -> None:
    for image in (phantom, flat_phantom):
        write(tmp_path / f"a{suffix}", image)
        back = read(tmp_path / f"a{suffix}")
        assert back.grid == image.grid
        np.testing.assert_array_equal(back.array, image.array)


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("axes", ["CYX", "TCYX", "CZYX"])
def test_colour_comes_back(
    tmp_path: Path, rng: np.random.Generator, axes: str, dtype: type, suffix: str
) -> None:
    sizes = {**SIZES, "C": 3}
    pixels = rng.integers(0, 255, [sizes[axis] for axis in axes]).astype(dtype)
    write(tmp_path / f"a{suffix}", Image(pixels, axes, channels=RGB))
    back = read(tmp_path / f"a{suffix}")
    assert (back.axes, back.channels) == (axes, RGB)
    np.testing.assert_array_equal(back.array, pixels)


@pytest.mark.parametrize(
    ("dtype", "stored", "in_ome"),
    [
        ("bool", "uint8", "uint8"),
        ("int8", "int16", "int8"),
        ("uint8", "uint8", "uint8"),
        ("uint32", "uint32", "uint32"),
        ("int32", "int32", "int32"),
        ("int64", "int32", "int32"),
        ("uint64", "uint32", "uint32"),
        ("float16", "float32", "float32"),
        ("float32", "float32", "float32"),
        ("float64", "float32", "float64"),
        (">i2", "int16", "int16"),
    ],
)
def test_types_that_imagej_has(
    tmp_path: Path, rng: np.random.Generator, dtype: str, stored: str, in_ome: str
) -> None:
    low = 0 if np.dtype(dtype).kind in "bu" else -100
    pixels = rng.integers(low, 100, (5, 7, 11)).astype(dtype)
    for suffix, expected in ((".tif", stored), (".ome.tif", in_ome)):
        write(tmp_path / f"a{suffix}", Image(pixels, "ZYX"))
        back = read(tmp_path / f"a{suffix}")
        assert back.dtype == expected
        np.testing.assert_array_equal(back.array, pixels)


def test_values_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="integers of 32 bits; found values from -1 to 4294967296"):
        write(tmp_path / "a.tif", Image(np.array([[-1, 2**32]])))
    with pytest.raises(OutputError, match="do not fit 32-bit floats"):
        write(tmp_path / "a.tif", Image(np.array([[0, 1e300]])))
    with pytest.raises(OutputError, match="does not fit a TIFF"):
        write(tmp_path / "a.tif", Image(np.zeros((7, 11)), grid=Grid((7, 11), (1, 1e11), unit="micrometer")))
    with pytest.raises(ImageError, match="holds the label -3"):
        write(tmp_path / "a.tif", LabelMap(np.array([[0, -3]])))
    assert list(tmp_path.iterdir()) == []


def test_infinity_is_kept(tmp_path: Path) -> None:
    pixels = np.array([[np.inf, -np.inf, np.nan, 1.5]])
    write(tmp_path / "a.tif", Image(pixels))
    np.testing.assert_array_equal(read(tmp_path / "a.tif").array, pixels)


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("fits", [True, False])
def test_bigtiff_above_4_gb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: bool, fits: bool
) -> None:
    monkeypatch.setattr("deepbio.io.tiff_write.CLASSIC", 100)  # as if that were the limit
    save = tifffile.TiffWriter.write

    def limited(self: tifffile.TiffWriter, *args: object, **options: object) -> object:
        if not fits and not self.tiff.is_bigtiff:
            raise struct.error("'I' format requires 0 <= number <= 4294967295")
        return save(self, *args, **options)

    monkeypatch.setattr(tifffile.TiffWriter, "write", limited)
    pixels = np.arange(77, dtype=np.uint16).reshape(7, 11)
    write(tmp_path / "a.tif", LabelMap(pixels) if labels else Image(pixels))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_bigtiff == (not labels or not fits)
    np.testing.assert_array_equal(read(tmp_path / "a.tif").array, pixels)
    assert len(list(tmp_path.iterdir())) == 1


def test_many_strips(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepbio.io.tiff_write.STRIP", 22 * 3)
    monkeypatch.setattr("deepbio.io.arrays.BLOCK", 22 * 5)
    pixels = rng.integers(0, 9, (3, 5, 7, 11))
    write(tmp_path / "a.tif", LabelMap(pixels, "TZYX"))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif").array, pixels)
    image = Image(rng.integers(0, 255, (2, 3, 7, 11)).astype(np.uint8), "TCYX", channels=RGB)
    write(tmp_path / "b.tif", image)
    np.testing.assert_array_equal(read(tmp_path / "b.tif").array, image.array)


def test_what_imagej_wrote_stays(tmp_path: Path) -> None:
    """A file that was read is written with the same numbers, to the last digit of the rational."""
    grid = Grid((7, 11), (1 / 3, 1e-5), (0.1, 7), unit="micrometer")
    write(tmp_path / "a.tif", Image(np.zeros((7, 11), np.uint8), grid=grid))
    first = read(tmp_path / "a.tif")
    write(tmp_path / "b.tif", first)
    assert first.grid == grid
    assert read(tmp_path / "b.tif").grid.spacing == first.grid.spacing


def test_tables_are_not_tiff(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="found a table"):
        write_tiff(tmp_path / "a.tif", Table({"a": [1]}))

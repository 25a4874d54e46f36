"""The real ImageJ opens what we write, and we open what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from deepbio.image import RGB, Grid, Image, LabelMap
from deepbio.io import read, write
from deepbio.io.lut import label_colours

EXAMPLES = Path(__file__).parents[3] / "examples"
GREY8, GREY16, GREY32, COLOUR = 0, 1, 2, 4
GRID = Grid((5, 7, 11), (1.2, 0.8, 0.5), (-3.0, 8.0, 0.6), unit="micrometer")


@pytest.fixture
def seen(java: Callable[..., str]) -> Callable[[Path], dict[str, Any]]:
    """What ImageJ says of a file."""

    def look(path: Path) -> dict[str, Any]:
        lines = [line for line in java("read", path).splitlines() if line.startswith("{")]
        return json.loads(lines[-1])

    return look


def planes(found: dict[str, Any]) -> np.ndarray:
    """ImageJ's pixels as TZCYX."""
    width, height, channels, slices, frames = found["dimensions"]
    return np.array(found["pixels"]).reshape(frames, slices, channels, height, width)


def assert_calibrated(found: dict[str, Any], *, interval: float = 2.5) -> None:
    assert found["unit"] == "µm"
    assert found["spacing"] == pytest.approx([1.2, 0.8, 0.5], rel=1e-9)
    assert found["origin"] == pytest.approx([6, -10, -0.5], rel=1e-9)
    assert (found["interval"], found["time_unit"]) == (interval, "sec")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_a_hyperstack(tmp_path: Path, seen: Any, rng: np.random.Generator, dtype: type) -> None:
    pixels = rng.integers(-90 if dtype in (np.int16, np.float32) else 0, 200, (3, 2, 5, 7, 11)).astype(dtype)
    write(tmp_path / "a.tif", Image(pixels, "TCZYX", GRID, ("DAPI", "GFP"), 2.5))
    found = seen(tmp_path / "a.tif")
    assert found["type"] == {np.uint8: GREY8, np.float32: GREY32}.get(dtype, GREY16)
    assert (found["dimensions"], found["hyperstack"], found["composite"]) == ([11, 7, 2, 5, 3], True, True)
    assert_calibrated(found)
    assert found["labels"] == ["DAPI", "GFP"] * 15
    np.testing.assert_array_equal(planes(found), pixels.swapaxes(1, 2))


@pytest.mark.parametrize("axes", ["YX", "ZYX", "TYX", "TZYX"])
@pytest.mark.parametrize("highest", [9, 60000, 70000])
def test_labels(tmp_path: Path, seen: Any, rng: np.random.Generator, axes: str, highest: int) -> None:
    sizes = {"T": 3, "Z": 5, "Y": 7, "X": 11}
    pixels = rng.integers(0, highest + 1, [sizes[axis] for axis in axes])
    pixels.flat[-1] = highest
    grid = GRID if "Z" in axes else Grid((7, 11), GRID.spacing[1:], GRID.origin[:2], unit="micrometer")
    write(tmp_path / "a.tif", LabelMap(pixels, axes, grid, {1: "tumour"}, 2.5 if "T" in axes else None))
    found = seen(tmp_path / "a.tif")
    assert found["type"] == (GREY16 if highest < 65536 else GREY32)
    assert found["dimensions"] == [11, 7, 1, 5 if "Z" in axes else 1, 3 if "T" in axes else 1]
    assert found["hyperstack"] == (axes == "TZYX")  # ImageJ: more than three dimensions
    assert found["range"] == [0, highest]
    assert found["spacing"][1:] == pytest.approx([0.8, 0.5], rel=1e-9)
    assert (found["unit"], found["interval"]) == ("µm", 2.5 if "T" in axes else 0)
    np.testing.assert_array_equal(np.array(found["lut"]).T, label_colours())
    np.testing.assert_array_equal(planes(found).ravel(), pixels.ravel())


def test_labels_of_32_bits_are_exact_up_to_16777216(tmp_path: Path, seen: Any) -> None:
    write(tmp_path / "a.tif", LabelMap(np.array([[0, 70001, 2**24 - 1, 2**24]])))
    assert seen(tmp_path / "a.tif")["pixels"] == [0, 70001, 2**24 - 1, 2**24]


@pytest.mark.parametrize("axes", ["CYX", "TCYX"])
def test_colour(tmp_path: Path, seen: Any, rng: np.random.Generator, axes: str) -> None:
    pixels = rng.integers(0, 256, (3, 7, 11) if axes == "CYX" else (4, 3, 7, 11)).astype(np.uint8)
    write(tmp_path / "a.tif", Image(pixels, axes, channels=RGB))
    found = seen(tmp_path / "a.tif")
    assert found["type"] == COLOUR
    assert found["dimensions"] == [11, 7, 1, 1, 4 if "T" in axes else 1]
    red, green, blue = np.moveaxis(pixels.astype(int), axes.index("C"), 0)
    assert found["pixels"] == ((red << 16) | (green << 8) | blue).ravel().tolist()


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int32, np.int64, np.float16, np.float64])
def test_types_that_imagej_does_not_have(
    tmp_path: Path, seen: Any, rng: np.random.Generator, dtype: type
) -> None:
    pixels = rng.integers(0 if dtype is bool else -100, 2 if dtype is bool else 100, (7, 11)).astype(dtype)
    write(tmp_path / "a.tif", Image(pixels))
    found = seen(tmp_path / "a.tif")
    np.testing.assert_array_equal(found["pixels"], pixels.ravel())


def test_an_uncalibrated_image_stays_so(tmp_path: Path, seen: Any) -> None:
    write(tmp_path / "a.tif", Image(np.zeros((7, 11), np.uint8)))
    found = seen(tmp_path / "a.tif")
    assert (found["unit"], found["spacing"], found["origin"], found["interval"]) == (
        "pixel",
        [1, 1, 1],
        [0, 0, 0],
        0,
    )


def test_an_oblique_image_opens(tmp_path: Path, seen: Any, phantom: Image) -> None:
    write(tmp_path / "a.tif", phantom)
    found = seen(tmp_path / "a.tif")
    assert (found["unit"], found["dimensions"]) == ("mm", [11, 7, 1, 5, 1])
    np.testing.assert_array_equal(planes(found)[0, :, 0], phantom.array)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.tif")), ids=lambda path: path.name)
def test_the_examples_open(seen: Any, path: Path) -> None:
    image = read(path)
    found = seen(path)
    assert found["dimensions"] == [image.size(axis) for axis in "XYCZT"]
    np.testing.assert_array_equal(planes(found).reshape(image.shape), image.array)


def test_why_labels_have_no_predictor(tmp_path: Path, seen: Any) -> None:
    """ImageJ 1.53t opens a deflated TIFF with a predictor without a word, with wrong values."""
    pixels = np.arange(77, dtype=np.uint16).reshape(7, 11) * 59
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression="zlib", predictor=True)
    np.testing.assert_array_equal(read(tmp_path / "a.tif").array, pixels)
    assert seen(tmp_path / "a.tif")["pixels"] != pixels.ravel().tolist()


@pytest.mark.parametrize("options", [{"bigtiff": True}, {"tile": (16, 16)}, {"compression": "zstd"}], ids=str)
def test_what_imagej_does_not_open(tmp_path: Path, seen: Any, options: dict) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((7, 11), np.uint16), **options)
    assert not seen(tmp_path / "a.tif")["opened"]


@pytest.fixture(scope="module")
def by_imagej(java: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("by_imagej")
    java("write", folder)
    return folder


@pytest.mark.parametrize("lazy", [False, True])
def test_what_imagej_wrote(by_imagej: Path, lazy: bool) -> None:
    image = read(by_imagej / "hyper.tif", lazy=lazy)
    assert (image.axes, image.shape, image.dtype) == ("TCZYX", (3, 2, 5, 7, 11), np.uint16)
    assert image.channels == ("DAPI", "GFP")
    assert image.frame_interval == 90
    assert image.grid == Grid((5, 7, 11), (1.2, 0.8, 0.5), (-3, 8, 0), unit="micrometer")
    assert image.meta["notes"] == ()
    expected = np.arange(3 * 5 * 2 * 7 * 11).reshape(3, 5, 2, 7, 11).swapaxes(1, 2)
    np.testing.assert_array_equal(image.numpy(), expected)


@pytest.mark.parametrize(("name", "dtype"), [("grey", np.uint8), ("float", np.float32)])
def test_planes_that_imagej_wrote(by_imagej: Path, name: str, dtype: type) -> None:
    image = read(by_imagej / f"{name}.tif")
    assert (image.axes, image.dtype, image.grid.unit) == ("YX", dtype, "micrometer")
    assert image.grid.spacing == pytest.approx((0.8, 0.5))
    np.testing.assert_array_equal(image.array, 3 * np.arange(77).reshape(7, 11))


def test_colours_that_imagej_wrote(by_imagej: Path) -> None:
    image = read(by_imagej / "colour.tif")
    assert (image.axes, image.is_rgb) == ("CZYX", True)
    assert image.grid.spacing == pytest.approx((1.2, 0.8, 0.5))
    np.testing.assert_array_equal(
        image.array[0], np.broadcast_to(10 * np.arange(5)[:, None, None], (5, 7, 11))
    )
    np.testing.assert_array_equal(image.array[1, 3], np.arange(77).reshape(7, 11))
    assert (image.array[2] == 200).all()

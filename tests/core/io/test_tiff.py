"""Reading TIFF: every kind that comes from a microscope, a camera or another program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from deepbio.errors import ImageError
from deepbio.image import RGB
from deepbio.io import info, read, read_labels

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture
def pixels(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 4000, (3, 5, 2, 7, 11)).astype(np.uint16)  # TZCYX


def imagej(path: Path, pixels: np.ndarray, axes: str, resolution: Any = (2, 4), **metadata: Any) -> Path:
    tifffile.imwrite(path, pixels, imagej=True, resolution=resolution, metadata={"axes": axes, **metadata})
    return path


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_hyperstack(tmp_path: Path, pixels: np.ndarray, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    labels = ["DAPI", "GFP"] * 15
    metadata = {
        "axes": "TZCYX",
        "unit": "um",
        "spacing": 1.5,
        "finterval": 2.5,
        "Labels": labels,
        "Info": "a note",
    }
    tifffile.imwrite(path, pixels, imagej=True, resolution=(2, 4), compression=compression, metadata=metadata)
    image = read(path)
    assert image.axes == "TCZYX"
    np.testing.assert_array_equal(image.array, pixels.swapaxes(1, 2))
    assert image.grid.spacing == (1.5, 0.25, 0.5)
    assert image.grid.unit == "micrometer"
    assert image.frame_interval == 2.5
    assert image.channels == ("DAPI", "GFP")
    assert image.meta["slice_labels"] == tuple(labels)
    assert image.meta["info"] == "a note"
    assert image.meta["notes"] == ()


@pytest.mark.parametrize(
    ("unit", "expected", "spacing"),
    [
        ("micron", "micrometer", (1.5, 0.25, 0.5)),
        ("\\u00B5m", "micrometer", (1.5, 0.25, 0.5)),
        ("nm", "micrometer", (0.0015, 0.00025, 0.0005)),
        ("mm", "millimeter", (1.5, 0.25, 0.5)),
        ("inch", "millimeter", (38.1, 6.35, 12.7)),
        ("pixel", "pixel", (1.5, 0.25, 0.5)),
        ("furlong", "pixel", (1.5, 0.25, 0.5)),
    ],
)
def test_units_of_imagej(
    tmp_path: Path, pixels: np.ndarray, unit: str, expected: str, spacing: tuple[float, ...]
) -> None:
    image = read(imagej(tmp_path / "a.tif", pixels[0, :, 0], "ZYX", unit=unit, spacing=1.5))
    assert image.grid.unit == expected
    assert image.grid.spacing == pytest.approx(spacing)
    assert bool(image.meta["notes"]) == (unit == "furlong")


@pytest.mark.parametrize(
    ("metadata", "seconds", "noted"),
    [
        ({"finterval": 2.5}, 2.5, False),
        ({"finterval": 2.5, "tunit": "min"}, 150, False),
        ({"finterval": 500, "tunit": "ms"}, 0.5, False),
        ({"finterval": 3, "tunit": "fortnight"}, None, True),
        ({"fps": 4}, 0.25, True),
        ({"finterval": 2, "fps": 4}, 2, False),
        ({}, None, False),
    ],
)
def test_frame_interval_of_imagej(
    tmp_path: Path, pixels: np.ndarray, metadata: dict, seconds: float | None, noted: bool
) -> None:
    image = read(imagej(tmp_path / "a.tif", pixels[:, 0, 0], "TYX", **metadata))
    assert image.frame_interval == pytest.approx(seconds) if seconds else image.frame_interval is None
    assert bool(image.meta["notes"]) == noted


def test_origin_of_imagej_counts_in_pixels(tmp_path: Path, pixels: np.ndarray) -> None:
    image = read(
        imagej(
            tmp_path / "a.tif",
            pixels[0, :, 0],
            "ZYX",
            unit="um",
            spacing=1.5,
            xorigin=6,
            yorigin=-10,
            zorigin=2,
        )
    )
    assert image.grid.origin == (-3.0, 2.5, -3.0)


def test_units_that_differ_by_axis(tmp_path: Path, pixels: np.ndarray) -> None:
    image = read(imagej(tmp_path / "a.tif", pixels[0, :, 0], "ZYX", unit="um", zunit="mm", spacing=0.002))
    assert image.grid.spacing == pytest.approx((2, 0.25, 0.5))


@pytest.mark.parametrize("labels", [["c:1/2 - a", "c:2/2 - a"], ["one", "one"], ["", "b"], ["a"]])
def test_labels_that_are_no_channel_names(tmp_path: Path, pixels: np.ndarray, labels: list[str]) -> None:
    assert read(imagej(tmp_path / "a.tif", pixels[0, 0], "CYX", Labels=labels)).channels == ()


def test_colour(tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (2, 7, 11, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels[0], photometric="rgb")
    tifffile.imwrite(
        tmp_path / "planar.tif", np.moveaxis(pixels[0], -1, 0), photometric="rgb", planarconfig="separate"
    )
    tifffile.imwrite(
        tmp_path / "stack.tif", pixels, imagej=True, photometric="rgb", metadata={"axes": "TYXS"}
    )
    tifffile.imwrite(
        tmp_path / "deep.tif",
        pixels[0].astype(np.uint16) * 257,
        photometric="rgb",
        compression="lzw",
        predictor=True,
    )
    for name in ("a.tif", "planar.tif"):
        image = read(tmp_path / name)
        assert (image.axes, image.channels) == ("CYX", RGB)
        np.testing.assert_array_equal(image.array, np.moveaxis(pixels[0], -1, 0))
    stack = read(tmp_path / "stack.tif")
    assert (stack.axes, stack.is_rgb) == ("TCYX", True)
    np.testing.assert_array_equal(stack.array, np.moveaxis(pixels, -1, 1))
    deep = read(tmp_path / "deep.tif")
    assert deep.is_rgb
    np.testing.assert_array_equal(deep.array, np.moveaxis(pixels[0].astype(int) * 257, -1, 0))


@pytest.mark.parametrize("lazy", [False, True])
def test_alpha(tmp_path: Path, rng: np.random.Generator, lazy: bool) -> None:
    pixels = rng.integers(0, 256, (7, 11, 4)).astype(np.uint8)
    pixels[..., 3] = 255
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    image = read(tmp_path / "a.tif", lazy=lazy)
    assert image.is_rgb
    np.testing.assert_array_equal(image.numpy(), np.moveaxis(pixels[..., :3], -1, 0))
    pixels[3, 4, 3] = 100
    tifffile.imwrite(tmp_path / "b.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    with pytest.raises(ImageError, match=r"b\.tif.*transparent"):
        read(tmp_path / "b.tif", lazy=lazy).numpy()


def test_more_than_three_samples_are_channels(tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (7, 11, 5)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig")
    image = read(tmp_path / "a.tif")
    assert (image.axes, image.shape, image.channels) == ("CYX", (5, 7, 11), ())
    np.testing.assert_array_equal(image.array, np.moveaxis(pixels, -1, 0))


VARIANTS = [
    {},
    {"compression": "zlib"},
    {"compression": "zlib", "predictor": True},
    {"compression": "lzw", "rowsperstrip": 3},
    {"rowsperstrip": 2},
    {"tile": (16, 32)},
    {"tile": (16, 32), "compression": "zstd"},
    {"bigtiff": True},
    {"byteorder": ">"},
    {"byteorder": ">", "compression": "zlib", "tile": (32, 16)},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]
)
def test_whole_and_lazy_are_equal(
    tmp_path: Path, rng: np.random.Generator, options: dict, dtype: str
) -> None:
    pixels = (rng.normal(size=(3, 47, 61)) * 90).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", metadata=None, **options)
    whole, lazy = read(tmp_path / "a.tif"), read(tmp_path / "a.tif", lazy=True)
    assert (whole.axes, whole.dtype) == ("ZYX", np.dtype(dtype))
    assert whole.meta["notes"] == ("The pages have no named axis: they are taken as slices (Z).",)
    assert whole.dtype.isnative
    np.testing.assert_array_equal(whole.array, pixels)
    assert not isinstance(lazy.array, np.ndarray)
    np.testing.assert_array_equal(lazy.array[1:, 13:40:3, -20:], pixels[1:, 13:40:3, -20:])
    np.testing.assert_array_equal(lazy.numpy(), pixels)


def test_one_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 2, (7, 11)).astype(bool)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack")
    image = read(tmp_path / "a.tif")
    assert image.dtype == bool
    np.testing.assert_array_equal(image.array, pixels)
    labels = read_labels(tmp_path / "a.tif")
    np.testing.assert_array_equal(labels.array, pixels)


def test_ome(tmp_path: Path, pixels: np.ndarray) -> None:
    metadata = {
        "axes": "TZCYX",
        "PhysicalSizeX": 500,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.25,
        "PhysicalSizeYUnit": "µm",
        "PhysicalSizeZ": 0.0015,
        "PhysicalSizeZUnit": "mm",
        "TimeIncrement": 2,
        "TimeIncrementUnit": "min",
        "Channel": {"Name": ["DAPI", "GFP"]},
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata=metadata)
    image = read(tmp_path / "a.ome.tif")
    assert (image.axes, image.channels, image.frame_interval) == ("TCZYX", ("DAPI", "GFP"), 120)
    assert image.grid.unit == "micrometer"
    assert image.grid.spacing == pytest.approx((1.5, 0.25, 0.5))
    np.testing.assert_array_equal(image.array, pixels.swapaxes(1, 2))


def test_ome_times_of_planes(tmp_path: Path, pixels: np.ndarray) -> None:
    planes = {"DeltaT": [0.0, 60.5, 121.0], "TheC": [0] * 3, "TheZ": [0] * 3, "TheT": [0, 1, 2]}
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels[:, 0, 0], metadata={"axes": "TYX", "Plane": planes})
    assert read(tmp_path / "a.ome.tif").frame_interval == pytest.approx(60.5)


def test_first_of_several_ome_images_and_largest_level(tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 255, (64, 96)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        file.write(pixels, subifds=1, tile=(16, 16), metadata={"axes": "YX"})
        file.write(pixels[::2, ::2], subfiletype=1, tile=(16, 16))
        file.write(pixels[:20, :30], tile=(16, 16), metadata={"axes": "YX"})
    image = read(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(image.array, pixels)
    assert any("2 images" in note for note in image.meta["notes"])


@pytest.mark.parametrize(
    ("resolution", "unit", "expected", "noted"),
    [
        ((20000, 40000), "centimeter", ("micrometer", (0.25, 0.5)), False),
        ((50800, 25400), "inch", ("micrometer", (1, 0.5)), False),
        ((300, 300), "inch", ("pixel", (1, 1)), True),
        ((72, 72), "inch", ("pixel", (1, 1)), True),
        ((5, 5), "none", ("pixel", (1, 1)), False),
    ],
)
def test_resolution_tags(
    tmp_path: Path, pixels: np.ndarray, resolution: Any, unit: str, expected: Any, noted: bool
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", pixels[0, 0, 0], resolution=resolution, resolutionunit=unit, metadata=None
    )
    image = read(tmp_path / "a.tif")
    assert image.grid.unit == expected[0]
    assert image.grid.spacing == pytest.approx(expected[1])
    assert any("printing" in note for note in image.meta["notes"]) == noted


@pytest.mark.parametrize(("photometric", "word"), [("miniswhite", "white"), ("palette", "colour table")])
def test_values_are_as_stored(tmp_path: Path, photometric: str, word: str) -> None:
    pixels = np.arange(77, dtype=np.uint8).reshape(7, 11)
    colormap = np.zeros((3, 256), np.uint16) if photometric == "palette" else None
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=photometric, colormap=colormap, metadata=None)
    image = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.array, pixels)
    assert any(word in note for note in image.meta["notes"])


@pytest.mark.parametrize(
    ("axes", "shape", "found"),
    [
        ("QYX", (3, 7, 11), "ZYX"),
        ("TQYX", (2, 3, 7, 11), "TZYX"),
        ("ZQYX", (2, 3, 7, 11), "TZYX"),
        ("QQYX", (2, 3, 7, 11), "TZYX"),
    ],
)
def test_pages_without_an_axis(tmp_path: Path, axes: str, shape: tuple[int, ...], found: str) -> None:
    pixels = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", metadata={"axes": axes})
    image = read(tmp_path / "a.tif")
    assert image.axes == found
    assert image.meta["notes"]
    expected = pixels.swapaxes(0, 1) if axes == "ZQYX" else pixels
    np.testing.assert_array_equal(image.array, expected)


def test_too_many_axes(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.zeros((2, 2, 2, 7, 11), np.uint8),
        photometric="minisblack",
        metadata={"axes": "QQQYX"},
    )
    with pytest.raises(ImageError, match=r"a\.tif.*'QQQYX'"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("name", "axes", "shape", "count"),
    [
        ("fluorescence", "YX", (520, 696), 50),
        ("histology", "CYX", (3, 256, 320), 60),
        ("timelapse", "TYX", (24, 130, 130), 0),
    ],
)
def test_examples(name: str, axes: str, shape: tuple[int, ...], count: int) -> None:
    path = next(p for p in EXAMPLES.glob(f"{name}.*"))
    image = read(path)
    assert (image.axes, image.shape) == (axes, shape)
    facts = info(path)
    assert (facts["axes"], facts["shape"], facts["colour"]) == (axes, list(shape), name == "histology")
    if count:
        labels = read_labels(EXAMPLES / f"{name}_labels.tif")
        assert labels.grid.shape == image.grid.shape
        assert labels.count == count

"""An ImagePlus as an array: what is sliced is read, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from deepbio.errors import ImageError
from imagej_bridge.pixels import StackPixels
from tests.imagej.images import ALL_AXES, SIZES, imageplus, java

KEYS = [
    ...,
    slice(None),
    0,
    -1,
    (0, 1),
    (slice(1, 3), ..., slice(2, 5), slice(None, None, 3)),
    (..., 4, 5),
    (..., slice(None), 3),
    (slice(None, None, -1), ..., slice(3, 3)),
    (slice(5, 5),),
    (np.int64(1), Ellipsis),
]


def made(image: Any) -> StackPixels:
    return StackPixels(image, range(image.getNFrames()), range(image.getNSlices()))


@pytest.mark.parametrize("axes", ALL_AXES)
def test_every_order_of_axes(session: Any, rng: np.random.Generator, axes: str) -> None:
    pixels = rng.integers(0, 65536, [SIZES[axis] for axis in axes]).astype(np.uint16)
    found = made(imageplus(pixels, axes))
    assert (found.axes, found.shape, found.dtype) == (axes, pixels.shape, np.uint16)
    np.testing.assert_array_equal(found[...], pixels)


@pytest.mark.parametrize("key", KEYS, ids=str)
@pytest.mark.parametrize("axes", ["TCZYX", "ZYX", "TYX"])
def test_slices_as_numpy(session: Any, rng: np.random.Generator, axes: str, key: Any) -> None:
    pixels = rng.integers(0, 256, [SIZES[axis] for axis in axes]).astype(np.uint8)
    found = made(imageplus(pixels, axes))[key]
    assert found.shape == pixels[key].shape
    np.testing.assert_array_equal(found, pixels[key])


@pytest.mark.parametrize("key", [(2, 3), 2, (slice(1, 4), -1), (..., slice(None, None, 2))], ids=str)
def test_slices_of_a_plane(session: Any, rng: np.random.Generator, key: Any) -> None:
    pixels = rng.integers(0, 256, (7, 11)).astype(np.float32)
    np.testing.assert_array_equal(made(imageplus(pixels))[key], pixels[key])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_every_type(session: Any, rng: np.random.Generator, dtype: type) -> None:
    limits = (0, 1) if dtype == np.float32 else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    pixels = rng.integers(*limits, (5, 7, 11), endpoint=True).astype(dtype)
    pixels.flat[:2] = limits
    if dtype == np.float32:
        pixels = pixels / np.float32(3)
        pixels.flat[:4] = np.nan, np.inf, -np.inf, -1e-30
    found = made(imageplus(pixels, "ZYX"))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[...], pixels)


def test_rgb(session: Any, rng: np.random.Generator) -> None:
    colour = rng.integers(0, 256, (3, 5, 7, 11)).astype(np.int32)
    packed = (-1 << 24) | colour[0] << 16 | colour[1] << 8 | colour[2]
    found = made(imageplus(packed, "ZYX", rgb=True))
    assert (found.axes, found.dtype) == ("CZYX", np.uint8)
    np.testing.assert_array_equal(found[...], colour)
    np.testing.assert_array_equal(found[1, 2:4, 3], colour[1, 2:4, 3])


def test_rgb_with_channels_is_refused(session: Any) -> None:
    image = imageplus(np.zeros((2, 7, 11), np.int32), "ZYX", rgb=True)
    image.setDimensions(2, 1, 1)
    with pytest.raises(ImageError, match="RGB and has 2 channels"):
        made(image)


def test_eight_bit_colour_is_its_indices(session: Any, rng: np.random.Generator) -> None:
    packed = (rng.integers(0, 256, (3, 7, 11)).astype(np.int32) * [[[65536]], [[256]], [[1]]]).sum(0)
    image = imageplus(packed.astype(np.int32), rgb=True)
    java("ij.process.ImageConverter")(image).convertRGBtoIndexedColor(16)
    assert int(image.getType()) == 3
    stored = np.array(image.getProcessor().getPixels()[:], np.int8).view(np.uint8).reshape(7, 11)
    np.testing.assert_array_equal(made(image)[...], stored)


@pytest.mark.parametrize(("dtype", "coefficients"), [(np.uint8, (-3.5, 0.25)), (np.uint16, (-1024.0, 1.5))])
def test_calibrated_grey_values(
    session: Any, rng: np.random.Generator, dtype: type, coefficients: tuple[float, float]
) -> None:
    import jpype

    pixels = rng.integers(0, np.iinfo(dtype).max, (5, 7, 11), endpoint=True).astype(dtype)
    image = imageplus(pixels, "ZYX")
    straight = java("ij.measure.Calibration").STRAIGHT_LINE
    image.getCalibration().setFunction(straight, jpype.JArray(jpype.JDouble)(coefficients), "HU")
    found = made(image)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[...], coefficients[0] + coefficients[1] * pixels, rtol=1e-6)


def test_part_of_a_hyperstack(session: Any, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (3, 2, 5, 7, 11)).astype(np.uint8)
    found = StackPixels(imageplus(pixels, "TCZYX"), range(1, 2), range(1, 4))
    assert (found.axes, found.shape) == ("CZYX", (2, 3, 7, 11))
    np.testing.assert_array_equal(found[...], pixels[1, :, 1:4])


def test_the_image_is_not_changed_by_writing_to_what_was_read(session: Any) -> None:
    image = imageplus(np.zeros((2, 7, 11), np.uint8), "ZYX")
    found = made(image)[...]
    found[...] = 9
    assert made(image)[...].max() == 0


class CountingStack:
    """A virtual stack of TIFF files that counts what is read of it."""

    def __init__(self, folder: Path, count: int) -> None:
        self.read: list[int] = []
        first = tifffile.imread(folder / "1.tif")
        stack = java("ij.VirtualStack")(first.shape[1], first.shape[0], None, f"{folder}/")
        for number in range(1, count + 1):
            stack.addSlice(f"{number}.tif")
        self.stack = stack

    def isVirtual(self) -> bool:
        return True

    def getPixels(self, number: int) -> Any:
        self.read.append(int(number))
        return self.stack.getPixels(number)


@pytest.fixture
def virtual(session: Any, tmp_path: Path, rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    """A virtual hyperstack of 2 channels and 6 slices, and its pixels."""
    pixels = rng.integers(0, 65536, (2, 6, 7, 11)).astype(np.uint16)
    for number in range(12):
        tifffile.imwrite(tmp_path / f"{number + 1}.tif", pixels[number % 2, number // 2])
    image = java("ij.ImagePlus")("virtual", CountingStack(tmp_path, 12).stack)
    image.setDimensions(2, 6, 1)
    return image, pixels


def test_a_virtual_stack(virtual: Any) -> None:
    image, pixels = virtual
    found = made(image)
    assert image.getStack().isVirtual()
    np.testing.assert_array_equal(found[...], pixels)


def test_a_virtual_stack_is_read_plane_by_plane(virtual: Any, tmp_path: Path) -> None:
    image, pixels = virtual
    found = made(image)
    counting = found._stack = CountingStack(tmp_path, 12)
    assert counting.read == []
    np.testing.assert_array_equal(found[:, 3], pixels[:, 3])
    assert counting.read == [7, 8]
    np.testing.assert_array_equal(found[1, 3, 2:5], pixels[1, 3, 2:5])  # tile by tile: not decoded again
    assert counting.read == [7, 8]
    for z in range(6):
        np.testing.assert_array_equal(found[:, z], pixels[:, z])
    assert sorted(counting.read) == [1, 2, 3, 4, 5, 6, 7, 7, 8, 8, 9, 10, 11, 12]
    assert len(found._cache) == 4

"""ImagePlus to Image and LabelMap, and back: pixels, axes, calibration, and what only ImageJ knows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deepbio.errors import OptionError
from deepbio.image import RGB, Grid, Image, LabelMap
from deepbio.io.lut import label_colours
from imagej_bridge.convert import to_image, to_imageplus
from tests.imagej.images import ALL_AXES, SIZES, imageplus, java, planes

TYPES = [(np.uint8, 0), (np.uint16, 1), (np.int16, 1), (np.float32, 2)]
LUTS = {"red": (1, 0, 0), "green": (0, 1, 0)}


def pixels_of(rng: np.random.Generator, axes: str, dtype: type = np.uint16) -> np.ndarray:
    low, high = (-1000, 1000) if dtype in (np.int16, np.float32) else (0, np.iinfo(dtype).max)
    shape = [SIZES[axis] for axis in axes]
    return rng.integers(low, high, shape, endpoint=True).astype(dtype)


def calibrated(image: Any, **values: Any) -> Any:
    """Set what `values` name of the calibration: units through their setters."""
    own = image.getCalibration()
    for name, value in values.items():
        if name in ("Unit", "XUnit", "YUnit", "ZUnit", "TimeUnit"):
            getattr(own, f"set{name}")(value)
        else:
            setattr(own, name, value)
    return image


def lut_of(lut: Any) -> np.ndarray:
    table = np.frombuffer(bytes(memoryview(lut.getBytes())), np.uint8)
    return table.reshape(3, 256)


# -- pixels and axes


@pytest.mark.parametrize("axes", ALL_AXES)
@pytest.mark.parametrize(("dtype", "kind"), TYPES)
def test_there_and_back(session: Any, rng: np.random.Generator, axes: str, dtype: type, kind: int) -> None:
    pixels = pixels_of(rng, axes, dtype)
    first = imageplus(pixels, axes)
    image = to_image(first)
    assert (image.axes, image.dtype) == (axes, dtype)
    np.testing.assert_array_equal(image.numpy(), pixels)

    again = to_imageplus(image, "again")
    assert (again.getType(), str(again.getTitle())) == (kind, "again")
    assert list(again.getDimensions()) == list(first.getDimensions())
    assert again.isHyperStack() == (sum(axis in axes for axis in "TCZ") > 1)
    assert again.isComposite() == ("C" in axes)
    np.testing.assert_array_equal(planes(again), planes(first))
    np.testing.assert_array_equal(to_image(again).numpy(), pixels)


@pytest.mark.parametrize("axes", ["YX", "ZYX", "TYX", "TZYX"])
def test_rgb(session: Any, rng: np.random.Generator, axes: str) -> None:
    packed = rng.integers(0, 2**24, [SIZES[axis] for axis in axes]).astype(np.int32)
    image = to_image(imageplus(packed, axes, rgb=True))
    at = image.axes.index("C")
    assert image.is_rgb
    assert image.axes.replace("C", "") == axes
    for number in range(3):
        np.testing.assert_array_equal(image.numpy().take(number, at), packed >> (16 - 8 * number) & 255)
    again = to_imageplus(image)
    assert int(again.getType()) == 4
    np.testing.assert_array_equal(planes(again) & 0xFFFFFF, packed.reshape(-1, 7, 11))


@pytest.mark.parametrize(
    ("pixels", "kind", "stored"),
    [
        (np.array([[True, False]]), 0, [1, 0]),
        (np.array([[-128, 127]], np.int8), 1, [32640, 32895]),
        (np.array([[-5, 70000]], np.int32), 2, [-5, 70000]),
        (np.array([[1e300, 0.5]]), 2, [np.inf, 0.5]),
        (np.array([[1, 65535]], ">u2"), 1, [1, 65535]),
        (np.array([[-2, 300]], ">i2"), 1, [32766, 33068]),
        (np.array([[0.25, -7]], np.float16), 2, [0.25, -7]),
    ],
    ids=["bool", "int8", "int32", "float64", "big-endian", "big-endian signed", "float16"],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_types_that_imagej_does_not_have(session: Any, pixels: np.ndarray, kind: int, stored: Any) -> None:
    image = to_imageplus(Image(pixels))
    assert int(image.getType()) == kind
    assert planes(image).ravel().tolist() == stored


def test_the_indices_of_8_bit_colour_are_told_of(session: Any, rng: np.random.Generator) -> None:
    image = imageplus(rng.integers(0, 2**24, (7, 11)).astype(np.int32), rgb=True)
    java("ij.process.ImageConverter")(image).convertRGBtoIndexedColor(16)
    assert ["8-bit colour" in note for note in to_image(image).meta["notes"]] == [True]


def test_grey_shown_in_colours_is_grey(session: Any, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (7, 11)).astype(np.uint8)
    imageplus(pixels).show()
    session.run_macro('run("Fire");')
    image = session.to_image()
    np.testing.assert_array_equal(image.numpy(), pixels)
    assert image.meta["notes"] == ()


def test_channels_of_16_bit_colour_stay_channels(session: Any, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 65536, (3, 7, 11)).astype(np.uint16)
    image = to_imageplus(Image(pixels, "CYX", channels=RGB))
    assert (int(image.getType()), int(image.getNChannels())) == (1, 3)
    np.testing.assert_array_equal(planes(image), pixels)


def test_the_copy_is_a_copy(session: Any) -> None:
    first = imageplus(np.full((7, 11), 5, np.uint8))
    again = to_imageplus(to_image(first))
    again.getProcessor().set(0)
    assert planes(first).min() == 5


# -- calibration


@pytest.mark.parametrize(
    ("units", "unit", "spacing"),
    [
        ({"Unit": "micron"}, "micrometer", (2.5, 0.75, 0.5)),
        ({"Unit": "µm"}, "micrometer", (2.5, 0.75, 0.5)),
        ({"Unit": "um"}, "micrometer", (2.5, 0.75, 0.5)),
        ({"Unit": "nm"}, "micrometer", (0.0025, 0.00075, 0.0005)),
        ({"Unit": "mm"}, "millimeter", (2.5, 0.75, 0.5)),
        ({"Unit": "cm"}, "millimeter", (25, 7.5, 5)),
        ({"Unit": "inch"}, "millimeter", (63.5, 19.05, 12.7)),
        ({"Unit": "pixel"}, "pixel", (2.5, 0.75, 0.5)),
        ({"Unit": "furlong"}, "pixel", (2.5, 0.75, 0.5)),
        ({"Unit": "micron", "YUnit": "nm"}, "micrometer", (2.5, 0.00075, 0.5)),
        ({"Unit": "mm", "YUnit": "micron", "ZUnit": "cm"}, "millimeter", (25, 0.00075, 0.5)),
    ],
    ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else "",
)
def test_units(session: Any, units: dict[str, str], unit: str, spacing: tuple[float, ...]) -> None:
    image = imageplus(np.zeros((5, 7, 11), np.uint8), "ZYX")
    calibrated(image, pixelWidth=0.5, pixelHeight=0.75, pixelDepth=2.5, **units)
    grid = to_image(image).grid
    assert grid.unit == unit
    assert grid.spacing == pytest.approx(spacing, rel=1e-12)
    notes = to_image(image).meta["notes"]
    assert bool(notes) == (units["Unit"] == "furlong"), notes
    assert all("furlong" in note for note in notes)


def test_origin(session: Any) -> None:
    image = imageplus(np.zeros((5, 7, 11), np.uint8), "ZYX")
    calibrated(
        image, Unit="mm", pixelWidth=0.5, pixelHeight=0.75, pixelDepth=2, xOrigin=4, yOrigin=-2, zOrigin=3
    )
    assert to_image(image).grid.origin == pytest.approx((-2, 1.5, -6))
    assert to_image(image, slices="3-5").grid.origin == pytest.approx((-2, 1.5, -2))


@pytest.mark.parametrize(
    ("interval", "unit", "seconds"),
    [
        (2.5, "sec", 2.5),
        (2.5, "s", 2.5),
        (250, "msec", 0.25),
        (2, "min", 120),
        (0, "sec", None),
        (2, "moons", None),
    ],
)
def test_frame_interval(session: Any, interval: float, unit: str, seconds: float | None) -> None:
    image = imageplus(np.zeros((3, 7, 11), np.uint8), "TYX")
    calibrated(image, frameInterval=float(interval), TimeUnit=unit)
    found = to_image(image)
    assert found.frame_interval == (None if seconds is None else pytest.approx(seconds))
    assert ("moons" in " ".join(found.meta["notes"])) == (unit == "moons")


@pytest.mark.parametrize("wrong", [0.0, -0.5, float("nan")])
def test_a_pixel_without_size_has_size_one(session: Any, wrong: float) -> None:
    image = calibrated(
        imageplus(np.zeros((7, 11), np.uint8)), Unit="micron", pixelWidth=wrong, pixelHeight=0.5
    )
    found = to_image(image)
    assert found.grid.spacing == (0.5, 1.0)
    assert len(found.meta["notes"]) == 1


@pytest.mark.parametrize("kind", [Image, LabelMap])
@pytest.mark.parametrize(("unit", "told"), [("micrometer", "µm"), ("millimeter", "mm"), ("pixel", "pixel")])
def test_a_grid_as_calibration(session: Any, kind: type, unit: str, told: str) -> None:
    grid = Grid((5, 7, 11), (1.2, 0.8, 0.5), (-3, 8, 0.6), unit=unit)
    made = to_imageplus(kind(np.zeros((3, 5, 7, 11), np.uint8), "TZYX", grid, frame_interval=2.5))
    own = made.getCalibration()
    assert str(own.getUnit()) == told
    assert (own.pixelWidth, own.pixelHeight, own.pixelDepth) == (0.5, 0.8, 1.2)
    assert [own.xOrigin, own.yOrigin, own.zOrigin] == pytest.approx([6, -10, -0.5])
    assert (own.frameInterval, str(own.getTimeUnit())) == (2.5, "sec")
    assert to_image(made).grid == grid


def test_calibration_of_another_image(session: Any) -> None:
    like = calibrated(
        imageplus(np.zeros((3, 7, 11), np.int16), "TYX"),
        Unit="nm",
        pixelWidth=65.0,
        pixelHeight=65.0,
        frameInterval=3.0,
    )
    made = to_imageplus(LabelMap(np.ones((3, 7, 11), np.uint16), "TYX"), like=like)
    own = made.getCalibration()
    assert (str(own.getUnit()), own.pixelWidth, own.frameInterval) == ("nm", 65, 3)
    assert not own.calibrated()  # signed were the intensities, not the labels
    own.pixelWidth = 1.0
    assert like.getCalibration().pixelWidth == 65


# -- parts


@pytest.mark.parametrize(
    ("frames", "slices", "axes", "part"),
    [
        ("all", "all", "TCZYX", np.s_[:, :, :]),
        ("2", "all", "CZYX", np.s_[1]),
        ("current", "current", "CYX", np.s_[2, :, 1]),
        ("1-2", "3-4", "TCZYX", np.s_[:2, :, 2:4]),
        ("all", "5", "TCYX", np.s_[:, :, 4]),
    ],
)
def test_parts(
    session: Any, rng: np.random.Generator, frames: str, slices: str, axes: str, part: Any
) -> None:
    pixels = pixels_of(rng, "TCZYX")
    image = imageplus(pixels, "TCZYX")
    image.setPosition(2, 2, 3)
    found = to_image(image, frames=frames, slices=slices)
    assert found.axes == axes
    np.testing.assert_array_equal(found.numpy(), pixels[part])


def test_parts_that_are_not_there(session: Any) -> None:
    image = imageplus(np.zeros((3, 7, 11), np.uint8), "TYX")
    with pytest.raises(OptionError, match="'frames' is '4'; the image has 3"):
        to_image(image, frames="4")
    with pytest.raises(OptionError, match="'slices' is '2'; the image has 1"):
        to_image(image, slices="2")


# -- what only ImageJ knows


def coloured(pixels: np.ndarray, axes: str) -> Any:
    image = imageplus(pixels, axes)
    lut = java("ij.process.LUT").createLutFromColor
    colours = [java("java.awt.Color").magenta, java("java.awt.Color").green]
    for channel, (colour, span) in enumerate(zip(colours, [(100, 900), (5, 70)], strict=True), start=1):
        image.setPosition(channel, 1, 1)
        image.setChannelLut(lut(colour), channel)
        image.setDisplayRange(*span)
    image.setPosition(1, 1, 1)
    return image


@pytest.mark.parametrize("axes", ["CYX", "TCZYX"])
def test_channel_colours_and_ranges(session: Any, rng: np.random.Generator, axes: str) -> None:
    again = to_imageplus(to_image(coloured(pixels_of(rng, axes), axes)))
    magenta, green = again.getLuts()
    ramp = np.arange(256)
    np.testing.assert_array_equal(lut_of(magenta), [ramp, ramp * 0, ramp])
    np.testing.assert_array_equal(lut_of(green), [ramp * 0, ramp, ramp * 0])
    assert [(lut.min, lut.max) for lut in (magenta, green)] == [(100, 900), (5, 70)]


@pytest.mark.parametrize(("dtype", "kind"), TYPES)
def test_colour_and_range_of_a_single_channel(
    session: Any, rng: np.random.Generator, dtype: type, kind: int
) -> None:
    image = imageplus(pixels_of(rng, "ZYX", dtype), "ZYX")
    image.setLut(java("ij.process.LUT").createLutFromColor(java("java.awt.Color").cyan))
    image.setDisplayRange(20, 90)
    again = to_imageplus(to_image(image))
    assert (again.getDisplayRangeMin(), again.getDisplayRangeMax()) == pytest.approx((20, 90))
    assert lut_of(again.getLuts()[0])[:, 255].tolist() == [0, 255, 255]


@pytest.mark.parametrize("mode", [1, 2, 3])
def test_display_mode(session: Any, rng: np.random.Generator, mode: int) -> None:
    image = coloured(pixels_of(rng, "CZYX"), "CZYX")
    image.setMode(mode)
    assert int(to_imageplus(to_image(image)).getMode()) == mode


def test_slice_labels(session: Any, rng: np.random.Generator) -> None:
    image = imageplus(pixels_of(rng, "TZYX"), "TZYX")
    labels = [f"t{t} z{z} µ\nmore" for t in range(3) for z in range(5)]
    for number, label in enumerate(labels, start=1):
        image.getStack().setSliceLabel(label, number)
    again = to_imageplus(to_image(image))
    assert [str(again.getStack().getSliceLabel(n)) for n in range(1, 16)] == labels
    assert to_imageplus(to_image(image, frames="2")).getStack().getSliceLabel(1) is None


def test_slice_labels_may_name_channels(session: Any, rng: np.random.Generator) -> None:
    image = imageplus(pixels_of(rng, "CZYX"), "CZYX")
    for number in range(1, 11):
        image.getStack().setSliceLabel("GFP" if number % 2 else "DAPI", number)
    found = to_image(image)
    assert found.channels == ("GFP", "DAPI")
    fresh = to_imageplus(Image(found.numpy(), "CZYX", channels=found.channels))
    assert [str(fresh.getStack().getSliceLabel(n)) for n in (1, 2, 3)] == ["GFP", "DAPI", "GFP"]


@pytest.mark.parametrize("whose", ["stack", "property"])
def test_the_label_of_a_single_plane(session: Any, whose: str) -> None:
    image = java("ij.ImagePlus")("image", java("ij.process.ByteProcessor")(11, 7))
    image.setProperty("Info", "taken: yesterday")
    if whose == "stack":
        image.show()
        session.run_macro('setMetadata("Label", "well A1");')
    else:
        image.setProp("Slice_Label", "well A1")
    assert str(to_imageplus(to_image(image)).getStack().getSliceLabel(1)) == "well A1"


def test_the_info_of_a_single_plane_is_not_its_label(session: Any) -> None:
    image = java("ij.ImagePlus")("image", java("ij.process.ByteProcessor")(11, 7))
    image.setProperty("Info", "taken: yesterday")
    assert str(image.getStack().getSliceLabel(1)) == "image\ntaken: yesterday"  # so says ImageJ
    assert to_image(image).meta["imagej"]["slice_labels"] == []


def test_overlay_and_info(session: Any, rng: np.random.Generator) -> None:
    image = imageplus(pixels_of(rng, "ZYX"), "ZYX")
    overlay = java("ij.gui.Overlay")()
    oval, text = java("ij.gui.OvalRoi")(2, 3, 4, 3), java("ij.gui.TextRoi")(1.0, 1.0, "here")
    oval.setPosition(2)
    oval.setName("first")
    oval.setStrokeColor(java("java.awt.Color").red)
    overlay.add(oval)
    overlay.add(text)
    image.setOverlay(overlay)
    image.setProperty("Info", "taken: yesterday\nby: µ")
    again = to_imageplus(to_image(image))
    kept = again.getOverlay()
    assert kept.size() == 2
    assert (str(kept.get(0).getName()), kept.get(0).getPosition()) == ("first", 2)
    assert kept.get(0).getStrokeColor().equals(java("java.awt.Color").red)
    assert str(kept.get(1).getText()).strip() == "here"
    assert str(again.getProperty("Info")) == "taken: yesterday\nby: µ"


def test_the_title_is_the_source(session: Any) -> None:
    assert to_image(imageplus(np.zeros((7, 11), np.uint8), title="a b.tif")).meta["source"] == "a b.tif"


# -- labels


@pytest.mark.parametrize("axes", ["YX", "ZYX", "TYX", "TZYX"])
@pytest.mark.parametrize(("highest", "kind"), [(0, 1), (3, 1), (65535, 1), (65536, 2), (2**24, 2)])
def test_labels(session: Any, rng: np.random.Generator, axes: str, highest: int, kind: int) -> None:
    labels = rng.integers(0, highest, [SIZES[axis] for axis in axes], endpoint=True)
    labels.flat[-1] = highest
    made = to_imageplus(LabelMap(labels, axes), "found")
    assert (int(made.getType()), str(made.getTitle())) == (kind, "found")
    assert (made.getDisplayRangeMin(), made.getDisplayRangeMax()) == (0, max(1, highest))
    np.testing.assert_array_equal(lut_of(made.getProcessor().getLut()), label_colours())
    np.testing.assert_array_equal(planes(made), labels.reshape(-1, 7, 11))
    assert made.isHyperStack() == (axes == "TZYX")

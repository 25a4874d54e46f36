"""The picture of a result: sizes, colours, outlines, frames, counts; memory of large images."""

import numpy as np
import pytest

from deepbio.image import RGB, Grid, Image, LabelMap
from deepbio.io.lut import label_colours
from deepbio.render import count_per_frame, outlines, overlay, stretch
from deepbio.render.overlay import _frames
from deepbio.render.page import CLASS_COLORS

YELLOW = (255, 221, 0)


def disks(*sizes: int) -> np.ndarray:
    """Labels 1.. as squares of different sizes in a row, on an odd canvas."""
    canvas = np.zeros((31, 53), np.uint16)
    for number, size in enumerate(sizes, start=1):
        left = 3 + 15 * (number - 1)
        canvas[5 : 5 + size, left : left + size] = number
    return canvas


def count(picture: np.ndarray, color: tuple[int, ...]) -> int:
    return int((picture == color).all(axis=-1).sum())


def color(label: int) -> tuple[int, ...]:
    return tuple(label_colours()[:, label].tolist())


def test_outlines_are_one_pixel_wide_inside_each_object() -> None:
    labels = disks(5, 9)
    edge = outlines(labels)
    assert edge[labels == 1].sum() == 16  # the rim of a 5 x 5 square
    assert edge[labels == 2].sum() == 32
    assert not edge[labels == 0].any()


def test_touching_objects_both_get_their_line() -> None:
    labels = np.array([[1, 1, 1, 2, 2, 2]] * 3)
    assert outlines(labels)[1].tolist() == [False, False, True, True, False, False]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
def test_stretch_covers_the_whole_range(dtype: type) -> None:
    ramp = np.arange(0, 101, 25).astype(dtype)
    assert stretch(ramp, 0, 100).tolist() == [0, 64, 128, 191, 255]


@pytest.mark.parametrize("pixels", [np.full((4, 5), 7.0), np.full((4, 5), np.nan)])
def test_flat_or_empty_pixels_become_grey(pixels: np.ndarray) -> None:
    assert set(stretch(pixels, 7.0, 7.0).ravel().tolist()) == {128}


def test_three_panels_and_the_outline_color() -> None:
    labels = disks(7, 11)
    image = Image((labels > 0) * np.uint16(900) + np.uint16(100))
    picture = overlay(image, LabelMap(labels), title="a [b].tif")
    pixels = np.asarray(picture)
    assert picture.width == 3 * 53 * 11 + 4 * 8  # 560 / 53 rounds to 11 times
    assert picture.height == 31 * 11 + 30 + 2 * 8
    assert count(pixels, YELLOW) == 4 * (7 * 11 - 1) + 4 * (11 * 11 - 1)
    assert count(pixels, color(1)) == (7 * 11) ** 2
    assert count(pixels, color(2)) == (11 * 11) ** 2


def test_colour_images_keep_their_colours() -> None:
    array = np.zeros((3, 31, 53), np.uint8)
    array[0], array[1], array[2] = 90, 40, 130
    pixels = np.asarray(overlay(Image(array, "CYX", channels=RGB), LabelMap(disks(7))))
    assert count(pixels, (90, 40, 130)) > 31 * 53 * 121


def test_on_a_white_ground_lines_are_not_yellow() -> None:
    labels = disks(7)
    array = np.full((31, 53), 250, np.uint8)
    array[labels > 0] = 20
    assert count(np.asarray(overlay(Image(array), LabelMap(labels))), (255, 40, 40)) == 4 * (7 * 11 - 1)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_number_of_channels(channels: int) -> None:
    array = np.arange(channels * 31 * 53, dtype=np.float32).reshape(channels, 31, 53)
    assert overlay(Image(array, "CYX"), LabelMap(disks(7))).mode == "RGB"


@pytest.mark.parametrize(
    ("axes", "shape", "rows"),
    [("TYX", (2,), 2), ("TYX", (24,), 4), ("ZYX", (7,), 4), ("TZYX", (3, 5), 3), ("ZYX", (1,), 1)],
)
def test_stacks_and_time_lapses_show_frames(axes: str, shape: tuple[int, ...], rows: int) -> None:
    labels = np.broadcast_to(disks(7), (*shape, 31, 53))
    picture = overlay(Image(labels.astype(np.uint16), axes), LabelMap(labels, axes))
    height = 31 * (11 if rows == 1 else 7)
    assert picture.height == 30 + 8 + rows * (height + 8)


@pytest.mark.parametrize(
    "array", [np.full((31, 53), 7.0), np.full((31, 53), np.nan), np.zeros((31, 53), np.uint8)]
)
def test_constant_images_can_be_drawn(array: np.ndarray) -> None:
    assert overlay(Image(array), LabelMap(np.zeros((31, 53), int))).mode == "RGB"


def test_one_pixel() -> None:
    assert overlay(Image(np.ones((1, 1))), LabelMap(np.ones((1, 1), int))).width == 3 * 560 + 4 * 8


class Counting:
    """An array-like that remembers the largest block that was read of it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.dtype, self.largest = shape, np.dtype(np.uint16), 0

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        sizes = [len(range(*part.indices(size))) for part, size in zip(key, self.shape, strict=True)]
        self.largest = max(self.largest, int(np.prod(sizes)))
        return np.ones(sizes, np.uint16)


def test_large_images_are_read_in_bands() -> None:
    array = Counting((9000, 7001))
    labels = np.zeros((9000, 7001), np.uint8)
    labels[100:4000, 200:3000] = 1
    picture = overlay(Image(array), LabelMap(labels))
    assert picture.width <= 3 * 2 * 560 + 4 * 8
    assert array.largest <= 512 * 7001
    assert count(np.asarray(picture), color(1)) == pytest.approx(3900 * 2800 / 81, rel=0.02)


@pytest.mark.parametrize(("unit", "drawn"), [("micrometer", True), ("pixel", False)])
def test_scale_bar_where_the_pixel_size_is_known(unit: str, drawn: bool) -> None:
    grid = Grid((31, 53), (0.5, 0.5), unit=unit)
    pixels = np.asarray(overlay(Image(np.zeros((31, 53), np.uint8), grid=grid), LabelMap(disks(1))))
    panel = pixels[38 : 38 + 341, 8 : 8 + 583]
    bar = (panel[-14:-10] == 255).all(axis=-1).sum(axis=1)
    assert bar.tolist() == (
        [110, 110, 110, 110] if drawn else [0, 0, 0, 0]
    )  # 5 um = 10 pixels, drawn 11 times


def test_objects_are_counted_frame_by_frame() -> None:
    frames = np.stack([disks(3), disks(3, 5), disks(3, 5, 7)])
    assert count_per_frame(LabelMap(frames, "TYX")) == [1, 2, 3]
    assert count_per_frame(LabelMap(frames, "ZYX")) == [3]
    assert count_per_frame(LabelMap(frames.astype(np.int64) * 10**12, "TYX")) == [1, 2, 3]


def test_a_patient_is_shown_as_radiologists_look() -> None:
    """Array axes S, A, R: anterior must come up and the patient's left to the right."""
    direction = np.array([[0, 0, -1], [0, -1, 0], [1, 0, 0]], float)
    grid = Grid((3, 20, 30), (1, 1, 1), (0, 0, 0), direction, "millimeter")
    marks = np.zeros(grid.shape, np.uint8)
    marks[1, 18:20, 27:30] = 1  # most anterior, most to the right
    picture = np.asarray(
        overlay(Image(marks * 100, "ZYX", grid), LabelMap(marks, "ZYX", grid, {1: "corner"})), int
    )
    colour = np.abs(picture - CLASS_COLORS[1]).sum(-1) < 10
    rows, columns = np.nonzero(colour[:-40, 2 * picture.shape[1] // 3 :])  # the third panel, not the legend
    assert rows.min() < 60  # under the strip with the title: up
    assert columns.max() < picture.shape[1] // 6  # the patient's right is on the left
    assert colour[-40:].any()  # the legend


def test_slices_of_a_volume_are_those_with_labels() -> None:
    labels = np.zeros((40, 8, 9), np.uint8)
    labels[30:34, 2:5, 3:6] = 1
    captions = [frame.where["Z"] for frame in _frames(LabelMap(labels, "ZYX"))]
    assert captions == [30, 31, 32, 33]
    assert [frame.where["Z"] for frame in _frames(LabelMap(labels * 0, "ZYX"))] == [5, 15, 25, 35]


@pytest.mark.parametrize("spacing", [(1.0, 0.8, 3.1), (1.0, 2.0, 1.0), (1.0, 1.0, 1.05)])
def test_pixels_are_as_long_as_they_are_in_the_body(spacing) -> None:
    shape = (2, 60, 8)
    grid = Grid(shape, spacing, unit="millimeter")
    labels = LabelMap(
        np.zeros(shape, np.uint8),
        "ZYX",
        grid,
        {1: "a class with a name that is wider than the whole picture is"},
    )
    labels.array[:, 10:20, 2:5] = 1
    page = overlay(Image(np.arange(960).reshape(shape), "ZYX", grid), labels, title="narrow.nii.gz")
    rows = np.asarray(page.convert("L"))
    panel = rows[40:, 8:]  # under the strip with the title
    width = int(np.argmax((panel[200] == 255) & (panel[210] == 255)))
    height = int(np.argmax(panel[:, 2] == 255))
    assert width / height == pytest.approx(
        8 * spacing[2] / (60 * spacing[1]), rel=0.05 if spacing[2] != 1.05 else 0.1
    )
    assert page.width >= 400  # room for the legend
    assert (rows[-20:, -20:] == 255).all()

"""The picture of a restoration: one contrast for all, the detail from one place."""

import numpy as np
import pytest

from deepbio.errors import OptionError
from deepbio.image import RGB, Image
from deepbio.library import find_model
from deepbio.render.page import GAP, STRIP
from deepbio.render.restore import before_after, picture
from deepbio.tasks import Result


def _panels(page, count):
    """Pixels of the whole views and of the details, without their captions."""
    pixels = np.asarray(page)
    width = (page.width - GAP) // count - GAP
    return [
        pixels[STRIP + GAP + 20 :, GAP + k * (width + GAP) : (k + 1) * (width + GAP)] for k in range(count)
    ]


def test_before_after_and_truth_have_one_contrast(rng) -> None:
    clean = np.zeros((120, 180), np.float32)
    clean[30:60, 100:140] = 100
    truth = Image(clean / 10 + 7)  # of another exposure
    page = before_after(Image(clean), Image(clean), truth, title="a.tif")
    first, second, third = _panels(page, 3)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(second, third)
    assert set(np.unique(first)) >= {0, 255}
    dark, _ = _panels(before_after(Image(clean / 2), Image(clean)), 2)
    assert dark[dark < 255].max() in (127, 128)  # paper is 255


def test_a_finer_result_shows_the_same_place() -> None:
    coarse = np.zeros((40, 60), np.float32)
    coarse[5:10, 40:50] = 1
    page = before_after(Image(coarse), Image(coarse.repeat(2, 0).repeat(2, 1)))
    first, second = _panels(page, 2)
    assert (np.abs(first.astype(int) - second) > 10).mean() < 0.02


@pytest.mark.parametrize("axes", ["TYX", "ZYX", "CYX", "TCZYX"])
def test_axes_of_any_kind(axes, rng) -> None:
    image = Image(rng.uniform(size=(2,) * (len(axes) - 2) + (31, 45)), axes)
    assert before_after(image, image).mode == "RGB"


def test_colour_stays_colour(rng) -> None:
    pixels = np.zeros((3, 20, 30), np.uint8)
    pixels[0, :, :10] = 200
    page = np.asarray(before_after(Image(pixels, "CYX", channels=RGB), Image(pixels, "CYX", channels=RGB)))
    assert ((page[..., 0] == 255) & (page[..., 1] == 0)).any()


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(OptionError, match="no image to draw"):
        picture(Image(np.zeros((3, 4))), Result(), None, "")
    image = Image(np.arange(12.0).reshape(3, 4))
    assert picture(image, Result(image=image), find_model("denoise"), "x").width > 100

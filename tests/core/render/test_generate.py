"""The sheet of samples."""

import numpy as np
import pytest

from deepbio.errors import OptionError
from deepbio.image import RGB, Image, LabelMap, Table
from deepbio.render.generate import picture
from deepbio.tasks import Result


def test_samples_with_their_classes() -> None:
    pixels = np.zeros((5, 3, 8, 12), np.uint8)
    for number in range(5):
        pixels[number, number % 3] = 50 * (number + 1)
    table = Table({"image": np.arange(1, 6), "class": np.array(list("abcab")), "seed": np.arange(5)})
    sheet = np.asarray(
        picture(None, Result(image=Image(pixels, "TCYX", channels=RGB), table=table), None, "made")
    )
    colours = {tuple(int(v) for v in one) for one in sheet.reshape(-1, 3)}
    assert {(50, 0, 0), (0, 100, 0), (0, 0, 150), (200, 0, 0), (0, 250, 0)} <= colours
    # 8 x 12 pixels become 16 times as large
    assert (sheet == [50, 0, 0]).all(2).sum() == 128 * 192


def test_masks_beside_their_images() -> None:
    mask = np.zeros((20, 16), np.int32)
    mask[3:9, 4:7] = 2
    image = Image(np.where(mask > 0, 200, 7).astype(np.uint8))
    sheet = np.asarray(picture(None, Result(image=image, labels=LabelMap(mask)), None, ""))
    assert (sheet == 200).all(2).sum() == 18 * 49
    assert (sheet == 7).all(2).sum() == (320 - 18) * 49


def test_nothing_to_draw() -> None:
    with pytest.raises(OptionError, match="no image to draw"):
        picture(None, Result(), None, "")

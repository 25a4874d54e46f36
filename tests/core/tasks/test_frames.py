"""Channels of an image on their way to the channels of a network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepbio.errors import InputMismatch
from deepbio.image import RGB, Image
from deepbio.library import ModelCard, read_card
from deepbio.options import RunOptions
from deepbio.tasks.frames import FrameSource, View, split_frames

PIXELS = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
IMAGE = Image(PIXELS, "CYX", channels=("DAPI", "GFP, long", "RFP", "CFP"))


@pytest.fixture
def card(spots2d: Path) -> ModelCard:
    """Of a network that takes two channels as they are."""
    card = read_card(spots2d)
    axes = tuple(replace(axis, size=2) if axis.id == "channel" else axis for axis in card.input.axes)
    tensor = replace(card.input, channels=("cells", "nuclei"), axes=axes, steps=())
    return replace(card, inputs=(tensor,), deepbio={})


def _seen(image: Image, card: ModelCard, channel: str = "auto") -> np.ndarray:
    (frame,) = split_frames(image, card, RunOptions(channel=channel))
    source = FrameSource(frame.view, card)
    assert source.shape == (2, 5, 6)
    return source.read((1, 2), (4, 6))


@pytest.mark.parametrize(
    ("channel", "chosen"), [("3,1", [2, 0]), ("rfp, DAPI", [2, 0]), ("4, dapi", [3, 0]), ("2,2", [1, 1])]
)
def test_channels_are_chosen_in_the_order_of_the_network(card: ModelCard, channel: str, chosen: list) -> None:
    np.testing.assert_array_equal(_seen(IMAGE, card, channel), PIXELS[chosen, 1:4, 2:6])


def test_a_name_may_have_a_comma(card: ModelCard) -> None:
    with pytest.raises(InputMismatch, match="takes 2 channels; 1 was chosen"):
        _seen(IMAGE, card, "GFP, long")
    filled = _seen(IMAGE, replace(card, deepbio={"grey": "first"}), "GFP, long")
    np.testing.assert_array_equal(filled, [PIXELS[1, 1:4, 2:6], np.zeros((3, 4))])


def test_channels_that_are_not_given_are_zero(card: ModelCard) -> None:
    first = replace(card, deepbio={"grey": "first"})
    for image, channel in ((Image(PIXELS[2]), "auto"), (IMAGE, "3"), (Image(PIXELS[2:3], "CYX"), "auto")):
        np.testing.assert_array_equal(_seen(image, first, channel), [PIXELS[2, 1:4, 2:6], np.zeros((3, 4))])
    np.testing.assert_array_equal(_seen(Image(PIXELS[:2], "CYX"), first), PIXELS[:2, 1:4, 2:6])
    np.testing.assert_array_equal(_seen(IMAGE, first, "4,2"), PIXELS[[3, 1], 1:4, 2:6])


@pytest.mark.parametrize(
    ("grey", "image", "channel", "message"),
    [
        (
            None,
            IMAGE,
            "auto",
            r"takes 2 channels; the image has 4.*channel=1,2 or .* in the order cells, nuclei",
        ),
        (None, IMAGE, "1,2,3", "takes 2 channels; 3 were chosen.*Choose 2 with channel=1,2"),
        (None, Image(PIXELS[0]), "auto", r"takes 2 channels; the image has 1 channel\."),
        ("first", Image(PIXELS[:3], "CYX", channels=RGB), "auto", r"takes 1 to 2 channels \(cells, nuclei\)"),
        ("first", IMAGE, "auto", "channel=1 to channel=4, or by its name; or 2 with channel=1,2"),
        ("first", IMAGE, "1,2,3", "takes 1 to 2 channels; 3 were chosen"),
        ("first", IMAGE, "1,9", "no channel '9'; the image has 4"),
        ("repeat", IMAGE, "1,2", "takes one channel; 2 were chosen"),
    ],
)
def test_what_is_not_taken_is_told_with_what_to_write(card, grey, image, channel, message) -> None:
    with pytest.raises(InputMismatch, match=message):
        _seen(image, replace(card, deepbio={"grey": grey} if grey else {}), channel)


def test_grey_is_the_mean_of_all_channels(card: ModelCard) -> None:
    first = replace(card, deepbio={"grey": "first"})
    colours = Image(PIXELS[:3], "CYX", channels=RGB)
    mean = PIXELS[:3, 1:4, 2:6].mean(0)
    np.testing.assert_allclose(_seen(colours, first, "grey"), [mean, np.zeros((3, 4))], rtol=1e-6)
    np.testing.assert_allclose(_seen(colours, first, "Gray, 2"), [mean, PIXELS[1, 1:4, 2:6]], rtol=1e-6)
    np.testing.assert_array_equal(_seen(Image(PIXELS[2]), first, "grey")[0], PIXELS[2, 1:4, 2:6])
    named = Image(PIXELS[:2], "CYX", channels=("Grey", "x"))
    np.testing.assert_array_equal(_seen(named, first, "grey")[0], PIXELS[0, 1:4, 2:6])
    with pytest.raises(InputMismatch, match="channel=grey is the mean of the colours"):
        _seen(colours, first)


def test_the_mean_does_not_run_over() -> None:
    image = Image(np.full((2, 4, 5), 250, np.uint8), "CYX")
    view = View(image, [(0, 1)], {})
    assert view.dtype == np.float32
    np.testing.assert_array_equal(view[:, 1:3], np.full((1, 2, 5), 250, np.float32))

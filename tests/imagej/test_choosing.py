"""Which model a command runs where none is named, and what is said where the named one is for another task."""

import numpy as np
import pytest

from deepbio.errors import CardError, InputMismatch, OptionError, UnknownModel
from deepbio.image import Image
from deepbio.library import list_models
from deepbio.options import RunOptions
from imagej_bridge import choosing
from imagej_bridge.choosing import card_named, fitting_card, only_card, path_or_name

GREY = Image(np.zeros((45, 61), np.uint16))


def test_a_named_model_is_for_the_task_of_its_command() -> None:
    assert card_named("nuclei", "segment").name == card_named("nuclei", "").name == "nuclei"
    with pytest.raises(
        CardError, match="'nuclei' is for the task 'segment'; DeepBio Restore runs those for"
    ) as error:
        card_named("nuclei", "restore")
    assert error.value.hint == 'Use run("DeepBio Segment", "model=nuclei").'
    with pytest.raises(UnknownModel, match="nuclei"):
        card_named("nuclej", "segment")


def test_no_model_for_a_task_names_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [card for card in list_models() if card.task != "sequence"]
    monkeypatch.setattr(
        choosing, "list_models", lambda task="": [card for card in others if task in ("", card.task)]
    )
    with pytest.raises(
        UnknownModel, match=r"No model that .* is installed \(task 'sequence'\); there are: .*'nuclei'"
    ):
        card_named("unheard-of", "sequence")
    with pytest.raises(OptionError, match="Add one with: deepbio models add"):
        only_card("sequence")
    with pytest.raises(UnknownModel, match="'model' is not given"):
        fitting_card(GREY, "sequence", RunOptions())


def test_the_only_model_of_a_task_needs_no_name() -> None:
    assert only_card("sequence").name == "heart-cine"
    with pytest.raises(OptionError, match=r"Choose one of: denoise, upscale-x2\."):
        only_card("restore")
    with pytest.raises(OptionError, match=r"Choose one of: .*heart-lv.*nuclei"):
        only_card("segment")


def test_the_only_model_that_fits_an_image_needs_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match=r"Several models take this image: .*Choose one: model="):
        fitting_card(GREY, "segment", RunOptions())
    few = tuple(card for card in list_models() if card.name in ("nuclei", "hippocampus"))
    monkeypatch.setattr(choosing, "list_models", lambda task="": few)
    assert fitting_card(GREY, "segment", RunOptions()).name == "nuclei"  # the other one takes stacks
    two = Image(np.zeros((2, 45, 61), np.uint16), "CYX")
    with pytest.raises(InputMismatch, match=r"No model takes this image\. .*hippocampus: .*nuclei: "):
        fitting_card(two, "segment", RunOptions())


def test_a_path_of_another_machine_is_known_by_its_last_part() -> None:
    assert path_or_name("/elsewhere/models/nuclei") == "nuclei"
    assert path_or_name("/elsewhere/models/other") == "/elsewhere/models/other"

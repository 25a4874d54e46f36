"""What a card says about its classes is checked when it is read."""

import pytest

from deepbio.errors import CardError
from deepbio.library import read_card

CODE = {"scheme": "SCT", "value": "123037004", "meaning": "Anatomical Structure"}


def _with(classes):
    def change(card):
        card["config"]["deepbio"]["classes"] = classes

    return change


def test_names_colours_and_codes_are_read(tiny, tmp_path) -> None:
    classes = {
        1: {"name": "left ventricle", "color": "#E6194b", "category": CODE, "type": CODE, "modifier": CODE},
        2: {"name": "myocardium"},
        "3": "atrium",
    }
    card = read_card(tiny(tmp_path / "model", _with(classes)))
    assert card.classes == {1: "left ventricle", 2: "myocardium", 3: "atrium"}
    assert card.deepbio["classes"][1]["type"] == CODE


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"a": "gland"}, "label 'a'; expected whole numbers"),
        ({1: 5}, "expected a name or a mapping"),
        ({1: {"color": "#e6194b"}}, "has no .*classes.1.name"),
        ({1: {"name": "gland", "color": "#e6194"}}, "expected a colour such as"),
        ({1: {"name": "gland", "colour": "#e6194b"}}, "'colour'.*known are name, color"),
        ({1: {"name": "gland", "type": "SCT"}}, "expected a mapping"),
        ({1: {"name": "gland", "type": {"scheme": "SCT", "value": "1"}}}, "has no .*classes.1.type.meaning"),
        ([1, 2], "expected a mapping"),
    ],
    ids=str,
)
def test_what_is_wrong_is_told(tiny, tmp_path, classes, message) -> None:
    with pytest.raises(CardError, match=message):
        read_card(tiny(tmp_path / "model", _with(classes)))

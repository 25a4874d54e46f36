"""Descriptions: classes in every form that a card takes, and what it would not take told at once."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

from deepbio.errors import OptionError
from deepbio.training import Description, read_description
from deepbio.training.description import check_description, title_of

CODE = {"scheme": "SCT", "value": "123037004", "meaning": "Anatomical Structure"}


def test_classes_go_to_the_card_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "about.yaml").write_text(
        "title: Two organs\nclasses:\n  1: left kidney\n  2:\n    name: right kidney\n    color: '#e6194b'\n"
        "    type: {scheme: SCT, value: '64033007', meaning: Kidney}\n"
    )
    about = read_description(tmp_path / "about.yaml")
    assert about.names == {1: "left kidney", 2: "right kidney"}
    assert about.sides
    kidney = {"scheme": "SCT", "value": "64033007", "meaning": "Kidney"}
    assert about.card_classes == {
        1: {"name": "left kidney"},
        2: {"name": "right kidney", "color": "#e6194b", "type": kidney},
    }


@pytest.mark.parametrize("name", ["cells v1.2", "細胞", "100%", "x" * 200, "a[1]"])
def test_a_folder_of_any_name_gives_a_title_that_is_allowed(name: str) -> None:
    check_description(Description(title=title_of(Path("models") / name)), "segment")


def test_plain_names_still_work() -> None:
    about = Description(class_names={1: "left ventricle"})
    assert about.card_classes == {1: {"name": "left ventricle"}}
    assert not about.sides  # no right one


@pytest.mark.parametrize(
    "classes",
    [
        {0: "background"},
        {"1": "a"},
        {1: {"color": "#ffffff"}},
        {1: {"name": "a", "color": "red"}},
        {1: {"name": "a", "colour": "#ffffff"}},
        {1: {"name": "a", "type": "kidney"}},
        {1: {"name": "a", "category": {**CODE, "scheme_version": "1"}}},
        {1: 7},
    ],
)
def test_what_a_card_would_not_take_is_told(classes) -> None:
    with pytest.raises(OptionError, match="expected a label from 1 with a name"):
        Description(classes=classes)


def test_two_lists_of_names_are_told() -> None:
    with pytest.raises(OptionError, match="'class_names' and 'classes'"):
        Description(class_names={1: "a"}, classes={1: "a"})

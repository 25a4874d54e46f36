"""Cards and options of the worker in the words of the form."""

from __future__ import annotations

from deepbio_web.cards import as_choice, as_options, changed

CARD = {
    "name": "spots",
    "title": "Bright spots",
    "version": "0.2.0",
    "description": "Finds spots.\n\nMore on them.",
    "license": "CC0-1.0",
    "score": {"metric": "Dice", "value": 0.8549, "n": 20},
}


def test_a_card_that_fits() -> None:
    choice = as_choice(CARD, "", "made for MR")
    assert choice["text"] == "Finds spots."
    assert choice["doubt"] == "made for MR"
    assert choice["props"] == {"subtitle": "spots", "disabled": False, "title": "Bright spots"}
    assert choice["facts"] == [
        ["Name", "spots 0.2.0"],
        ["Scores", "Dice: 0.855 on 20 held-out images"],
        ["Licence", "CC0-1.0"],
    ]


def test_a_card_that_does_not_fit_is_grey_and_says_why() -> None:
    assert as_choice({"name": "bare"}, "It takes volumes.")["props"] == {
        "subtitle": "It takes volumes.",
        "disabled": True,
        "title": "bare",
    }


def test_only_what_was_changed_is_sent() -> None:
    fields = as_options(
        [
            {"name": "device", "kind": "choice", "default": "auto", "choices": ["auto", "cpu"]},
            {"name": "overlap", "kind": "float", "default": None},
            {"name": "mirror", "kind": "bool", "default": False},
            {"name": "output", "kind": "list", "default": ["labels"]},
            {"name": "per_slice", "kind": "bool", "default": False},
            {"name": "link_slices", "kind": "float", "default": None},
            {"name": "surface", "kind": "bool", "default": False},
        ],
        flat=True,
    )
    assert [one["name"] for one in fields] == ["device", "overlap", "mirror"]
    assert changed(fields) == {}
    given = {"device": "cpu", "overlap": "0.25", "mirror": "true"}
    assert changed([{**one, "value": given[one["name"]]} for one in fields]) == given

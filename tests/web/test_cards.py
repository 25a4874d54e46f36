"""Cards and options of the worker in the words of the form."""

from __future__ import annotations

from typing import Any

import pytest

from deepbio_web.cards import as_choice, as_options, changed, outputs_for, show_for

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


def test_one_image_is_not_images() -> None:
    assert as_choice({"name": "one", "score": {"metric": "PSNR", "value": 23.61, "n": 1}}, "")["facts"][
        1
    ] == [
        "Scores",
        "PSNR: 23.6 on 1 held-out image",
    ]


def test_a_generator_of_classes_is_for_pages_of_planes() -> None:
    card = {"name": "my-cells", "takes": ["nothing"], "task": "generate", "classes": {"1": {"name": "round"}}}
    assert as_choice(card, "found an image", flat=True)["reason"] == ""
    fields = as_options(
        [
            {"name": "classes", "kind": "list", "default": [], "tasks": ["generate"]},
            {"name": "count", "kind": "int", "default": None, "tasks": ["generate"]},
        ]
    )
    mask = {**card, "takes": ["labels", "nothing"]}
    assert [one["shown"] for one in show_for(fields, mask, PLANE)] == [False, False]
    named, count = show_for(fields, card, PLANE)
    assert (named["shown"], count["shown"], named["label"], named["kind"]) == (True, True, "Class", "choice")
    assert [one["value"] for one in named["choices"]] == ["", "round"]
    other = {**card, "classes": {"1": {"name": "long"}}}
    (kept, _), (gone, _) = (
        show_for([{**named, "value": "round"}, count], one, PLANE) for one in (card, other)
    )
    assert (kept["value"], gone["value"]) == ("round", "")  # of another model's classes none stays


def test_a_generator_of_classes_is_for_the_command_line_where_there_are_volumes() -> None:
    choice = as_choice({"name": "my-cells", "takes": ["nothing"]}, "found an image")
    assert choice["reason"] == "Makes images of its own, on the command line: deepbio run my-cells -o FOLDER"
    assert choice["props"]["disabled"]


OPTIONS = [
    {"name": "device", "kind": "choice", "default": "auto", "choices": ["auto", "cpu"]},
    {"name": "overlap", "kind": "float", "default": None},
    {"name": "mirror", "kind": "bool", "default": False},
    {"name": "output", "kind": "list", "default": ["labels"]},
    {"name": "per_slice", "kind": "bool", "default": False},
    {"name": "threshold", "kind": "float", "default": None, "tasks": ["segment"]},
    {
        "name": "explain",
        "kind": "choice",
        "default": "",
        "choices": ["", "gradcam"],
        "tasks": ["segment", "classify"],
    },
    {"name": "seed", "kind": "int", "default": 0, "tasks": ["generate"]},
    {"name": "surface", "kind": "bool", "default": False},
]
PLANE, STACK = {"slices": 1, "channels": 1, "frames": 1}, {"slices": 4, "channels": 1, "frames": 1}


@pytest.mark.parametrize(
    ("card", "image", "names"),
    [
        (
            {"task": "segment", "ndim": 2, "mirror": ["x"]},
            PLANE,
            ["device", "mirror", "threshold", "explain", "overlap"],
        ),
        ({"task": "segment", "ndim": 2}, STACK, ["device", "per_slice", "threshold", "explain", "overlap"]),
        ({"task": "classify", "ndim": 2, "classes": {"1": "a"}}, PLANE, ["device", "explain", "overlap"]),
        ({"task": "restore", "ndim": 2}, PLANE, ["device", "overlap"]),
        (
            {"task": "generate", "ndim": 2, "takes": ["labels", "nothing"]},
            STACK,
            ["device", "seed", "overlap"],
        ),
    ],
)
def test_only_options_of_the_task_are_shown(
    card: dict[str, Any], image: dict[str, int], names: list[str]
) -> None:
    fields = show_for(as_options(OPTIONS), card, image)
    assert [one["name"] for one in fields if one["shown"]] == names


def test_only_what_was_changed_and_is_seen_is_sent() -> None:
    fields = show_for(as_options(OPTIONS), {"task": "segment", "ndim": 2, "mirror": ["x"]}, PLANE)
    assert changed(fields) == {}
    given = {"device": "cpu", "overlap": "0.25", "mirror": "true", "explain": "gradcam"}
    filled = [{**one, "value": {**given, "seed": "7"}.get(one["name"], one["value"])} for one in fields]
    assert changed(filled) == given
    assert changed(show_for(filled, {"task": "restore", "ndim": 2}, PLANE)) == {
        "device": "cpu",
        "overlap": "0.25",
    }


def test_what_is_not_set_says_so() -> None:
    (explain,) = (one for one in as_options(OPTIONS) if one["name"] == "explain")
    assert explain["choices"] == [{"title": "none", "value": ""}, {"title": "gradcam", "value": "gradcam"}]
    assert explain["hint"] == "none"


def test_all_that_the_page_can_show_is_asked_for() -> None:
    card = {"task": "classify"}
    assert outputs_for(card, {}) == {}
    assert outputs_for(card, {"classify": "tiles"}) == {"output": "table,image"}
    assert outputs_for(card, {"objects": "nuclei"}) == {"output": "table,labels"}
    assert outputs_for({"task": "segment"}, {"classify": "tiles"}) == {}

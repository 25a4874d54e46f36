"""Names of files stay inside the package, and fields say where they are."""

from pathlib import Path

import pytest

from deepbio.errors import CardError
from deepbio.library.fields import Fields, inside


@pytest.mark.parametrize("name", ["weights.onnx", "a/b/c.npy", "./w", "a..b", "..a", "ünïcode 1.md"])
def test_names_that_stay_inside(name):
    assert inside(Path("/package"), name).relative_to("/package") == Path(name)


@pytest.mark.parametrize(
    "name", ["", "/a", "..", "a/../../b", "../a", "a\\b", "C:a", "C:/a", "a\0b", "//host/a"]
)
def test_names_that_leave(name):
    with pytest.raises(CardError, match="leaves the model package"):
        inside(Path("/package"), name)


@pytest.mark.parametrize("name", ["https://example.org/a.onnx", "file:///etc/passwd", "s3://bucket/a"])
def test_addresses_are_to_be_fetched_by_hand(name):
    with pytest.raises(CardError, match=r"not in the package.*by hand"):
        inside(Path("/package"), name)


def test_links_in_the_way_are_refused(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to("real")
    with pytest.raises(CardError, match="is a link"):
        inside(tmp_path, "linked/a.onnx")


def test_values_by_type():
    fields = Fields(
        {"n": 3, "x": 0.5, "t": "a", "list": ["a", 1], "m": {"k": 1}, "none": None, "rows": [{"a": 1}]}
    )
    assert (fields.integer("n"), fields.number("x"), fields.number("n"), fields.text("t")) == (
        3,
        0.5,
        3.0,
        "a",
    )
    assert fields.text("n") == "3"
    assert fields.texts("list") == ("a", "1")
    assert fields.texts("t") == ("a",)
    assert fields.texts("gone") == ()
    assert fields.text("none", "default") == "default"
    assert fields.child("m").place("k") == "m.k"
    assert next(fields.children("rows")).place("a") == "rows[0].a"
    assert ("none" in fields, "n" in fields) == (False, True)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda f: f.text("gone"), "has no at.gone; expected a text"),
        (lambda f: f.text("m"), "at.m is .*expected a text"),
        (lambda f: f.integer("x"), "at.x is 0.5; expected a whole number"),
        (lambda f: f.number("t"), "at.t is 'a'; expected a number"),
        (lambda f: f.number("yes"), "at.yes is True; expected a number"),
        (lambda f: f.mapping("t"), "at.t is 'a'; expected a mapping"),
        (lambda f: f.texts("m"), "expected a list of texts"),
        (lambda f: list(f.children("t")), "expected a list"),
        (lambda f: f.text("long" * 99), "has no at"),
    ],
)
def test_wrong_values_are_told_with_their_place(read, message):
    fields = Fields({"x": 0.5, "t": "a", "m": {"k": 1}, "yes": True}, "at")
    with pytest.raises(CardError, match=message):
        read(fields)


def test_long_values_are_cut():
    with pytest.raises(CardError) as caught:
        Fields({"t": ["x" * 1000] * 1000}).text("t")
    assert len(str(caught.value)) < 150

"""Objects of a batch: label images by folder, pattern and table, or found by a model."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from deepbio.batch import run_many
from deepbio.errors import InputMismatch, OptionError
from deepbio.image import Grid, Image, LabelMap
from deepbio.io import read_labels, write
from deepbio.options import RunOptions
from deepbio.predict import load_model
from tests.core.tasks.bright import p_bright

SHAPES = {"one": (37, 53), "two": (41, 29)}


@pytest.fixture
def batch(tmp_path):
    """Two images of unequal size: `one` has a bright and a dark square, `two` a dark one."""
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    for name, shape in SHAPES.items():
        pixels, marks = np.full(shape, 200, np.uint16), np.zeros(shape, np.uint16)
        pixels[4:14, 5:15], marks[4:14, 5:15] = 400, 3
        if name == "one":
            pixels[20:30, 30:40], marks[20:30, 30:40] = 2000, 9
        grid = Grid(shape, (0.8, 0.5), unit="micrometer")
        write(images / f"{name}.tif", Image(pixels, "YX", grid))
        write(labels / f"{name}_labels.tif", LabelMap(marks, "YX", grid))
    return tmp_path


def _rows(folder):
    with (folder / "classes.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [(row["file"].rpartition("/")[2], int(row["label"]), row["class"]) for row in rows]


EXPECTED = [("one.tif", 3, "rather dark"), ("one.tif", 9, "bright"), ("two.tif", 3, "rather dark")]


def _told(batch, how):
    if how == "table":
        table = batch / "pairs.csv"
        table.write_text(
            "Image,Objects\nimages/one.tif,labels/one_labels.tif\ntwo.tif,labels/two_labels.tif\n"
        )
        return str(table)
    return str(batch / "labels") if how == "folder" else str(batch / "labels" / "{name}_labels.tif")


@pytest.mark.parametrize("how", ["folder", "pattern", "table"])
def test_every_image_has_its_own_labels(bright2d, batch, how) -> None:
    options = RunOptions(objects=_told(batch, how))
    rows = run_many(
        load_model(bright2d), [batch / "images"], batch / "out", options, save=("table", "labels")
    )
    assert [row.message for row in rows] == ["", ""]
    assert _rows(batch / "out") == EXPECTED
    classes = read_labels(batch / "out" / "one-labels.tif").numpy()
    assert (classes[10, 10], classes[25, 35], classes[0, 0]) == (2, 1, 0)


def test_a_model_finds_the_objects_and_they_can_be_saved(bright2d, spots2d, batch) -> None:
    """A pipeline: the threshold model finds what is above 1000 of 65535, the classifier names it."""
    options = RunOptions(objects=str(spots2d))
    rows = run_many(
        load_model(bright2d),
        [batch / "images" / "one.tif"],
        batch / "out",
        options,
        save=("table", "objects"),
    )
    assert rows[0].message == ""
    objects = read_labels(batch / "out" / "one-objects.tif")
    found = load_model(spots2d).run(Image(_pixels(batch), "YX")).labels
    assert np.array_equal(objects.numpy(), found.numpy())
    with rows[0].outputs["table"].open(newline="") as file:
        told = list(csv.DictReader(file))
    assert [int(row["label"]) for row in told] == sorted(set(np.unique(objects.numpy())) - {0})
    # what is cut out is 1.4 times as wide as the square of 10 x 10, so half of it is ground
    seen = (100 * 2000 + 96 * 200) / 196
    assert float(told[-1]["p_bright"]) == pytest.approx(p_bright(seen), abs=5e-3)


def _pixels(batch):
    from deepbio.io import read

    return read(batch / "images" / "one.tif").numpy()


def test_changed_labels_are_classified_again(bright2d, batch) -> None:
    options = RunOptions(objects=str(batch / "labels"))
    model = load_model(bright2d)

    def status():
        return [row.status for row in run_many(model, [batch / "images"], batch / "out", options)]

    assert status() == ["done", "done"]
    assert status() == ["skipped", "skipped"]
    labels = read_labels(batch / "labels" / "two_labels.tif")
    write(batch / "labels" / "two_labels.tif", LabelMap(labels.numpy() * 2, "YX", labels.grid))
    assert status() == ["skipped", "done"]
    assert _rows(batch / "out")[-1] == ("two.tif", 6, "rather dark")


def test_what_is_missing_or_does_not_fit_is_told_for_its_image_alone(bright2d, batch) -> None:
    model, folder = load_model(bright2d), batch / "labels"
    options = RunOptions(objects=str(folder))
    (folder / "two_labels.tif").rename(folder / "three_labels.tif")
    rows = run_many(model, [batch / "images"], batch / "out", options)
    assert [row.status for row in rows] == ["done", "failed"]
    assert "has no labels for 'two.tif'" in rows[1].message
    assert "two-labels.tif" in rows[1].error.hint
    one = run_many(model, [batch / "images"], batch / "b", RunOptions(objects=str(folder / "one_labels.tif")))
    assert [row.status for row in one] == ["done", "failed"]
    assert "The objects have Y=37 x X=53; the image has Y=41 x X=29" in one[1].message
    grid = Grid(SHAPES["two"], (0.8, 0.6), unit="micrometer")
    write(folder / "two_labels.tif", LabelMap(np.ones(SHAPES["two"], np.uint8), "YX", grid))
    rows = run_many(model, [batch / "images"], batch / "c", options)
    assert "pixels of 0.8 x 0.6 micrometer; the image has 0.8 x 0.5" in rows[1].message
    with pytest.raises(InputMismatch):
        raise rows[1].error


def test_the_labels_themselves_are_never_replaced(bright2d, batch) -> None:
    labels = batch / "labels" / "one-labels.tif"
    (batch / "labels" / "one_labels.tif").rename(labels)
    before = labels.read_bytes()
    options = RunOptions(objects=str(batch / "labels"))
    (row,) = run_many(
        load_model(bright2d),
        [batch / "images" / "one.tif"],
        batch / "labels",
        options,
        save=("labels",),
        overwrite=True,
    )
    assert "would replace the objects" in row.message
    assert labels.read_bytes() == before


def test_an_image_without_a_name_needs_labels_by_name(bright2d, batch) -> None:
    image = Image(_pixels(batch))
    with pytest.raises(OptionError, match="no name by which its label image is found"):
        load_model(bright2d).run(image, RunOptions(objects=str(batch / "labels")))
    told = Image(_pixels(batch), meta={"source": "one.tif"})  # as the title of a window, the name of a node
    result = load_model(bright2d).run(told, RunOptions(objects=str(batch / "labels")))
    assert result.table["class"].tolist() == ["rather dark", "bright"]

"""The commands features, index and explain, and what a batch saves beside its outputs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from deepbio.batch import run_many
from deepbio.errors import OptionError
from deepbio.image import Image, LabelMap
from deepbio.io import read, write
from deepbio.options import RunOptions
from deepbio.predict import load_model
from tests.core.command import deepbio, left_in
from tests.core.shapes import shape_images

pytest.importorskip("torch")

TORCH = RunOptions(runtime="torch", device="cpu")  # without a trial of the runtimes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images, in a folder for each class."""
    root = tmp_path_factory.mktemp("images")
    images, classes, masks = shape_images(8, seed=2)
    for n, (pixels, number) in enumerate(zip(images, classes, strict=True)):
        name = ("nothing", "disc")[number]
        (root / name).mkdir(exist_ok=True)
        write(root / name / f"{n}.tif", Image(pixels))
        if number:
            (root / "masks").mkdir(exist_ok=True)
            write(root / "masks" / f"{n}_labels.tif", LabelMap(masks[n].astype(np.uint8)))
    return root


def size_of(path: Path) -> tuple[int, int]:
    with Picture.open(path) as picture:
        return picture.size


def test_features_index_and_query(disc_model, folder, tmp_path) -> None:
    table, index, found = tmp_path / "cells.npz", tmp_path / "index.npz", tmp_path / "found.csv"
    inputs = [folder / "disc", folder / "nothing"]
    done = deepbio(
        "features", disc_model, *inputs, "-o", table, "--plot", tmp_path / "plot.png", "--maps", "--json"
    )
    assert done.code == 0, done.err
    assert done.lines[-1]["rows"] == 8
    assert done.lines[-1]["layer"] == "stages.1"
    assert size_of(tmp_path / "plot.png") == (810, 620)
    assert read(tmp_path / "1-maps.tif").shape == (12, 8, 8)
    assert deepbio("index", "build", table, "-o", index).code == 0
    query = folder / "disc" / "3.tif"
    done = deepbio(
        "index",
        "query",
        index,
        query,
        "-m",
        disc_model,
        "-k",
        4,
        "-o",
        found,
        "--montage",
        tmp_path / "near.png",
        "--json",
    )
    assert done.code == 0, done.err
    rows = done.lines[-1]["rows"]
    assert rows[0]["file"] == str(query)
    assert rows[0]["similarity"] == pytest.approx(1, abs=1e-4)
    assert [Path(row["file"]).parent.name for row in rows] == ["disc"] * 4
    assert found.read_text().splitlines()[0] == "rank,similarity,file"
    assert size_of(tmp_path / "near.png") == (810, 210)


def test_an_index_of_objects(disc_model, folder, tmp_path) -> None:
    index = tmp_path / "index.npz"
    objects = ["--objects", folder / "masks"]
    done = deepbio("index", "build", folder / "disc", "--model", disc_model, *objects, "-o", index)
    assert done.code == 0, done.err
    query = folder / "disc" / "1.tif"
    done = deepbio(
        "index",
        "query",
        index,
        query,
        "-m",
        disc_model,
        "-k",
        2,
        *objects,
        "--montage",
        tmp_path / "a.png",
        "--json",
    )
    assert done.code == 0, done.err
    assert done.lines[-1]["rows"][0]["label"] == 1
    assert {"centre_y", "centre_x"} <= set(done.lines[-1]["rows"][0])


def test_a_broken_image_does_not_stop_the_others(disc_model, folder, tmp_path) -> None:
    broken = tmp_path / "broken.tif"
    broken.write_bytes(b"II*\x00 nothing")
    done = deepbio("features", disc_model, broken, folder / "disc", "-o", tmp_path / "cells.csv")
    assert done.code == 1
    assert "broken.tif" in done.err
    assert len((tmp_path / "cells.csv").read_text().splitlines()) == 5
    index = ["index", "build", broken, folder / "disc", "-m", disc_model, "-o", tmp_path / "i.npz", "--json"]
    done = deepbio(*index)
    assert (done.code, done.lines[-1]["rows"], done.lines[-1]["failed"]) == (1, 4, 1)


@pytest.mark.parametrize("command", ["features", "index build", "index query"])
def test_each_image_is_an_event_as_in_a_run(disc_model, folder, tmp_path, command) -> None:
    (tmp_path / "a").mkdir()
    broken = tmp_path / "a" / "broken.tif"
    broken.write_bytes(b"II*\x00 nothing")
    index = tmp_path / "i.npz"
    assert deepbio("index", "build", folder / "disc", "-m", disc_model, "-o", index).code == 0
    words = {
        "features": ["features", disc_model, "-o", tmp_path / "f.csv"],
        "index build": ["index", "build", "-m", disc_model, "-o", tmp_path / "j.npz"],
        "index query": ["index", "query", index, "-m", disc_model],
    }[command]
    good = folder / "disc" / "1.tif"
    for inputs in [[broken], [broken, good]] if command != "index query" else [[broken]]:
        done = deepbio(*words, *inputs, "--json")
        told = [line for line in done.lines if line["event"] == "file"]
        assert (told[0]["file"], told[0]["status"], told[0]["error"]) == (str(broken), "failed", "ImageError")
        assert set(told[0]) == {"event", "file", "status", "seconds", "rows", "error", "message", "hint"}
        if len(inputs) > 1:
            assert (told[1]["file"], told[1]["status"], told[1]["rows"]) == (str(good), "done", 1)
            assert (done.code, "broken.tif" in done.err) == (1, False)
        else:  # told with its own words, not as "nothing to describe"
            assert (done.code, done.lines[-1]["message"]) == (3, told[0]["message"])


def test_maps_and_plot_beside_the_images_are_no_images_again(disc_model, tmp_path) -> None:
    for n, pixels in enumerate(shape_images(3, seed=2)[0]):
        write(tmp_path / f"{n}.tif", Image(pixels))
    words = ["features", disc_model, tmp_path, "-o", tmp_path / "f.csv", "--maps"]
    for _ in range(2):
        done = deepbio(*words, "--plot", tmp_path / "plot.png", "--json")
        assert (done.code, done.lines[-1].get("rows")) == (0, 3), done.err
    images = [f"{n}{end}.tif" for n in range(3) for end in ("-maps", "")]
    assert left_in(tmp_path) == [*images, "f.csv", "plot.png"]


def test_wrong_questions_of_the_commands(disc_model, tiny2d, folder, tmp_path) -> None:
    done = deepbio("features", disc_model, folder / "disc", "-o", tmp_path / "cells.xlsx")
    assert (done.code, left_in(tmp_path)) == (2, [])
    done = deepbio("features", disc_model, folder / "disc", "-o", tmp_path / "c.csv", "--layer", "stages.7")
    assert done.code == 2
    assert "'stages.1'" in done.err
    done = deepbio("index", "build", folder / "disc", "-o", tmp_path / "i.npz")
    assert done.code == 2
    assert "--model" in done.err
    assert deepbio("index", "build", folder / "disc", "-m", disc_model, "-o", tmp_path / "i.npz").code == 0
    query = ["index", "query", tmp_path / "i.npz", folder / "disc" / "1.tif"]
    done = deepbio(*query, "-m", tiny2d)
    assert done.code == 2
    assert "no layer 'stages.1'" in done.err
    done = deepbio(*query)
    assert done.code == 5
    assert "made with the model 'discs'" in done.err


def test_layers_are_shown(tiny2d) -> None:
    done = deepbio("models", "show", tiny2d, "--layers")
    assert done.code == 0
    assert any(line.split()[:4] == ["encoder.2", "Sequential", "8", "4"] for line in done.out.splitlines())


def test_explain_writes_maps_and_pictures(disc_model, folder, tmp_path) -> None:
    done = deepbio("explain", disc_model, folder / "disc" / "1.tif", "-o", tmp_path, "--uncertainty", "tta")
    assert done.code == 0, done.err
    assert left_in(tmp_path) == [
        "1-explanation.tif", "1-heatmap.png", "1-table.csv", "1.deepbio.json", "summary.csv"
    ]  # fmt: skip
    assert read(tmp_path / "1-explanation.tif").shape == (32, 32)
    assert "entropy" in (tmp_path / "1-table.csv").read_text()
    done = deepbio("explain", disc_model, folder / "disc" / "1.tif", "-o", tmp_path, "--method", "none")
    assert done.code == 2


def test_a_batch_saves_what_is_asked_for(tiny2d, tmp_path) -> None:
    write(tmp_path / "a.tif", Image(np.random.default_rng(0).integers(0, 2000, (20, 24)).astype(np.uint16)))
    model = load_model(tiny2d)
    run_many(
        model,
        [tmp_path / "a.tif"],
        tmp_path / "one",
        save=["table", "explanation", "uncertainty", "features"],
    )
    assert left_in(tmp_path / "one") == [
        "a-explanation.tif", "a-features.csv", "a-table.csv", "a-uncertainty.tif", "a.deepbio.json", "summary.csv"
    ]  # fmt: skip
    options = RunOptions(explain="gradcam", target="part 2", runtime="torch", device="cpu")
    (row,) = run_many(model, [tmp_path / "a.tif"], tmp_path / "two", options)
    assert set(row.outputs) == {"labels", "table", "explanation", "heatmap"}
    (row,) = run_many(model, [tmp_path / "a.tif"], tmp_path / "three", TORCH, save=["heatmap"])
    assert row.status == "done", row.message
    with pytest.raises(OptionError, match="Cannot save maps"):
        run_many(model, [tmp_path / "a.tif"], tmp_path / "four", save=["maps"])

"""Runs: equal to deepbio.run, models that stay loaded, batches."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepbio import generate, run
from deepbio.errors import Cancelled, ImageError, InputMismatch, OptionError
from deepbio.image import Grid, Image
from deepbio.io import read_labels, write
from deepbio.options import RunOptions
from deepbio.worker.arrays import Arrays
from deepbio.worker.progress import Updates
from deepbio.worker.runs import Runs
from tests.conftest import make_grid
from tests.core.worker.conftest import Heard

OPTIONS = {"device": "cpu", "runtime": "onnx", "per_slice": "true"}


@pytest.fixture
def runs(arrays: Arrays) -> Runs:
    return Runs(arrays)


def stack() -> np.ndarray:
    """Three slices of bright squares, nothing symmetric."""
    pixels = np.full((3, 37, 53), 100, np.uint16)
    pixels[0, 5:9, 7:12] = 3000
    pixels[1, 20:30, 33:41] = 2000
    pixels[2, 2:6, 2:4] = 2500
    pixels[2, 30:33, 44:52] = 1800
    return pixels


def message(arrays: Arrays, pixels: np.ndarray, axes: str, grid: Grid | None = None) -> dict[str, Any]:
    """An image as clients send it."""
    told: dict[str, Any] = {"array": arrays.give(pixels, Updates(Heard())), "axes": axes}
    if grid is not None:
        told |= {
            "spacing": list(grid.spacing),
            "origin": list(grid.origin),
            "direction": grid.direction.tolist(),
            "unit": grid.unit,
        }
    return json.loads(json.dumps(told))


def request(model: object, image: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"command": "run", "model": str(model), "options": OPTIONS, "image": image, **more}


@pytest.mark.parametrize("left_handed", [False, True])
def test_pixels_and_place_are_those_of_deepbio_run(
    runs: Runs, arrays: Arrays, task: Heard, threshold_model: Path, left_handed: bool
) -> None:
    grid = make_grid(3, left_handed=left_handed).replace(shape=(3, 37, 53))
    expected = run(Image(stack(), "ZYX", grid), threshold_model, RunOptions.parse(OPTIONS))
    told = runs.run(request(threshold_model, message(arrays, stack(), "ZYX", grid)), Updates(task))
    json.dumps(told, allow_nan=False)
    assert expected.labels is not None
    labels = arrays.receive(told["labels"]["array"])
    assert labels.dtype == expected.labels.array.dtype
    np.testing.assert_array_equal(labels, expected.labels.numpy())
    assert labels.max() == 4
    back = Grid(labels.shape, *(told["labels"][name] for name in ("spacing", "origin", "direction", "unit")))
    assert back == grid
    assert told["instances"] is True
    assert told["classes"] == {}
    assert expected.table is not None
    assert told["table"]["columns"]["label"] == [1, 2, 3, 4]
    assert list(told["table"]["columns"]) == list(expected.table.columns)
    assert told["table"]["units"] == dict(expected.table.units)
    assert told["record"]["weights_sha256"] == expected.record["weights_sha256"]


def test_only_what_is_asked_for_comes(runs: Runs, arrays: Arrays, task: Heard, threshold_model: Path) -> None:
    image = message(arrays, stack()[1], "YX")
    told = runs.run(request(threshold_model, image, outputs=["scores"]), Updates(task))
    assert (told["labels"], told["table"], told["image"]) == (None, None, None)
    scores = arrays.receive(told["scores"]["array"])
    assert (told["scores"]["axes"], scores.shape) == ("CYX", (1, 37, 53))
    np.testing.assert_allclose(scores[0], stack()[1] * 0.001 - 1, atol=1e-6)
    with pytest.raises(OptionError, match="'everything'"):
        runs.run(request(threshold_model, image, outputs=["everything"]), Updates(task))


def test_numbers_that_json_does_not_have_become_null(
    runs: Runs, arrays: Arrays, task: Heard, threshold_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = message(arrays, np.full((37, 53), 5000, np.uint16), "YX")
    from deepbio.image import Table
    from deepbio.tasks import segment

    measured = Table({"label": [1], "eccentricity": [np.nan]})
    monkeypatch.setattr(segment, "measure_objects", lambda *args, **kwargs: measured)
    told = runs.run(request(threshold_model, image), Updates(task))
    assert told["table"]["columns"] == {"label": [1], "eccentricity": [None]}


def test_a_model_is_loaded_once_and_the_last_two_are_kept(
    runs: Runs, arrays: Arrays, task: Heard, threshold_model: Path, tmp_path: Path
) -> None:
    import shutil

    second, third = (Path(shutil.copytree(threshold_model, tmp_path / name)) for name in ("two", "three"))
    image = message(arrays, stack()[1], "YX")

    def loads(model: Path) -> bool:
        return bool(runs.run(request(model, image), Updates(task))["loaded"])

    assert [loads(threshold_model), loads(threshold_model)] == [True, False]
    assert [loads(second), loads(threshold_model)] == [True, False]
    assert loads(third)  # the second goes, which was not used for longest
    assert [loads(threshold_model), loads(second)] == [False, True]
    assert runs.models.release() == ["spots", "two"]
    assert loads(threshold_model)
    runs.models.forget("spots")
    assert runs.models.release() == []


def test_loading_is_told(runs: Runs, arrays: Arrays, task: Heard, threshold_model: Path) -> None:
    image = message(arrays, stack()[1], "YX")
    for _ in range(2):
        runs.run(request(threshold_model, image), Updates(task))
    assert [message for message, *_ in task.updates].count("Load the model") == 1


def test_a_file_is_read_by_the_worker(
    runs: Runs, arrays: Arrays, task: Heard, threshold_model: Path, tmp_path: Path
) -> None:
    write(tmp_path / "cell.tif", Image(stack()[2]))
    told = runs.run(request(threshold_model, {"path": str(tmp_path / "cell.tif")}), Updates(task))
    labels = arrays.receive(told["labels"]["array"])
    np.testing.assert_array_equal(labels > 0, stack()[2] > 1000)


def test_what_is_wrong_is_told_as_by_the_core(
    runs: Runs, arrays: Arrays, task: Heard, threshold_model: Path
) -> None:
    updates = Updates(task)
    image = message(arrays, stack(), "ZYX")
    with pytest.raises(InputMismatch, match="is 2D; the image is a stack of 3 slices"):
        runs.run({**request(threshold_model, image), "options": {}}, updates)
    with pytest.raises(InputMismatch, match="needs an image; found none"):
        runs.run({"model": str(threshold_model)}, updates)
    with pytest.raises(ImageError, match=r"image of the request is 'cell\.tif'"):
        runs.run(request(threshold_model, "cell.tif"), updates)
    with pytest.raises(ImageError, match="3 axes, but 'YX' names 2"):
        runs.run(request(threshold_model, {**image, "axes": "YX"}), updates)


def test_a_generator_runs_without_an_image(runs: Runs, arrays: Arrays, task: Heard, tmp_path: Path) -> None:
    from tests.core.tasks.makers import write_class_maker

    maker = write_class_maker(tmp_path)
    options = {"device": "cpu", "runtime": "onnx", "count": "4", "classes": "light,dark", "seed": "9"}
    told = runs.run({"model": str(maker), "options": options, "outputs": ["image", "table"]}, Updates(task))
    made = arrays.receive(told["image"]["array"])
    expected = run_maker(maker, RunOptions.parse({**options, "output": "image"}))
    np.testing.assert_array_equal(made, expected)
    assert made.shape == (4, 3, 4, 6)
    assert told["image"]["axes"] == "TCYX"
    assert told["table"]["columns"]["class"] == ["light", "dark", "light", "dark"]
    assert told["table"]["columns"]["seed"] == [9, 10, 11, 12]
    assert told["labels"] is None


def run_maker(maker: Path, options: RunOptions) -> np.ndarray:
    image = generate(maker, options).image
    assert image is not None
    return image.numpy()


def test_cancelled_between_events(runs: Runs, arrays: Arrays, threshold_model: Path) -> None:
    image = message(arrays, stack()[1], "YX")
    with pytest.raises(Cancelled):
        runs.run(request(threshold_model, image), Updates(Heard(cancel=True)))
    assert runs.run(request(threshold_model, image), Updates(Heard()))["labels"] is not None


def test_a_batch_tells_each_row_and_goes_on_after_a_bad_file(
    runs: Runs, task: Heard, threshold_model: Path, tmp_path: Path
) -> None:
    for number in (0, 1):
        write(tmp_path / f"cell{number}.tif", Image(stack()[number]))
    (tmp_path / "cell2.tif").write_bytes(b"no image")
    inputs = [str(tmp_path / f"cell{number}.tif") for number in (0, 2, 1)]
    asked = {
        "model": str(threshold_model),
        "options": OPTIONS,
        "inputs": inputs,
        "output": str(tmp_path / "out"),
        "save": ["labels"],
    }
    told = runs.batch(asked, Updates(task))
    json.dumps(told, allow_nan=False)
    assert [row["status"] for row in told["rows"]] == ["done", "failed", "done"]
    assert [row["objects"] for row in told["rows"]] == [1, None, 1]
    assert [info["row"] for *_, info in task.updates if "row" in info] == told["rows"]
    labels = read_labels(told["rows"][2]["outputs"]["labels"]).numpy()
    np.testing.assert_array_equal(labels > 0, stack()[1] > 1000)
    assert Path(told["summary"]).read_text(encoding="utf-8-sig").startswith("file,status")
    again = runs.batch(asked, Updates(Heard()))
    assert [row["status"] for row in again["rows"]] == ["skipped", "failed", "skipped"]


@pytest.mark.parametrize("change", [{"inputs": []}, {"inputs": "a.tif"}, {"output": ""}], ids=str)
def test_a_batch_needs_inputs_and_a_folder(
    runs: Runs, task: Heard, threshold_model: Path, change: dict[str, Any]
) -> None:
    asked = {"model": str(threshold_model), "inputs": ["a.tif"], "output": "out", **change}
    with pytest.raises(OptionError, match="'inputs'"):
        runs.batch(asked, Updates(task))

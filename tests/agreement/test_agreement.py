"""The project's one promise: whoever asks, the same model on the same image gives the same pixels."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import deepbio
from deepbio.cli import app
from deepbio.options import RunOptions

EXAMPLES = Path(__file__).parents[2] / "examples"
IMAGES = ["fluorescence.tif", "histology.png", "timelapse.tif"]


@pytest.fixture(scope="module")
def model() -> deepbio.Model:
    return deepbio.load_model("nuclei", device="cpu")


@pytest.mark.parametrize("name", IMAGES)
def test_python_and_the_command_line(model: deepbio.Model, name: str, tmp_path: Path) -> None:
    image = deepbio.read(EXAMPLES / name)
    here = model.run(image)
    ran = CliRunner().invoke(
        app, ["run", "nuclei", str(EXAMPLES / name), "-o", str(tmp_path), "--device", "cpu"]
    )
    assert ran.exit_code == 0, ran.output
    written = deepbio.read_labels(tmp_path / f"{name.split('.', maxsplit=1)[0]}-labels.tif")
    np.testing.assert_array_equal(written.numpy(), here.labels.numpy())
    assert here.labels.grid == image.grid
    assert here.labels.count > 5


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
@pytest.mark.parametrize("name", IMAGES[:2])
def test_runtimes(model: deepbio.Model, name: str, runtime: str) -> None:
    pytest.importorskip(runtime)
    image = deepbio.read(EXAMPLES / name)
    reference = model.run(image, RunOptions(runtime="onnx")).labels.numpy()
    labels = model.run(image, RunOptions(runtime=runtime)).labels.numpy()
    assert np.mean(labels != reference) <= 1e-4


@pytest.mark.parametrize("name", IMAGES[:2])
def test_a_lazy_image_and_one_in_memory(model: deepbio.Model, name: str) -> None:
    path = EXAMPLES / name
    lazy, whole = (model.run(deepbio.read(path, lazy=lazy)).labels.numpy() for lazy in (True, False))
    np.testing.assert_array_equal(lazy, whole)


def test_grey_and_the_same_as_colour(model: deepbio.Model) -> None:
    grey = deepbio.read(EXAMPLES / "fluorescence.tif")
    colour = deepbio.Image(np.repeat(grey.numpy()[None], 3, axis=0), "CYX", grey.grid, deepbio.image.RGB)
    one, other = (model.run(image).labels.numpy() for image in (colour, grey))
    # percentiles between two values move by a hair when every value is there three times
    assert np.mean(one != other) <= 1e-4

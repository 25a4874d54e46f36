"""The bundled model of nuclei in stacks, on the held-out part of the real stack that it learned from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import deepbio
from deepbio.image import Image
from deepbio.io import read, read_labels
from deepbio.metrics import average_precision
from deepbio.options import RunOptions
from deepbio.predict import Model

EXAMPLES = Path(__file__).parents[2] / "examples"
TRUTH = read_labels(EXAMPLES / "noisy_nuclei_stack_labels.tif").numpy()


@pytest.fixture(scope="module")
def model() -> Model:
    return deepbio.load_model("nuclei-3d")


def test_nuclei_are_found_in_noise(model: Model) -> None:
    image = read(EXAMPLES / "noisy_nuclei_stack.tif")
    result = model.run(image, RunOptions(device="cpu"))
    assert average_precision(TRUTH, result.labels.numpy(), (0.5,))[0] > 0.6
    assert result.labels.grid == image.grid
    assert len(result.table) == result.labels.count
    spacing = np.prod(image.grid.spacing)
    sizes = np.bincount(result.labels.numpy().ravel())[1:]
    np.testing.assert_allclose(result.table["volume"], sizes * spacing, rtol=1e-6)


def test_stacks_of_other_magnifications_are_brought_to_its_sizes(model: Model) -> None:
    image = read(EXAMPLES / "noisy_nuclei_stack.tif")
    pixels = ndimage.zoom(image.numpy()[:30].astype(np.float32), 2, order=1)
    grid = replace(image.grid, shape=pixels.shape, spacing=tuple(s / 2 for s in image.grid.spacing))
    stack = Image(pixels, "ZYX", grid)
    told = RunOptions(device="cpu", output=("labels",))
    as_is, result = model.run(stack, told), model.run(stack, told.replace(diameter=48.0))
    assert (as_is.record.get("zoom", 1.0), result.record["zoom"]) == (1.0, 0.5)
    truth = TRUTH[:30]
    for axis in range(3):
        truth = np.repeat(truth, 2, axis=axis)
    assert result.labels.array.shape == truth.shape
    scores = [average_precision(truth, one.labels.numpy(), (0.5,))[0] for one in (as_is, result)]
    assert scores[1] > 0.45, scores
    assert scores[1] > scores[0] + 0.1, scores


def test_planes_are_refused(model: Model) -> None:
    with pytest.raises(deepbio.errors.InputMismatch, match="takes 3D stacks; the image is 2D"):
        model.run(Image(np.zeros((64, 64), np.uint8)))

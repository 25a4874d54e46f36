"""The bundled model of nuclei on a real stack: in 3D it finds more than slice by slice, also where slices are far apart."""

from pathlib import Path

import numpy as np
import pytest

from deepbio.errors import InputMismatch
from deepbio.image import Grid, Image
from deepbio.io import read
from deepbio.options import RunOptions
from deepbio.predict import Model, load_model
from deepbio.tasks import sizes
from deepbio.tasks.three_planes import stack_card

STACK = Path(__file__).parents[2] / "data" / "imagej" / "nuclei_stack.tif"
OPTIONS = RunOptions(runtime="onnx", device="cpu", do_3d=True)


@pytest.fixture(scope="module")
def nuclei() -> Model:
    return load_model("nuclei")


def stack(apart: float = 1.0) -> Image:
    pixels = read(STACK).numpy()
    return Image(pixels, "ZYX", Grid(pixels.shape, (apart * 0.2, 0.2, 0.2), unit="micrometer"))


def test_objects_go_through_slices(nuclei: Model) -> None:
    found = nuclei.run(stack(), OPTIONS)
    labels = found.labels.numpy()
    deep = [len(np.unique(np.nonzero(labels == label)[0])) for label in range(1, labels.max() + 1)]
    assert found.record["do_3d"] is True
    assert labels.max() > 8
    assert np.median(deep) >= 4
    assert {"volume", "centroid_z"} <= set(found.table.columns)


def test_slices_that_are_far_apart_are_brought_nearer(nuclei: Model) -> None:
    sparse = Image(
        np.ascontiguousarray(stack().numpy()[::2]),
        "ZYX",
        Grid((5, 61, 57), (0.4, 0.2, 0.2), unit="micrometer"),
    )
    dense, thin = (nuclei.run(image, OPTIONS.replace(diameter=20.0)) for image in (stack(), sparse))
    assert thin.labels.numpy().shape == (5, 61, 57)
    assert thin.record["working"]["shape"][0] == 10
    overlap = ((dense.labels.numpy()[::2] > 0) & (thin.labels.numpy() > 0)).sum()
    union = ((dense.labels.numpy()[::2] > 0) | (thin.labels.numpy() > 0)).sum()
    assert overlap / union > 0.75


def test_sizes_are_measured_in_windows_of_large_stacks(
    nuclei: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = nuclei.run(stack(), OPTIONS)
    monkeypatch.setattr(sizes, "_WHOLE", 1000)
    windows = nuclei.run(stack(), OPTIONS)
    assert windows.record["measured"]["windows"] >= 1
    assert windows.record["diameter"] == pytest.approx(whole.record["diameter"], rel=0.2)


def test_the_card_of_a_stack(nuclei: Model) -> None:
    card = stack_card(nuclei.card, stack(3.0), OPTIONS)
    assert card.ndim == 3
    assert card.output.channels[2] == "along z"
    assert len(card.output.channels) == len(nuclei.card.output.channels) + 1
    assert card.deepbio["grid"]["spacing"] == [0.2, None, None]
    plain, deep = (
        [one.kwargs["axes"] for one in each.input.steps if "axes" in one.kwargs]
        for each in (nuclei.card, card)
    )
    assert deep == [["z", *axes] for axes in plain] != []
    assert (
        "spacing" not in stack_card(nuclei.card, Image(np.zeros((3, 4, 5)), "ZYX"), OPTIONS).deepbio["grid"]
    )


def test_movies_of_planes_are_no_stacks(nuclei: Model) -> None:
    with pytest.raises(InputMismatch, match="do_3d is for stacks; the image has the axes TYX"):
        nuclei.run(Image(np.zeros((3, 20, 21), np.uint8), "TYX"), OPTIONS)

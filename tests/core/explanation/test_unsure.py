"""Uncertainty of pixels, objects and images."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from deepbio.errors import InputMismatch, OptionError  # noqa: E402
from deepbio.explanation import uncertainty  # noqa: E402
from deepbio.image import Image  # noqa: E402
from deepbio.options import RunOptions  # noqa: E402
from deepbio.predict import load_model, run  # noqa: E402
from tests.core.shapes import shape_images  # noqa: E402

TORCH = RunOptions(runtime="torch", device="cpu")  # without a trial of the runtimes


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2000, shape).astype(np.uint16)


def test_entropy_of_a_threshold_by_hand(threshold_model) -> None:
    pixels = np.full((20, 30), 100, np.uint16)
    pixels[5:9, 7:12], pixels[12:18, 20:28] = 3000, 1500
    result = uncertainty(Image(pixels), threshold_model)
    assert result.uncertainty.axes == "CYX"
    entropy, variance = result.uncertainty.numpy()
    # one object is far above the threshold, the other near it; the sky is far below
    assert entropy[5:9, 7:12].mean() < entropy[12:18, 20:28].mean()
    assert entropy.max() <= 1
    assert (variance >= 0).all()
    assert result.labels is not None
    expected = [entropy[result.labels.numpy() == label].mean() for label in result.table["label"]]
    np.testing.assert_allclose(result.table["uncertainty"], expected, rtol=1e-5)
    assert result.record["uncertainty"] == "tta"


def test_frames_and_slices_have_their_own(tiny2d) -> None:
    image = Image(noise((2, 3, 9, 13)), "TZYX")
    result = uncertainty(image, tiny2d, options=TORCH.replace(per_slice=True))
    assert (result.uncertainty.axes, result.uncertainty.shape) == ("TCZYX", (2, 2, 3, 9, 13))
    row = 4
    t, z = int(result.table["frame"][row]) - 1, int(result.table["slice"][row]) - 1
    inside = result.labels.numpy()[t, z] == result.table["label"][row]
    assert result.table["uncertainty"][row] == pytest.approx(
        result.uncertainty.numpy()[t, 0, z][inside].mean(), rel=1e-5
    )
    only = run(image, tiny2d, TORCH.replace(per_slice=True, uncertainty="tta", output=("table",)))
    assert only.labels is None
    np.testing.assert_array_equal(only.table["uncertainty"], result.table["uncertainty"])


def test_a_volume(tiny3d) -> None:
    result = uncertainty(Image(noise((5, 7, 11)), "ZYX"), tiny3d, options=TORCH)
    assert result.uncertainty.shape == (2, 5, 7, 11)


@pytest.mark.parametrize("method", ["tta", "dropout"])
def test_a_classifier_is_unsure_of_what_is_between(disc_model, method) -> None:
    images, classes, _ = shape_images(20, seed=4)
    model = load_model(disc_model)
    sure = [
        uncertainty(Image(one), model, method=method, options=TORCH).table["entropy"][0] for one in images[:4]
    ]
    between = (images[classes == 1][0].astype(float) + images[classes == 0][0]) / 2
    doubt = uncertainty(Image(between.astype(np.uint16)), model, method=method, options=TORCH)
    assert doubt.uncertainty is None
    assert doubt.table["entropy"][0] > np.median(sure)
    assert 0 < doubt.table["spread"][0] < 0.5
    assert doubt.record["passes"] == {"tta": 9, "dropout": 20}[method]


def test_tiles_of_a_classifier_have_a_map(disc_model) -> None:
    image = Image(np.tile(shape_images(2, seed=4)[0][1], (2, 3)))
    result = uncertainty(image, disc_model, options=TORCH.replace(classify="tiles"))
    assert result.uncertainty.axes == "YX"
    assert result.uncertainty.shape == result.image.shape[1:]
    assert len(result.table["entropy"]) == result.record["tiles"]


def test_what_has_no_answer(tiny2d) -> None:
    image = Image(noise((9, 13)))
    with pytest.raises(InputMismatch, match=r"has no dropout layer.*Use uncertainty=tta"):
        uncertainty(image, tiny2d, method="dropout", options=TORCH)
    with pytest.raises(OptionError, match="The method is 'bayes'"):
        uncertainty(image, tiny2d, method="bayes")


def test_one_run_gives_all(disc_model) -> None:
    images, _, _ = shape_images(2, seed=4)
    options = TORCH.replace(explain="gradcam", target="disc", uncertainty="tta", layer="auto")
    result = run(Image(images[1]), disc_model, options)
    assert result.explanation.shape == images[1].shape
    assert "entropy" in result.table.columns
    assert len(result.features.columns) == 12
    assert result.record["options"]["explain"] == "gradcam"

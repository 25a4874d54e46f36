"""Maps of what speaks for a class, against captum, by completeness and by hand."""

import numpy as np
import pytest
from scipy.stats import spearmanr

torch = pytest.importorskip("torch")

from deepbio.engine.device import cpu_device  # noqa: E402
from deepbio.engine.occlusion import Occlusion  # noqa: E402
from deepbio.engine.runtimes.attribution import GradCam, IntegratedGradients, ScoreRuntime, dropouts  # noqa: E402
from deepbio.engine.runtimes.layers import Layer, find_layer, layers_of  # noqa: E402
from deepbio.errors import MissingPackage, OptionError  # noqa: E402
from deepbio.networks import build  # noqa: E402

CPU = cpu_device()
ARGUMENTS = {
    "dims": 2,
    "in_channels": 2,
    "out_channels": 3,
    "features": [4, 8],
    "blocks": [1, 1],
    "dropout": 0.5,
}


@pytest.fixture
def classifier():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = build("classifier", ARGUMENTS).eval()
    for layer in network.modules():
        if hasattr(layer, "inplace"):
            layer.inplace = False
    return network


@pytest.fixture
def batch() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 2, 16, 24)).astype(np.float32)


def test_gradcam_by_hand(classifier, batch) -> None:
    layer = find_layer(layers_of(classifier, batch.shape[1:]), "stages.1")
    found = GradCam(classifier, CPU, 2, layer)(batch)
    with torch.no_grad():
        maps = classifier.maps(torch.from_numpy(batch))["stages.1"]
        # after the global average, the gradient of a score is the head's weight over the cells
        weights = classifier.head.weight[2].view(1, -1, 1, 1) / (maps.shape[2] * maps.shape[3])
        cam = (weights * maps).sum(1, keepdim=True).clamp(min=0)
        expected = torch.nn.functional.interpolate(cam, (16, 24), mode="bilinear").numpy()
    assert expected.max() > 0
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_gradcam_of_a_segmentation_looks_at_the_pixels_of_the_class() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.Conv2d(1, 2, 1))
    with torch.no_grad():
        for layer, weight, bias in ((network[0], [[1.0]], [0.0]), (network[1], [[0.0], [2.0]], [0.5, 0.0])):
            layer.weight[:] = torch.tensor(weight).view_as(layer.weight)
            layer.bias[:] = torch.tensor(bias)
    image = np.zeros((1, 1, 4, 6), np.float32)
    image[0, 0, 1, 2:5] = 1.0  # class 1: 2 * 1 > 0.5
    found = GradCam(network, CPU, 1, Layer("0", "Conv2d", 1, (1, 1)))(image)
    np.testing.assert_allclose(found[0, 0], image[0, 0] * 2 * 3 / 24, atol=1e-6)


def test_gradcam_needs_a_layer_with_a_place(classifier) -> None:
    with pytest.raises(OptionError, match="one vector for the whole image"):
        GradCam(classifier, CPU, 0, find_layer(layers_of(classifier, (2, 16, 16)), "head"))


def test_gradcam_equals_captums(classifier, batch) -> None:
    captum = pytest.importorskip("captum.attr")
    layer = find_layer(layers_of(classifier, batch.shape[1:]), "stages.0")
    found = GradCam(classifier, CPU, 1, layer)(batch)
    pixels = torch.from_numpy(batch)
    theirs = captum.LayerGradCam(classifier, classifier.stages[0]).attribute(
        pixels, 1, relu_attributions=True
    )
    expected = torch.nn.functional.interpolate(theirs.detach(), (16, 24), mode="bilinear").numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_integrated_gradients_add_up_to_the_score(classifier, batch) -> None:
    pytest.importorskip("captum")
    found = IntegratedGradients(classifier, CPU, 1, steps=50)(batch)
    score = ScoreRuntime(classifier, CPU)
    grey = np.broadcast_to(batch.mean((2, 3), keepdims=True), batch.shape)
    expected = (score(batch) - score(grey))[:, 1]
    np.testing.assert_allclose(found.sum((1, 2, 3)), expected, rtol=0.02, atol=1e-4)


def test_without_captum_the_extra_is_named(classifier, monkeypatch) -> None:
    monkeypatch.setattr("deepbio.engine.runtimes.attribution.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"deepbio-imaging\[explain\]"):
        IntegratedGradients(classifier, CPU, 0)


def test_other_weights_give_another_map(classifier, batch) -> None:
    layer = find_layer(layers_of(classifier, batch.shape[1:]), "stages.0")
    before = GradCam(classifier, CPU, 2, layer)(batch).ravel()
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(5)
        for parameter in classifier.parameters():
            if parameter.ndim > 1:
                torch.nn.init.kaiming_normal_(parameter)
    after = GradCam(classifier, CPU, 2, layer)(batch).ravel()
    assert spearmanr(before, before).statistic == pytest.approx(1)
    assert spearmanr(before, after).statistic < 0.7


class Corner:
    """Scores 0 and the sum of one 4 x 4 corner."""

    name, precision, why, device = "corner", "fp32", "", CPU

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        total = batch[:, :, :4, :4].sum((1, 2, 3))
        return np.stack((np.zeros_like(total), total), axis=1)


def test_occlusion_finds_the_corner_that_counts() -> None:
    image = np.zeros((1, 1, 16, 24), np.float32)
    image[..., :4, :4] = 1.0
    found = Occlusion(Corner(), 1, window=4)(image)[0, 0]
    full = 16 - 16 * image.mean()  # covering the corner with the mean colour
    assert found[0, 0] == pytest.approx(full, rel=1e-5)
    assert found[1, 1] == pytest.approx(full, rel=1e-5)
    assert found[2:4, 2:4].max() < full
    assert found[6:].max() <= 0
    assert found[:, 6:].max() <= 0


def test_dropout_is_on_only_while_it_is_asked(classifier, batch) -> None:
    first, second = (ScoreRuntime(classifier, CPU, dropout=seed)(batch) for seed in (1, 2))
    again = ScoreRuntime(classifier, CPU, dropout=1)(batch)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(ScoreRuntime(classifier, CPU)(batch), ScoreRuntime(classifier, CPU)(batch))
    assert len(dropouts(classifier)) == 1
    assert not any(layer.training for layer in classifier.modules())

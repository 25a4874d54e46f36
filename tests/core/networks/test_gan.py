"""Generators and discriminators: shapes, what their inputs decide, and the ONNX twin."""

from pathlib import Path

import numpy as np
import pytest
import torch

from deepbio.errors import CardError
from deepbio.networks import build
from deepbio.networks.gan import PatchDiscriminator, StyleDiscriminator, StyleGenerator
from deepbio.training.weights import weight_files

SMALL = {"features": [8, 12, 4], "patch": 2}


@pytest.mark.parametrize(("channels", "patch", "edge"), [(3, 2, 32), (1, 1, 16), (2, 4, 64)])
def test_sizes(channels: int, patch: int, edge: int) -> None:
    arguments = {"features": (8, 12, 4), "patch": patch}
    torch.manual_seed(0)
    network = StyleGenerator(5, 3, channels, **arguments)
    made = network(torch.randn(6, 8))
    assert made.shape == (6, channels, edge, edge)
    assert network.edge == edge
    real, named = StyleDiscriminator(3, channels, **arguments)(made)
    assert real.shape == named.shape == (6, 3)


def test_an_image_follows_from_its_own_row() -> None:
    torch.manual_seed(0)
    network = build("style_generator", {"latent": 5, "classes": 3, **SMALL}).eval()
    x = torch.randn(4, 8)
    alone = torch.cat([network(row[None]) for row in x])
    torch.testing.assert_close(network(x), alone, atol=1e-5, rtol=1e-4)


def test_latent_and_class_both_count() -> None:
    torch.manual_seed(0)
    network = StyleGenerator(5, 3, **SMALL)
    z, other = torch.randn(1, 5), torch.randn(1, 5)
    one, two = torch.tensor([[1.0, 0, 0]]), torch.tensor([[0, 0, 1.0]])
    base = network(torch.cat([z, one], 1))
    assert (network(torch.cat([z, two], 1)) - base).abs().mean() > 0.05
    assert (network(torch.cat([other, one], 1)) - base).abs().mean() > 0.05
    # only the direction of a latent counts
    torch.testing.assert_close(network(torch.cat([3 * z, one], 1)), base, atol=1e-4, rtol=1e-4)


def test_output_of_random_weights_has_the_scale_of_images() -> None:
    torch.manual_seed(1)
    made = StyleGenerator(16, 2, features=(32, 32, 16))(torch.randn(16, 18))
    assert 0.3 < float(made.detach().std()) < 3


def test_wrong_arguments() -> None:
    with pytest.raises(CardError, match="latent 0, classes 3"):
        build("style_generator", {"latent": 0, "classes": 3})


def test_a_patch_sees_its_surroundings_only() -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator(2, (4, 6, 8))
    x = torch.randn(1, 2, 96, 64)
    changed = x.clone()
    changed[:, :, :8] += 1
    moved = (network(x) != network(changed)).flatten(2).any(1).reshape(12, 8).any(1)
    assert moved[0]
    assert not moved[6:].any()


def test_twin_makes_the_same_images(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    ort = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    arguments = {"latent": 5, "classes": 3, **SMALL}
    network = build("style_generator", arguments)
    with weight_files("style_generator", arguments, network.state_dict(), (8,)) as files:
        x = torch.randn(3, 8)
        with torch.inference_mode():
            expected = files.network(x).numpy()
        session = ort.InferenceSession(files.onnx, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    # 0.4 % of the range: products of weights are rounded once more in the twin
    assert np.abs(found - expected).max() < 0.008

"""Layers of networks by name, and what they give."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from deepbio.engine.device import cpu_device  # noqa: E402
from deepbio.engine.runtimes.inside import LayerRuntime  # noqa: E402
from deepbio.engine.runtimes.layers import CODE, default_layer, find_layer, layers_of  # noqa: E402
from deepbio.errors import CardError, OptionError  # noqa: E402
from deepbio.networks import build  # noqa: E402

UNET = {"in_channels": 2, "out_channels": 3, "features": [4, 6, 8]}


class Coder(torch.nn.Module):
    """A stand-in for an autoencoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3, 2, 1), torch.nn.Flatten())
        self.decoder = torch.nn.Linear(3 * 16, 64)

    def encode(self, x):
        return self.encoder(x)

    def forward(self, x):
        return self.decoder(self.encode(x)).view(-1, 1, 8, 8)


@pytest.mark.parametrize(
    ("dims", "shape", "stride"), [(2, (2, 12, 20), (4, 4)), (3, (2, 8, 12, 20), (4, 4, 4))]
)
def test_layers_of_a_unet(dims, shape, stride) -> None:
    network = build("unet", {"dims": dims, **UNET}).eval()
    layers = layers_of(network, shape)
    by_name = {layer.name: layer for layer in layers}
    assert by_name["encoder.2"].stride == stride
    assert by_name["encoder.2"].features == 8
    assert by_name["decoder.0"].stride == (1,) * dims
    assert default_layer(network, layers).name == "encoder.2"
    assert default_layer(network, layers, 2.5).name == "encoder.1"
    assert default_layer(network, layers, 0.1).name == "encoder.0"


def test_a_stride_that_differs_along_the_axes() -> None:
    network = build("unet", {"dims": 3, **UNET, "strides": [1, [1, 2, 2], 2]}).eval()
    assert find_layer(layers_of(network, (2, 4, 8, 12)), "encoder.2").stride == (2, 4, 4)


def test_a_classifier_and_an_ensemble() -> None:
    arguments = {"dims": 2, "in_channels": 1, "out_channels": 4, "features": [4, 8], "blocks": [1, 1]}
    classifier = build("classifier", arguments).eval()
    layers = layers_of(classifier, (1, 16, 24))
    assert default_layer(classifier, layers).name == "stages.1"
    assert find_layer(layers, "head").stride == ()
    ensemble = build("ensemble", {"network": "unet", "arguments": {"dims": 2, **UNET}, "members": 2}).eval()
    assert default_layer(ensemble, layers_of(ensemble, (2, 8, 8))).name == "members.0.encoder.2"


def test_the_code_of_an_autoencoder() -> None:
    network = Coder().eval()
    layers = layers_of(network, (1, 8, 8))
    layer = default_layer(network, layers)
    assert (layer.name, layer.features, layer.stride) == (CODE, 48, ())
    assert default_layer(network, layers, 4.0).name == "encoder.0"  # of objects: the code has no place
    batch = np.random.default_rng(0).random((2, 1, 8, 8), np.float32)
    expected = network.encode(torch.from_numpy(batch)).detach().numpy()
    np.testing.assert_array_equal(LayerRuntime(network, layer, cpu_device())(batch), expected)


def test_a_layer_gives_what_it_gives_inside() -> None:
    network = build("unet", {"dims": 2, **UNET}).eval()
    batch = np.random.default_rng(0).random((2, 2, 8, 12), np.float32)
    with torch.no_grad():
        expected = network.encoder[1](network.encoder[0](torch.from_numpy(batch))).numpy()
    layer = find_layer(layers_of(network, (2, 8, 12)), "encoder.1")
    np.testing.assert_array_equal(LayerRuntime(network, layer, cpu_device())(batch), expected)
    assert not network.encoder[1]._forward_hooks


def test_unknown_layers_name_the_nearest() -> None:
    layers = layers_of(build("unet", {"dims": 2, **UNET}).eval(), (2, 8, 8))
    with pytest.raises(OptionError, match=r"no layer 'encoder.9'.*'encoder.2'"):
        find_layer(layers, "encoder.9")
    with pytest.raises(OptionError, match=r"It has, for example, 'encoder.0'"):
        find_layer(layers, "qqq")


def test_a_network_without_maps() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2)).eval()
    with pytest.raises(CardError, match="No layer"):
        default_layer(network, layers_of(network, (1, 4, 4)))

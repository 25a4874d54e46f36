"""The network of Cellpose: shapes, style and what a tile's content does to all of it."""

import pytest

torch = pytest.importorskip("torch")

from deepbio.errors import CardError  # noqa: E402
from deepbio.networks import build  # noqa: E402
from deepbio.networks.style import StyleUNet  # noqa: E402


@pytest.fixture
def network() -> StyleUNet:
    torch.manual_seed(0)
    return StyleUNet(2, 3, features=(4, 6, 10)).eval()


def test_any_multiple_of_the_divisor_is_taken(network: StyleUNet) -> None:
    assert network.divisor == (4, 4)
    assert network(torch.zeros(2, 2, 12, 28)).shape == (2, 3, 12, 28)


def test_the_style_is_of_the_whole_tile(network: StyleUNet) -> None:
    image = torch.randn(1, 2, 64, 64)
    changed = image.clone()
    changed[..., 40:] += 3  # far beyond what convolutions of the left edge see
    with torch.inference_mode():
        apart = (network(image) - network(changed))[..., :4].abs().max()
        for stage in network.decoder:
            for layer in stage.styles:
                layer.weight.zero_()
        without = (network(image) - network(changed))[..., :4].abs().max()
    assert apart > 1e-4
    assert without < 1e-6


def test_brighter_deep_features_have_the_same_style(network: StyleUNet) -> None:
    seen = []
    for layer in network.decoder[0].styles:
        layer.register_forward_hook(lambda _module, given, _out: seen.append(given[0]))
    with torch.inference_mode():
        network(torch.randn(3, 2, 16, 16))
    assert len(seen) == 3
    torch.testing.assert_close(seen[0].norm(dim=1), torch.ones(3))


def test_it_is_built_from_plain_arguments() -> None:
    network = build("style_unet", {"in_channels": 1, "out_channels": 3, "features": [4, 8], "kernel": 5})
    assert network.encoder[0].convs[0][2].kernel_size == (5, 5)
    with pytest.raises(CardError, match=r"kernels of 4"):
        build("style_unet", {"in_channels": 1, "out_channels": 3, "features": [4], "kernel": 4})

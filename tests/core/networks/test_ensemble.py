"""Ensembles: the mean of their members, built from a card's plain arguments."""

import pytest

torch = pytest.importorskip("torch")

from deepbio.errors import CardError  # noqa: E402
from deepbio.networks import build  # noqa: E402

UNET = {"dims": 3, "in_channels": 1, "out_channels": 2, "features": [2, 4], "strides": [1, [1, 2, 2]]}


def test_scores_are_the_mean_of_the_members() -> None:
    torch.manual_seed(0)
    net = build("ensemble", {"network": "unet", "arguments": UNET, "members": 3}).eval()
    image = torch.randn(2, 1, 3, 6, 10)
    expected = torch.stack([member(image) for member in net.members]).mean(0)
    torch.testing.assert_close(net(image), expected)
    assert not torch.equal(net.members[0](image), net.members[1](image))
    assert net.divisor == net.members[0].divisor == (1, 2, 2)
    assert net.receptive_field == net.members[0].receptive_field


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "unet", "arguments": UNET, "members": 0}, "no ensemble of 0"),
        ({"network": "ensemble", "arguments": {}, "members": 2}, "no ensemble of 2 networks 'ensemble'"),
        ({"network": "os.system", "arguments": {}, "members": 2}, "known are .*ensemble, .*unet"),
        ({"network": "unet", "members": 2}, "arguments"),
    ],
)
def test_what_cannot_be_built_is_told(arguments, message: str) -> None:
    with pytest.raises(CardError, match=message):
        build("ensemble", arguments)

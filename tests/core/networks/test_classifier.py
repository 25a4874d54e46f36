"""The residual classifier: shapes in 2D and 3D, its parts, and that folding changes nothing."""

import pytest

torch = pytest.importorskip("torch")

from deepbio.errors import CardError  # noqa: E402
from deepbio.networks import build  # noqa: E402
from deepbio.networks.classifier import Classifier, fold_norms  # noqa: E402

NETWORKS = {
    "2d": ({"dims": 2, "in_channels": 3, "out_channels": 8}, (1, 3, 37, 53)),
    "small": ({"dims": 2, "in_channels": 1, "out_channels": 2, "features": [8, 16], "strides": [1, 2]}, (2, 1, 9, 7)),
    "3d": (
        {"dims": 3, "in_channels": 2, "out_channels": 3, "features": [8, 16, 16], "strides": [[1, 2, 2], 2, [1, 2, 2]]},
        (2, 2, 5, 21, 17),
    ),
}  # fmt: skip


def _trained(arguments: dict, shape: tuple[int, ...]) -> Classifier:
    """With random norms, so that none of them is the identity."""
    torch.manual_seed(0)
    network = build("classifier", arguments)
    for module in network.modules():
        if hasattr(module, "running_mean"):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_()
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return network.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_scores_parts_and_folding(name) -> None:
    arguments, shape = NETWORKS[name]
    network = _trained(arguments, shape)
    image = torch.randn(shape)
    with torch.inference_mode():
        scores = network(image)
        assert scores.shape == (shape[0], arguments["out_channels"])
        assert torch.equal(network.head(network.embed(image)), scores)
        maps = network.maps(image)
        assert list(maps) == ["stem", *(f"stages.{k}" for k in range(len(network.stages)))]
        assert torch.equal(list(maps.values())[-1].flatten(2).mean(2), network.embed(image))
        modules = dict(network.named_modules())
        assert all(name in modules for name in maps)  # so that hooks find them
        size = [-(-n // d) for n, d in zip(shape[2:], network.divisor, strict=True)]
        assert list(list(maps.values())[-1].shape[2:]) == size
        folded = fold_norms(network)
        torch.testing.assert_close(folded(image), scores, rtol=1e-4, atol=1e-4)
        again = build("classifier", {**arguments, "norm": "none"}).eval()
        again.load_state_dict(folded.state_dict())
        torch.testing.assert_close(again(image), scores, rtol=1e-4, atol=1e-4)


def test_blocks_start_as_their_shortcut() -> None:
    network = Classifier(2, 1, 2, features=(8, 8), blocks=(2, 2)).train()
    block = network.stages[0][0]
    x = torch.rand(2, 8, 6, 6)
    torch.testing.assert_close(block(x), x)


def test_the_default_is_small_enough() -> None:
    network = Classifier(2, 3, 8, blocks=(1, 2, 2, 2))
    assert sum(one.numel() for one in network.parameters()) < 3_000_000


@pytest.mark.parametrize(
    "wrong", [{"dims": 4}, {"features": []}, {"blocks": [1]}, {"strides": [2, 0]}, {"norm": "layer"}]
)
def test_what_a_card_cannot_ask_for(wrong) -> None:
    arguments = {"dims": 2, "in_channels": 1, "out_channels": 2, "features": [8, 8], **wrong}
    with pytest.raises(CardError, match="cannot be built"):
        build("classifier", arguments)

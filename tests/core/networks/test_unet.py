"""The U-Net in 2D and 3D: shapes, receptive field, deep supervision, folding."""

import pytest

torch = pytest.importorskip("torch")

from deepbio.errors import CardError  # noqa: E402
from deepbio.networks import NETWORKS, build  # noqa: E402
from deepbio.networks.unet import UNet, fold_norms  # noqa: E402

VARIANTS = [
    {"dims": 2, "features": (4, 6, 8)},
    {"dims": 2, "features": (4, 6), "encoder": "residual", "norm": "instance"},
    {"dims": 3, "features": (4, 6, 8), "strides": (1, (1, 2, 2), 2), "kernels": ((1, 3, 3), 3, 3)},
    {"dims": 3, "features": (4, 6), "encoder": "residual", "convs": (1, 3), "decoder_convs": 1},
    {"dims": 2, "features": (4, 6, 8), "norm": "none", "kernels": (5, 3, 3)},
    {
        "dims": 3,
        "features": (4, 6, 6),
        "encoder": "pooled",
        "norm": "instance",
        "convs": (1, 2, 2),
        "strides": (1, (1, 2, 2), 2),
        "kernels": ((1, 3, 3), 3, 3),
    },
    {"dims": 2, "features": (4, 6), "encoder": "pooled", "convs": (2, 1)},
]
NAMES = [" ".join(str(v) for v in variant.values()) for variant in VARIANTS]


def _network(**variant) -> UNet:
    torch.manual_seed(0)
    return UNet(in_channels=2, out_channels=3, **variant).eval()


@pytest.mark.parametrize("variant", VARIANTS, ids=NAMES)
def test_scores_have_the_size_of_the_image(variant) -> None:
    net = _network(**variant)
    size = tuple(d * n for d, n in zip(net.divisor, (3, 5, 4), strict=False))
    assert net(torch.zeros(2, 2, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("variant", VARIANTS, ids=NAMES)
def test_nothing_beyond_the_receptive_field_matters(variant) -> None:
    net = _network(**{**variant, "norm": "none"}).double()
    reach = net.receptive_field
    size = tuple(-(-2 * r // d) * d + 2 * d for r, d in zip(reach, net.divisor, strict=True))
    image = torch.randn(1, 2, *size, dtype=torch.double, requires_grad=True)
    centre = tuple(n // 2 for n in size)
    net(image)[(0, 0, *centre)].backward()
    touched = image.grad.abs().sum((0, 1)).nonzero()
    width = (touched.max(0).values - touched.min(0).values + 1).tolist()
    assert all(w <= r for w, r in zip(width, reach, strict=True))
    assert all(w > r / 2 for w, r in zip(width, reach, strict=True))


def test_the_receptive_field_is_reached_at_some_pixel() -> None:
    net = _network(dims=2, features=(3, 3, 3), norm="none").double()
    widest = 0
    for shift in range(net.divisor[0]):
        image = torch.randn(1, 2, 96, 96, dtype=torch.double, requires_grad=True)
        net(image)[0, 0, 48 + shift, 48 + shift].backward()
        touched = image.grad.abs().sum((0, 1)).nonzero()
        widest = max(widest, int((touched.max(0).values - touched.min(0).values + 1).max()))
    assert (widest, widest) == net.receptive_field


def test_pooled_shortcuts_average_and_the_stem_comes_first() -> None:
    net = _network(dims=2, features=(4, 4, 6), encoder="pooled", norm="none", convs=(1, 1, 1))
    stem, block = net.encoder[0][0], net.encoder[1][0]
    assert (stem[0].in_channels, stem[0].out_channels) == (2, 4)
    assert [type(part).__name__ for part in block.shortcut] == [
        "AvgPool2d"
    ]  # as many features: no convolution
    assert [type(part).__name__ for part in net.encoder[2][0].shortcut] == ["AvgPool2d", "Sequential"]
    assert len(net.encoder[0][2].shortcut) == 0
    for part in (*block.body[0], *block.body[2]):
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.zeros_(part.bias)
    image = torch.rand(1, 4, 6, 8)
    torch.testing.assert_close(block(image), torch.nn.functional.avg_pool2d(image, 2))


def test_deep_supervision_while_training_only() -> None:
    net = _network(dims=2, features=(4, 4, 4, 4), deep_supervision=True)
    image = torch.randn(2, 2, 16, 24)
    assert [tuple(s.shape[2:]) for s in net.train()(image)] == [(16, 24), (8, 12)]
    assert net.eval()(image).shape == (2, 3, 16, 24)


@pytest.mark.parametrize("encoder", ["plain", "residual"])
@pytest.mark.parametrize("dims", [2, 3])
def test_folding_keeps_the_scores(encoder: str, dims: int) -> None:
    net = _network(dims=dims, features=(4, 6, 8), encoder=encoder, deep_supervision=True)
    for module in net.modules():  # statistics as after training, not 0 and 1
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    folded = fold_norms(net)
    image = torch.randn(1, 2, *(8, 12, 20)[:dims])
    torch.testing.assert_close(folded(image), net(image), rtol=1e-4, atol=1e-4)
    plain = UNet(dims, 2, 3, features=(4, 6, 8), encoder=encoder, norm="none")
    assert list(plain.state_dict()) == list(folded.state_dict())


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("vnet", {}, "known are .*ensemble, .*unet"),
        ("unet", {"dims": 4, "in_channels": 1, "out_channels": 1}, "dims=4"),
        ("unet", {"dims": 2, "in_channels": 1, "out_channels": 1, "kernels": [2, 3, 3, 3, 3]}, "odd"),
        ("unet", {"dims": 2, "in_channels": 1, "out_channels": 1, "strides": [1, 2]}, "one entry per stage"),
        ("unet", {"dims": 2, "in_channels": 1, "out_channels": 1, "width": 3}, "width"),
    ],
)
def test_a_card_that_asks_for_what_is_not_there(name: str, arguments, message: str) -> None:
    with pytest.raises(CardError, match=message):
        build(name, arguments)


def test_the_table_builds() -> None:
    assert {"unet", "ensemble", "classifier", "restorer", "sequence_unet", "style_generator"} <= set(NETWORKS)
    assert isinstance(
        build("unet", {"dims": 2, "in_channels": 1, "out_channels": 1, "features": [2, 2]}), UNet
    )

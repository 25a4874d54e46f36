"""The network of StarDist: sizes, receptive field, and what its options change."""

import pytest

torch = pytest.importorskip("torch")

from deepbio.errors import CardError  # noqa: E402
from deepbio.networks import build  # noqa: E402
from deepbio.networks.star import StarUNet  # noqa: E402

VARIANTS = [
    {"grid": (1, 1), "depth": 2, "after": 6},
    {"grid": (2, 2), "depth": 1, "after": 0, "batch_norm": True},
    {"grid": (2, 1), "depth": 2, "pool": (1, 2), "kernel": (3, 5), "convs": 1, "after": 5},
    {"grid": (4, 4), "depth": 1, "activation": "elu", "last_activation": "linear", "after": 5},
    {"grid": (1, 2), "depth": 2, "kernel": (2, 4), "expansion": 1.5, "after": 5},
]


def _network(**variant: object) -> StarUNet:
    torch.manual_seed(0)
    return StarUNet(2, 8, filters=4, **variant).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_have_the_size_of_the_image_and_blocks_of_the_grid(variant) -> None:
    net = _network(**variant)
    size = tuple(d * n for d, n in zip(net.divisor, (3, 5), strict=True))
    scores = net(torch.randn(2, 2, *size))
    assert scores.shape == (2, 9, *size)
    assert ((scores[:, 0] > 0) & (scores[:, 0] < 1)).all()
    step_y, step_x = net.grid
    first = scores[:, :, ::step_y, ::step_x]
    for y in range(step_y):
        for x in range(step_x):
            torch.testing.assert_close(scores[:, :, y::step_y, x::step_x], first, rtol=0, atol=0)
    assert first[0, 1].unique().numel() > 4


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_beyond_the_receptive_field_matters(variant) -> None:
    net = _network(**{**variant, "batch_norm": False, "activation": "softplus"}).double()
    reach = net.receptive_field
    size = tuple(-(-2 * r // d) * d + 2 * d for r, d in zip(reach, net.divisor, strict=True))
    widest = [0, 0]
    for shift in range(0, max(net.divisor), 3):
        image = torch.randn(1, 2, *size, dtype=torch.double, requires_grad=True)
        centre = [n // 2 + min(shift, d - 1) for n, d in zip(size, net.divisor, strict=True)]
        net(image)[(0, 0, *centre)].backward()
        touched = image.grad.abs().sum((0, 1)).nonzero()
        width = (touched.max(0).values - touched.min(0).values + 1).tolist()
        widest = [max(pair) for pair in zip(widest, width, strict=True)]
    assert all(w <= r for w, r in zip(widest, reach, strict=True))
    assert all(w > r / 2 for w, r in zip(widest, reach, strict=True))


def test_a_part_has_the_scores_of_the_whole_if_it_begins_at_a_multiple_of_the_divisor() -> None:
    net = _network(grid=(2, 2), depth=2, after=4).double()
    image = torch.randn(1, 2, 160, 168, dtype=torch.double)
    whole = net(image)
    part = net(image[:, :, 24:136, 32:160])
    margin = [(f + d) // 2 for f, d in zip(net.receptive_field, net.divisor, strict=True)]
    inner = part[:, :, margin[0] : -margin[0], margin[1] : -margin[1]]
    expected = whole[:, :, 24 + margin[0] : 136 - margin[0], 32 + margin[1] : 160 - margin[1]]
    assert inner.numel() > 0
    torch.testing.assert_close(inner, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rays": 2}, "2 rays"),
        ({"grid": [3, 1]}, "powers of 2"),
        ({"grid": [2]}, "not enough values"),
        ({"activation": "eval"}, "'eval' is not known"),
        ({"depth": 0}, "depth 0"),
        ({"convs": 0}, "0 convolutions"),
    ],
)
def test_what_cannot_be_built_is_told(changes, message: str) -> None:
    with pytest.raises(CardError, match=message):
        build("star_unet", {"in_channels": 1, "rays": 8, "filters": 4, **changes})

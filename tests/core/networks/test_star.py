"""The network of StarDist: sizes, receptive field, and what its options change."""

import pytest

torch = pytest.importorskip("torch")

from deepbio.errors import CardError  # noqa: E402
from deepbio.networks import build  # noqa: E402
from deepbio.networks.star import StarUNet  # noqa: E402
from deepbio.networks.star_resnet import StarResNet  # noqa: E402

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
        ({"grid": [2]}, "two or three powers of 2"),
        ({"activation": "eval"}, "'eval' is not known"),
        ({"depth": 0}, "depth 0"),
        ({"convs": 0}, "0 convolutions"),
    ],
)
def test_what_cannot_be_built_is_told(changes, message: str) -> None:
    with pytest.raises(CardError, match=message):
        build("star_unet", {"in_channels": 1, "rays": 8, "filters": 4, **changes})


STACKS = [
    (StarUNet, {"grid": (1, 2, 2), "depth": 1, "pool": (1, 2, 2), "kernel": (3, 3, 5), "after": 5}),
    (StarUNet, {"grid": (1, 1, 1), "depth": 1, "after": 0, "convs": 1}),
    (StarResNet, {"grid": (1, 2, 2), "blocks": 2, "convs": 2, "after": 5}),
    (StarResNet, {"grid": (2, 4, 1), "blocks": 2, "convs": 3, "kernel": (3, 5, 2), "after": 0}),
]


@pytest.mark.parametrize(("kind", "variant"), STACKS)
def test_stacks_have_scores_for_each_place_and_nothing_beyond_the_field_matters(kind, variant) -> None:
    torch.manual_seed(0)
    net = kind(2, 8, filters=2, activation="softplus", **variant).eval().double()
    size = tuple(-(-f // d) * d + 2 * d for f, d in zip(net.receptive_field, net.divisor, strict=True))
    image = torch.randn(1, 2, *size, dtype=torch.double, requires_grad=True)
    scores = net(image)
    places = tuple(n // g for n, g in zip(size, net.grid, strict=True))
    assert scores.shape == (1, 9, *places)
    scores[(0, 0, *(n // 2 for n in places))].backward()
    touched = image.grad.abs().sum((0, 1)).nonzero()
    width = (touched.max(0).values - touched.min(0).values + 1).tolist()
    assert all(r / 2 < w <= r for w, r in zip(width, net.receptive_field, strict=True))


@pytest.mark.parametrize(("kind", "variant"), STACKS)
def test_a_part_of_a_stack_has_the_scores_of_the_whole(kind, variant) -> None:
    torch.manual_seed(0)
    net = kind(1, 4, filters=2, **variant).eval().double()
    steps, field = net.divisor, net.receptive_field
    size = tuple(-(-f // d) * d + 6 * d for f, d in zip(field, steps, strict=True))
    image = torch.randn(1, 1, *size, dtype=torch.double)
    whole, part = net(image), net(image[(..., *(slice(2 * d, None) for d in steps))])
    margin = [-(-(f + d) // 2 // g) for f, d, g in zip(field, steps, net.grid, strict=True)]
    offset = [2 * d // g for d, g in zip(steps, net.grid, strict=True)]
    inner = part[(..., *(slice(m, None) for m in margin))]
    assert inner.numel() > 0
    torch.testing.assert_close(
        inner, whole[(..., *(slice(m + o, None) for m, o in zip(margin, offset, strict=True)))]
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": [2, 2]}, "residual star network"),
        ({"grid": [2, 8, 2], "blocks": 2}, "2 blocks do not lead to the grid"),
        ({"convs": 1}, "1 convolutions"),
        ({"kernel": [3, 3]}, "with 3 dimensions"),
        ({"activation": "eval"}, "'eval' is not known"),
    ],
)
def test_residual_networks_that_cannot_be_built(changes, message: str) -> None:
    with pytest.raises(CardError, match=message):
        build("star_resnet", {"in_channels": 1, "rays": 8, "filters": 4, **changes})

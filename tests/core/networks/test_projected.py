"""A discriminator that looks through a classifier."""

from __future__ import annotations

import pytest
import torch

from deepbio.networks import build
from deepbio.networks.projected import ProjectedDiscriminator

JUDGE = {"dims": 2, "in_channels": 3, "out_channels": 3, "features": (6, 8, 10), "blocks": (1, 1, 1)}


def make(**changes: object) -> ProjectedDiscriminator:
    torch.manual_seed(0)
    arguments = {
        "classes": 3,
        "judge": JUDGE,
        "edge": 50,
        "mean": (200.0, 150.0, 100.0),
        "std": (50.0, 40.0, 30.0),
    }
    network = build("projected_discriminator", {**arguments, "width": 5, **changes})
    assert isinstance(network, ProjectedDiscriminator)
    return network


def test_it_judges_at_every_scale() -> None:
    real, named = make()(torch.rand(2, 3, 34, 34) * 2 - 1)
    assert [tuple(one.shape) for one in real] == [(2, 3, 4, 4), (2, 3, 6, 6), (2, 3, 6, 6), (2, 3, 3, 3)]
    assert named.shape == (2, 3)


@torch.no_grad()
def test_the_classifier_sees_what_it_was_trained_on() -> None:
    """Bytes, less its mean, over its deviation, at its size."""
    network = make(order=(2, 0, 1))
    pixels = torch.randint(0, 256, (2, 3, 50, 50)).float()
    mean, std = (torch.tensor(v)[None, :, None, None] for v in ((200.0, 150.0, 100.0), (50.0, 40.0, 30.0)))
    expected = network.judge((pixels - mean) / std)[:, [2, 0, 1]]
    torch.testing.assert_close(network(pixels / 127.5 - 1)[1], expected, rtol=1e-4, atol=1e-5)


def test_only_the_heads_learn() -> None:
    network = make()
    network.requires_grad_(False)
    assert not any(p.requires_grad for p in network.parameters())
    network.requires_grad_(True)
    learning = {name.split(".")[0] for name, p in network.named_parameters() if p.requires_grad}
    assert learning == {"heads", "pixels"}
    assert not network.train().judge.training
    before = {k: v.clone() for k, v in network.state_dict().items() if not k.startswith(("heads", "pixels"))}
    optimiser = torch.optim.Adam(network.parameters(), lr=0.1)
    real, _ = network(torch.rand(2, 3, 32, 32))
    torch.stack([one.mean() for one in real]).sum().backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    after = network.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_gradients_reach_the_image() -> None:
    x = torch.rand(2, 3, 32, 32, requires_grad=True)
    real, named = make()(x)
    (sum(one.sum() for one in real) + named.sum()).backward()
    assert x.grad is not None
    assert float(x.grad.abs().min(dim=1).values.max()) > 0


@pytest.mark.parametrize("scale", [0, 2])
def test_a_head_sees_one_scale_and_those_above(scale: int) -> None:
    """The coarsest knows nothing of fine maps; the finest knows of all."""
    network = make().eval()
    x = torch.rand(1, 3, 50, 50)
    with torch.no_grad():
        before = network(x)[0][1 + scale]
        network.across[0].weight.mul_(3)  # of the finest map
        after = network(x)[0][1 + scale]
    assert torch.equal(before, after) == (scale == 2)


@torch.no_grad()
def test_a_pattern_that_the_classifier_does_not_see_is_seen_in_the_pixels() -> None:
    network = make(edge=24).eval()
    plain = torch.full((1, 3, 48, 48), 0.2)
    pattern = plain + 0.3 * (1 - 2 * ((torch.arange(48)[:, None] + torch.arange(48)) % 2))
    before, after = (network(x)[0] for x in (plain, pattern))  # at half the size the pattern is gone
    assert torch.allclose(before[1], after[1], atol=1e-5)
    assert not torch.allclose(before[0], after[0], atol=1e-3)


@torch.no_grad()
def test_the_coarsest_head_sees_that_images_are_alike() -> None:
    network = make().eval()
    one = torch.rand(1, 3, 32, 32)
    alike = network(one.expand(4, -1, -1, -1))[0]
    other = network(torch.cat([one, torch.rand(3, 3, 32, 32)]))[0]
    assert not torch.allclose(alike[-1][0], other[-1][0], atol=1e-5)
    assert torch.allclose(alike[-2][0], other[-2][0], atol=1e-5)

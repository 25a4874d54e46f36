"""Restorers and autoencoders in 2D and 3D: shapes, what they begin with, and what their cards can say."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from deepbio.errors import CardError, InputMismatch
from deepbio.networks import build
from deepbio.networks.restorer import fold_restorer, shuffle_pixels

pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element")


@pytest.mark.parametrize(
    ("dims", "factor", "size"),
    [(2, 1, (12, 20)), (2, 2, (12, 20)), (2, 4, (4, 8)), (3, 1, (4, 8, 12)), (3, [1, 2, 4], (4, 8, 12))],
)
@pytest.mark.parametrize("residual", [True, False])
def test_a_restorer_gives_an_image_of_its_factor(dims, factor, size, residual) -> None:
    network = build(
        "restorer",
        {"dims": dims, "channels": 3, "features": [4, 6, 8], "factor": factor, "residual": residual},
    ).eval()
    factors = [factor] * dims if isinstance(factor, int) else factor
    x = torch.randn(2, 3, *size)
    found = network(x)
    assert found.shape == (2, 3, *(n * f for n, f in zip(size, factors, strict=True)))
    assert network.divisor == (4,) * dims
    if residual and factor == 1:
        assert torch.equal(found, x)  # it begins with doing nothing
    if not residual:
        assert not torch.allclose(found.mean(), x.mean(), atol=1e-3)


@pytest.mark.parametrize("size", [(24, 36), (4, 8)])
def test_with_scales_it_begins_with_their_mean(size) -> None:
    network = build(
        "restorer", {"dims": 2, "channels": 2, "features": [4, 6], "norm": "none", "scales": [0.8, 2.0]}
    ).eval()
    x = torch.randn(1, 2, *size)
    smooth = [
        ndimage.gaussian_filter(x.numpy(), (0, 0, s, s), mode="nearest", radius=int(np.ceil(3 * s)))
        for s in (0.8, 2.0)
    ]
    np.testing.assert_allclose(network(x).detach(), np.mean([x.numpy(), *smooth], axis=0), atol=1e-5)
    with torch.no_grad():
        network.trunk.heads[0].bias[2:] = torch.tensor([0.0, 50.0, 0.0])  # the first scale alone
    np.testing.assert_allclose(network(x).detach(), smooth[0], atol=1e-5)


@pytest.mark.parametrize(
    ("dims", "block", "size"), [(2, 2, (8, 12)), (2, [1, 3], (4, 18)), (3, [1, 2, 2], (2, 8, 12))]
)
def test_blocks_of_pixels_are_channels_on_the_way(dims, block, size) -> None:
    arguments = {"dims": dims, "channels": 2, "features": [4, 6], "norm": "none", "unshuffle": block}
    network = build("restorer", arguments).eval()
    edges = [block] * dims if isinstance(block, int) else block
    assert network.divisor == tuple(2 * n for n in edges)
    assert network.receptive_field == tuple(
        n * r for n, r in zip(edges, network.trunk.receptive_field, strict=True)
    )
    x = torch.randn(2, 2, *size)
    assert torch.equal(network(x), x)  # it begins with doing nothing
    torch.nn.init.normal_(network.trunk.heads[0].weight)
    seen = []
    network.trunk.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network(x)
    assert seen[0].shape == (2, 2 * np.prod(edges), *(n // e for n, e in zip(size, edges, strict=True)))
    # the first channels of the U-Net are the first pixel of each block, then its neighbour along the last axis
    first = [slice(None, None, e) for e in edges]
    assert torch.equal(seen[0][:, 0], x[(slice(None), 0, *first)])
    after = [*first[:-1], slice(1, None, edges[-1])]
    assert torch.equal(seen[0][:, 1], x[(slice(None), 0, *after)])
    assert torch.equal(shuffle_pixels(seen[0], edges), x)


def test_folding_changes_nothing() -> None:
    torch.manual_seed(0)
    arguments = {"dims": 2, "channels": 1, "features": [4, 8], "factor": 2}
    network = build("restorer", arguments)
    torch.nn.init.normal_(network.trunk.heads[0].weight)
    for _ in range(3):
        network(torch.randn(4, 1, 16, 16) * 3 + 1)  # running statistics other than 0 and 1
    network.eval()
    again = build("restorer", {**arguments, "norm": "none"}).eval()
    again.load_state_dict(fold_restorer(network).state_dict())
    x = torch.randn(1, 1, 8, 12)
    np.testing.assert_allclose(again(x).detach(), network(x).detach(), atol=1e-4)


@pytest.mark.parametrize("name", ["autoencoder", "variational_autoencoder"])
@pytest.mark.parametrize(("dims", "size"), [(2, [16, 24]), (3, [8, 16, 8])])
def test_a_code_and_back(name, dims, size) -> None:
    arguments = {"dims": dims, "channels": 2, "size": size, "features": [4, 6], "code": 5}
    network = build(name, arguments).eval()
    x = torch.randn(3, 2, *size)
    code = network.encode(x)
    assert code.shape == (3, 5)
    assert torch.equal(network(x), network.decode(code))
    assert network.decode(code).shape == x.shape


def test_wrong_codes_and_sizes_are_refused_in_words() -> None:
    network = build("autoencoder", {"dims": 2, "channels": 1, "size": 16, "features": [4], "code": 5}).eval()
    with pytest.raises(InputMismatch, match=r"shape \(2, 7\); this autoencoder takes \(N, 5\)"):
        network.decode(torch.zeros(2, 7))
    with pytest.raises(InputMismatch, match=r"\(1, 16, 18\); this autoencoder takes \(1, 16, 16\)"):
        network.encode(torch.zeros(2, 1, 16, 18))


def test_a_variational_code_is_drawn_from_its_distribution() -> None:
    torch.manual_seed(0)
    network = build(
        "variational_autoencoder", {"dims": 2, "channels": 1, "size": 8, "features": [4], "code": 3}
    ).eval()
    mean, log_variance = torch.full((4000, 3), 2.0), torch.full((4000, 3), -1.0)
    drawn = network.sample(mean, log_variance)
    assert drawn.mean() == pytest.approx(2.0, abs=0.03)
    assert drawn.var() == pytest.approx(np.exp(-1.0), rel=0.05)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("restorer", {"dims": 2, "channels": 1, "factor": [2]}),
        ("restorer", {"dims": 2, "channels": 0}),
        ("restorer", {"dims": 2, "channels": 1, "factor": 2, "scales": [1.0]}),
        ("restorer", {"dims": 2, "channels": 1, "scales": [0.0]}),
        ("restorer", {"dims": 2, "channels": 1, "unshuffle": [2]}),
        ("restorer", {"dims": 2, "channels": 1, "unshuffle": 2, "factor": 2}),
        ("restorer", {"dims": 2, "channels": 1, "unshuffle": 2, "residual": False}),
        ("autoencoder", {"dims": 2, "channels": 1, "size": 20, "features": [4, 4, 4]}),
        ("autoencoder", {"dims": 2, "channels": 1, "size": 16, "features": [4], "code": 0}),
    ],
)
def test_arguments_that_make_no_network(name, arguments) -> None:
    with pytest.raises(CardError, match="cannot be built"):
        build(name, arguments)

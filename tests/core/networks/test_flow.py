"""The flow of codes: sizes, what its inputs decide, and that the steps follow the field."""

import pytest
import torch
from torch import Tensor, nn

from deepbio.errors import CardError
from deepbio.networks import build
from deepbio.networks.flow import CodeDecoder, CodeEncoder, FlowField, FlowGenerator

SMALL = {"classes": 3, "channels": 1, "code": 2, "edge": 4, "features": (12, 8), "field": (8, 16), "steps": 3}


def shaken(network: nn.Module) -> nn.Module:
    """The network with random numbers for the weights that begin as zeros."""
    torch.manual_seed(1)
    for weight in network.parameters():
        if not weight.any():
            nn.init.normal_(weight, std=0.1)
    return network.eval()


@pytest.mark.parametrize(
    ("channels", "code", "features", "size"),
    [(3, 8, (16, 12, 8), (40, 24)), (1, 3, (9, 5), (12, 20)), (2, 1, (8,), (6, 2))],
)
def test_a_code_is_an_image_again(
    channels: int, code: int, features: tuple[int, ...], size: tuple[int, int]
) -> None:
    images, step = torch.randn(2, channels, *size), 2 ** len(features)
    codes = CodeEncoder(channels, code, features).eval()(images)
    assert codes.shape == (2, code, size[0] // step, size[1] // step)
    assert CodeDecoder(channels, code, features)(codes).shape == images.shape


def test_codes_have_variance_1_over_what_was_learned() -> None:
    torch.manual_seed(0)
    encoder = CodeEncoder(1, 4, (16, 8))
    images = 5 + 3 * torch.randn(16, 1, 16, 16)
    for _ in range(80):
        encoder(images)
    codes = encoder.eval()(images)
    torch.testing.assert_close(codes.mean((0, 2, 3)), torch.zeros(4), atol=0.02, rtol=0)
    torch.testing.assert_close(codes.std((0, 2, 3)), torch.ones(4), atol=0.02, rtol=0)


def test_time_and_class_change_the_field() -> None:
    field = shaken(FlowField(2, 3, (8, 16)))
    x, now, later = torch.randn(1, 2, 4, 6), torch.tensor([0.2]), torch.tensor([0.7])
    one, two = torch.eye(3)[:1], torch.eye(3)[1:2]
    base = field(x, now, one)
    assert base.shape == x.shape
    assert (field(x, later, one) - base).abs().mean() > 1e-3
    assert (field(x, now, two) - base).abs().mean() > 1e-3


def test_an_image_follows_from_its_own_row() -> None:
    network = shaken(build("flow_generator", SMALL))
    x = torch.cat([torch.randn(4, 32), torch.eye(3)[[0, 1, 2, 0]]], 1)
    made = network(x)
    assert made.shape == (4, 1, 16, 16)
    torch.testing.assert_close(torch.cat([network(row[None]) for row in x]), made, atol=1e-5, rtol=1e-4)
    other = x.clone()
    other[:, 32:] = torch.eye(3)[[1, 2, 0, 1]]
    assert (network(other) - made).abs().mean() > 1e-3


class Towards(nn.Module):
    """A field whose flow is known: straight to 2 from wherever, and for a named class to 5."""

    def forward(self, x: Tensor, time: Tensor, asked: Tensor) -> Tensor:
        goal = 2 + 3 * asked.sum(1)
        return (goal[:, None, None, None] - x) / (1 - time[:, None, None, None])


@pytest.mark.parametrize(("guidance", "goal"), [(1.0, 5.0), (1.5, 6.5), (0.0, 2.0)])
def test_the_flow_ends_where_the_field_leads(guidance: float, goal: float) -> None:
    network = FlowGenerator(**SMALL, guidance=guidance)
    network.field = Towards()  # type: ignore[assignment]
    found = network.flow(torch.randn(2, 2, 4, 4), torch.eye(3)[:2])
    torch.testing.assert_close(found, torch.full_like(found, goal), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "value"), [("edge", 3), ("edge", 0), ("steps", 0), ("features", ())])
def test_wrong_arguments(name: str, value: object) -> None:
    with pytest.raises(CardError, match="flow_generator"):
        build("flow_generator", SMALL | {name: value})

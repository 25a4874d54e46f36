"""A concatenation that is convolved becomes a sum, where that is the same and worth it."""

import warnings

import openvino
import pytest
import torch
from torch import Tensor, nn

from deepbio.engine.runtimes.with_openvino import split_concatenations


class Joined(nn.Module):
    """Joins some channels of the input, and convolves them."""

    def __init__(
        self, convolution: nn.Module, parts: tuple[int, ...], axis: int = 1, twice: bool = False
    ) -> None:
        super().__init__()
        self.convolution, self.parts, self.axis, self.twice = convolution, parts, axis, twice

    def forward(self, x: Tensor) -> Tensor:
        parts = [torch.sin(part) for part in torch.split(x, list(self.parts), self.axis)]
        joined = torch.cat(parts, self.axis)
        result: Tensor = self.convolution(joined)
        return result * joined.mean() if self.twice else result


def _compared(network: nn.Module, shape: tuple[int, ...]) -> tuple[int, set[str]]:
    """How many were split, and what ops the model has; its results are those of torch."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it traces, which torch has deprecated
        wanted = network.eval()(x)
        model = openvino.convert_model(network, example_input=x)
    found = split_concatenations(model)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    result = openvino.Core().compile_model(model, "CPU", settings)([x.numpy()])[0]
    torch.testing.assert_close(torch.from_numpy(result), wanted, atol=1e-5, rtol=1e-4)
    return found, {node.get_type_name() for node in model.get_ordered_ops()}


@pytest.mark.parametrize(
    ("convolution", "size"),
    [
        (nn.Conv2d(24, 5, 3, padding=1), (9, 13)),
        (nn.Conv2d(24, 5, (3, 2), stride=(2, 1), padding=(0, 1), dilation=(1, 2), bias=False), (9, 14)),
        (nn.Conv2d(24, 5, 3, padding="same"), (9, 13)),
        (nn.Conv3d(24, 5, (1, 3, 3), padding=(0, 1, 1)), (3, 9, 8)),
    ],
)
def test_two_parts_are_convolved_each_for_itself(convolution, size) -> None:
    found, ops = _compared(Joined(convolution, (16, 8)), (1, 24, *size))
    assert found == 1
    assert "Concat" not in ops


@pytest.mark.parametrize(
    "network",
    [
        Joined(nn.Conv2d(24, 5, 3), (8, 8, 8)),  # three parts
        Joined(nn.Conv2d(24, 5, 3), (20, 4)),  # a narrow one
        Joined(nn.Conv2d(24, 5, 3), (6, 3), axis=2),  # rows, not channels
        Joined(nn.Conv2d(24, 5, 3), (16, 8), twice=True),  # needed for more
        Joined(nn.Conv2d(24, 6, 3, groups=3), (16, 8)),
        Joined(nn.ConvTranspose2d(24, 5, 2, stride=2), (16, 8)),
    ],
)
def test_what_is_not_the_same_or_not_worth_it_stays(network) -> None:
    found, ops = _compared(network, (1, 24, 9, 11))
    assert found == 0
    assert "Concat" in ops

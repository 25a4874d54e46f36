"""Layers that StarDist's networks are made of, as Keras has them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "ACTIVATIONS",
    "CONV",
    "EPS",
    "activation_of",
    "block_of",
    "chain_of",
    "conv_of",
    "grid_of",
    "repeated",
    "sizes_of",
    "steps_to",
]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "linear": nn.Identity,
}
"""Activations by the names that Keras gives them, with its parameters."""

EPS = 1e-3  # of batch normalisation in Keras
CONV: dict[int, Callable[..., nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
NORM: dict[int, Callable[..., nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def sizes_of(values: Sequence[int], dims: int) -> tuple[int, ...]:
    """Sizes along each axis; ValueError if there are more or fewer."""
    sizes = tuple(int(value) for value in values)
    if len(sizes) != dims:
        raise ValueError(f"sizes {sizes} of a network with {dims} dimensions")
    return sizes


def grid_of(values: Sequence[int]) -> tuple[int, ...]:
    """Pixels between answers, along two or three axes; ValueError if they are no powers of 2."""
    grid = tuple(int(value) for value in values)
    if len(grid) not in CONV or any(g < 1 or g & (g - 1) for g in grid):
        raise ValueError(f"the grid must consist of two or three powers of 2, found {grid}")
    return grid


def steps_to(grid: Sequence[int]) -> list[tuple[int, ...]]:
    """Poolings that lead to a grid, each by 2 along the axes that are not there yet.

    Examples
    --------
    >>> steps_to((4, 2))
    [(2, 2), (2, 1)]
    """
    done, steps = [1] * len(grid), []
    while done != list(grid):
        step = tuple(1 + (n < g) for n, g in zip(done, grid, strict=True))
        done = [n * s for n, s in zip(done, step, strict=True)]
        steps.append(step)
    return steps


def activation_of(name: str) -> nn.Module:
    """An activation by its name; ValueError if it is not known."""
    if name not in ACTIVATIONS:
        raise ValueError(f"the activation {name!r} is not known; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def block_of(
    inputs: int, outputs: int, kernel: tuple[int, ...], activation: str, norm: bool
) -> nn.Sequential:
    """A convolution, its normalisation where there is one, and its activation."""
    parts = conv_of(inputs, outputs, kernel, (1,) * len(kernel))
    if norm:
        parts.append(NORM[len(kernel)](outputs, eps=EPS))
    return nn.Sequential(*parts, activation_of(activation))


def conv_of(
    inputs: int, outputs: int, kernel: tuple[int, ...], step: tuple[int, ...], bias: bool = True
) -> list[nn.Module]:
    """A convolution with zeros around as TensorFlow's "same" has them: of an odd number more behind."""
    around = [max(k - s, 0) for k, s in zip(kernel, step, strict=True)]
    conv = CONV[len(kernel)]
    if all(n % 2 == 0 for n in around):
        return [conv(inputs, outputs, kernel, step, [n // 2 for n in around], bias=bias)]
    sides: Any = tuple(side for n in reversed(around) for side in (n // 2, n - n // 2))
    return [
        nn.ConstantPad2d(sides, 0.0) if len(kernel) == 2 else nn.ConstantPad3d(sides, 0.0),
        conv(inputs, outputs, kernel, step, bias=bias),
    ]


def chain_of(block: Callable[..., nn.Sequential], widths: Sequence[int], **more: bool) -> nn.Sequential:
    """Blocks after each other, of these numbers of feature maps."""
    return nn.Sequential(*(block(inputs, outputs, **more) for inputs, outputs in itertools.pairwise(widths)))


def repeated(x: Tensor, times: tuple[int, ...]) -> Tensor:
    """Each pixel as a block of equal ones."""
    if math.prod(times) == 1:
        return x
    return F.interpolate(x, scale_factor=[float(n) for n in times], mode="nearest")

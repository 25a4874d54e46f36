"""The network of StarDist in 2D: object probability and the distances to the object's border along rays.

Method: Schmidt et al., Cell Detection with Star-Convex Polygons, MICCAI 2018 (doi:10.1007/978-3-030-00934-2_30). The
layers are those that the program StarDist builds from its ``config.json`` (with the U-Net of CSBDeep), so that its
weights fit: convolutions with a bias, batch normalisation with an epsilon of 1e-3, max pooling, and
nearest-neighbour upsampling.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ACTIVATIONS", "StarUNet"]

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

_EPS = 1e-3  # of batch normalisation in Keras


class StarUNet(nn.Module):
    """Probabilities and ray distances of star-convex objects.

    Where `grid` is more than 1, the network answers for every second (fourth...) pixel only. The answer is repeated
    for the pixels between, so that scores have the size of the image; a decoder looks at the pixels whose
    coordinates are multiples of the grid.

    Parameters
    ----------
    in_channels : int
        Channels of the image.
    rays : int
        Number of rays, spread evenly from the direction of x towards that of y.
    grid : sequence of int
        Pixels between two answers, along y and x; powers of 2.
    depth : int
        How often the U-Net pools; it has ``depth + 1`` levels.
    filters : int
        Feature maps of the first level.
    expansion : float
        How many times more each further level has.
    kernel, pool : sequence of int
        Sizes along y and x of kernels and of what is pooled.
    convs : int
        Convolutions in each level, and before each pooling to the grid.
    activation, last_activation : str
        Of the U-Net, and of its last convolution: keys of `ACTIVATIONS`.
    batch_norm : bool
        Whether the U-Net normalises after each of its convolutions.
    after : int
        Feature maps of the convolution between U-Net and heads; 0 for none.

    Raises
    ------
    ValueError
        If there is no such network.

    Examples
    --------
    >>> net = StarUNet(1, 32, grid=(2, 2), depth=2, filters=4, after=8).eval()
    >>> net(torch.zeros(1, 1, 16, 40)).shape, net.divisor
    (torch.Size([1, 33, 16, 40]), (8, 8))
    """

    def __init__(  # noqa: PLR0913 - a card names them one by one
        self,
        in_channels: int,
        rays: int,
        *,
        grid: Sequence[int] = (1, 1),
        depth: int = 3,
        filters: int = 32,
        expansion: float = 2,
        kernel: Sequence[int] = (3, 3),
        pool: Sequence[int] = (2, 2),
        convs: int = 2,
        activation: str = "relu",
        last_activation: str = "relu",
        batch_norm: bool = False,
        after: int = 128,
    ) -> None:
        super().__init__()
        self.grid, self.kernel, self.pool = _pair(grid), _pair(kernel), _pair(pool)
        self.depth, self.convs, self.has_features = depth, convs, after > 0
        if (
            rays < 3
            or depth < 1
            or min(convs, int(filters * min(expansion, 1) ** depth), *self.kernel, *self.pool) < 1
            or after < 0
        ):
            raise ValueError(f"no star network with {rays} rays, depth {depth}, {convs} convolutions")
        if any(g < 1 or g & (g - 1) for g in self.grid):
            raise ValueError(f"the grid must consist of powers of 2, found {self.grid}")

        def block(
            inputs: int, outputs: int, kind: str = activation, norm: bool = batch_norm
        ) -> nn.Sequential:
            return _block(inputs, outputs, self.kernel, kind, norm)

        self.steps = _steps_to(self.grid)
        self.before, width = nn.ModuleList(), in_channels
        for _ in self.steps:
            self.before.append(_chain(block, [width, *[filters] * convs], norm=False))
            width = filters
        widths = [int(filters * expansion**level) for level in range(depth + 1)]
        self.down = nn.ModuleList()
        for own in widths[:-1]:
            self.down.append(_chain(block, [width, *[own] * convs]))
            width = own
        self.middle = _chain(block, [width, *[widths[depth]] * (convs - 1), width])
        self.up = nn.ModuleList()
        for level in reversed(range(depth)):
            own, last = widths[level], widths[max(0, level - 1)]
            up = _chain(block, [width + own, *[own] * (convs - 1)])
            up.append(
                block(own if convs > 1 else width + own, last, activation if level else last_activation)
            )
            self.up.append(up)
            width = last
        self.features = block(width, after, activation, False) if after else nn.Identity()
        self.prob = nn.Conv2d(after or width, 1, 1)
        self.dist = nn.Conv2d(after or width, rays, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute probabilities and distances.

        Parameters
        ----------
        x : Tensor, shape (N, in_channels, y, x)
            Normalised images; each size a multiple of `divisor`.

        Returns
        -------
        Tensor, shape (N, 1 + rays, y, x)
            The probability (0 to 1) that a pixel is deep inside of an object, then its distances in pixels to the
            border along the rays.
        """
        for stage, step in zip(self.before, self.steps, strict=True):
            x = F.max_pool2d(stage(x), step)
        skips = []
        for stage in self.down:
            x = stage(x)
            skips.append(x)
            x = F.max_pool2d(x, self.pool)
        x = self.middle(x)
        for stage, skip in zip(self.up, reversed(skips), strict=True):
            x = stage(torch.cat((_repeated(x, self.pool), skip), dim=1))
        x = self.features(x)
        return _repeated(torch.cat((torch.sigmoid(self.prob(x)), self.dist(x)), dim=1), self.grid)

    @property
    def divisor(self) -> tuple[int, ...]:
        """Each spatial size of the input must be a multiple of this, along y and x."""
        return tuple(g * p**self.depth for g, p in zip(self.grid, self.pool, strict=True))

    @property
    def receptive_field(self) -> tuple[int, ...]:
        """Pixels that can influence one score, along y and x (at the worst alignment)."""
        return tuple(self._receptive_field(axis) for axis in range(2))

    def _receptive_field(self, axis: int) -> int:
        grow, pool = self.kernel[axis] - 1, self.pool[axis]
        width = 1 + grow * self.has_features
        for _ in range(self.depth):
            width += grow * self.convs
            width = -(-(width - 1) // pool) + 1
        width += grow * self.convs
        for _ in range(self.depth):
            width = width * pool + grow * self.convs
        for step in reversed(self.steps):
            width = width * step[axis] + grow * self.convs
        return width


def _pair(values: Sequence[int]) -> tuple[int, int]:
    first, second = (int(value) for value in values)
    return first, second


def _steps_to(grid: Sequence[int]) -> list[tuple[int, int]]:
    """Poolings that lead to a grid, each by 2 along the axes that are not there yet.

    Examples
    --------
    >>> _steps_to((4, 2))
    [(2, 2), (2, 1)]
    """
    done, steps = [1, 1], []
    while done != list(grid):
        step = (1 + (done[0] < grid[0]), 1 + (done[1] < grid[1]))
        done = [done[0] * step[0], done[1] * step[1]]
        steps.append(step)
    return steps


def _block(inputs: int, outputs: int, kernel: tuple[int, int], activation: str, norm: bool) -> nn.Sequential:
    if activation not in ACTIVATIONS:
        raise ValueError(f"the activation {activation!r} is not known; known are {', '.join(ACTIVATIONS)}")
    (top, bottom), (left, right) = (((k - 1) // 2, k // 2) for k in kernel)  # as TensorFlow's "same"
    parts: list[nn.Module] = []
    if (top, left) != (bottom, right):
        parts.append(nn.ZeroPad2d((left, right, top, bottom)))
    padding = 0 if parts else (top, left)
    parts.append(nn.Conv2d(inputs, outputs, kernel, padding=padding))
    if norm:
        parts.append(nn.BatchNorm2d(outputs, eps=_EPS))
    return nn.Sequential(*parts, ACTIVATIONS[activation]())


def _chain(block: Callable[..., nn.Sequential], widths: Sequence[int], **more: bool) -> nn.Sequential:
    return nn.Sequential(*(block(inputs, outputs, **more) for inputs, outputs in itertools.pairwise(widths)))


def _repeated(x: Tensor, times: tuple[int, int]) -> Tensor:
    """Each pixel as a block of equal ones."""
    if math.prod(times) == 1:
        return x
    return F.interpolate(x, scale_factor=[float(n) for n in times], mode="nearest")

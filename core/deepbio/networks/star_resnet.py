"""The residual network that StarDist has for objects in 3D.

Method: Weigert et al., Star-convex Polyhedra for 3D Object Detection and Segmentation in Microscopy, WACV 2020
(doi:10.1109/WACV45572.2020.9093435). Layers as in :mod:`deepbio.networks.star`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deepbio.networks.star_layers import (
    CONV,
    EPS,
    activation_of,
    block_of,
    conv_of,
    grid_of,
    sizes_of,
    steps_to,
)

__all__ = ["StarResNet"]

_STEM = (7, 3)  # kernels of the residual network's first two convolutions


class StarResNet(nn.Module):
    """The residual network that StarDist has for objects in 3D.

    Parameters
    ----------
    in_channels : int
        Channels of the image.
    rays : int
        Number of rays.
    grid : sequence of int
        Voxels between two answers, along z, y and x; powers of 2 that as many blocks can reach by halving.
    blocks, convs : int
        Residual blocks, and convolutions in each.
    filters : int
        Feature maps of the first convolutions; twice as many after each block that halves an axis.
    kernel : sequence of int
        Sizes of kernels along z, y and x.
    activation : str
        A key of `ACTIVATIONS`.
    batch_norm : bool
        Whether blocks normalise after each of their convolutions, which then have no bias.
    after : int
        Feature maps of the convolution between blocks and heads; 0 for none.

    Raises
    ------
    ValueError
        If there is no such network.

    Examples
    --------
    >>> net = StarResNet(1, 32, grid=(1, 2, 2), blocks=2, filters=4, after=8).eval()
    >>> net(torch.zeros(1, 1, 5, 16, 20)).shape, net.divisor
    (torch.Size([1, 33, 5, 8, 10]), (1, 2, 2))
    """

    def __init__(  # noqa: PLR0913 - a card names them one by one
        self,
        in_channels: int,
        rays: int,
        *,
        grid: Sequence[int] = (1, 1, 1),
        blocks: int = 4,
        convs: int = 3,
        filters: int = 32,
        kernel: Sequence[int] = (3, 3, 3),
        activation: str = "relu",
        batch_norm: bool = False,
        after: int = 128,
    ) -> None:
        super().__init__()
        self.grid, self.kernel = grid_of(grid), sizes_of(kernel, 3)
        self.convs, self.has_features = convs, after > 0
        if len(self.grid) != 3 or rays < 3 or convs < 2 or min(filters, *self.kernel) < 1 or after < 0:
            raise ValueError(
                f"no residual star network with {rays} rays, {convs} convolutions, grid {self.grid}"
            )
        steps = steps_to(self.grid)
        if blocks < max(len(steps), 1):
            raise ValueError(f"{blocks} blocks do not lead to the grid {self.grid}")
        self.steps = [*steps, *[(1, 1, 1)] * (blocks - len(steps))]
        stem = [
            nn.Conv3d(in_channels if k == 0 else filters, filters, n, padding=n // 2)
            for k, n in enumerate(_STEM)
        ]
        self.stem = nn.Sequential(*stem)
        self.blocks, width = nn.ModuleList(), filters
        for step in self.steps:
            inputs, width = width, width * (2 if max(step) > 1 else 1)
            self.blocks.append(_Residual((inputs, width), self.kernel, step, convs, (activation, batch_norm)))
        self.features = block_of(width, after, self.kernel, activation, False) if after else nn.Identity()
        self.prob, self.dist = nn.Conv3d(after or width, 1, 1), nn.Conv3d(after or width, rays, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute probabilities and distances.

        Parameters
        ----------
        x : Tensor, shape (N, in_channels, z, y, x)
            Normalised images; each size a multiple of the grid.

        Returns
        -------
        Tensor, shape (N, 1 + rays, z / grid, y / grid, x / grid)
            As of :class:`StarUNet`.
        """
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = self.features(x)
        return torch.cat((torch.sigmoid(self.prob(x)), self.dist(x)), dim=1)

    @property
    def divisor(self) -> tuple[int, ...]:
        """Each spatial size of the input must be a multiple of this, along z, y and x."""
        return self.grid

    @property
    def receptive_field(self) -> tuple[int, ...]:
        """Voxels that can influence one score, along z, y and x."""
        fields = []
        for axis, kernel in enumerate(self.kernel):
            width = 1 + (kernel - 1) * self.has_features
            for step in reversed(self.steps):
                width += (kernel - 1) * (self.convs - 1)
                width = (width - 1) * step[axis] + max(kernel, step[axis])
            fields.append(width + sum(n - 1 for n in _STEM))
        return tuple(fields)


class _Residual(nn.Module):
    """Convolutions, of which the first may halve axes, added to what comes in."""

    def __init__(
        self,
        widths: tuple[int, int],
        kernel: tuple[int, ...],
        step: tuple[int, ...],
        convs: int,
        kind: tuple[str, bool],
    ) -> None:
        super().__init__()
        (inputs, outputs), (activation, norm) = widths, kind
        parts = []
        for k in range(convs):
            parts += conv_of(
                inputs if k == 0 else outputs, outputs, kernel, step if k == 0 else (1, 1, 1), not norm
            )
            parts += [nn.BatchNorm3d(outputs, eps=EPS)] if norm else []
            parts += [activation_of(activation)] if k < convs - 1 else []
        self.way = nn.Sequential(*parts)
        changes = max(step) > 1 or inputs != outputs
        self.shortcut = CONV[3](inputs, outputs, 1, step, bias=not norm) if changes else nn.Identity()
        self.activation = activation_of(activation)

    def forward(self, x: Tensor) -> Tensor:
        """Halve and convolve."""
        found: Tensor = self.activation(self.shortcut(x) + self.way(x))
        return found

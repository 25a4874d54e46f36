"""The networks of StarDist: object probability and the distances to the object's border along rays, in 2D and in 3D.

Method: Schmidt et al., Cell Detection with Star-Convex Polygons, MICCAI 2018 (doi:10.1007/978-3-030-00934-2_30); in 3D
Weigert et al., Star-convex Polyhedra for 3D Object Detection and Segmentation in Microscopy, WACV 2020
(doi:10.1109/WACV45572.2020.9093435). The layers are those that the program StarDist builds from its ``config.json``
(with the blocks of CSBDeep), so that its weights fit: batch normalisation with an epsilon of 1e-3, zeros around images
as TensorFlow's padding "same" has them, max pooling, and nearest-neighbour upsampling.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepbio.networks.star_layers import (
    ACTIVATIONS,
    CONV,
    block_of,
    chain_of,
    grid_of,
    repeated,
    sizes_of,
    steps_to,
)

__all__ = ["ACTIVATIONS", "StarUNet"]


class StarUNet(nn.Module):
    """Probabilities and ray distances of star-convex objects.

    Where `grid` is more than 1, the network answers for every second (fourth...) pixel only. In 2D the answer is
    repeated for the pixels between, so that scores have the size of the image; a decoder looks at the pixels whose
    coordinates are multiples of the grid. In 3D scores have a voxel for each place of the grid.

    Parameters
    ----------
    in_channels : int
        Channels of the image.
    rays : int
        Number of rays, spread evenly from the direction of x towards that of y.
    grid : sequence of int
        Pixels between two answers, along [z,] y and x; powers of 2. As many as the images have dimensions.
    depth : int
        How often the U-Net pools; it has ``depth + 1`` levels.
    filters : int
        Feature maps of the first level.
    expansion : float
        How many times more each further level has.
    kernel, pool : sequence of int
        Sizes along [z,] y and x of kernels and of what is pooled; by default 3 and 2.
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
    >>> net = StarUNet(1, 32, grid=(1, 2, 2), depth=2, filters=4, after=8).eval()
    >>> net(torch.zeros(1, 1, 4, 16, 40)).shape, net.divisor
    (torch.Size([1, 33, 4, 8, 20]), (4, 8, 8))
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
        kernel: Sequence[int] = (),
        pool: Sequence[int] = (),
        convs: int = 2,
        activation: str = "relu",
        last_activation: str = "relu",
        batch_norm: bool = False,
        after: int = 128,
    ) -> None:
        super().__init__()
        self.grid = grid_of(grid)
        dims = len(self.grid)
        self.kernel, self.pool = sizes_of(kernel or (3,) * dims, dims), sizes_of(pool or (2,) * dims, dims)
        self.depth, self.convs, self.has_features = depth, convs, after > 0
        if (
            rays < 3
            or depth < 1
            or min(convs, int(filters * min(expansion, 1) ** depth), *self.kernel, *self.pool) < 1
            or after < 0
        ):
            raise ValueError(f"no star network with {rays} rays, depth {depth}, {convs} convolutions")

        def block(
            inputs: int, outputs: int, kind: str = activation, norm: bool = batch_norm
        ) -> nn.Sequential:
            return block_of(inputs, outputs, self.kernel, kind, norm)

        self.steps = steps_to(self.grid)
        self.before, width = nn.ModuleList(), in_channels
        for _ in self.steps:
            self.before.append(chain_of(block, [width, *[filters] * convs], norm=False))
            width = filters
        widths = [int(filters * expansion**level) for level in range(depth + 1)]
        self.down = nn.ModuleList()
        for own in widths[:-1]:
            self.down.append(chain_of(block, [width, *[own] * convs]))
            width = own
        self.middle = chain_of(block, [width, *[widths[depth]] * (convs - 1), width])
        self.up = nn.ModuleList()
        for level in reversed(range(depth)):
            own, last = widths[level], widths[max(0, level - 1)]
            up = chain_of(block, [width + own, *[own] * (convs - 1)])
            up.append(
                block(own if convs > 1 else width + own, last, activation if level else last_activation)
            )
            self.up.append(up)
            width = last
        self.features = block(width, after, activation, False) if after else nn.Identity()
        self.prob = CONV[dims](after or width, 1, 1)
        self.dist = CONV[dims](after or width, rays, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute probabilities and distances.

        Parameters
        ----------
        x : Tensor, shape (N, in_channels, [z,] y, x)
            Normalised images; each size a multiple of `divisor`.

        Returns
        -------
        Tensor, shape (N, 1 + rays, y, x) or (N, 1 + rays, z / grid, y / grid, x / grid)
            The probability (0 to 1) that a pixel is deep inside of an object, then its distances in pixels to the
            border along the rays.
        """
        pooled = F.max_pool2d if len(self.grid) == 2 else F.max_pool3d
        for stage, step in zip(self.before, self.steps, strict=True):
            x = pooled(stage(x), step)
        skips = []
        for stage in self.down:
            x = stage(x)
            skips.append(x)
            x = pooled(x, self.pool)
        x = self.middle(x)
        for stage, skip in zip(self.up, reversed(skips), strict=True):
            x = stage(torch.cat((repeated(x, self.pool), skip), dim=1))
        x = self.features(x)
        scores = torch.cat((torch.sigmoid(self.prob(x)), self.dist(x)), dim=1)
        return scores if len(self.grid) == 3 else repeated(scores, self.grid)

    @property
    def divisor(self) -> tuple[int, ...]:
        """Each spatial size of the input must be a multiple of this, along [z,] y and x."""
        return tuple(g * p**self.depth for g, p in zip(self.grid, self.pool, strict=True))

    @property
    def receptive_field(self) -> tuple[int, ...]:
        """Pixels that can influence one score, along [z,] y and x (at the worst alignment)."""
        return tuple(self._receptive_field(axis) for axis in range(len(self.grid)))

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

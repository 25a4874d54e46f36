"""A U-Net that gives an image back: denoised, or on a finer grid.

Methods: residual learning, Zhang et al., IEEE TIP 26:3142 (2017, doi:10.1109/TIP.2017.2662206);
weights of smoothing kernels for each pixel, after Mildenhall et al., CVPR 2018 (arXiv:1712.02327);
sub-pixel convolution for finer grids, Shi et al., CVPR 2016 (doi:10.1109/CVPR.2016.207), and its
inverse, which lets the U-Net work at a part of the resolution, Zhang et al., IEEE TIP 27:4608 (2018,
doi:10.1109/TIP.2018.2839891).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepbio.networks.unet import UNet, fold_norms

__all__ = ["Restorer", "fold_restorer", "shuffle_pixels", "unshuffle_pixels"]

_CONVOLVE: dict[int, Any] = {2: F.conv2d, 3: F.conv3d}
_INTERPOLATION = {2: "bilinear", 3: "trilinear"}


class Restorer(nn.Module):
    """A U-Net whose result is an image of the same channels.

    Parameters
    ----------
    dims : {2, 3}
        Spatial axes of the images.
    channels : int
        Channels of the image, in and out.
    features : sequence of int
        Feature maps of each stage of the U-Net.
    factor : int or sequence of int
        Pixels of the result for each of the input, per axis.
    residual : bool
        Whether the U-Net gives what is to be added to the (interpolated) input, which it learns
        sooner; off where it must not see the pixel that it predicts (Noise2Void).
    scales : sequence of float
        Standard deviations in pixels of Gaussian filters. With them the U-Net also says how much of the
        image at each scale (and as it is) goes into each pixel: it begins with the mean of them all
        and soon knows where to smooth.
    unshuffle : int or sequence of int
        Edges of the blocks of pixels that are channels to the U-Net, per axis. With 2 it computes at half the
        resolution (a fourth of the places in 2D) and loses no pixel on the way.
    encoder, norm, strides
        Of the U-Net; see `UNet`.

    Examples
    --------
    >>> net = Restorer(2, 1, features=(8, 16), factor=(1, 2)).eval()
    >>> net(torch.zeros(1, 1, 20, 36)).shape, net.divisor
    (torch.Size([1, 1, 20, 72]), (2, 2))
    """

    def __init__(  # noqa: PLR0913 - a card names them one by one
        self,
        dims: int,
        channels: int,
        *,
        features: Sequence[int] = (32, 64, 128),
        factor: int | Sequence[int] = 1,
        residual: bool = True,
        scales: Sequence[float] = (),
        unshuffle: int | Sequence[int] = 1,
        encoder: str = "plain",
        norm: str = "batch",
        strides: Sequence[int | Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.factor, self.unshuffle = (
            (given,) * dims if isinstance(given, int) else tuple(given) for given in (factor, unshuffle)
        )
        if len(self.factor) != dims or min(self.factor) < 1 or channels < 1:
            raise ValueError(f"no restorer with dims={dims!r}, channels={channels!r}, factor={factor!r}")
        self.scales = tuple(float(s) for s in scales)
        if self.scales and (not residual or math.prod(self.factor) > 1 or min(self.scales) <= 0):
            raise ValueError(f"scales {self.scales} need a factor of 1, a residual, and sizes above 0")
        if len(self.unshuffle) != dims or min(self.unshuffle) < 1:
            raise ValueError(f"unshuffle {unshuffle!r}: expected {dims} numbers of at least 1")
        self._block = math.prod(self.unshuffle)
        if self._block > 1 and (not residual or math.prod(self.factor) > 1):
            raise ValueError(f"unshuffle {unshuffle!r} needs a factor of 1 and a residual")
        self.dims, self.channels, self.residual = dims, channels, residual
        found = channels * math.prod(self.factor) + (1 + len(self.scales) if self.scales else 0)
        self.trunk = UNet(
            dims,
            channels * self._block,
            found * self._block,
            features=features,
            strides=strides,
            encoder=encoder,
            norm=norm,
        )
        if residual:  # begin with the input itself
            head: Any = self.trunk.heads[0]
            nn.init.zeros_(head.weight)
        for number, scale in enumerate(self.scales):
            self.register_buffer(f"_kernel{number}", _gaussian(scale), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Restore images.

        Parameters
        ----------
        x : Tensor, shape (N, channels, [z,] y, x)
            Normalised; each size a multiple of `divisor`.

        Returns
        -------
        Tensor, shape (N, channels, [factor * z,] factor * y, factor * x)
            In the units of the input.
        """
        found: Any = self.trunk(unshuffle_pixels(x, self.unshuffle) if self._block > 1 else x)
        if self._block > 1:
            found = shuffle_pixels(found, self.unshuffle)
        if self.scales:
            return self._blended(x, found)
        if math.prod(self.factor) == 1:
            return x + found if self.residual else found
        found = shuffle_pixels(found, self.factor)
        if not self.residual:
            return found
        scale = [float(f) for f in self.factor]
        # pixel centres lie by half pixels, as those of the finer grid do
        base = F.interpolate(x, scale_factor=scale, mode=_INTERPOLATION[self.dims], align_corners=False)
        return base + found

    def _blended(self, x: Tensor, found: Tensor) -> Tensor:
        """The image at each scale, as far as each pixel wants it, and what is to be added."""
        added, wanted = found[:, : self.channels], torch.softmax(found[:, self.channels :].float(), dim=1)
        result = added + wanted[:, :1] * x
        for number in range(len(self.scales)):
            smooth = self._smooth(x, getattr(self, f"_kernel{number}"))
            result = result + wanted[:, number + 1 : number + 2] * smooth
        return result

    def _smooth(self, x: Tensor, kernel: Tensor) -> Tensor:
        """A Gaussian filter along each axis; the border pixel is repeated."""
        reach = kernel.numel() // 2
        for axis in range(self.dims):
            padding = [0] * (2 * self.dims)
            at = 2 * (self.dims - 1 - axis)  # the last axis first
            padding[at] = padding[at + 1] = reach
            shape = [1] * (self.dims + 2)
            shape[axis + 2] = kernel.numel()
            weight = kernel.reshape(shape).expand(self.channels, *shape[1:])
            x = _CONVOLVE[self.dims](F.pad(x, padding, mode="replicate"), weight, groups=self.channels)
        return x

    @property
    def divisor(self) -> tuple[int, ...]:
        """Each spatial size of the input must be a multiple of this, per axis."""
        return tuple(f * n for f, n in zip(self.unshuffle, self.trunk.divisor, strict=True))

    @property
    def receptive_field(self) -> tuple[int, ...]:
        """Pixels of the input that can influence one of the result, per axis."""
        return tuple(f * n for f, n in zip(self.unshuffle, self.trunk.receptive_field, strict=True))


def _gaussian(scale: float) -> Tensor:
    """Weights of a Gaussian filter, as far as three standard deviations."""
    reach = math.ceil(3 * scale)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / scale) ** 2)
    return weights / weights.sum()


def shuffle_pixels(x: Tensor, factor: Sequence[int]) -> Tensor:
    """Turn channels into pixels of a finer grid, in 2D and 3D, with a factor per axis.

    Parameters
    ----------
    x : Tensor, shape (N, C * prod(factor), *size)
        The channels of one image channel are its pixels, the last axis changing fastest (as in
        `torch.nn.PixelShuffle`).
    factor : sequence of int
        Per axis.

    Returns
    -------
    Tensor, shape (N, C, *(factor * size))

    Examples
    --------
    >>> shuffle_pixels(torch.arange(4.0).reshape(1, 4, 1, 1), (2, 2))[0, 0].tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    dims, size = len(factor), x.shape[2:]
    channels = x.shape[1] // math.prod(factor)
    x = x.reshape(x.shape[0], channels, *factor, *size)
    order = [axis for k in range(dims) for axis in (2 + dims + k, 2 + k)]
    return x.permute(0, 1, *order).reshape(
        x.shape[0], channels, *(n * f for n, f in zip(size, factor, strict=True))
    )


def unshuffle_pixels(x: Tensor, factor: Sequence[int]) -> Tensor:
    """Turn blocks of pixels into channels, in 2D and 3D: what `shuffle_pixels` undoes.

    Parameters
    ----------
    x : Tensor, shape (N, C, *size)
        Each size a multiple of its factor.
    factor : sequence of int
        Edges of a block, per axis.

    Returns
    -------
    Tensor, shape (N, C * prod(factor), *(size / factor))

    Examples
    --------
    >>> unshuffle_pixels(torch.arange(4.0).reshape(1, 1, 2, 2), (2, 2)).flatten().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    dims, size = len(factor), x.shape[2:]
    blocks = [n for total, f in zip(size, factor, strict=True) for n in (total // f, f)]
    x = x.reshape(x.shape[0], x.shape[1], *blocks)
    order = [*(3 + 2 * k for k in range(dims)), *(2 + 2 * k for k in range(dims))]
    return x.permute(0, 1, *order).reshape(
        x.shape[0], -1, *(n // f for n, f in zip(size, factor, strict=True))
    )


def fold_restorer(network: Restorer) -> Restorer:
    """The network for prediction: batch normalisation folded into the convolutions, a copy.

    Its parameters are those of ``Restorer(..., norm="none")`` where the norm was "batch".
    """
    folded = copy.deepcopy(network).eval()
    folded.trunk = fold_norms(network.trunk)
    return folded
